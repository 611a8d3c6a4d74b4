/* address_expand: results that are looked up in turn.  See posthorn/address_map.h.
 *
 * An expansion is a list, walked once.  The first result of a look-up takes the place of
 * its address and is looked up there, the others go to the end of the list: so the depth
 * is that of first results alone, and everything else is bounded by the number of results. */
#include <string.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include <posthorn/map.h>
#include <posthorn/task.h>
#include "core/plugin/address_map.h"

#define ROUNDS      10             /* of canonical mapping */
#define LOOKUPS_PER 100u           /* per result that is allowed: chains of aliases of aliases */
#define BREATH      64u            /* look-ups between two turns of the others */

int ph_address_map_one(struct ph_address_map *m, struct ph_scope *s, ph_str address, ph_str *out)
{
    ph_str *list;
    size_t n;
    int rc = ph_address_map_results(m, s, address, 1, &list, &n);

    if (rc != PH_FOUND)
        return rc;
    if (n > 1)
        ph_log_warn("multi-valued %s entry for %.*s: only its first address is used", m->what, PH_FMT(ph_str_first(address, 200)));
    *out = list[0];
    return PH_FOUND;
}

int ph_address_map_settle(struct ph_address_map *m, struct ph_scope *s, ph_str address, ph_str *out)
{
    ph_str now = address, next;

    for (int round = 0; m && round < ROUNDS; round++) {
        int rc = ph_address_map_one(m, s, now, &next);

        if (rc < 0)
            return rc;
        int last = rc == PH_NONE || ph_address_same(s, now, next);
        if (rc == PH_FOUND)
            now = next;
        if (!last)
            continue;
        if (ph_str_eq(now, address))
            return PH_NONE;
        *out = now;
        return PH_FOUND;
    }
    return m ? ph_fail(PH_TEMP, "unreasonable %s map nesting for %.*s", m->what, PH_FMT(ph_str_first(address, 200))) : PH_NONE;
}

/* What is still to be looked up. */
struct open {
    struct open *next;
    ph_str address;
};

struct expansion {
    struct ph_address_map *m;
    struct ph_scope *s, *work;     /* the results; everything else */
    const struct ph_expand_limits *limits;
    ph_str what;                   /* the address it began with */
    struct open *first, **end;
    size_t waiting, lookups;
    struct ph_map *own;            /* aliases that name themselves: who leads back to one means that mailbox */
    ph_str *list;
    size_t n;
};

static int too_much(const struct expansion *x, const char *why)
{
    return ph_fail(PH_PERM, "unreasonable %s expansion of %.*s: %s", x->m->what, PH_FMT(ph_str_first(x->what, 200)), why);
}

static void put(struct expansion *x, ph_str address)
{
    struct open *o = ph_new(x->work, struct open);

    o->address = ph_str_dup(x->work, address);
    *x->end = o;
    x->end = &o->next;
    x->waiting++;
}

static ph_str take(struct expansion *x)
{
    const struct open *o = x->first;

    x->first = o->next;
    if (!x->first)
        x->end = &x->first;
    x->waiting--;
    return o->address;
}

static void keep(struct expansion *x, ph_str address)
{
    if (!x->list)
        x->list = ph_alloc_array(x->s, x->limits->results, sizeof *x->list);
    x->list[x->n++] = ph_str_dup(x->s, address);
}

static int is_own(const struct expansion *x, ph_str address)
{
    return ph_map_get(x->own, ph_str_lower(x->work, address)) != NULL;
}

/* The results in the place of *now: PH_FOUND, *now is the first of them, and *same says
 * whether that is the address itself.  Negative: a limit is exceeded. */
static int replace(struct expansion *x, ph_str *now, int *same, const ph_str *list, size_t n)
{
    if (n > x->limits->results || x->n + x->waiting > x->limits->results - n)
        return too_much(x, "it has more results than virtual_alias_expansion_limit");
    for (size_t i = 0; i < n; i++) {
        if (list[i].n > x->limits->bytes)
            return too_much(x, "a result is longer than virtual_alias_address_length_limit");
        if (ph_address_same(x->work, list[i], *now))
            ph_map_set(x->own, ph_str_lower(x->work, *now), x);
        if (i)
            put(x, list[i]);
    }
    *same = ph_address_same(x->work, list[0], *now);
    *now = ph_str_dup(x->work, list[0]);
    return PH_FOUND;
}

static int look_up(struct expansion *x, ph_str *now, int *same)
{
    PH_SCOPED(step, NULL);
    ph_str *list;
    size_t n;
    int rc;

    if (++x->lookups > (size_t)x->limits->results * LOOKUPS_PER)
        return too_much(x, "it does not end");
    if (x->lookups % BREATH == 0 && ph_in_task() && (rc = ph_yield()) < 0)
        return rc;
    rc = ph_address_map_results(x->m, step, *now, (size_t)x->limits->results + 1, &list, &n);
    return rc == PH_FOUND ? replace(x, now, same, list, n) : rc;
}

/* One address of the list, until no table has it or it leads to an alias that names
 * itself: 0, or negative.  As in Postfix the limit itself is one level too many. */
static int follow(struct expansion *x, ph_str now)
{
    int same = 0;

    for (uint32_t depth = 0; !same && !is_own(x, now); depth++) {
        if (depth >= x->limits->depth)
            return too_much(x, "it goes deeper than virtual_alias_recursion_limit");
        int rc = look_up(x, &now, &same);

        if (rc < 0)
            return rc;
        if (rc == PH_NONE)
            break;
    }
    keep(x, now);
    return 0;
}

int ph_address_map_expand(struct ph_address_map *m, struct ph_scope *s, ph_str address, const struct ph_expand_limits *limits,
                          ph_str **list, size_t *n)
{
    if (!m)
        return PH_NONE;
    PH_SCOPED(work, NULL);
    struct expansion x = { .m = m, .s = s, .work = work, .limits = limits, .what = address };
    int rc = 0;

    x.own = ph_map_new(work);
    x.end = &x.first;
    put(&x, address);
    while (rc == 0 && x.first)
        rc = follow(&x, take(&x));
    if (rc < 0)
        return rc;
    if (x.lookups == 1 && x.n == 1 && ph_str_eq(x.list[0], address))
        return PH_NONE;
    *list = x.list;
    *n = x.n;
    return x.n ? PH_FOUND : ph_fail(PH_TEMP, "%s: nothing is left of %.*s", m->what, PH_FMT(ph_str_first(address, 200)));
}
