/* qmgr_priv: the objects of the queue manager, shared by its files. */
#ifndef CORE_SCHED_QMGR_PRIV_H
#define CORE_SCHED_QMGR_PRIV_H

#include <posthorn/clock.h>
#include <posthorn/error.h>
#include <posthorn/frame.h>
#include <posthorn/log.h>
#include <posthorn/map.h>
#include <posthorn/transport.h>
#include "core/base/list.h"
#include "core/queue/queue.h"
#include "core/sched/qmgr.h"
#include "core/sched/retry.h"
#include "core/sched/sched.h"

/* What each transport may have its own value of. */
enum knob {
    KNOB_RECIPIENTS, KNOB_CONCURRENCY, KNOB_INITIAL, KNOB_COHORTS, KNOB_RATE, KNOB_TRANSPORT_RATE,
    KNOB_SLOT_COST, KNOB_SLOT_LOAN, KNOB_SLOT_DISCOUNT, KNOB_MINIMUM_SLOTS,
    KNOB_POOL, KNOB_EXTRA, KNOB_REFILL, KNOB_REFILL_DELAY, KNOBS
};

struct qmgr_params {
    int64_t active_limit, recipient_limit, recipient_minimum;
    int64_t queue_run_delay, transport_retry_time, clog_warn_time, ipc_timeout, daemon_timeout, probe_limit;
    struct ph_retry_rules retry;
    int64_t delay_warning_time;
    int32_t confirm_delay_cleared, helpful_warnings, feedback_debug;
    int64_t each[KNOBS];
    ph_str positive, negative;
    ph_str defer_transports, recipient_delimiter, double_bounce;
    int64_t decimals;
    int32_t soft_bounce;
    ph_str queue_directory;
    ph_str mail_owner;
    int32_t sender_counts;         /* 1: routes may depend on the sender */
    int32_t address_counts;        /* 1: routes may depend on the whole address */
};

/* Tasks that do jobs in order of arrival; at most `max` at once. */
struct job {
    struct ph_list node;
    void (*run)(struct job *j);
};
struct crew {
    const char *name;
    struct ph_list jobs;
    struct ph_cond *wake;
    struct ph_group *group;
    unsigned idle, count, max;
};

enum stage {
    STAGE_RESOLVING,               /* waits for, or is being, resolved */
    STAGE_ACTIVE,                  /* the scheduler has it */
    STAGE_FINISHING,               /* the round is over */
    STAGE_STUCK,                   /* the disk said no: finished again later */
};

enum wish { WISH_NONE, WISH_DELETE, WISH_HOLD, WISH_REQUEUE, WISH_EXPIRE };

/* A message in the active queue: the holder of a loaded ph_qmsg. */
struct mail {
    struct job job;                /* resolving, finishing */
    struct qmgr *q;
    struct ph_qmsg *m;
    struct ph_sched_msg *sched;    /* while STAGE_ACTIVE */
    enum stage stage;
    enum wish wish;
    int64_t active_us;
    unsigned pins;                 /* it is being looked at: not finished before 0 */
    int finish_after;              /* 1: the end of the round waits for pins */
    int has_log;                   /* 1: there may be logs to remove */
    int has_trace;                 /* 1: the trace log has something that is not told yet */
    struct unsaid *unsaid;         /* bouncer.c: records that wait for the bounce service */
    int is_old;                    /* 1: earlier attempts, or lives, may have left logs */
    int flushed;                   /* 1: somebody asked for this attempt */
    struct batch *batch;           /* recipients that are being resolved, or NULL */
    struct ph_rcpt_cursor at;      /* where to read on */
    uint32_t unread;               /* pending recipients not read yet, about */
    uint32_t want;                 /* how many to read next */
    uint32_t reserved;             /* counted by the scheduler, not yet added to it */
    int damaged;                   /* 1: recipients cannot be read */
    int is_probe;                  /* 1: of the verify service, counted in q->probes */
    int excess;                    /* 1: a probe beyond the limit */
    int was_deferred;              /* 1: counted in q->old */
};

struct qmgr {
    struct ph_service *service;
    int (*call)(struct ph_scope *s, const char *name, const struct ph_frame *request,
                struct ph_frame **reply);          /* ph_service_call; a test's own */
    struct ph_conf *conf;
    struct ph_scope *scope;
    struct ph_scope *conf_scope;   /* of p; replaced by a reload */
    struct ph_group *group;
    struct qmgr_params p;
    struct ph_queue *queue;
    struct ph_sched *sched;
    struct ph_retry *retry;
    struct ph_list unread;         /* ph_qmsg.node: in slots, beyond the active limit */
    struct ph_cond *feed_wake;
    int64_t scan_s;                /* deferred mail due at this time may enter */
    int turn;                      /* 1: deferred mail is next */
    size_t active;                 /* mail in memory, and what is being loaded */
    size_t old;                    /* mail that had been deferred among it */
    size_t probes;                 /* address probes among it */
    struct crew resolvers, settlers, finishers;
    struct ph_map *lanes;          /* by transport */
    struct ph_cond *clock_wake;
    struct ph_cond *pace_wake;
    int64_t pace_ms;               /* until when the pace task waits */
    int parked;                    /* 1: some message waits for AGAIN_S, not for a retry time */
    int indexing;                  /* 1: the deferred directory is being read */
    int reindex;                   /* 1: and shall be again */
    struct ph_list choices;        /* requests under way that are about many messages: choice.c */
    struct ph_scope *routes_scope;
    struct ph_map *routes;         /* what rewrite said lately */
};

/* params.c */
int ph_qmgr_params_load(struct ph_conf *c, struct ph_scope *s, struct qmgr_params *p);
void ph_qmgr_limits(void *q, ph_str transport, struct ph_sched_limits *out);
extern const struct ph_param ph_qmgr_rows[];
extern const size_t ph_qmgr_rows_count;

/* qmgr.c */
int64_t ph_wall_s(void);
/* With its first member, so that a job never waits for one: 0, PH_TEMP. */
int ph_crew_init(struct crew *c, struct ph_scope *s, struct ph_group *g, const char *name, unsigned max);
void ph_crew_add(struct crew *c, struct job *j, void (*run)(struct job *));

/* feed.c: who enters the active queue next. */
int ph_feed_start(struct qmgr *q);              /* 0, PH_TEMP */
void ph_feed_arrived(void *q, struct ph_qmsg *m);
int ph_feed_has_room(void *q, uint32_t rcpts);
/* Something may be able to enter. */
void ph_feed_wake(struct qmgr *q);
/* The mail that holds m; NULL: nobody does, or it is being read just now (then
 * m->holder is the qmgr itself). */
struct mail *ph_mail_of(struct qmgr *q, const struct ph_qmsg *m);
/* Try it again at that time (seconds); it stays with the store. */
void ph_feed_park(struct qmgr *q, struct ph_qmsg *m, int64_t when_s);
/* A message that was taken out (m->holder was set to the qmgr) goes back to
 * where it came from; one with nothing pending is finished. */
void ph_feed_return(struct qmgr *q, struct ph_qmsg *m, int in_memory);
/* The mail is no longer active; its ph_qmsg is gone or somebody else's. */
void ph_mail_free(struct mail *mail);
/* Read the deferred directory into the index (at start, on flush). */
void ph_feed_index(struct qmgr *q);
void ph_clock_task(void *q);

/* batch.c */
#define WHOLE_MAX   100u           /* recipients of a message that is read whole */
#define PORTION_MAX 100u           /* read, and kept, together */
struct route;
struct batch {
    struct ph_scope *scope;
    uint32_t n, room;
    uint32_t *which;               /* their numbers */
    struct ph_message_rcpt **rcpt;
    struct ph_portion **portion;   /* each has a user for each */
    const struct route **route;    /* resolve.c; NULL: not known */
};
/* Count n recipients for this mail until they are added to the scheduler. */
void ph_batch_reserve(struct mail *mail, uint32_t n);
/* Read up to max pending recipients into mail->batch (which is NULL before, and
 * never after): 0, or negative with what could be read before (nothing is unread
 * then).  Yields unless the message was read whole. */
int ph_batch_read(struct mail *mail, uint32_t max) PH_YIELDS;
void ph_batch_end(struct mail *mail);
/* Recipients that were handed to the scheduler came back. */
void ph_batch_shipped(struct mail *mail, const uint32_t *rcpt, uint32_t n);

/* resolve.c */
void ph_resolve_mail(struct mail *mail);
/* Read up to n more recipients and hand them to the scheduler. */
void ph_resolve_more(struct mail *mail, uint32_t n);
void ph_resolve_forget(struct qmgr *q);

/* lane.c: send this entry to its transport. */
void ph_lane_send(struct qmgr *q, struct ph_sched_entry *e);

/* pace.c: ask the scheduler what is to be done now, whenever that may have
 * changed: entries, portions of recipients, warnings. */
void ph_pump(struct qmgr *q);
/* Pumps when a timed state of the scheduler ends. */
void ph_pace_task(void *q);

/* settle.c */
/* Outcomes of recipients (by index): logs, then marks.  What cannot be logged
 * stays pending.  Does not yield when settle_is_quick. */
void ph_settle(struct mail *mail, const struct ph_outcome *o, const uint32_t *rcpt, uint32_t n) PH_YIELDS;
int ph_settle_is_quick(const struct mail *mail, const struct ph_outcome *o, const uint32_t *rcpt, uint32_t n);
/* An alias whose members are recipients of their own: its sender hears of it, and
 * it is done.  No log line: nothing was delivered to it. */
void ph_settle_expanded(struct mail *mail, uint32_t rcpt) PH_YIELDS;
/* The same outcome for these recipients, said by us: writes their log lines. */
void ph_settle_ourselves(struct mail *mail, const uint32_t *rcpt, uint32_t n, uint32_t status,
                      ph_str dsn, ph_str text) PH_YIELDS;

/* finish.c: the round is over (nothing in flight). */
void ph_finish_mail(struct mail *mail);
void ph_mail_unpin(struct mail *mail);

/* bouncer.c: requests to bounce: 0, or negative with text. */
int ph_bouncer_append(struct mail *mail, const char *log, const struct ph_outcome *const *o,
                   const uint32_t *rcpt, uint32_t n) PH_YIELDS;
/* Records that could not be written now and must not be lost while we live: kept in
 * memory; say_kept writes them: 0, or negative (the rest is kept). */
void ph_bouncer_keep(struct mail *mail, const char *log, const struct ph_outcome *const *o, const uint32_t *rcpt, uint32_t n);
int ph_bouncer_say_kept(struct mail *mail) PH_YIELDS;
void ph_bouncer_forget(struct mail *mail);
/* Set has[i] of each recipient of which the defer log has words. */
int ph_bouncer_words(struct mail *mail, unsigned char *has) PH_YIELDS;
int ph_bouncer_notify(struct mail *mail, const char *kind) PH_YIELDS;
int ph_bouncer_remove(struct qmgr *q, ph_str id, const char *log) PH_YIELDS;
/* All logs of these. */
int ph_bouncer_remove_many(struct qmgr *q, const ph_str *id, unsigned n) PH_YIELDS;

/* control.c, survive.c: clients after their hello. */
int ph_control_serve(struct qmgr *q, struct ph_scope *session, struct ph_stream *io) PH_YIELDS;
int ph_survive_serve(struct qmgr *q, struct ph_scope *session, struct ph_stream *io) PH_YIELDS;

#endif
