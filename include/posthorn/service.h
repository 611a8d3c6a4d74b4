/* posthorn/service.h: plugin kind "service": a daemon.  The worker accepts;
 * serve runs as one task per connection. */
#ifndef POSTHORN_SERVICE_H
#define POSTHORN_SERVICE_H

#include <posthorn/plugin.h>
#include <posthorn/stream.h>

PH_BEGIN

#define PH_SERVICE_REVISION 1

/* What the seal must leave open to it (a list of words in `needs`):
 *   "network"   connect to and accept from other hosts, DNS
 *   "queue"     submit messages (leases from qmgr)
 *   "bounce"    read and write the directories bounce defer trace
 *   "maildrop"  read and remove files in maildrop
 *   "private"   connect to private services
 *   "spawn"     work with the rights of others (spawn.h)
 *   "from-network"  workers that touch the network may connect to it, also when
 *               none of them names it in `uses`
 *   "tables"    open tables for others: every table that it opens is opened in it, also
 *               one that may block; it may read what mail_owner's group may (passwords
 *               of databases)
 *   "one-client"  one session at a time in each process, whatever master.yaml says:
 *               what it does for a client may stop the whole process
 *   "data"      read and write files in data_directory
 * WORD@NAME is a need of the service of that name only.
 * Tables named by parameters are opened before the seal. */
struct ph_service {
    struct ph_scope *scope;            /* lives as long as the worker */
    void *self;
    const struct ph_service_plugin *ops;
    struct ph_conf *conf;              /* main.cf with this service's settings */
    const char *name;                  /* in master.yaml: "smtp", "submission" */
    const char *const *args;           /* its arguments, NULL-terminated */
    int queue_dir_fd;                  /* queue_directory, for the needs above; else -1 */
};

struct ph_peer {
    uint32_t size;
    uint32_t inline_;                  /* 1: a client in this very process */
    ph_str address, port;              /* of the client: "192.0.2.1", "2001:db8::1", or "unix" */
    ph_str server_address, server_port;
    ph_str name;                       /* of the client, when it is known already ("unknown": it has none); else empty */
};

struct ph_service_plugin {
    struct ph_plugin plugin;
    const char *needs;                 /* see above */
    const char *uses;                  /* private services it calls: "cleanup rewrite" */
    /* Read parameters, open tables.  Identity is dropped, the seal is not on. */
    int32_t (*open)(struct ph_service *v);
    /* After open, before the seal: load what loads lazily. */
    int32_t (*warmup)(struct ph_service *v);
    /* One client, in its own task; the stream and `session` end after it. */
    int32_t (*serve)(struct ph_service *v, struct ph_scope *session, struct ph_stream *io,
                     const struct ph_peer *peer);
    /* Wake-up by the master (`wakeup` in master.yaml) or by postkick; in a task
     * of its own, never twice at once; one that comes meanwhile is remembered. */
    int32_t (*wakeup)(struct ph_service *v);
};

/* Each value that the configuration sets, expanded as each enabled service sees it: those
 * of main.cf, and those of its settings in master.yaml.  What does not expand is passed
 * over.  0, or the first negative answer of `each`.  Views live during that call. */
int ph_config_values(int (*each)(void *arg, const char *service, ph_str name, ph_str value), void *arg);

#define PH_PLUGIN_SERVICE(name_, ...) \
    PH_ENTRY_(struct ph_service_plugin, service_##name_##_LTX_ph_plugin, PH_KIND_SERVICE, PH_SERVICE_REVISION, name_, __VA_ARGS__)

PH_END
#endif
