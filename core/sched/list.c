/* list: the listing.  What lies on disk is shown as a glance finds it; what is in
 * memory, or large, is taken into our hands for each frame. */
#include <string.h>
#include "core/sched/control.h"

#define RCPTS_MAX 1000u            /* in one frame of a listing */
#define BUSY_TRIES 100             /* times 10 ms */

int ph_control_take(struct qmgr *q, ph_str id, struct ph_qmsg **m, int *in_memory)
{
    for (int i = 0; i < BUSY_TRIES; i++) {
        int rc = ph_queue_find(q->queue, id, m, in_memory);

        if (rc == PH_NONE || rc == PH_PERM || rc == PH_CANCEL)
            return rc == PH_PERM ? PH_NONE : rc;
        if (rc == PH_FOUND && (!*in_memory || (*m)->holder != q)) {
            if (!*in_memory || !(*m)->holder) {
                ph_list_remove(&(*m)->node);
                (*m)->holder = q;
            }
            return PH_FOUND;
        }
        if ((rc = ph_sleep_until(ph_in_ms(10))) < 0)
            return rc;
    }
    return ph_fail(PH_TEMP, "%.*s is busy", PH_FMT(id));
}

/* ---- list ---- */

/* How far a message has been listed.  A frame is made while the message is in our
 * hands and sent when it is not: a client that stops reading holds up nobody's
 * mail.  Strings are copied, since the message may be over by then. */
struct listing {
    struct control *c;
    ph_str id;
    struct ph_rcpt_cursor at;
    uint32_t next;                 /* the first recipient that has not been listed */
    int part, over;
};

static void put_message(struct ph_frame *f, struct ph_scope *s, const struct ph_message *m, uint32_t expired, const char *queue)
{
    ph_frame_cstr(f, "queue", queue);
    ph_frame_str(f, "queue_id", ph_str_dup(s, m->queue_id));
    ph_frame_u64(f, "size", ph_message_bytes(m));
    ph_frame_i64(f, "arrival", m->arrival_us);
    ph_frame_u64(f, "expired", expired != 0);
    ph_frame_str(f, "sender", ph_str_dup(s, m->sender));
}

/* Its bytes. */
static size_t put_recipient(struct ph_frame *f, struct ph_scope *s, const struct ph_message_rcpt *r, uint32_t index, uint32_t state)
{
    ph_frame_u64(f, "rcpt", index);
    ph_frame_str(f, "address", ph_str_dup(s, r->address));
    if (r->original.n)
        ph_frame_str(f, "original", ph_str_dup(s, r->original));
    ph_frame_cstr(f, "state", state == PH_STATE_FAILED ? "F" : "P");
    return r->address.n + r->original.n + 64;
}

static int is_open(const struct ph_qmsg *m, uint32_t i)
{
    return ph_qmsg_state(m, i) == PH_STATE_PENDING || ph_qmsg_state(m, i) == PH_STATE_FAILED;
}

/* Recipients of one portion into f, as many as it holds: 1 when that was all of them. */
static int put_portion(struct listing *l, struct ph_frame *f, struct ph_scope *s, const struct ph_qmsg *m, const struct ph_portion *p)
{
    size_t bytes = 0;
    uint32_t i = l->next > p->first ? l->next - p->first : 0;

    for (uint32_t n = 0; i < p->n && n < RCPTS_MAX && bytes < PH_FRAME_MAX / 2; i++)
        if (is_open(m, p->first + i) && !p->rcpt[i].expanded) {
            bytes += put_recipient(f, s, &p->rcpt[i], p->first + i, ph_qmsg_state(m, p->first + i));
            n++;
        }
    l->next = p->first + i;
    return i >= p->n;
}

/* The next frame, of a message that is in our hands: 0 and *out (NULL: there is
 * none), PH_CANCEL. */
static int make_part(struct listing *l, struct ph_scope *s, struct ph_qmsg *m, const char *queue, struct ph_frame **out)
{
    struct ph_rcpt_cursor at = l->at;
    struct ph_frame *f = ph_frame_new(s);
    struct ph_portion *p;
    int rc = ph_queue_portion(l->c->q->queue, m, &at, RCPTS_MAX, &p);

    l->over = rc != 0;
    if (rc == PH_CANCEL || (rc != 0 && l->part))
        return rc == PH_NONE || rc == PH_PERM ? 0 : rc;    /* what is damaged is not listed */
    put_message(f, s, &m->message, m->expired, queue);
    if (l->part++)
        ph_frame_cstr(f, "part", "1");
    if (rc == 0) {
        if (put_portion(l, f, s, m, p))
            l->at = at;
        ph_portion_drop(p, 1);
        l->over = l->next >= m->rcpt_count;
    }
    *out = f;
    return 0;
}

/* Its end waits for nobody, and frees it: one frame, made before anything
 * yields, with the recipients that are in memory.  What is done is as good as gone. */
static int part_of_finishing(struct listing *l, struct ph_scope *s, const struct ph_qmsg *m, struct ph_frame **out)
{
    struct ph_frame *f = ph_frame_new(s);

    l->over = 1;
    if (!m->pending && !m->failed)
        return 0;
    put_message(f, s, &m->message, m->expired, "active");
    if (!ph_list_is_empty(&m->portions))
        put_portion(l, f, s, m, ph_list_of(m->portions.next, struct ph_portion, node));
    *out = f;
    return 0;
}

/* Pinned meanwhile, so that it is not freed. */
static int part_of_active(struct listing *l, struct ph_scope *s, struct mail *mail, struct ph_frame **out)
{
    if (mail->stage == STAGE_FINISHING)
        return part_of_finishing(l, s, mail->m, out);
    mail->pins++;
    int rc = make_part(l, s, mail->m, "active", out);

    ph_mail_unpin(mail);
    return rc;
}

static int part_of_idle(struct listing *l, struct ph_scope *s, struct ph_qmsg *m, int in_memory, struct ph_frame **out)
{
    struct qmgr *q = l->c->q;
    uint32_t recovered = m->recovered;

    m->recovered = 0;
    int rc = ph_queue_load_upto(q->queue, m, 0);
    if (rc == PH_NONE || rc == PH_PERM)
        return 0;                  /* freed: it went meanwhile, or to corrupt */
    if (rc >= 0)
        rc = make_part(l, s, m, m->place == PH_PLACE_SLOT ? "incoming" : ph_place_name(m->place), out);
    m->recovered = recovered;
    ph_feed_return(q, m, in_memory);
    return rc;
}

static int next_part(struct listing *l, struct ph_scope *s, struct ph_frame **out)
{
    struct qmgr *q = l->c->q;
    struct ph_qmsg *m;
    int in_memory, rc = ph_control_take(q, l->id, &m, &in_memory);

    *out = NULL;
    if (rc != PH_FOUND)
        return rc == PH_NONE ? 0 : rc;
    return in_memory && m->holder != q ? part_of_active(l, s, m->holder, out) : part_of_idle(l, s, m, in_memory, out);
}

/* 0; PH_TEMP: it is there and cannot be read; else the client's end. */
static int list_one(struct control *c, ph_str id)
{
    struct listing l = { .c = c, .id = id };
    int rc = 0;

    while (rc >= 0 && !l.over) {
        PH_SCOPED(s, NULL);
        struct ph_frame *f;

        if ((rc = next_part(&l, s, &f)) < 0 || !f)
            break;
        if ((rc = ph_frame_send(c->io, f)) < 0)
            c->gone = 1;
    }
    return rc;
}

/* Of a file that nobody holds: it was read whole, with its note.  The
 * frame is sent before the next one is read, so nothing is copied. */
static int list_glance(struct choice *h, struct ph_scope *s)
{
    const struct ph_message *m = &h->glance->message;
    struct ph_frame *f = ph_frame_new(s);
    const ph_str *why;
    uint32_t open = 0;

    put_message(f, s, m, h->glance->expired, ph_place_name(h->place));
    for (uint32_t i = 0; i < m->rcpt_count; i++)
        if (!m->rcpt[i].expanded && (m->rcpt[i].state == PH_STATE_PENDING || m->rcpt[i].state == PH_STATE_FAILED)) {
            put_recipient(f, s, &m->rcpt[i], i, m->rcpt[i].state);
            if (m->rcpt[i].state == PH_STATE_PENDING && h->glance->note && (why = ph_note_find(h->glance->note, i)))
                ph_frame_str(f, "why", *why);
            open++;
        }
    if (!open)
        return 0;                  /* finished: its file goes when it is met */
    int rc = ph_frame_send(h->c->io, f);
    h->c->gone = rc < 0;
    return rc;
}

int ph_control_list(struct control *c)
{
    struct choice *h = ph_control_choose(c);
    struct ph_scope *s = ph_scope_new(c->s);
    ph_str why = { NULL, 0 };
    int rc, missing = 0;

    while ((rc = ph_control_next(h, 1)) == PH_FOUND) {
        ph_scope_reset(s);
        if ((rc = h->glance && h->glance->rc == 0 ? list_glance(h, s) : list_one(c, h->id)) >= 0)
            continue;
        if (c->gone || rc == PH_CANCEL)
            return rc;
        if (!missing++)            /* the rest is worth showing */
            why = ph_str_dup(c->s, ph_cstr(ph_error()));
    }
    ph_frame_cstr(c->reply, "end", "1");
    if (missing && rc >= 0)
        return ph_fail(PH_TEMP, "%d not listed: %.*s", missing, PH_FMT(why));
    return rc == PH_NONE ? 0 : rc;
}
