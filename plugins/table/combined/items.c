/* items: see items.h. */
#include <posthorn/source.h>
#include "items.h"

#define ITEMS_MAX 1000u

static int bad_syntax(const struct ph_table *t, ph_str spec, const char *need)
{
    const char *type = t->ops->plugin.name;

    return ph_fail(PH_CONF, "bad syntax: \"%s:%.*s\"; need \"%s:{%s...}\"", type, PH_FMT(spec), type, need);
}

int items_parse(struct ph_table *t, ph_str spec, const char *need, ph_str **item, size_t *count)
{
    struct ph_scope *s = t->scope;
    ph_str all, rest;
    size_t n = 0;

    if (ph_source_braces(spec, &all) < 0)
        return bad_syntax(t, spec, need);
    for (rest = all; ph_str_list(&rest).n; )
        n++;
    if (n == 0)
        return bad_syntax(t, spec, need);
    if (n > ITEMS_MAX)
        return ph_fail(PH_CONF, "more than %u items", ITEMS_MAX);
    *item = ph_alloc_array(s, n, sizeof **item);
    for (size_t i = 0; i < n; i++)
        (*item)[i] = ph_str_dup(s, ph_str_list(&all));
    *count = n;
    return 0;
}

/* Why an item could not be opened, without its name in front: that is in ours. */
static int failed(struct ph_table *t, int rc, ph_str item)
{
    ph_str why = ph_str_dup(t->scope, ph_cstr(ph_error())), named = ph_str_printf(t->scope, "%.*s: ", PH_FMT(item));

    return ph_fail(rc, "%.*s", PH_FMT(ph_str_starts(why, named) ? ph_str_from(why, named.n) : why));
}

int items_open(struct ph_table *t, ph_str spec, struct ph_table ***inner, size_t *count)
{
    struct ph_table **table;
    uint32_t whole = PH_TABLE_PATTERN;
    ph_str *item;
    size_t n;
    int rc = items_parse(t, spec, "type:name", &item, &n);

    if (rc < 0)
        return rc;
    table = ph_alloc_array(t->scope, n, sizeof *table);
    for (size_t i = 0; i < n; i++) {
        ptrdiff_t colon = ph_str_find(item[i], ':');

        if (colon < 0)
            return bad_syntax(t, spec, "type:name");
        if (item[i].p[0] == '{')
            return ph_fail(PH_CONF, "unsupported dictionary type: %.*s", PH_FMT(ph_str_first(item[i], (size_t)colon)));
        if ((rc = ph_table_inner(t, item[i], &table[i])) < 0)
            return failed(t, rc, item[i]);
        whole &= table[i]->is;
    }
    t->is |= whole;
    if (!(table[0]->is & PH_TABLE_PATTERN))
        t->is &= ~PH_TABLE_NOFOLD;
    *inner = table;
    *count = n;
    return 0;
}
