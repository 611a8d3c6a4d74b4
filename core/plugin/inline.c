/* inline: see inline.h. */
#include <fcntl.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "core/ipc/client.h"
#include "core/plugin/inline.h"
#include "core/plugin/registry.h"

static const char *const *arguments(struct ph_scope *s, const struct ph_service_def *d)
{
    const char **v = ph_alloc_array(s, d->args_count + 1, sizeof *v);

    for (size_t i = 0; i < d->args_count; i++)
        v[i] = d->args[i].p;
    return v;
}

static int open_queue_dir(struct ph_scope *s, struct ph_conf *conf)
{
    PH_SCOPED(step, s);
    ph_str dir;

    if (ph_conf_get(conf, step, "queue_directory", &dir) != PH_FOUND)
        return -1;
    int fd = open(ph_cstr_dup(step, dir), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        ph_defer_close(s, fd);
    return fd;
}

int ph_service_open(struct ph_scope *s, const struct ph_service_def *d, struct ph_conf *conf, const char *name,
                    const struct ph_service_plugin *ops, struct ph_service *v)
{
    int rc;

    *v = (struct ph_service){ .scope = s, .ops = ops, .conf = conf, .name = name, .args = arguments(s, d), .queue_dir_fd = open_queue_dir(s, conf) };
    if (!ops->serve)
        return ph_fail(PH_CONF, "service %s has no serve", name);
    if (ops->open && (rc = ops->open(v)) < 0)
        return rc;
    return ops->warmup ? ops->warmup(v) : 0;
}

int ph_inline_open(struct ph_scope *s, struct ph_conf *base, const struct ph_service_def *d, struct ph_service **out)
{
    const struct ph_plugin *desc;
    struct ph_service *v = ph_new(s, struct ph_service);
    struct ph_conf *conf;
    const char *name = ph_cstr_dup(s, d->name), *old;
    int rc;

    if ((rc = ph_plugin_find(PH_KIND_SERVICE, d->code, &desc)) < 0 || (rc = ph_conf_service(s, base, d->settings, d->settings_count, &conf)) < 0)
        return rc;
    ph_conf_identity(conf, ph_cstr_dup(s, d->code), name);
    old = ph_log_service(name);
    rc = ph_service_open(s, d, conf, name, (const struct ph_service_plugin *)(const void *)desc, v);
    ph_log_service(old);
    if (rc < 0)
        return ph_wrap(rc, "service %s", name);
    *out = v;
    return 0;
}

static int serve(void *arg, struct ph_scope *session, struct ph_stream *io)
{
    struct ph_service *v = arg;
    struct ph_peer peer = { .size = sizeof peer, .inline_ = 1, .address = PH_STR("unix") };

    return v->ops->serve(v, session, io, &peer);
}

void ph_inline_serve(const char *name, struct ph_group *tasks, struct ph_service *v)
{
    ph_client_inline(name, tasks, serve, v);
}
