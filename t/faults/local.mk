# Preloaded into workers to make system calls and allocations fail.
check_LTLIBRARIES += t/faults/inject.la
t_faults_inject_la_SOURCES = t/faults/inject.c t/faults/inject.h t/faults/calls.c t/faults/memory.c
t_faults_inject_la_CFLAGS = $(AM_CFLAGS) -Wno-missing-prototypes -U_FORTIFY_SOURCE -fno-sanitize=all
t_faults_inject_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared -rpath /nowhere
t_faults_inject_la_LIBADD = -ldl

# Every point, then every allocation: an hour of one processor that is mostly
# waited for.  FAULT_JOBS of them at once; FAULT_SAMPLE=N, FAULT_MEMORY=N for less.
FAULT_JOBS = 4
FAULT_SAMPLE = all
FAULT_MEMORY = 0
faulttest: check-programs
	cd $(top_srcdir) && POSTHORN_BUILD=$(abs_top_builddir) POSTHORN_INST=$(prefix) FAULT_JOBS=$(FAULT_JOBS) \
		FAULT_SAMPLE=$(FAULT_SAMPLE) FAULT_MEMORY=$(FAULT_MEMORY) $(PROVE) -v -It/lib t/faults/points.t t/faults/memory.t
.PHONY: faulttest
EXTRA_DIST += t/faults/Faults.pm t/faults/Operations.pm t/faults/Points.pm t/faults/points.t t/faults/memory.t t/faults/README.md
