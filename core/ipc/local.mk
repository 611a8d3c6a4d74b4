noinst_LTLIBRARIES += core/ipc/libipc.la
core_ipc_libipc_la_SOURCES =
