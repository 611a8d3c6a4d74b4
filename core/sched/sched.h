/* sched: which delivery is next.  Pure: no I/O, no clock; `now` (milliseconds
 * on any one clock) is passed in, so that a test replays days in milliseconds.
 *
 * A message gets one job per transport, a job one peer per destination, a peer
 * entries of at most recipient_limit recipients; an entry is one delivery
 * request.  A destination is (transport, next hop), or (transport, recipient)
 * when the transport's recipient limit is 1.
 *
 * Rules: transports take turns, so a busy or broken one never delays another;
 * inside a transport jobs go in order of activation, but a small one may pass a
 * large one that has earned it (preempt.c); within a job its destinations
 * rotate; a destination never has more requests in flight than its window
 * (feedback.c), nor more often than its rate delay; one that fails is dead for a
 * while and its entries come out at once with the reason, to be deferred without
 * a connection.  A message of very many recipients is read in portions, when the
 * rules of refill.c say that there is room.
 *
 * Price of a step: O(log destinations) and a constant for the size classes of
 * jobs, never a walk over the backlog: what can be selected stands in heaps.
 * A job that passes another takes its place once, which costs it one step for
 * each of its own destinations.  stats.work counts, and a test holds it down.
 *
 * Files: sched.c activation, selection, completion; dest.c destinations and
 * transports, ready heaps; timed.c states that end by themselves; preempt.c who
 * may pass whom; refill.c recipients in memory; feedback.c the window of a
 * destination; retry.c retry times and the index of deferred messages. */
#ifndef CORE_SCHED_SCHED_H
#define CORE_SCHED_SCHED_H

#include <posthorn/scope.h>

struct ph_sched;
struct ph_sched_msg;

/* x, x/window or x/sqrt(window): one outcome's effect on a window. */
struct ph_feedback {
    double x;
    enum { PH_FEEDBACK_CONST, PH_FEEDBACK_INVERSE, PH_FEEDBACK_SQRT } form;
};

/* What one transport allows. */
struct ph_sched_limits {
    uint32_t recipients;           /* per request; 0: no limit */
    uint32_t concurrency;          /* per destination; 0: no limit */
    uint32_t initial;              /* window of a new destination, >= 1 */
    uint32_t in_flight;            /* requests of the whole transport at once; 0: no limit */
    double failed_cohorts;         /* of whole-window failures until dead; 0: never dead */
    struct ph_feedback positive, negative;
    int64_t dead_ms;               /* how long a dead destination is left alone */
    int64_t rate_ms;               /* after a delivery its destination rests so long; 0: not at all.
                                      Else its window is one. */
    int64_t transport_rate_ms;     /* between starts of the whole transport */
    /* Who may pass whom.  A job earns a slot for each slot_cost of its entries that
     * were sent; n slots let a job of n entries pass. */
    uint32_t slot_cost;            /* 0: nobody passes anybody; else >= 2 */
    uint32_t slot_loan;            /* slots granted in advance */
    uint32_t slot_discount;        /* percent of n granted in advance, 0..100 */
    uint32_t minimum_slots;        /* who can never earn so many, in all, is not passed */
    /* Recipients in memory. */
    uint32_t recipient_limit;      /* of this transport's jobs */
    uint32_t extra_recipient_limit;    /* more, for jobs that passed another */
    uint32_t refill_limit;         /* so much room lets a message be read on */
    int64_t refill_ms;             /* or so much time, when there is any room */
};

/* The text form "1", "0.5", "1/concurrency", "1/sqrt_concurrency"; the number
 * is 0..1.  1, or 0: bad syntax. */
int ph_feedback_parse(ph_str text, struct ph_feedback *f);

/* What comes out of selection. */
enum ph_sched_kind {
    PH_SCHED_DELIVER,              /* send it to the transport */
    PH_SCHED_SUSPENDED,            /* the destination is dead: defer with `reason` */
    PH_SCHED_UNAVAILABLE,          /* the transport is: defer with `reason` */
};

struct ph_sched_entry {
    struct ph_sched_msg *msg;
    void *user;                    /* the message's, given to ph_sched_open */
    enum ph_sched_kind kind;
    ph_str transport, nexthop;     /* live as long as the entry is in flight */
    ph_str reason, dsn;            /* copies on the message; kind not DELIVER */
    uint32_t *rcpt;                /* indices the caller gave */
    uint32_t n;
    uint32_t reuse;                /* 1: deliveries to this destination go back to back */
};

/* How the delivery ended, seen from the destination. */
enum ph_sched_outcome {
    PH_SCHED_ALIVE,                /* any answer of the site, good or bad, is a sign of life */
    PH_SCHED_SITE_FAILED,          /* the site did not talk to us: dsn, reason say why */
    PH_SCHED_NEUTRAL,              /* nothing learnt (the agent died, the request was withdrawn) */
};

/* limits(arg, transport, out) is asked once for each transport that turns up. */
struct ph_sched *ph_sched_new(struct ph_scope *s,
                              void (*limits)(void *arg, ph_str transport, struct ph_sched_limits *out),
                              void *arg);
/* At most so many dead destinations are remembered (default 20000). */
void ph_sched_dead_max(struct ph_sched *s, size_t max);
/* Ask for the limits of every known transport again (reload). */
void ph_sched_reconfigure(struct ph_sched *s);

/* Activation, in one go without other calls between: open, add each
 * recipient, close.  `key` names the destination when the transport's
 * recipient limit is 1 (the recipient without its extension). */
struct ph_sched_msg *ph_sched_open(struct ph_sched *s, void *user, int64_t now);
/* 1 when the key matters for this transport. */
int ph_sched_by_recipient(struct ph_sched *s, ph_str transport);
void ph_sched_add(struct ph_sched_msg *m, ph_str transport, ph_str nexthop, ph_str key, uint32_t rcpt);
/* So many of its recipients were not read yet (0: all were). */
void ph_sched_unread(struct ph_sched_msg *m, uint32_t n);
/* Recipients are complete for now; with nothing to do and nothing unread the
 * message is freed at once and the answer is 1, else 0. */
int ph_sched_close(struct ph_sched_msg *m);

/* Recipients in memory: each message may have `minimum`; beyond that a new one
 * may have what is left of `limit`, and one that goes on what refill.c grants. */
void ph_sched_recipients(struct ph_sched *s, uint32_t minimum, uint32_t limit);
/* How many recipients a new message may read at first. */
uint32_t ph_sched_appetite(const struct ph_sched *s);
/* Recipients that were read but not added yet count too: `was` before, `is` now. */
void ph_sched_reserve(struct ph_sched *s, uint32_t was, uint32_t is);
/* A message that shall read up to *n recipients on: 1, or 0.  Then the caller
 * must call ph_sched_reopen, add, unread and close, sooner or later; meanwhile
 * the message is not over. */
int ph_sched_hungry(struct ph_sched *s, int64_t now, struct ph_sched_msg **m, void **user, uint32_t *n);
void ph_sched_reopen(struct ph_sched_msg *m, int64_t now);

/* The next entry, now in flight; NULL when nothing can be done before the next
 * call of ph_sched_done, _close or the time ph_sched_wake. */
struct ph_sched_entry *ph_sched_next(struct ph_sched *s, int64_t now);
/* When a timed state ends next; INT64_MAX: none does. */
int64_t ph_sched_wake(const struct ph_sched *s);
/* The entry is over and void.  1 when it was the last of its message, which is
 * void then too; else 0. */
int ph_sched_done(struct ph_sched *s, struct ph_sched_entry *e, enum ph_sched_outcome how,
                  ph_str dsn, ph_str reason, int64_t now);
/* Take back what was not selected or read yet (the message is deleted or held).
 * 1 when nothing is in flight and it is not being read: the message is void; else 0. */
int ph_sched_withdraw(struct ph_sched *s, struct ph_sched_msg *m);

/* The transport cannot be reached until then: its entries come out as
 * PH_SCHED_UNAVAILABLE. */
void ph_sched_throttle(struct ph_sched *s, ph_str transport, ph_str dsn, ph_str reason, int64_t until);
/* Forget every dead destination and throttled transport (flush); rate delays
 * hold. */
void ph_sched_forget(struct ph_sched *s);

/* A destination for which more than `max` entries wait is noted (0: never).
 * clogged: 1 and the last one noted, at most once each every_ms. */
struct ph_sched_clog {
    ph_str transport, nexthop;     /* valid until the next call of another function */
    uint32_t entries;
};
void ph_sched_clog_max(struct ph_sched *s, uint32_t max);
int ph_sched_clogged(struct ph_sched *s, int64_t now, int64_t every_ms, struct ph_sched_clog *out);
/* Told each change of a window: which, and its counters (NULL: nobody). */
struct ph_sched_trace {
    ph_str transport, nexthop;
    const char *event;             /* "success", "failure", "dead" */
    uint32_t window, busy;
    double success, failure, cohorts;
};
void ph_sched_tracer(struct ph_sched *s, void (*fn)(void *arg, const struct ph_sched_trace *t), void *arg);

/* For limits, listings and tests. */
struct ph_sched_stats {
    size_t messages, entries, in_flight, destinations, transports, dead;
    size_t recipients;             /* in memory, and promised to those that read on */
    uint64_t passes;               /* how often a job passed another */
    uint64_t work;                 /* comparisons made: the price of all steps so far */
};
void ph_sched_stats(const struct ph_sched *s, struct ph_sched_stats *out);

#endif
