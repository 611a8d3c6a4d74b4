/* postconf_master: the services as master.cf had them, which scripts read: -M as
 * lines of eight columns, -F field by field, -P their settings; --export-master
 * as a whole file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <posthorn/error.h>
#include "core/cmd/cmd.h"
#include "core/cmd/mastercf.h"
#include "core/cmd/postconf.h"

/* One part of a pattern: "*" and a missing part match all. */
static int part_matches(ph_str pattern, ph_str text)
{
    return pattern.n == 0 || ph_str_eq(pattern, PH_STR("*")) || ph_str_eq(pattern, text);
}

int postconf_parse_pattern(ph_str text, struct postconf_pattern *p)
{
    ph_str *const parts[] = { &p->service, &p->type, &p->part }, word;
    int n = 0;

    *p = (struct postconf_pattern){ .service = PH_STR("") };
    if (ph_str_starts(text, PH_STR("/")))
        return 0;
    for (; (word = ph_str_token(&text, "/")).n; n++) {
        if (n == 3 || (word.n > 1 && ph_str_find(word, '*') >= 0))
            return 0;
        *parts[n] = word;
    }
    return n;
}

int postconf_pattern_matches(const struct postconf_pattern *p, ph_str service, ph_str type)
{
    return part_matches(p->service, service) && part_matches(p->type, type);
}

int postconf_field_number(ph_str name)
{
    for (int i = 0; i < MASTERCF_FIELDS; i++)
        if (ph_str_eq(name, ph_cstr(mastercf_field_names[i])))
            return i;
    ph_cmd_fatal("invalid service attribute name: \"%.*s\"", PH_FMT(name));
}

/* What -x makes of a setting. */
struct view {
    const struct postconf *p;
    struct ph_conf *conf;          /* main.cf with the settings of the service */
};

static ph_str setting_text(void *arg, const struct ph_setting *s)
{
    const struct view *v = arg;

    return postconf_text(v->p, v->conf, s->name, s->value);
}

static void print_line(const struct postconf *p, const struct mastercf *m)
{
    struct ph_buf line;

    ph_buf_init(&line, p->scope, PH_CONF_FILE_MAX);
    mastercf_put(&line, m, !p->json, p->fold && !p->json);
    if (p->json)
        ph_cmd_put_json(ph_str_printf(p->scope, "%.*s/%.*s", PH_FMT(m->field[MCF_SERVICE]), PH_FMT(m->field[MCF_TYPE])), ph_buf_view(&line));
    else
        printf("%s\n", line.p);
}

/* One row of -F or -P; the name is service/type/part. */
static void print_part(const struct postconf *p, const struct ph_service_def *d, ph_str part, ph_str value)
{
    postconf_print(p, ph_str_printf(p->scope, "%.*s/%s/%.*s", PH_FMT(d->name), ph_service_def_type(d), PH_FMT(part)), value);
}

/* Blanks inside an argument stay as they are. */
static void print_command(const struct postconf *p, const struct ph_service_def *d, const struct mastercf *m)
{
    struct ph_buf line;

    if (p->json || p->name_only) {
        print_part(p, d, PH_STR("command"), mastercf_command(p->scope, m));
        return;
    }
    ph_buf_init(&line, p->scope, PH_CONF_FILE_MAX);
    if (!p->value_only)
        ph_buf_printf(&line, "%.*s/%s/command = ", PH_FMT(d->name), ph_service_def_type(d));
    if (p->fold)
        mastercf_put_folded(&line, p->scope, m);
    else
        ph_buf_str(&line, mastercf_command(p->scope, m));
    printf("%s\n", line.p);
}

static size_t show_fields(const struct postconf *p, const struct ph_service_def *d, const struct mastercf *m, ph_str part)
{
    size_t shown = 0;

    for (int i = 0; i < MASTERCF_FIELDS; i++)
        if (part_matches(part, ph_cstr(mastercf_field_names[i]))) {
            if (i == MCF_COMMAND)
                print_command(p, d, m);
            else
                print_part(p, d, ph_cstr(mastercf_field_names[i]), m->field[i]);
            shown++;
        }
    return shown;
}

/* -P twice: all parameters as the service sees them. */
static size_t show_all_settings(const struct postconf *p, struct ph_conf *c, const struct ph_service_def *d, ph_str part)
{
    ph_str *names, value;
    size_t count = ph_conf_names(c, p->scope, 0, &names), shown = 0;

    for (size_t i = 0; i < count; i++)
        if (part_matches(part, names[i]) && (ph_conf_raw_set(c, names[i], &value, NULL) == PH_FOUND ||
                                             ph_conf_raw_default(c, p->scope, names[i], &value) == PH_FOUND)) {
            print_part(p, d, names[i], postconf_text(p, c, names[i], value));
            shown++;
        }
    return shown;
}

static int compare_settings(const void *a, const void *b)
{
    return ph_str_cmp(((const struct ph_setting *)a)->name, ((const struct ph_setting *)b)->name);
}

static size_t show_settings(const struct postconf *p, struct ph_conf *c, const struct ph_service_def *d, ph_str part)
{
    struct ph_setting *sorted = ph_alloc_array(p->scope, d->settings_count + 1, sizeof *sorted);
    size_t shown = 0;

    if (d->settings_count)
        memcpy(sorted, d->settings, d->settings_count * sizeof *sorted);
    qsort(sorted, d->settings_count, sizeof *sorted, compare_settings);
    for (size_t i = 0; i < d->settings_count; i++)
        if (part_matches(part, sorted[i].name)) {
            print_part(p, d, sorted[i].name, postconf_text(p, c, sorted[i].name, sorted[i].value));
            shown++;
        }
    return shown;
}

static size_t show_service(const struct postconf *p, int mode, const struct ph_service_def *d, ph_str part)
{
    struct view v = { .p = p };
    struct mastercf m;

    if (ph_conf_service(p->scope, p->conf, d->settings, d->settings_count, &v.conf) < 0)
        ph_cmd_fatal("%s", ph_error());
    ph_conf_identity(v.conf, ph_cstr_dup(p->scope, d->code), ph_cstr_dup(p->scope, d->name));
    if (mode == 'P')
        return p->all_of_service ? show_all_settings(p, v.conf, d, part) : show_settings(p, v.conf, d, part);
    mastercf_of(p->scope, d, setting_text, &v, &m);
    if (mode == 'F')
        return show_fields(p, d, &m, part);
    print_line(p, &m);
    return 1;
}

/* What of a service the pattern asks for. */
static size_t show_matching(const struct postconf *p, int mode, const struct ph_service_def *d, const struct postconf_pattern *want)
{
    if (!d->listed || !postconf_pattern_matches(want, d->name, ph_cstr(ph_service_def_type(d))))
        return 0;
    return show_service(p, mode, d, want->part);
}

static void read_pattern(int mode, const char *text, struct postconf_pattern *want)
{
    int parts = postconf_parse_pattern(ph_cstr(text), want);

    if (parts == 0 || (mode == 'M' && parts > 2))
        ph_cmd_fatal("-%c option requires service_name[/type%s]", mode, mode == 'M' ? "" : mode == 'F' ? "[/field]" : "[/parameter]");
    if (mode == 'F' && want->part.n && !ph_str_eq(want->part, PH_STR("*")))
        postconf_field_number(want->part);
}

/* In the order of the services, whatever that of the patterns. */
static void show_patterns(const struct postconf *p, int mode, char **patterns)
{
    size_t count = 0;

    while (patterns[count])
        count++;
    struct postconf_pattern *want = ph_alloc_array(p->scope, count + 1, sizeof *want);
    size_t *shown = ph_alloc_array(p->scope, count + 1, sizeof *shown);

    for (size_t k = 0; k < count; k++)
        read_pattern(mode, patterns[k], &want[k]);
    for (size_t i = 0; i < p->master->services_count; i++)
        for (size_t k = 0; k < count; k++)
            shown[k] += show_matching(p, mode, &p->master->services[i], &want[k]);
    for (size_t k = 0; k < count; k++)
        if (shown[k] == 0)
            ph_cmd_warn("unmatched request: \"%s\"", patterns[k]);
}

void postconf_master(struct postconf *p, int mode, char **patterns)
{
    const struct postconf_pattern all = { .service = PH_STR("") };

    postconf_check_undefined(p);
    postconf_note_uses(p);
    postconf_check_tables(p);
    for (size_t i = 0; !*patterns && i < p->master->services_count; i++)
        show_matching(p, mode, &p->master->services[i], &all);
    show_patterns(p, mode, patterns);
    postconf_check_settings(p);
}

static void put_comment(struct ph_str text)
{
    while (text.n) {
        ph_str line = ph_str_cut(&text, '\n');

        printf("# %.*s\n", PH_FMT(line));
    }
}

/* One that is disabled is a comment, line by line. */
static void export_one(struct postconf *p, const struct ph_service_def *d)
{
    struct mastercf m;
    struct ph_buf b;

    ph_buf_init(&b, p->scope, PH_CONF_FILE_MAX);
    mastercf_of(p->scope, d, NULL, NULL, &m);
    mastercf_put(&b, &m, 1, 1);
    put_comment(d->comment);
    for (ph_str rest = ph_buf_view(&b); rest.n; ) {
        ph_str line = ph_str_cut(&rest, '\n');

        printf("%s%.*s\n", d->listed ? "" : "#", PH_FMT(line));
    }
}

void postconf_export(struct postconf *p)
{
    printf("# service type  private unpriv  chroot  wakeup  maxproc command + args\n");
    for (size_t i = 0; i < p->master->services_count; i++)
        export_one(p, &p->master->services[i]);
}
