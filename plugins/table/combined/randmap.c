/* table/randmap: any one of a few texts for every key, `randmap:{a, b, c}`.
 * Reference: randmap_table(5). */
#include <errno.h>
#include <sys/random.h>
#include "items.h"

struct randmap { ph_str *item; size_t n; };

static int32_t randmap_open(struct ph_table *t, ph_str spec)
{
    struct randmap *self = ph_new(t->scope, struct randmap);

    t->self = self;
    return items_parse(t, spec, "value", &self->item, &self->n);
}

static int32_t randmap_lookup(struct ph_table *t, ph_str key PH_UNUSED, struct ph_scope *out, ph_str *val)
{
    const struct randmap *self = t->self;
    uint64_t any;

    if (getrandom(&any, sizeof any, 0) != sizeof any)
        return ph_fail_errno(PH_TEMP, errno, "getrandom");
    *val = ph_str_dup(out, self->item[any % self->n]);     /* 64 bits: no item is preferred so that one could see it */
    return PH_FOUND;
}

PH_PLUGIN_TABLE(randmap, PH_IS(.summary = "any one of a few texts", .exec = PH_PURE, .concurrency = PH_MANY_CALLS),
    .is = PH_TABLE_PATTERN | PH_TABLE_NOFOLD,
    .open = randmap_open,
    .lookup = randmap_lookup);
