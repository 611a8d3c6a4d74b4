/* qmgr_stage: the queue manager with a real queue in a temporary directory, real
 * agents around a scripted transport, and stand-ins for rewrite and bounce.  Who
 * includes it defines stage_settings (of main.cf) and cases(). */
#ifndef T_QMGR_STAGE_H
#define T_QMGR_STAGE_H

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

extern const char *const stage_settings;

static char dir[64];
static struct ph_group *group;
static struct ph_service service;
static struct ph_conf *conf;

/* ---- the transport ---- */

static struct {
    int deliveries, blocked, at_once, most_at_once;
    struct ph_cond *go;
    int is_open;                   /* 0: "block" destinations wait */
    void (*look)(const struct ph_delivery *d);     /* at each delivery, or NULL */
} world;

static void one_more(int n)
{
    world.at_once += n;
    if (world.at_once > world.most_at_once)
        world.most_at_once = world.at_once;
}

/* An alias of two, of whom one fails. */
static void fake_alias(struct ph_delivery *d, uint32_t i)
{
    struct ph_recipient good = { .address = PH_STR("m1@x.example") }, bad = { .address = PH_STR("m2@x.example") };

    ph_delivered_member(d, i, &good, &(struct ph_outcome){ .size = sizeof(struct ph_outcome), .status = PH_RCPT_SENT,
        .dsn = PH_STR("2.0.0"), .text = PH_STR("forwarded") });
    ph_delivered_member(d, i, &bad, &(struct ph_outcome){ .size = sizeof(struct ph_outcome), .status = PH_RCPT_BOUNCED,
        .dsn = PH_STR("5.1.1"), .text = PH_STR("unknown user") });
    ph_delivered_members(d, i, "expanded", "alias expanded");
}

static int32_t fake_deliver(struct ph_transport *t PH_UNUSED, struct ph_delivery *d)
{
    world.deliveries++;
    if (world.look)
        world.look(d);
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
        else if (ph_str_starts(d->rcpt[i].address, PH_STR("alias")))
            fake_alias(d, i);
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
    int verified;                  /* answers to the verify service */
    char verdict[256];             /* its last */
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
    if (strcmp(name, "verify") == 0) {
        stub.verified++;
        snprintf(stub.verdict, sizeof stub.verdict, "%.*s %.*s", PH_FMT(ph_frame_value(in, "status")),
                 PH_FMT(ph_frame_value(in, "text")));
    } else if (strcmp(name, "rewrite") == 0)
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

PH_UNUSED static int submit(const char *sender, const char *rcpts, char id[64])
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
    char path[128], *line = NULL;
    size_t room = 0;
    int found = 0;
    FILE *f;

    ph_log_flush();
    snprintf(path, sizeof path, "%s/maillog", dir);
    if (!(f = fopen(path, "r")))
        return 0;
    while (!found && getline(&line, &room, f) >= 0)
        found = strstr(line, text) != NULL;
    fclose(f);
    free(line);
    return found;
}

PH_UNUSED static int log_says(const char *id, const char *text)
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

PH_UNUSED static void forget_stubs(void)
{
    memset(&stub, 0, sizeof stub);
}

PH_UNUSED static struct ph_frame *control(struct ph_scope *s, struct ph_stream *io, const char *op, const char *id)
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
PH_UNUSED static int list(struct ph_scope *s, struct ph_stream *io, struct ph_frame **one)
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

PH_UNUSED static uint64_t delete_all(struct ph_scope *s, struct ph_stream *io)
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

PH_UNUSED static struct ph_stream *control_dial(struct ph_scope *s)
{
    struct ph_frame *f = ph_frame_new(s);
    struct ph_stream *io;

    dial_qmgr(s, &io);
    ph_frame_cstr(f, "op", "hello");
    ph_frame_cstr(f, "role", "control");
    ph_frame_send(io, f);
    return io;
}

/* The test itself. */
static void cases(struct listener *smtp);

/* ---- the stage ---- */

static int run(void *arg PH_UNUSED)
{
    PH_SCOPED(s, NULL);
    struct ph_transport t = { .scope = s, .ops = &fake_plugin, .service = "smtp" };
    static struct listener smtp = { .serve = serve_agent }, qm = { .serve = serve_qmgr };
    ph_str text = ph_str_printf(s, "queue_directory = %s\nmyhostname = mx.example\n%s", dir, stage_settings);

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
    cases(&smtp);
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

#endif
