/* table/inline: contents in the name: `inline:{ key=value, { key = text with
 * blanks } }`.  Reference: inline_table(5). */
#include <posthorn/fold.h>
#include <posthorn/map.h>
#include <posthorn/table.h>

static ph_str braces_off(ph_str s)
{
    if (s.n >= 2 && s.p[0] == '{' && s.p[s.n - 1] == '}')
        s = ph_str_first(ph_str_from(s, 1), s.n - 2);
    return ph_str_trim(s);
}

static int32_t inline_open(struct ph_table *t, ph_str spec)
{
    struct ph_map *m = ph_map_new(t->scope);
    ph_str all = ph_str_trim(spec);

    if (all.n < 2 || all.p[0] != '{' || all.p[all.n - 1] != '}' || braces_off(all).n == 0)
        return ph_fail(PH_CONF, "bad syntax: \"inline:%.*s\"; need \"inline:{name=value...}\"", PH_FMT(all));
    all = braces_off(all);
    for (ph_str item; (item = ph_str_list(&all)).n; ) {
        int has_value = ph_str_find(item, '=') >= 0;
        ph_str value = braces_off(item), key = ph_str_trim(ph_str_cut(&value, '='));
        ph_str *v = ph_new(t->scope, ph_str);

        value = ph_str_trim(value);
        if (key.n == 0 || !has_value)
            return ph_fail(PH_CONF, "missing '=' after attribute name: \"inline:%.*s\"; need \"inline:{name=value...}\"", PH_FMT(spec));
        *v = ph_str_dup(t->scope, value);
        ph_map_set(m, t->flags & PH_TABLE_FOLD ? ph_key_fold(t->scope, key) : key, v);
    }
    t->self = m;
    return 0;
}

static int32_t inline_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    const ph_str *v = ph_map_get(t->self, key);

    if (!v)
        return PH_NONE;
    *val = ph_str_dup(out, *v);
    return PH_FOUND;
}

PH_PLUGIN_TABLE(inline, PH_IS(.summary = "contents given in the name", .exec = PH_PURE, .concurrency = PH_MANY_CALLS),
    .open = inline_open,
    .lookup = inline_lookup);
