/* sched: which delivery is next.  Pure: no I/O, no clock; `now` (milliseconds
 * on any one clock) is passed in, so that a test replays days in milliseconds.
 *
 * A message gets one job per transport, a job one peer per destination, a peer
 * entries of at most recipient_limit recipients; an entry is one delivery
 * request.  A destination is (transport, next hop), or (transport, recipient)
 * when the transport's recipient limit is 1.
 *
 * Rules: transports take turns, so a busy or broken one never delays another;
 * inside a transport jobs go in order of activation, and within a job its
 * destinations rotate; a destination never has more requests in flight than
 * its window (feedback.c); one that fails is dead for a while and its entries
 * come out at once with the reason, to be deferred without a connection.
 *
 * Price of a step: O(log destinations) at most, never a walk over the backlog:
 * what can be selected stands in heaps ordered by job rank.  (A preempting job
 * will change its rank; nothing else.)
 *
 * Files: sched.c activation, selection, completion; dest.c destinations and
 * transports, ready heaps, dead and timed states; feedback.c the window of a
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
    uint32_t reuse;                /* 1: more entries wait for this destination */
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
struct ph_sched_msg *ph_sched_open(struct ph_sched *s, void *user);
void ph_sched_add(struct ph_sched_msg *m, ph_str transport, ph_str nexthop, ph_str key, uint32_t rcpt);
/* Recipients are complete; without any the message is freed at once and the
 * answer is 1 (nothing to do), else 0. */
int ph_sched_close(struct ph_sched_msg *m);

/* The next entry, now in flight; NULL when nothing can be done before the next
 * call of ph_sched_done, _close or the time ph_sched_wake. */
struct ph_sched_entry *ph_sched_next(struct ph_sched *s, int64_t now);
/* When a timed state ends next; INT64_MAX: none does. */
int64_t ph_sched_wake(const struct ph_sched *s);
/* The entry is over and void.  1 when it was the last of its message, which is
 * void then too; else 0. */
int ph_sched_done(struct ph_sched *s, struct ph_sched_entry *e, enum ph_sched_outcome how,
                  ph_str dsn, ph_str reason, int64_t now);
/* Take back what was not selected yet (the message is deleted or held).  1
 * when nothing is in flight: the message is void; else 0. */
int ph_sched_withdraw(struct ph_sched *s, struct ph_sched_msg *m);

/* The transport cannot be reached until then: its entries come out as
 * PH_SCHED_UNAVAILABLE. */
void ph_sched_throttle(struct ph_sched *s, ph_str transport, ph_str dsn, ph_str reason, int64_t until);
/* Forget every dead destination and throttled transport (flush). */
void ph_sched_forget(struct ph_sched *s);

/* For limits, listings and tests. */
struct ph_sched_stats {
    size_t messages, entries, in_flight, destinations, transports, dead;
};
void ph_sched_stats(const struct ph_sched *s, struct ph_sched_stats *out);

#endif
