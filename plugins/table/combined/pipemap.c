/* table/pipemap: the answer of each table is the key of the next,
 * `pipemap:{type:name, type:name ...}`.  Reference: pipemap_table(5). */
#include "items.h"

struct pipemap { struct ph_table **table; size_t n; };

static int32_t pipemap_open(struct ph_table *t, ph_str spec)
{
    struct pipemap *self = ph_new(t->scope, struct pipemap);

    t->self = self;
    return items_open(t, spec, &self->table, &self->n);
}

static int32_t pipemap_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    const struct pipemap *self = t->self;
    int rc = PH_NONE;

    for (size_t i = 0; i < self->n; i++) {
        if ((rc = ph_table_lookup(self->table[i], key, out, &key)) != PH_FOUND)
            return rc;
    }
    *val = key;
    return rc;
}

PH_PLUGIN_TABLE(pipemap, PH_IS(.summary = "each answer is the key of the next table", .exec = PH_COROUTINE, .concurrency = PH_MANY_CALLS),
    .is = PH_TABLE_NOFOLD,
    .open = pipemap_open,
    .lookup = pipemap_lookup);
