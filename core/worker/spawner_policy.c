/* spawner_policy: whether a worker has a spawner, and what that one grants. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/plugin/registry.h"
#include "core/worker/spawner.h"
#include "core/worker/worker.h"

/* An account of the mail system, to be refused.  One that is not there has no rights to misuse. */
static int refuse_account(struct ph_worker *w, struct spawner_policy *p, const char *parameter)
{
    PH_SCOPED(s, w->scope);
    ph_str name;
    int rc = ph_conf_get(w->base, s, parameter, &name);

    if (rc != PH_FOUND || name.n == 0)
        return rc < 0 ? rc : 0;
    errno = 0;
    const struct passwd *pw = getpwnam(ph_cstr_dup(s, name));
    if (!pw)
        return errno && errno != ENOENT ? ph_fail_errno(PH_TEMP, errno, "%s", parameter) : 0;
    p->bad_uid[p->bad_uids++] = pw->pw_uid;
    p->bad_gid[p->bad_gids++] = pw->pw_gid;
    return 0;
}

static int refuse_group(struct ph_worker *w, struct spawner_policy *p, const char *parameter)
{
    PH_SCOPED(s, w->scope);
    ph_str name;
    int rc = ph_conf_get(w->base, s, parameter, &name);

    if (rc != PH_FOUND || name.n == 0)
        return rc < 0 ? rc : 0;
    errno = 0;
    const struct group *gr = getgrnam(ph_cstr_dup(s, name));
    if (!gr)
        return errno && errno != ENOENT ? ph_fail_errno(PH_TEMP, errno, "%s", parameter) : 0;
    p->bad_gid[p->bad_gids++] = gr->gr_gid;
    return 0;
}

static int make_policy(struct ph_worker *w, struct spawner_policy *p)
{
    int rc;

    if (geteuid() != 0) {
        *p = (struct spawner_policy){ .own_only = 1, .own_uid = geteuid(), .own_gid = getegid() };
        return 0;
    }
    *p = (struct spawner_policy){ .own_only = 0 };
    if ((rc = refuse_account(w, p, "mail_owner")) < 0 || (rc = refuse_account(w, p, "network_owner")) < 0 ||
        (rc = refuse_group(w, p, "setgid_group")) < 0)
        return rc;
    return 0;
}

/* A worker without its helper delivers nothing: it ends, and the next has one. */
static void on_loss(void *arg PH_UNUSED)
{
    raise(SIGTERM);
}

int ph_worker_spawner(struct ph_worker *w)
{
    struct spawner_options o = { .name = w->name, .title = w->title, .title_size = w->title_size };
    int rc;

    if (!ph_needs(w->needs, "spawn"))
        return 0;
    if ((rc = make_policy(w, &o.policy)) < 0)
        return rc;
    ph_spawner_on_loss(on_loss, NULL);
    return ph_spawner_start(&o);
}
