/* survive: agents that outlived a qmgr, or its connection, report what became
 * of their deliveries by queue id.  The message may be anywhere: unread in its
 * slot (its reader's lock kept us from starting it again), deferred, active
 * again, or gone. */
#include "core/ipc/message.h"
#include "core/sched/qmgr_priv.h"

/* Outcomes that say something new, and the recipients they are about in memory. */
struct news {
    struct ph_outcome *o;
    uint32_t *rcpt, n;
    struct ph_portion **portion;
};

/* The portion of recipient i, with a user for us: 0, or negative. */
static int bring(struct mail *mail, uint32_t i, struct ph_portion **p)
{
    struct ph_rcpt_cursor at = { 0, 0 };
    int rc;

    if ((*p = ph_qmsg_portion(mail->m, i))) {
        (*p)->users++;
        return 0;
    }
    while ((rc = ph_queue_portion(mail->q->queue, mail->m, &at, PORTION_MAX, p)) == 0) {
        if (i >= (*p)->first && i - (*p)->first < (*p)->n)
            return 0;
        ph_portion_drop(*p, 1);
    }
    return rc == PH_NONE ? ph_fail(PH_TEMP, "recipient %u is being settled", i) : rc;
}

static int take_news(struct mail *mail, struct news *w, const struct ph_outcome *o, const uint32_t *rcpt, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        int rc;

        if (rcpt[i] >= mail->m->rcpt_count)
            return ph_fail(PH_PERM, "outcome of a recipient that does not exist");
        if (ph_qmsg_state(mail->m, rcpt[i]) != PH_STATE_PENDING)
            continue;
        if ((rc = bring(mail, rcpt[i], &w->portion[w->n])) < 0)
            return rc;
        w->o[w->n] = o[i];
        w->rcpt[w->n++] = rcpt[i];
    }
    return 0;
}

static int settle_news(struct mail *mail, const struct ph_outcome *o, const uint32_t *rcpt, uint32_t n)
{
    PH_SCOPED(s, NULL);
    struct news w = { .o = ph_alloc_array(s, n + 1u, sizeof *w.o), .rcpt = ph_alloc_array(s, n + 1u, sizeof *w.rcpt),
                      .portion = ph_alloc_array(s, n + 1u, sizeof *w.portion) };
    int rc = take_news(mail, &w, o, rcpt, n);

    if (rc == 0 && w.n)
        ph_settle(mail, w.o, w.rcpt, w.n);
    for (uint32_t i = 0; i < w.n; i++)
        ph_portion_drop(w.portion[i], 1);
    return rc;
}

/* Somebody works on it: not while it is being finished, and not finished while
 * we do. */
static int apply_to_active(struct mail *mail, const struct ph_outcome *o, const uint32_t *rcpt, uint32_t n)
{
    if (mail->stage == STAGE_FINISHING)
        return ph_fail(PH_TEMP, "%s is being finished", mail->m->id);
    mail->pins++;
    int rc = settle_news(mail, o, rcpt, n);

    ph_mail_unpin(mail);
    return rc;
}

/* Nobody holds it: read it, apply, and put it back, or finish it. */
static int apply_to_idle(struct qmgr *q, struct ph_qmsg *m, int in_memory, const struct ph_outcome *o,
                         const uint32_t *rcpt, uint32_t n)
{
    struct mail visit = { .q = q, .m = m, .active_us = ph_wall_us() };
    int rc;

    ph_list_remove(&m->node);
    m->holder = q;
    m->recovered = 0;              /* the lock is the reporter's own */
    if ((rc = ph_queue_load_upto(q->queue, m, WHOLE_MAX)) == PH_NONE || rc == PH_PERM)
        return 0;                  /* m is gone */
    if (rc != 0) {
        m->recovered = 1;
        ph_feed_return(q, m, in_memory);
        return rc == PH_CANCEL ? rc : PH_TEMP;
    }
    rc = settle_news(&visit, o, rcpt, n);
    m->recovered = 1;
    ph_feed_return(q, m, in_memory);
    return rc;
}

/* An agent speaks of what it was handed, and nobody else of anything: several
 * services have its uid. */
static int check_shown(struct qmgr *q, struct ph_qmsg *m, int in_memory, int fd)
{
    int rc = ph_queue_is_reader(q->queue, m, fd);

    if (rc == 1)
        return 0;
    if (rc == 0)
        rc = ph_fail(PH_PERM, "%s: outcomes from an agent that was not handed the message", m->id);
    if (!in_memory)
        ph_queue_forget(q->queue, m);
    return rc;
}

static int apply_report(struct qmgr *q, ph_str id, int fd, const struct ph_outcome *o, const uint32_t *rcpt, uint32_t n)
{
    struct ph_qmsg *m;
    int in_memory = 0;
    int rc = ph_queue_find(q->queue, id, &m, &in_memory);

    if (rc == PH_NONE || rc == PH_PERM)
        return 0;                  /* it is gone: nothing is left to say */
    if (rc < 0 || (rc = check_shown(q, m, in_memory, fd)) < 0)
        return rc;
    if (in_memory && m->holder == q)
        return ph_fail(PH_TEMP, "%s is being read", m->id);
    if (in_memory && m->holder)
        return apply_to_active(m->holder, o, rcpt, n);
    return apply_to_idle(q, m, in_memory, o, rcpt, n);
}

static int answer(struct ph_stream *io, struct ph_scope *s, int rc)
{
    struct ph_frame *f = ph_frame_new(s);

    ph_frame_cstr(f, "status", rc >= 0 ? "ok" : rc == PH_PERM ? "perm" : "temp");
    if (rc < 0)
        ph_frame_str(f, "reason", ph_str_dup(s, ph_cstr(ph_error())));
    if ((rc = ph_frame_send(io, f)) >= 0)
        rc = ph_stream_flush(io);
    return rc;
}

static void close_shown(void *arg)
{
    ph_stream_close_taken((int)(intptr_t)arg);
}

int ph_survive_serve(struct qmgr *q, struct ph_scope *session, struct ph_stream *io)
{
    int rc = 0;

    while (rc >= 0) {
        PH_SCOPED(s, session);
        struct ph_outcome *o;
        struct ph_frame *f;
        uint32_t *rcpt, n;

        if ((rc = ph_frame_recv(io, s, PH_DELIVERY_MAX, &f)) < 0 || (rc = ph_outcomes_get(s, f, &o, &rcpt, &n)) < 0)
            break;
        int fd = ph_frame_take_fd(f, 0);
        if (fd >= 0)
            ph_defer(s, close_shown, (void *)(intptr_t)fd);
        int verdict = apply_report(q, ph_frame_value(f, "queue_id"), fd, o, rcpt, n);
        rc = answer(io, s, verdict);
        if (rc >= 0 && verdict == PH_PERM)
            rc = verdict;              /* an agent that lies is heard no more; who serves the socket logs it */
    }
    return rc == PH_EOF ? 0 : rc;
}
