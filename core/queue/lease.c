/* Leases: qmgr's side of a receiver's connection.
 *
 *   hello role=intake service pid       once, read by the caller
 *                                       -> settings size_limit flow_delay long_ids
 *   lease who count                     -> lease (slot inode)... + descriptors, when there are some
 *                                       -> none reason, once, while there are none
 *   commit slot record [envelope rcpts] the slot holds a message now
 *   hold slot... + descriptors          after we restarted: these are being committed; who shows
 *                                       the descriptor was lent the slot
 *   drop slot                           spoilt, or grown large for nothing: never again
 *
 * The peer parses mail and is believed in nothing: it can only name slots that
 * it was lent, and what it hands over must be a record of such a slot. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/intake.h>
#include <posthorn/log.h>
#include "core/queue/store.h"

#define RESERVE   8            /* fresh slots only for pickup and bounce */
#define WANT_MAX  1024
#define LENT_MAX  16384        /* slots that one connection may hold: more wait until some come back */
#define TRY_FREE  4            /* free slots looked at before a fresh one is taken */

static struct ph_slot *own_slot(struct ph_worker *w, ph_str name, uint32_t state)
{
    struct ph_slot *slot = ph_map_get(w->queue->slots, name);

    return slot && slot->state == state && slot->worker == w ? slot : NULL;
}

static void give_to(struct ph_worker *w, struct ph_slot *slot)
{
    if (slot->state == PH_SLOT_FRESH)
        w->queue->fresh_count--;
    ph_list_remove(&slot->node);
    slot->state = PH_SLOT_LEASED;
    slot->worker = w;
    w->lent++;
    ph_list_push(&w->leased, &slot->node);
}

/* It came back: room for another. */
static void came_back(struct ph_worker *w)
{
    if (w->lent-- == LENT_MAX)
        ph_cond_signal(w->wake);
}

/* A slot of its own whose last reader is gone. */
static struct ph_slot *take_free(struct ph_worker *w)
{
    for (int i = 0; i < TRY_FREE && !ph_list_is_empty(&w->free); i++) {
        struct ph_slot *slot = ph_list_of(w->free.prev, struct ph_slot, node);

        if (ph_slot_lease(w->queue, slot) == 0)
            return slot;
        ph_list_remove(&slot->node);
        ph_list_unshift(&w->free, &slot->node);
    }
    return NULL;
}

/* A new one, of which `spare` stay.  Nobody can hold it, so one that cannot be
 * locked is forgotten, and the next is tried; the next start removes its file
 * (to remove it now would wait, and w may go meanwhile). */
static struct ph_slot *take_fresh(struct ph_queue *q, size_t spare)
{
    while (q->fresh_count > spare) {
        struct ph_slot *slot = ph_list_of(q->fresh.next, struct ph_slot, node);
        int rc = ph_slot_lease(q, slot);

        if (rc == 0)
            return slot;
        if (rc < 0)
            return NULL;
        ph_log_warn("slot %s: %s: not used", slot->name, ph_error());
        ph_slot_free(q, slot);
    }
    return NULL;
}

/* 1 and the slot is leased to w; 0: none now. */
static int take_slot(struct ph_worker *w, uint32_t who, struct ph_slot **out)
{
    struct ph_queue *q = w->queue;
    struct ph_slot *slot;

    if (who == PH_INTAKE_NET && q->space_low)
        return 0;
    if ((slot = take_free(w)) == NULL &&
        (slot = take_fresh(q, who == PH_INTAKE_NET ? RESERVE : 0)) == NULL)
        return 0;
    give_to(w, slot);
    *out = slot;
    return 1;
}

struct loan {
    struct ph_scope *scope;
    struct ph_frame *frame;
    unsigned count;
};

/* A copy is sent, which holds the lock as we do.  While descriptors are plenty ours
 * is kept for the slot's next lease. */
static void lend(struct ph_queue *q, struct loan *n, struct ph_slot *slot)
{
    ph_frame_cstr(n->frame, "slot", slot->name);
    ph_frame_u64(n->frame, "inode", slot->inode);
    ph_frame_fd(n->frame, slot->lease_fd);
    n->count++;
    if (q->open_count <= q->open_max / 2)
        return;
    ph_defer_close(n->scope, slot->lease_fd);
    slot->lease_fd = -1;
    q->open_count--;
}

static int send_now(struct ph_worker *w, const struct ph_frame *f)
{
    int rc = ph_frame_send(w->io, f);

    return rc < 0 ? rc : ph_stream_flush(w->io);
}

/* Send what can be lent now, at most one frame: number of leases, or negative. */
static int lend_some(struct ph_worker *w)
{
    PH_SCOPED(s, NULL);
    struct loan n = { s, ph_frame_new(s), 0 };
    struct ph_slot *slot;
    int rc;

    ph_frame_cstr(n.frame, "op", "lease");
    for (uint32_t who = 0; who <= PH_INTAKE_NOTICE; who++)
        while (w->want[who] > 0 && n.count < PH_FRAME_FDS && w->lent < LENT_MAX && take_slot(w, who, &slot)) {
            w->want[who]--;
            lend(w->queue, &n, slot);
        }
    if (n.count == 0)
        return 0;
    w->refused = 0;
    rc = send_now(w, n.frame);
    return rc < 0 ? rc : (int)n.count;
}

static int refuse(struct ph_worker *w)
{
    PH_SCOPED(s, NULL);
    struct ph_frame *f = ph_frame_new(s);

    w->refused = 1;
    ph_frame_cstr(f, "op", "none");
    ph_frame_cstr(f, "reason", "insufficient system storage");
    return send_now(w, f);
}

static int tell_settings(struct ph_worker *w)
{
    PH_SCOPED(s, NULL);
    struct ph_frame *f = ph_frame_new(s);
    const struct ph_queue_params *p = &w->queue->params;

    w->told = 1;
    ph_frame_cstr(f, "op", "settings");
    ph_frame_u64(f, "size_limit", (uint64_t)p->message_size_limit);
    ph_frame_u64(f, "flow_delay", (uint64_t)p->in_flow_delay);
    ph_frame_u64(f, "long_ids", (uint64_t)p->enable_long_queue_ids);
    return send_now(w, f);
}

/* The connection's writer: the reader must go on taking commits while this one
 * waits for slots to be made. */
static void writer(void *arg)
{
    struct ph_worker *w = arg;
    int rc = 0;

    while (rc >= 0 && !w->gone) {
        if (!w->told && (rc = tell_settings(w)) < 0)
            break;
        if ((rc = lend_some(w)) != 0)
            continue;
        if (w->queue->fresh_count <= 2 * RESERVE)
            ph_cond_signal(w->queue->make);
        if (w->want[PH_INTAKE_NET] && w->queue->space_low && !w->refused)
            rc = refuse(w);
        if (rc == 0)
            rc = ph_cond_wait(w->wake, PH_FOREVER);
    }
    if (rc == PH_TEMP)
        ph_log_warn("intake %s: %s", w->name, ph_error());
    if (rc < 0 && rc != PH_CANCEL)
        ph_stream_close(w->io);    /* the reader sees it, and the receiver dials again */
}

static int do_lease(struct ph_worker *w, struct ph_frame *f)
{
    uint64_t who, count;

    if (ph_frame_get_u64(f, "who", &who) != PH_FOUND || who > PH_INTAKE_NOTICE ||
        ph_frame_get_u64(f, "count", &count) != PH_FOUND || count > WANT_MAX)
        return ph_fail(PH_PERM, "bad request for leases");
    w->want[who] += (uint32_t)count;
    if (w->want[who] > WANT_MAX)
        w->want[who] = WANT_MAX;
    ph_cond_signal(w->wake);
    return 0;
}

/* 1 when fd is the descriptor that holds the lease of this slot: writable, of its
 * file, and the lock that stands there is its own.  A slot's name is no proof:
 * names can be guessed, and what others are committing must not be theirs to drop. */
static int is_lease_of(const struct ph_slot *slot, int fd)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);

    return fd >= 0 && flags >= 0 && (flags & O_ACCMODE) == O_WRONLY && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
           st.st_ino == slot->inode && ph_lock_take(fd, F_WRLCK) == 0;
}

static int do_hold(struct ph_worker *w, struct ph_frame *f)
{
    ph_str name, value;
    unsigned i = 0;

    for (size_t at = 0; ph_frame_next(f, &at, &name, &value);) {
        if (!ph_str_eq(name, PH_STR("slot")))
            continue;
        struct ph_slot *slot = ph_map_get(w->queue->slots, value);
        int fd = ph_frame_take_fd(f, i++), shown = slot && is_lease_of(slot, fd);

        ph_stream_close_taken(fd);
        /* A slot that is not in limbo was settled without it. */
        if (slot && slot->state == PH_SLOT_LIMBO && !shown)
            return ph_fail(PH_PERM, "slot %s is held by somebody else", slot->name);
        if (slot && slot->state == PH_SLOT_LIMBO)
            give_to(w, slot);
    }
    return 0;
}

static int do_drop(struct ph_worker *w, struct ph_frame *f)
{
    struct ph_slot *slot = own_slot(w, ph_frame_value(f, "slot"), PH_SLOT_LEASED);

    if (!slot)
        return 0;
    came_back(w);
    return ph_slot_unlink(w->queue, slot) == PH_CANCEL ? PH_CANCEL : 0;
}

/* Envelope and recipients as they came: 0, PH_PERM. */
static int load_handed(struct ph_qmsg *m, const struct ph_record *r, const struct ph_frame *f)
{
    struct ph_scope *s = ph_scope_new(NULL);
    struct ph_loaded l = { .record = *r };
    struct ph_message msg;
    ph_str envelope = ph_str_dup(s, ph_frame_value(f, "envelope"));
    ph_str rcpts = ph_str_dup(s, ph_frame_value(f, "rcpts"));
    size_t n = PH_MARKS_HEAD + (size_t)r->rcpt_count;
    int rc = PH_PERM;

    if (envelope.n != r->envelope_bytes || rcpts.n != r->rcpt_bytes)
        ph_fail(rc, "envelope and record differ");
    else {
        /* A new message: no mark stands anywhere. */
        ph_str marks = { ph_alloc(s, n), n };

        l.marks = marks;
        rc = ph_record_parse(s, r, envelope, rcpts, marks, &msg, &l.skipped);
    }
    if (rc < 0)
        ph_scope_free(s);
    else
        ph_qmsg_loaded(m, s, &msg, &l);
    return rc;
}

/* What stands in the hand-off must be what recovery would take. */
static int check_record(struct ph_worker *w, const struct ph_slot *slot, ph_str bytes, struct ph_record *r)
{
    uint64_t inode;
    int rc = ph_record_decode(bytes.p, bytes.n, UINT64_MAX, r);

    if (rc != 0)
        return rc < 0 ? rc : ph_fail(PH_PERM, "no record");
    if (r->inode != slot->inode || !ph_id_parse(ph_cstr(r->id), &inode) || inode != slot->inode)
        return ph_fail(PH_PERM, "its queue id is not that of this file");
    if (ph_queue_in_memory(w->queue, ph_cstr(r->id)))
        return ph_fail(PH_PERM, "another message has its queue id");
    return 0;
}

static int take_hold(struct ph_queue *q, struct ph_qmsg *m)
{
    m->moving = 1;
    int rc = ph_queue_hold(q, m);

    if (rc == 0) {
        ph_log("%s: placed on hold", m->id);
        ph_queue_forget(q, m);
        return 0;
    }
    ph_log_warn("%s: not put on hold: %s", m->id, ph_error());
    /* It stays in its slot, where the next start finds it and its wish. */
    ph_queue_forget(q, m);
    return rc == PH_CANCEL ? rc : 0;
}

static int do_commit(struct ph_worker *w, struct ph_frame *f)
{
    struct ph_queue *q = w->queue;
    struct ph_slot *slot = own_slot(w, ph_frame_value(f, "slot"), PH_SLOT_LEASED);
    struct ph_record r;
    struct ph_qmsg *m;
    ph_str unused;
    int rc;

    if (!slot)                 /* adopted already, while it was reconnecting */
        return 0;
    if ((rc = check_record(w, slot, ph_frame_value(f, "record"), &r)) < 0)
        return ph_wrap(rc, "slot %s", slot->name);     /* the file is judged when the peer is gone */
    /* The receiver has closed its descriptor; ours, the same, would keep readers out. */
    if (slot->lease_fd >= 0 && ph_lock_take(slot->lease_fd, F_UNLCK) < 0)
        ph_slot_lease_close(q, slot);
    m = ph_qmsg_new(q, ph_cstr(r.id), PH_PLACE_SLOT);
    m->slot = slot;
    came_back(w);
    ph_list_remove(&slot->node);
    slot->state = PH_SLOT_MESSAGE;
    ph_list_push(&w->messages, &slot->node);
    if (r.flags & PH_RECORD_HOLD)
        return take_hold(q, m);
    if (ph_frame_get(f, "envelope", &unused) == PH_FOUND && q->ev->has_room(q->arg, r.rcpt_count) &&
        (rc = load_handed(m, &r, f)) < 0) {
        ph_queue_forget(q, m);
        give_to(w, slot);
        return ph_wrap(rc, "slot %s", slot->name);
    }
    q->ev->arrived(q->arg, m);
    return 0;
}

static const struct { const char *op; int (*run)(struct ph_worker *, struct ph_frame *); } ops[] = {
    { "commit", do_commit }, { "lease", do_lease }, { "hold", do_hold }, { "drop", do_drop },
};

static int serve_one(struct ph_worker *w, struct ph_scope *session)
{
    PH_SCOPED(s, session);
    struct ph_frame *f;
    ph_str op;
    int rc = ph_frame_recv(w->io, s, 0, &f);

    if (rc < 0)
        return rc;
    op = ph_frame_value(f, "op");
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (ph_str_eq(op, ph_cstr(ops[i].op)))
            return ops[i].run(w, f);
    return ph_fail(PH_PERM, "unknown request \"%.*s\"", PH_FMT(op));
}

/* The worker is gone: what it was writing is settled when its locks are, what
 * was free is not lent to anybody else. */
static void part(struct ph_queue *q, struct ph_worker *w)
{
    struct ph_list *n;

    while ((n = ph_list_shift(&w->leased)) != NULL) {
        struct ph_slot *slot = ph_list_of(n, struct ph_slot, node);

        ph_slot_lease_close(q, slot);  /* the lock is the receiver's alone */
        slot->state = PH_SLOT_LIMBO;
        slot->worker = NULL;
        ph_list_push(&q->limbo, n);
    }
    while ((n = ph_list_shift(&w->messages)) != NULL) {
        ph_list_of(n, struct ph_slot, node)->worker = NULL;
        ph_slot_lease_close(q, ph_list_of(n, struct ph_slot, node));
    }
    ph_cond_signal(q->limbo_wake);
    while (!ph_list_is_empty(&w->free))
        ph_slot_unlink(q, ph_list_of(w->free.next, struct ph_slot, node));
}

int ph_queue_serve_intake(struct ph_queue *q, struct ph_scope *session, struct ph_stream *io,
                          const struct ph_frame *hello)
{
    PH_SCOPED(s, session);
    struct ph_worker *w = ph_new(s, struct ph_worker);
    struct ph_group *g = ph_group_new(s);
    ph_str service = ph_frame_value(hello, "service"), pid = ph_frame_value(hello, "pid");
    int rc;

    w->queue = q;
    w->io = io;
    w->wake = ph_cond_new(s);
    ph_list_init(&w->leased);
    ph_list_init(&w->free);
    ph_list_init(&w->messages);
    snprintf(w->name, sizeof w->name, "%.20s[%.10s]", ph_cstr_dup(s, service), ph_cstr_dup(s, pid));
    ph_list_push(&q->workers, &w->node);
    rc = ph_spawn(g, "leases", writer, w);
    while (rc == 0)
        rc = serve_one(w, s);
    if (rc == PH_PERM || rc == PH_TEMP)
        ph_wrap(rc, "intake %s", w->name);     /* logged by who serves the socket */
    w->gone = rc;
    ph_list_remove(&w->node);
    ph_group_cancel(g);
    ph_group_wait(g, PH_FOREVER);
    part(q, w);
    return rc;
}
