noinst_LTLIBRARIES += core/ipc/libipc.la
core_ipc_libipc_la_SOURCES = core/ipc/frame.c

check_PROGRAMS += t/unit/frame.t
t_unit_frame_t_SOURCES = t/unit/frame.c
t_unit_frame_t_LDADD = core/libposthorn.la
