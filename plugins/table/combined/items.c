/* items: see items.h. */
#include "items.h"

#define ITEMS_MAX 1000u

int items_parse(struct ph_scope *s, ph_str spec, ph_str **item, size_t *count)
{
    ph_str all = ph_str_trim(spec), rest;
    size_t n = 0;

    if (all.n < 2 || all.p[0] != '{' || all.p[all.n - 1] != '}')
        return ph_fail(PH_CONF, "contents are written { item, item ... }");
    all = ph_str_first(ph_str_from(all, 1), all.n - 2);
    for (rest = all; ph_str_list(&rest).n; )
        n++;
    if (n == 0)
        return ph_fail(PH_CONF, "no item between the braces");
    if (n > ITEMS_MAX)
        return ph_fail(PH_CONF, "more than %u items", ITEMS_MAX);
    *item = ph_alloc_array(s, n, sizeof **item);
    for (size_t i = 0; i < n; i++)
        (*item)[i] = ph_str_dup(s, ph_str_list(&all));
    *count = n;
    return 0;
}

int items_open(struct ph_table *t, ph_str spec, struct ph_table ***inner, size_t *count)
{
    struct ph_table **table;
    uint32_t whole = PH_TABLE_PATTERN;
    ph_str *item;
    size_t n;
    int rc = items_parse(t->scope, spec, &item, &n);

    if (rc < 0)
        return rc;
    table = ph_alloc_array(t->scope, n, sizeof *table);
    for (size_t i = 0; i < n; i++) {
        if ((rc = ph_table_inner(t, item[i], &table[i])) < 0)
            return rc;
        whole &= table[i]->is;
    }
    t->is |= whole;
    *inner = table;
    *count = n;
    return 0;
}
