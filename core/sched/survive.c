/* survive: agents that outlived a qmgr, or its connection, report what became
 * of their deliveries by queue id.  The message may be anywhere: unread in its
 * slot (its reader's lock kept us from starting it again), deferred, active
 * again, or gone. */
#include "core/ipc/message.h"
#include "core/sched/qmgr_priv.h"

/* Outcomes for recipients that exist. */
static int indices_fit(const struct ph_qmsg *m, const uint32_t *rcpt, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (rcpt[i] >= m->rcpt_count)
            return 0;
    return 1;
}

static int settle_checked(struct mail *mail, const struct ph_outcome *o, const uint32_t *rcpt, uint32_t n)
{
    if (!indices_fit(mail->m, rcpt, n))
        return ph_fail(PH_PERM, "outcome of a recipient that does not exist");
    ph_settle(mail, o, rcpt, n);
    return 0;
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
    if ((rc = ph_queue_load(q->queue, m)) != 0)
        return rc == PH_NONE || rc == PH_PERM ? 0 : PH_TEMP;
    rc = settle_checked(&visit, o, rcpt, n);
    m->recovered = 1;
    ph_feed_return(q, m, in_memory);
    return rc;
}

/* An agent speaks of what it was handed, and nobody else of anything: several
 * services have its uid. */
static int check_shown(struct qmgr *q, struct ph_qmsg *m, int in_memory, int fd)
{
    if (ph_queue_is_reader(q->queue, m, fd))
        return 0;
    int rc = ph_fail(PH_PERM, "%s: outcomes from an agent that was not handed the message", m->id);
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
        return settle_checked(m->holder, o, rcpt, n);
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

int ph_survive_serve(struct qmgr *q, struct ph_scope *session, struct ph_stream *io)
{
    int rc = 0;

    while (rc >= 0) {
        PH_SCOPED(s, session);
        struct ph_outcome *o;
        struct ph_frame *f;
        uint32_t *rcpt, n;

        if ((rc = ph_frame_recv(io, s, 0, &f)) < 0 || (rc = ph_outcomes_get(s, f, &o, &rcpt, &n)) < 0)
            break;
        int fd = ph_frame_take_fd(f, 0);
        if (fd >= 0)
            ph_defer_close(s, fd);
        if ((rc = apply_report(q, ph_frame_value(f, "queue_id"), fd, o, rcpt, n)) == PH_PERM)
            ph_log_warn("%s", ph_error());
        rc = answer(io, s, rc);
    }
    return rc == PH_EOF ? 0 : rc;
}
