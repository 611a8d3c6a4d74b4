/* postconf_import: --import-master FILE: a master.cf becomes master.yaml.  Lines are
 * kept, those that are commented out as services that are disabled; other comments
 * stay where they stand.  The old master.yaml stays beside it as master.yaml.old. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/cmd/cmd.h"
#include "core/cmd/edit_file.h"
#include "core/cmd/mastercf.h"
#include "core/cmd/postconf.h"
#include "core/conf/yaml.h"
#include "core/plugin/registry.h"

#define LINES_MAX PH_MASTER_SERVICES_MAX

struct imported {
    struct mastercf m;
    uint32_t number;               /* of its first line */
};

struct import {
    struct postconf *p;
    const char *file;
    struct imported *list;
    size_t count;
    struct ph_buf *before;         /* comments in front of each, and at the end */
    struct ph_buf line, later;     /* under way: a logical line; comments inside it */
    uint32_t number, start;
    int goes_on;                   /* comments from here to the next line stand inside an entry */
    int open;                      /* 1: a line; 2: one that is commented out; 0 none */
};

static void add(struct import *im, const struct mastercf *m)
{
    if (im->count == LINES_MAX)
        ph_cmd_fatal("%s: more than %u services", im->file, LINES_MAX);
    im->list[im->count].m = *m;
    im->list[im->count++].number = im->start;
    ph_buf_init(&im->before[im->count], im->p->scope, PH_MASTER_FILE_MAX);
}

/* The logical line is complete. */
static void end_line(struct import *im)
{
    struct mastercf m;

    if (!im->open)
        return;
    if (mastercf_parse(im->p->scope, ph_buf_view(&im->line), &m) < 0)
        ph_cmd_fatal("file %s: line %u: %s", im->file, im->start, ph_error());
    m.enabled = im->open == 1;
    add(im, &m);
    ph_buf_str(&im->before[im->count], ph_buf_view(&im->later));
    ph_buf_reset(&im->later);
    im->open = 0;
}

static void begin_line(struct import *im, ph_str text, int open)
{
    end_line(im);
    ph_buf_reset(&im->line);
    ph_buf_str(&im->line, text);
    im->open = open;
    im->start = im->number;
}

/* "#smtp inet n - y - 1 postscreen" */
static int is_entry(struct import *im, ph_str text)
{
    struct mastercf m;

    return text.n && !ph_is_space(text.p[0]) && text.p[0] != '#' && mastercf_parse(im->p->scope, text, &m) == 0;
}

/* YAML is UTF-8 without control bytes, in its comments too. */
static void put_comment(struct ph_buf *out, ph_str text)
{
    int utf8 = ph_str_is_utf8(text);

    ph_buf_puts(out, "  ");
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];

        ph_buf_putc(out, c == '\t' ? ' ' : c < ' ' || c == 0x7f || (c > 0x7f && !utf8) ? '?' : (char)c);
    }
    ph_buf_puts(out, "\n");
}

/* An entry goes on behind comments when the next line that is none begins with a blank. */
static int continues(ph_str rest)
{
    while (rest.n) {
        ph_str line = ph_str_cut(&rest, '\n'), content = ph_str_trim(line);

        if (content.n && content.p[0] != '#')
            return ph_is_space(line.p[0]);
    }
    return 0;
}

static void take_comment(struct import *im, ph_str content)
{
    ph_str text = content.n ? ph_str_from(content, 1) : content;
    struct ph_buf *out = im->open ? &im->later : &im->before[im->count];

    if (content.n && !im->goes_on && is_entry(im, text))
        begin_line(im, text, 2);
    else if (im->open == 2 && text.n && ph_is_space(text.p[0]) && ph_str_starts(ph_str_trim(text), PH_STR("-o")))
        ph_buf_str(&im->line, text);
    else if (!content.n)
        ph_buf_puts(out, "\n");
    else
        put_comment(out, content);
}

static void take_line(struct import *im, ph_str line, ph_str rest)
{
    ph_str content = ph_str_trim(line);
    int comment = content.n == 0 || content.p[0] == '#';

    im->number++;
    if (!comment)
        im->goes_on = continues(rest);
    if (comment)
        take_comment(im, content);
    else if (!ph_is_space(line.p[0]))
        begin_line(im, line, 1);
    else if (im->open == 1)
        ph_buf_str(&im->line, line);   /* with its blanks: braces keep them */
    else
        ph_cmd_warn("%s: logical line must not start with whitespace: \"%.*s\"", im->file, PH_FMT(line));
}

/* Of two lines of one name and type the later one counts. */
static void drop_repeated(struct import *im)
{
    for (size_t i = 0; i < im->count; i++)
        for (size_t k = i + 1; im->list[i].m.enabled && k < im->count; k++)
            if (im->list[k].m.enabled && ph_str_eq(im->list[i].m.field[MCF_SERVICE], im->list[k].m.field[MCF_SERVICE]) &&
                ph_str_eq(im->list[i].m.field[MCF_TYPE], im->list[k].m.field[MCF_TYPE])) {
                ph_cmd_warn("%s: line %u: %.*s %.*s stands again in line %u, which counts: this one is disabled", im->file,
                            im->list[i].number, PH_FMT(im->list[i].m.field[MCF_SERVICE]), PH_FMT(im->list[i].m.field[MCF_TYPE]), im->list[k].number);
                im->list[i].m.enabled = 0;
            }
}

static void put_service(struct import *im, const struct imported *i, struct ph_buf *out)
{
    struct mastercf_yaml y;

    if (mastercf_keys(im->p->scope, &i->m, &y) < 0)
        ph_cmd_fatal("%s: line %u: %s", im->file, i->number, ph_error());
    if (i->m.enabled && ph_str_eq(y.keys[1].key, PH_STR("program")))
        ph_cmd_warn("%s: line %u: service %.*s (%.*s) is kept, but this release has no such program: it is not run", im->file,
                    i->number, PH_FMT(i->m.field[MCF_SERVICE]), PH_FMT(i->m.words[0]));
    ph_buf_puts(out, "  - ");
    mastercf_put_item(out, &y, 4, 0);
    ph_buf_puts(out, "\n");
}

/* What the file says of plugins is not in a master.cf and stays: its text, or "". */
static ph_str plugins_of(struct import *im, const char *path, ph_str old)
{
    const struct ph_yaml *n;
    struct ph_yaml *root;

    if (ph_yaml_parse(im->p->scope, path, old, &root) < 0 || root->kind != PH_YAML_MAPPING || root->flow || !(n = ph_yaml_member(root, "plugins")))
        return PH_STR("");
    return ph_str_printf(im->p->scope, "%.*s\n", PH_FMT(ph_str_first(ph_str_from(old, n->key_from), n->to - n->key_from)));
}

#define HEAD "format: 1\n"

static ph_str make_yaml(struct import *im)
{
    struct ph_buf out;

    ph_buf_init(&out, im->p->scope, PH_MASTER_FILE_MAX);
    ph_buf_puts(&out, HEAD "services:\n");
    for (size_t i = 0; i <= im->count; i++) {
        ph_buf_str(&out, ph_buf_view(&im->before[i]));
        if (i < im->count)
            put_service(im, &im->list[i], &out);
    }
    if (im->count == 0)
        ph_buf_puts(&out, "  []\n");
    if (out.full)
        ph_cmd_fatal("%s: larger than %u bytes as master.yaml", im->file, PH_MASTER_FILE_MAX);
    return ph_buf_view(&out);
}

static ph_str read_file(struct postconf *p, const char *path)
{
    struct ph_buf b;
    char *room;
    ssize_t n = 1;
    int fd = strcmp(path, "-") == 0 ? 0 : open(path, O_RDONLY | O_CLOEXEC);

    ph_buf_init(&b, p->scope, PH_MASTER_FILE_MAX);
    if (fd < 0)
        ph_cmd_fatal("open %s: %s", path, strerror(errno));
    while (n > 0 && (room = ph_buf_room(&b, 8192)) && (n = read(fd, room, 8192)) > 0)
        ph_buf_added(&b, (size_t)n);
    if (n < 0)
        ph_cmd_fatal("read %s: %s", path, strerror(errno));
    if (b.full)
        ph_cmd_fatal("%s: too large", path);
    if (fd)
        close(fd);
    return ph_buf_view(&b);
}

/* The old file gets a second name; one that is not there is made, so that it can be locked. */
static void keep_old(const char *path, const char *old)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

    if (fd >= 0) {
        close(fd);
        return;
    }
    if ((unlink(old) < 0 && errno != ENOENT) || link(path, old) < 0)
        ph_cmd_fatal("link %s to %s: %s", path, old, strerror(errno));
}

void postconf_import(struct postconf *p, const char *file)
{
    struct import im = { .p = p, .file = file };
    const char *path = ph_str_printf(p->scope, "%s/master.yaml", p->dir).p;
    struct edit_file target;

    im.list = ph_alloc_array(p->scope, LINES_MAX, sizeof *im.list);
    im.before = ph_alloc_array(p->scope, LINES_MAX + 1, sizeof *im.before);
    ph_buf_init(&im.before[0], p->scope, PH_MASTER_FILE_MAX);
    ph_buf_init(&im.line, p->scope, PH_MASTER_FILE_MAX);
    ph_buf_init(&im.later, p->scope, PH_MASTER_FILE_MAX);
    for (ph_str rest = read_file(p, file); rest.n; ) {
        ph_str line = ph_str_cut(&rest, '\n');

        take_line(&im, line, rest);
    }
    end_line(&im);
    drop_repeated(&im);
    if (ph_registry_open(p->conf) < 0)
        ph_cmd_fatal("%s", ph_error());
    ph_str text = make_yaml(&im), plugins;

    if (ph_master_parse(p->scope, p->conf, path, text, &p->master) < 0)
        ph_cmd_fatal("%s", ph_error());
    keep_old(path, ph_str_printf(p->scope, "%s.old", path).p);
    edit_file_open(&target, p->scope, path, PH_MASTER_FILE_MAX);
    plugins = plugins_of(&im, path, target.text);
    text = ph_str_printf(p->scope, HEAD "%.*s%.*s", PH_FMT(plugins), PH_FMT(ph_str_from(text, strlen(HEAD))));
    if (ph_master_parse(p->scope, p->conf, path, text, &p->master) < 0)
        ph_cmd_fatal("%s", ph_error());
    edit_file_commit(&target, text);
    postconf_note_uses(p);
    postconf_check_settings(p);
}
