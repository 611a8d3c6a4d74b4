/* include: ":include:/file": a list of members outside the alias table.  Read
 * with the rights of who named it; its commands and files have its owner's. */
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "local.h"

#define INCLUDE_MAX (64u << 20)    /* bytes: some million members */
#define NESTED_MAX 20u             /* files in files */

static uint32_t nesting(const struct local_step *s)
{
    uint32_t n = 0;

    for (; s; s = s->parent)
        n += s->kind == PH_ALIAS_INCLUDE;
    return n;
}

static int read_list(struct local_job *j, struct local_step *s, struct local_file *f)
{
    if (nesting(s) > NESTED_MAX)
        return ph_fail(PH_PERM, "%s: :include: files nested more than %u deep", f->path, NESTED_MAX);
    if (!s->rights)
        return ph_fail(PH_CONF, "%s: nobody's rights to read it with", f->path);
    if (f->path[0] != '/')
        return ph_fail(PH_PERM, ":include:%s: not an absolute path", f->path);
    int rc = local_file_read(j, s->rights, 0, INCLUDE_MAX, f);

    if (rc == PH_PERM && !f->mode) /* not opened: the administrator can mend that */
        return ph_wrap(PH_CONF, ":include:");
    return rc == PH_NONE ? ph_fail(PH_PERM, ":include:%s: no such file", f->path) : rc;
}

/* The owner of the list answers for what it runs, unless a user named it. */
static int own_rights(struct local_job *j, struct local_step *s, const struct local_file *f)
{
    struct local_rights *r;
    int rc;

    if (s->rights->user)
        return 0;
    if ((rc = local_rights_owner(j->agent, j->scope, f->owner, &r)) < 0)
        return rc;
    s->rights = r;
    return 0;
}

int local_do_include(struct local_job *j, struct local_step *s)
{
    struct local_step *first = NULL, **tail = &first;
    struct local_file f = { .path = s->text.p };
    size_t at = 0;
    int rc = read_list(j, s, &f), bad = 0;

    if (rc == PH_FOUND)
        rc = own_rights(j, s, &f);
    if (rc == PH_CANCEL)
        return rc;
    if (rc < 0) {
        ph_log_warn("%.*s: %s", PH_FMT(s->address), ph_error());
        if (rc == PH_PERM)
            local_bounced(j, s, "5.3.5", "mail system configuration error");
        else
            local_deferred(j, s, "4.3.5", "mail system configuration error");
        return 0;
    }
    if (local_is_duplicate(j, "include %s", f.path))
        return 0;
    for (ph_str line; ph_alias_line(f.text, &at, &line); )
        if (local_steps_of(j, s, LOCAL_BY_INCLUDE, line, f.path, &tail) < 0)
            bad = 1;
    /* A list that is half read would be sent to again and again. */
    if (bad)
        local_deferred(j, s, "4.3.5", "mail system configuration error");
    else
        local_step_push(j, first);
    return 0;
}
