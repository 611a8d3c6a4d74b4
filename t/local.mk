# Unit tests: t/unit/NAME.c becomes t/unit/NAME.t; add NAME to its layer's list.
# They link the private convenience libraries' names through libposthorn.
noinst_HEADERS += t/unit/tap.h
check_PROGRAMS += t/unit/base.t
t_unit_base_t_SOURCES = t/unit/base.c
t_unit_base_t_LDADD = core/libposthorn.la

check-programs: all $(check_PROGRAMS) $(check_LTLIBRARIES)

check-local: check-programs
	$(PROVE) --failures $(PROVEFLAGS) $(filter %.t,$(check_PROGRAMS))
