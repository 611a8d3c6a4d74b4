/* table/unionmap: the answers of all tables, with commas between,
 * `unionmap:{type:name, type:name ...}`.  Reference: unionmap_table(5). */
#include "items.h"

#define ANSWER_MAX (1u << 20)

struct unionmap { struct ph_table **table; size_t n; };

static int32_t unionmap_open(struct ph_table *t, ph_str spec)
{
    struct unionmap *self = ph_new(t->scope, struct unionmap);

    t->self = self;
    return items_open(t, spec, &self->table, &self->n);
}

/* One that cannot be asked makes all of it fail: half an answer is a wrong one.
 * Answers that are empty are none. */
static int32_t unionmap_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    const struct unionmap *self = t->self;
    struct ph_buf all;

    ph_buf_init(&all, out, ANSWER_MAX);
    for (size_t i = 0; i < self->n; i++) {
        ph_str one;
        int rc = ph_table_lookup(self->table[i], key, out, &one);

        if (rc < 0)
            return rc;
        if (rc == PH_FOUND) {
            ph_buf_puts(&all, all.n ? "," : "");
            ph_buf_str(&all, one);
        }
    }
    if (all.full)
        return ph_fail(PH_TEMP, "the answers together have more than %u bytes", ANSWER_MAX);
    *val = ph_buf_view(&all);
    return all.n ? PH_FOUND : PH_NONE;
}

PH_PLUGIN_TABLE(unionmap, PH_IS(.summary = "the answers of several tables", .exec = PH_COROUTINE, .concurrency = PH_MANY_CALLS),
    .is = PH_TABLE_NOFOLD,
    .open = unionmap_open,
    .lookup = unionmap_lookup);
