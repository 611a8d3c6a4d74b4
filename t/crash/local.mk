# The queue in one process: killed, with failing calls (queue.t), and losing power (power.t).
CRASH_WORLD = t/crash/world.c t/crash/world.h t/lib/queue_pair.h t/crash/life.c t/crash/life.h t/crash/trace.c t/crash/trace.h t/crash/tape.c t/crash/tape.h
check_PROGRAMS += t/crash/queue.t t/crash/power.t
t_crash_queue_t_SOURCES = t/crash/queue.c t/crash/scenario.c t/crash/scenario.h $(CRASH_WORLD)
t_crash_queue_t_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/t/unit
t_crash_queue_t_LDADD = core/libposthorn.la
t_crash_power_t_SOURCES = t/crash/power.c t/crash/disk.c t/crash/disk.h t/crash/rebuild.c t/crash/rebuild.h t/crash/oracle.c t/crash/oracle.h \
	t/crash/story.c t/crash/story.h t/crash/drop.c plugins/service/pickup/file.c plugins/service/bounce/log.c plugins/service/bounce/words.c core/cmd/postdrop_file.c $(CRASH_WORLD)
t_crash_power_t_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/t/unit
t_crash_power_t_LDADD = core/libposthorn.la
EXTRA_DIST += t/crash/POWER.md

# make powertest [SEED=N] [OUTCOMES=N] [OUTCOME=as a failure names it]
SEED =
OUTCOMES = 20000
OUTCOME =
powertest: t/crash/power.t
	@POSTHORN_SEED=$(SEED) POSTHORN_OUTCOMES=$(OUTCOMES) POSTHORN_OUTCOME=$(OUTCOME) t/crash/power.t

# make imagetest [IMAGE=all|"ext4 xfs"...] [COPIES=N]: a running instance whose queue is on a real filesystem that is
# copied under load (root, loop devices).
IMAGE = all
COPIES =
imagetest: check-programs
	@cd $(srcdir) && POSTHORN_BUILD=$(abs_builddir) POSTHORN_INST=$(POSTHORN_INST) POSTHORN_IMAGE="$(IMAGE)" POSTHORN_COPIES=$(COPIES) $(PROVE) -v -It/lib t/crash/image.t

# Crashes of the processes as they are built: see README.md beside this.
check_PROGRAMS += t/crash/attach
t_crash_attach_SOURCES = t/crash/attach.c
t_crash_attach_CPPFLAGS = $(AM_CPPFLAGS) $(SECCOMP_CFLAGS)
t_crash_attach_LDADD = $(SECCOMP_LIBS)
EXTRA_DIST += t/crash/README.md t/crash/points.t t/crash/image.t t/lib/Image.pm t/lib/Crash.pm t/lib/CrashOps.pm

# make crashtest [POINT=scenario, or scenario:N:entry|exit, or scenario:trace]: every point of every
# scenario.  POSTHORN_INST names another installation to kill (./dev install PREFIX).
POINT = all
POSTHORN_INST ?= $(prefix)
crashtest: check-programs
	@cd $(srcdir) && POSTHORN_BUILD=$(abs_builddir) POSTHORN_INST=$(POSTHORN_INST) POSTHORN_CRASH=$(POINT) $(PROVE) -v -It/lib t/crash/points.t
