/* config: a configuration is read and checked whole before anything changes. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "core/master/master.h"

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

/* Started as root: workers become these accounts.  They stay what they were at
 * the start, because sockets and files are theirs. */
static int find_accounts(struct config *c)
{
    c->as_root = geteuid() == 0;
    return c->as_root ? ph_accounts_read(c->conf, c->scope, &c->accounts) : 0;
}

static void close_files(void *arg)
{
    ph_snapshot_close(arg);
}

static int read_all(struct config *c, const char *dir)
{
    const char *log;
    int rc, mode;

    if ((rc = ph_snapshot_take(dir, &c->files)) < 0)
        return rc;
    ph_defer(c->scope, close_files, &c->files);
    if ((rc = ph_snapshot_read(&c->files, c->scope, dir, &c->conf, &c->def)) < 0 || (rc = check_values(c)) < 0 || (rc = check_services(c)) < 0 ||
        (rc = ph_conf_log_file(c->conf, c->scope, &log, &mode)) < 0 ||
        (rc = find_accounts(c)) < 0 || (rc = config_find_reachable(c)) < 0 ||
        (rc = get(c, "queue_directory", &c->queue_directory)) < 0 || (rc = get(c, "daemon_directory", &c->daemon_directory)) < 0 || (rc = get(c, "data_directory", &c->data_directory)) < 0 ||
        (rc = get(c, "inet_interfaces", &c->interfaces)) < 0 || (rc = get(c, "inet_protocols", &c->protocols)) < 0 ||
        (rc = ph_conf_get_time(c->conf, "service_throttle_time", 's', &c->throttle_s)) < 0 ||
        (rc = ph_conf_get_i64(c->conf, "default_process_limit", &c->process_limit)) < 0)
        return rc;
    return 0;
}

void config_tell_programs(const struct config *c)
{
    for (size_t i = 0; i < c->def->services_count; i++) {
        const struct ph_service_def *d = &c->def->services[i];

        if (d->listed && d->kind == PH_DEF_PROGRAM)
            ph_log_warn("service %.*s is not run: this release has no program %.*s", PH_FMT(d->name), PH_FMT(d->code));
    }
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
    int n = snprintf(key, size, "%.*s %s %d %d", PH_FMT(d->name), ph_service_def_type(d), d->private_ != 0, config_is_reachable(c, d));

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

/* Nobody from outside can connect.  (What a wakeup began may end in the middle: it is begun anew.) */
static int is_asked(const struct ph_service_def *d)
{
    int all_private = d->kind == PH_DEF_PLUGIN && d->private_ != 0;

    for (uint32_t i = 0; i < d->listen_count; i++)
        all_private &= d->listen[i].kind == PH_LISTEN_UNIX;
    return all_private;
}

static struct service *service_new(struct master *m, const struct config *c, const struct ph_service_def *d, const char *key)
{
    struct service *v = ph_new(ph_scope_new(m->scope), struct service);
    struct ph_listeners l = { .n = 0 };

    if (master_open_listeners(c, d, &l) < 0)
        return NULL;
    v->master = m;
    snprintf(v->name, sizeof v->name, "%.*s", PH_FMT(d->name));
    snprintf(v->type, sizeof v->type, "%s", ph_service_def_type(d));
    snprintf(v->key, sizeof v->key, "%s", key);
    memcpy(v->listen_fd, l.fd, l.n * sizeof *l.fd);
    v->listen_count = l.n;
    ph_list_init(&v->children);
    ph_list_init(&v->node);
    v->is_qmgr = d->kind == PH_DEF_BUILTIN;
    v->is_asked = v->is_qmgr || is_asked(d);
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

static int same_accounts(const struct config *a, const struct config *b)
{
    const struct ph_accounts *x = &a->accounts, *y = &b->accounts;

    return x->mail_uid == y->mail_uid && x->mail_gid == y->mail_gid && x->network_uid == y->network_uid &&
           x->network_gid == y->network_gid && x->setgid_gid == y->setgid_gid;
}

int master_apply(struct master *m, struct config *c)
{
    struct ph_list fresh = PH_LIST_INIT(fresh), *n;

    if (!same_accounts(m->config, c))
        return ph_fail(PH_CONF, "mail_owner, network_owner or setgid_group is another account now: stop and start the mail system");
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
