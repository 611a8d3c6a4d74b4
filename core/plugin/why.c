/* why: what tables and lists tell when somebody asks.  See posthorn/why.h.
 *
 * An index does not know the lines of its source: they are looked for there, each
 * time, since only people wait for it. */
#include <string.h>
#include <sys/stat.h>
#include <posthorn/fold.h>
#include <posthorn/source.h>
#include "core/base/errtext.h"
#include "core/plugin/internal.h"
#include "core/run/why.h"

/* The line of an alias file, "name: value", has this name. */
static int is_alias(struct ph_scope *s, const struct ph_table *t, ph_str line, ph_str key)
{
    ptrdiff_t colon = ph_str_rfind(key, ':');

    /* A name with a colon in it is quoted, and this is not the place to read RFC 822. */
    if (colon >= 0 || (colon = ph_str_find(line, ':')) < 0)
        return 0;
    ph_str name = ph_str_trim(ph_str_first(line, (size_t)colon));
    if (name.n >= 2 && name.p[0] == '"' && name.p[name.n - 1] == '"')
        name = ph_str_first(ph_str_from(name, 1), name.n - 2);
    return ph_str_eq(ph_table_key(t, s, name), key);
}

/* 1 when the line has the key; *value when it is known as it stands. */
static int has_key(struct ph_scope *s, const struct ph_table *t, ph_str line, ph_str key, ph_str *value)
{
    ph_str k, v;

    *value = PH_STR("");
    if (is_alias(s, t, line, key))
        return 1;
    if (ph_source_pair(line, &k, &v) != PH_SOURCE_PAIR || !ph_str_eq(ph_table_key(t, s, k), key))
        return 0;
    *value = v;
    return 1;
}

/* The first line with the key counts, as for postmap: its number, or 0. */
static uint32_t find_line(struct ph_scope *s, const struct ph_table *t, struct ph_source *src, ph_str key, ph_str *value)
{
    struct ph_scope *step = ph_scope_new(s);
    uint32_t number;
    ph_str line;

    while (ph_source_next(src, &line, &number)) {
        if (has_key(step, t, line, key, value))
            return number;
        ph_scope_reset(step);
    }
    return 0;
}

static int is_newer(const char *source, const char *index)
{
    struct stat a, b;

    return stat(source, &a) == 0 && stat(index, &b) == 0 && 
           (a.st_mtim.tv_sec != b.st_mtim.tv_sec ? a.st_mtim.tv_sec > b.st_mtim.tv_sec : a.st_mtim.tv_nsec > b.st_mtim.tv_nsec);
}

/* Where the answer of an index stands in its source, and whether that is true still. */
static void find_source(struct ph_scope *s, const char *index, const struct table_question *q, struct ph_why_step *step)
{
    const char *path = ph_cstr_dup(s, q->t->name);
    struct ph_source src;
    ph_str value;

    if (ph_source_open(s, path, &src) < 0) {
        step->file = ph_cstr(index);
        step->remark = ph_str_printf(s, "its source cannot be read: %s", ph_error());
        return;
    }
    int newer = is_newer(path, index);
    step->line = find_line(s, q->t, &src, q->key, &value);
    step->file = ph_cstr(step->line ? path : index);
    if (!step->line)
        step->remark = ph_str_printf(s, "%s does not have the key%s", path, newer ? " and is newer than the index" : "");
    else if (value.n && !ph_str_eq(value, q->value))
        step->remark = ph_str_printf(s, "the source has another value%s", newer ? " and is newer than the index" : "");
    else if (newer)
        step->remark = PH_STR("the source is newer than the index");
}

static void find_place(struct ph_scope *s, struct ph_why_sink *w, const struct table_question *q, struct ph_why_step *step)
{
    if (w->file && w->file[0] == '{') {
        step->remark = ph_str_printf(s, "rule %u", w->line);
    } else if (w->file) {
        step->file = ph_cstr(w->file);
        step->line = w->line;
    } else if (w->index && !w->no_lines) {
        find_source(s, w->index, q, step);
    }
}

void ph_why_asked(struct ph_why_sink *w, const struct table_question *q)
{
    PH_SCOPED(s, NULL);
    struct ph_why_step step = { .size = sizeof step, .kind = PH_WHY_LOOKUP, .answer = q->answer, .depth = w->depth, .what = q->what,
                                .table = q->table, .key = q->key, .value = q->value };
    /* What is told must not change what the caller is told. */
    ph_str error = ph_str_dup(s, ph_cstr(ph_error()));

    if (q->answer == PH_FOUND)
        find_place(s, w, q, &step);
    if (q->answer < 0)
        step.value = error;
    w->put(w, &step);
    w->file = w->index = NULL;
    ph_errtext_set(error.p);
}

void ph_why_matched(struct ph_why_sink *w, const struct list_answer *a)
{
    struct ph_why_step step = { .size = sizeof step, .kind = PH_WHY_MATCH, .answer = a->answer, .depth = w->depth, .what = a->what, .table = a->item,
                                .key = a->name.n ? a->name : a->address };
    PH_SCOPED(s, NULL);

    if (a->name.n && a->address.n)
        step.key = ph_str_printf(s, "%.*s [%.*s]", PH_FMT(a->name), PH_FMT(a->address));
    if (a->file) {
        step.file = ph_cstr(a->file);
        step.line = a->line;
    }
    if (a->answer < 0)
        step.value = ph_str_dup(s, ph_cstr(ph_error()));
    w->put(w, &step);
}
