/* control: one request of an administrator's command; shared by control.c,
 * choice.c, remove.c and list.c. */
#ifndef CORE_SCHED_CONTROL_H
#define CORE_SCHED_CONTROL_H

#include "core/sched/qmgr_priv.h"

struct control {
    struct qmgr *q;
    struct ph_stream *io;
    struct ph_scope *s;            /* of the request */
    struct ph_frame *f, *reply;
    int trusted;
    int gone;                      /* 1: the client is */
};

/* The messages of the queues that a request names, each once (one that is put on hold
 * or released behind the walk perhaps twice): those in memory when
 * it begins, then those found in the directories.  Whoever is there all the time is
 * given, whatever state he moves to meanwhile (a retried message keeps its file in
 * deferred; one released from hold is remembered here). */
struct choice {
    struct ph_list node;           /* in qmgr.choices */
    struct control *c;
    struct ph_retry *memory;       /* ids, at the step in which they are given: CHOICE_* */
    struct ph_walk *walk;          /* or NULL */
    struct ph_scope *walk_scope, *step;            /* of walk; of id */
    unsigned place;                /* of walk */
    ph_str id;                     /* what was given */
    const struct ph_glance *glance;
};
#define CHOICE_ACTIVE 0
#define CHOICE_REST   1
#define CHOICE_GIVEN  2
/* Ends with the scope of the request. */
struct choice *ph_control_choose(struct control *c);
/* PH_FOUND: h->id, valid until the next call, and, of a file that nobody has in
 * memory and when `glances` says so, h->glance (else NULL); PH_NONE at the end;
 * PH_TEMP (a directory could not be read), PH_CANCEL. */
int ph_control_next(struct choice *h, int glances) PH_YIELDS;
/* A message goes from hold to deferred: choices under way might miss it. */
void ph_control_released(struct qmgr *q, ph_str id);
/* PH_FOUND with *m: a mail's, or taken (m->holder is the qmgr: give it back with
 * ph_feed_return); PH_NONE; PH_TEMP when somebody else looks at it for long. */
int ph_control_take(struct qmgr *q, ph_str id, struct ph_qmsg **m, int *in_memory) PH_YIELDS;
int ph_control_list(struct control *c) PH_YIELDS;
/* 1 when it is in one of the queues that the request names. */
int ph_control_wants(const struct control *c, const struct ph_qmsg *m);
/* From hold to its next attempt, now: 0 with m gone from our hands, PH_NONE when it is
 * not on hold, negative (both: still ours). */
int ph_control_release(struct qmgr *q, struct ph_qmsg *m) PH_YIELDS;
/* Carry out a wish about one message: 0 done, PH_NONE no such message (or nothing to
 * do), negative.  Unless `anywhere` it must be in a queue that the request names: what
 * was put on hold a moment ago is not deleted as a deferred message. */
int ph_control_change(struct control *c, ph_str id, int anywhere, enum wish wish) PH_YIELDS;
/* Delete all that are meant: how many, also when it ends early. */
int ph_control_remove_all(struct control *c, uint64_t *count) PH_YIELDS;

#endif
