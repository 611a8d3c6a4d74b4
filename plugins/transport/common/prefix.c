/* prefix: the lines in front of a delivered message; how its file is locked, and
 * how often that is tried. */
#include <time.h>
#include <posthorn/address.h>
#include <posthorn/buf.h>
#include <posthorn/disk.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include <posthorn/map.h>
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

/* ---- turns ---- */

struct mailbox_turns {
    struct ph_scope *scope;
    struct ph_map *busy;           /* by path */
    struct turn *spare;            /* conditions are never given back to a scope */
};

struct turn {
    struct turn *next;
    struct ph_cond *cond;
    uint32_t users, held;
};

struct mailbox_turns *mailbox_turns_new(struct ph_scope *s)
{
    struct mailbox_turns *t = ph_new(s, struct mailbox_turns);

    t->scope = s;
    t->busy = ph_map_new(s);
    return t;
}

static struct turn *turn_new(struct mailbox_turns *t)
{
    struct turn *turn = t->spare;

    if (turn) {
        t->spare = turn->next;
        return turn;
    }
    turn = ph_new(t->scope, struct turn);
    turn->cond = ph_cond_new(t->scope);
    return turn;
}

/* Nobody uses it or waits for it: give it back. */
static void turn_leave(struct mailbox_turns *t, ph_str path, struct turn *turn)
{
    if (--turn->users)
        return;
    ph_map_del(t->busy, path);
    turn->next = t->spare;
    t->spare = turn;
}

/* The path is ours until turn_end: 0, or PH_CANCEL, PH_TIMEOUT. */
static int turn_begin(struct mailbox_turns *t, ph_str path, struct turn **out)
{
    struct turn *turn = ph_map_get(t->busy, path);

    if (!turn)
        ph_map_set(t->busy, path, turn = turn_new(t));
    turn->users++;
    while (turn->held) {
        int rc = ph_cond_wait(turn->cond, PH_FOREVER);

        if (rc < 0) {
            turn_leave(t, path, turn);
            return rc;
        }
    }
    turn->held = 1;
    *out = turn;
    return 0;
}

static void turn_end(struct mailbox_turns *t, ph_str path, struct turn *turn)
{
    turn->held = 0;
    ph_cond_signal(turn->cond);
    turn_leave(t, path, turn);
}

static int try_mbox(struct mailbox_job *job)
{
    for (int64_t i = 0; ; i++) {
        int rc = ph_disk(mbox_deliver, job);

        if (job->no_lock_file)
            ph_log_warn("unable to create lock file %s.lock", job->path);
        if (!job->busy || i + 1 >= job->locks->attempts)
            return rc;
        if ((rc = ph_sleep_until(ph_in_ms(job->locks->delay_s * 1000))) < 0)
            return rc;
    }
}

int mailbox_deliver(struct mailbox_job *job, int maildir)
{
    struct turn *turn;
    int rc;

    if (maildir)
        return maildir_deliver(job);
    if ((rc = turn_begin(job->turns, ph_cstr(job->path), &turn)) < 0)
        return rc;
    rc = try_mbox(job);
    turn_end(job->turns, ph_cstr(job->path), turn);
    return rc;
}
