/* master: opens the listeners, starts workers when clients come, restarts what
 * dies, never parses mail and never loads a plugin.
 *
 * main.c     options, daemon, lock        config.c   reading and comparing configurations
 * service.c  one service: watch, wake, throttle      child.c    one worker: start, words, end
 * control.c  signals: reload, stop        reach.c    who touches the network, and whom he may ask
 * socket.c   listeners                words.c    what workers write to descriptor 2 */
#ifndef CORE_MASTER_MASTER_H
#define CORE_MASTER_MASTER_H

#include <sys/types.h>
#include "core/base/list.h"
#include "core/conf/accounts.h"
#include "core/conf/conf.h"
#include "core/conf/master.h"
#include "core/conf/snapshot.h"
#include "core/net/listen.h"
#include "core/run/loop.h"

/* What was read at start or at a reload; replaced whole. */
struct config {
    struct ph_scope *scope;
    struct ph_snapshot files;      /* what workers read */
    struct ph_conf *conf;
    const struct ph_master_def *def;
    ph_str queue_directory, daemon_directory, data_directory, interfaces, protocols;
    int64_t throttle_s, process_limit;
    int as_root;                   /* 1: workers become the accounts */
    struct ph_accounts accounts;   /* as_root; else all zero */
    ph_str reachable;              /* names of services with a socket in net/ (reach.c) */
};

struct child {
    struct ph_list node;           /* in its service */
    struct service *service;
    pid_t pid;
    int channel;
    struct ph_watch watch;
    int ready, busy, done;         /* it said so */
    int old;                       /* of a configuration before: ends when its sessions have */
    int64_t started_ms;
    int words_fd;                  /* its descriptor 2 */
    struct ph_watch words_watch;
    char words[500];               /* a line that has begun */
    size_t words_n;
    unsigned words_lines;          /* logged */
};

struct service {
    struct ph_list node;           /* in master.services */
    struct master *master;
    char name[128], type[8], key[400];   /* key: what makes it the same service across a reload */
    const struct ph_service_def *def;    /* of the current configuration */
    int listen_fd[PH_LISTEN_MAX];
    unsigned listen_count;
    struct ph_watch watch[PH_LISTEN_MAX];
    int watching;
    int full;                      /* all workers there may be have no room */
    int64_t full_told_ms;          /* when the log said so, 0: never */
    struct ph_list children;
    int64_t throttled_until;       /* 0: not */
    struct ph_timer throttle, wakeup;
    int crashes;
    int64_t crash_since;
    int wake_owed;
    int is_qmgr, seen;             /* seen: named by the configuration being applied */
    int is_asked;                  /* only other services talk to it: it stops after them, with qmgr */
};

struct master {
    struct ph_scope *scope;
    const char *config_dir, *worker_path;
    struct config *config;
    struct ph_list services;
    struct ph_cond *changed;
    int lock_fd, ready_fd;         /* ready_fd: the starter waits for a byte, or -1 */
    int complaint_fd;              /* where a failed start is explained: the starter's stderr */
    int stopping, stop_signal;
    int verbose, is_init;
    int64_t exit_s;                /* ends by itself after this; 0: never */
    struct ph_timer exit_timer, watchdog;
    unsigned generation;           /* of the configuration in force; in pid/master.pid */
    unsigned refused;              /* reloads that changed nothing; there too */
    int announce;                  /* a reload is done but for old workers that still accept */
};

/* config.c: 0 and *out; PH_CONF, PH_TEMP with file:line:column.  Nothing is changed. */
int master_config_read(const char *dir, struct config **out);
void master_config_free(struct config *c);
/* Log which services of an imported master.cf are not run. */
void config_tell_programs(const struct config *c);

/* reach.c: 1 when its worker touches the network; when workers that do may
 * connect to it.  config_find_reachable: 0, or PH_CONF, PH_TEMP (manifests). */
int config_is_network(const struct ph_service_def *d);
/* 1 when its worker may read what the group of mail_owner may. */
int config_reads_secrets(const struct ph_service_def *d);
int config_is_reachable(const struct config *c, const struct ph_service_def *d);
int config_find_reachable(struct config *c);

/* socket.c: all listeners of d added to *l, or none: 0, PH_CONF, PH_TEMP. */
int master_open_listeners(const struct config *c, const struct ph_service_def *d, struct ph_listeners *l);
/* Touch files below queue_directory and data_directory with the rights of
 * mail_owner (on = 1), then as before (0).  0; PH_CONF. */
int master_be_owner(const struct config *c, int on);

/* Open what is new, keep what is the same: 0, or negative and the set is as it was. */
int master_apply(struct master *m, struct config *c);

/* service.c */
void service_update(struct service *v);          /* watch, or not, by its state */
struct child *service_ready_child(struct service *v);
void service_wake(struct service *v);
void service_set_wakeup(struct service *v);
void service_close(struct service *v);
unsigned service_live(const struct service *v);  /* workers that accept, or will */

/* child.c */
int child_start(struct service *v);              /* 0, or PH_TEMP (logged by caller) */
void child_tell(struct child *c, char word);
void child_tell_reload(struct child *c);         /* with the files of the configuration in force */
void child_tell_log(struct child *c, int fd);      /* the log file, opened anew */
void child_reaped(struct master *m, pid_t pid, int status);
void child_free(struct child *c);

/* words.c: a pipe for a worker's descriptor 2: 0, PH_TEMP; from now on its lines
 * are logged: 0, PH_TEMP; log what is left, when it has ended; the end of it. */
int words_pipe(int p[2]);
int words_watch(struct child *c, int fd);
void words_say(struct child *c);
void words_end(struct child *c);

/* main.c: the pid file says what generation runs. */
void master_write_pid(struct master *m);
/* Open the log (again): 0; PH_TEMP, and the one before stays. */
int master_open_log(struct master *m);
/* control.c: after a reload, once no old worker accepts any more, say so. */
void master_announce(struct master *m);
/* control.c: stop in order after exit_s, as on a signal. */
void master_end_after(struct master *m);
/* control.c: signals, until stopped. */
int master_run(struct master *m) PH_YIELDS;

#endif
