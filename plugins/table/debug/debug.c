/* table/debug: another table, and a line in the log for each thing asked of it,
 * `debug:type:name`.  Reference: debug_table(5). */
#include <posthorn/table.h>

static int32_t debug_open(struct ph_table *t, ph_str spec)
{
    struct ph_table *inner;
    int rc = ph_table_inner(t, spec, &inner);

    if (rc < 0)
        return rc;
    t->is |= inner->is & PH_TABLE_PATTERN;
    t->self = inner;
    return 0;
}

/* The answer in words; the code stays what it was. */
static int note(const struct ph_table *t, const char *what, ph_str key, int rc, ph_str val)
{
    if (rc == PH_FOUND)
        ph_log("%.*s %s: \"%.*s\" = \"%.*s\"", PH_FMT(t->name), what, PH_FMT(key), PH_FMT(val));
    else if (rc == PH_NONE)
        ph_log("%.*s %s: \"%.*s\" = not found", PH_FMT(t->name), what, PH_FMT(key));
    else
        ph_log("%.*s %s: \"%.*s\" = error: %s", PH_FMT(t->name), what, PH_FMT(key), ph_error());
    return rc;
}

static int32_t debug_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    ph_str found = PH_STR("");
    int rc = ph_table_lookup(t->self, key, out, &found);

    if (rc == PH_FOUND)
        *val = found;
    return note(t, "lookup", key, rc, found);
}

static int32_t debug_update(struct ph_table *t, ph_str key, ph_str val)
{
    return note(t, "update", key, ph_table_update(t->self, key, val), val);
}

static int32_t debug_remove(struct ph_table *t, ph_str key)
{
    return note(t, "delete", key, ph_table_remove(t->self, key), PH_STR("deleted"));
}

static int32_t debug_sequence(struct ph_table *t, int32_t first, struct ph_scope *out, ph_str *key, ph_str *val)
{
    ph_str k = PH_STR(""), v = PH_STR("");
    int rc = ph_table_next(t->self, first, out, &k, &v);

    if (rc == PH_FOUND) {
        *key = k;
        *val = v;
    }
    return note(t, first ? "sequence first" : "sequence next", k, rc, v);
}

static int32_t debug_commit(struct ph_table *t)
{
    return ph_table_commit(t->self);
}

PH_PLUGIN_TABLE(debug, PH_IS(.summary = "another table, and lines in the log", .exec = PH_COROUTINE, .concurrency = PH_MANY_CALLS),
    .is = PH_TABLE_NOFOLD,
    .open = debug_open,
    .lookup = debug_lookup,
    .update = debug_update,
    .remove = debug_remove,
    .sequence = debug_sequence,
    .commit = debug_commit);
