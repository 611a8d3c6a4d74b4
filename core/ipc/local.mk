noinst_LTLIBRARIES += core/ipc/libipc.la
core_ipc_libipc_la_SOURCES = core/ipc/frame.c core/ipc/client.c core/ipc/client.h core/ipc/channel.h core/ipc/submission.c \
	core/ipc/transcript.c

check_PROGRAMS += t/unit/frame.t
t_unit_frame_t_SOURCES = t/unit/frame.c
t_unit_frame_t_LDADD = core/libposthorn.la
core_ipc_libipc_la_SOURCES += core/ipc/message.h core/ipc/message.c core/ipc/delivery_line.h core/ipc/delivery_line.c
check_PROGRAMS += t/unit/outcome.t
t_unit_outcome_t_SOURCES = t/unit/outcome.c
t_unit_outcome_t_LDADD = core/libposthorn.la
check_PROGRAMS += t/unit/transcript.t
t_unit_transcript_t_SOURCES = t/unit/transcript.c
t_unit_transcript_t_LDADD = core/libposthorn.la
