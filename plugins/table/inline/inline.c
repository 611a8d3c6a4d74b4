/* table/inline: contents in the name: `inline:{ key=value, { key = text with
 * blanks } }`.  Reference: inline_table(5). */
#include <posthorn/source.h>
#include "plugins/table/common/entries.h"

/* The name in front of '=': blanks and '=' in "..." or behind a backslash belong to
 * it, and quotes and backslashes stay.  0, or PH_CONF. */
static int take_name(ph_str *item, ph_str *name)
{
    ph_str at = ph_str_trim(*item);
    int quoted = 0;
    size_t n = 0;

    for (; n < at.n && (quoted || (at.p[n] != '=' && !ph_is_space(at.p[n]))); n++)
        if (at.p[n] == '"')
            quoted = !quoted;
        else if (at.p[n] == '\\' && n + 1 < at.n)
            n++;
    *name = ph_str_first(at, n);
    at = ph_str_trim(ph_str_from(at, n));
    if (quoted)
        return ph_fail(PH_CONF, "unbalanced '\"'");
    if (at.n == 0 || at.p[0] != '=')
        return ph_fail(PH_CONF, "missing '=' after attribute name");
    *item = ph_str_trim(ph_str_from(at, 1));
    return 0;
}

static int read_items(struct ph_table *t, struct entries *e, ph_str all)
{
    int is_new, rc;
    ph_str item, name;

    while ((item = ph_str_list(&all)).n) {
        if (item.p[0] == '{' && (rc = ph_source_braces(item, &item)) < 0)
            return rc;
        if ((rc = take_name(&item, &name)) < 0)
            return rc;
        entries_add(e, entries_key(t->scope, t, name), &is_new)->value = ph_str_dup(t->scope, item);
    }
    return e->first ? 0 : ph_fail(PH_CONF, "empty table");
}

static int32_t inline_open(struct ph_table *t, ph_str spec)
{
    struct entries *e = ph_new(t->scope, struct entries);
    ph_str all;
    int rc = 0;

    entries_init(e, t->scope);
    if (!ph_str_is_utf8(spec) && !(t->flags & PH_TABLE_ANY_BYTES))
        rc = ph_fail(PH_CONF, "bad UTF-8 syntax");
    else if (ph_str_eq(spec, PH_STR("{}")) || ph_source_braces(spec, &all) < 0)
        rc = ph_fail(PH_CONF, "bad syntax");
    else
        rc = read_items(t, e, all);
    if (rc < 0) {
        ph_str shown = ph_source_shown(t->scope, spec);

        return ph_fail(PH_CONF, "%s: \"inline:%.*s\"; need \"inline:{name=value...}\"", ph_error(), PH_FMT(shown));
    }
    t->self = e;
    return 0;
}

static int32_t inline_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    return entries_lookup(t->self, key, out, val);
}

static int32_t inline_sequence(struct ph_table *t, int32_t first, struct ph_scope *out, ph_str *key, ph_str *val)
{
    return entries_next(t->self, first, out, key, val);
}

PH_PLUGIN_TABLE(inline, PH_IS(.summary = "contents given in the name", .exec = PH_PURE, .concurrency = PH_MANY_CALLS),
    .open = inline_open,
    .lookup = inline_lookup,
    .sequence = inline_sequence);
