/* dest: destinations and transports: which of them may send, which are out of
 * order and until when. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "core/sched/priv.h"

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

/* Best first: the earliest job; among the destinations of one job the one
 * served longest ago. */
static int dest_cmp(const void *a, const void *b)
{
    const struct dest *x = a, *y = b;
    const struct peer *p = ph_heap_top(&x->peers), *q = ph_heap_top(&y->peers);

    if (p->job->rank != q->job->rank)
        return p->job->rank < q->job->rank ? -1 : 1;
    return x->served < y->served ? -1 : x->served > y->served;
}

static void dest_place(void *item, size_t index)
{
    ((struct dest *)item)->ready_index = index;
}

static int peer_cmp(const void *a, const void *b)
{
    const struct peer *x = a, *y = b;

    return x->job->rank < y->job->rank ? -1 : x->job->rank > y->job->rank;
}

static void peer_place(void *item, size_t index)
{
    ((struct peer *)item)->heap_index = index;
}

int ph_sched_timed_cmp(const void *a, const void *b)
{
    const struct timed *x = a, *y = b;

    return x->until < y->until ? -1 : x->until > y->until;
}

void ph_sched_timed_place(void *item, size_t index)
{
    ((struct timed *)item)->index = index;
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
    t->down.is_transport = 1;
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
    ph_window_init(&d->window, &t->limits);
    ph_map_set(t->dests, key, d);
    t->sched->stats.destinations++;
    return d;
}

static void dest_free(struct dest *d)
{
    ph_map_del(d->t->dests, d->key);
    d->t->sched->stats.destinations--;
    ph_heap_fini(&d->peers);
    heap_free(&d->key);
    heap_free(&d->nexthop);
    heap_free(&d->dead.dsn);
    heap_free(&d->dead.reason);
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

    place_in(&s->turns, &t->turn, t->ready.n && has_room && !t->down.index);
    place_in(&s->doomed_transports, &t->doomed, waits && t->down.index != 0);
}

void ph_sched_dest_settle(struct dest *d)
{
    struct transport *t = d->t;
    int waits = d->peers.n > 0;
    int ready = waits && !d->dead.index && d->busy < d->window.size;

    if (d->ready_index && !ready)
        ph_heap_remove(&t->ready, d->ready_index);
    else if (d->ready_index)
        ph_heap_update(&t->ready, d->ready_index);
    else if (ready)
        ph_heap_push(&t->ready, d);
    place_in(&t->waiting, &d->waiting, waits);
    place_in(&t->sched->doomed_dests, &d->doomed, waits && d->dead.index != 0);
    ph_sched_transport_settle(t);
    if (!waits && !d->busy && !d->dead.index)
        dest_free(d);
}

static void timed_begin(struct ph_sched *s, struct timed *t, ph_str dsn, ph_str reason, int64_t until)
{
    heap_free(&t->dsn);
    heap_free(&t->reason);
    t->dsn = heap_dup(dsn);
    t->reason = heap_dup(reason);
    t->until = until;
    if (t->index)
        ph_heap_update(&s->timers, t->index);
    else
        ph_heap_push(&s->timers, t);
}

void ph_sched_dest_doom(struct dest *d, ph_str dsn, ph_str reason, int64_t until)
{
    struct ph_sched *s = d->t->sched;

    if (!d->dead.index && s->stats.dead >= s->dead_max)
        return;
    if (!d->dead.index)
        s->stats.dead++;
    timed_begin(s, &d->dead, dsn, reason, until);
}

void ph_sched_throttle(struct ph_sched *s, ph_str transport, ph_str dsn, ph_str reason, int64_t until)
{
    struct transport *t = ph_sched_transport_get(s, transport);

    timed_begin(s, &t->down, dsn, reason, until);
    ph_sched_transport_settle(t);
}

static void timed_over(struct ph_sched *s, struct timed *x)
{
    ph_heap_remove(&s->timers, x->index);
    if (x->is_transport) {
        ph_sched_transport_settle(ph_list_of(x, struct transport, down));
        return;
    }
    struct dest *d = ph_list_of(x, struct dest, dead);

    s->stats.dead--;
    ph_window_init(&d->window, &d->t->limits);    /* it begins anew */
    ph_sched_dest_settle(d);
}

void ph_sched_timers_run(struct ph_sched *s, int64_t now, int all)
{
    for (struct timed *x; (x = ph_heap_top(&s->timers)) && (all || x->until <= now); )
        timed_over(s, x);
}

void ph_sched_forget(struct ph_sched *s)
{
    ph_sched_timers_run(s, 0, 1);
}

int64_t ph_sched_wake(const struct ph_sched *s)
{
    const struct timed *x = ph_heap_top(&s->timers);

    return x ? x->until : INT64_MAX;
}

void ph_sched_reconfigure(struct ph_sched *s)
{
    size_t at = 0;
    ph_str name;
    void *v;

    while (ph_map_next(s->transports, &at, &name, &v)) {
        struct transport *t = v;

        s->limits(s->limits_arg, t->name, &t->limits);
        ph_sched_transport_settle(t);
    }
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
    heap_free(&t->name);
    heap_free(&t->down.dsn);
    heap_free(&t->down.reason);
    free(t);
}

void ph_sched_end(void *arg)
{
    struct ph_sched *s = arg;
    size_t at = 0;
    ph_str name;
    void *v;

    for (struct ph_list *n; (n = ph_list_shift(&s->messages)); )
        ph_scope_free(ph_list_of(n, struct ph_sched_msg, node)->scope);
    while (ph_map_next(s->transports, &at, &name, &v))
        transport_free(v);
    ph_map_free(s->transports);
    ph_heap_fini(&s->timers);
}
