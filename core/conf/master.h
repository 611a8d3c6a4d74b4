/* core/conf/master.h: master.yaml: which services run.  The file is read whole
 * and checked whole before anything is used; each error says file:line:column.
 *
 *     format: 1
 *     plugins:
 *       directory: $plugin_directory
 *       include: ["plugins.d/x.yaml"]
 *     services:
 *       - {name: smtp, plugin: smtpd, listen: "inet::25", sessions: 500}
 *
 * Scalars get their type from this schema and never from YAML: `no` is text,
 * "25" and 25 are the same port.  Anchors, aliases, tags, a second document
 * and repeated keys are refused. */
#ifndef CORE_CONF_MASTER_H
#define CORE_CONF_MASTER_H

#include "core/conf/conf.h"

/* In a number: not given, or `default`.  A later change of the default has its
 * effect, which an equal number would hide. */
#define PH_DEF_DEFAULT    (-1)
#define PH_DEF_UNLIMITED  0      /* processes, sessions, max_use: no limit; wakeup: never */

/* ph_service_def.kind: which key named the code. */
#define PH_DEF_PLUGIN     1      /* plugin: service_X, or transport_X when there is no such service */
#define PH_DEF_BUILTIN    2      /* builtin: part of the worker ("qmgr") */
#define PH_DEF_TRANSPORT  3      /* transport: transport_X */
#define PH_DEF_PROGRAM    4      /* program: what an imported master.cf names and we do not have: never run */

#define PH_PLACE_PROCESS  1
#define PH_PLACE_INLINE   2

#define PH_LISTEN_UNIX    1
#define PH_LISTEN_INET    2
/* With program: only, so that a master.cf keeps them. */
#define PH_LISTEN_DGRAM   3
#define PH_LISTEN_FIFO    4
#define PH_LISTEN_PASS    5

struct ph_listen_def {
    uint32_t kind;               /* PH_LISTEN_* */
    uint32_t pad;
    ph_str host;                 /* inet: without brackets; empty: $inet_interfaces */
    ph_str port;                 /* inet: number or service name */
    ph_str name;                 /* unix: file below public/ or private/ */
    struct ph_place place;
};

struct ph_service_def {
    ph_str name;
    ph_str code;                 /* name of the plugin, builtin or transport */
    uint32_t kind;               /* PH_DEF_* */
    uint32_t listen_count;
    const struct ph_listen_def *listen;
    int32_t enabled;             /* 1 unless false, or a program: */
    int32_t listed;              /* 1 unless false: postconf shows it */
    /* 1, 0 or PH_DEF_DEFAULT */
    int32_t private_;            /* unix sockets: private/ (1) or public/ (0); default 1 */
    int32_t unprivileged;        /* runs as the mail owner; default 1 */
    int32_t chroot;              /* default 0 */
    int32_t sandbox;             /* Landlock and seccomp; default 1 */
    int32_t wakeup_on_demand;    /* "300s?": only when it was used since start; 0 or 1 */
    int32_t pad2;
    /* PH_PLACE_* or PH_DEF_DEFAULT */
    int32_t place;
    /* >= 0, PH_DEF_UNLIMITED, PH_DEF_DEFAULT */
    int32_t processes;           /* workers */
    int32_t sessions;            /* at once in each worker */
    int64_t max_use;             /* sessions in a worker's life */
    int64_t wakeup_s;            /* seconds between wake-ups */
    int64_t max_idle_s;          /* an idle worker ends after this */
    int64_t throttle_s;          /* pause after a crash */
    const struct ph_setting *settings; /* main.cf text, in order, names unique */
    size_t settings_count;
    const ph_str *args;          /* passed on byte-exact; each NUL-terminated */
    size_t args_count;
    const ph_str *raw;           /* raw_arguments: as in master.cf; settings and args came from it */
    size_t raw_count;
    const ph_str *filters;
    size_t filters_count;
    ph_str comment;
    struct ph_place place_in_file; /* of its `name` */
};

struct ph_master_def {
    const char *file;
    ph_str plugin_directory;     /* not expanded; empty: $plugin_directory */
    const ph_str *plugin_include;/* glob patterns of manifests, relative to the file's directory */
    size_t plugin_include_count;
    const struct ph_service_def *services;
    size_t services_count;
};

#define PH_MASTER_FILE_MAX     (1u << 20)
#define PH_MASTER_SERVICES_MAX 512

/* Read DIR/master.yaml.  With conf, $name in listen is expanded from it (NULL:
 * kept as it stands).  0 and *master on s; PH_CONF; PH_TEMP when it cannot be
 * read.  Does blocking I/O. */
int ph_master_open(struct ph_scope *s, struct ph_conf *conf, const char *dir,
                   const struct ph_master_def **master);
int ph_master_parse(struct ph_scope *s, struct ph_conf *conf, const char *file, ph_str text,
                    const struct ph_master_def **master);
/* The first enabled service of that name whose listeners are UNIX sockets (or
 * that has none), resp. any; NULL when there is none. */
const struct ph_service_def *ph_master_find_unix(const struct ph_master_def *m, ph_str name);
const struct ph_service_def *ph_master_find(const struct ph_master_def *m, ph_str name);
/* "inet" or "unix" (of a program: also "unix-dgram", "fifo", "pass"): what tells two services of one name apart. */
const char *ph_service_def_type(const struct ph_service_def *d);
/* Seconds between its wake-ups: what the file says, else what the service needs; 0: none. */
int64_t ph_service_wakeup_s(const struct ph_service_def *d);

#endif
