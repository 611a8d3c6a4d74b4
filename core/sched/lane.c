/* lane: one transport: connections to its agents, requests out, answers in.
 *
 * What the scheduler selects waits in the lane's queue until a connection has
 * room in its window.  Each connection has a task that reads answers and one
 * that writes requests; what is there is written in one go. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/net.h>
#include "core/ipc/message.h"
#include "core/sched/qmgr_priv.h"

#define CONNECTIONS_MAX 16u
#define WINDOW_MAX      4096u

/* One delivery request. */
struct shipment {
    struct ph_list node;           /* in lane.queue */
    struct job job;
    struct mail *mail;
    struct ph_sched_entry *e;
    struct ph_scope *scope;        /* of the answer */
    struct ph_outcome *o;          /* NULL: there was no answer, `text` says why */
    uint32_t *rcpt, n;
    int reader_kept;               /* 1: its descriptor is to be given back */
    const char *text;
};

struct lane {
    struct qmgr *q;
    ph_str name;
    struct ph_list queue;
    size_t queued;
    struct ph_list conns;
    unsigned conn_count;
    int dialing;
};

struct lane_conn {
    struct ph_list node;
    struct lane *lane;
    struct ph_stream *io;
    struct ph_cond *wake, *sent;
    struct shipment **slot;        /* by number */
    uint32_t sending;              /* number + 1 of the request that is being sent; 0: none */
    uint32_t *free_slot;
    uint32_t window, free_count, answers;
    int draining;                  /* 1: the agent wants no more */
};

static struct lane *lane_get(struct qmgr *q, ph_str name)
{
    struct lane *l = ph_map_get(q->lanes, name);

    if (l)
        return l;
    l = ph_new(q->scope, struct lane);
    l->q = q;
    l->name = ph_str_dup(q->scope, name);
    ph_list_init(&l->queue);
    ph_list_init(&l->conns);
    ph_map_set(q->lanes, name, l);
    return l;
}

static void lane_refill(struct lane *l);

/* ---- a shipment's end ---- */

static void shipment_over(struct shipment *sh, enum ph_sched_outcome how, ph_str dsn, ph_str reason)
{
    struct mail *mail = sh->mail;

    ph_batch_shipped(mail, sh->e->rcpt, sh->e->n);
    int last = ph_sched_done(mail->q->sched, sh->e, how, dsn, reason, ph_now_ms());

    ph_scope_free(sh->scope);
    free(sh);
    if (last)
        ph_finish_mail(mail);
}

/* The agent's answers; one that blames the site counts for the destination. */
static void apply(struct shipment *sh)
{
    const struct ph_outcome *dead = NULL;

    ph_settle(sh->mail, sh->o, sh->rcpt, sh->n);
    for (uint32_t i = 0; i < sh->n && !dead; i++)
        dead = sh->o[i].dead_site ? &sh->o[i] : NULL;
    if (dead)
        shipment_over(sh, PH_SCHED_SITE_FAILED, dead->dsn, dead->text);
    else
        shipment_over(sh, PH_SCHED_ALIVE, PH_STR(""), PH_STR(""));
}

static void apply_job(struct job *j)
{
    struct shipment *sh = ph_list_of(j, struct shipment, job);
    struct qmgr *q = sh->mail->q;

    apply(sh);
    ph_pump(q);
}

static void arrived_answer(struct shipment *sh)
{
    if (ph_settle_is_quick(sh->mail, sh->o, sh->rcpt, sh->n))
        apply(sh);
    else
        ph_crew_add(&sh->mail->q->settlers, &sh->job, apply_job);
}

/* Nobody tried: said by us. */
static void doomed_job(struct job *j)
{
    struct shipment *sh = ph_list_of(j, struct shipment, job);
    struct qmgr *q = sh->mail->q;
    struct ph_sched_entry *e = sh->e;
    PH_SCOPED(s, NULL);
    ph_str text = e->reason, dsn = e->dsn;

    if (sh->text) {
        text = ph_cstr(sh->text);
        dsn = PH_STR("4.3.0");
    } else if (e->kind == PH_SCHED_SUSPENDED) {
        text = ph_str_printf(s, "delivery temporarily suspended: %.*s", PH_FMT(e->reason));
    }
    if (sh->mail->wish == WISH_NONE)
        ph_settle_ourselves(sh->mail, e->rcpt, e->n, PH_RCPT_DEFERRED, dsn, text);
    shipment_over(sh, PH_SCHED_NEUTRAL, PH_STR(""), PH_STR(""));
    ph_pump(q);
}

static void doom(struct shipment *sh, const char *text)
{
    sh->text = text;
    ph_crew_add(&sh->mail->q->settlers, &sh->job, doomed_job);
}

/* ---- the transport cannot be reached ---- */

static void lane_down(struct lane *l)
{
    struct qmgr *q = l->q;

    ph_sched_throttle(q->sched, l->name, PH_STR("4.3.0"), PH_STR("mail transport unavailable"),
                      ph_in_ms(q->p.transport_retry_time * 1000));
    for (struct ph_list *n; (n = ph_list_shift(&l->queue)); ) {
        l->queued--;
        doom(ph_list_of(n, struct shipment, node), "mail transport unavailable");
    }
    ph_pump(q);
}

/* ---- requests ---- */

static void put_recipients(struct ph_frame *f, const struct shipment *sh)
{
    for (uint32_t i = 0; i < sh->e->n; i++) {
        const struct ph_message_rcpt *r = ph_qmsg_rcpt(sh->mail->m, sh->e->rcpt[i]);

        ph_recipient_put(f, &(struct ph_recipient){ .address = r->address, .original = r->original,
            .dsn_orcpt = r->dsn_orcpt, .dsn_notify = r->dsn_notify, .index = sh->e->rcpt[i] });
    }
}

static int send_request(struct lane_conn *c, struct shipment *sh, uint32_t number, int fd)
{
    PH_SCOPED(s, NULL);
    struct ph_frame *f = ph_frame_new(s);
    struct ph_message m = sh->mail->m->message;

    m.fd = fd;
    m.queue_id = ph_cstr(sh->mail->m->id);
    ph_frame_cstr(f, "op", "deliver");
    ph_frame_u64(f, "number", number);
    ph_frame_str(f, "nexthop", sh->e->nexthop);
    ph_frame_i64(f, "active", sh->mail->active_us);
    ph_frame_u64(f, "reuse", sh->e->reuse);
    ph_message_put(f, &m);
    put_recipients(f, sh);
    return ph_frame_send(c->io, f);
}

/* Send one shipment: 0, or negative when the connection is no good. */
static int ship(struct lane_conn *c, struct shipment *sh)
{
    uint32_t number = c->free_slot[--c->free_count];
    int fd = ph_queue_lend_reader(c->lane->q->queue, sh->mail->m, c->lane, &sh->reader_kept), rc;

    if (fd < 0) {
        ph_log_warn("%s: %s", sh->mail->m->id, ph_error());
        c->free_slot[c->free_count++] = number;
        doom(sh, "queue file cannot be opened");
        return 0;
    }
    c->sending = number + 1;
    rc = send_request(c, sh, number, fd);
    if (!sh->reader_kept)
        close(fd);
    c->sending = 0;
    c->slot[number] = sh;          /* not before: an answer that comes too early must not end it */
    ph_cond_broadcast(c->sent);
    return rc;
}

static void reader_back(struct shipment *sh, int is_over)
{
    if (sh->reader_kept)
        ph_queue_reader_back(sh->mail->q->queue, sh->mail->m, is_over);
    sh->reader_kept = 0;
}

static void write_task(void *arg)
{
    struct lane_conn *c = arg;
    struct lane *l = c->lane;
    int rc = 0;

    while (rc >= 0) {
        int has_room = c->free_count && !c->draining;
        struct ph_list *n = has_room ? ph_list_shift(&l->queue) : NULL;

        if (n) {
            l->queued--;
            rc = ship(c, ph_list_of(n, struct shipment, node));
        } else if ((rc = ph_stream_flush(c->io)) >= 0 && (!c->free_count || c->draining || ph_list_is_empty(&l->queue))) {
            rc = ph_cond_wait(c->wake, PH_FOREVER);
        }
    }
    if (rc == PH_TEMP)
        ph_log_warn("private/%.*s socket: %s", PH_FMT(l->name), ph_error());
    if (rc != PH_CANCEL)
        ph_stream_close(c->io);    /* the reader sees it */
}

/* ---- answers ---- */

static int answer_fits(const struct shipment *sh, ph_str id)
{
    if (sh->n != sh->e->n || !ph_str_eq(id, ph_cstr(sh->mail->m->id)))
        return 0;
    for (uint32_t i = 0; i < sh->n; i++)
        if (sh->rcpt[i] != sh->e->rcpt[i])
            return 0;
    return 1;
}

/* An agent may answer before we run again behind the last byte of its request. */
static int wait_sent(struct lane_conn *c, uint64_t number)
{
    int rc = 0;

    while (rc >= 0 && c->sending && number == c->sending - 1)
        rc = ph_cond_wait(c->sent, PH_FOREVER);
    return rc < 0 ? rc : 0;
}

static int read_answer(struct lane_conn *c)
{
    struct ph_scope *s = ph_scope_new(NULL);
    struct ph_outcome *o;
    struct ph_frame *f;
    uint64_t number;
    uint32_t *rcpt, n;
    int rc = ph_frame_recv(c->io, s, PH_DELIVERY_MAX, &f);

    if (rc >= 0 && ph_str_eq(ph_frame_value(f, "op"), PH_STR("bye"))) {
        c->draining = 1;
        ph_list_remove(&c->node);                  /* chosen no more */
        ph_scope_free(s);
        lane_refill(c->lane);
        return 0;
    }
    if (rc >= 0 && (rc = ph_outcomes_get(s, f, &o, &rcpt, &n)) >= 0 && ph_frame_get_u64(f, "number", &number) != PH_FOUND)
        rc = ph_fail(PH_PERM, "answer to no request");
    if (rc >= 0 && (rc = wait_sent(c, number)) >= 0 && (number >= c->window || !c->slot[number]))
        rc = ph_fail(PH_PERM, "answer to no request");
    if (rc >= 0) {
        struct shipment *sh = c->slot[number];

        sh->n = n;
        sh->rcpt = rcpt;
        if (answer_fits(sh, ph_frame_value(f, "queue_id"))) {
            c->slot[number] = NULL;
            c->free_slot[c->free_count++] = (uint32_t)number;
            c->answers++;
            sh->scope = s;
            sh->o = o;
            reader_back(sh, 1);
            arrived_answer(sh);
            return 0;
        }
        rc = ph_fail(PH_PERM, "answer does not fit the request");
    }
    ph_scope_free(s);
    return rc;
}

static void read_answers(struct lane_conn *c)
{
    int rc = 0;

    while (rc >= 0 && !(c->draining && c->free_count == c->window)) {
        /* Answers that are there already are applied before the next requests
         * are sent, so that both go in batches. */
        if ((rc = read_answer(c)) >= 0 && !ph_stream_pending(c->io)) {
            ph_pump(c->lane->q);
            ph_cond_signal(c->wake);
        }
    }
    if (rc == PH_PERM)
        ph_log_warn("private/%.*s socket: malformed response: %s", PH_FMT(c->lane->name), ph_error());
    else if (rc == PH_TEMP)
        ph_log_warn("private/%.*s socket: %s", PH_FMT(c->lane->name), ph_error());
}

/* ---- connections ---- */

static int greet(struct lane_conn *c, struct ph_scope *s)
{
    struct ph_frame *f = ph_frame_new(s), *reply;
    uint64_t window;
    int rc;

    ph_frame_cstr(f, "op", "hello");
    ph_frame_cstr(f, "role", "qmgr");
    ph_frame_u64(f, "pid", (uint64_t)getpid());
    ph_stream_deadline(c->io, ph_in_ms(c->lane->q->p.ipc_timeout * 1000));
    if ((rc = ph_frame_send(c->io, f)) < 0 || (rc = ph_stream_flush(c->io)) < 0 ||
        (rc = ph_frame_recv(c->io, s, 4096, &reply)) < 0)
        return rc;
    ph_stream_deadline(c->io, PH_FOREVER);
    if (ph_frame_get_u64(reply, "window", &window) != PH_FOUND || !window)
        return ph_fail(PH_PERM, "bad greeting");
    c->window = c->free_count = window > WINDOW_MAX ? WINDOW_MAX : (uint32_t)window;
    c->slot = ph_alloc_array(s, c->window, sizeof(struct shipment *));
    c->free_slot = ph_alloc_array(s, c->window, sizeof *c->free_slot);
    for (uint32_t i = 0; i < c->window; i++)
        c->free_slot[i] = c->window - 1 - i;
    return 0;
}

static int dial(struct lane_conn *c, struct ph_scope *s)
{
    struct qmgr *q = c->lane->q;
    ph_str path = ph_str_printf(s, "%.*s/private/%.*s", PH_FMT(q->p.queue_directory), PH_FMT(c->lane->name));
    int rc = ph_str_find(c->lane->name, '/') >= 0 ? ph_fail(PH_PERM, "bad transport name")
                                                   : ph_dial_unix(s, path.p, ph_in_ms(q->p.ipc_timeout * 1000), &c->io);

    return rc < 0 ? rc : greet(c, s);
}

/* What had no answer when the connection broke: deferred.  The agent may yet
 * tell (survive.c). */
static void give_up(struct lane_conn *c)
{
    uint32_t lost = 0;

    for (uint32_t i = 0; i < c->window; i++)
        if (c->slot[i]) {
            reader_back(c->slot[i], 0);
            doom(c->slot[i], "unknown mail transport error");
            lost++;
        }
    if (!lost)
        return;
    ph_log_warn("private/%.*s socket: lost connection with %u requests under way", PH_FMT(c->lane->name), lost);
    if (!c->answers)
        lane_down(c->lane);        /* it never said a word: broken, not merely restarted */
}

static void conn_serve(struct lane_conn *c, struct ph_scope *s)
{
    struct lane *l = c->lane;
    struct ph_group *g = ph_group_new(s);

    c->wake = ph_cond_new(s);
    c->sent = ph_cond_new(s);
    ph_list_push(&l->conns, &c->node);
    if (ph_spawn(g, "requests", write_task, c) >= 0)
        read_answers(c);
    ph_list_remove(&c->node);
    ph_group_cancel(g);
    ph_group_wait(g, PH_FOREVER);
    give_up(c);
}

static void conn_task(void *arg)
{
    struct lane *l = arg;
    PH_SCOPED(s, NULL);
    struct lane_conn *c = ph_new(s, struct lane_conn);
    int rc;

    c->lane = l;
    ph_list_init(&c->node);
    rc = dial(c, s);
    l->dialing = 0;
    if (rc >= 0) {
        conn_serve(c, s);
    } else if (rc != PH_CANCEL && l->conn_count == 1) {
        const char *why = strrchr(ph_error(), ':');        /* without the path */

        ph_log_warn("connect to transport private/%.*s: %s", PH_FMT(l->name), why ? why + 2 : ph_error());
        lane_down(l);
    }
    l->conn_count--;
    if (rc >= 0 && !ph_cancelled())
        lane_refill(l);            /* what was queued meanwhile */
}

/* Wake a connection that has room, or make one. */
static void lane_refill(struct lane *l)
{
    if (ph_list_is_empty(&l->queue))
        return;
    for (struct ph_list *n = l->conns.next; n != &l->conns; n = n->next) {
        struct lane_conn *c = ph_list_of(n, struct lane_conn, node);

        if (c->free_count) {
            ph_cond_signal(c->wake);
            return;
        }
    }
    if (l->dialing || l->conn_count >= CONNECTIONS_MAX)
        return;
    if (ph_spawn(l->q->group, "transport", conn_task, l) < 0) {
        if (!l->conn_count)
            lane_down(l);
        return;
    }
    l->dialing = 1;
    l->conn_count++;
}

void ph_lane_send(struct qmgr *q, struct ph_sched_entry *e)
{
    struct shipment *sh = calloc(1, sizeof *sh);

    if (!sh)
        ph_die("out of memory");
    sh->mail = e->user;
    sh->e = e;
    ph_list_init(&sh->node);
    if (e->kind != PH_SCHED_DELIVER) {
        doom(sh, NULL);
        return;
    }
    struct lane *l = lane_get(q, e->transport);

    ph_list_push(&l->queue, &sh->node);
    l->queued++;
    lane_refill(l);
}
