/* list: which messages a request of an administrator means, and the listing. */
#include <string.h>
#include <posthorn/map.h>
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

/* Mail in memory now.  What belongs to another queue is remembered too: its file
 * may stand in a directory that is read later. */
static void collect_in_memory(struct control *c, struct ph_buf *ids, struct ph_map *seen, int active)
{
    size_t at = 0;

    for (struct ph_qmsg *m; (m = ph_queue_next(c->q->queue, &at)); )
        if ((ph_mail_of(c->q, m) != NULL) == active) {
            ph_map_set(seen, ph_cstr(m->id), c);
            if (wants_queue(c, queue_of(c->q, m)))
                ph_buf_printf(ids, "%s\n", m->id);
        }
}

/* Also what came into memory since: it was here when the request came. */
static int collect_place(struct control *c, unsigned place, struct ph_buf *ids, const struct ph_map *seen)
{
    PH_SCOPED(s, NULL);
    struct ph_walk *w;
    const char *id;
    int rc;

    if (!wants_queue(c, ph_place_name(place)))
        return 0;
    w = ph_walk_new(s, c->q->queue, place, 0);
    while ((rc = ph_walk_name(w, &id)) == PH_FOUND)
        if (!ph_map_get(seen, ph_cstr(id)))
            ph_buf_printf(ids, "%s\n", id);
    return rc < 0 ? rc : 0;
}

int ph_control_collect(struct control *c, struct ph_buf *ids)
{
    PH_SCOPED(s, NULL);
    struct ph_map *seen = ph_map_new(s);
    int rc = 0;

    ph_buf_init(ids, c->s, IDS_MAX);
    collect_in_memory(c, ids, seen, 1);            /* both before anything yields */
    collect_in_memory(c, ids, seen, 0);
    for (unsigned place = PH_PLACE_INCOMING; rc >= 0 && place < PH_PLACES; place++)
        rc = collect_place(c, place, ids, seen);
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

static void put_message(struct ph_frame *f, struct ph_scope *s, struct qmgr *q, const struct ph_qmsg *m, const char *queue)
{
    int64_t next = m->next_us, seconds;

    ph_frame_cstr(f, "queue", queue);
    ph_frame_str(f, "queue_id", ph_str_dup(s, ph_cstr(m->id)));
    ph_frame_u64(f, "size", ph_message_bytes(&m->message));
    ph_frame_i64(f, "arrival", m->message.arrival_us);
    if (m->place == PH_PLACE_DEFERRED) {
        if (ph_retry_find(q->retry, ph_cstr(m->id), &seconds))
            next = seconds * 1000000;
        ph_frame_i64(f, "next", next);
    }
    ph_frame_u64(f, "expired", m->expired != 0);
    ph_frame_str(f, "sender", ph_str_dup(s, m->message.sender));
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
        if (is_open(m, p->first + i)) {
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
        return rc == PH_CANCEL ? rc : 0;           /* what cannot be read is not listed */
    put_message(f, s, l->c->q, m, queue);
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
    put_message(f, s, l->c->q, m, "active");
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
    return rc == PH_CANCEL ? rc : 0;
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

static int list_one(struct control *c, ph_str id)
{
    struct listing l = { .c = c, .id = id };
    int rc = 0;

    while (rc >= 0 && !l.over) {
        PH_SCOPED(s, NULL);
        struct ph_frame *f;

        if ((rc = next_part(&l, s, &f)) >= 0 && !f)
            break;
        if (rc >= 0)
            rc = ph_frame_send(c->io, f);
    }
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
