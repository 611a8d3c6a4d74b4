/* setup: configuration, the plugin and the services it runs inline. */
#include <string.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "core/conf/snapshot.h"
#include "core/ipc/channel.h"
#include "core/plugin/inline.h"
#include "core/plugin/registry.h"
#include "core/plugin/tables.h"
#include "core/sched/qmgr.h"
#include "core/worker/worker.h"

#define INLINE_DEPTH 5

static const struct ph_service_def *find_def(const struct ph_worker *w)
{
    for (size_t i = 0; i < w->master->services_count; i++) {
        const struct ph_service_def *d = &w->master->services[i];

        if (d->enabled && ph_str_eq(d->name, ph_cstr(w->name)) && strcmp(ph_service_def_type(d), w->type) == 0)
            return d;
    }
    return NULL;
}

/* For ph_config_values: there is one worker in a process. */
static const struct ph_worker *configured;

/* All values that are set for one service. */
static int each_value(struct ph_scope *s, const struct ph_service_def *d, int (*each)(void *, const char *, ph_str, ph_str), void *arg)
{
    const char *name = ph_cstr_dup(s, d->name);
    struct ph_conf *conf;
    ph_str *names, value;
    int rc = ph_conf_service(s, configured->base, d->settings, d->settings_count, &conf);

    if (rc < 0)
        return 0;                  /* its own worker says so */
    ph_conf_identity(conf, ph_cstr_dup(s, d->code), name);
    for (size_t i = 0, n = ph_conf_names(conf, s, 1, &names); rc >= 0 && i < n; i++)
        if (ph_conf_get(conf, s, ph_cstr_dup(s, names[i]), &value) == PH_FOUND)
            rc = each(arg, name, names[i], value);
    return rc < 0 ? rc : 0;
}

int ph_config_values(int (*each)(void *arg, const char *service, ph_str name, ph_str value), void *arg)
{
    int rc = configured ? 0 : ph_fail(PH_CONF, "this process has no configuration of services");

    for (size_t i = 0; rc == 0 && i < configured->master->services_count; i++) {
        PH_SCOPED(s, NULL);

        if (configured->master->services[i].enabled)
            rc = each_value(s, &configured->master->services[i], each, arg);
    }
    return rc;
}

int ph_worker_configure(struct ph_worker *w)
{
    struct ph_snapshot files = { { PH_WORKER_FILES_FD, PH_WORKER_FILES_FD + 1 } };
    int rc;

    rc = ph_snapshot_read(&files, w->scope, w->config_dir, &w->base, &w->master);
    ph_snapshot_close(&files);
    if (rc < 0)
        return rc;
    if (!(w->def = find_def(w)))
        return ph_fail(PH_CONF, "%s: no enabled %s service \"%s\"", w->master->file, w->type, w->name);
    if ((rc = ph_conf_service(w->scope, w->base, w->def->settings, w->def->settings_count, &w->conf)) < 0)
        return rc;
    ph_conf_identity(w->conf, ph_cstr_dup(w->scope, w->def->code), w->name);
    configured = w;
    w->is_builtin = w->def->kind == PH_DEF_BUILTIN;
    /* What wakes up by itself or serves the network stays. */
    int stays = w->is_builtin || ph_service_wakeup_s(w->def) > 0 || strcmp(w->type, "inet") == 0;
    int64_t idle_s = 100;
    if (ph_conf_get_time(w->conf, "max_idle", 's', &idle_s) < 0)
        return PH_CONF;
    w->max_idle_ms = 1000 * (w->def->max_idle_s > 0 ? w->def->max_idle_s : stays ? 0 : idle_s);
    return 0;
}

static const char *const *arguments(struct ph_worker *w)
{
    const char **v = ph_alloc_array(w->scope, w->def->args_count + 1, sizeof *v);

    for (size_t i = 0; i < w->def->args_count; i++)
        v[i] = w->def->args[i].p;
    return v;
}

static int open_uses(struct ph_worker *w, const char *uses, const char *unused, int depth);

/* A service that master.yaml places inline, opened here with its own settings. */
static int open_inline(struct ph_worker *w, const struct ph_service_def *d, int depth)
{
    struct ph_service *v;
    int rc = ph_inline_open(w->scope, w->base, d, &v);

    if (rc < 0)
        return rc;
    ph_inline_serve(v->name, w->tasks, v);
    return open_uses(w, v->ops->uses, NULL, depth + 1);
}

static int is_word_of(ph_str list, ph_str word)
{
    for (ph_str w; (w = ph_str_word(&list)).n; )
        if (ph_str_eq(w, word))
            return 1;
    return 0;
}

static int open_uses(struct ph_worker *w, const char *uses, const char *unused, int depth)
{
    ph_str list = ph_cstr(uses), word;

    if (depth > INLINE_DEPTH)
        return ph_fail(PH_CONF, "services use each other more than %d deep", INLINE_DEPTH);
    while ((word = ph_str_word(&list)).n) {
        const struct ph_service_def *d = ph_master_find_unix(w->master, word);

        if (!d)
            return ph_fail(PH_CONF, "%s: service \"%.*s\" is needed by %s and not declared", w->master->file, PH_FMT(word), w->name);
        if (d->place != PH_PLACE_INLINE || d == w->def || d->kind != PH_DEF_PLUGIN || is_word_of(ph_cstr(unused), word))
            continue;
        int rc = open_inline(w, d, depth);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int load_transport(struct ph_worker *w, const struct ph_plugin *desc)
{
    struct ph_transport *t = &w->transport;
    int rc;

    *t = (struct ph_transport){ .scope = w->scope, .ops = (const struct ph_transport_plugin *)(const void *)desc, .conf = w->conf,
                                .service = w->name, .args = arguments(w) };
    w->is_transport = 1;
    if (t->ops->open && (rc = t->ops->open(t)) < 0)
        return rc;
    if ((rc = open_uses(w, t->ops->uses, t->unused, 0)) < 0)
        return rc;
    return ph_agent_new(w->scope, t, w->tasks, w->session_max, &w->agent);
}

/* The service of that name, when it is declared and another than this one. */
static const char *pool_of(struct ph_worker *w, const char *parameter)
{
    ph_str name = ph_conf_value(w->conf, w->scope, parameter);
    const struct ph_service_def *d = ph_master_find_unix(w->master, name);

    return d && d != w->def ? ph_cstr_dup(w->scope, name) : NULL;
}

void ph_worker_tables(struct ph_worker *w)
{
    if (ph_needs(w->needs, "tables"))
        ph_tables_here();
    else
        ph_tables_by_pool(pool_of(w, "proxymap_service_name"), pool_of(w, "proxywrite_service_name"));
}

uint32_t ph_worker_kind(const struct ph_worker *w)
{
    return w->def->kind == PH_DEF_TRANSPORT ||
           (ph_plugin_exists(PH_KIND_SERVICE, w->def->code) != PH_FOUND && ph_plugin_exists(PH_KIND_TRANSPORT, w->def->code) == PH_FOUND)
           ? PH_KIND_TRANSPORT : PH_KIND_SERVICE;
}

int ph_worker_load(struct ph_worker *w)
{
    const struct ph_plugin *desc;
    int rc;

    if (w->is_builtin) {
        if (!ph_str_eq(w->def->code, PH_STR("qmgr")))
            return ph_fail(PH_CONF, "%s: there is no builtin \"%.*s\"", w->master->file, PH_FMT(w->def->code));
        return ph_service_open(w->scope, w->def, w->conf, w->name, &ph_qmgr_service, &w->service);
    }
    if ((rc = ph_plugin_find(ph_worker_kind(w), w->def->code, &desc)) < 0)
        return rc;
    if (ph_worker_kind(w) == PH_KIND_TRANSPORT)
        return load_transport(w, desc);
    const struct ph_service_plugin *ops = (const struct ph_service_plugin *)(const void *)desc;
    rc = ph_service_open(w->scope, w->def, w->conf, w->name, ops, &w->service);
    return rc < 0 ? rc : open_uses(w, ops->uses, NULL, 0);
}
