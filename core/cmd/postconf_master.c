/* postconf_master: the services: -M as lines of eight columns (as master.cf had
 * them, which scripts read), -F field by field, -P their settings. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <posthorn/error.h>
#include "core/cmd/cmd.h"
#include "core/cmd/postconf.h"

#define FIELDS 8
static const char *const field_names[FIELDS] = {
    "service", "type", "private", "unprivileged", "chroot", "wakeup", "process_limit", "command",
};
static const size_t columns[FIELDS] = { 0, 11, 17, 25, 33, 41, 49, 57 };

static ph_str flag(int32_t value)
{
    return value == PH_DEF_DEFAULT ? PH_STR("-") : value ? PH_STR("y") : PH_STR("n");
}

static ph_str wakeup(const struct postconf *p, const struct ph_service_def *d)
{
    if (d->wakeup_s == PH_DEF_DEFAULT)
        return PH_STR("-");
    return ph_str_printf(p->scope, "%lld%s", (long long)d->wakeup_s, d->wakeup_on_demand ? "?" : "");
}

/* The old word for what limits the clients at once. */
static ph_str limit(const struct postconf *p, const struct ph_service_def *d)
{
    int64_t n = d->sessions;

    if (n == PH_DEF_DEFAULT)
        n = d->processes;
    else if (n > 0 && d->processes > 0)
        n *= d->processes;
    return n == PH_DEF_DEFAULT ? PH_STR("-") : ph_str_printf(p->scope, "%lld", (long long)n);
}

/* An argument as one word. */
static void put_argument(struct ph_buf *out, ph_str text)
{
    int wraps = text.n == 0 || text.p[0] == '{';

    for (size_t i = 0; i < text.n; i++)
        wraps |= ph_is_space(text.p[i]);
    ph_buf_puts(out, wraps ? "{" : "");
    ph_buf_str(out, text);
    ph_buf_puts(out, wraps ? "}" : "");
}

static ph_str setting_text(const struct postconf *p, struct ph_conf *c, const struct ph_setting *s)
{
    return postconf_text(p, c, s->name, s->value);
}

/* Program, -o settings, arguments; with -f each setting on its own line. */
static ph_str command(const struct postconf *p, struct ph_conf *c, const struct ph_service_def *d)
{
    const char *separator = p->fold ? "\n    " : " ";
    struct ph_buf out;

    ph_buf_init(&out, p->scope, PH_CONF_FILE_MAX);
    ph_buf_str(&out, d->code);
    for (size_t i = 0; i < d->settings_count; i++) {
        ph_str one = ph_str_printf(p->scope, "%.*s=%.*s", PH_FMT(d->settings[i].name),
                                   PH_FMT(setting_text(p, c, &d->settings[i])));

        ph_buf_printf(&out, "%s-o ", separator);
        put_argument(&out, one);
    }
    for (size_t i = 0; i < d->args_count; i++) {
        ph_buf_puts(&out, i == 0 ? separator : " ");
        put_argument(&out, d->args[i]);
    }
    return ph_buf_view(&out);
}

static void service_fields(const struct postconf *p, struct ph_conf *c, const struct ph_service_def *d,
                           ph_str field[FIELDS])
{
    field[0] = d->name;
    field[1] = ph_cstr(ph_service_def_type(d));
    field[2] = flag(d->private_);
    field[3] = flag(d->unprivileged);
    field[4] = flag(d->chroot);
    field[5] = wakeup(p, d);
    field[6] = limit(p, d);
    field[7] = command(p, c, d);
}

static void print_line(const struct postconf *p, const ph_str field[FIELDS])
{
    struct ph_buf line;

    ph_buf_init(&line, p->scope, PH_CONF_FILE_MAX);
    for (int i = 0; i < FIELDS; i++) {
        if (i && line.n >= columns[i])
            ph_buf_putc(&line, ' ');
        while (i && !p->json && line.n < columns[i])
            ph_buf_putc(&line, ' ');
        if (i && p->json)
            ph_buf_puts(&line, line.n && line.p[line.n - 1] == ' ' ? "" : " ");
        ph_buf_str(&line, field[i]);
    }
    if (p->json)
        ph_cmd_put_json(ph_str_printf(p->scope, "%.*s/%.*s", PH_FMT(field[0]), PH_FMT(field[1])), ph_buf_view(&line));
    else
        printf("%s\n", line.p);
}

/* One part of a pattern: "*" and a missing part match all. */
static int part_matches(ph_str pattern, ph_str text)
{
    return pattern.n == 0 || ph_str_eq(pattern, PH_STR("*")) || ph_str_eq(pattern, text);
}

struct pattern {
    ph_str service, type, part;
};

static struct pattern parse_pattern(const char *text)
{
    ph_str rest = ph_cstr(text);
    struct pattern p;

    p.service = ph_str_cut(&rest, '/');
    p.type = ph_str_cut(&rest, '/');
    p.part = rest;
    return p;
}

/* One row of -F or -P; the name is service/type/part. */
static void print_part(const struct postconf *p, const struct ph_service_def *d, ph_str part, ph_str value)
{
    postconf_print(p, ph_str_printf(p->scope, "%.*s/%s/%.*s", PH_FMT(d->name), ph_service_def_type(d), PH_FMT(part)), value);
}

static int compare_settings(const void *a, const void *b)
{
    return ph_str_cmp(((const struct ph_setting *)a)->name, ((const struct ph_setting *)b)->name);
}

/* -P: the settings by name.  Twice: all parameters as the service sees them. */
static size_t show_settings(const struct postconf *p, struct ph_conf *c, const struct ph_service_def *d, ph_str part)
{
    struct ph_setting *sorted = ph_alloc_array(p->scope, d->settings_count + 1, sizeof *sorted);
    size_t shown = 0, count;
    ph_str *names, value;

    if (p->all_of_service) {
        count = ph_conf_names(c, p->scope, 0, &names);
        for (size_t i = 0; i < count; i++)
            if (part_matches(part, names[i]) &&
                (ph_conf_raw_set(c, names[i], &value, NULL) == PH_FOUND ||
                 ph_conf_raw_default(c, p->scope, names[i], &value) == PH_FOUND)) {
                print_part(p, d, names[i], postconf_text(p, c, names[i], value));
                shown++;
            }
        return shown;
    }
    if (d->settings_count)
        memcpy(sorted, d->settings, d->settings_count * sizeof *sorted);
    qsort(sorted, d->settings_count, sizeof *sorted, compare_settings);
    for (size_t i = 0; i < d->settings_count; i++)
        if (part_matches(part, sorted[i].name)) {
            print_part(p, d, sorted[i].name, setting_text(p, c, &sorted[i]));
            shown++;
        }
    return shown;
}

static size_t show_service(const struct postconf *p, int mode, const struct ph_service_def *d, ph_str part)
{
    struct ph_conf *c;
    ph_str field[FIELDS], program = ph_str_dup(p->scope, d->code), name = ph_str_dup(p->scope, d->name);
    size_t shown = 0;

    if (ph_conf_service(p->scope, p->conf, d->settings, d->settings_count, &c) < 0)
        ph_cmd_fatal("%s", ph_error());
    ph_conf_identity(c, program.p, name.p);
    if (mode == 'P')
        return show_settings(p, c, d, part);
    service_fields(p, c, d, field);
    if (mode == 'M') {
        print_line(p, field);
        return 1;
    }
    for (int i = 0; i < FIELDS; i++)
        if (part_matches(part, ph_cstr(field_names[i]))) {
            print_part(p, d, ph_cstr(field_names[i]), field[i]);
            shown++;
        }
    return shown;
}

static size_t show_matching(const struct postconf *p, int mode, struct pattern want)
{
    size_t shown = 0;

    for (size_t i = 0; i < p->master->services_count; i++) {
        const struct ph_service_def *d = &p->master->services[i];

        if (d->enabled && part_matches(want.service, d->name) &&
            part_matches(want.type, ph_cstr(ph_service_def_type(d))))
            shown += show_service(p, mode, d, want.part);
    }
    return shown;
}

void postconf_master(struct postconf *p, int mode, int edit, char **patterns)
{
    if (edit)
        ph_cmd_fatal("services cannot be edited in this release yet: edit %s/master.yaml", p->dir);
    if (!*patterns)
        show_matching(p, mode, (struct pattern){ { "", 0 }, { "", 0 }, { "", 0 } });
    for (; *patterns; patterns++)
        if (show_matching(p, mode, parse_pattern(*patterns)) == 0)
            ph_cmd_warn("unmatched request: \"%s\"", *patterns);
}
