/* remote: a table that the proxymap(8) pool has, asked for over IPC: one that may
 * block, or that stands behind proxy:.
 *
 * Whatever happens to the pool costs the calls under way, and those are "could not
 * look".  So that a database that hangs takes neither this process's sessions nor
 * the pool from others, a table has CALLS_MAX calls under way from here, the others
 * wait for their turn; and after FAILURES_MAX calls in a row that got no answer, or
 * a late failure, it is left alone for a while (its calls fail at once), then asked
 * by one of us, who speaks for all.  A failure that comes soon is no reason: it costs
 * nothing, and a client who finds a key that fails must not shut the table for others.
 *
 * Frames: op (open, lookup, update, remove, walk), table, flags, proxied, wait (ms),
 * key, value, first; answered by status (below), is, key, value, text. */
#include <string.h>
#include <posthorn/client.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include <posthorn/map.h>
#include "core/ipc/client.h"
#include "core/plugin/registry.h"
#include "core/plugin/tables.h"

#define CALL_MS       60000        /* at most, of ipc_timeout and of the caller's own deadline */
#define SPARE_MS      500          /* the pool gives up so much earlier, and says why */
#define CALLS_MAX     8u
#define FAILURES_MAX  5u
#define LATE_MS       1000
#define PAUSE_MS      1000         /* doubled while it fails */
#define PAUSE_MAX_MS  30000

/* One for each table of the pool, however many parameters and services inline name it. */
struct remote {
    const char *service;
    ph_str table;                  /* "type:name" */
    int proxied, is_known;
    uint32_t is;                   /* PH_TABLE_PATTERN, or 0 */
    unsigned calls;                /* under way */
    struct ph_cond *turn;          /* others wait */
    unsigned failures;             /* in a row */
    int64_t shut_since, shut_until, pause_ms;      /* shut_until 0: it is asked */
    int is_tried;                  /* by one, while it is shut */
};

/* What one handle has of it. */
struct view {
    struct remote *r;
    struct ph_scope *walk;         /* of the walk under way, or NULL */
    struct ph_stream *walk_io;
};

static struct remote *remote_of(const struct ph_table *t)
{
    return ((const struct view *)t->self)->r;
}

/* One call, from its turn to its answer. */
struct call {
    struct remote *r;
    int64_t begun_ms, deadline, old_deadline;
    int is_trial;
};

/* ---- turns, and tables that are left alone ---- */

static int refuse(const struct remote *r)
{
    return ph_fail(PH_TEMP, "it is not asked for %lld ms, because calls in a row failed", (long long)(r->shut_until - ph_now_ms()));
}

/* Is it this call's part to find out whether a table that was shut answers? */
static int may_ask(struct remote *r, struct call *c)
{
    if (!r->shut_until)
        return 0;
    if (r->is_tried || ph_now_ms() < r->shut_until)
        return refuse(r);
    r->is_tried = c->is_trial = 1;
    return 0;
}

/* A turn that comes when there is no time left for an answer is handed on: asking would cost the pool a process for nothing. */
static int await_turn(struct remote *r, int64_t deadline)
{
    int rc = 0, is_late = 0;

    while (rc == 0 && !r->shut_until && r->calls >= CALLS_MAX) {
        rc = ph_cond_wait(r->turn, deadline);
        is_late = deadline - ph_now_ms() < SPARE_MS;
    }
    if (rc < 0 || r->shut_until || !is_late)
        return rc;
    ph_cond_signal(r->turn);
    return PH_TIMEOUT;
}

/* 0, and leave() must follow; or negative. */
static int enter(struct remote *r, struct call *c)
{
    int64_t most = ph_client_timeout_ms() < CALL_MS ? ph_client_timeout_ms() : CALL_MS;
    int rc = 0;

    *c = (struct call){ .r = r, .begun_ms = ph_now_ms(), .deadline = ph_in_ms(most) };
    if (ph_deadline() < c->deadline)
        c->deadline = ph_deadline();
    if ((rc = await_turn(r, c->deadline)) < 0)
        return rc == PH_CANCEL ? rc : ph_fail(PH_TEMP, "%u others are waiting for the answer of service %s", CALLS_MAX, r->service);
    if ((rc = may_ask(r, c)) < 0)
        return rc;
    r->calls++;
    c->begun_ms = ph_now_ms();     /* of the wait before this the table is not guilty */
    c->old_deadline = ph_deadline_set(c->deadline);
    return 0;
}

static void shut(struct remote *r, const char *why)
{
    int64_t now = ph_now_ms();

    if (!r->shut_until) {
        ph_log_warn("table %.*s: %u calls in a row failed: not asked for a while, until it answers: %s", PH_FMT(r->table), r->failures, why);
        r->shut_since = now;
        r->pause_ms = PAUSE_MS;
    } else {
        r->pause_ms = r->pause_ms * 2 < PAUSE_MAX_MS ? r->pause_ms * 2 : PAUSE_MAX_MS;
    }
    r->shut_until = now + r->pause_ms;
    ph_cond_broadcast(r->turn);    /* who waits fails now, and not one by one */
}

static void reopen(struct remote *r, const char *how)
{
    if (r->shut_until)
        ph_log("table %.*s: %s, after %lld s", PH_FMT(r->table), how, (long long)((ph_now_ms() - r->shut_since + 500) / 1000));
    r->shut_until = 0;
    r->failures = 0;
}

/* rc: of the call.  is_trouble: without an answer, or late. */
static void leave(struct call *c, int rc, int is_trouble)
{
    struct remote *r = c->r;

    ph_deadline_set(c->old_deadline);
    r->calls--;
    if (c->is_trial)
        r->is_tried = 0;
    if (rc >= 0)
        reopen(r, "answers again");
    else if (c->is_trial && !is_trouble && rc != PH_CANCEL)
        reopen(r, "fails without delay now, so it is asked again");
    else if (is_trouble && (r->shut_until ? c->is_trial : ++r->failures >= FAILURES_MAX))
        shut(r, ph_error());
    ph_cond_signal(r->turn);
}

/* ---- requests and answers ---- */

static struct ph_frame *request(struct ph_scope *s, const struct ph_table *t, const char *op, const struct call *c)
{
    struct ph_frame *f = ph_frame_new(s);
    int64_t left = c->deadline - ph_now_ms() - SPARE_MS;

    ph_frame_cstr(f, "op", op);
    ph_frame_str(f, "table", c->r->table);
    ph_frame_u64(f, "flags", t->flags);
    ph_frame_u64(f, "proxied", (uint64_t)c->r->proxied);
    ph_frame_i64(f, "wait", left > SPARE_MS ? left : SPARE_MS);
    return f;
}

/* What a lookup there says already: which table, which key. */
static ph_str without_place(struct ph_scope *s, const struct ph_table *t, ph_str text)
{
    ph_str place = ph_str_printf(s, "table %.*s:%.*s: ", PH_FMT(t->type), PH_FMT(t->name));

    if (ph_str_starts(text, place))
        text = ph_str_from(text, place.n);
    if (ph_str_starts(text, PH_STR("lookup of \""))) {
        ptrdiff_t end = ph_str_search(text, PH_STR("\": "));

        text = end < 0 ? text : ph_str_from(text, (size_t)end + 3);
    }
    return text;
}

/* The words of a failure there, with the code it has here. */
static int failed(struct ph_scope *s, const struct ph_table *t, uint64_t status, const struct ph_frame *a)
{
    ph_str text = ph_str_first(without_place(s, t, ph_frame_value(a, "text")), 500);
    int code = status == PH_REMOTE_DENY || status == PH_REMOTE_CONFIG ? PH_CONF : PH_TEMP;

    return ph_fail(code, "%.*s", PH_FMT(text.n ? text : PH_STR("the pool does not say why")));
}

/* PH_FOUND, PH_NONE, or negative; what cannot be understood is no answer (*is_trouble). */
static int understand(struct ph_scope *s, struct ph_table *t, const struct ph_frame *a, int *is_trouble)
{
    struct remote *r = remote_of(t);
    uint64_t status = PH_REMOTE_BAD, is = 0;

    if (ph_frame_get_u64(a, "status", &status) != PH_FOUND || status > PH_REMOTE_CONFIG) {
        *is_trouble = 1;
        return ph_fail(PH_TEMP, "service %s: an answer that is none", r->service);
    }
    if (status > PH_REMOTE_NONE)
        return failed(s, t, status, a);
    if (ph_frame_get_u64(a, "is", &is) == PH_FOUND) {
        r->is = (uint32_t)is & PH_TABLE_PATTERN;
        r->is_known = 1;
    }
    t->is = r->is | PH_TABLE_NOFOLD;
    return status == PH_REMOTE_OK ? PH_FOUND : PH_NONE;
}

/* A connection's failure is the pool's, and says nothing about the key. */
static int unanswered(struct call *c, int rc, int *is_trouble)
{
    int64_t took = ph_now_ms() - c->begun_ms;

    if (rc == PH_CANCEL)
        return rc;
    *is_trouble = rc != PH_TIMEOUT || took >= LATE_MS;
    if (rc == PH_TIMEOUT)
        return ph_fail(PH_TEMP, "service %s: no answer within %lld ms", c->r->service, (long long)took);
    return ph_wrap(PH_TEMP, "no answer of the pool");
}

/* Ask on whatever connection there is. */
static int converse(struct ph_table *t, struct call *c, struct ph_scope *s, const struct ph_frame *q, struct ph_frame **a)
{
    struct remote *r = remote_of(t);
    int is_trouble = 0, rc = ph_service_call(s, r->service, q, a);

    rc = rc < 0 ? unanswered(c, rc, &is_trouble) : understand(s, t, *a, &is_trouble);
    leave(c, rc, is_trouble || (rc < 0 && rc != PH_CANCEL && rc != PH_CONF && ph_now_ms() - c->begun_ms >= LATE_MS));
    return rc;
}

static int32_t remote_open(struct ph_table *t PH_UNUSED, ph_str spec PH_UNUSED)
{
    return 0;
}

void ph_remote_learn(struct ph_table *t)
{
    struct remote *r = remote_of(t);
    struct ph_frame *a;
    struct call c;

    PH_SCOPED(s, t->scope);
    if (!r->is_known && ph_in_task() && enter(r, &c) == 0)
        converse(t, &c, s, request(s, t, "open", &c), &a);
    t->is = r->is | PH_TABLE_NOFOLD;
}

static int32_t remote_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    struct ph_frame *q, *a;
    struct call c;
    int rc = enter(remote_of(t), &c);

    if (rc < 0)
        return rc;
    q = request(out, t, "lookup", &c);
    ph_frame_str(q, "key", key);
    if ((rc = converse(t, &c, out, q, &a)) == PH_FOUND && ph_frame_get(a, "value", val) != PH_FOUND)
        return ph_fail(PH_TEMP, "service %s: an answer without a value", c.r->service);
    return rc;
}

static int change(struct ph_table *t, const char *op, ph_str key, const ph_str *val)
{
    PH_SCOPED(s, t->scope);
    struct ph_frame *q, *a;
    struct call c;
    int rc = enter(remote_of(t), &c);

    if (rc < 0)
        return rc;
    q = request(s, t, op, &c);
    ph_frame_str(q, "key", key);
    if (val)
        ph_frame_str(q, "value", *val);
    return converse(t, &c, s, q, &a);
}

static int32_t remote_update(struct ph_table *t, ph_str key, ph_str val)
{
    return change(t, "update", key, &val);
}

static int32_t remote_remove(struct ph_table *t, ph_str key)
{
    return change(t, "remove", key, NULL);
}

/* ---- walks: one connection for each, because the place in the table is the pool's ---- */

static void end_walk(struct view *v)
{
    ph_scope_free(v->walk);
    v->walk = NULL;
    v->walk_io = NULL;
}

static int step(struct view *v, struct ph_scope *s, const struct ph_frame *q, struct ph_frame **a, int64_t deadline)
{
    ph_stream_deadline(v->walk_io, deadline);
    int rc = ph_frame_send(v->walk_io, q);

    if (rc == 0)
        rc = ph_stream_flush(v->walk_io);
    return rc < 0 ? rc : ph_frame_recv(v->walk_io, s, 0, a);
}

static int begin_walk(struct ph_table *t)
{
    struct view *v = t->self;

    end_walk(v);
    v->walk = ph_scope_new(t->scope);
    return ph_service_dial(v->walk, v->r->service, &v->walk_io);
}

static int32_t remote_walk(struct ph_table *t, int32_t first, struct ph_scope *out, ph_str *key, ph_str *val)
{
    struct view *v = t->self;
    struct remote *r = v->r;
    struct ph_frame *q, *a = NULL;
    struct call c = { .r = r };
    int is_trouble = 0, rc = first || v->walk ? enter(r, &c) : ph_fail(PH_TEMP, "the walk through it was interrupted");

    if (rc < 0)
        return rc;
    q = request(out, t, "walk", &c);
    ph_frame_u64(q, "first", first != 0);
    if ((rc = first ? begin_walk(t) : 0) == 0)
        rc = step(v, out, q, &a, c.deadline);
    rc = rc < 0 ? unanswered(&c, rc, &is_trouble) : understand(out, t, a, &is_trouble);
    leave(&c, rc, is_trouble);
    if (rc == PH_FOUND && (ph_frame_get(a, "key", key) != PH_FOUND || ph_frame_get(a, "value", val) != PH_FOUND))
        rc = ph_fail(PH_TEMP, "service %s: an answer without key and value", r->service);
    if (rc != PH_FOUND)
        end_walk(v);
    return rc;
}

static const struct ph_table_plugin remote_table = {
    .plugin = { .size = sizeof(struct ph_table_plugin), .abi = PH_ABI, .kind = PH_KIND_TABLE, .revision = PH_TABLE_REVISION, .exec = PH_COROUTINE,
                .concurrency = PH_MANY_CALLS, .param_stride = sizeof(struct ph_param), .name = "proxy", .summary = "a table of the proxymap pool" },
    .open = remote_open,
    .lookup = remote_lookup,
    .update = remote_update,
    .remove = remote_remove,
    .sequence = remote_walk,
};

int ph_remote_is(const struct ph_table *t)
{
    return t->ops == &remote_table;
}

static struct ph_map *remotes;     /* of this process, by "proxied service type:name" */

static struct remote *find_remote(const struct ph_table *t, const char *service, int proxied)
{
    PH_SCOPED(s, NULL);
    ph_str key = ph_str_printf(s, "%d %s %.*s:%.*s", proxied, service, PH_FMT(t->type), PH_FMT(t->name));
    struct remote *r = remotes ? ph_map_get(remotes, key) : NULL;

    if (r)
        return r;
    struct ph_scope *forever = ph_scope_new(NULL);
    r = ph_new(forever, struct remote);
    *r = (struct remote){ .service = service, .proxied = proxied, .turn = ph_cond_new(forever), .is = ph_plugin_is(PH_KIND_TABLE, t->type) & PH_TABLE_PATTERN };
    r->table = ph_str_printf(forever, "%.*s:%.*s", PH_FMT(t->type), PH_FMT(t->name));
    if (!remotes)
        remotes = ph_map_new(NULL);
    ph_map_set(remotes, key, r);
    return r;
}

void ph_remote_open(struct ph_table *t, const char *service, int proxied)
{
    struct view *v = ph_new(t->scope, struct view);

    v->r = find_remote(t, service, proxied);
    t->ops = &remote_table;
    t->self = v;
    t->is = v->r->is | PH_TABLE_NOFOLD;            /* the pool folds */
}
