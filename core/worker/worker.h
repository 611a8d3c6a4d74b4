/* worker: the one process that runs any service or transport.
 *
 * main.c     options, life and end          setup.c    configuration, plugin, inline services
 * accept.c   listeners, sessions            channel.c  words from the master
 * limit.c    sessions that one process can have
 * drop.c     identity                       seal.c, landlock.c  no new rights, no other files or calls
 * agent.c    transports (agent.h)       spawner.c ... the helper that becomes other users (spawner.h)
 * The contract with the master: README.md. */
#ifndef CORE_WORKER_WORKER_H
#define CORE_WORKER_WORKER_H

#include <posthorn/service.h>
#include <posthorn/transport.h>
#include "core/conf/conf.h"
#include "core/conf/master.h"
#include "core/worker/agent.h"

struct ph_worker {
    struct ph_scope *scope;        /* as long as the process */
    const char *config_dir, *name, *type;
    const char *identity;          /* "UID:GID" or "UID:GID:GID" to become, when started as root */
    const char *account;           /* with two accounts (core/conf/accounts.h): "mail" or "net"; else NULL */
    int listen_count;
    int verbose;
    char *title;                   /* memory of our command line */
    size_t title_size;
    struct ph_conf *base, *conf;   /* main.cf; with the settings of this service */
    const struct ph_master_def *master;
    const struct ph_service_def *def;
    const char *needs;             /* what its manifest says that a service of this name needs */
    struct ph_service service;     /* a service or the builtin */
    struct ph_transport transport; /* or a transport */
    struct ph_agent *agent;
    int is_transport, is_builtin;
    struct ph_group *tasks;        /* the service's own, inline services, agents */
    struct ph_group *sessions;
    struct ph_cond *changed;       /* a session ended, or the state changed */
    uint32_t session_max, session_count;
    int64_t max_idle_ms, idle_since;
    int draining, stopping;        /* no more clients; and soon no more sessions */
    int wake_pending, waking;
    int channel;
};

/* What `worker` does: returns the exit status. */
int ph_worker_main(int argc, char **argv);

/* setup.c: 0 or negative with text. */
int ph_worker_configure(struct ph_worker *w);
int ph_worker_load(struct ph_worker *w) PH_YIELDS;
/* PH_KIND_TRANSPORT or PH_KIND_SERVICE: of its plugin. */
uint32_t ph_worker_kind(const struct ph_worker *w);
/* setup.c: which tables are opened here, and what other processes are asked for: after
 * the manifests were read. */
void ph_worker_tables(struct ph_worker *w);
/* limit.c: set session_max, before ph_worker_load. */
void ph_worker_limit(struct ph_worker *w);
/* accept.c: tasks that accept; the worker's main task waits in ph_worker_wait. */
int ph_worker_accept(struct ph_worker *w);
int ph_worker_wait(struct ph_worker *w) PH_YIELDS;
/* channel.c */
void ph_worker_tell(struct ph_worker *w, char word);
int ph_worker_listen_to_master(struct ph_worker *w);

/* sight.c: from now on SIGUSR1 lists the live tasks in the log, SIGUSR2 with their
 * stacks.  Before the seal. */
void ph_worker_sight(struct ph_worker *w);

/* drop.c: when root, become the identity.  0, or PH_CONF.  Then, when the plugin
 * is loaded: does the account fit what it needs?  0, or PH_CONF. */
int ph_worker_drop(struct ph_worker *w);
int ph_worker_check_account(const struct ph_worker *w, const char *needs);

/* spawner_policy.c: before the rights are dropped, start the helper that works
 * with the rights of others, for a plugin that needs "spawn".  0, or negative. */
int ph_worker_spawner(struct ph_worker *w);

/* seal.c: no_new_privs, Landlock, seccomp, as `needs` says.  0; PH_CONF when it
 * cannot be applied (what this kernel lacks is a warning).  The process must
 * have one thread. */
struct ph_seal {
    const char *needs;             /* words of service.h, transport.h */
    ph_str queue_directory, config_directory, mailbox_base, data_directory;
};
int ph_seal(const struct ph_seal *s);
int ph_landlock(const struct ph_seal *s);
/* 1 when the list of words has this one. */
int ph_needs(const char *needs, const char *word);
/* The words that hold for a service of that name (WORD@NAME), without the names; on s. */
const char *ph_needs_of(struct ph_scope *s, ph_str needs, const char *name);

#endif
