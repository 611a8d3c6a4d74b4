/* postconf_edit: -e, -X and -# on main.cf.  Only the lines of the named entries
 * change; comments stay byte by byte, those between the lines of an entry too.
 * The file is not parsed as a whole: what is broken must remain editable. */
#include <stdlib.h>
#include <string.h>
#include <posthorn/map.h>
#include "core/cmd/cmd.h"
#include "core/cmd/edit_file.h"
#include "core/cmd/postconf.h"

struct change {
    ph_str name, value;
    uint32_t seen;                 /* entries of the file that it met */
};

void postconf_check_edit(const char *arg, const char *whose)
{
    if (strchr(arg, '\n'))
        ph_cmd_fatal("%s no multi-line input", whose);
    if (ph_str_trim(ph_cstr(arg)).n && ph_str_trim(ph_cstr(arg)).p[0] == '#')
        ph_cmd_fatal("%s no comment input", whose);
}

void postconf_split(const char *arg, ph_str *name, ph_str *value)
{
    ph_str rest = ph_str_trim(ph_cstr(arg));
    size_t n = 0;

    while (ph_is_space(*arg))          /* as it is told */
        arg++;
    while (n < rest.n && rest.p[n] != '=' && !ph_is_space(rest.p[n]))
        n++;
    *name = ph_str_first(rest, n);
    rest = ph_str_trim(ph_str_from(rest, n));
    if (name->n == 0)
        ph_cmd_fatal("missing attribute name: \"%s\"", arg);
    if (rest.n == 0 || rest.p[0] != '=')
        ph_cmd_fatal("missing '=' after attribute name: \"%s\"", arg);
    *value = ph_str_trim(ph_str_from(rest, 1));
}

static struct ph_map *read_changes(const struct postconf *p, int edit, char **args)
{
    struct ph_map *changes = ph_map_new(p->scope);

    for (; *args; args++) {
        struct change *c = ph_new(p->scope, struct change), *old;

        postconf_check_edit(*args, "-e, -X, or -# accepts");
        if (edit == 'e')
            postconf_split(*args, &c->name, &c->value);
        else if (ph_str_trim(c->name = ph_cstr(*args)).n == 0)
            ph_cmd_fatal("-X or -# requires non-blank parameter names");
        old = ph_map_set(changes, c->name, c);
        if (old && edit == 'e')
            ph_cmd_warn("ignoring earlier request: '%.*s = %.*s'", PH_FMT(old->name), PH_FMT(old->value));
    }
    return changes;
}

static void put_entry(struct ph_buf *out, const struct change *c)
{
    ph_buf_printf(out, "%.*s = %.*s\n", PH_FMT(c->name), PH_FMT(c->value));
}

/* The first line of an entry: the change it meets, or NULL. */
static struct change *find_change(const struct ph_map *changes, ph_str line)
{
    size_t n = 0;

    while (n < line.n && line.p[n] != '=' && !ph_is_space(line.p[n]))
        n++;
    return ph_map_get(changes, ph_str_first(line, n));
}

/* One line of the file; *now is the change of the entry that it may continue. */
static void edit_line(struct ph_buf *out, const struct ph_map *changes, int edit, ph_str line, struct change **now)
{
    ph_str content = ph_str_trim(line);
    int comment = content.n == 0 || content.p[0] == '#', begins = !comment && !ph_is_space(line.p[0]);

    if (begins && (*now = find_change(changes, line)) && ++(*now)->seen && edit == 'e')
        put_entry(out, *now);
    if (*now && !comment && edit != '#')
        return;
    if (*now && !comment)
        ph_buf_putc(out, '#');
    ph_buf_str(out, line);
    ph_buf_putc(out, '\n');
}

static int compare(const void *a, const void *b)
{
    return ph_str_cmp((*(struct change *const *)a)->name, (*(struct change *const *)b)->name);
}

/* What the file did not have, at its end, by name. */
static void add_missing(const struct postconf *p, struct ph_buf *out, const struct ph_map *changes)
{
    struct change **list = ph_alloc_array(p->scope, ph_map_count(changes) + 1, sizeof *list);
    size_t n = 0, at = 0;
    ph_str key;
    void *value;

    while (ph_map_next(changes, &at, &key, &value))
        if (!((struct change *)value)->seen)
            list[n++] = value;
    qsort(list, n, sizeof *list, compare);
    for (size_t i = 0; i < n; i++)
        put_entry(out, list[i]);
}

static void warn_repeated(const struct ph_map *changes, const char *path)
{
    size_t at = 0;
    ph_str key;
    void *value;

    while (ph_map_next(changes, &at, &key, &value))
        if (((struct change *)value)->seen > 1)
            ph_cmd_warn("%s: multiple entries for \"%.*s\"", path, PH_FMT(key));
}

void postconf_edit(struct postconf *p, int edit, char **args)
{
    const char *path = ph_str_printf(p->scope, "%s/main.cf", p->dir).p;
    struct ph_map *changes = read_changes(p, edit, args);
    struct change *now = NULL;
    struct edit_file file;
    struct ph_buf out;

    edit_file_open(&file, p->scope, path, PH_CONF_FILE_MAX);
    ph_buf_init(&out, p->scope, 2 * PH_CONF_FILE_MAX);
    for (ph_str rest = file.text; rest.n; )
        edit_line(&out, changes, edit, ph_str_cut(&rest, '\n'), &now);
    if (edit == 'e')
        add_missing(p, &out, changes);
    if (out.full || out.n > PH_CONF_FILE_MAX) {
        edit_file_abandon(&file);
        ph_cmd_fatal("%s: larger than %u bytes", path, PH_CONF_FILE_MAX);
    }
    warn_repeated(changes, path);
    edit_file_commit(&file, ph_buf_view(&out));
}
