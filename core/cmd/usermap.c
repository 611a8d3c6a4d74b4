/* usermap: see usermap.h. */
#include <posthorn/error.h>
#include <posthorn/source.h>
#include "core/cmd/usermap.h"

#define DEPTH_MAX 10                   /* files that name files */

static ph_str braces_off(ph_str s)
{
    if (s.n >= 2 && s.p[0] == '{' && s.p[s.n - 1] == '}')
        s = ph_str_first(ph_str_from(s, 1), s.n - 2);
    return ph_str_trim(s);
}

static int find_inline(struct ph_scope *s, ph_str text, ph_str key, ph_str *value)
{
    ph_str item, all = braces_off(text);

    if (all.n + 2 > text.n || all.n == 0)
        return ph_fail(PH_CONF, "inline: contents are written { key=value, ... }");
    while ((item = ph_str_list(&all)).n) {
        ph_str v = braces_off(item), k = ph_str_trim(ph_str_cut(&v, '='));

        if (k.n == 0 || (v = ph_str_trim(v)).n == 0)
            return ph_fail(PH_CONF, "inline: \"%.*s\" is not key=value", PH_FMT(item));
        if (ph_str_eq(k, key)) {
            *value = ph_str_dup(s, v);
            return PH_FOUND;
        }
    }
    return PH_NONE;
}

static int find_text(struct ph_scope *s, ph_str path, ph_str key, ph_str *value)
{
    PH_SCOPED(step, NULL);
    struct ph_source src;
    uint32_t number;
    ph_str line, k, v;
    int rc = ph_source_open(step, ph_cstr_dup(step, path), &src);

    if (rc < 0)
        return rc;
    while (ph_source_next(&src, &line, &number))
        if (ph_source_pair(line, &k, &v) == PH_SOURCE_PAIR && ph_str_eq(k, key)) {
            *value = ph_str_dup(s, v);
            return PH_FOUND;
        }
    return PH_NONE;
}

static int is_table(ph_str item)
{
    ptrdiff_t colon = ph_str_find(item, ':');

    return colon > 0 && item.p[0] != '/' && item.p[0] != '[';
}

static int find_one(struct ph_scope *s, ph_str table, ph_str key, ph_str *value)
{
    ph_str name = table, type = ph_str_cut(&name, ':');

    if (ph_str_eq(type, PH_STR("static"))) {
        *value = ph_str_dup(s, braces_off(name));
        return PH_FOUND;
    }
    if (ph_str_eq(type, PH_STR("inline")))
        return find_inline(s, name, key, value);
    if (ph_str_eq(type, PH_STR("texthash")))
        return find_text(s, name, key, value);
    return ph_fail(PH_CONF, "%.*s: a set-gid program loads no table plugins: use static:, inline: or texthash:", PH_FMT(table));
}

int ph_usermap_find(struct ph_scope *s, ph_str tables, ph_str key, ph_str *value)
{
    ph_str item;
    int rc = PH_NONE;

    while (rc == PH_NONE && (item = ph_str_list(&tables)).n)
        rc = is_table(item) ? find_one(s, item, key, value) : ph_fail(PH_CONF, "%.*s: expected type:table", PH_FMT(item));
    return rc;
}

static int listed(ph_str list, ph_str name, int depth);

static int listed_in_file(ph_str path, ph_str name, int depth)
{
    PH_SCOPED(step, NULL);
    struct ph_source src;
    uint32_t number;
    ph_str line;
    int rc;

    if (depth == DEPTH_MAX)
        return ph_fail(PH_CONF, "%.*s: files name each other", PH_FMT(path));
    if ((rc = ph_source_open(step, ph_cstr_dup(step, path), &src)) < 0)
        return rc;
    for (rc = PH_NONE; rc == PH_NONE && ph_source_next(&src, &line, &number);)
        rc = listed(line, name, depth + 1);
    return rc;
}

/* PH_FOUND, PH_NONE: an item says yes or no; its "!" turns that round. */
static int match(ph_str item, ph_str name, int depth)
{
    PH_SCOPED(step, NULL);
    ph_str value;

    if (item.p[0] == '/')
        return listed_in_file(item, name, depth);
    if (is_table(item))
        return find_one(step, item, name, &value);
    return ph_str_eq(item, name) ? PH_FOUND : PH_NONE;
}

#define DENIED 3                       /* an item with "!" matched */

static int listed(ph_str list, ph_str name, int depth)
{
    ph_str item;

    while ((item = ph_str_list(&list)).n) {
        int rc, wanted = 1;

        while (item.n && item.p[0] == '!') {
            wanted = !wanted;
            item = ph_str_from(item, 1);
        }
        if (item.n == 0)
            return ph_fail(PH_CONF, "no pattern behind \"!\"");
        rc = match(item, name, depth);
        if (rc == PH_FOUND || rc == DENIED)
            return (rc == PH_FOUND) == wanted ? PH_FOUND : DENIED;
        if (rc < 0)
            return rc;
    }
    return PH_NONE;
}

int ph_usermap_listed(ph_str list, ph_str name)
{
    int rc = listed(list, name, 0);

    return rc < 0 ? rc : rc == PH_FOUND;
}
