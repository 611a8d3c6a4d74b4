# Unit tests: t/unit/NAME.c becomes t/unit/NAME.t; add NAME to its layer's list.
# They link the private convenience libraries' names through libposthorn.
noinst_HEADERS += t/unit/tap.h
check_PROGRAMS += t/unit/base.t
t_unit_base_t_SOURCES = t/unit/base.c
t_unit_base_t_LDADD = core/libposthorn.la

# One after the other: `all` is a make of its own, and two must not build one thing.
check-programs: all
	@$(MAKE) $(AM_MAKEFLAGS) $(check_PROGRAMS) $(check_LTLIBRARIES)

check-local: check-programs
	$(PROVE) --failures $(PROVEFLAGS) $(filter %.t,$(check_PROGRAMS))

include $(top_srcdir)/t/faults/local.mk
EXTRA_DIST += t/lib/Posthorn.pm t/lib/TableRig.pm t/lib/Database.pm t/lib/Proxymap.pm t/lib/Peer.pm t/lib/PeerPostfix.pm t/lib/PeerExim.pm t/lib/PeerDovecot.pm t/lib/PeerOpenSMTPD.pm t/lib/RewriteCases.pm t/lib/RewriteRig.pm t/lib/RewriteSink.pm t/style/layers.t t/style/scripts.t t/style/lint

include t/ipc/local.mk
include t/seal/local.mk
include t/proxymap/local.mk

include t/fuzz/local.mk
include t/soak/local.mk
include t/model/local.mk
include t/crash/local.mk
include t/effort/local.mk
include t/smuggle/local.mk
include $(top_srcdir)/t/bench/local.mk
include $(top_srcdir)/t/bench/backlog.mk
