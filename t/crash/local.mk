# Crashes of the processes as they are built: see README.md beside this.
check_PROGRAMS += t/crash/attach
t_crash_attach_SOURCES = t/crash/attach.c
t_crash_attach_CPPFLAGS = $(AM_CPPFLAGS) $(SECCOMP_CFLAGS)
t_crash_attach_LDADD = $(SECCOMP_LIBS)
EXTRA_DIST += t/crash/README.md t/crash/points.t t/lib/Crash.pm t/lib/CrashOps.pm

# make crashtest [POINT=scenario, or scenario:N:entry|exit, or scenario:trace]: every point of every
# scenario.  POSTHORN_INST names another installation to kill (./dev install PREFIX).
POINT = all
POSTHORN_INST ?= $(prefix)
crashtest: check-programs
	@cd $(srcdir) && POSTHORN_BUILD=$(abs_builddir) POSTHORN_INST=$(POSTHORN_INST) POSTHORN_CRASH=$(POINT) $(PROVE) -v -It/lib t/crash/points.t
