noinst_LTLIBRARIES += core/sched/libsched.la
core_sched_libsched_la_SOURCES = core/sched/sched.h core/sched/priv.h core/sched/sched.c core/sched/dest.c \
	core/sched/feedback.c core/sched/retry.h core/sched/retry.c
core_sched_libsched_la_LIBADD = -lm

check_PROGRAMS += t/unit/sched.t
t_unit_sched_t_SOURCES = t/unit/sched.c
t_unit_sched_t_LDADD = core/libposthorn.la
