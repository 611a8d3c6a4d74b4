/* names: which names are set, used, misspelt or ahead of their time. */
#include <stdlib.h>
#include <string.h>
#include "core/conf/internal.h"

#define NEAREST_MAX 64u             /* longer names are not compared */

int ph_conf_name_kind(const struct ph_conf *c, ph_str name)
{
    const struct ph_known *k = ph_known_find(name);

    if (ph_registered_find(name))
        return PH_NAME_KNOWN;
    if (!k)
        k = ph_known_template(name);
    if (k)
        return k->built ? PH_NAME_KNOWN : PH_NAME_PLANNED;
    return ph_conf_find(c, name) ? PH_NAME_USER : PH_NAME_UNKNOWN;
}

static int compare_names(const void *a, const void *b)
{
    return ph_str_cmp(*(const ph_str *)a, *(const ph_str *)b);
}

size_t ph_conf_names(const struct ph_conf *c, struct ph_scope *s, int only_set, ph_str **names)
{
    size_t room = ph_known_count(), n = 0, at;
    void *value;
    ph_str key;

    for (const struct ph_conf *i = c; i; i = i->base)
        room += ph_map_count(i->entries);
    ph_str *list = ph_alloc_array(s, room + 1, sizeof *list);

    for (const struct ph_conf *i = c; i; i = i->base)
        for (at = 0; ph_map_next(i->entries, &at, &key, &value); )
            if (ph_conf_find(c, key))  /* what cannot be set is not set */
                list[n++] = ((struct entry *)value)->name;
    for (at = 0; !only_set && at < ph_known_count(); at++)
        if (!ph_known_at(at)->old)
            list[n++] = ph_cstr(ph_known_at(at)->name);
    qsort(list, n, sizeof *list, compare_names);
    size_t kept = 0;

    for (at = 0; at < n; at++)
        if (kept == 0 || !ph_str_eq(list[kept - 1], list[at]))
            list[kept++] = list[at];
    *names = list;
    return kept;
}

/* Edit distance, an exchange of neighbours counting one. */
static unsigned distance(ph_str a, ph_str b)
{
    unsigned row[3][NEAREST_MAX + 1];

    for (unsigned j = 0; j <= b.n; j++)
        row[0][j] = j;
    for (unsigned i = 1; i <= a.n; i++) {
        unsigned *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];

        now[0] = i;
        for (unsigned j = 1; j <= b.n; j++) {
            unsigned best = last[j - 1] + (a.p[i - 1] != b.p[j - 1]);

            best = last[j] + 1 < best ? last[j] + 1 : best;
            best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1] && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[a.n % 3][b.n];
}

struct nearest {
    const char *name;
    unsigned distance;             /* only a nearer one is taken */
};

static void consider(struct nearest *n, ph_str wanted, const char *candidate)
{
    ph_str c = ph_cstr(candidate);
    size_t gap = c.n > wanted.n ? c.n - wanted.n : wanted.n - c.n;
    unsigned d;

    if (wanted.n > NEAREST_MAX || c.n > NEAREST_MAX || gap >= n->distance)
        return;
    if ((d = distance(wanted, c)) < n->distance)
        *n = (struct nearest){ candidate, d };
}

/* Up to two edits, and fewer than a third of a short name. */
static struct nearest nearest_start(ph_str name)
{
    return (struct nearest){ NULL, name.n >= 9 ? 3 : (unsigned)name.n / 3 + 1 };
}

const char *ph_nearest(ph_str name, const char *const *names, size_t count)
{
    struct nearest n = nearest_start(name);

    for (size_t i = 0; i < count; i++)
        consider(&n, name, names[i]);
    return n.name;
}

static const char *nearest_known(ph_str name)
{
    struct nearest n = nearest_start(name);

    for (size_t i = 0; i < ph_known_count(); i++)
        if (!ph_known_at(i)->old)
            consider(&n, name, ph_known_at(i)->name);
    return n.name;
}

static void check_deprecated(struct ph_conf *c, const struct entry *e)
{
    const char *instead = ph_known_instead(e->name);

    if (instead)
        ph_conf_warn(c, "%s: support for parameter \"%.*s\" will be removed; instead, %s%s%s", e->file, PH_FMT(e->name),
                  instead[0] ? "specify \"" : "do not specify it", instead, instead[0] ? "\"" : "");
}

/* Where the value came from: options have no file of their own. */
static const char *file_of(const struct ph_conf *c, struct ph_scope *s, const struct entry *e)
{
    return e->file ? e->file : ph_str_printf(s, "%s/main.cf", c->dir).p;
}

static void say_unused(struct ph_conf *c, struct ph_scope *s, const struct entry *e)
{
    const char *near = nearest_known(e->name);

    ph_conf_warn(c, "%s: unused parameter: %.*s=%.*s%s%s%s", file_of(c, s, e), PH_FMT(e->name), PH_FMT(e->value),
                 near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
}

static void check_name(struct ph_conf *c, struct ph_scope *s, const struct entry *e, const struct ph_map *services)
{
    int kind = ph_conf_name_kind(c, e->name);

    if (!ph_conf_is_listed(e->name) && !ph_conf_is_used(c, e->name) && !(services && ph_map_get(services, e->name)) &&
        (services || kind == PH_NAME_USER)) {
        say_unused(c, s, e);
        return;
    }
    if (!e->file)
        return;
    check_deprecated(c, e);
    if (kind == PH_NAME_PLANNED)
        ph_conf_warn(c, "%s: parameter is not implemented yet, so it has no effect: %.*s=%.*s", e->file, PH_FMT(e->name), PH_FMT(e->value));
}

void ph_conf_check_names(struct ph_conf *c, const struct ph_map *services)
{
    PH_SCOPED(step, NULL);
    ph_str *names;
    size_t count = ph_conf_names(c, step, 1, &names);

    for (size_t i = 0; i < count; i++)
        check_name(c, step, ph_conf_find(c, names[i]), services);
}

int ph_conf_is_listed(ph_str name)
{
    const struct ph_known *k = ph_known_find(name);

    return (k && !k->old) || ph_registered_find(name);
}

int ph_conf_is_used(const struct ph_conf *c, ph_str name)
{
    const struct ph_known *k = ph_known_find(name);

    return (k && k->old) || (c->used && ph_map_get(c->used, name));
}

/* A class of restrictions that nothing defines. */
static void check_classes(struct ph_conf *c)
{
    PH_SCOPED(step, NULL);
    ph_str classes, word;

    if (!ph_map_get(c->entries, PH_STR("smtpd_restriction_classes")) || ph_conf_get(c, step, "smtpd_restriction_classes", &classes) != PH_FOUND)
        return;
    while ((word = ph_str_token(&classes, ", \t\r\n")).n)
        if (!ph_conf_find(c, word) && !ph_map_set(c->undefined, word, c))
            ph_conf_warn(c, "%s/%s: undefined parameter: %.*s", c->dir, c->undefined_file, PH_FMT(word));
}

/* What a program says of itself. */
static void check_read_only(struct ph_conf *c, struct ph_scope *s)
{
    static const char *const names[] = { "process_id", "process_name", "service_name" };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct entry *e = ph_map_get(c->entries, ph_cstr(names[i]));

        if (e)
            ph_conf_warn(c, "%s: read-only parameter assignment: %s=%.*s", file_of(c, s, e), names[i], PH_FMT(e->value));
    }
}

int ph_conf_check_undefined(struct ph_conf *c, const char *file, const struct ph_map *defined)
{
    PH_SCOPED(step, NULL);
    ph_str *names, key, value;
    size_t n = 0, at = 0;
    void *entry;
    int rc = 0;

    c->undefined = ph_map_new(c->scope);
    c->undefined_file = ph_cstr_dup(c->scope, ph_cstr(file));
    while (defined && ph_map_next(defined, &at, &key, &entry))
        ph_map_set(c->undefined, key, c);
    at = 0;
    names = ph_alloc_array(step, ph_map_count(c->entries) + 1, sizeof *names);
    while (ph_map_next(c->entries, &at, &key, &entry))
        names[n++] = ((const struct entry *)entry)->name;
    qsort(names, n, sizeof *names, compare_names);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        const struct entry *e = ph_map_get(c->entries, names[i]);

        /* What no program reads is not refused by Postfix either. */
        if ((rc = ph_conf_expand_as(c, step, e->name, e->value, &value)) < 0 && ph_conf_name_kind(c, e->name) == PH_NAME_USER) {
            ph_conf_warn(c, "%s", ph_error());
            rc = 0;
        }
    }
    if (rc == 0)
        check_classes(c);
    check_read_only(c, step);
    return rc;
}
