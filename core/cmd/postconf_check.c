/* postconf_check: what is told of names before and behind the output: what nothing
 * defines, what nothing refers to, what cannot be set; in main.cf, in the settings of
 * services, and in the files of tables. */
#include <posthorn/error.h>
#include <posthorn/map.h>
#include "core/cmd/cmd.h"
#include "core/cmd/postconf.h"

/* A service that is shown, and main.cf with its settings. */
struct postconf_view {
    const struct ph_service_def *d;
    struct ph_conf *conf;
    size_t warned;
};

static void make_views(struct postconf *p)
{
    size_t count = p->master ? p->master->services_count : 0;

    if (p->views)
        return;
    p->views = ph_alloc_array(p->scope, count + 1, sizeof *p->views);
    for (size_t i = 0; i < count; i++) {
        const struct ph_service_def *d = &p->master->services[i];
        struct postconf_view *v = &p->views[p->view_count];

        if (!d->listed)
            continue;
        if (ph_conf_service(p->scope, p->conf, d->settings, d->settings_count, &v->conf) < 0)
            ph_cmd_fatal("%s", ph_error());
        ph_conf_identity(v->conf, ph_cstr_dup(p->scope, d->code), ph_cstr_dup(p->scope, d->name));
        v->d = d;
        p->view_count++;
    }
}

/* What was found since the last time; rc < 0: the error that ended the search, too. */
static void say(const struct postconf *p, const struct ph_conf *c, size_t *at, int rc)
{
    ph_str text;

    while (ph_conf_warning(c, at, &text))
        if (!p->quiet)
            ph_cmd_warn("%.*s", PH_FMT(text));
    if (rc < 0)
        ph_cmd_fatal("%s", ph_error());
}

void postconf_check_undefined(struct postconf *p)
{
    struct ph_map *defined = ph_map_new(p->scope);

    make_views(p);
    if (p->defaults)
        return;
    /* What a service sets may be of use in main.cf for that service alone. */
    for (size_t i = 0; i < p->view_count; i++)
        for (size_t k = 0; k < p->views[i].d->settings_count; k++)
            ph_map_set(defined, p->views[i].d->settings[k].name, defined);
    say(p, p->conf, &p->warned, ph_conf_check_undefined(p->conf, "main.cf", defined));
    say(p, p->conf, &p->warned, ph_conf_check(p->conf, PH_STR("compatibility_level")));
    for (size_t i = 0; i < p->view_count; i++) {
        struct postconf_view *v = &p->views[i];

        say(p, v->conf, &v->warned, ph_conf_check_undefined(v->conf, "master.yaml", NULL));
    }
}

void postconf_note_uses(struct postconf *p)
{
    make_views(p);
    for (size_t i = 0; i < p->view_count; i++)
        ph_conf_note_uses(p->views[i].conf);
    ph_conf_note_uses(p->conf);
}

void postconf_check_tables(struct postconf *p)
{
    say(p, p->conf, &p->warned, ph_conf_check_table_files(p->conf));
    for (size_t i = 0; i < p->view_count; i++)
        say(p, p->views[i].conf, &p->views[i].warned, ph_conf_check_table_files(p->views[i].conf));
}

static void check_setting(const struct postconf *p, const struct postconf_view *v, const struct ph_map *services, const struct ph_setting *s)
{
    if (!ph_conf_is_listed(s->name) && !ph_map_get(services, s->name) && !ph_conf_is_used(v->conf, s->name) && !ph_conf_is_used(p->conf, s->name))
        ph_cmd_warn("%s/master.yaml: unused parameter: %.*s=%.*s", p->dir, PH_FMT(s->name), PH_FMT(s->value));
}

void postconf_check_names(struct postconf *p, const struct ph_map *services)
{
    ph_conf_check_names(p->conf, services);
    say(p, p->conf, &p->warned, 0);
}

void postconf_check_settings(const struct postconf *p)
{
    const struct ph_map *services = postconf_service_names(p);

    for (size_t i = 0; !p->quiet && i < p->view_count; i++)
        for (size_t k = 0; k < p->views[i].d->settings_count; k++)
            check_setting(p, &p->views[i], services, &p->views[i].d->settings[k]);
}
