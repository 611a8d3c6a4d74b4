/* reader: the lines of main.cf.
 *
 * A logical line is "name = value" and goes on over physical lines that begin
 * with white space.  Empty lines and lines whose first byte other than blanks
 * is '#' count nowhere, also in the middle of a logical line.  '#' behind text
 * is text.  The pieces of a value remember their line, for messages; those about
 * lines have the words that scripts know from Postfix. */
#include <string.h>
#include "core/conf/internal.h"

#define SEGMENTS_MAX 4096u          /* physical lines of one logical line */
#define SHOWN_BYTES  30             /* of a line in a warning */

struct reader {
    struct ph_conf *conf;
    const char *file;
    struct ph_scope *scope;        /* of the logical line under way */
    struct ph_buf line;
    struct segment *segments;      /* offsets in `line` */
    size_t count, room;
    int stray;                     /* it begins with a blank: it continues nothing */
};

static void add_segment(struct reader *r, uint32_t line)
{
    if (r->count == r->room) {
        size_t room = r->room ? r->room * 2 : 8;
        struct segment *more = ph_alloc_array(r->scope, room, sizeof *more);

        if (r->count)
            memcpy(more, r->segments, r->count * sizeof *more);
        r->segments = more;
        r->room = room;
    }
    r->segments[r->count++] = (struct segment){ (uint32_t)r->line.n, line, 1 };
}

static struct ph_place place_of(const struct reader *r, size_t offset)
{
    struct entry e = { .file = r->file, .segments = r->segments, .segment_count = r->count };

    return ph_entry_place(&e, offset);
}

/* The segments that the value [offset, offset + n) lies in, counted from its start. */
static void cut_segments(const struct reader *r, struct entry *e, size_t offset, size_t n)
{
    struct segment *list = ph_alloc_array(r->conf->scope, r->count + 1, sizeof *list);
    struct ph_place start = place_of(r, offset);

    list[0] = (struct segment){ 0, start.line, start.column };
    e->segment_count = 1;
    for (size_t i = 0; i < r->count; i++)
        if (r->segments[i].offset > offset && r->segments[i].offset < offset + n) {
            list[e->segment_count] = r->segments[i];
            list[e->segment_count++].offset -= (uint32_t)offset;
        }
    e->segments = list;
}

/* What is set anew with another value. */
static void warn_override(const struct reader *r, const struct entry *e)
{
    const struct entry *old = ph_map_get(r->conf->entries, e->name);
    ph_str was = old ? old->value : ph_cstr(r->conf->dir);

    if ((old || ph_str_eq(e->name, PH_STR("config_directory"))) && !ph_str_eq(was, e->value))
        ph_conf_warn(r->conf, "%s, line %u: overriding earlier entry: %.*s=%.*s", r->file, r->segments[0].line, PH_FMT(e->name), PH_FMT(was));
}

/* One logical line: split it at the '=' and store it. */
static int end_line(struct reader *r)
{
    ph_str all = ph_buf_view(&r->line), trimmed, value;
    size_t name_n = 0, at;

    if (r->count == 0)
        return 0;
    if (r->line.full || r->count > SEGMENTS_MAX)
        return ph_conf_fail_at(place_of(r, 0), "line longer than %u bytes", PH_CONF_VALUE_MAX);
    all = ph_str_cut(&all, '\0');  /* as in tables: nothing behind it counts */
    trimmed = ph_str_trim(all);
    if (r->stray) {
        ph_conf_warn(r->conf, "%s: logical line must not start with whitespace: \"%.*s%s\"", r->file, PH_FMT(ph_str_first(all, SHOWN_BYTES)),
                     all.n > SHOWN_BYTES ? "..." : "");
        return 0;
    }
    while (name_n < trimmed.n && !ph_is_space(trimmed.p[name_n]) && trimmed.p[name_n] != '=')
        name_n++;
    at = (size_t)(trimmed.p - all.p) + name_n;
    while (at < all.n && ph_is_space(all.p[at]))
        at++;
    if (name_n == 0)
        return ph_fail(PH_CONF, "%s, line %u: missing attribute name: \"%.*s\"", r->file, r->segments[0].line, PH_FMT(trimmed));
    if (at == all.n || all.p[at] != '=')
        return ph_fail(PH_CONF, "%s, line %u: missing '=' after attribute name: \"%.*s\"", r->file, r->segments[0].line, PH_FMT(trimmed));
    value = ph_str_trim(ph_str_from(all, at + 1));
    struct entry *e = ph_new(r->conf->scope, struct entry);

    e->name = ph_str_dup(r->conf->scope, ph_str_first(trimmed, name_n));
    e->value = ph_str_dup(r->conf->scope, value);
    e->file = r->file;
    cut_segments(r, e, value.n ? (size_t)(value.p - all.p) : at, value.n);
    warn_override(r, e);
    ph_conf_put(r->conf, e);
    return 0;
}

static void begin_line(struct reader *r)
{
    ph_scope_reset(r->scope);
    ph_buf_init(&r->line, r->scope, PH_CONF_VALUE_MAX);
    r->segments = NULL;
    r->count = r->room = 0;
    r->stray = 0;
}

static int physical_line(struct reader *r, ph_str line, uint32_t number)
{
    ph_str content = ph_str_trim(line);
    int rc;

    if (content.n == 0 || content.p[0] == '#')
        return 0;
    if (ph_str_find(line, '\0') >= 0)
        ph_conf_warn(r->conf, "%s:%u:1: the line holds a NUL byte", r->file, number);
    if (!ph_is_space(line.p[0])) {
        if ((rc = end_line(r)) < 0)
            return rc;
        begin_line(r);
    } else if (r->count == 0) {
        begin_line(r);
        r->stray = 1;
    }
    if (line.n && line.p[line.n - 1] == '\r')
        line.n--;
    if (r->count <= SEGMENTS_MAX)
        add_segment(r, number);
    ph_buf_str(&r->line, line);
    return 0;
}

int ph_conf_read_text(struct ph_conf *c, const char *file, ph_str text)
{
    PH_SCOPED(scope, NULL);
    struct reader r = { .conf = c, .file = file, .scope = scope };
    uint32_t number = 0;
    int rc;

    begin_line(&r);
    while (text.n > 0)
        if ((rc = physical_line(&r, ph_str_cut(&text, '\n'), ++number)) < 0)
            return rc;
    return end_line(&r);
}
