# The soak tests: README.md.  `make soak` is the long form; ./dev test runs the short one.
noinst_HEADERS += t/soak/load.h
check_PROGRAMS += t/soak/load
t_soak_load_SOURCES = t/soak/load.c t/lib/wire.c t/soak/hold.c t/soak/probe.c t/soak/flood.c
t_soak_load_CFLAGS = $(AM_CFLAGS) -Wno-format-nonliteral
EXTRA_DIST += t/soak/README.md t/soak/idle.t t/soak/flood.t t/soak/slow.t t/soak/server.t t/soak/limits.t t/soak/beside t/lib/Soak.pm

soak: check-programs
	cd $(top_srcdir) && POSTHORN_BUILD=$(abs_top_builddir) POSTHORN_INST=$(prefix) SOAK=long $(PROVE) -v -It/lib \
		t/soak/idle.t t/soak/flood.t t/soak/slow.t t/soak/server.t t/soak/limits.t
.PHONY: soak
