noinst_LTLIBRARIES += core/sched/libsched.la
core_sched_libsched_la_SOURCES = core/sched/sched.h core/sched/priv.h core/sched/sched.c core/sched/dest.c \
	core/sched/timed.c core/sched/preempt.c core/sched/refill.c core/sched/feedback.c core/sched/retry.h core/sched/retry.c \
	core/sched/qmgr.h core/sched/qmgr_priv.h core/sched/qmgr.c core/sched/params.c core/sched/feed.c \
	core/sched/batch.c core/sched/resolve.c core/sched/pace.c core/sched/lane.c core/sched/settle.c core/sched/finish.c core/sched/bouncer.c \
	core/sched/control.h core/sched/control.c core/sched/choice.c core/sched/remove.c core/sched/list.c core/sched/survive.c
core_sched_libsched_la_LIBADD = -lm

check_PROGRAMS += t/unit/sched.t
t_unit_sched_t_SOURCES = t/unit/sched.c
t_unit_sched_t_LDADD = core/libposthorn.la
check_PROGRAMS += t/unit/retry.t
t_unit_retry_t_SOURCES = t/unit/retry.c
t_unit_retry_t_LDADD = core/libposthorn.la
check_PROGRAMS += t/unit/sched_preempt.t t/unit/sched_pace.t t/unit/sched_days.t
t_unit_sched_preempt_t_SOURCES = t/unit/sched_preempt.c t/unit/sched_world.h
t_unit_sched_preempt_t_LDADD = core/libposthorn.la
t_unit_sched_pace_t_SOURCES = t/unit/sched_pace.c t/unit/sched_world.h
t_unit_sched_pace_t_LDADD = core/libposthorn.la
t_unit_sched_days_t_SOURCES = t/unit/sched_days.c t/unit/sched_world.h
t_unit_sched_days_t_LDADD = core/libposthorn.la
check_PROGRAMS += t/unit/qmgr.t
t_unit_qmgr_t_SOURCES = t/unit/qmgr.c t/unit/qmgr_stage.h
t_unit_qmgr_t_LDADD = core/libposthorn.la
check_PROGRAMS += t/unit/qmgr_list.t
t_unit_qmgr_list_t_SOURCES = t/unit/qmgr_list.c t/unit/qmgr_stage.h
t_unit_qmgr_list_t_LDADD = core/libposthorn.la
dist_man_MANS += core/sched/qmgr.8
