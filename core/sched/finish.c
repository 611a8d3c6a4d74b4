/* finish: a round of deliveries is over: what is owed to the sender, then the
 * message goes, or waits for its next attempt.
 *
 * Order: marks are on disk before the notice is committed; the bounce log goes
 * only after the notice and the marks "told" are on disk; the message file goes
 * last. */
#include <string.h>
#include <posthorn/address.h>
#include "core/sched/control.h"

#define AGAIN_S 60                 /* after a disk error */

static void finish_job(struct job *j);
static int is_plain(const struct mail *mail);
static void go_away(struct mail *mail);

void ph_finish_mail(struct mail *mail)
{
    mail->sched = NULL;
    if (mail->pins) {
        mail->stage = STAGE_RESOLVING;             /* neither active nor finishing */
        mail->finish_after = 1;
        return;
    }
    mail->stage = STAGE_FINISHING;
    if (is_plain(mail))
        go_away(mail);
    else
        ph_crew_add(&mail->q->finishers, &mail->job, finish_job);
}

void ph_mail_unpin(struct mail *mail)
{
    if (!--mail->pins && mail->finish_after) {
        mail->finish_after = 0;
        ph_finish_mail(mail);
    }
}

/* The disk said no: everything stays as it is, in memory, and is done again. */
static void stuck(struct mail *mail, const char *what)
{
    ph_log_warn("%s: %s: %s", mail->m->id, what, ph_error());
    mail->stage = STAGE_STUCK;
    mail->q->parked = 1;
    ph_feed_park(mail->q, mail->m, ph_wall_s() + AGAIN_S);
}

/* ---- too old ---- */

static int is_too_old(struct mail *mail)
{
    const struct ph_qmsg *m = mail->m;

    return m->expired || ph_retry_is_expired(&mail->q->p.retry, m->message.arrival_us / 1000000,
                                             m->message.sender.n > 0, ph_wall_s());
}

/* Those of a portion that are pending.  An alias that was expanded is returned to
 * nobody: its members are.  Forced: who was never tried, or whose log is gone, gets
 * our own words. */
static void settle_portion(struct mail *mail, const struct ph_portion *p, const unsigned char *has)
{
    PH_SCOPED(s, NULL);
    uint32_t *list = ph_alloc_array(s, p->n, sizeof *list), n = 0;

    for (uint32_t i = p->first; i < p->first + p->n; i++) {
        if (ph_qmsg_state(mail->m, i) != PH_STATE_PENDING)
            continue;
        if (p->rcpt[i - p->first].expanded)
            ph_settle_expanded(mail, i);
        else if (mail->m->expired && !has[i])
            list[n++] = i;
    }
    if (n)
        ph_settle_ourselves(mail, list, n, PH_RCPT_DEFERRED, PH_STR("4.7.0"), PH_STR("message is administratively expired"));
}

static void settle_pending(struct mail *mail)
{
    struct ph_qmsg *m = mail->m;
    PH_SCOPED(s, NULL);
    unsigned char *has = ph_alloc(s, m->rcpt_count);
    struct ph_rcpt_cursor at = { 0, 0 };

    if (m->expired && m->place != PH_PLACE_SLOT && ph_bouncer_words(mail, has) < 0)
        ph_log_warn("%s: %s", m->id, ph_error());
    for (struct ph_portion *p; ph_queue_portion(mail->q->queue, m, &at, PORTION_MAX, &p) == 0; ) {
        settle_portion(mail, p, has);
        ph_portion_drop(p, 1);
    }
}

/* Who is still pending is returned to the sender, with the words of the last
 * deferral. */
static void expire(struct mail *mail)
{
    struct ph_qmsg *m = mail->m;
    PH_SCOPED(s, NULL);

    settle_pending(mail);
    ph_log("%s: from=<%.*s>, status=%s, returned to sender", m->id, PH_FMT(ph_address_external(s, m->message.sender)),
           m->expired ? "force-expired" : "expired");
    for (uint32_t i = 0; i < m->rcpt_count; i++)
        if (ph_qmsg_state(m, i) == PH_STATE_PENDING)
            ph_queue_mark(mail->q->queue, m, i, PH_STATE_FAILED);
    mail->has_log = 1;
}

/* ---- notices ---- */

/* 0: nothing is owed any more; negative: it still is. */
static int tell_sender(struct mail *mail)
{
    struct ph_qmsg *m = mail->m;
    int rc;

    if ((rc = ph_queue_sync(mail->q->queue, m)) < 0 || (rc = ph_bouncer_notify(mail, "bounce")) < 0)
        return rc;
    for (uint32_t i = 0; i < m->rcpt_count; i++)
        if (ph_qmsg_state(m, i) == PH_STATE_FAILED)
            ph_queue_mark(mail->q->queue, m, i, PH_STATE_TOLD);
    if ((rc = ph_queue_sync(mail->q->queue, m)) < 0)
        return rc;
    return ph_bouncer_remove(mail->q, ph_cstr(m->id), "bounce");
}

/* 1 when there may be records of the trace log: written in this round, or (asked
 * for once, before the message goes) left by an earlier life. */
static int has_report(const struct mail *mail)
{
    return mail->has_trace || (mail->is_old && !mail->m->pending);
}

/* Delivered to everybody, with nothing to say to anybody and nothing to wait for:
 * no task is needed. */
static int is_plain(const struct mail *mail)
{
    return mail->wish == WISH_NONE && !mail->damaged && !mail->has_log && !has_report(mail) && ph_queue_remove_is_quick(mail->m);
}

/* Of success, and what sendmail -v and -bv asked for.  0, or it is still owed: not
 * when it was sent and its log cannot be removed. */
static int report(struct mail *mail)
{
    int rc;

    if (!has_report(mail))
        return 0;
    if ((rc = ph_bouncer_say_kept(mail)) < 0 || (rc = ph_bouncer_notify(mail, "trace")) < 0)
        return rc;
    mail->has_trace = 0;
    if (ph_bouncer_remove(mail->q, ph_cstr(mail->m->id), "trace") < 0)
        ph_log_warn("%s: %s", mail->m->id, ph_error());
    return 0;
}

static void warn_of_delay(struct mail *mail)
{
    struct ph_qmsg *m = mail->m;
    int64_t after = mail->q->p.delay_warning_time;

    if (!after || m->warned || ph_wall_s() < m->message.arrival_us / 1000000 + after)
        return;
    if (ph_bouncer_notify(mail, "delay") < 0 || ph_queue_mark_warned(mail->q->queue, m) < 0)
        ph_log_warn("%s: delay warning: %s", m->id, ph_error());
}

/* ---- where it goes ---- */

static void go_deferred(struct mail *mail)
{
    struct qmgr *q = mail->q;
    struct ph_qmsg *m = mail->m;
    int64_t next = ph_retry_next(&q->p.retry, m->message.arrival_us / 1000000, ph_wall_s());

    warn_of_delay(mail);
    if (ph_queue_defer(q->queue, m, next * 1000000) < 0) {
        stuck(mail, "cannot be deferred");
        return;
    }
    if (mail->wish != WISH_NONE) {                 /* said while we were about it */
        ph_finish_mail(mail);
        return;
    }
    ph_retry_add(q->retry, ph_cstr(m->id), next);
    ph_queue_forget(q->queue, m);
    ph_mail_free(mail);
}

static void go_away(struct mail *mail)
{
    char id[PH_ID_MAX + 1];

    memcpy(id, mail->m->id, sizeof id);
    /* A log that stays behind is found by bounce's own sweep. */
    if (mail->has_log && ph_bouncer_remove(mail->q, ph_cstr(id), NULL) < 0)
        ph_log_warn("%s: %s", id, ph_error());
    if (ph_queue_remove(mail->q->queue, mail->m) < 0) {
        stuck(mail, "cannot be removed");
        return;
    }
    if (mail->wish != WISH_DELETE)
        ph_log("%s: removed", id);
    ph_mail_free(mail);
}

/* While it was put there somebody said otherwise: it goes, or is let go. */
static void leave_hold(struct mail *mail)
{
    struct qmgr *q = mail->q;

    if (mail->wish == WISH_DELETE || mail->wish == WISH_REQUEUE) {
        ph_finish_mail(mail);
        return;
    }
    if (ph_control_release(q, mail->m) < 0) {
        stuck(mail, "cannot be released from hold");
        return;
    }
    ph_mail_free(mail);
    ph_queue_settle(q->queue);
}

static void go_on_hold(struct mail *mail)
{
    if (ph_queue_hold(mail->q->queue, mail->m) < 0) {
        stuck(mail, "cannot be held");
        return;
    }
    ph_queue_settle(mail->q->queue);
    if (mail->wish != WISH_HOLD) { /* asked last: both calls above yield */
        leave_hold(mail);
        return;
    }
    ph_queue_forget(mail->q->queue, mail->m);
    ph_mail_free(mail);
}

static void go_to_maildrop(struct mail *mail)
{
    char id[PH_ID_MAX + 1];

    memcpy(id, mail->m->id, sizeof id);
    if (ph_queue_requeue(mail->q->queue, mail->m) < 0) {
        stuck(mail, "cannot be requeued");
        return;
    }
    ph_queue_settle(mail->q->queue);
    if (ph_bouncer_remove(mail->q, ph_cstr(id), NULL) < 0)
        ph_log_warn("%s: %s", id, ph_error());
    ph_mail_free(mail);
}

static void go_to_corrupt(struct mail *mail)
{
    if (ph_queue_corrupt(mail->q->queue, mail->m, "recipients cannot be read") < 0)
        stuck(mail, "cannot be moved");
    else
        ph_mail_free(mail);
}

static void finish_job(struct job *j)
{
    struct mail *mail = ph_list_of(j, struct mail, job);
    struct ph_qmsg *m = mail->m;

    if (mail->damaged && mail->wish != WISH_DELETE) {
        go_to_corrupt(mail);
        return;
    }
    if (mail->wish == WISH_EXPIRE) {
        m->expired = 1;
        mail->wish = WISH_NONE;
    }
    if (m->pending && mail->wish == WISH_NONE && is_too_old(mail))
        expire(mail);
    if (m->failed && mail->wish != WISH_DELETE && tell_sender(mail) < 0)
        ph_log_warn("%s: notice to the sender: %s", m->id, ph_error());
    int reported = mail->wish == WISH_DELETE ? 0 : report(mail);

    if (reported < 0 && m->pending)
        ph_log_warn("%s: report to the sender: %s", m->id, ph_error());
    if (reported < 0 && !m->pending && !m->failed)
        stuck(mail, "report to the sender");       /* the file has no mark that would remember it */
    else if (mail->wish == WISH_DELETE || (!m->pending && !m->failed))
        go_away(mail);
    else if (mail->wish == WISH_HOLD)
        go_on_hold(mail);
    else if (mail->wish == WISH_REQUEUE)
        go_to_maildrop(mail);
    else
        go_deferred(mail);
}
