noinst_LTLIBRARIES += core/sched/libsched.la
core_sched_libsched_la_SOURCES =
