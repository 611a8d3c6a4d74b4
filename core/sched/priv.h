/* priv: the objects of the scheduler, shared by its files only. */
#ifndef CORE_SCHED_PRIV_H
#define CORE_SCHED_PRIV_H

#include <posthorn/error.h>
#include <posthorn/map.h>
#include "core/base/heap.h"
#include "core/base/list.h"
#include "core/sched/sched.h"

/* The concurrency window of one destination (feedback.c). */
struct window {
    uint32_t size;
    double success, failure;       /* fractions of a step up, of a step down */
    double cohorts;                /* whole windows that failed in a row */
};

void ph_window_init(struct window *w, const struct ph_sched_limits *l);
/* `busy` counts the delivery that just ended. */
void ph_window_success(struct window *w, uint32_t busy, const struct ph_sched_limits *l);
/* 1: the destination is dead. */
int ph_window_failure(struct window *w, const struct ph_sched_limits *l);

/* A state that ends by itself: a dead destination, a throttled transport. */
struct timed {
    int64_t until;
    size_t index;                  /* in sched.timers; 0: not in this state */
    int is_transport;
    ph_str dsn, reason;            /* heap, owned */
};

struct transport {
    struct ph_sched *sched;
    struct ph_sched_limits limits;
    struct ph_map *dests;          /* by key */
    struct ph_heap ready;          /* destinations that may send, best first */
    struct ph_list waiting;        /* destinations with entries to do, in any state */
    struct ph_list turn;           /* in sched.turns while something may be sent */
    struct ph_list doomed;         /* in sched.doomed_transports */
    struct timed down;
    struct job *newest;            /* job made last, while its message is open */
    uint32_t in_flight;
    ph_str name;
};

struct dest {
    struct transport *t;
    struct window window;
    struct ph_heap peers;          /* with entries to do, by job rank */
    struct ph_list waiting, doomed;
    struct timed dead;
    struct peer *newest;           /* peer made last, while its message is open */
    uint64_t served;               /* tick of the last selection: the longest ago goes first */
    size_t ready_index;            /* in t->ready; 0: not there */
    uint32_t busy;
    ph_str key, nexthop;
};

struct job {
    struct ph_list node;           /* in msg.jobs */
    struct ph_list peers;
    struct ph_sched_msg *msg;
    struct transport *t;
    uint64_t rank;                 /* order among jobs; a preempting job would get a better one */
};

struct peer {
    struct ph_list node;           /* in job.peers */
    struct job *job;
    struct dest *d;
    struct ph_list entries;        /* not selected yet */
    size_t heap_index;             /* in d->peers; 0: nothing to do */
};

struct entry {
    struct ph_sched_entry pub;     /* first: the caller's pointer */
    struct ph_list node;
    struct peer *peer;
    uint32_t cap;
};

struct ph_sched_msg {
    struct ph_list node;           /* in sched.messages */
    struct ph_sched *sched;
    struct ph_scope *scope;        /* jobs, peers, entries */
    void *user;
    struct ph_list jobs;
    uint32_t todo, in_flight;      /* entries */
};

struct ph_sched {
    void (*limits)(void *, ph_str, struct ph_sched_limits *);
    void *limits_arg;
    struct ph_map *transports;
    struct ph_list messages;
    struct ph_list turns;          /* transports, the next to be served first */
    struct ph_list doomed_transports, doomed_dests;   /* entries come out at once */
    struct ph_heap timers;
    struct ph_sched_msg *open;
    uint64_t rank, tick;
    size_t dead_max;
    struct ph_sched_stats stats;
};

/* dest.c */
struct transport *ph_sched_transport_get(struct ph_sched *s, ph_str name);
struct dest *ph_sched_dest_get(struct transport *t, ph_str nexthop, ph_str key);
/* Put the destination (and its transport) where its state belongs; frees it
 * when nothing is left to remember.  After it d may be void. */
void ph_sched_dest_settle(struct dest *d);
void ph_sched_transport_settle(struct transport *t);
void ph_sched_dest_doom(struct dest *d, ph_str dsn, ph_str reason, int64_t until);
/* End timed states that are over at `now` (all: whatever their time). */
void ph_sched_timers_run(struct ph_sched *s, int64_t now, int all);
void ph_sched_end(void *arg);
int ph_sched_timed_cmp(const void *a, const void *b);
void ph_sched_timed_place(void *item, size_t index);

#endif
