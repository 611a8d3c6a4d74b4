/* list: which messages a request of an administrator means, and the listing. */
#include <string.h>
#include "core/sched/control.h"

#define RCPTS_MAX 1000u            /* in one frame of a listing */
#define IDS_MAX   (64u << 20)      /* bytes of ids in one request for all */
#define BUSY_TRIES 100             /* times 10 ms */

/* ---- which messages ---- */

static const char *queue_of(struct qmgr *q, const struct ph_qmsg *m)
{
    if (ph_mail_of(q, m))
        return "active";
    return m->place == PH_PLACE_SLOT ? "incoming" : ph_place_name(m->place);
}

/* 1 when the request names this queue, or none. */
static int wants_queue(struct control *c, const char *name)
{
    int any = 0;
    size_t at = 0;

    for (ph_str key, value; ph_frame_next(c->f, &at, &key, &value); )
        if (ph_str_eq(key, PH_STR("queue"))) {
            if (ph_str_eq(value, ph_cstr(name)))
                return 1;
            any = 1;
        }
    return !any && strcmp(name, "corrupt") != 0;
}

static void collect_in_memory(struct control *c, struct ph_buf *ids)
{
    size_t at = 0;

    for (const struct ph_qmsg *m; (m = ph_queue_next(c->q->queue, &at)); )
        if (wants_queue(c, queue_of(c->q, m)))
            ph_buf_printf(ids, "%s\n", m->id);
}

static int collect_place(struct control *c, unsigned place, struct ph_buf *ids)
{
    PH_SCOPED(s, NULL);
    struct ph_walk *w;
    struct ph_qmsg *m;
    int rc;

    if (!wants_queue(c, ph_place_name(place)))
        return 0;
    w = ph_walk_new(s, c->q->queue, place, 0);
    while ((rc = ph_walk_next(w, &m)) == PH_FOUND) {
        ph_buf_printf(ids, "%s\n", m->id);
        ph_queue_forget(c->q->queue, m);
    }
    return rc < 0 ? rc : 0;
}

int ph_control_collect(struct control *c, struct ph_buf *ids)
{
    int rc = 0;

    ph_buf_init(ids, c->s, IDS_MAX);
    collect_in_memory(c, ids);
    for (unsigned place = PH_PLACE_INCOMING; rc >= 0 && place < PH_PLACES; place++)
        rc = collect_place(c, place, ids);
    return rc;
}

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

static void put_message(struct ph_frame *f, struct qmgr *q, const struct ph_qmsg *m, const char *queue)
{
    int64_t next = m->next_us, seconds;

    ph_frame_cstr(f, "queue", queue);
    ph_frame_cstr(f, "queue_id", m->id);
    ph_frame_u64(f, "size", ph_message_bytes(&m->message));
    ph_frame_i64(f, "arrival", m->message.arrival_us);
    if (m->place == PH_PLACE_DEFERRED) {
        if (ph_retry_find(q->retry, ph_cstr(m->id), &seconds))
            next = seconds * 1000000;
        ph_frame_i64(f, "next", next);
    }
    ph_frame_u64(f, "expired", m->expired != 0);
    ph_frame_str(f, "sender", m->message.sender);
}

static void put_recipient(struct ph_frame *f, const struct ph_message_rcpt *r, uint32_t index, uint32_t state)
{
    ph_frame_u64(f, "rcpt", index);
    ph_frame_str(f, "address", r->address);
    if (r->original.n)
        ph_frame_str(f, "original", r->original);
    ph_frame_cstr(f, "state", state == PH_STATE_FAILED ? "F" : "P");
}

static int is_open(const struct ph_qmsg *m, uint32_t i)
{
    return ph_qmsg_state(m, i) == PH_STATE_PENDING || ph_qmsg_state(m, i) == PH_STATE_FAILED;
}

/* One frame: recipients from *i on, which moves; p may be NULL (none). */
static int send_part(struct control *c, struct ph_qmsg *m, const char *queue, const struct ph_portion *p, uint32_t *i,
                     int part)
{
    PH_SCOPED(s, NULL);
    struct ph_frame *f = ph_frame_new(s);

    put_message(f, c->q, m, queue);
    if (part)
        ph_frame_cstr(f, "part", "1");
    for (uint32_t n = 0; p && *i < p->n && n < RCPTS_MAX; ++*i)
        if (is_open(m, p->first + *i)) {
            put_recipient(f, &p->rcpt[*i], p->first + *i, ph_qmsg_state(m, p->first + *i));
            n++;
        }
    /* Encoded whole before it waits; the message is not looked at after. */
    return ph_frame_send(c->io, f);
}

static int send_message(struct control *c, struct ph_qmsg *m, const char *queue)
{
    struct ph_rcpt_cursor at = { 0, 0 };
    struct ph_portion *p;
    int rc, part = 0;

    while ((rc = ph_queue_portion(c->q->queue, m, &at, RCPTS_MAX, &p)) == 0) {
        for (uint32_t i = 0; rc >= 0 && i < p->n; part = 1)
            rc = send_part(c, m, queue, p, &i, part);
        ph_portion_drop(p, 1);
        if (rc < 0)
            return rc;
    }
    if (rc == PH_CANCEL || part)
        return rc == PH_CANCEL ? rc : 0;           /* what cannot be read is not listed */
    return send_part(c, m, queue, NULL, &(uint32_t){ 0 }, 0);
}

/* Its end waits for nobody, and frees it: one frame, encoded before anything
 * yields, with the recipients that are in memory.  What is done is as good as gone. */
static int list_finishing(struct control *c, struct ph_qmsg *m)
{
    const struct ph_portion *p = ph_list_is_empty(&m->portions) ? NULL : ph_list_of(m->portions.next, struct ph_portion, node);

    return m->pending || m->failed ? send_part(c, m, "active", p, &(uint32_t){ 0 }, 0) : 0;
}

/* Pinned while frames are sent, so that it is not freed. */
static int list_active(struct control *c, struct mail *mail)
{
    if (mail->stage == STAGE_FINISHING)
        return list_finishing(c, mail->m);
    mail->pins++;
    int rc = send_message(c, mail->m, "active");

    ph_mail_unpin(mail);
    return rc;
}

static int list_one(struct control *c, ph_str id)
{
    struct qmgr *q = c->q;
    struct ph_qmsg *m;
    int in_memory, rc = ph_control_take(q, id, &m, &in_memory);

    if (rc != PH_FOUND)
        return rc == PH_NONE ? 0 : rc;
    if (in_memory && m->holder != q)
        return list_active(c, m->holder);
    uint32_t recovered = m->recovered;

    m->recovered = 0;
    rc = ph_queue_load_upto(q->queue, m, 0);
    if (rc == PH_NONE || rc == PH_PERM)
        return 0;                  /* freed: it went meanwhile, or to corrupt */
    if (rc < 0) {
        m->recovered = recovered;
        ph_feed_return(q, m, in_memory);
        return rc == PH_CANCEL ? rc : 0;
    }
    rc = send_message(c, m, m->place == PH_PLACE_SLOT ? "incoming" : ph_place_name(m->place));
    m->recovered = recovered;
    ph_feed_return(q, m, in_memory);
    return rc;
}

int ph_control_list(struct control *c)
{
    struct ph_buf ids;
    int rc = ph_control_collect(c, &ids);

    for (ph_str all = ph_buf_view(&ids); rc >= 0 && all.n; )
        rc = list_one(c, ph_str_cut(&all, '\n'));
    ph_frame_cstr(c->reply, "end", "1");
    return rc;
}
