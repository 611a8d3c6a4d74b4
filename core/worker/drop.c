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

struct ids { uid_t uid; gid_t gid[2]; size_t gids; };    /* the second group: of files that may be read, too */

static int parse_identity(const char *text, struct ids *id)
{
    ph_str rest = ph_cstr(text);
    uint64_t u, g;
    int fits = ph_str_u64(ph_str_cut(&rest, ':'), &u) && u > 0 && u < UINT_MAX;

    for (id->gids = 0; fits && rest.n && id->gids < 2; id->gid[id->gids++] = (gid_t)g)
        fits = ph_str_u64(ph_str_cut(&rest, ':'), &g) && g > 0 && g < UINT_MAX;
    if (!fits || id->gids == 0 || rest.n)
        return ph_fail(PH_CONF, "\"%s\" is no identity for a worker", text);
    id->uid = (uid_t)u;
    return 0;
}

int ph_worker_drop(struct ph_worker *w)
{
    struct ids id;

    if (geteuid() != 0)
        return 0;
    if (!w->identity)
        return ph_fail(PH_CONF, "started as root and without an account to become");
    int rc = parse_identity(w->identity, &id);
    if (rc < 0)
        return rc;
    if (setgroups(id.gids - 1, id.gid + 1) < 0 || setresgid(id.gid[0], id.gid[0], id.gid[0]) < 0 || setresuid(id.uid, id.uid, id.uid) < 0)
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
