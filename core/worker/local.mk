noinst_LTLIBRARIES += core/worker/libworker.la
core_worker_libworker_la_SOURCES =
core_worker_libworker_la_SOURCES += core/worker/agent.h core/worker/agent_priv.h core/worker/agent.c core/worker/outcome.c
