# The benchmark's load, sink and meters: README.md.  ./dev bench runs it.
noinst_HEADERS += t/lib/wire.h t/bench/load.h t/bench/sink.h
check_PROGRAMS += t/bench/source t/bench/sink t/bench/arrivals t/bench/syncs
t_bench_source_SOURCES = t/bench/source.c t/bench/session.c t/bench/message.c t/lib/wire.c
t_bench_sink_SOURCES = t/bench/sink.c t/bench/sink_session.c t/lib/wire.c
t_bench_arrivals_SOURCES = t/bench/arrivals.c t/lib/wire.c
t_bench_syncs_SOURCES = t/bench/syncs.c t/lib/wire.c
t_bench_syncs_LDADD = -lpthread

bench-programs: t/bench/source t/bench/sink t/bench/arrivals t/bench/syncs t/soak/load
.PHONY: bench-programs
EXTRA_DIST += t/bench/README.md t/bench/run t/bench/tables t/bench/Bench/World.pm t/bench/Bench/Meter.pm t/bench/Bench/Load.pm t/bench/Bench/Systems.pm t/bench/Bench/Scenarios.pm t/bench/Bench/Table.pm
