/* config: a configuration is read and checked whole before anything changes. */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "core/master/master.h"

#define BACKLOG 512

void master_config_free(struct config *c)
{
    if (c)
        ph_scope_free(c->scope);
}

static int get(struct config *c, const char *name, ph_str *value)
{
    int rc = ph_conf_get(c->conf, c->scope, name, value);

    return rc == PH_FOUND ? 0 : rc < 0 ? rc : ph_fail(PH_CONF, "%s is not set", name);
}

/* Every value that main.cf sets must expand and fit its class. */
static int check_values(struct config *c)
{
    ph_str *names;
    size_t n = ph_conf_names(c->conf, c->scope, 1, &names);
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = ph_conf_check(c->conf, names[i]);
    return rc;
}

static int check_services(struct config *c)
{
    for (size_t i = 0; i < c->def->services_count; i++) {
        const struct ph_service_def *d = &c->def->services[i];
        struct ph_conf *conf;

        if (!d->enabled)
            continue;
        int rc = ph_conf_service(c->scope, c->conf, d->settings, d->settings_count, &conf);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Started as root: workers become this account, and it must not be root's. */
static int find_owner(struct config *c)
{
    ph_str name;
    int rc = get(c, "mail_owner", &name);

    if (rc < 0 || geteuid() != 0)
        return rc;
    struct passwd *pw = getpwnam(ph_cstr_dup(c->scope, name));
    if (!pw || pw->pw_uid == 0)
        return ph_fail(PH_CONF, pw ? "mail_owner: \"%.*s\" has the rights of root; name an account of its own"
                                   : "mail_owner: no account \"%.*s\"", PH_FMT(name));
    c->owner_uid = pw->pw_uid;
    c->owner_gid = pw->pw_gid;
    return 0;
}

static void close_files(void *arg)
{
    ph_snapshot_close(arg);
}

static int read_all(struct config *c, const char *dir)
{
    int rc;

    if ((rc = ph_snapshot_take(dir, &c->files)) < 0)
        return rc;
    ph_defer(c->scope, close_files, &c->files);
    if ((rc = ph_snapshot_read(&c->files, c->scope, dir, &c->conf, &c->def)) < 0 || (rc = check_values(c)) < 0 || (rc = check_services(c)) < 0 ||
        (rc = find_owner(c)) < 0 || (rc = get(c, "queue_directory", &c->queue_directory)) < 0 || (rc = get(c, "daemon_directory", &c->daemon_directory)) < 0 ||
        (rc = get(c, "inet_interfaces", &c->interfaces)) < 0 || (rc = get(c, "inet_protocols", &c->protocols)) < 0 ||
        (rc = ph_conf_get_time(c->conf, "service_throttle_time", 's', &c->throttle_s)) < 0 ||
        (rc = ph_conf_get_i64(c->conf, "default_process_limit", &c->process_limit)) < 0)
        return rc;
    return 0;
}

int master_config_read(const char *dir, struct config **out)
{
    struct ph_scope *s = ph_scope_new(NULL);
    struct config *c = ph_new(s, struct config);

    c->scope = s;
    int rc = read_all(c, dir);
    if (rc < 0) {
        ph_scope_free(s);
        return rc;
    }
    *out = c;
    return 0;
}

/* What makes two definitions one service: name, type and where it listens. */
static void make_key(const struct config *c, const struct ph_service_def *d, char *key, size_t size)
{
    int n = snprintf(key, size, "%.*s %s %d", PH_FMT(d->name), ph_service_def_type(d), d->private_ != 0);

    for (uint32_t i = 0; i < d->listen_count && n > 0 && (size_t)n < size; i++)
        if (d->listen[i].kind == PH_LISTEN_INET)
            n += snprintf(key + n, size - (size_t)n, " %.*s:%.*s", PH_FMT(d->listen[i].host), PH_FMT(d->listen[i].port));
    if (strcmp(ph_service_def_type(d), "inet") == 0 && n > 0 && (size_t)n < size)
        snprintf(key + n, size - (size_t)n, " %.*s %.*s", PH_FMT(c->interfaces), PH_FMT(c->protocols));
}

static struct service *find(struct master *m, const char *key)
{
    for (struct ph_list *n = m->services.next; n != &m->services; n = n->next) {
        struct service *v = ph_list_of(n, struct service, node);

        if (strcmp(v->key, key) == 0)
            return v;
    }
    return NULL;
}

static int add_unix(const struct config *c, const char *place, ph_str name, mode_t mode, struct ph_listeners *l)
{
    char path[1200];
    int rc;

    if (l->n == PH_LISTEN_MAX)
        return ph_fail(PH_CONF, "too many listeners");
    snprintf(path, sizeof path, "%.*s/%s/%.*s", PH_FMT(c->queue_directory), place, PH_FMT(name));
    if ((rc = ph_listen_unix(path, mode, BACKLOG, &l->fd[l->n])) < 0)
        return rc;
    l->n++;
    /* Workers connect as the mail owner. */
    if (geteuid() == 0 && chown(path, c->owner_uid, c->owner_gid) < 0)
        return ph_fail_errno(PH_TEMP, errno, "chown %s", path);
    return 0;
}

/* The listeners of one service.  qmgr has two: workers speak with it at
 * private/, administrators at public/. */
static int open_listeners(const struct config *c, const struct ph_service_def *d, struct ph_listeners *l)
{
    int rc = 0, is_qmgr = d->kind == PH_DEF_BUILTIN;

    for (uint32_t i = 0; rc == 0 && i < d->listen_count; i++) {
        const struct ph_listen_def *x = &d->listen[i];
        char spec[400];

        if (x->kind == PH_LISTEN_INET) {
            int v6 = ph_str_find(x->host, ':') >= 0;

            snprintf(spec, sizeof spec, x->host.n ? v6 ? "[%.*s]:%.*s" : "%.*s:%.*s" : "%.*s:%.*s", PH_FMT(x->host), PH_FMT(x->port));
            rc = ph_listen_inet(ph_cstr(spec), c->interfaces, c->protocols, BACKLOG, l);
            if (rc < 0)
                rc = ph_wrap(rc, "%s:%u:%u: service %.*s", x->place.file, x->place.line, x->place.column, PH_FMT(d->name));
            continue;
        }
        if (d->private_ != 0 || is_qmgr)
            rc = add_unix(c, "private", x->name, 0600, l);
        if (rc == 0 && (d->private_ == 0 || is_qmgr))
            rc = add_unix(c, "public", x->name, 0666, l);
    }
    return rc;
}

static void close_all(struct ph_listeners *l)
{
    while (l->n)
        close(l->fd[--l->n]);
}

static struct service *service_new(struct master *m, const struct config *c, const struct ph_service_def *d, const char *key)
{
    struct service *v = ph_new(ph_scope_new(m->scope), struct service);
    struct ph_listeners l = { .n = 0 };
    int rc = open_listeners(c, d, &l);

    if (rc < 0) {
        close_all(&l);
        return NULL;
    }
    v->master = m;
    snprintf(v->name, sizeof v->name, "%.*s", PH_FMT(d->name));
    snprintf(v->type, sizeof v->type, "%s", ph_service_def_type(d));
    snprintf(v->key, sizeof v->key, "%s", key);
    memcpy(v->listen_fd, l.fd, l.n * sizeof *l.fd);
    v->listen_count = l.n;
    ph_list_init(&v->children);
    ph_list_init(&v->node);
    v->is_qmgr = d->kind == PH_DEF_BUILTIN;
    return v;
}

/* Build the services that are new; the whole list or none of it. */
static int open_new(struct master *m, struct config *c, struct ph_list *fresh)
{
    for (size_t i = 0; i < c->def->services_count; i++) {
        const struct ph_service_def *d = &c->def->services[i];
        char key[400];

        if (!d->enabled)
            continue;
        make_key(c, d, key, sizeof key);
        if (find(m, key))
            continue;
        struct service *v = service_new(m, c, d, key);
        if (!v)
            return PH_TEMP;
        ph_list_push(fresh, &v->node);
    }
    return 0;
}

/* Point each service at its definition; the ones that have none are left unseen. */
static void adopt(struct master *m, struct config *c)
{
    for (struct ph_list *n = m->services.next; n != &m->services; n = n->next)
        ph_list_of(n, struct service, node)->seen = 0;
    for (size_t i = 0; i < c->def->services_count; i++) {
        char key[400];
        struct service *v;

        if (!c->def->services[i].enabled)
            continue;
        make_key(c, &c->def->services[i], key, sizeof key);
        if ((v = find(m, key))) {
            v->def = &c->def->services[i];
            v->seen = 1;
        }
    }
}

int master_apply(struct master *m, struct config *c)
{
    struct ph_list fresh = PH_LIST_INIT(fresh), *n;
    int rc = open_new(m, c, &fresh);

    while ((n = ph_list_shift(&fresh))) {
        struct service *v = ph_list_of(n, struct service, node);

        if (rc < 0)
            service_close(v);
        else
            ph_list_push(&m->services, &v->node);
    }
    if (rc < 0)
        return rc;
    adopt(m, c);
    return 0;
}
