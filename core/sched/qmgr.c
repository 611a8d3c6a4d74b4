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

int ph_crew_init(struct crew *c, struct ph_scope *s, struct ph_group *g, const char *name, unsigned max)
{
    c->name = name;
    c->wake = ph_cond_new(s);
    c->group = g;
    c->max = max;
    ph_list_init(&c->jobs);
    c->count = 1;
    return ph_spawn(g, name, crew_task, c);
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

static void log_window(void *arg PH_UNUSED, const struct ph_sched_trace *t)
{
    ph_log("%.*s:%.*s: %s: concurrency window %u, busy %u, success %.3f, failure %.3f, failed cohorts %.3f",
           PH_FMT(t->transport), PH_FMT(t->nexthop), t->event, t->window, t->busy, t->success, t->failure, t->cohorts);
}

/* A destination that fills a fifth of the active queue is worth a warning. */
static void set_limits(struct qmgr *q)
{
    const struct qmgr_params *p = &q->p;

    ph_sched_dead_max(q->sched, (size_t)p->recipient_limit);
    ph_sched_recipients(q->sched, (uint32_t)(p->recipient_minimum > UINT32_MAX ? UINT32_MAX : p->recipient_minimum),
                        (uint32_t)(p->recipient_limit > UINT32_MAX ? UINT32_MAX : p->recipient_limit));
    ph_sched_clog_max(q->sched, !p->clog_warn_time ? 0 : p->active_limit >= UINT32_MAX ? UINT32_MAX :
                      p->active_limit < 5 ? 1 : (uint32_t)(p->active_limit / 5));
    ph_sched_tracer(q->sched, p->feedback_debug ? log_window : NULL, NULL);
}

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
    ph_list_init(&q->choices);
    q->sched = ph_sched_new(q->scope, ph_qmgr_limits, q);
    set_limits(q);
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
    q->pace_wake = ph_cond_new(q->scope);
    q->scan_s = ph_wall_s();
    if ((rc = ph_crew_init(&q->resolvers, q->scope, g, "resolve", RESOLVERS)) < 0 ||
        (rc = ph_crew_init(&q->settlers, q->scope, g, "settle", SETTLERS)) < 0 ||
        (rc = ph_crew_init(&q->finishers, q->scope, g, "finish", FINISHERS)) < 0 ||
        (rc = ph_queue_open(q->scope, q->conf, &events, q, &q->queue)) < 0 ||
        (rc = ph_queue_recover(q->queue)) < 0 || (rc = ph_queue_start(q->queue, g)) < 0)
        return rc;
    if ((rc = ph_feed_start(q)) >= 0 && (rc = ph_spawn(g, "pace", ph_pace_task, q)) >= 0)
        rc = ph_spawn(g, "clock", ph_clock_task, q);
    return rc;
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
    set_limits(q);
    ph_sched_reconfigure(q->sched);
    ph_sched_forget(q->sched);
    ph_pump(q);
    ph_feed_wake(q);
    ph_cond_signal(q->clock_wake);
    return 0;
}

static int crew_is_busy(const struct crew *c)
{
    return c->idle < c->count || !ph_list_is_empty(&c->jobs);
}

int ph_qmgr_is_busy(struct ph_service *v)
{
    struct qmgr *q = v->self;
    struct ph_sched_stats st;

    ph_sched_stats(q->sched, &st);
    return st.in_flight > 0 || crew_is_busy(&q->settlers) || crew_is_busy(&q->finishers);
}

/* ---- clients ---- */

/* What a socket is for (README.md of core/master).  The directories say who can
 * come; this says what he may speak as. */
static const struct { const char *place, *roles; } sockets[] = {
    { "private/", "intake agent control" },
    { "net/",     "intake agent" },
    { "public/",  "control" },
};

/* The roles of the socket that the client came through; "" when it is none of ours. */
static const char *roles_of(int fd)
{
    struct sockaddr_un sun;
    socklen_t n = sizeof sun;

    memset(&sun, 0, sizeof sun);
    if (getsockname(fd, (struct sockaddr *)&sun, &n) < 0 || sun.sun_family != AF_UNIX)
        return "";
    ph_str path = ph_str_first(ph_cstr(sun.sun_path), sizeof sun.sun_path - 1);
    path = ph_str_first(path, (size_t)(ph_str_rfind(path, '/') + 1));
    for (size_t i = 0; i < sizeof sockets / sizeof *sockets; i++)
        if (ph_str_ends(path, ph_cstr(sockets[i].place)))
            return sockets[i].roles;
    return "";
}

/* The kernel knows who connected: is it whom the hello names?  (A peer of
 * another pid namespace has pid 0 here.) */
static int is_whom_it_says(int fd, const struct ph_frame *hello)
{
    struct ucred who;
    socklen_t n = sizeof who;
    uint64_t pid;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) < 0)
        return 0;
    return ph_frame_get_u64(hello, "pid", &pid) != PH_FOUND || who.pid == 0 || pid == (uint64_t)who.pid;
}

/* 0, or PH_PERM. */
static int check_peer(struct ph_stream *io, const struct ph_frame *hello, ph_str role)
{
    int fd = ph_stream_fileno(io);

    if (fd < 0)
        return 0;                  /* this very process */
    if (!is_whom_it_says(fd, hello))
        return ph_fail(PH_PERM, "client that is not the process it says");
    ph_str roles = ph_cstr(roles_of(fd)), word;
    while ((word = ph_str_word(&roles)).n)
        if (ph_str_eq(word, role))
            return 0;
    return ph_fail(PH_PERM, "client with role \"%.*s\" at a socket that is not for it", PH_FMT(ph_str_first(role, 32)));
}

static int qmgr_serve(struct ph_service *v, struct ph_scope *session, struct ph_stream *io,
                      const struct ph_peer *peer PH_UNUSED)
{
    struct qmgr *q = v->self;
    struct ph_frame *hello;
    int rc = ph_frame_recv(io, session, 4096, &hello);
    ph_str role = rc < 0 ? PH_STR("") : ph_frame_value(hello, "role");

    if (rc == PH_EOF)
        return 0;
    if (rc < 0 || (rc = check_peer(io, hello, role)) < 0)
        return rc;
    if (ph_str_eq(role, PH_STR("control")))
        return ph_control_serve(q, session, io);
    if (ph_str_eq(role, PH_STR("intake")))
        return ph_queue_serve_intake(q->queue, session, io, hello);
    return ph_survive_serve(q, session, io);
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
