/* retry: see retry.h. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <posthorn/error.h>
#include <posthorn/map.h>
#include "core/base/heap.h"
#include "core/sched/retry.h"

struct waiter {
    int64_t when;
    uint64_t order;                /* first come first served among equal times */
    size_t index;                  /* in the heap */
    int flushed;                   /* somebody asked for it */
    size_t n;
    char id[];
};

struct ph_retry {
    struct ph_map *by_id;
    struct ph_heap heap;
    uint64_t order;
};

static int64_t clamp(int64_t v, int64_t lo, int64_t hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

int64_t ph_retry_next(const struct ph_retry_rules *r, int64_t arrival, int64_t now)
{
    return now + clamp(now - arrival, r->minimal_backoff, r->maximal_backoff);
}

int ph_retry_is_expired(const struct ph_retry_rules *r, int64_t arrival, int has_sender, int64_t now)
{
    return now - arrival >= (has_sender ? r->maximal_lifetime : r->bounce_lifetime);
}

static int waiter_cmp(const void *a, const void *b)
{
    const struct waiter *x = a, *y = b;

    if (x->when != y->when)
        return x->when < y->when ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static void waiter_place(void *item, size_t index)
{
    ((struct waiter *)item)->index = index;
}

static void retry_end(void *arg)
{
    struct ph_retry *r = arg;

    for (size_t i = 0; i < r->heap.n; i++)
        free(r->heap.at[i]);
    ph_heap_fini(&r->heap);
}

struct ph_retry *ph_retry_new(struct ph_scope *s)
{
    struct ph_retry *r = ph_new(s, struct ph_retry);

    r->by_id = ph_map_new(s);
    r->heap = (struct ph_heap)PH_HEAP_INIT(waiter_cmp, waiter_place);
    ph_defer(s, retry_end, r);
    return r;
}

void ph_retry_add(struct ph_retry *r, ph_str id, int64_t when)
{
    struct waiter *w = ph_map_get(r->by_id, id);

    if (w) {
        w->when = when;
        ph_heap_update(&r->heap, w->index);
        return;
    }
    if (!(w = malloc(sizeof *w + id.n)))
        ph_die("out of memory");
    *w = (struct waiter){ .when = when, .order = r->order++, .n = id.n };
    memcpy(w->id, id.p, id.n);
    ph_map_set(r->by_id, id, w);
    ph_heap_push(&r->heap, w);
}

int ph_retry_find(const struct ph_retry *r, ph_str id, int64_t *when)
{
    const struct waiter *w = ph_map_get(r->by_id, id);

    if (!w)
        return 0;
    *when = w->when;
    return 1;
}

int ph_retry_remove(struct ph_retry *r, ph_str id)
{
    struct waiter *w = ph_map_del(r->by_id, id);

    if (!w)
        return 0;
    ph_heap_remove(&r->heap, w->index);
    free(w);
    return 1;
}

int ph_retry_take(struct ph_retry *r, int64_t now, struct ph_scope *s, ph_str *id, int *flushed)
{
    const struct waiter *w = ph_heap_top(&r->heap);

    if (!w || w->when > now)
        return 0;
    *id = ph_str_dup(s, (ph_str){ w->id, w->n });
    *flushed = w->flushed;
    ph_retry_remove(r, *id);
    return 1;
}

void ph_retry_flush(struct ph_retry *r, int64_t now)
{
    size_t n = r->heap.n;

    /* Pushing item i never writes beyond place i. */
    for (size_t i = r->heap.n = 0; i < n; i++) {
        struct waiter *w = r->heap.at[i];

        if (w->when > now)
            w->when = now;
        w->flushed = 1;
        ph_heap_push(&r->heap, w);
    }
}

int ph_retry_flush_one(struct ph_retry *r, ph_str id, int64_t now)
{
    struct waiter *w = ph_map_get(r->by_id, id);

    if (!w)
        return 0;
    if (w->when > now)
        w->when = now;
    w->flushed = 1;
    ph_heap_update(&r->heap, w->index);
    return 1;
}

int64_t ph_retry_first(const struct ph_retry *r)
{
    const struct waiter *w = ph_heap_top(&r->heap);

    return w ? w->when : INT64_MAX;
}

size_t ph_retry_count(const struct ph_retry *r)
{
    return r->heap.n;
}

int ph_retry_walk(const struct ph_retry *r, size_t *at, ph_str *id, int64_t *when)
{
    if (*at >= r->heap.n)
        return 0;
    const struct waiter *w = r->heap.at[(*at)++];

    *id = (ph_str){ w->id, w->n };
    *when = w->when;
    return 1;
}
