/* rights: whose rights a file or command of an expansion has: the user's whose
 * .forward named it, else those of the owner of the file that did; never root's. */
#include <posthorn/error.h>
#include "local.h"

static int rights_default(const struct local_agent *a, struct ph_scope *s, struct ph_identity *id)
{
    int rc = ph_identity_parse(s, a->p.default_privs, id);

    return rc == PH_NONE ? ph_fail(PH_CONF, "default_privs: no account \"%.*s\"", PH_FMT(a->p.default_privs)) : rc < 0 ? rc : 0;
}

int local_rights_user(const struct local_agent *a, struct ph_scope *s, const struct local_user *u, struct local_rights **out)
{
    struct local_rights *r = ph_new(s, struct local_rights);
    int rc = 0;

    r->user = u;
    if (u->uid == 0)
        rc = rights_default(a, s, &r->id);
    else
        r->id = (struct ph_identity){ .size = sizeof r->id, .uid = u->uid, .gid = u->gid, .user = u->name };
    *out = r;
    return rc;
}

int local_rights_owner(const struct local_agent *a, struct ph_scope *s, uint32_t uid, struct local_rights **out)
{
    struct local_rights *r = ph_new(s, struct local_rights);
    int rc = uid == 0 ? rights_default(a, s, &r->id) : ph_identity_of_uid(s, uid, &r->id);

    *out = r;
    return rc == PH_NONE ? ph_fail(PH_CONF, "uid %u owns the file and has no account", uid) : rc < 0 ? rc : 0;
}
