/* yaml_text: see yaml_text.h.  A block has its members on lines of their own, a
 * flow has them in brackets. */
#include <string.h>
#include <posthorn/buf.h>
#include <posthorn/error.h>
#include "core/cmd/yaml_text.h"
#include "core/conf/master.h"

static int find_services(struct yaml_text *y, struct ph_yaml **services)
{
    struct ph_yaml *root;
    int rc = ph_yaml_parse(y->scope, y->file, y->text, &root);

    if (rc < 0)
        return rc;
    *services = root->kind == PH_YAML_MAPPING ? (struct ph_yaml *)(uintptr_t)ph_yaml_member(root, "services") : NULL;
    if (!*services || (*services)->kind != PH_YAML_SEQUENCE)
        return ph_fail(PH_CONF, "%s: there is no list of services", y->file);
    return 0;
}

static int find_item(struct yaml_text *y, size_t number, const struct ph_yaml **item)
{
    struct ph_yaml *services, *i;
    int rc = find_services(y, &services);

    if (rc < 0)
        return rc;
    for (i = services->first; i && number; i = i->next)
        number--;
    if (!i || i->kind != PH_YAML_MAPPING)
        return ph_fail(PH_CONF, "%s: there is no such service", y->file);
    *item = i;
    return 0;
}

static int splice(struct yaml_text *y, size_t from, size_t to, ph_str put)
{
    struct ph_buf b;

    ph_buf_init(&b, y->scope, 2u * PH_MASTER_FILE_MAX);
    ph_buf_str(&b, ph_str_first(y->text, from));
    ph_buf_str(&b, put);
    ph_buf_str(&b, ph_str_from(y->text, to));
    if (b.full || b.n > PH_MASTER_FILE_MAX)
        return ph_fail(PH_CONF, "%s: larger than %u bytes", y->file, PH_MASTER_FILE_MAX);
    y->text = ph_buf_view(&b);
    return 0;
}

static size_t line_start(ph_str text, size_t at)
{
    while (at && text.p[at - 1] != '\n')
        at--;
    return at;
}

/* Behind the end of the line. */
static size_t line_end(ph_str text, size_t at)
{
    ptrdiff_t n = ph_str_find(ph_str_from(text, at), '\n');

    return n < 0 ? text.n : at + (size_t)n + 1;
}

static const struct ph_yaml *last_of(const struct ph_yaml *n)
{
    const struct ph_yaml *i = n->first;

    while (i && i->next)
        i = i->next;
    return i;
}

/* Where an item begins: at the dash of a block. */
static int dash_of(const struct yaml_text *y, const struct ph_yaml *item, size_t *dash)
{
    size_t at = item->from;

    while (at && ph_is_space(y->text.p[at - 1]))
        at--;
    if (at == 0 || y->text.p[at - 1] != '-' || ph_str_trim((ph_str){ y->text.p + line_start(y->text, at), at - 1 - line_start(y->text, at) }).n)
        return ph_yaml_fail(item->place, "this service is written in a way that can only be edited by hand");
    *dash = at - 1;
    return 0;
}

static int insert_line(struct yaml_text *y, size_t behind, size_t indent, ph_str line)
{
    size_t at = line_end(y->text, behind);
    int lacks = at == y->text.n && at && y->text.p[at - 1] != '\n';

    return splice(y, at, at, ph_str_printf(y->scope, "%s%*s%.*s\n", lacks ? "\n" : "", (int)indent, "", PH_FMT(line)));
}

static int add_member(struct yaml_text *y, const struct ph_yaml *map, ph_str text)
{
    const struct ph_yaml *last = last_of(map);

    if (!last)                         /* {} */
        return splice(y, map->to - 1, map->to - 1, text);
    if (map->flow)
        return splice(y, last->to, last->to, ph_str_printf(y->scope, ", %.*s", PH_FMT(text)));
    return insert_line(y, last->to, map->first->key_from - line_start(y->text, map->first->key_from), text);
}

/* The mapping that is meant: 1; 0 when there is no `sub`. */
static int find_mapping(struct yaml_text *y, size_t item, const char *sub, const struct ph_yaml **map)
{
    int rc = find_item(y, item, map);

    if (rc < 0 || !sub)
        return rc < 0 ? rc : 1;
    *map = ph_yaml_member(*map, sub);
    return *map && (*map)->kind == PH_YAML_MAPPING;
}

static const struct ph_yaml *member_of(const struct ph_yaml *map, ph_str key)
{
    for (const struct ph_yaml *i = map->first; i; i = i->next)
        if (ph_str_eq(i->key, key))
            return i;
    return NULL;
}

int yaml_text_set(struct yaml_text *y, size_t item, const char *sub, ph_str key, ph_str value)
{
    const struct ph_yaml *map, *old;
    int rc = find_mapping(y, item, sub, &map);

    if (rc < 0)
        return rc;
    if (rc == 0)
        return yaml_text_set(y, item, NULL, ph_cstr(sub), ph_str_printf(y->scope, "{%.*s: %.*s}", PH_FMT(key), PH_FMT(value)));
    if (!(old = member_of(map, key)))
        return add_member(y, map, ph_str_printf(y->scope, "%.*s: %.*s", PH_FMT(key), PH_FMT(value)));
    return splice(y, old->from, old->to, old->from == old->to ? ph_str_printf(y->scope, " %.*s", PH_FMT(value)) : value);
}

/* A member or an item out of brackets, with one comma. */
static int cut_flow(struct yaml_text *y, const struct ph_yaml *list, const struct ph_yaml *n)
{
    const struct ph_yaml *before = NULL;
    size_t from = list->kind == PH_YAML_MAPPING ? n->key_from : n->from;

    for (const struct ph_yaml *i = list->first; i != n; i = i->next)
        before = i;
    if (before)
        return splice(y, before->to, n->to, PH_STR(""));
    if (n->next)
        return splice(y, from, list->kind == PH_YAML_MAPPING ? n->next->key_from : n->next->from, PH_STR(""));
    return splice(y, list->from + 1, list->to - 1, PH_STR(""));
}

int yaml_text_delete(struct yaml_text *y, size_t item, const char *sub, ph_str key)
{
    const struct ph_yaml *map, *old;
    int rc = find_mapping(y, item, sub, &map);

    if (rc <= 0 || !(old = member_of(map, key)))
        return rc < 0 ? rc : 0;
    if (sub && map->count == 1)
        return yaml_text_delete(y, item, NULL, ph_cstr(sub));
    if (map->flow)
        return cut_flow(y, map, old);
    size_t start = line_start(y->text, old->key_from);

    if (ph_str_trim((ph_str){ y->text.p + start, old->key_from - start }).n == 0)
        return splice(y, start, line_end(y->text, old->to), PH_STR(""));
    if (!old->next)                    /* the only key, behind the dash */
        return ph_yaml_fail(old->place, "this key can only be removed by hand");
    return splice(y, old->key_from, old->next->key_from, PH_STR(""));
}

int yaml_text_delete_item(struct yaml_text *y, size_t number)
{
    const struct ph_yaml *item;
    struct ph_yaml *services;
    size_t dash;
    int rc = find_services(y, &services);

    if (rc < 0 || (rc = find_item(y, number, &item)) < 0)
        return rc;
    for (const struct ph_yaml *i = services->first; services->flow && i; i = i->next)
        if (i->from == item->from)
            return cut_flow(y, services, i);
    if ((rc = dash_of(y, item, &dash)) < 0)
        return rc;
    /* An empty block would be no list. */
    ph_str rest = services->count == 1 ? ph_str_printf(y->scope, "%*s[]\n", (int)(dash - line_start(y->text, dash)) + 2, "") : PH_STR("");

    return splice(y, line_start(y->text, dash), line_end(y->text, item->to), rest);
}

int yaml_text_append(struct yaml_text *y, void (*put)(struct ph_buf *out, const void *arg, unsigned indent, int one_line), const void *arg)
{
    const struct ph_yaml *last;
    struct ph_yaml *services;
    struct ph_buf b;
    size_t dash = 0;
    int rc = find_services(y, &services);

    if (rc < 0)
        return rc;
    last = last_of(services);
    if (!services->flow && last && (rc = dash_of(y, last, &dash)) < 0)
        return rc;
    size_t column = dash - line_start(y->text, dash);

    ph_buf_init(&b, y->scope, PH_MASTER_FILE_MAX);
    ph_buf_puts(&b, services->flow ? (last ? ", " : "") : "- ");
    put(&b, arg, (unsigned)column + 2, (int)services->flow);
    if (services->flow)
        return splice(y, last ? last->to : services->to - 1, last ? last->to : services->to - 1, ph_buf_view(&b));
    return insert_line(y, last->to, column, ph_buf_view(&b));
}
