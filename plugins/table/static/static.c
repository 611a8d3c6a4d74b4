/* table/static: answers every key with one value, `static:example.com`, or
 * `static:{ text with blanks }`.  Reference: static_table(5). */
#include <posthorn/source.h>
#include <posthorn/table.h>

struct static_table {
    ph_str value;
};

static int32_t static_open(struct ph_table *t, ph_str spec)
{
    struct static_table *self = ph_new(t->scope, struct static_table);

    if (spec.n && spec.p[0] == '{') {
        int rc = ph_source_braces(spec, &spec);

        if (rc < 0)
            return ph_wrap(rc, "bad static:name syntax");
    }
    self->value = ph_str_dup(t->scope, spec);
    t->self = self;
    return 0;
}

static int32_t static_lookup(struct ph_table *t, ph_str key PH_UNUSED, struct ph_scope *out, ph_str *val)
{
    struct static_table *self = t->self;

    *val = ph_str_dup(out, self->value);
    return PH_FOUND;
}

PH_PLUGIN_TABLE(static, PH_IS(.summary = "one value for every key", .exec = PH_PURE, .concurrency = PH_MANY_CALLS),
    .is = PH_TABLE_NOFOLD,
    .open = static_open,
    .lookup = static_lookup);
