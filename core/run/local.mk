noinst_LTLIBRARIES += core/run/librun.la
core_run_librun_la_SOURCES = core/run/loop.h core/run/context.h core/run/inside.h core/run/switch.h \
	core/run/switch.c core/run/stack.c core/run/loop.c core/run/timer.c core/run/fd.c core/run/signal.c \
	core/run/task.c core/run/group.c core/run/cond.c core/run/clock.c \
	core/run/disk.c core/run/diskio.c core/run/sight.c \
	core/run/stream_in.h core/run/stream.c core/run/stream_fd.c core/run/stream_mem.c core/run/log.h core/run/log.c \
	core/run/why.h core/run/why.c

check_PROGRAMS += t/unit/run.t
t_unit_run_t_SOURCES = t/unit/run.c
t_unit_run_t_LDADD = core/libposthorn.la

check_PROGRAMS += t/unit/stack.t
t_unit_stack_t_SOURCES = t/unit/stack.c
t_unit_stack_t_LDADD = core/libposthorn.la

check_PROGRAMS += t/unit/sight.t
t_unit_sight_t_SOURCES = t/unit/sight.c
t_unit_sight_t_LDADD = core/libposthorn.la

check_PROGRAMS += t/unit/stream.t
t_unit_stream_t_SOURCES = t/unit/stream.c
t_unit_stream_t_LDADD = core/libposthorn.la

check_PROGRAMS += t/unit/log.t
t_unit_log_t_SOURCES = t/unit/log.c
t_unit_log_t_LDADD = core/libposthorn.la
