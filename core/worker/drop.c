/* drop: root becomes the mail owner before anything of a plugin runs. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/worker/worker.h"

int ph_worker_drop(struct ph_worker *w)
{
    PH_SCOPED(s, w->scope);
    ph_str owner;

    if (geteuid() != 0)
        return 0;
    int rc = ph_conf_get(w->base, s, "mail_owner", &owner);
    if (rc != PH_FOUND)
        return rc < 0 ? rc : ph_fail(PH_CONF, "mail_owner is not set");
    errno = 0;
    struct passwd *pw = getpwnam(ph_cstr_dup(s, owner));
    if (!pw)
        return ph_fail(PH_CONF, "mail_owner: no account \"%.*s\"", PH_FMT(owner));
    if (pw->pw_uid == 0)
        return ph_fail(PH_CONF, "mail_owner: \"%.*s\" has the rights of root; name an account of its own", PH_FMT(owner));
    if (setgroups(0, NULL) < 0 || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) < 0 ||
        setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0)
        return ph_fail_errno(PH_CONF, errno, "become %.*s", PH_FMT(owner));
    if (setuid(0) == 0)
        return ph_fail(PH_CONF, "the rights of root did not go away");
    /* Other processes of this uid must not look into us. */
    prctl(PR_SET_DUMPABLE, 0);
    return 0;
}
