/* t/unit/qmgr.c: the queue manager with a real queue in a temporary directory,
 * real agents around a scripted transport, and stand-ins for rewrite and bounce. */
#include "tap.h"
#include <ftw.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/intake.h>
#include "core/conf/conf.h"
#include "core/ipc/client.h"
#include "core/net/listen.h"
#include "core/queue/hub.h"
#include "core/run/log.h"
#include "core/run/loop.h"
#include "core/sched/qmgr_priv.h"
#include "core/worker/agent.h"

#define PATIENCE_MS 10000

static char dir[64];
static struct ph_group *group;
static struct ph_service service;
static struct ph_conf *conf;

/* ---- the transport ---- */

static struct {
    int deliveries, blocked, at_once, most_at_once;
    struct ph_cond *go;
    int is_open;                   /* 0: "block" destinations wait */
} world;

static void one_more(int n)
{
    world.at_once += n;
    if (world.at_once > world.most_at_once)
        world.most_at_once = world.at_once;
}

static int32_t fake_deliver(struct ph_transport *t PH_UNUSED, struct ph_delivery *d)
{
    world.deliveries++;
    one_more(1);
    if (ph_str_starts(d->nexthop, PH_STR("block"))) {
        world.blocked++;
        while (!world.is_open && ph_cond_wait(world.go, PH_FOREVER) >= 0)
            ;
        world.blocked--;
    }
    one_more(-1);
    for (uint32_t i = 0; i < d->rcpt_count; i++) {
        if (ph_str_starts(d->rcpt[i].address, PH_STR("bad")))
            ph_delivered_text(d, i, PH_RCPT_BOUNCED, "5.1.1", "mx[192.0.2.1]:25", "no such user");
        else if (ph_str_starts(d->nexthop, PH_STR("dead")))
            ph_delivered(d, i, &(struct ph_outcome){ .size = sizeof(struct ph_outcome), .status = PH_RCPT_DEFERRED,
                .dsn = PH_STR("4.4.1"), .text = PH_STR("connect to mx: Connection refused"), .dead_site = 1 });
        else if (ph_str_starts(d->rcpt[i].address, PH_STR("passed")))
            ph_delivered(d, i, &(struct ph_outcome){ .size = sizeof(struct ph_outcome), .status = PH_RCPT_SENT,
                .dsn = PH_STR("2.0.0"), .text = PH_STR("ok"), .next_reports = 1 });
        else
            ph_delivered_text(d, i, PH_RCPT_SENT, "2.0.0", "mx[192.0.2.1]:25", "ok");
    }
    return 0;
}

static const struct ph_transport_plugin fake_plugin = { .deliver = fake_deliver, .probes = 1 };

/* ---- listening, as the worker would ---- */

struct listener {
    int fd;
    void (*serve)(struct listener *l, struct ph_scope *s, struct ph_stream *io);
    struct ph_agent *agent;
    struct ph_group *sessions;
};
struct client { struct listener *l; int fd; };

static void client_task(void *arg)
{
    struct client *c = arg;
    PH_SCOPED(s, NULL);

    c->l->serve(c->l, s, ph_stream_fd(s, c->fd, 0));
    free(c);
}

static void accept_task(void *arg)
{
    struct listener *l = arg;

    while (ph_fd_wait(l->fd, PH_READ, PH_FOREVER) > 0) {
        struct client *c = malloc(sizeof *c);

        c->l = l;
        if ((c->fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) < 0 ||
            ph_spawn(l->sessions, "client", client_task, c) < 0)
            free(c);
    }
}

static void listen_at(struct ph_scope *s, struct listener *l, const char *name)
{
    char path[128];

    snprintf(path, sizeof path, "%s/private/%s", dir, name);
    if (ph_listen_unix(path, 0600, 10, &l->fd) < 0)
        exit(1);
    l->sessions = ph_group_new(s);
    ph_spawn(group, "accept", accept_task, l);
}

static void serve_agent(struct listener *l, struct ph_scope *s, struct ph_stream *io)
{
    ph_agent_serve(l->agent, s, io);
}

static void serve_qmgr(struct listener *l PH_UNUSED, struct ph_scope *s, struct ph_stream *io)
{
    ph_qmgr_service.serve(&service, s, io, NULL);
}

static int dial_qmgr(struct ph_scope *s, struct ph_stream **io)
{
    char path[128];

    snprintf(path, sizeof path, "%s/private/qmgr", dir);
    return ph_dial_unix(s, path, ph_in_ms(PATIENCE_MS), io);
}

/* ---- rewrite and bounce ---- */

static struct {
    int rewrite_down, rewrites;
    int bounce_down, bounces, defers, traces, notices, reports, notices_failed, removed;
    char order[256];               /* a letter for each request to bounce */
    char text[256], action[32];    /* of the last record */
} stub;

static void rewrite_stub(const struct ph_frame *in, struct ph_frame *out)
{
    size_t at = 0;

    stub.rewrites++;
    for (ph_str name, value, local; ph_frame_next(in, &at, &name, &value); )
        if (ph_str_eq(name, PH_STR("address"))) {
            ph_str domain = value;

            local = ph_str_cut(&domain, '@');
            ph_frame_str(out, "transport", ph_str_eq(local, PH_STR("absent")) ? PH_STR("absent") : PH_STR("smtp"));
            ph_frame_str(out, "nexthop", domain);
            ph_frame_str(out, "recipient", value);
            ph_frame_cstr(out, "class", "default");
        }
}

static int bounce_stub(const struct ph_frame *in)
{
    ph_str op = ph_frame_value(in, "op"), log = ph_frame_value(in, "log");
    size_t n = strlen(stub.order), at = 0;
    int count = 0, is_report = ph_str_eq(ph_frame_value(in, "kind"), PH_STR("trace"));

    if (stub.bounce_down)
        return 0;
    for (ph_str name, value; ph_frame_next(in, &at, &name, &value); ) {
        if (ph_str_eq(name, PH_STR("index")))
            count++;
        if (ph_str_eq(name, PH_STR("text")))
            snprintf(stub.text, sizeof stub.text, "%.*s", PH_FMT(value));
        if (ph_str_eq(name, PH_STR("action")))
            snprintf(stub.action, sizeof stub.action, "%.*s", PH_FMT(value));
    }
    if (n + 1 < sizeof stub.order)
        stub.order[n] = ph_str_eq(op, PH_STR("append")) ? log.p[0] : is_report ? 'R' : op.p[0];
    if (ph_str_eq(op, PH_STR("append")) && ph_str_eq(log, PH_STR("bounce")))
        stub.bounces += count;
    else if (ph_str_eq(op, PH_STR("append")) && ph_str_eq(log, PH_STR("trace")))
        stub.traces += count;
    else if (ph_str_eq(op, PH_STR("append")))
        stub.defers += count;
    else if (ph_str_eq(op, PH_STR("notify")) && stub.notices_failed)
        return 0;
    else if (is_report)
        stub.reports++;
    else if (ph_str_eq(op, PH_STR("notify")))
        stub.notices++;
    else
        stub.removed++;
    return 1;
}

static int fake_call(struct ph_scope *s, const char *name, const struct ph_frame *in, struct ph_frame **reply)
{
    int good = 1;

    *reply = ph_frame_new(s);
    if (ph_yield() < 0)
        return PH_CANCEL;
    if (strcmp(name, "rewrite") == 0 && stub.rewrite_down)
        return ph_fail(PH_TEMP, "rewrite is not running");
    if (strcmp(name, "rewrite") == 0)
        rewrite_stub(in, *reply);
    else
        good = bounce_stub(in);
    ph_frame_cstr(*reply, "status", good ? "ok" : "temp");
    return 0;
}

/* ---- helpers ---- */

static struct qmgr *qmgr(void)
{
    return service.self;
}

static const char *notify = "", *trace = "";       /* of what submit submits */

static int submit(const char *sender, const char *rcpts, char id[64])
{
    PH_SCOPED(s, NULL);
    struct ph_intake *q;
    ph_str list = ph_cstr(rcpts);
    int rc = ph_intake_begin(s, PH_INTAKE_NET, &q);

    if (rc < 0 || (rc = ph_intake_write(q, PH_STR("Subject: t\r\n"))) < 0 || (rc = ph_intake_body(q)) < 0 ||
        (rc = ph_intake_write(q, PH_STR("body\r\n"))) < 0) {
        printf("# submit: %s\n", ph_error());
        return rc;
    }
    ph_intake_sender(q, ph_cstr(sender));
    for (ph_str r; (r = ph_str_list(&list)).n; )
        ph_intake_recipient(q, r, PH_STR(""), PH_STR(""), ph_cstr(notify));
    if (*trace)
        ph_intake_attr(q, "trace_flags", ph_cstr(trace));
    snprintf(id, 64, "%.*s", PH_FMT(ph_intake_id(q)));
    if ((rc = ph_intake_commit(q)) < 0)
        printf("# commit: %s\n", ph_error());
    return rc;
}

static int log_has(const char *text)
{
    char path[128], buf[65536];
    FILE *f;
    size_t n = 0;

    ph_log_flush();
    snprintf(path, sizeof path, "%s/maillog", dir);
    if ((f = fopen(path, "r"))) {
        n = fread(buf, 1, sizeof buf - 1, f);
        fclose(f);
    }
    buf[n] = 0;
    return strstr(buf, text) != NULL;
}

static int log_says(const char *id, const char *text)
{
    char all[512];
    int64_t until = ph_in_ms(PATIENCE_MS);

    snprintf(all, sizeof all, "%s%s", id, text);
    while (!log_has(all) && ph_now_ms() < until && ph_sleep_until(ph_in_ms(5)) >= 0)
        ;
    return log_has(all);
}

/* Wait for a condition. */
#define until(cond_) do { \
        int64_t end__ = ph_in_ms(PATIENCE_MS); \
        while (!(cond_) && ph_now_ms() < end__ && ph_sleep_until(ph_in_ms(2)) >= 0) \
            ; \
    } while (0)

static void forget_stubs(void)
{
    memset(&stub, 0, sizeof stub);
}

/* ---- cases ---- */

static void test_delivery(void)
{
    char id[64];

    is_int(submit("s@example.org", "a@ok.example, b@ok.example", id), 0, "a message is accepted");
    ok(log_says(id, ": from=<s@example.org>, size=20, nrcpt=2 (queue active)"), "it enters the active queue");
    ok(log_says(id, ": to=<b@ok.example>, relay=mx[192.0.2.1]:25, delay="), "it is delivered");
    ok(log_says(id, ": removed"), "and removed");
    is_int(world.deliveries, 1, "both recipients in one request");
    until(qmgr()->active == 0);
    is_int(qmgr()->active, 0, "nothing is active");
    is_int(strlen(stub.order), 0, "bounce was not asked");
}

static void test_bounce(void)
{
    char id[64];

    forget_stubs();
    submit("s@example.org", "good@ok.example, bad@ok.example", id);
    ok(log_says(id, ": removed"), "a refused recipient does not keep the message");
    is_bytes(ph_cstr(stub.order), "bnrr", "log, notice, removal of the bounce log, of all logs: in this order");
    is_bytes(ph_cstr(stub.text), "no such user", "the log has the words");
}

/* What the sender asked to be told: NOTIFY, sendmail -v and -bv. */
static void test_reports(void)
{
    static const struct { const char *name, *notify, *trace, *rcpts, *order, *action; int traces; } cases[] = {
        { "nobody asked", "", "", "a@ok.example", "", "", 0 },
        { "NOTIFY=SUCCESS: log, report, removal of the trace log, of all logs", "SUCCESS", "", "a@ok.example", "tRrr", "delivered", 1 },
        { "NOTIFY=NEVER", "NEVER", "", "a@ok.example", "", "", 0 },
        { "the next server reports", "SUCCESS", "", "passed@ok.example", "", "", 0 },
        { "success and failure", "SUCCESS,FAILURE", "", "a@ok.example, bad@ok.example", "tbnrRrr", "delivered", 1 },
        { "sendmail -v tells all", "", "record", "a@ok.example, bad@ok.example", "tbnrRrr", "failed", 2 },
        { "sendmail -bv bounces nothing", "", "verify", "bad@ok.example", "tRrr", "undeliverable", 1 },
        { "sendmail -bv defers nothing", "", "verify", "a@dead.example", "tRrr", "undeliverable", 1 },
    };
    char id[64];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        forget_stubs();
        notify = cases[i].notify;
        trace = cases[i].trace;
        submit("s@example.org", cases[i].rcpts, id);
        ok(log_says(id, ": removed"), "%s", cases[i].name);
        is_bytes(ph_cstr(stub.order), cases[i].order, "%s: what bounce was asked", cases[i].name);
        is_int(stub.traces, cases[i].traces, "%s: records", cases[i].name);
        is_bytes(ph_cstr(stub.action), cases[i].action, "%s: the last action", cases[i].name);
    }
    notify = trace = "";
    ph_sched_forget(qmgr()->sched);
    until(qmgr()->active == 0);
}

/* Bounce is away: what was delivered is not delivered again, and is told later. */
static void test_report_fails(void)
{
    char id[64];
    int sent = world.deliveries;

    forget_stubs();
    notify = "SUCCESS";
    stub.notices_failed = 1;
    submit("s@example.org", "a@ok.example", id);
    ok(log_says(id, ": report to the sender: "), "a report that cannot be sent keeps the message");
    stub.notices_failed = 0;
    ph_retry_flush(qmgr()->retry, ph_wall_s());
    qmgr()->scan_s = ph_wall_s();
    ph_feed_wake(qmgr());
    ok(log_says(id, ": removed"), "it is sent later");
    is_int(stub.reports, 1, "once");
    is_int(world.deliveries, sent + 1, "and the message was delivered once");
    stub.bounce_down = 1;
    submit("s@example.org", "a@ok.example", id);
    ok(log_says(id, ": removed"), "a trace log that cannot be written delays nothing");
    stub.bounce_down = 0;
    notify = "";
}

static void test_notice_fails(void)
{
    char id[64];
    struct ph_qmsg *m;
    int in_memory;

    forget_stubs();
    stub.notices_failed = 1;
    submit("s@example.org", "bad@ok.example", id);
    until(ph_retry_count(qmgr()->retry) == 1);
    is_int(ph_retry_count(qmgr()->retry), 1, "a notice that cannot be sent keeps the message");
    stub.notices_failed = 0;
    is_int(ph_queue_find(qmgr()->queue, ph_cstr(id), &m, &in_memory), PH_FOUND, "it is deferred");
    is_int(m->place, PH_PLACE_DEFERRED, "on disk");
    ph_queue_forget(qmgr()->queue, m);
    ph_retry_flush(qmgr()->retry, ph_wall_s());
    qmgr()->scan_s = ph_wall_s();
    ph_feed_wake(qmgr());
    ok(log_says(id, ": removed"), "the notice is sent at the next attempt");
    is_int(stub.notices, 1, "once");
    is_int(stub.bounces, 1, "and the recipient was tried once");
}

static void test_log_fails(void)
{
    char id[64];

    forget_stubs();
    stub.bounce_down = 1;
    submit("s@example.org", "bad@ok.example", id);
    until(ph_retry_count(qmgr()->retry) == 1);
    is_int(ph_retry_count(qmgr()->retry), 1, "a failure that cannot be logged leaves the recipient pending");
    stub.bounce_down = 0;
    ph_retry_flush(qmgr()->retry, ph_wall_s());
    qmgr()->scan_s = ph_wall_s();
    ph_feed_wake(qmgr());
    ok(log_says(id, ": removed"), "and is tried again");
    is_int(stub.notices, 1, "then the sender is told");
}

static void test_rewrite_down(void)
{
    char id[64];

    forget_stubs();
    ph_resolve_forget(qmgr());
    stub.rewrite_down = 1;
    submit("s@example.org", "a@ok.example", id);
    ok(log_says(id, ": to=<a@ok.example>, relay=none, delay="), "rewrite is down: a line says so");
    until(ph_retry_count(qmgr()->retry) == 1);
    is_bytes(ph_cstr(stub.text), "address resolver failure", "deferred with that reason");
    stub.rewrite_down = 0;
    ph_retry_flush(qmgr()->retry, ph_wall_s());
    qmgr()->scan_s = ph_wall_s();
    ph_feed_wake(qmgr());
    ok(log_says(id, ": removed"), "nothing is lost");
}

static void test_absent_transport(void)
{
    char id[64];

    forget_stubs();
    submit("s@example.org", "absent@x.example", id);
    ok(log_has("connect to transport private/absent: ") || log_says("", "connect to transport private/absent: "), "a transport that is not there is named");
    until(ph_retry_count(qmgr()->retry) == 1);
    is_bytes(ph_cstr(stub.text), "mail transport unavailable", "its mail is deferred");
    ok(ph_retry_remove(qmgr()->retry, ph_cstr(id)), "and waits");
}

static void test_dead_site(void)
{
    char id[8][64];

    forget_stubs();
    for (int i = 0; i < 8; i++)
        submit("s@example.org", "a@dead.example", id[i]);
    until(stub.defers == 8);
    is_int(stub.defers, 8, "mail for a dead site is deferred");
    ok(log_says("", "(delivery temporarily suspended: connect to mx: Connection refused)"), "some without another attempt");
    until(ph_retry_count(qmgr()->retry) == 8);
    for (int i = 0; i < 8; i++)
        ph_retry_remove(qmgr()->retry, ph_cstr(id[i]));
}

static void test_expiry(void)
{
    char id[64];

    forget_stubs();
    qmgr()->p.retry.maximal_lifetime = 0;
    ph_sched_forget(qmgr()->sched);
    submit("s@example.org", "a@dead.example", id);
    ok(log_says(id, ": from=<s@example.org>, status=expired, returned to sender"), "too old: returned to the sender");
    ok(log_says(id, ": removed"), "and removed");
    is_int(stub.notices, 1, "with a notice");
    qmgr()->p.retry.maximal_lifetime = 432000;
    ph_sched_forget(qmgr()->sched);
}

static void test_active_limit(void)
{
    char id[64];
    int sent = world.deliveries;

    forget_stubs();
    qmgr()->p.active_limit = 2;
    world.is_open = 0;
    for (int i = 0; i < 5; i++)
        submit("s@example.org", "a@block.example", id);
    until(world.blocked == 2);
    is_int(world.blocked, 2, "the active queue takes so many");
    is_int(qmgr()->active, 2, "and not one more");
    world.is_open = 1;
    ph_cond_broadcast(world.go);
    until(world.deliveries == sent + 5);
    is_int(world.deliveries, sent + 5, "the others follow from their slots");
    ok(log_says(id, ": removed"), "to the last");
    qmgr()->p.active_limit = 20000;
}

static struct ph_frame *control(struct ph_scope *s, struct ph_stream *io, const char *op, const char *id)
{
    struct ph_frame *f = ph_frame_new(s), *reply = NULL;

    ph_frame_cstr(f, "op", op);
    if (id)
        ph_frame_cstr(f, "queue_id", id);
    ph_frame_send(io, f);
    ph_stream_flush(io);
    ph_frame_recv(io, s, 0, &reply);
    return reply;
}

/* Reads the whole listing; how many messages, *one the first. */
static int list(struct ph_scope *s, struct ph_stream *io, struct ph_frame **one)
{
    int n = 0;

    for (struct ph_frame *f = control(s, io, "list", NULL); f && !ph_frame_value(f, "end").n; n++) {
        if (!n)
            *one = f;
        f = NULL;
        ph_frame_recv(io, s, 0, &f);
    }
    return n;
}

static uint64_t delete_all(struct ph_scope *s, struct ph_stream *io)
{
    struct ph_frame *f = ph_frame_new(s), *reply = NULL;
    uint64_t count = 0;

    ph_frame_cstr(f, "op", "delete");
    ph_frame_cstr(f, "all", "1");
    ph_frame_send(io, f);
    ph_stream_flush(io);
    ph_frame_recv(io, s, 0, &reply);
    ph_frame_get_u64(reply, "count", &count);
    return count;
}

static struct ph_stream *control_dial(struct ph_scope *s)
{
    struct ph_frame *f = ph_frame_new(s);
    struct ph_stream *io;

    dial_qmgr(s, &io);
    ph_frame_cstr(f, "op", "hello");
    ph_frame_cstr(f, "role", "control");
    ph_frame_send(io, f);
    return io;
}

static void test_control(void)
{
    PH_SCOPED(s, NULL);
    struct ph_stream *io = control_dial(s);
    struct ph_frame *f;
    char id[64], held[64];

    forget_stubs();
    is_int(delete_all(s, io), 9, "delete all: what earlier cases left deferred");
    world.is_open = 0;
    submit("x@example.org", "a@block.example", id);
    until(world.blocked == 1);
    is_int(list(s, io, &f), 1, "list: one message");
    is_bytes(ph_frame_value(f, "queue_id"), id, "list: the active message");
    is_bytes(ph_frame_value(f, "queue"), "active", "list: its queue");
    is_bytes(ph_frame_value(f, "sender"), "x@example.org", "list: its sender");
    is_bytes(ph_frame_value(f, "address"), "a@block.example", "list: its recipient");
    is_bytes(ph_frame_value(control(s, io, "delete", id), "status"), "ok", "delete while it is being delivered");
    world.is_open = 1;
    ph_cond_broadcast(world.go);
    until(qmgr()->active == 0);
    is_bytes(ph_frame_value(control(s, io, "exists", id), "found"), "0", "it goes when the delivery ends");
    is_bytes(ph_frame_value(control(s, io, "delete", id), "status"), "none", "then there is no such message");
    is_bytes(ph_frame_value(control(s, io, "delete", "../x"), "status"), "none", "nor is there one that is no id");

    world.is_open = 0;
    submit("x@example.org", "a@dead.example", held);
    until(ph_retry_count(qmgr()->retry) == 1);
    is_bytes(ph_frame_value(control(s, io, "hold", held), "status"), "ok", "hold a deferred message");
    is_int(list(s, io, &f), 1, "it is listed");
    is_bytes(ph_frame_value(f, "queue"), "hold", "as held");
    f = control(s, io, "open", held);
    int fd = ph_frame_take_fd(f, 0);
    ok(fd >= 0 && write(fd, "x", 1) < 0, "open: a descriptor, read-only");
    close(fd);
    is_bytes(ph_frame_value(control(s, io, "release", held), "status"), "ok", "release it");
    f = control(s, io, "exists", held);
    is_bytes(ph_frame_value(f, "found"), "1", "exists");
    is_bytes(ph_frame_value(control(s, io, "expire", held), "status"), "ok", "expire it");
    is_bytes(ph_frame_value(control(s, io, "flush", NULL), "status"), "ok", "flush");
    ok(log_says(held, ": from=<x@example.org>, status=force-expired, returned to sender"), "it is returned");
    ok(log_says(held, ": removed"), "and removed");
    is_bytes(ph_frame_value(control(s, io, "nonsense", NULL), "status"), "perm", "an unknown request is refused");
    world.is_open = 1;
}

/* A connection dies while a delivery runs: the agent keeps the outcome and
 * reports it by queue id. */
static void test_survivor(struct listener *smtp)
{
    char id[64];

    forget_stubs();
    world.is_open = 0;
    submit("x@example.org", "a@block.example", id);
    until(world.blocked == 1);
    ph_group_cancel(smtp->sessions);
    ph_group_wait(smtp->sessions, PH_FOREVER);
    until(ph_retry_count(qmgr()->retry) == 1);
    is_bytes(ph_cstr(stub.text), "unknown mail transport error", "the connection broke: deferred");
    ok(ph_agent_busy(smtp->agent) == 1, "the delivery goes on");
    world.is_open = 1;
    ph_cond_broadcast(world.go);
    ok(log_says(id, ": removed"), "its outcome arrives by queue id and ends the message");
    until(ph_agent_busy(smtp->agent) == 0);
    is_int(ph_agent_busy(smtp->agent), 0, "the agent has nothing left to tell");
}

static void test_bye(struct listener *smtp)
{
    char id[64];

    submit("x@example.org", "a@ok.example", id);
    ok(log_says(id, ": removed"), "delivered over a new connection");
    ph_agent_stop(smtp->agent);
    int64_t end = ph_in_ms(PATIENCE_MS);
    ok(ph_group_wait(smtp->sessions, end) == 0, "after bye qmgr ends its connections");
}

/* ---- the stage ---- */

static int run(void *arg PH_UNUSED)
{
    PH_SCOPED(s, NULL);
    struct ph_transport t = { .scope = s, .ops = &fake_plugin, .service = "smtp" };
    static struct listener smtp = { .serve = serve_agent }, qm = { .serve = serve_qmgr };
    ph_str text = ph_str_printf(s, "queue_directory = %s\nmyhostname = mx.example\n", dir);

    group = ph_group_new(s);
    world.go = ph_cond_new(s);
    world.is_open = 1;
    if (ph_conf_parse(s, dir, "main.cf", text, &conf) < 0)
        return puts(ph_error()), 1;
    ph_log_join_loop();
    service = (struct ph_service){ .scope = ph_scope_new(s), .ops = &ph_qmgr_service, .conf = conf, .name = "qmgr" };
    t.conf = conf;
    if (ph_qmgr_service.open(&service) < 0 || ph_agent_new(s, &t, group, 10, &smtp.agent) < 0)
        return puts(ph_error()), 1;
    qmgr()->call = fake_call;
    ph_hub_dial_with(dial_qmgr);
    if (ph_qmgr_start(&service, group) < 0)
        return puts(ph_error()), 1;
    ph_client_setup(ph_cstr(dir), PATIENCE_MS);    /* where the agent finds qmgr */
    listen_at(s, &smtp, "smtp");
    listen_at(s, &qm, "qmgr");
    test_delivery();
    test_bounce();
    test_reports();
    test_report_fails();
    test_notice_fails();
    test_log_fails();
    test_rewrite_down();
    test_absent_transport();
    test_dead_site();
    test_expiry();
    test_active_limit();
    test_control();
    test_survivor(&smtp);
    test_bye(&smtp);
    ph_group_cancel(qm.sessions);
    ph_group_wait(qm.sessions, PH_FOREVER);
    ph_group_cancel(group);
    ph_group_wait(group, PH_FOREVER);
    return 0;
}

static int rm(const char *path, const struct stat *st PH_UNUSED, int kind PH_UNUSED, struct FTW *f PH_UNUSED)
{
    return remove(path);
}

int main(void)
{
    char path[128];
    int rc;

    snprintf(dir, sizeof dir, "%s/qmgr-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (!mkdtemp(dir))
        return 1;
    snprintf(path, sizeof path, "%s/private", dir);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/maillog", dir);
    ph_log_open(&(struct ph_log_options){ .file = path, .syslog_name = "postfix", .service = "qmgr", .host = "mx" });
    rc = ph_run_main(run, NULL);
    ok(rc == 0, "the stage ends in order");
    if (!getenv("KEEP"))
        nftw(dir, rm, 10, FTW_DEPTH | FTW_PHYS);
    return done_testing();
}
