/* qmgr: start, the roles of its clients, reload.  See qmgr.h. */
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <posthorn/client.h>
#include "core/conf/conf.h"
#include "core/ipc/client.h"
#include "core/sched/qmgr_priv.h"

#define RESOLVERS 4u
#define SETTLERS  32u
#define FINISHERS 32u

int64_t ph_wall_s(void)
{
    return ph_wall_us() / 1000000;
}

/* ---- crews ---- */

void ph_crew_init(struct crew *c, struct ph_scope *s, struct ph_group *g, const char *name, unsigned max)
{
    c->name = name;
    c->wake = ph_cond_new(s);
    c->group = g;
    c->max = max;
    ph_list_init(&c->jobs);
}

static void crew_task(void *arg)
{
    struct crew *c = arg;

    for (;;) {
        struct ph_list *n = ph_list_shift(&c->jobs);

        if (n) {
            struct job *j = ph_list_of(n, struct job, node);

            j->run(j);
            continue;
        }
        c->idle++;                 /* who wakes us takes it back */
        if (ph_cond_wait(c->wake, PH_FOREVER) < 0)
            return;
    }
}

void ph_crew_add(struct crew *c, struct job *j, void (*run)(struct job *))
{
    j->run = run;
    ph_list_init(&j->node);
    ph_list_push(&c->jobs, &j->node);
    if (c->idle) {
        c->idle--;
        ph_cond_signal(c->wake);
    } else if (c->count < c->max && ph_spawn(c->group, c->name, crew_task, c) >= 0) {
        c->count++;
    }
}

/* ---- start ---- */

static const struct ph_queue_events events = { .arrived = ph_feed_arrived, .has_room = ph_feed_has_room };

static int qmgr_open(struct ph_service *v)
{
    struct qmgr *q = ph_new(v->scope, struct qmgr);
    int rc;

    ph_conf_register(ph_qmgr_rows, ph_qmgr_rows_count, sizeof *ph_qmgr_rows);
    q->service = v;
    q->call = ph_service_call;
    q->scope = v->scope;
    q->conf = v->conf;
    q->conf_scope = ph_scope_new(v->scope);
    v->self = q;
    if ((rc = ph_qmgr_params_load(v->conf, q->conf_scope, &q->p)) < 0)
        return rc;
    ph_list_init(&q->unread);
    q->sched = ph_sched_new(q->scope, ph_qmgr_limits, q);
    ph_sched_dead_max(q->sched, (size_t)q->p.recipient_limit);
    q->retry = ph_retry_new(q->scope);
    q->lanes = ph_map_new(q->scope);
    ph_resolve_forget(q);
    return 0;
}

int ph_qmgr_start(struct ph_service *v, struct ph_group *g)
{
    struct qmgr *q = v->self;
    int rc;

    q->group = g;
    q->feed_wake = ph_cond_new(q->scope);
    q->clock_wake = ph_cond_new(q->scope);
    ph_crew_init(&q->resolvers, q->scope, g, "resolve", RESOLVERS);
    ph_crew_init(&q->settlers, q->scope, g, "settle", SETTLERS);
    ph_crew_init(&q->finishers, q->scope, g, "finish", FINISHERS);
    q->scan_s = ph_wall_s();
    if ((rc = ph_queue_open(q->scope, q->conf, &events, q, &q->queue)) < 0 ||
        (rc = ph_queue_recover(q->queue)) < 0 || (rc = ph_queue_start(q->queue, g)) < 0)
        return rc;
    ph_feed_start(q);
    return ph_spawn(g, "clock", ph_clock_task, q);
}

int ph_qmgr_reload(struct ph_service *v, struct ph_conf *conf)
{
    struct qmgr *q = v->self;
    struct ph_scope *s = ph_scope_new(q->scope);
    struct qmgr_params p;
    int rc = ph_qmgr_params_load(conf, s, &p);

    if (rc < 0 || (rc = ph_queue_reload(q->queue, conf)) < 0) {
        ph_scope_free(s);
        return rc;
    }
    ph_scope_free(q->conf_scope);
    q->conf_scope = s;
    q->conf = conf;
    q->p = p;
    ph_resolve_forget(q);
    ph_client_forget();            /* rewrite and bounce are replaced */
    ph_sched_dead_max(q->sched, (size_t)p.recipient_limit);
    ph_sched_reconfigure(q->sched);
    ph_sched_forget(q->sched);
    ph_pump(q);
    ph_feed_wake(q);
    ph_cond_signal(q->clock_wake);
    return 0;
}

int ph_qmgr_is_busy(struct ph_service *v)
{
    struct qmgr *q = v->self;
    struct ph_sched_stats st;

    ph_sched_stats(q->sched, &st);
    return st.in_flight > 0;
}

/* ---- clients ---- */

/* 1 when the client came through private/. */
static int is_private(struct ph_stream *io)
{
    struct sockaddr_un sun;
    socklen_t n = sizeof sun;
    int fd = ph_stream_fileno(io);

    memset(&sun, 0, sizeof sun);
    if (fd < 0 || getsockname(fd, (struct sockaddr *)&sun, &n) < 0 || sun.sun_family != AF_UNIX)
        return 0;
    ph_str path = ph_str_first(ph_cstr(sun.sun_path), sizeof sun.sun_path - 1);

    return ph_str_ends(path, PH_STR("private/qmgr"));
}

static int qmgr_serve(struct ph_service *v, struct ph_scope *session, struct ph_stream *io,
                      const struct ph_peer *peer PH_UNUSED)
{
    struct qmgr *q = v->self;
    struct ph_frame *hello;
    int rc = ph_frame_recv(io, session, 0, &hello);
    ph_str role = rc < 0 ? PH_STR("") : ph_frame_value(hello, "role");

    if (rc == PH_EOF)
        return 0;
    if (rc < 0)
        return rc;
    if (ph_str_eq(role, PH_STR("control")))
        return ph_control_serve(q, session, io);
    if (ph_str_eq(role, PH_STR("intake")) && is_private(io))
        return ph_queue_serve_intake(q->queue, session, io, hello);
    if (ph_str_eq(role, PH_STR("agent")) && is_private(io))
        return ph_survive_serve(q, session, io);
    return ph_fail(PH_PERM, "client with bad role \"%.*s\"", PH_FMT(ph_str_first(role, 32)));
}

/* The master's wake-up, and `postkick`: look what has come. */
static int qmgr_wakeup(struct ph_service *v)
{
    ph_feed_wake(v->self);
    ph_pump(v->self);
    return 0;
}

const struct ph_service_plugin ph_qmgr_service = {
    .plugin = { PH_PLUGIN_HEAD(PH_KIND_SERVICE, PH_SERVICE_REVISION, struct ph_service_plugin, qmgr),
                .exec = PH_COROUTINE, .concurrency = PH_MANY_CALLS,
                .summary = "owner of the queue, scheduler of deliveries" },
    .needs = "queue private",
    .uses = "rewrite bounce",
    .open = qmgr_open,
    .serve = qmgr_serve,
    .wakeup = qmgr_wakeup,
};
