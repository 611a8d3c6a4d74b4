/* posthorn/transport.h: plugin kind "transport": delivers a message to some of
 * its recipients.  One call of deliver is one task; there may be many at once.
 * For each recipient it says one outcome; what it says nothing of is deferred. */
#ifndef POSTHORN_TRANSPORT_H
#define POSTHORN_TRANSPORT_H

#include <posthorn/message.h>
#include <posthorn/plugin.h>

PH_BEGIN

#define PH_TRANSPORT_REVISION 1

struct ph_recipient {
    ph_str address;                /* internal form: user@domain */
    ph_str original;               /* before aliasing; empty: the same */
    ph_str dsn_orcpt, dsn_notify;  /* "rfc822;x", "SUCCESS,FAILURE" or empty */
    uint32_t index;                /* of the recipient within the message */
    uint32_t state;                /* PH_RCPT_OPEN until an outcome was said */
};

#define PH_RCPT_OPEN     0
#define PH_RCPT_SENT     1
#define PH_RCPT_BOUNCED  2
#define PH_RCPT_DEFERRED 3

/* One outcome.  Views need to live only during the call that reports it. */
struct ph_outcome {
    uint32_t size;
    uint32_t status;               /* PH_RCPT_SENT, _BOUNCED, _DEFERRED */
    ph_str dsn;                    /* "2.0.0"; class must fit the status */
    ph_str text;                   /* one line, for log and notice */
    ph_str relay;                  /* "host[ip]:port", "virtual", "none" */
    ph_str action;                 /* of what was sent: "relayed", "expanded"; empty: "delivered" */
    ph_str diagnostic_type, diagnostic; /* "smtp", "550 ..." ; empty: x-posthorn and text */
    ph_str remote_mta_type, remote_mta; /* "dns", "mail.example" */
    int64_t setup_us, connected_us, done_us; /* wall clock: when connection set-up began, ended,
                                     delivery ended; 0: the moment of the call */
    uint32_t conn_use;             /* deliveries on this connection; logged from 2 on */
    uint32_t dead_site;            /* 1: the whole next hop failed, not this recipient */
    /* Set by ph_delivered_members: of whom this speaks when not of the recipient
     * itself (a member of an alias), and further failures of the same class. */
    ph_str recipient, original;
    const struct ph_outcome *also;
    uint32_t next_reports;         /* 1: sent, and the next hop reports success to the sender (it has DSN):
                                      we owe no success notice */
};

struct ph_transport {
    struct ph_scope *scope;        /* lives as long as the worker */
    void *self;
    const struct ph_transport_plugin *ops;
    struct ph_conf *conf;
    const char *service;           /* name in master.yaml: "relay" */
    const char *const *args;       /* its arguments, NULL-terminated */
    const char *unused;            /* set by open: services of `uses` that this configuration never calls;
                                      they are not opened inside this worker */
};

struct ph_delivery {
    struct ph_scope *scope;        /* of this delivery */
    struct ph_transport *transport;
    struct ph_message *message;
    ph_str nexthop;                /* "[relay.example]:25", "example.com" */
    struct ph_recipient *rcpt;
    uint32_t rcpt_count;
    uint32_t reuse;                /* 1: more mail for this next hop is likely */
    int64_t active_us;             /* wall clock: when it entered the active queue */
    void *host;                    /* core's */
    uint32_t probe;                /* 1: deliver nothing; outcomes say what would happen (PH_RCPT_SENT: it
                                      could be delivered).  Only plugins with .probes see it */
};

struct ph_transport_plugin {
    struct ph_plugin plugin;
    const char *needs;             /* "network", "mailbox", "private" ...: what the seal must allow; "spawn": calls of spawn.h */
    int32_t (*open)(struct ph_transport *t);
    /* Deliver; outcomes through ph_delivered.  The answer matters only when
     * negative: recipients still open are deferred with ph_error(). */
    int32_t (*deliver)(struct ph_transport *t, struct ph_delivery *d);
    const char *uses;              /* private services it calls: "cleanup rewrite" */
    uint32_t probes;               /* 1: deliver knows d->probe.  0: it is not called for probes, core says
                                      of every recipient that it can be delivered */
};

#define PH_PLUGIN_TRANSPORT(name_, ...) \
    PH_ENTRY_(struct ph_transport_plugin, transport_##name_##_LTX_ph_plugin, PH_KIND_TRANSPORT, PH_TRANSPORT_REVISION, name_, __VA_ARGS__)

/* Say the outcome of recipient i (once; a second is ignored with a warning).
 * Writes the log line of spec: to=, relay=, delay=, dsn=, status=. */
void ph_delivered(struct ph_delivery *d, uint32_t i, const struct ph_outcome *o);
/* The same for every recipient still open. */
void ph_delivered_all(struct ph_delivery *d, const struct ph_outcome *o);
/* The short form: status, dsn, relay and text. */
void ph_delivered_text(struct ph_delivery *d, uint32_t i, uint32_t status, const char *dsn,
                       const char *relay, const char *fmt, ...) PH_PRINTF(6, 7);

/* A recipient that stands for others (an alias).  First say of each member what
 * became of it: a line in the log with the member's address and original.  Then
 * end it: the recipient itself has the worst of what was said (deferred, bounced,
 * sent; sent when nothing was said), without another line; a notice names the
 * members that failed.  When it was sent, `action` and `text` are for the success
 * notice ("expanded", "alias expanded"; empty: those of the last member). */
void ph_delivered_member(struct ph_delivery *d, uint32_t i, const struct ph_recipient *member, const struct ph_outcome *o);
void ph_delivered_members(struct ph_delivery *d, uint32_t i, const char *action, const char *text);

/* Let another transport of this system deliver to recipient i, by the address of
 * `member`; it writes the log line, and what it says counts like
 * ph_delivered_member.  0; PH_CONF: no such transport; PH_TEMP: it gave no answer
 * (then nothing is said of the member).  Yields. */
int ph_delivery_pass(struct ph_delivery *d, uint32_t i, const struct ph_recipient *member, const char *transport,
                     ph_str nexthop) PH_YIELDS;

PH_END
#endif
