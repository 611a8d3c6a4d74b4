/* forward: a user's own .forward file: found, judged, expanded with his rights. */
#include <fcntl.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "local.h"

#define FORWARD_MAX (4u << 20)     /* bytes */

/* Destinations of the text: PH_FOUND, or PH_NONE when there are none. */
static int expand(struct local_job *j, struct local_step *s, const struct local_file *f)
{
    struct local_step *first = NULL, **tail = &first;
    size_t at = 0;

    /* What cannot be read is warned of and passed over: who has nothing else
     * has his mailbox. */
    for (ph_str line; ph_alias_line(f->text, &at, &line); )
        local_steps_of(j, s, LOCAL_BY_FORWARD, line, f->path, &tail);
    if (!first)
        return PH_NONE;
    j->expanded = 1;
    local_step_push(j, first);
    return PH_FOUND;
}

/* One candidate: PH_FOUND: it was the one; PH_NONE: not there; PH_PERM: there,
 * and not to be used (said in the log); PH_TEMP. */
static int try(struct local_job *j, const struct local_user *u, const struct local_rights *r, struct local_file *f)
{
    int rc = local_file_read(j, r, O_NOFOLLOW, FORWARD_MAX, f);

    if (rc == PH_FOUND && f->owner != u->uid && f->owner != 0)
        rc = ph_fail(PH_PERM, "%s: belongs to somebody else", f->path);
    if (rc == PH_PERM)
        ph_log_warn("forward file is not used: %s", ph_error());
    return rc;
}

/* The files of forward_path in order, until one is there. */
static int find(struct local_job *j, struct local_step *s, const struct local_user *u, const struct local_rights *r, struct local_file *f)
{
    const struct local_params *p = &j->agent->p;
    ph_str path, before = { "", 0 };
    int rc = PH_NONE;

    for (ph_str list = p->forward_path, item; rc == PH_NONE && (item = ph_str_list(&list)).n; before = path) {
        if ((rc = local_expand(j, s, u, item, p->forward_filter, &path)) < 0)
            return ph_wrap(rc, "forward_path");
        rc = PH_NONE;
        if (path.n == 0 || path.p[0] != '/' || ph_str_eq(path, before))
            continue;
        f->path = ph_cstr_dup(j->scope, path);
        rc = try(j, u, r, f);
        if (rc == PH_FOUND && ph_str_search(item, PH_STR("extension")) >= 0)
            s->unmatched = PH_STR("");
    }
    return rc;
}

int local_do_forward(struct local_job *j, struct local_step *s, const struct local_user *u)
{
    struct local_rights *r;
    struct local_file f = { 0 };
    int rc;

    if (j->agent->p.forward_path.n == 0)
        return PH_NONE;
    if ((rc = local_rights_user(j->agent, j->scope, u, &r)) == 0)
        rc = find(j, s, u, r, &f);
    if (rc == PH_NONE || rc == PH_PERM || rc == PH_CANCEL)
        return rc == PH_PERM ? PH_NONE : rc;
    if (rc < 0) {
        ph_log_warn("%.*s: %s", PH_FMT(s->address), ph_error());
        local_deferred(j, s, rc == PH_CONF ? "4.3.5" : "4.3.0", "%s",
                       rc == PH_CONF ? "mail system configuration error" : "forward file cannot be read");
        return PH_FOUND;
    }
    s->rights = r;
    if (local_is_duplicate(j, "forward %s", f.path))
        return PH_FOUND;
    return expand(j, s, &f);
}
