/* table/example: answers each key with itself and a suffix, `example:suffix`.
 *
 * The shape of every table: open reads the text behind the colon, lookup
 * answers PH_FOUND with a value on `out`, PH_NONE for "definitely no such key",
 * or a negative code with text for "could not look": that defers mail, so never
 * say PH_NONE when something went wrong. */
#include <posthorn/table.h>

struct example {
    ph_str suffix;                     /* lives as long as the table */
};

static int32_t example_open(struct ph_table *t, ph_str spec)
{
    struct example *self = ph_new(t->scope, struct example);

    if (spec.n == 0)
        return ph_fail(PH_CONF, "a suffix must follow the colon");
    self->suffix = ph_str_dup(t->scope, spec);
    t->self = self;
    return 0;
}

static int32_t example_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    struct example *self = t->self;

    if (ph_str_find(key, '@') < 0)
        return PH_NONE;
    *val = ph_str_printf(out, "%.*s.%.*s", PH_FMT(key), PH_FMT(self->suffix));
    return PH_FOUND;
}

PH_PLUGIN_TABLE(example,
                PH_IS(.summary = "each key with a suffix", .exec = PH_PURE, .concurrency = PH_MANY_CALLS),
                .open = example_open,
                .lookup = example_lookup);
