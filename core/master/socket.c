/* socket: the listeners of a service.
 *
 * Sockets below the queue are made with the identity of mail_owner, whose the
 * directories are: a root that makes, or changes the owner of, a name in the
 * directory of another could be led by a link to any file.  Who may connect is
 * the directories' matter; the sockets themselves are open (README.md). */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/master/master.h"

#define BACKLOG 512
#define SOCKET_MODE 0666

/* Files as mail_owner from here, or as ourselves again. */
int master_be_owner(const struct config *c, int on)
{
    if (!c->as_root)
        return 0;
    if (on && (setegid(c->accounts.mail_gid) < 0 || seteuid(c->accounts.mail_uid) < 0))
        return ph_fail_errno(PH_CONF, errno, "become %s", c->accounts.mail_owner);
    if (!on && (seteuid(0) < 0 || setegid(0) < 0))
        ph_die("cannot become root again");
    return 0;
}

static int add_unix(const struct config *c, const char *place, ph_str name, struct ph_listeners *l)
{
    char path[1200];
    int rc;

    if (l->n == PH_LISTEN_MAX)
        return ph_fail(PH_CONF, "too many listeners");
    snprintf(path, sizeof path, "%.*s/%s/%.*s", PH_FMT(c->queue_directory), place, PH_FMT(name));
    if ((rc = master_be_owner(c, 1)) < 0)
        return rc;
    rc = ph_listen_unix(path, SOCKET_MODE, BACKLOG, &l->fd[l->n]);
    if (rc < 0 && c->as_root)
        rc = ph_wrap(rc, "as %s (postfix set-permissions repairs directories)", c->accounts.mail_owner);
    master_be_owner(c, 0);
    if (rc == 0)
        l->n++;
    return rc;
}

static int add_inet(const struct config *c, const struct ph_service_def *d, const struct ph_listen_def *x, struct ph_listeners *l)
{
    int v6 = ph_str_find(x->host, ':') >= 0;
    char spec[400];

    snprintf(spec, sizeof spec, v6 ? "[%.*s]:%.*s" : "%.*s:%.*s", PH_FMT(x->host), PH_FMT(x->port));
    int rc = ph_listen_inet(ph_cstr(spec), c->interfaces, c->protocols, BACKLOG, l);

    return rc < 0 ? ph_wrap(rc, "%s:%u:%u: service %.*s", x->place.file, x->place.line, x->place.column, PH_FMT(d->name)) : rc;
}

/* qmgr is at private/ and net/ for workers, at public/ for commands. */
int master_open_listeners(const struct config *c, const struct ph_service_def *d, struct ph_listeners *l)
{
    int rc = 0, is_qmgr = d->kind == PH_DEF_BUILTIN;

    for (uint32_t i = 0; rc == 0 && i < d->listen_count; i++) {
        const struct ph_listen_def *x = &d->listen[i];

        if (x->kind == PH_LISTEN_INET) {
            rc = add_inet(c, d, x, l);
            continue;
        }
        if (d->private_ != 0 || is_qmgr)
            rc = add_unix(c, "private", x->name, l);
        if (rc == 0 && (d->private_ == 0 || is_qmgr))
            rc = add_unix(c, "public", x->name, l);
        if (rc == 0 && config_is_reachable(c, d))
            rc = add_unix(c, "net", x->name, l);
    }
    while (rc < 0 && l->n)
        close(l->fd[--l->n]);
    return rc;
}
