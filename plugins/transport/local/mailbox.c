/* mailbox: what becomes of mail for a user himself: a command, his mailbox or
 * maildir; and mail to a file that an alias or .forward names. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <posthorn/disk.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "local.h"

/* ---- one mailbox or file ---- */

static int write_to(struct local_job *j, const struct local_step *s, const struct local_rights *r, const char *path, struct mailbox_job *job)
{
    PH_SCOPED(scope, j->scope);
    const struct ph_recipient *rcpt = j->rcpt;
    int maildir = path[strlen(path) - 1] == '/', rc;
    ph_str original = j->agent->p.original ? (rcpt->original.n ? rcpt->original : rcpt->address) : PH_STR("");
    int mine = !job->is_file || (j->agent->delivered_in & LOCAL_IN_FILE);

    job->message = j->d->message;
    job->path = path;
    job->prefix = mailbox_prefix(j->scope, s->sender, original, mine ? j->delivered_to : PH_STR(""), !maildir);
    job->limit = (uint64_t)j->agent->p.mailbox_limit;
    job->locks = &j->agent->locks;
    job->turns = j->agent->turns;
    if ((rc = mailbox_open(scope, job, &r->id)) == 0)
        rc = mailbox_deliver(job, maildir);
    return rc;
}

/* What to say of a failed write.  job->dsn: the code that fits the cause. */
static void failed(struct local_job *j, const struct local_step *s, int rc, const char *dsn, ph_str text)
{
    struct ph_outcome o = { .status = rc == PH_PERM && dsn && dsn[0] == '5' ? PH_RCPT_BOUNCED : PH_RCPT_DEFERRED,
                            .dsn = ph_cstr(dsn ? dsn : rc == PH_CONF ? "4.3.5" : "4.3.0"), .text = text };

    local_report(j, s, &o);
}

/* root's mailbox has the rights of default_privs: what these cannot do root must
 * mend, and nothing bounces meanwhile. */
static int to_mailbox(struct local_job *j, const struct local_step *s, const struct local_user *u, const struct local_rights *r, ph_str where)
{
    const char *path = ph_cstr_dup(j->scope, where);
    int maildir = ph_str_ends(where, PH_STR("/"));
    struct mailbox_job job = { .any_owner = !j->agent->p.strict_owner };

    if (local_is_duplicate(j, "file %u %s", u->uid, path))
        return 0;
    if (j->d->probe) {
        local_sent(j, s, "delivers to %s", maildir ? "maildir" : "mailbox");
        return 0;
    }
    int rc = write_to(j, s, r, path, &job);
    if (rc == PH_PERM && u->uid == 0)
        rc = PH_TEMP;
    if (rc == PH_CANCEL)
        return rc;
    if (rc == 0)
        local_sent(j, s, "delivered to %s", maildir ? "maildir" : "mailbox");
    else if (maildir)
        failed(j, s, rc, job.dsn, ph_str_printf(j->scope, "maildir delivery failed: %s", ph_error()));
    else
        failed(j, s, rc, job.dsn, ph_str_printf(j->scope, "cannot update mailbox %s for user %.*s. %s", path, PH_FMT(u->name), ph_error()));
    return 0;
}

/* ---- the spool directory ---- */

struct spool_query {
    const char *path;
    struct stat st;
};

static int look_at_spool(void *arg)
{
    struct spool_query *q = arg;

    if (stat(q->path, &q->st) < 0)
        return ph_fail_errno(PH_TEMP, errno, "mail_spool_directory %s", q->path);
    return S_ISDIR(q->st.st_mode) ? 0 : ph_fail(PH_TEMP, "mail_spool_directory %s: not a directory", q->path);
}

/* A spool that belongs to a group (2775 root:mail) is that group's to make
 * mailboxes in: they are made with the recipient's uid and its gid. */
static const struct local_rights *spool_rights(struct local_job *j, const struct local_step *s, const struct stat *st)
{
    struct local_rights *r = ph_new(j->scope, struct local_rights);

    *r = *s->rights;
    if (st->st_uid != r->id.uid && !(st->st_mode & S_IWOTH) && (st->st_mode & S_IWGRP))
        r->id.gid = st->st_gid;
    return r;
}

static int to_spool(struct local_job *j, const struct local_step *s, const struct local_user *u)
{
    ph_str spool = j->agent->p.spool;
    struct spool_query q = { .path = ph_cstr_dup(j->scope, spool) };
    int maildir = ph_str_ends(spool, PH_STR("/")), rc = ph_disk(look_at_spool, &q);

    if (rc == 0 && maildir && (q.st.st_mode & S_IWOTH))
        rc = ph_fail(PH_TEMP, "mail_spool_directory %s: everybody may write to it", q.path);
    if (rc == 0)
        return to_mailbox(j, s, u, spool_rights(j, s, &q.st), ph_str_printf(j->scope, maildir ? "%.*s%.*s/" : "%.*s/%.*s", PH_FMT(spool), PH_FMT(u->name)));
    if (rc == PH_CANCEL)
        return rc;
    ph_log_warn("%.*s: %s", PH_FMT(s->address), ph_error());
    local_deferred(j, s, "4.2.0", "%s", ph_error());
    return 0;
}

/* ---- which one ---- */

static int home_is_there(void *arg)
{
    struct stat st;

    if (stat(arg, &st) < 0)
        return ph_fail_errno(PH_TEMP, errno, "cannot access home directory %s", (const char *)arg);
    return S_ISDIR(st.st_mode) ? 0 : ph_fail(PH_TEMP, "cannot access home directory %s: Not a directory", (const char *)arg);
}

/* mailbox_command_maps, mailbox_command: PH_FOUND and *command, PH_NONE, negative. */
static int find_command(struct local_job *j, const struct local_step *s, ph_str *command)
{
    struct local_agent *a = j->agent;
    int rc = ph_maps_is_empty(a->command_maps) ? PH_NONE : ph_maps_find(a->command_maps, s->local, j->scope, command);

    if (rc == PH_NONE && !ph_maps_is_empty(a->command_maps) && s->user.n < s->local.n)
        rc = ph_maps_find(a->command_maps, s->user, j->scope, command);
    if (rc == PH_NONE && a->p.command.n) {
        *command = a->p.command;
        return PH_FOUND;
    }
    return rc;
}

static int with_rights(struct local_job *j, struct local_step *s, const struct local_user *u)
{
    struct local_rights *r;
    int rc = local_rights_user(j->agent, j->scope, u, &r);

    s->rights = r;
    return rc;
}

int local_do_mailbox(struct local_job *j, struct local_step *s, const struct local_user *u)
{
    const struct local_params *p = &j->agent->p;
    ph_str command;
    int rc = with_rights(j, s, u);

    if (rc == 0 && p->require_home && (rc = ph_disk(home_is_there, ph_cstr_dup(j->scope, u->home))) < 0) {
        local_deferred(j, s, "4.3.0", "%s", ph_error());
        return 0;
    }
    if (rc == 0)
        rc = find_command(j, s, &command);
    if (rc == PH_CANCEL)
        return rc;
    if (rc < 0) {
        ph_log_warn("%.*s: %s", PH_FMT(s->address), ph_error());
        local_deferred(j, s, "4.3.0", "table lookup failure");
        return 0;
    }
    if (rc == PH_FOUND)
        return local_do_command(j, s, command);
    if (p->home_mailbox.n)
        return to_mailbox(j, s, u, s->rights, ph_str_printf(j->scope, "%.*s/%.*s", PH_FMT(u->home), PH_FMT(p->home_mailbox)));
    return to_spool(j, s, u);
}

/* ---- /file/name ---- */

int local_do_file(struct local_job *j, struct local_step *s)
{
    struct mailbox_job job = { .is_file = 1, .any_owner = 1 };
    int rc;

    if (!(j->agent->files_by & s->by)) {
        local_bounced(j, s, "5.7.1", "mail to file is restricted");
        return 0;
    }
    if (!s->rights) {
        local_misconfigured(j, s, "nobody's rights to write to a file with");
        return 0;
    }
    if (local_is_duplicate(j, "file %u %.*s", s->rights->id.uid, PH_FMT(s->text)))
        return 0;
    if (j->d->probe) {
        local_sent(j, s, "delivers to file: %.*s", PH_FMT(s->text));
        return 0;
    }
    if ((rc = write_to(j, s, s->rights, s->text.p, &job)) == PH_CANCEL)
        return rc;
    int maildir = ph_str_ends(s->text, PH_STR("/"));
    if (rc == 0 && maildir)
        local_sent(j, s, "delivered to maildir");
    else if (rc == 0)
        local_sent(j, s, "delivered to file: %.*s", PH_FMT(s->text));
    else if (maildir)
        failed(j, s, rc, job.dsn, ph_str_printf(j->scope, "maildir delivery failed: %s", ph_error()));
    else
        failed(j, s, rc, job.dsn, ph_str_printf(j->scope, "cannot append message to file %.*s: %s", PH_FMT(s->text), ph_error()));
    return 0;
}
