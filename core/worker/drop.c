/* drop: root becomes the account that the master names, before anything of a
 * plugin runs.  The master chooses it (mail_owner, or network_owner for who
 * touches the network): one place decides, and no account that is made or
 * changed meanwhile comes between. */
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/worker/worker.h"

static int parse_identity(const char *text, uid_t *uid, gid_t *gid)
{
    ph_str rest = ph_cstr(text);
    uint64_t u, g;

    if (!ph_str_u64(ph_str_cut(&rest, ':'), &u) || !ph_str_u64(rest, &g) || u == 0 || g == 0 || u >= UINT_MAX || g >= UINT_MAX)
        return ph_fail(PH_CONF, "\"%s\" is no identity for a worker", text);
    *uid = (uid_t)u;
    *gid = (gid_t)g;
    return 0;
}

int ph_worker_drop(struct ph_worker *w)
{
    uid_t uid;
    gid_t gid;

    if (geteuid() != 0)
        return 0;
    if (!w->identity)
        return ph_fail(PH_CONF, "started as root and without an account to become");
    int rc = parse_identity(w->identity, &uid, &gid);
    if (rc < 0)
        return rc;
    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        return ph_fail_errno(PH_CONF, errno, "become %s", w->identity);
    if (setuid(0) == 0 || setgid(0) == 0)
        return ph_fail(PH_CONF, "the rights of root did not go away");
    /* Other processes of this uid must not look into us. */
    prctl(PR_SET_DUMPABLE, 0);
    return 0;
}

int ph_worker_check_account(const struct ph_worker *w, const char *needs)
{
    /* The account was chosen by the manifest: is it this object's? */
    if (w->account && strcmp(w->account, "mail") == 0 && ph_needs(needs, "network"))
        return ph_fail(PH_CONF, "service %s touches the network, but its manifest does not say so (needs:): make the manifest anew", w->name);
    return 0;
}
