/* pattern: `/pattern/flags result`, `!/pattern/flags result`, `if /pattern/` ...
 * `endif`; $1 or ${1} or $(1) in results.  The first rule that matches answers. */
#include <posthorn/why.h>
#include "rules.h"

#define NEEDS_MIN 8                /* fewer rules are asked sooner than the key is looked at */
#define VALUE_MAX (1u << 20)

int32_t pattern_open(struct ph_table *t, ph_str spec, const struct pattern_engine *e)
{
    struct rules *rs = ph_new(t->scope, struct rules);

    rs->engine = e;
    rs->type = t->ops->plugin.name;
    int rc = rules_read(t, spec, rs);
    if (rc < 0)
        return rc;
    if (rs->slow)
        ph_log("%s map %s: %d of %d patterns are interpreted, which is slower: the system gives no memory that may be executed",
               rs->type, rs->path, rs->slow, rs->n);
    t->self = rs;
    return 0;
}

static ph_str substitute(const struct rule *r, ph_str key, const struct pattern_span *span, struct ph_scope *out)
{
    struct ph_buf b;

    ph_buf_init(&b, out, VALUE_MAX);
    for (size_t i = 0; i < r->value.n; i++) {
        const char *why;
        unsigned n;
        size_t used;
        ph_str name;

        if (r->value.p[i] != '$') {
            ph_buf_putc(&b, r->value.p[i]);
        } else if (i + 1 < r->value.n && r->value.p[i + 1] == '$') {
            ph_buf_putc(&b, '$');
            i++;
        } else if (rules_reference(ph_str_from(r->value, i + 1), &name, &used, &why) && rules_group(name, &n)) {
            if (n < PATTERN_GROUPS && span[n].start >= 0)
                ph_buf_put(&b, key.p + span[n].start, (size_t)(span[n].end - span[n].start));
            i += used;
        }
    }
    return ph_buf_view(&b);
}

/* The engine's answer, turned around for `!`: 1 or 0, or negative. */
static int holds(const struct rules *rs, void *prog, int negative, ph_str key, struct pattern_span *span, unsigned count)
{
    int rc = rs->engine->match(prog, key, span, count);

    return rc < 0 ? rc : (rc == PH_FOUND) != (negative != 0);
}

/* have: of the key, or NULL. */
static int rule_holds(const struct rules *rs, const struct rule *r, const struct have *have, ph_str key, struct pattern_span *span)
{
    int rc;

    if (have && !have_all(have, &r->need))
        rc = r->negative != 0;
    else
        rc = holds(rs, r->prog, r->negative, key, span, PATTERN_GROUPS);
    return rc == 1 && r->second ? holds(rs, r->second, r->second_negative, key, NULL, 0) : rc;
}

int32_t pattern_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    struct rules *rs = t->self;
    struct pattern_span span[PATTERN_GROUPS];
    struct have have;
    int look = rs->needs >= NEEDS_MIN;

    if (look)
        have_fill(&have, key);
    for (int i = 0; i < rs->n; ) {
        const struct rule *r = &rs->rule[i];
        int rc = rule_holds(rs, r, look ? &have : NULL, key, span);

        if (rc < 0)
            return ph_wrap(rc, "%s, line %u", rs->path, r->line);
        if (rc && !r->skip_to) {
            ph_why_at(rs->path, r->line);
            *val = r->has_dollar ? substitute(r, key, span, out) : ph_str_dup(out, r->value);
            return PH_FOUND;
        }
        i = !rc && r->skip_to ? r->skip_to : i + 1;
    }
    return PH_NONE;
}
