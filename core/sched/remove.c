/* remove: `postsuper -d ALL`.  Messages that nobody has in memory go in batches: one
 * request to bounce for their logs, then one job for their files (in this order: a
 * log without its message is swept up, a message without its log has no words). */
#include "core/sched/control.h"

#define BATCH 128u

struct removal {
    struct control *c;
    struct ph_qmsg *m[BATCH];
    unsigned n;
    uint64_t count;
};

static void remove_logs(struct removal *r)
{
    PH_SCOPED(s, NULL);
    ph_str *ids = ph_alloc_array(s, r->n, sizeof *ids);

    for (unsigned i = 0; i < r->n; i++)
        ids[i] = ph_cstr(r->m[i]->id);
    if (ph_bouncer_remove_many(r->c->q, ids, r->n) < 0)
        ph_log_warn("%s: %s", r->m[0]->id, ph_error());    /* bounce sweeps them up later */
}

static void remove_batch(struct removal *r)
{
    unsigned n = r->n, stay;

    if (!n)
        return;
    remove_logs(r);
    for (unsigned i = 0; i < n; i++)
        ph_retry_remove(r->c->q->retry, ph_cstr(r->m[i]->id));
    if ((stay = ph_queue_remove_many(r->c->q->queue, r->m, n)) > 0)
        ph_log_warn("%u messages stay: %s", stay, ph_error());
    for (unsigned i = 0; i < stay; i++) {
        if (r->m[i]->place == PH_PLACE_DEFERRED)
            ph_feed_park(r->c->q, r->m[i], ph_wall_s());
        ph_feed_return(r->c->q, r->m[i], 0);
    }
    r->count += n - stay;
    r->n = 0;
}

/* 1: it is in the batch now; 0: it must be asked for by its id. */
static int take(struct removal *r, ph_str id)
{
    struct qmgr *q = r->c->q;
    struct ph_qmsg *m;
    int in_memory;

    if (ph_queue_in_memory(q->queue, id) || ph_queue_find(q->queue, id, &m, &in_memory) != PH_FOUND || in_memory)
        return 0;
    m->holder = q;
    r->m[r->n++] = m;
    return 1;
}

int ph_control_remove_all(struct control *c, uint64_t *count)
{
    struct choice *h = ph_control_choose(c);
    struct removal *r = ph_new(c->s, struct removal);
    int rc;

    r->c = c;
    while ((rc = ph_control_next(h, 0)) == PH_FOUND) {
        if (!take(r, h->id) && (rc = ph_control_change(c, h->id, WISH_DELETE)) == PH_CANCEL)
            break;
        if (rc < 0)
            ph_log_warn("%s", ph_error());
        r->count += rc == 0 ? 1u : 0u;
        if (r->n == BATCH)
            remove_batch(r);
    }
    remove_batch(r);
    *count = r->count;
    return rc == PH_NONE ? 0 : rc;
}
