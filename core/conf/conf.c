/* conf: the dictionary behind main.cf: opening, overrides, look-ups, warnings.
 * See conf.h for the order in which a value is looked for. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/log.h>
#include "core/conf/internal.h"

const char *ph_conf_choose_dir(const char *dir)
{
    const char *from_environment = getenv("MAIL_CONFIG");

    if (dir)
        return dir;
    return from_environment && from_environment[0] ? from_environment : PH_CONF_DIR;
}

struct ph_conf *ph_conf_new(struct ph_scope *s, const char *dir)
{
    struct ph_conf *c = ph_new(s, struct ph_conf);

    c->scope = s;
    c->dir = dir ? ph_cstr_dup(s, ph_cstr(dir)) : "";
    c->process_name = c->service_name = "";
    c->entries = ph_map_new(s);
    c->warnings_end = &c->warnings;
    return c;
}

int ph_conf_fail_at(struct ph_place at, const char *fmt, ...)
{
    PH_SCOPED(step, NULL);
    va_list ap;

    va_start(ap, fmt);
    ph_str text = ph_str_vprintf(step, fmt, ap);
    va_end(ap);
    if (!at.file)
        return ph_fail(PH_CONF, "%.*s", PH_FMT(text));
    return ph_fail(PH_CONF, "%s:%u:%u: %.*s", at.file, at.line, at.column, PH_FMT(text));
}

struct ph_place ph_entry_place(const struct entry *e, size_t offset)
{
    const struct segment *found = NULL;

    for (size_t i = 0; i < e->segment_count && e->segments[i].offset <= offset; i++)
        found = &e->segments[i];
    if (!e->file || !found)
        return (struct ph_place){ NULL, 0, 0 };
    return (struct ph_place){ e->file, found->line, found->column + (uint32_t)(offset - found->offset) };
}

void ph_conf_put(struct ph_conf *c, struct entry *e)
{
    ph_map_set(c->entries, e->name, e);
}

void ph_conf_warn(struct ph_conf *c, const char *fmt, ...)
{
    struct warning *w = ph_new(c->scope, struct warning);
    va_list ap;

    va_start(ap, fmt);
    w->text = ph_str_vprintf(c->scope, fmt, ap);
    va_end(ap);
    *c->warnings_end = w;
    c->warnings_end = &w->next;
}

int ph_conf_warning(const struct ph_conf *c, size_t *at, ph_str *text)
{
    const struct warning *w = c->warnings;

    for (size_t i = 0; w && i < *at; i++)
        w = w->next;
    if (!w)
        return 0;
    ++*at;
    *text = w->text;
    return 1;
}

int ph_conf_parse(struct ph_scope *s, const char *dir, const char *file, ph_str text, struct ph_conf **conf)
{
    struct ph_conf *c = ph_conf_new(s, dir);
    int rc = ph_conf_read_text(c, ph_cstr_dup(s, ph_cstr(file)), text);

    if (rc == 0)
        *conf = c;
    return rc;
}

/* Bytes of an open file; PH_EOF when it changed while it was read. */
static int read_once(struct ph_scope *s, int fd, const char *path, size_t max, ph_str *text)
{
    struct stat before, after;

    if (fstat(fd, &before) < 0)
        return ph_fail_errno(PH_TEMP, errno, "%s", path);
    if (!S_ISREG(before.st_mode))
        return S_ISDIR(before.st_mode) ? ph_fail_errno(PH_CONF, EISDIR, "read %s", path) : ph_fail(PH_CONF, "%s: not a regular file", path);
    if (before.st_size < 0 || (size_t)before.st_size > max)
        return ph_fail(PH_CONF, "%s: larger than %zu bytes", path, max);
    size_t size = (size_t)before.st_size, n = 0;
    char *mem = ph_alloc(s, size + 1);

    while (n < size) {
        ssize_t got = pread(fd, mem + n, size - n, (off_t)n);

        if (got < 0 && errno != EINTR)
            return ph_fail_errno(PH_TEMP, errno, "%s", path);
        if (got == 0)
            return PH_EOF;
        n += got > 0 ? (size_t)got : 0;
    }
    if (fstat(fd, &after) < 0 || after.st_size != before.st_size ||
        after.st_mtim.tv_sec != before.st_mtim.tv_sec || after.st_mtim.tv_nsec != before.st_mtim.tv_nsec)
        return PH_EOF;
    *text = (ph_str){ mem, n };
    return 0;
}

/* An editor that writes in place may be at work: read until nothing changed. */
int ph_conf_read_fd(struct ph_scope *s, int fd, const char *path, size_t max, ph_str *text)
{
    int rc = PH_EOF;

    for (int round = 0; round < 5 && rc == PH_EOF; round++)
        rc = read_once(s, fd, path, max, text);
    return rc == PH_EOF ? ph_fail(PH_TEMP, "%s: changes while it is read", path) : rc;
}

int ph_conf_read_file(struct ph_scope *s, const char *path, size_t max, ph_str *text)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return ph_fail_errno(PH_TEMP, errno, "open %s", path);
    int rc = ph_conf_read_fd(s, fd, path, max, text);
    close(fd);
    return rc;
}

int ph_conf_open(struct ph_scope *s, const char *dir, struct ph_conf **conf)
{
    PH_SCOPED(step, NULL);
    const char *chosen = ph_conf_choose_dir(dir);
    ph_str path = ph_str_printf(step, "%s/main.cf", chosen), text;
    int rc = ph_conf_read_file(step, path.p, PH_CONF_FILE_MAX, &text);

    return rc < 0 ? rc : ph_conf_parse(s, chosen, path.p, text, conf);
}

static void put_setting(struct ph_conf *c, ph_str name, ph_str value, struct ph_place at)
{
    struct entry *e = ph_new(c->scope, struct entry);

    e->name = ph_str_dup(c->scope, name);
    e->value = ph_str_dup(c->scope, value);
    if (at.file) {
        struct segment *one = ph_new(c->scope, struct segment);

        *one = (struct segment){ 0, at.line, at.column };
        e->file = ph_cstr_dup(c->scope, ph_cstr(at.file));
        e->segments = one;
        e->segment_count = 1;
    }
    ph_conf_put(c, e);
}

/* What a program says of itself cannot be set. */
static int is_reserved(ph_str name)
{
    return ph_str_eq(name, PH_STR("process_name")) || ph_str_eq(name, PH_STR("service_name")) ||
           ph_str_eq(name, PH_STR("process_id"));
}

int ph_conf_service(struct ph_scope *s, struct ph_conf *base, const struct ph_setting *settings, size_t count,
                    struct ph_conf **conf)
{
    struct ph_conf *c = ph_conf_new(s, base->dir);

    c->base = base;
    c->process_name = base->process_name;
    c->service_name = base->service_name;
    for (size_t i = 0; i < count; i++) {
        if (settings[i].name.n == 0)
            return ph_conf_fail_at(settings[i].place, "missing parameter name");
        put_setting(c, settings[i].name, settings[i].value, settings[i].place);
    }
    *conf = c;
    return 0;
}

int ph_conf_override(struct ph_conf *c, const char *text)
{
    ph_str all = ph_str_trim(ph_cstr(text)), value;

    if (all.n >= 2 && all.p[0] == '{' && all.p[all.n - 1] == '}')
        all = ph_str_trim((ph_str){ all.p + 1, all.n - 2 });
    value = all;
    ph_str name = ph_str_trim(ph_str_cut(&value, '='));

    if (ph_str_find(all, '=') < 0)
        return ph_fail(PH_CONF, "invalid \"-o %s\" option value: missing '=' after attribute name", text);
    if (name.n == 0)
        return ph_fail(PH_CONF, "invalid \"-o %s\" option value: missing attribute name", text);
    put_setting(c, name, ph_str_trim(value), (struct ph_place){ NULL, 0, 0 });
    return 0;
}

void ph_conf_set(struct ph_conf *c, const char *name, ph_str value)
{
    put_setting(c, ph_cstr(name), value, (struct ph_place){ NULL, 0, 0 });
}

void ph_conf_identity(struct ph_conf *c, const char *process_name, const char *service_name)
{
    c->process_name = ph_cstr_dup(c->scope, ph_cstr(process_name));
    c->service_name = ph_cstr_dup(c->scope, ph_cstr(service_name));
}

const char *ph_conf_dir(const struct ph_conf *c)
{
    return c->dir;
}

const struct entry *ph_conf_find(const struct ph_conf *c, ph_str name)
{
    const struct entry *e = NULL;

    if (is_reserved(name))
        return NULL;
    for (; c && !e; c = c->base)
        e = ph_map_get(c->entries, name);
    return e;
}

int ph_conf_text(struct ph_conf *c, struct ph_scope *s, ph_str name, ph_str *text, const struct entry **e)
{
    const struct entry *set = ph_conf_find(c, name);

    *e = set;
    if (!set)
        return ph_conf_raw_default(c, s, name, text);
    *text = set->value;
    return PH_FOUND;
}

int ph_conf_raw_set(const struct ph_conf *c, ph_str name, ph_str *value, struct ph_place *place)
{
    const struct entry *e = ph_conf_find(c, name);

    if (!e)
        return PH_NONE;
    *value = e->value;
    if (place)
        *place = ph_entry_place(e, 0);
    return PH_FOUND;
}

int ph_conf_raw_default(struct ph_conf *c, struct ph_scope *s, ph_str name, ph_str *value)
{
    const struct ph_known *k = ph_known_find(name);
    const struct ph_param *row = ph_registered_find(name);

    if (k && k->computed) {
        int rc = ph_conf_computed(c, s, name, value);

        return rc < 0 ? rc : PH_FOUND;
    }
    if (!k && !row)
        k = ph_known_template(name);
    if (!k && !row)
        return PH_NONE;
    *value = ph_cstr(row ? row->def : k->def);
    return PH_FOUND;
}

ph_str ph_conf_value(struct ph_conf *c, struct ph_scope *s, const char *name)
{
    ph_str value, text;
    int rc = ph_conf_get(c, s, name, &value);

    if (rc == PH_FOUND)
        return value;
    if (rc < 0)
        ph_log_warn("%s; using the default", ph_error());
    if (ph_conf_raw_default(c, s, ph_cstr(name), &text) == PH_FOUND &&
        ph_conf_expand_at(c, s, ph_cstr(name), text, NULL, &value) == 0)
        return value;
    return (ph_str){ "", 0 };
}
