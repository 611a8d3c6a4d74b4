noinst_LTLIBRARIES += core/worker/libworker.la
core_worker_libworker_la_SOURCES =
