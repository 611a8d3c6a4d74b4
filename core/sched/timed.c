/* timed: states that end by themselves: dead destinations and transports that
 * cannot be reached (faults: a flush ends them too), and pauses: rate delays, and
 * messages that wait to be read on. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "core/sched/priv.h"

static int timed_cmp(const void *a, const void *b)
{
    const struct timed *x = a, *y = b;

    x->sched->stats.work++;
    return x->until < y->until ? -1 : x->until > y->until;
}

static void timed_place(void *item, size_t index)
{
    ((struct timed *)item)->index = index;
}

void ph_sched_timers_init(struct ph_sched *s)
{
    s->faults = (struct ph_heap)PH_HEAP_INIT(timed_cmp, timed_place);
    s->pauses = (struct ph_heap)PH_HEAP_INIT(timed_cmp, timed_place);
}

void ph_sched_timed_init(struct timed *t, struct ph_sched *s, enum timed_kind kind)
{
    t->sched = s;
    t->kind = kind;
}

static struct ph_heap *heap_of(const struct timed *t)
{
    return t->kind == TIMED_DEAD || t->kind == TIMED_DOWN ? &t->sched->faults : &t->sched->pauses;
}

static void text_set(ph_str *to, ph_str v)
{
    char *p = v.n ? malloc(v.n) : NULL;

    if (v.n && !p)
        ph_die("out of memory");
    if (v.n)
        memcpy(p, v.p, v.n);
    free((void *)(uintptr_t)to->p);
    *to = (ph_str){ p, v.n };
}

void ph_sched_timed_begin(struct timed *t, ph_str dsn, ph_str reason, int64_t until)
{
    text_set(&t->dsn, dsn);
    text_set(&t->reason, reason);
    t->until = until;
    if (t->index)
        ph_heap_update(heap_of(t), t->index);
    else
        ph_heap_push(heap_of(t), t);
}

void ph_sched_timed_drop(struct timed *t)
{
    const ph_str nothing = { NULL, 0 };

    if (t->index)
        ph_heap_remove(heap_of(t), t->index);
    text_set(&t->dsn, nothing);
    text_set(&t->reason, nothing);
}

void ph_sched_dest_doom(struct dest *d, ph_str dsn, ph_str reason, int64_t until)
{
    struct ph_sched *s = d->t->sched;

    if (!d->dead.index && s->stats.dead >= s->dead_max)
        return;
    if (!d->dead.index)
        s->stats.dead++;
    ph_sched_timed_begin(&d->dead, dsn, reason, until);
}

void ph_sched_throttle(struct ph_sched *s, ph_str transport, ph_str dsn, ph_str reason, int64_t until)
{
    struct transport *t = ph_sched_transport_get(s, transport);

    ph_sched_timed_begin(&t->down, dsn, reason, until);
    ph_sched_transport_settle(t);
}

static void dead_over(struct dest *d)
{
    d->t->sched->stats.dead--;
    ph_window_init(&d->window, &d->t->limits);    /* it begins anew */
    ph_sched_dest_settle(d);
}

static void timed_over(struct timed *x)
{
    ph_heap_remove(heap_of(x), x->index);
    switch (x->kind) {
    case TIMED_DEAD:
        dead_over(ph_list_of(x, struct dest, dead));
        break;
    case TIMED_DOWN:
        ph_sched_transport_settle(ph_list_of(x, struct transport, down));
        break;
    case TIMED_REST:
        ph_sched_dest_settle(ph_list_of(x, struct dest, rest));
        break;
    case TIMED_PACE:
        ph_sched_transport_settle(ph_list_of(x, struct transport, pace));
        break;
    case TIMED_HUNGER:
        ph_sched_hunger_over(ph_list_of(x, struct ph_sched_msg, hunger));
        break;
    }
}

static void run(struct ph_heap *h, int64_t now)
{
    for (struct timed *x; (x = ph_heap_top(h)) && x->until <= now; )
        timed_over(x);
}

void ph_sched_timers_run(struct ph_sched *s, int64_t now)
{
    run(&s->faults, now);
    run(&s->pauses, now);
}

void ph_sched_forget(struct ph_sched *s)
{
    run(&s->faults, INT64_MAX);
}

int64_t ph_sched_wake(const struct ph_sched *s)
{
    const struct timed *x = ph_heap_top(&s->faults), *y = ph_heap_top(&s->pauses);
    int64_t at = x ? x->until : INT64_MAX;

    return y && y->until < at ? y->until : at;
}
