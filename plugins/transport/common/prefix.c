/* prefix: the lines in front of a delivered message; how its file is locked. */
#include <time.h>
#include <posthorn/address.h>
#include <posthorn/buf.h>
#include <posthorn/disk.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include <posthorn/task.h>
#include "plugins/transport/common/mailbox.h"

int mailbox_parse_locks(const char *what, ph_str list, struct mailbox_locks *l)
{
    for (ph_str word; (word = ph_str_list(&list)).n; ) {
        if (ph_str_eq(word, PH_STR("fcntl")))
            l->use_fcntl = 1;
        else if (ph_str_eq(word, PH_STR("flock")))
            l->use_flock = 1;
        else if (ph_str_eq(word, PH_STR("dotlock")))
            l->use_dotlock = 1;
        else
            return ph_fail(PH_CONF, "%s: unknown method \"%.*s\"; use fcntl, flock or dotlock", what, PH_FMT(word));
    }
    return 0;
}

static void put_from(struct ph_buf *b, ph_str sender)
{
    time_t now = (time_t)(ph_wall_us() / 1000000);
    char when[64];
    struct tm tm;

    strftime(when, sizeof when, "%a %b %e %H:%M:%S %Y", localtime_r(&now, &tm));
    ph_buf_printf(b, "From %.*s  %s\n", PH_FMT(sender.n ? sender : PH_STR("MAILER-DAEMON")), when);
}

ph_str mailbox_prefix(struct ph_scope *s, ph_str sender, ph_str original, ph_str delivered_to, int mbox)
{
    struct ph_buf b;

    ph_buf_init(&b, s, 16384);
    sender = ph_address_external(s, sender);
    if (mbox)
        put_from(&b, sender);
    ph_buf_printf(&b, "Return-Path: <%.*s>\n", PH_FMT(sender));
    if (original.n)
        ph_buf_printf(&b, "X-Original-To: %.*s\n", PH_FMT(ph_address_external(s, original)));
    if (delivered_to.n)
        ph_buf_printf(&b, "Delivered-To: %.*s\n", PH_FMT(ph_address_external(s, delivered_to)));
    return ph_buf_view(&b);
}

int mailbox_open(struct ph_scope *s, struct mailbox_job *job, const struct ph_identity *id)
{
    job->uid = id->uid;
    if (job->may_be_own && ph_identity_is_own(id)) {
        job->files = ph_files_here();
        return 0;
    }
    return ph_files_open(s, id, &job->files);
}

int mailbox_deliver(struct mailbox_job *job, int maildir)
{
    for (int64_t i = 0; ; i++) {
        int rc = ph_disk(maildir ? maildir_deliver : mbox_deliver, job);

        if (job->no_lock_file)
            ph_log_warn("unable to create lock file %s.lock", job->path);
        if (!job->busy || i + 1 >= job->locks->attempts)
            return rc;
        if ((rc = ph_sleep_until(ph_in_ms(job->locks->delay_s * 1000))) < 0)
            return rc;
    }
}
