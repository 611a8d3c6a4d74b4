/* agent: see agent.h.  outcome.c has what plugins call, orphans.c what is left
 * when qmgr goes away. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <posthorn/clock.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "core/run/log.h"
#include "core/worker/agent_priv.h"

static const struct ph_param rows[] = {
    PH_P_BOOL(struct agent_params, soft_bounce, "soft_bounce", "no",
              "Turn every bounce into a deferral: for trying out a new configuration."),
    PH_P_INT(struct agent_params, decimals, "delay_logging_resolution_limit", "2", 0, 6,
             "Decimals of the delays in delivery log lines."),
};

int ph_agent_new(struct ph_scope *s, struct ph_transport *t, struct ph_group *g,
                 uint32_t sessions, struct ph_agent **out)
{
    struct ph_agent *a = ph_new(s, struct ph_agent);
    int rc;

    ph_conf_register(rows, sizeof rows / sizeof *rows, sizeof *rows);
    if ((rc = ph_params_load(t->conf, s, rows, sizeof rows / sizeof *rows, sizeof *rows, &a->p)) < 0)
        return rc;
    a->transport = t;
    a->group = g;
    a->sessions = sessions ? sessions : 1;
    ph_list_init(&a->waiting);
    ph_list_init(&a->orphans);
    ph_list_init(&a->conns);
    *out = a;
    return 0;
}

size_t ph_agent_busy(const struct ph_agent *a)
{
    return a->running + a->waiting_count + a->orphan_count;
}

/* ---- one delivery ---- */

static void finish_delivery(struct delivery *v);

/* What the plugin said nothing of is deferred. */
static void defer_open(struct delivery *v, int rc)
{
    struct ph_outcome o = { .size = sizeof o, .status = PH_RCPT_DEFERRED, .dsn = PH_STR("4.3.0"),
                            .relay = PH_STR("none") };
    const char *why = rc < 0 && rc != PH_CANCEL ? ph_error() : "";

    o.text = ph_str_dup(v->scope, ph_cstr(*why ? why : "delivery ended without a result"));
    ph_delivered_all(&v->d, &o);
}

/* A transport that does not know probes would deliver them: it is not asked. */
static int deliver_nothing(struct delivery *v)
{
    ph_str service = ph_cstr(v->agent->transport->service);

    ph_delivered_all(&v->d, &(struct ph_outcome){ .size = sizeof(struct ph_outcome), .status = PH_RCPT_SENT,
        .dsn = PH_STR("2.0.0"), .relay = service, .text = ph_str_printf(v->scope, "delivers to service %.*s", PH_FMT(service)) });
    return 0;
}

static void start_waiting(struct ph_agent *a);

static void deliver_task(void *arg)
{
    struct delivery *v = arg;
    struct ph_agent *a = v->agent;
    const struct ph_transport_plugin *ops = a->transport->ops;

    ph_task_about(v->message->queue_id);
    int rc = v->d.probe && !ops->probes ? deliver_nothing(v) : ops->deliver(a->transport, &v->d);

    defer_open(v, rc);
    a->running--;
    ph_task_about(PH_STR(""));
    finish_delivery(v);
    start_waiting(a);
}

static void start_delivery(struct delivery *v)
{
    struct ph_agent *a = v->agent;

    a->running++;
    if (ph_spawn(a->group, "delivery", deliver_task, v) >= 0)
        return;
    ph_fail(PH_TEMP, "no room for another delivery");
    defer_open(v, PH_TEMP);
    a->running--;
    finish_delivery(v);
}

static void start_waiting(struct ph_agent *a)
{
    struct ph_list *node;

    while (a->running < a->sessions && (node = ph_list_shift(&a->waiting))) {
        a->waiting_count--;
        start_delivery(ph_list_of(node, struct delivery, node));
    }
}

/* ---- answers ---- */

int ph_agent_put_outcomes(struct ph_stream *io, struct delivery *v, int show)
{
    struct ph_frame *f = ph_frame_new(v->scope);

    ph_frame_cstr(f, "op", "outcomes");
    ph_frame_u64(f, "number", v->number);
    ph_frame_str(f, "queue_id", v->message->queue_id);
    for (uint32_t i = 0; i < v->d.rcpt_count; i++)
        ph_outcome_put(f, v->d.rcpt[i].index, &v->outcome[i]);
    if (show && v->message->fd >= 0)
        ph_frame_fd(f, v->message->fd);
    return ph_frame_send(io, f);
}

void ph_agent_drop_reader(struct delivery *v)
{
    struct flock lk = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

    if (v->message->fd >= 0)
        fcntl(v->message->fd, F_OFD_SETLK, &lk);
}

void ph_agent_delivery_free(struct delivery *v)
{
    if (v->conn)
        v->conn->open--;
    ph_list_remove(&v->of_conn);
    ph_scope_free(v->scope);
}

/* The answer goes to the connection it came from, or waits for the next qmgr. */
static void finish_delivery(struct delivery *v)
{
    if (v->conn) {
        ph_list_push(&v->conn->done, &v->node);
        ph_cond_signal(v->conn->wake);
        return;
    }
    ph_agent_orphan(v);
}

/* Nobody was told: until somebody is, nobody may start the message again. */
static void take_reader(struct delivery *v)
{
    struct flock lk = { .l_type = F_RDLCK, .l_whence = SEEK_SET };

    if (v->message->fd >= 0)
        fcntl(v->message->fd, F_OFD_SETLK, &lk);
}

/* Answers of one connection: all that are there in one write.  The lock goes
 * first, since qmgr may lend the slot again as soon as it knows.  What could not
 * be sent goes to the orphans. */
static int send_done(struct conn *c)
{
    struct ph_list sent = PH_LIST_INIT(sent);
    int rc = 0;

    for (struct ph_list *n; rc >= 0 && (n = ph_list_shift(&c->done)); ) {
        struct delivery *v = ph_list_of(n, struct delivery, node);

        ph_list_push(&sent, n);
        ph_agent_drop_reader(v);
        rc = ph_agent_put_outcomes(c->io, v, 0);
    }
    ph_log_flush();                /* our lines before qmgr's "removed" */
    if (rc >= 0)
        rc = ph_stream_flush(c->io);
    for (struct ph_list *n; (n = ph_list_shift(&sent)); ) {
        struct delivery *v = ph_list_of(n, struct delivery, node);

        if (rc >= 0) {
            ph_agent_delivery_free(v);
        } else {
            take_reader(v);
            ph_list_unshift(&c->done, n);
        }
    }
    return rc;
}

static int say_bye(struct conn *c)
{
    PH_SCOPED(s, NULL);
    struct ph_frame *f = ph_frame_new(s);
    int rc;

    c->said_bye = 1;
    ph_frame_cstr(f, "op", "bye");
    if ((rc = ph_frame_send(c->io, f)) >= 0)
        rc = ph_stream_flush(c->io);
    return rc;
}

static void answer_task(void *arg)
{
    struct conn *c = arg;
    int rc = 0;

    while (rc >= 0)
        if (!ph_list_is_empty(&c->done))
            rc = send_done(c);
        else if (c->agent->stopping && !c->said_bye)
            rc = say_bye(c);
        else
            rc = ph_cond_wait(c->wake, PH_FOREVER);
    if (rc != PH_CANCEL)
        ph_stream_close(c->io);    /* the reader sees it */
}

void ph_agent_stop(struct ph_agent *a)
{
    a->stopping = 1;
    for (struct ph_list *n = a->conns.next; n != &a->conns; n = n->next)
        ph_cond_signal(ph_list_of(n, struct conn, node)->wake);
}

/* ---- requests ---- */

static int parse_request(const struct conn *c, struct delivery *v, struct ph_frame *f)
{
    uint64_t reuse = 0;
    int rc;

    if (!ph_str_eq(ph_frame_value(f, "op"), PH_STR("deliver")))
        return ph_fail(PH_PERM, "unexpected request");
    if (c->open >= c->agent->sessions)
        return ph_fail(PH_PERM, "more requests at once than the window");
    if ((rc = ph_message_get(v->scope, f, &v->message)) < 0 ||
        (rc = ph_recipients_get(v->scope, f, &v->d.rcpt, &v->d.rcpt_count)) < 0)
        return rc;
    if (ph_frame_get_u64(f, "number", &v->number) != PH_FOUND || v->message->fd < 0 || !v->d.rcpt_count ||
        ph_frame_get_time(f, "active", &v->d.active_us) != PH_FOUND || ph_frame_get_u64(f, "reuse", &reuse) == PH_PERM)
        return ph_fail(PH_PERM, "incomplete request");
    if (v->d.rcpt_count > PH_DELIVERY_RCPTS)
        return ph_fail(PH_PERM, "request for %u recipients", v->d.rcpt_count);
    v->d.reuse = reuse != 0;
    v->d.probe = (ph_trace_flags(v->message->trace_flags) & PH_TRACE_DRY) != 0;
    v->d.nexthop = ph_frame_value(f, "nexthop");
    return 0;
}

static int accept_request(struct conn *c, struct delivery *v, struct ph_frame *f)
{
    int rc = parse_request(c, v, f);

    if (rc < 0)
        return rc;
    v->agent = c->agent;
    v->conn = c;
    v->d.scope = v->scope;
    v->d.transport = c->agent->transport;
    v->d.message = v->message;
    v->d.host = v;
    v->outcome = ph_alloc_array(v->scope, v->d.rcpt_count, sizeof *v->outcome);
    ph_list_push(&c->all, &v->of_conn);
    c->open++;
    ph_list_push(&c->agent->waiting, &v->node);
    c->agent->waiting_count++;
    start_waiting(c->agent);
    return 0;
}

static int read_request(struct conn *c)
{
    struct ph_scope *s = ph_scope_new(NULL);
    struct delivery *v = ph_new(s, struct delivery);
    struct ph_frame *f;
    int rc;

    v->scope = s;
    ph_list_init(&v->node);
    ph_list_init(&v->of_conn);
    if ((rc = ph_frame_recv(c->io, s, PH_DELIVERY_MAX, &f)) < 0 || (rc = accept_request(c, v, f)) < 0)
        ph_scope_free(s);
    return rc;
}

static int greet(struct conn *c, struct ph_scope *session)
{
    struct ph_frame *f, *reply = ph_frame_new(session);
    int rc = ph_frame_recv(c->io, session, 4096, &f);

    if (rc < 0)
        return rc;
    if (!ph_str_eq(ph_frame_value(f, "op"), PH_STR("hello")))
        return ph_fail(PH_PERM, "no hello");
    ph_frame_cstr(reply, "status", "ok");
    ph_frame_u64(reply, "window", c->agent->sessions);
    if ((rc = ph_frame_send(c->io, reply)) >= 0)
        rc = ph_stream_flush(c->io);
    return rc;
}

/* The connection is gone; its deliveries are not.  Those that did not begin
 * never will: the next qmgr asks again. */
static void disown(struct conn *c)
{
    for (struct ph_list *n, *next = c->all.next; (n = next) != &c->all; ) {
        struct delivery *v = ph_list_of(n, struct delivery, of_conn);

        next = n->next;
        v->conn = NULL;
        ph_list_remove(n);
    }
    for (struct ph_list *n; (n = ph_list_shift(&c->done)); )
        ph_agent_orphan(ph_list_of(n, struct delivery, node));
}

static void cancel_waiting(struct conn *c)
{
    struct ph_agent *a = c->agent;

    for (struct ph_list *n, *next = a->waiting.next; (n = next) != &a->waiting; ) {
        struct delivery *v = ph_list_of(n, struct delivery, node);

        next = n->next;
        if (v->conn == c) {
            ph_list_remove(n);
            a->waiting_count--;
            ph_agent_drop_reader(v);
            ph_agent_delivery_free(v);
        }
    }
}

int ph_agent_serve(struct ph_agent *a, struct ph_scope *session, struct ph_stream *io)
{
    struct conn *c = ph_new(session, struct conn);
    struct ph_group *g = ph_group_new(session);
    int rc;

    c->agent = a;
    c->io = io;
    c->wake = ph_cond_new(session);
    ph_list_init(&c->done);
    ph_list_init(&c->all);
    ph_list_init(&c->node);
    rc = greet(c, session);
    ph_list_push(&a->conns, &c->node);
    if (rc >= 0 && (rc = ph_spawn(g, "answers", answer_task, c)) >= 0)
        while ((rc = read_request(c)) >= 0)
            ;
    if (rc == PH_PERM)
        ph_log_warn("bad request from qmgr: %s", ph_error());
    else if (rc == PH_TEMP)
        ph_log_warn("connection from qmgr: %s", ph_error());
    ph_list_remove(&c->node);
    ph_group_cancel(g);
    ph_group_wait(g, PH_FOREVER);
    cancel_waiting(c);
    disown(c);
    return rc == PH_CANCEL ? rc : 0;
}
