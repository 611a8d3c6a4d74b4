/* remove: `postsuper -d ALL`.  Messages that nobody has in memory go in batches: one
 * request to bounce for their logs, then one job for their files (in this order: a
 * log without its message is swept up, a message without its log has no words, and an
 * id that is free again has no log).  While the files of one batch go, bounce has the
 * logs of the next. */
#include "core/sched/control.h"

#define BATCH 256u

struct removing {
    struct qmgr *q;
    struct ph_qmsg *m[BATCH];
    unsigned n;
    uint64_t removed;              /* in all */
};

struct removal {
    struct ph_group *group;        /* of the task that removes files */
    struct removing batch[2];
    unsigned now;                  /* the one that is filled */
};

static void remove_logs(struct removing *b)
{
    PH_SCOPED(s, NULL);
    ph_str *ids = ph_alloc_array(s, b->n, sizeof *ids);

    for (unsigned i = 0; i < b->n; i++)
        ids[i] = ph_cstr(b->m[i]->id);
    if (ph_bouncer_remove_many(b->q, ids, b->n) < 0)
        ph_log_warn("%s: %s", b->m[0]->id, ph_error());    /* bounce sweeps them up later */
}

static void remove_files(void *arg)
{
    struct removing *b = arg;
    unsigned n = b->n, stay;

    for (unsigned i = 0; i < n; i++)
        ph_retry_remove(b->q->retry, ph_cstr(b->m[i]->id));
    if ((stay = ph_queue_remove_many(b->q->queue, b->m, n)) > 0)
        ph_log_warn("%u messages stay: %s", stay, ph_error());
    for (unsigned i = 0; i < stay; i++) {
        if (b->m[i]->place == PH_PLACE_DEFERRED)
            ph_feed_park(b->q, b->m[i], ph_wall_s());
        ph_feed_return(b->q, b->m[i], 0);
    }
    b->removed += n - stay;
    b->n = 0;
}

/* Cancelled, it ends what it has in hand; the task before ends by itself. */
static void remove_batch(struct removal *r)
{
    struct removing *b = &r->batch[r->now];

    if (!b->n)
        return;
    remove_logs(b);
    if (ph_group_wait(r->group, PH_FOREVER) < 0 || ph_spawn(r->group, "remove", remove_files, b) < 0)
        remove_files(b);
    else
        r->now = !r->now;
}

/* 1: it is in the batch now, or was moved since the walk read its name; 0: it must be
 * asked for by its id. */
static int take(struct removal *r, const struct choice *h)
{
    ph_str id = h->id;
    struct removing *b = &r->batch[r->now];
    struct qmgr *q = b->q;
    struct ph_qmsg *m;
    int in_memory;

    if (ph_queue_in_memory(q->queue, id) || ph_queue_find(q->queue, id, &m, &in_memory) != PH_FOUND || in_memory)
        return 0;
    if (h->walk && !ph_control_wants(h->c, m)) {
        ph_queue_forget(q->queue, m);
        return 1;
    }
    m->holder = q;
    b->m[b->n++] = m;
    return 1;
}

int ph_control_remove_all(struct control *c, uint64_t *count)
{
    struct choice *h = ph_control_choose(c);
    struct removal *r = ph_new(c->s, struct removal);
    uint64_t others = 0;
    int rc, end;

    r->group = ph_group_new(c->s);
    r->batch[0].q = r->batch[1].q = c->q;
    while ((rc = ph_control_next(h, 0)) == PH_FOUND) {
        if (!take(r, h) && (rc = ph_control_change(c, h->id, !h->walk, WISH_DELETE)) == PH_CANCEL)
            break;
        if (rc < 0)
            ph_log_warn("%s", ph_error());
        others += rc == 0 ? 1u : 0u;
        if (r->batch[r->now].n == BATCH)
            remove_batch(r);
    }
    remove_batch(r);
    if ((end = ph_group_wait(r->group, PH_FOREVER)) < 0)
        return end;
    *count = others + r->batch[0].removed + r->batch[1].removed;
    return rc == PH_NONE ? 0 : rc;
}
