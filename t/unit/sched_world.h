/* sched_world: a simulated world around the scheduler: sites that answer after a
 * while, messages that come at their time and are tried again when the retry
 * rules say so, and a clock that jumps from one event to the next. */
#ifndef T_SCHED_WORLD_H
#define T_SCHED_WORLD_H

#include <stdint.h>
#include "tap.h"
#include "core/sched/priv.h"
#include "core/sched/retry.h"

static struct ph_sched_limits limits_now;
static const ph_str nothing = { "", 0 };

/* The defaults of every transport; "local" takes one recipient at a time. */
__attribute__((unused))
static void limits_default(void)
{
    limits_now = (struct ph_sched_limits){
        .recipients = 50, .concurrency = 20, .initial = 5, .in_flight = 100, .failed_cohorts = 1,
        .positive = { 1, PH_FEEDBACK_CONST }, .negative = { 1, PH_FEEDBACK_CONST }, .dead_ms = 300000,
        .slot_cost = 5, .slot_loan = 3, .slot_discount = 50, .minimum_slots = 3,
        .recipient_limit = 20000, .extra_recipient_limit = 1000, .refill_limit = 100, .refill_ms = 5000,
    };
}

__attribute__((unused))
static void limits(void *arg PH_UNUSED, ph_str transport, struct ph_sched_limits *out)
{
    *out = limits_now;
    if (ph_str_eq(transport, PH_STR("local")))
        out->recipients = 1;
}

/* n recipients, each `per_site` of them at a site of their own ("NAME-0" ...);
 * 0: all at NAME. */
__attribute__((unused))
static struct ph_sched_msg *put(struct ph_sched *s, void *user, const char *name, uint32_t n, uint32_t per_site,
                                int64_t now)
{
    struct ph_sched_msg *m = ph_sched_open(s, user, now);

    for (uint32_t i = 0; i < n; i++) {
        char site[48];

        snprintf(site, sizeof site, per_site ? "%s-%u" : "%s", name, per_site ? i / per_site : 0);
        ph_sched_add(m, PH_STR("smtp"), ph_cstr(site), nothing, i);
    }
    ph_sched_close(m);
    return m;
}

/* Take n entries without ending them: the first letter of whose they are. */
__attribute__((unused))
static ph_str order(struct ph_sched *s, struct ph_scope *scope, int n, int64_t now)
{
    char *text = ph_alloc(scope, (size_t)n + 1);
    int i = 0;

    for (struct ph_sched_entry *e; i < n && (e = ph_sched_next(s, now)); i++)
        text[i] = *(const char *)e->user;
    return (ph_str){ text, (size_t)i };
}

/* ---- deliveries that take time ---- */

struct flight {
    struct ph_sched_entry *e;
    int64_t ends;
    size_t index;
};

struct world {
    struct ph_sched *s;
    int64_t now;                   /* milliseconds */
    struct ph_heap air;            /* flights, the first to end first */
    uint64_t started;
    /* What becomes of it: how long it takes. */
    int64_t (*take_off)(struct world *w, struct ph_sched_entry *e);
    /* It ended: what the site said. */
    enum ph_sched_outcome (*land)(struct world *w, struct ph_sched_entry *e);
    /* A message is over for this round. */
    void (*over)(struct world *w, void *user);
};

__attribute__((unused))
static int flight_cmp(const void *a, const void *b)
{
    const struct flight *x = a, *y = b;

    return x->ends < y->ends ? -1 : x->ends > y->ends;
}

__attribute__((unused))
static void flight_place(void *item, size_t index)
{
    ((struct flight *)item)->index = index;
}

__attribute__((unused))
static void world_init(struct world *w, struct ph_scope *scope)
{
    *w = (struct world){ .s = ph_sched_new(scope, limits, NULL) };
    w->air = (struct ph_heap)PH_HEAP_INIT(flight_cmp, flight_place);
}

__attribute__((unused))
static void world_fini(struct world *w)
{
    while (w->air.n)
        free(ph_heap_pop(&w->air));
    ph_heap_fini(&w->air);
}

/* Start what may start now. */
__attribute__((unused))
static void world_start(struct world *w)
{
    for (struct ph_sched_entry *e; (e = ph_sched_next(w->s, w->now)); ) {
        struct flight *f = calloc(1, sizeof *f);

        if (!f)
            abort();
        f->e = e;
        f->ends = w->now + (e->kind == PH_SCHED_DELIVER ? w->take_off(w, e) : 0);
        w->started += e->kind == PH_SCHED_DELIVER;
        ph_heap_push(&w->air, f);
    }
}

/* End one delivery. */
__attribute__((unused))
static void world_land(struct world *w)
{
    struct flight *f = ph_heap_pop(&w->air);
    void *user = f->e->user;
    enum ph_sched_outcome how = w->land(w, f->e);

    if (ph_sched_done(w->s, f->e, f->e->kind == PH_SCHED_DELIVER ? how : PH_SCHED_NEUTRAL, PH_STR("4.4.1"),
                      PH_STR("connect to mx: Connection refused"), w->now) && w->over)
        w->over(w, user);
    free(f);
}

/* When something happens next, INT64_MAX: never. */
__attribute__((unused))
static int64_t world_next(struct world *w)
{
    const struct flight *f = ph_heap_top(&w->air);
    int64_t wake = ph_sched_wake(w->s);

    return f && f->ends < wake ? f->ends : wake;
}

/* Run until that time. */
__attribute__((unused))
static void world_run(struct world *w, int64_t until)
{
    for (;;) {
        world_start(w);
        int64_t next = world_next(w);

        if (next > until)
            break;
        w->now = next > w->now ? next : w->now;
        for (const struct flight *f; (f = ph_heap_top(&w->air)) && f->ends <= w->now; )
            world_land(w);
    }
    w->now = until;
}

__attribute__((unused))
static uint32_t dice(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

#endif
