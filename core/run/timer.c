/* timer: callbacks at a time, in a heap.  See loop.h. */
#include "core/run/inside.h"

static int cmp(const void *a, const void *b)
{
    int64_t x = ((const struct ph_timer *)a)->when, y = ((const struct ph_timer *)b)->when;

    return x < y ? -1 : x > y;
}

static void place(void *item, size_t index)
{
    ((struct ph_timer *)item)->index = index;
}

void ph_timers_init(struct ph_loop *l)
{
    l->timers = (struct ph_heap)PH_HEAP_INIT(cmp, place);
}

void ph_timer_set(struct ph_timer *t, int64_t when_ms)
{
    struct ph_loop *l = ph_loop_current;

    ph_assert(l);
    t->when = when_ms;
    if (t->index)
        ph_heap_update(&l->timers, t->index);
    else
        ph_heap_push(&l->timers, t);
}

void ph_timer_stop(struct ph_timer *t)
{
    if (t->index)
        ph_heap_remove(&ph_loop_current->timers, t->index);
}

/* A callback that sets a timer for the past is served in the next turn, not
 * forever in this one: `now` does not move here, hence the bound. */
void ph_timers_run(struct ph_loop *l)
{
    for (size_t left = l->timers.n; left; left--) {
        struct ph_timer *t = ph_heap_top(&l->timers);

        if (!t || t->when > l->now)
            break;
        void (*fn)(struct ph_timer *) = t->fn;

        ph_heap_pop(&l->timers);
        fn(t);
        ph_sight_after(l, NULL, (const void *)(uintptr_t)fn);
    }
}

/* How long epoll may sleep: -1 without end.  One millisecond is added since
 * `now` was rounded down. */
int ph_timers_sleep_ms(const struct ph_loop *l)
{
    const struct ph_timer *t = ph_heap_top(&l->timers);

    if (!t || t->when == PH_FOREVER)
        return -1;
    int64_t ms = t->when - ph_clock_ms();
    return ms < 0 ? 0 : ms > 3600000 ? 3600000 : (int)ms + 1;
}
