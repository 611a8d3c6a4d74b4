noinst_LTLIBRARIES += core/worker/libworker.la
core_worker_libworker_la_SOURCES =
core_worker_libworker_la_SOURCES += core/worker/agent.h core/worker/agent_priv.h core/worker/agent.c core/worker/outcome.c \
	core/worker/orphans.c core/worker/pass.c
core_worker_libworker_la_SOURCES += core/worker/worker.h core/ipc/channel.h core/worker/main.c core/worker/setup.c \
	core/worker/accept.c core/worker/sight.c core/worker/channel.c core/worker/limit.c core/worker/spawner.h core/worker/spawner.c core/worker/spawner_request.c core/worker/spawner_child.c \
	core/worker/spawner_files.c core/worker/spawner_policy.c core/worker/spawn.c core/worker/identity.c core/worker/spawn_command.c core/worker/spawn_files.h core/worker/spawn_files.c core/worker/spawn_calls.c core/worker/spawn_dirs.c core/worker/drop.c core/worker/seal.c core/worker/landlock.c
daemon_PROGRAMS += core/worker/worker
core_worker_worker_SOURCES = core/worker/worker.c
core_worker_worker_LDADD = core/libposthorn.la

check_PROGRAMS += t/unit/spawn.t
t_unit_spawn_t_SOURCES = t/unit/spawn.c
t_unit_spawn_t_LDADD = core/libposthorn.la

check_PROGRAMS += t/unit/spawn_dirs.t
t_unit_spawn_dirs_t_SOURCES = t/unit/spawn_dirs.c
t_unit_spawn_dirs_t_LDADD = core/libposthorn.la

check_PROGRAMS += t/unit/spawn_limit.t
t_unit_spawn_limit_t_SOURCES = t/unit/spawn_limit.c
t_unit_spawn_limit_t_LDADD = core/libposthorn.la

check_PROGRAMS += t/unit/seal.t
t_unit_seal_t_SOURCES = t/unit/seal.c
t_unit_seal_t_LDADD = core/libposthorn.la
