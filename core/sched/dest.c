/* dest: destinations and transports: which of them may send now. */
#include <stdlib.h>
#include <string.h>
#include "core/sched/priv.h"

#define IDLE_MS  1000              /* so long a destination with steady traffic is remembered without mail */
#define IDLE_MAX 100u

static void *alloc(size_t n)
{
    void *p = calloc(1, n);

    if (!p)
        ph_die("out of memory");
    return p;
}

static ph_str heap_dup(ph_str v)
{
    char *p = alloc(v.n + 1);

    if (v.n)
        memcpy(p, v.p, v.n);
    return (ph_str){ p, v.n };
}

static void heap_free(ph_str *v)
{
    free((void *)(uintptr_t)v->p);
    *v = (ph_str){ NULL, 0 };
}

int ph_sched_job_cmp(const struct job *a, const struct job *b)
{
    a->t->sched->stats.work++;
    if (a->rank != b->rank)
        return a->rank < b->rank ? -1 : 1;
    if (a->level != b->level)
        return a->level > b->level ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

/* Best first: the earliest job; among the destinations of one job the one
 * served longest ago. */
static int dest_cmp(const void *a, const void *b)
{
    const struct dest *x = a, *y = b;
    const struct peer *p = ph_heap_top(&x->peers), *q = ph_heap_top(&y->peers);
    int order = p->job == q->job ? 0 : ph_sched_job_cmp(p->job, q->job);

    return order ? order : x->served < y->served ? -1 : x->served > y->served;
}

static void dest_place(void *item, size_t index)
{
    ((struct dest *)item)->ready_index = index;
}

static int peer_cmp(const void *a, const void *b)
{
    return ph_sched_job_cmp(((const struct peer *)a)->job, ((const struct peer *)b)->job);
}

static void peer_place(void *item, size_t index)
{
    ((struct peer *)item)->heap_index = index;
}

struct transport *ph_sched_transport_get(struct ph_sched *s, ph_str name)
{
    struct transport *t = ph_map_get(s->transports, name);

    if (t)
        return t;
    t = alloc(sizeof *t);
    t->sched = s;
    t->name = heap_dup(name);
    t->dests = ph_map_new(NULL);
    t->ready = (struct ph_heap)PH_HEAP_INIT(dest_cmp, dest_place);
    ph_list_init(&t->waiting);
    ph_list_init(&t->turn);
    ph_list_init(&t->doomed);
    ph_list_init(&t->readers);
    ph_sched_timed_init(&t->down, s, TIMED_DOWN);
    ph_sched_timed_init(&t->pace, s, TIMED_PACE);
    s->limits(s->limits_arg, t->name, &t->limits);
    ph_map_set(s->transports, name, t);
    s->stats.transports++;
    return t;
}

struct dest *ph_sched_dest_get(struct transport *t, ph_str nexthop, ph_str key)
{
    struct dest *d = ph_map_get(t->dests, key);

    if (d)
        return d;
    d = alloc(sizeof *d);
    d->t = t;
    d->key = heap_dup(key);
    d->nexthop = heap_dup(nexthop);
    d->peers = (struct ph_heap)PH_HEAP_INIT(peer_cmp, peer_place);
    ph_list_init(&d->waiting);
    ph_list_init(&d->doomed);
    ph_list_init(&d->idle);
    ph_sched_timed_init(&d->dead, t->sched, TIMED_DEAD);
    ph_sched_timed_init(&d->rest, t->sched, TIMED_REST);
    ph_window_init(&d->window, &t->limits);
    ph_map_set(t->dests, key, d);
    t->sched->stats.destinations++;
    return d;
}

static void wake(struct dest *d)
{
    if (ph_list_is_empty(&d->idle))
        return;
    ph_list_remove(&d->idle);
    d->t->sched->idle_count--;
}

static void dest_free(struct dest *d)
{
    struct ph_sched *s = d->t->sched;

    ph_map_del(d->t->dests, d->key);
    s->stats.destinations--;
    wake(d);
    if (s->clog == d)
        s->clog = NULL;
    ph_sched_timed_drop(&d->dead);
    ph_sched_timed_drop(&d->rest);
    ph_sched_shelves_free(d);
    ph_heap_fini(&d->peers);
    heap_free(&d->key);
    heap_free(&d->nexthop);
    free(d);
}

/* In the list exactly when `in`; one that is there keeps its place. */
static void place_in(struct ph_list *list, struct ph_list *node, int in)
{
    if (!in)
        ph_list_remove(node);
    else if (ph_list_is_empty(node))
        ph_list_push(list, node);
}

void ph_sched_transport_settle(struct transport *t)
{
    struct ph_sched *s = t->sched;
    int has_room = !t->limits.in_flight || t->in_flight < t->limits.in_flight;
    int waits = !ph_list_is_empty(&t->waiting);

    place_in(&s->turns, &t->turn, t->ready.n && has_room && !t->down.index && !t->pace.index);
    place_in(&s->doomed_transports, &t->doomed, waits && t->down.index != 0);
}

/* How many requests it may have in flight. */
static uint32_t window_of(const struct dest *d)
{
    return d->t->limits.rate_ms ? 1 : d->window.size;
}

static void place_ready(struct dest *d, int ready)
{
    struct ph_heap *h = &d->t->ready;
    int was_ready = d->ready_index != 0;

    if (was_ready && !ready)
        ph_heap_remove(h, d->ready_index);
    else if (was_ready)
        ph_heap_update(h, d->ready_index);
    else if (ready)
        ph_heap_push(h, d);
    if (was_ready != ready)
        ph_sched_shelves_settle(d);
}

/* Without mail just now.  One with steady traffic has some again in a moment, and
 * meanwhile keeps what was learnt of it. */
static void fall_idle(struct dest *d)
{
    struct ph_sched *s = d->t->sched;

    if (d->warmth < PH_SCHED_WARM) {
        dest_free(d);
        return;
    }
    if (!ph_list_is_empty(&d->idle))
        return;
    ph_list_push(&s->idle, &d->idle);
    if (++s->idle_count > IDLE_MAX)
        dest_free(ph_list_of(s->idle.next, struct dest, idle));
}

void ph_sched_idle_run(struct ph_sched *s, int64_t now)
{
    while (!ph_list_is_empty(&s->idle)) {
        struct dest *d = ph_list_of(s->idle.next, struct dest, idle);

        if (d->warm_at + IDLE_MS > now)
            return;
        dest_free(d);
    }
}

void ph_sched_dest_settle(struct dest *d)
{
    struct transport *t = d->t;
    int waits = d->peers.n > 0;

    place_ready(d, waits && !d->dead.index && !d->rest.index && d->busy < window_of(d));
    place_in(&t->waiting, &d->waiting, waits);
    place_in(&t->sched->doomed_dests, &d->doomed, waits && d->dead.index != 0);
    ph_sched_transport_settle(t);
    if (waits || d->busy || d->dead.index || d->rest.index)
        wake(d);
    else
        fall_idle(d);
}

/* A destination may be freed when it is settled, and with it its place in the
 * map; that is allowed for the one just returned. */
static void transport_reconfigure(struct transport *t)
{
    struct ph_sched *s = t->sched;
    size_t at = 0;
    ph_str key;
    void *v;

    s->limits(s->limits_arg, t->name, &t->limits);
    while (ph_map_next(t->dests, &at, &key, &v)) {
        struct dest *d = v;

        if (t->limits.concurrency && d->window.size > t->limits.concurrency)
            d->window.size = t->limits.concurrency;
        ph_sched_dest_settle(d);
    }
    ph_sched_transport_settle(t);
}

void ph_sched_reconfigure(struct ph_sched *s)
{
    size_t at = 0;
    ph_str name;
    void *v;

    while (ph_map_next(s->transports, &at, &name, &v))
        transport_reconfigure(v);
}

static void transport_free(struct transport *t)
{
    size_t at = 0;
    ph_str key;
    void *v;

    while (ph_map_next(t->dests, &at, &key, &v))
        dest_free(v);
    ph_map_free(t->dests);
    ph_heap_fini(&t->ready);
    for (unsigned i = 0; i < CLASSES; i++)
        ph_heap_fini(&t->candidates[i]);
    ph_sched_timed_drop(&t->down);
    ph_sched_timed_drop(&t->pace);
    heap_free(&t->name);
    free(t);
}

void ph_sched_end(void *arg)
{
    struct ph_sched *s = arg;
    size_t at = 0;
    ph_str name;
    void *v;

    for (struct ph_list *n; (n = ph_list_shift(&s->messages)); )
        ph_sched_msg_discard(ph_list_of(n, struct ph_sched_msg, node));
    while (ph_map_next(s->transports, &at, &name, &v))
        transport_free(v);
    ph_map_free(s->transports);
    ph_heap_fini(&s->faults);
    ph_heap_fini(&s->pauses);
}
