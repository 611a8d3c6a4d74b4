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

/* A state that ends by itself (timed.c). */
enum timed_kind {
    TIMED_DEAD,                    /* a destination; ended by a flush too */
    TIMED_DOWN,                    /* a transport; the same */
    TIMED_REST,                    /* a destination, rate delay */
    TIMED_PACE,                    /* a transport, rate delay */
    TIMED_HUNGER,                  /* a message that is to be read on */
};
struct timed {
    enum timed_kind kind;
    struct ph_sched *sched;
    int64_t until;
    size_t index;                  /* in sched.faults or .pauses; 0: not in this state */
    ph_str dsn, reason;            /* heap, owned */
};

/* Warmth of a destination: what a delivery adds, and where steady traffic begins. */
#define PH_SCHED_ONE  1000
#define PH_SCHED_WARM (8 * PH_SCHED_ONE)

/* Size classes of jobs: exact up to 7 entries, then four to an octave. */
#define CLASSES 124u

struct transport {
    struct ph_sched *sched;
    struct ph_sched_limits limits;
    struct ph_map *dests;          /* by key */
    struct ph_heap ready;          /* destinations that may send, best first */
    struct ph_list waiting;        /* destinations with entries to do, in any state */
    struct ph_list turn;           /* in sched.turns while something may be sent */
    struct ph_list doomed;         /* in sched.doomed_transports */
    struct ph_list readers;        /* jobs whose message has unread recipients, first come first */
    struct ph_heap candidates[CLASSES];    /* shelves of ready destinations, the oldest job first */
    uint64_t has_candidates[2];    /* bit of each class that is not empty */
    struct timed down, pace;
    struct job *newest;            /* job looked up last, while its message is open */
    uint32_t in_flight;
    uint32_t rcpts;                /* in memory */
    ph_str name;
};

/* The jobs of one size class that wait for one destination. */
struct shelf {
    struct shelf *next;            /* of the same destination */
    struct dest *d;
    unsigned size_class;
    struct ph_heap peers;          /* the oldest job first */
    size_t index;                  /* in transport.candidates[size_class]; 0: not there */
};

struct dest {
    struct transport *t;
    struct window window;
    struct ph_heap peers;          /* with entries to do, in the order of jobs */
    struct shelf *shelves;
    struct ph_list waiting, doomed;
    struct ph_list idle;           /* in sched.idle while it has no mail and is kept */
    struct timed dead, rest;
    struct peer *newest;           /* peer made last, while its message is open */
    uint64_t served;               /* tick of the last selection: the longest ago goes first */
    size_t ready_index;            /* in t->ready; 0: not there */
    uint32_t busy;
    uint32_t todo;                 /* entries that wait */
    uint32_t reuse;                /* deliveries go back to back */
    int64_t warmth, warm_at;       /* is_warm in sched.c */
    ph_str key, nexthop;
};

/* Order of jobs: rank, then the higher level, then who passed first.  A job that
 * passes another gets the other's rank and the next level, so it stands just
 * before it and behind nobody whom the other stood before. */
struct job {
    struct ph_list node;           /* in msg.jobs */
    struct ph_list peers;
    struct ph_sched_msg *msg;
    struct transport *t;
    uint64_t number, rank, order;  /* number: order of activation, never changes */
    uint32_t level;
    int64_t born;
    uint32_t todo;                 /* entries not selected */
    uint32_t selected;             /* entries that were */
    uint32_t rcpts;                /* in memory */
    unsigned size_class;           /* where its peers are shelved */
    /* Slots (preempt.c). */
    int64_t earned, charged;       /* entries sent; slots paid for those that passed */
    struct job *parent;            /* whom it passed, or NULL */
    uint32_t price;                /* what the parent paid */
    struct ph_list children, sibling;
    struct ph_list reader;         /* in t->readers */
};

struct peer {
    struct ph_list node;           /* in job.peers */
    struct job *job;
    struct dest *d;
    struct ph_list fresh;          /* in msg.fresh while the message is open */
    struct ph_list entries;        /* not selected yet */
    uint32_t count;                /* entries, those in flight too; it ends with the last */
    size_t heap_index;             /* in d->peers; 0: nothing to do */
    struct shelf *shelf;           /* NULL: not a candidate */
    size_t shelf_index;
};

struct entry {
    struct ph_sched_entry pub;     /* first: the caller's pointer */
    struct ph_list node;
    struct peer *peer;
    uint32_t cap;
    uint32_t few[2];               /* the first recipients */
};

struct ph_sched_msg {
    struct ph_list node;           /* in sched.messages */
    struct ph_sched *sched;
    struct ph_scope *scope;        /* its jobs */
    void *user;
    struct ph_list jobs;
    struct ph_list flying;         /* entries in flight */
    struct ph_list fresh;          /* peers made while it is open */
    uint32_t todo, in_flight;      /* entries */
    uint32_t rcpts;                /* in memory */
    uint32_t unread, reading;      /* not read; being read now, of those */
    struct ph_list hungry;         /* in sched.hungry */
    struct timed hunger;
};

struct ph_sched {
    void (*limits)(void *, ph_str, struct ph_sched_limits *);
    void *limits_arg;
    void (*tracer)(void *, const struct ph_sched_trace *);
    void *tracer_arg;
    struct ph_map *transports;
    struct ph_list messages;
    struct ph_list turns;          /* transports, the next to be served first */
    struct ph_list doomed_transports, doomed_dests;   /* entries come out at once */
    struct ph_list hungry;         /* messages that shall be read on */
    struct ph_list idle;           /* destinations without mail, the longest first */
    size_t idle_count;
    struct ph_heap faults, pauses; /* timed states; a flush ends the faults */
    struct ph_sched_msg *open;
    int64_t open_now;
    uint64_t number, tick;
    size_t dead_max;
    uint32_t recipient_minimum, recipient_limit;
    uint32_t clog_max;
    struct dest *clog;
    int64_t clog_next;
    struct ph_sched_stats stats;
};

/* dest.c */
struct transport *ph_sched_transport_get(struct ph_sched *s, ph_str name);
struct dest *ph_sched_dest_get(struct transport *t, ph_str nexthop, ph_str key);
/* Put the destination (and its transport) where its state belongs; frees it
 * when nothing is left to remember.  After it d may be void. */
void ph_sched_dest_settle(struct dest *d);
void ph_sched_transport_settle(struct transport *t);
/* Forget those that have been without mail for a while. */
void ph_sched_idle_run(struct ph_sched *s, int64_t now);
void ph_sched_end(void *arg);
/* Free what a message holds, at the end of the scheduler. */
void ph_sched_msg_discard(struct ph_sched_msg *m);
/* < 0 when a goes before b. */
int ph_sched_job_cmp(const struct job *a, const struct job *b);

/* timed.c */
void ph_sched_timers_init(struct ph_sched *s);
void ph_sched_timed_init(struct timed *t, struct ph_sched *s, enum timed_kind kind);
void ph_sched_timed_begin(struct timed *t, ph_str dsn, ph_str reason, int64_t until);
/* Leave the state now, without what its end would do; frees its texts. */
void ph_sched_timed_drop(struct timed *t);
void ph_sched_dest_doom(struct dest *d, ph_str dsn, ph_str reason, int64_t until);
/* End the states that are over at `now`. */
void ph_sched_timers_run(struct ph_sched *s, int64_t now);

/* preempt.c */
/* The smallest class whose jobs may have n entries. */
unsigned ph_sched_class(uint64_t n);
/* A peer got entries; has none any more. */
void ph_sched_shelve(struct peer *p);
void ph_sched_unshelve(struct peer *p);
/* The destination became ready, or stopped being it. */
void ph_sched_shelves_settle(struct dest *d);
void ph_sched_shelves_free(struct dest *d);
/* More is known of a message: its jobs may belong to a smaller class. */
void ph_sched_reshelve(struct job *j);
/* Let a job pass the one that is next, when the rules say so. */
void ph_sched_preempt(struct transport *t, int64_t now);
/* All entries of a job were selected and none will come. */
void ph_sched_job_over(struct job *j);

/* refill.c */
void ph_sched_take_in(struct job *j, uint32_t n);
void ph_sched_let_go(struct job *j, uint32_t n);
/* After a change of unread, and of what it has in memory. */
void ph_sched_read_on(struct ph_sched_msg *m, int64_t now);
void ph_sched_hunger_over(struct ph_sched_msg *m);
void ph_sched_read_end(struct ph_sched_msg *m);

#endif
