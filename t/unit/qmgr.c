/* t/unit/qmgr.c: the life of messages in the queue manager: delivery, failures of
 * those it asks, reports, expiry, limits, requests of administrators. */
#include "qmgr_stage.h"

const char *const stage_settings = "";

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
        { "an alias of which a member fails was expanded", "SUCCESS,FAILURE", "", "alias@ok.example", "tbnrRrr", "expanded", 1 },
        { "sendmail -v tells each member", "", "record", "alias@ok.example", "tbnrRrr", "delivered", 2 },
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
    ok(log_says(id, ": report to the sender: "), "a trace log that cannot be written");
    stub.bounce_down = 0;
    stub.traces = 0;
    ph_retry_flush(qmgr()->retry, ph_wall_s());
    qmgr()->scan_s = ph_wall_s();
    ph_feed_wake(qmgr());
    ok(log_says(id, ": removed"), "is written later");
    ok(stub.traces == 1 && stub.reports == 2, "and told");
    is_bytes(ph_cstr(stub.action), "delivered", "in its words");
    is_int(world.deliveries, sent + 2, "without another delivery");
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

/* Address probes do not crowd out mail. */
static void test_probes(void)
{
    char id[64];

    forget_stubs();
    qmgr()->p.probe_limit = 0;
    trace = "probe";
    submit("v@example.org", "b@ok.example", id);
    ok(log_says(id, ": removed"), "a probe beyond the limit is over at once");
    is_bytes(ph_cstr(stub.verdict), "defer too many address probes are under way", "with an answer that lets verify ask again");
    trace = "";
    submit("x@example.org", "c@ok.example", id);
    ok(log_says(id, ": to=<c@ok.example>, relay=mx"), "mail is not concerned");
    qmgr()->p.probe_limit = 5000;
    trace = "probe";
    submit("v@example.org", "b@ok.example", id);
    until(stub.verified == 2 && qmgr()->active == 0);
    trace = "";
    ok(ph_str_starts(ph_cstr(stub.verdict), PH_STR("ok ")), "within the limit it has its answer");
    is_int(qmgr()->probes, 0, "none is counted any more");
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

/* A message for one who waits and one who is deferred, told to go on hold meanwhile. */
static void submit_to_hold(struct ph_scope *s, struct ph_stream *io, char id[64])
{
    world.is_open = 0;
    submit("x@example.org", "a@block.example b@dead.example", id);
    until(world.blocked == 1);
    is_bytes(ph_frame_value(control(s, io, "hold", id), "status"), "ok", "to be held when its delivery ends");
}

static void let_go_on(void)
{
    world.is_open = 1;
    ph_cond_broadcast(world.go);
}

/* What is said of a message before it is where it was to go counts as if it were there. */
static void test_second_thoughts(void)
{
    PH_SCOPED(s, NULL);
    struct ph_stream *io = control_dial(s);
    struct ph_frame *f;
    char id[64];
    int kept = 0;

    forget_stubs();
    submit_to_hold(s, io, id);
    is_bytes(ph_frame_value(control(s, io, "release", id), "status"), "ok", "no, released");
    let_go_on();
    until(qmgr()->active == 0);
    is_int(list(s, io, &f), 1, "one message");
    is_bytes(ph_frame_value(f, "queue"), "deferred", "is not on hold");
    is_bytes(ph_frame_value(control(s, io, "delete", id), "status"), "ok", "delete it");

    submit_to_hold(s, io, id);
    is_bytes(ph_frame_value(control(s, io, "expire", id), "status"), "ok", "it expires");
    let_go_on();
    until(qmgr()->active == 0);
    is_int(list(s, io, &f), 1, "one message");
    is_bytes(ph_frame_value(f, "queue"), "hold", "is on hold, expired");
    is_bytes(ph_frame_value(control(s, io, "release", id), "status"), "ok", "release it");
    ok(log_says(id, ": from=<x@example.org>, status=force-expired, returned to sender"), "then it is returned");
    ok(log_says(id, ": removed"), "and removed");

    submit_to_hold(s, io, id);
    is_bytes(ph_frame_value(control(s, io, "expire", id), "status"), "ok", "it expires");
    is_bytes(ph_frame_value(control(s, io, "release", id), "status"), "ok", "and is released");
    let_go_on();
    ok(log_says(id, ": removed"), "it is returned at once");

    /* On its way there: each turn of the loop is a moment to speak. */
    for (int turns = 0; turns < 60; turns++) {
        const char *op = turns % 2 ? "delete" : "release";
        struct ph_frame *got;

        world.is_open = 0;
        submit("x@example.org", "a@block.example b@dead.example", id);
        until(world.blocked == 1);
        control(s, io, "hold", id);
        let_go_on();
        for (int i = 0; i < turns / 2; i++)
            ph_yield();
        got = control(s, io, op, id);
        until(qmgr()->active == 0);
        kept += ph_str_eq(ph_frame_value(got, "status"), PH_STR("ok")) && list(s, io, &f) == 1 && (turns % 2 || ph_str_eq(ph_frame_value(f, "queue"), PH_STR("hold")));
        control(s, io, "delete", id);
        until(qmgr()->active == 0);
    }
    is_int(kept, 0, "who is told that it is done finds it done");
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

static void cases(struct listener *smtp)
{
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
    test_probes();
    test_control();
    test_second_thoughts();
    test_survivor(smtp);
    test_bye(smtp);
}
