noinst_LTLIBRARIES += core/run/librun.la
core_run_librun_la_SOURCES = core/run/loop.h core/run/context.h
