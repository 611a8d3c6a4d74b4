/* control: one request of an administrator's command; shared by control.c and
 * list.c. */
#ifndef CORE_SCHED_CONTROL_H
#define CORE_SCHED_CONTROL_H

#include "core/sched/qmgr_priv.h"

struct control {
    struct qmgr *q;
    struct ph_stream *io;
    struct ph_scope *s;            /* of the request */
    struct ph_frame *f, *reply;
    int trusted;
};

/* The ids of all messages in the queues that the request names, each with LF. */
int ph_control_collect(struct control *c, struct ph_buf *ids) PH_YIELDS;
/* PH_FOUND with *m: a mail's, or taken (m->holder is the qmgr: give it back with
 * ph_feed_return); PH_NONE; PH_TEMP when somebody else looks at it for long. */
int ph_control_take(struct qmgr *q, ph_str id, struct ph_qmsg **m, int *in_memory) PH_YIELDS;
int ph_control_list(struct control *c) PH_YIELDS;

#endif
