/* queue_pair: a receiver dials the queue of its own process. */
#ifndef T_QUEUE_PAIR_H
#define T_QUEUE_PAIR_H

#include <posthorn/task.h>
#include "core/queue/hub.h"
#include "core/queue/store.h"

struct queue_server {
    struct ph_scope *scope;
    struct ph_stream *io;
    struct ph_queue *queue;
};

static void queue_serve(void *arg)
{
    struct queue_server *v = arg;
    struct ph_scope *s = v->scope;
    struct ph_frame *hello;

    if (ph_frame_recv(v->io, s, 0, &hello) > 0)
        ph_queue_serve_intake(v->queue, s, v->io, hello);
    ph_stream_close(v->io);
    ph_scope_free(s);
}

/* The receiver's end in *io; the other is served by a task of that group. */
static int queue_pair(struct ph_queue *q, struct ph_group *group, struct ph_scope *s, struct ph_stream **io)
{
    struct ph_scope *far = ph_scope_new(NULL);
    struct queue_server *v = ph_new(far, struct queue_server);

    v->scope = far;
    v->queue = q;
    ph_stream_pair(s, far, 0, io, &v->io);
    return ph_spawn(group, "server", queue_serve, v);
}

#endif
