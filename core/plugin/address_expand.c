/* address_expand: results that are looked up in turn.  See posthorn/address_map.h.
 *
 * An expansion goes depth first over a stack of its own, so the order of results is
 * that of the values, and a loop is found at the depth that is allowed. */
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

/* What is still to be looked up, the next on top. */
struct open {
    struct open *below;
    ph_str address;
    uint32_t depth;
    int32_t is_final;              /* it was found for itself */
};

struct expansion {
    struct ph_address_map *m;
    struct ph_scope *s, *work;     /* the results; everything else */
    const struct ph_expand_limits *limits;
    ph_str what;                   /* the address it began with */
    struct open *top;
    size_t waiting, lookups;
    struct ph_map *own;            /* aliases that name themselves: who leads back to one means that mailbox */
    ph_str *list;
    size_t n;
};

static int too_much(const struct expansion *x, const char *why)
{
    return ph_fail(PH_PERM, "unreasonable %s expansion of %.*s: %s", x->m->what, PH_FMT(ph_str_first(x->what, 200)), why);
}

static void push(struct expansion *x, ph_str address, uint32_t depth, int is_final)
{
    struct open *o = ph_new(x->work, struct open);

    *o = (struct open){ .below = x->top, .address = address, .depth = depth, .is_final = is_final };
    x->top = o;
    x->waiting++;
}

static struct open *pop(struct expansion *x)
{
    struct open *o = x->top;

    x->top = o->below;
    x->waiting--;
    return o;
}

static void keep(struct expansion *x, ph_str address)
{
    if (!x->list)
        x->list = ph_alloc_array(x->s, x->limits->results, sizeof *x->list);
    x->list[x->n++] = ph_str_dup(x->s, address);
}

static int has(struct expansion *x, const ph_str *list, size_t n, ph_str address)
{
    for (size_t i = 0; i < n; i++)
        if (ph_address_same(x->work, list[i], address))
            return 1;
    return 0;
}

/* The results of one address in its place.  As in Postfix the limit itself is one
 * level too many, but for an address that is among its own results. */
static int replace(struct expansion *x, const struct open *o, const ph_str *list, size_t n)
{
    if (o->depth >= x->limits->depth || (o->depth + 1 >= x->limits->depth && !has(x, list, n, o->address)))
        return too_much(x, "it goes deeper than virtual_alias_recursion_limit");
    if (n > x->limits->results || x->n + x->waiting > x->limits->results - n)
        return too_much(x, "it has more results than virtual_alias_expansion_limit");
    if (has(x, list, n, o->address))
        ph_map_set(x->own, ph_str_lower(x->work, o->address), x);
    for (size_t i = n; i-- > 0; ) {
        if (list[i].n > x->limits->bytes)
            return too_much(x, "a result is longer than virtual_alias_address_length_limit");
        if (list[i].n)
            push(x, ph_str_dup(x->work, list[i]), o->depth + 1, ph_map_get(x->own, ph_str_lower(x->work, list[i])) != NULL);
    }
    return 0;
}

static int look_up(struct expansion *x, const struct open *o)
{
    PH_SCOPED(step, NULL);
    ph_str *list;
    size_t n;
    int rc;

    if (++x->lookups > (size_t)x->limits->results * LOOKUPS_PER)
        return too_much(x, "it does not end");
    if (x->lookups % BREATH == 0 && ph_in_task() && (rc = ph_yield()) < 0)
        return rc;
    rc = ph_address_map_results(x->m, step, o->address, (size_t)x->limits->results + 1, &list, &n);
    if (rc == PH_NONE)
        keep(x, o->address);
    return rc == PH_FOUND ? replace(x, o, list, n) : rc < 0 ? rc : 0;
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
    push(&x, address, 0, 0);
    while (rc == 0 && x.top) {
        const struct open *o = pop(&x);

        if (o->is_final)
            keep(&x, o->address);
        else
            rc = look_up(&x, o);
    }
    if (rc < 0)
        return rc;
    if (x.lookups == 1 && x.n == 1 && ph_str_eq(x.list[0], address))
        return PH_NONE;
    *list = x.list;
    *n = x.n;
    return x.n ? PH_FOUND : ph_fail(PH_TEMP, "%s: nothing is left of %.*s", m->what, PH_FMT(ph_str_first(address, 200)));
}
