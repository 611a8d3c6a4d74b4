# The backlog: t/bench/backlog measures, t/system/backlog.t proves; both fill queues with this.
check_PROGRAMS += t/bench/backlog_fill
t_bench_backlog_fill_SOURCES = t/bench/backlog_fill.c
t_bench_backlog_fill_LDADD = core/libposthorn.la
EXTRA_DIST += t/bench/backlog
