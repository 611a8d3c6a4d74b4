# The hostile client, and the long form of its test; ./dev test runs the short one.
noinst_HEADERS += t/ipc/feed.h
check_PROGRAMS += t/ipc/feed
t_ipc_feed_SOURCES = t/ipc/feed.c t/ipc/talk.c t/ipc/shapes.c t/ipc/fds.c t/ipc/peers.c
EXTRA_DIST += t/ipc/README.md

# make ipctest [ROUNDS=2000] [SEED=N]: a seed repeats a run.
ipctest: check-programs
	cd $(top_srcdir) && POSTHORN_BUILD=$(abs_top_builddir) POSTHORN_INST=$(prefix) IPC_ROUNDS=$${ROUNDS:-2000} IPC_SEED=$(SEED) \
		$(PROVE) -v -It/lib t/system/ipc_hostile.t t/system/ipc_servers.t
.PHONY: ipctest
