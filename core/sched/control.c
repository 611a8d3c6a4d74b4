/* control: requests of administrators' commands (postqueue, postsuper, postcat,
 * showq).  What is being delivered is not torn from the agent: the wish is
 * noted and carried out when the deliveries under way have ended.  The command
 * that asked writes the log line, so that it stands there once. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "core/sched/control.h"

/* ---- who asks ---- */

static int is_trusted(struct ph_stream *io)
{
    struct ucred who;
    socklen_t n = sizeof who;
    int fd = ph_stream_fileno(io);

    if (fd < 0)
        return 1;                  /* this very process */
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) < 0)
        return 0;
    return who.uid == 0 || who.uid == geteuid();
}

/* ---- changes ---- */

/* As when nobody works on it: what is to be on hold may expire there, and is let go
 * from there, expired or not. */
static int wish_for(struct mail *mail, enum wish wish)
{
    struct qmgr *q = mail->q;

    if (wish == WISH_NONE && mail->wish != WISH_HOLD)
        return PH_NONE;
    if (wish == WISH_EXPIRE && ph_queue_mark_expired(q->queue, mail->m) < 0)
        ph_log_warn("%s: %s", mail->m->id, ph_error());
    if (wish == WISH_NONE && mail->m->expired)
        wish = WISH_EXPIRE;
    else if (wish == WISH_EXPIRE && mail->wish == WISH_HOLD)
        wish = WISH_HOLD;
    mail->wish = wish;
    if (mail->stage == STAGE_STUCK || (mail->stage == STAGE_ACTIVE && ph_sched_withdraw(q->sched, mail->sched)))
        ph_finish_mail(mail);
    ph_pump(q);
    return 0;
}

#define GONE 3                     /* there was no such message after all, and m is freed */

/* m is ours (see take).  Each answers 0 with m gone from our hands, PH_NONE when
 * there is nothing to do (m is still ours), GONE, or negative (still ours). */
static int delete_idle(struct qmgr *q, struct ph_qmsg *m)
{
    char id[PH_ID_MAX + 1];
    int rc;

    if (ph_bouncer_remove(q, ph_cstr(m->id), NULL) < 0)
        ph_log_warn("%s: %s", m->id, ph_error());  /* bounce sweeps it up later */
    memcpy(id, m->id, sizeof id);
    if ((rc = ph_queue_remove(q->queue, m)) == 0)
        ph_retry_remove(q->retry, ph_cstr(id));
    return rc;
}

static int hold_idle(struct qmgr *q, struct ph_qmsg *m)
{
    int rc = m->place == PH_PLACE_HOLD || m->place == PH_PLACE_CORRUPT ? PH_NONE : ph_queue_hold(q->queue, m);

    if (rc == 0) {
        ph_retry_remove(q->retry, ph_cstr(m->id));
        ph_queue_forget(q->queue, m);
    }
    return rc;
}

int ph_control_release(struct qmgr *q, struct ph_qmsg *m)
{
    int rc = m->place != PH_PLACE_HOLD ? PH_NONE : ph_queue_release(q->queue, m);

    if (rc == 0) {
        q->scan_s = ph_wall_s();       /* now, not at the next queue run */
        ph_retry_add(q->retry, ph_cstr(m->id), q->scan_s);
        ph_control_released(q, ph_cstr(m->id));
        ph_queue_forget(q->queue, m);
    }
    return rc;
}

static int requeue_idle(struct qmgr *q, struct ph_qmsg *m)
{
    char id[PH_ID_MAX + 1];
    int rc;

    memcpy(id, m->id, sizeof id);
    if ((rc = ph_queue_requeue(q->queue, m)) < 0)
        return rc;
    ph_retry_remove(q->retry, ph_cstr(id));
    if (ph_bouncer_remove(q, ph_cstr(id), NULL) < 0)
        ph_log_warn("%s: %s", id, ph_error());
    return 0;
}

static int expire_idle(struct qmgr *q, struct ph_qmsg *m, int in_memory)
{
    uint32_t recovered = m->recovered;
    int rc;

    m->recovered = 0;
    rc = ph_queue_load_upto(q->queue, m, 0);
    if (rc == PH_NONE || rc == PH_PERM)
        return GONE;
    if (rc < 0) {
        m->recovered = recovered;
        return rc;
    }
    if ((rc = ph_queue_mark_expired(q->queue, m)) >= 0)
        rc = ph_queue_sync(q->queue, m);
    m->recovered = recovered;
    if (rc < 0)
        return rc;
    ph_feed_return(q, m, in_memory);
    return 0;
}

static int change_idle(struct qmgr *q, enum wish wish, struct ph_qmsg *m, int in_memory)
{
    switch (wish) {
    case WISH_DELETE:
        return delete_idle(q, m);
    case WISH_HOLD:
        return hold_idle(q, m);
    case WISH_REQUEUE:
        return requeue_idle(q, m);
    case WISH_EXPIRE:
        return expire_idle(q, m, in_memory);
    default:
        return ph_control_release(q, m);
    }
}

int ph_control_change(struct control *c, ph_str id, int anywhere, enum wish wish)
{
    struct ph_qmsg *m;
    int in_memory, rc = ph_control_take(c->q, id, &m, &in_memory);

    if (rc != PH_FOUND)
        return rc;
    if (!anywhere && !ph_control_wants(c, m)) {
        if (m->holder == c->q)
            ph_feed_return(c->q, m, in_memory);
        return PH_NONE;
    }
    if (in_memory && m->holder != c->q)
        return wish_for(m->holder, wish);
    rc = change_idle(c->q, wish, m, in_memory);
    if (rc == GONE)
        return PH_NONE;
    if (rc != 0)
        ph_feed_return(c->q, m, in_memory);
    return rc;
}

static int change_each(struct control *c, enum wish wish, uint64_t *count)
{
    struct choice *h = ph_control_choose(c);
    int rc;

    while ((rc = ph_control_next(h, 0)) == PH_FOUND) {
        int one = ph_control_change(c, h->id, !h->walk, wish);

        if (one == PH_CANCEL)
            return one;
        if (one < 0)
            ph_log_warn("%s", ph_error());
        *count += one == 0 ? 1u : 0u;
    }
    return rc == PH_NONE ? 0 : rc;
}

/* Who asked is told now: moves go to the disk, once for all of them. */
static void settle(struct control *c, enum wish wish)
{
    if (wish != WISH_DELETE && wish != WISH_EXPIRE)
        ph_queue_settle(c->q->queue);
}

static int change_all(struct control *c, enum wish wish)
{
    uint64_t count = 0;
    int rc = wish == WISH_DELETE ? ph_control_remove_all(c, &count) : change_each(c, wish, &count);

    if (count > 0)
        settle(c, wish);
    ph_frame_u64(c->reply, "count", count);
    ph_feed_wake(c->q);
    return rc;
}

static int change(struct control *c, enum wish wish)
{
    ph_str id = ph_frame_value(c->f, "queue_id");
    int rc;

    if (!id.n && ph_str_eq(ph_frame_value(c->f, "all"), PH_STR("1")))
        return change_all(c, wish);
    if ((rc = ph_control_change(c, id, 0, wish)) == 0)
        settle(c, wish);
    if (rc >= 0)
        ph_frame_u64(c->reply, "count", rc == 0);
    ph_feed_wake(c->q);
    return rc;
}

static int do_delete(struct control *c)  { return change(c, WISH_DELETE); }
static int do_hold(struct control *c)    { return change(c, WISH_HOLD); }
static int do_release(struct control *c) { return change(c, WISH_NONE); }
static int do_requeue(struct control *c) { return change(c, WISH_REQUEUE); }
static int do_expire(struct control *c)  { return change(c, WISH_EXPIRE); }

/* ---- flush, open, exists ---- */

static int do_flush(struct control *c)
{
    struct qmgr *q = c->q;
    ph_str id = ph_frame_value(c->f, "queue_id");
    int64_t now = ph_wall_s();
    int rc = 0;

    if (id.n)
        rc = ph_retry_flush_one(q->retry, id, now) ? 0 : PH_NONE;
    else
        ph_retry_flush(q->retry, now);
    ph_sched_forget(q->sched);
    if (!id.n)
        ph_feed_index(q);             /* files somebody put there */
    q->scan_s = now;
    ph_feed_wake(q);
    ph_pump(q);
    return rc;
}

static int do_open(struct control *c)
{
    struct qmgr *q = c->q;
    struct ph_qmsg *m;
    int in_memory, rc = ph_control_take(q, ph_frame_value(c->f, "queue_id"), &m, &in_memory);

    if (rc != PH_FOUND)
        return rc;
    int mine = !in_memory || m->holder == q;
    int fd = ph_queue_open_reader(q->queue, m);

    if (fd >= 0) {
        ph_defer_close(c->s, fd);
        ph_frame_fd(c->reply, fd);
        ph_frame_cstr(c->reply, "queue", mine ? (m->place == PH_PLACE_SLOT ? "incoming" : ph_place_name(m->place)) : "active");
    }
    if (mine)
        ph_feed_return(q, m, in_memory);
    return fd == PH_PERM ? PH_NONE : fd < 0 ? fd : 0;
}

static int do_exists(struct control *c)
{
    struct ph_qmsg *m;
    int in_memory, rc = ph_queue_find(c->q->queue, ph_frame_value(c->f, "queue_id"), &m, &in_memory);

    if (rc < 0 && rc != PH_PERM)
        return rc;
    if (rc == PH_FOUND && !in_memory)
        ph_queue_forget(c->q->queue, m);
    ph_frame_u64(c->reply, "found", rc == PH_FOUND);
    return 0;
}

static const struct { const char *op; int (*run)(struct control *); int anybody; } ops[] = {
    { "flush", do_flush, 1 },     { "exists", do_exists, 1 },   { "list", ph_control_list, 0 },
    { "open", do_open, 0 },       { "delete", do_delete, 0 },   { "hold", do_hold, 0 },
    { "release", do_release, 0 }, { "requeue", do_requeue, 0 }, { "expire", do_expire, 0 },
};

static int run(struct control *c)
{
    ph_str op = ph_frame_value(c->f, "op");

    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (ph_str_eq(op, ph_cstr(ops[i].op))) {
            if (!c->trusted && !ops[i].anybody)
                return ph_fail(PH_PERM, "permission denied");
            return ops[i].run(c);
        }
    return ph_fail(PH_PERM, "unknown request");
}

static int respond(struct control *c)
{
    int rc = run(c);

    if (rc == PH_CANCEL || rc == PH_EOF)
        return rc;
    ph_frame_cstr(c->reply, "status", rc == PH_NONE ? "none" : rc >= 0 ? "ok" : rc == PH_PERM ? "perm" : "temp");
    if (rc < 0)
        ph_frame_str(c->reply, "reason", ph_str_dup(c->s, ph_cstr(ph_error())));
    if ((rc = ph_frame_send(c->io, c->reply)) >= 0 && !ph_stream_pending(c->io))
        rc = ph_stream_flush(c->io);
    return rc;
}

int ph_control_serve(struct qmgr *q, struct ph_scope *session, struct ph_stream *io)
{
    int trusted = is_trusted(io), rc = 0;

    while (rc >= 0) {
        PH_SCOPED(s, session);
        struct control c = { .q = q, .io = io, .s = s, .trusted = trusted, .reply = ph_frame_new(s) };

        if ((rc = ph_frame_recv(io, s, 65536, &c.f)) >= 0)
            rc = respond(&c);
    }
    return rc == PH_EOF ? 0 : rc;
}
