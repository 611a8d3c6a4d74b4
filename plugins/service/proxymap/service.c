/* service/proxymap: opens tables for other processes and looks things up for them: those
 * that may block, and those that the administrator put behind proxy:.
 * Reference: proxymap.8.
 *
 * service.c  clients and their requests      approve.c  which tables they may ask for
 * tables.c   opening each once; the end of a process that hangs in one */
#include <string.h>
#include <posthorn/error.h>
#include <posthorn/fold.h>
#include <posthorn/frame.h>
#include "proxymap.h"

#define FRAME_MS     1000          /* for a request to come in, which is sent in one piece, and an answer to leave */
#define IDLE_MS      250           /* a client that asks nothing leaves the process to others */
#define LIFE_MS      5000          /* and one that always asks does after this */
#define WALK_MS      10000         /* between two steps of a walk through a table */
#define WAIT_MAX_MS  120000
#define DENIED_MAX   100u          /* names of refused tables in the log */
#define READ_FLAGS   (PH_TABLE_FOLD | PH_TABLE_SECURE | PH_TABLE_NO_NUL | PH_TABLE_WITH_NUL)

/* One request. */
struct ask {
    struct pool *pool;
    struct ph_scope *scope;
    const struct ph_frame *in;
    struct ph_frame *out;
    const void *client;            /* its session */
    ph_str op, table;
    uint64_t flags, proxied, wait_ms;
    int walks;                     /* and there is more to come */
};

static int proxymap_open(struct ph_service *v)
{
    struct pool *p = ph_new(v->scope, struct pool);
    int rc;

    if (strcmp(v->name, "proxymap") != 0 && strcmp(v->name, "proxywrite") != 0)
        return ph_fail(PH_CONF, "service %s: a service of plugin proxymap is called proxymap (it reads tables) or proxywrite (it changes them)", v->name);
    *p = (struct pool){ .scope = v->scope, .conf = v->conf, .writes = strcmp(v->name, "proxywrite") == 0 };
    p->parameter = p->writes ? "proxy_write_maps" : "proxy_read_maps";
    p->entries = ph_map_new(v->scope);
    p->denied = ph_map_new(v->scope);
    v->self = p;
    if ((rc = watch_open()) < 0 || (rc = approve(p)) < 0)
        return rc;
    entries_open(p);
    return 0;
}

static void say(struct ask *q, uint64_t status, const char *text)
{
    ph_frame_u64(q->out, "status", status);
    if (text)
        ph_frame_str(q->out, "text", ph_str_dup(q->scope, ph_cstr(text)));
}

/* ---- may it be asked for ---- */

static int is_approved(const struct ask *q)
{
    const struct approved *a = &q->pool->approved;

    return ph_map_get(q->proxied || q->pool->writes ? a->proxied : a->named, q->table) != NULL;
}

static void deny(struct ask *q)
{
    const char *parameter = q->pool->parameter;
    ph_str shown = ph_str_first(q->table, 300);

    if (ph_map_count(q->pool->denied) < DENIED_MAX && !ph_map_set(q->pool->denied, shown, q->pool)) {
        ph_log_warn("request for unapproved table: \"%.*s\"", PH_FMT(shown));
        ph_log_warn("to have this table served, list proxy:%.*s in %s", PH_FMT(shown), parameter);
    }
    say(q, PH_REMOTE_DENY, ph_str_printf(q->scope, "proxymap refuses the table: list proxy:%.*s in %s", PH_FMT(shown), parameter).p);
}

static void deny_change(struct ask *q)
{
    ph_str shown = ph_str_first(q->table, 300);

    if (ph_map_count(q->pool->denied) < DENIED_MAX && !ph_map_set(q->pool->denied, ph_str_printf(q->scope, "change %.*s", PH_FMT(shown)), q->pool))
        ph_log_warn("request to change table \"%.*s\": this service only reads", PH_FMT(shown));
    say(q, PH_REMOTE_DENY, "proxymap only reads tables: proxywrite changes them");
}

/* ---- what is asked ---- */

static ph_str key_of(const struct ask *q, const struct ph_table *t)
{
    ph_str key = ph_frame_value(q->in, "key");

    /* A table that is changed is open once, so its handle does not fold. */
    return q->pool->writes && q->flags & PH_TABLE_FOLD && !(t->is & (PH_TABLE_PATTERN | PH_TABLE_NOFOLD)) ? ph_key_fold(q->scope, key) : key;
}

static int lookup(struct ask *q, struct entry *e)
{
    ph_str val;
    int rc = ph_table_lookup(e->table, key_of(q, e->table), q->scope, &val);

    if (rc == PH_FOUND)
        ph_frame_str(q->out, "value", val);
    return rc;
}

static int update(struct ask *q, struct entry *e)
{
    return ph_table_update(e->table, key_of(q, e->table), ph_frame_value(q->in, "value"));
}

static int remove_(struct ask *q, struct entry *e)
{
    return ph_table_remove(e->table, key_of(q, e->table));
}

static int open_(struct ask *q PH_UNUSED, struct entry *e PH_UNUSED)
{
    return PH_FOUND;
}

static int walk(struct ask *q, struct entry *e)
{
    uint64_t first = 0;
    ph_str key, val;

    if (ph_frame_get_u64(q->in, "first", &first) == PH_FOUND && first)
        e->walker = q->client;
    if (e->walker != q->client)
        return ph_fail(PH_TEMP, "the walk through it was interrupted by another");
    int rc = ph_table_next(e->table, first != 0, q->scope, &key, &val);
    if (rc == PH_FOUND) {
        ph_frame_str(q->out, "key", key);
        ph_frame_str(q->out, "value", val);
        q->walks = 1;
    }
    return rc;
}

static const struct { const char *op; int changes; int (*run)(struct ask *, struct entry *) PH_YIELDS; } ops[] = {
    { "open", 0, open_ }, { "lookup", 0, lookup }, { "update", 1, update }, { "remove", 1, remove_ }, { "walk", 0, walk },
};

/* The call itself, in its time. */
static int run(struct ask *q, struct entry *e, size_t op)
{
    if (!e->table)
        return ph_fail(e->rc, "%s", e->why);
    watch_begin(e, (int64_t)q->wait_ms);
    int64_t old = ph_deadline_set(ph_in_ms((int64_t)q->wait_ms));
    int rc = ops[op].run(q, e);
    ph_deadline_set(old);
    watch_end();
    return rc;
}

static void conclude(struct ask *q, const struct entry *e, int rc)
{
    if (rc == PH_FOUND || rc == PH_NONE) {
        say(q, rc == PH_FOUND ? PH_REMOTE_OK : PH_REMOTE_NONE, NULL);
        ph_frame_u64(q->out, "is", e->table->is);
        return;
    }
    if (rc >= 0)
        ph_fail(PH_TEMP, "the table answered %d", rc);
    say(q, rc == PH_CONF ? PH_REMOTE_CONFIG : PH_REMOTE_RETRY, ph_error());
}

/* Is it a request: 1, or 0. */
static int parse(struct ask *q)
{
    q->op = ph_frame_value(q->in, "op");
    q->table = ph_frame_value(q->in, "table");
    return ph_frame_get_u64(q->in, "flags", &q->flags) == PH_FOUND && q->flags <= UINT32_MAX && ph_frame_get_u64(q->in, "proxied", &q->proxied) == PH_FOUND &&
           ph_frame_get_u64(q->in, "wait", &q->wait_ms) == PH_FOUND && q->wait_ms <= WAIT_MAX_MS && q->table.n;
}

static void handle(struct ask *q)
{
    size_t op = 0, n = sizeof ops / sizeof *ops;

    if (!parse(q)) {
        say(q, PH_REMOTE_BAD, "that is no request");
        return;
    }
    while (op < n && !ph_str_eq(q->op, ph_cstr(ops[op].op)))
        op++;
    if (op == n) {
        say(q, PH_REMOTE_BAD, "unknown request");
    } else if (ops[op].changes && !q->pool->writes) {
        deny_change(q);
    } else if (!is_approved(q)) {
        deny(q);
    } else {
        struct entry *e = entry_get(q->pool, q->table, q->pool->writes ? PH_TABLE_WRITE : (uint32_t)q->flags & READ_FLAGS);

        conclude(q, e, run(q, e, op));
    }
}

/* ---- clients ---- */

/* One that is too large for a frame is the table's fault, and no lookup's answer. */
static int send_answer(struct ask *q, struct ph_stream *io)
{
    if (ph_frame_value(q->out, "value").n + ph_frame_value(q->out, "key").n > PH_FRAME_MAX - 4096) {
        q->out = ph_frame_new(q->scope);
        say(q, PH_REMOTE_RETRY, "the answer is too large");
    }
    /* A table may have stopped the clock. */
    int rc = ph_yield();
    ph_stream_deadline(io, ph_in_ms(FRAME_MS));
    if (rc == 0)
        rc = ph_frame_send(io, q->out);
    return rc < 0 ? rc : ph_stream_flush(io);
}

/* The next request: > 0; PH_TIMEOUT: none comes. */
static int next_request(struct ph_stream *io, struct ph_scope *s, int64_t within_ms, struct ph_frame **in)
{
    ph_str seen;

    ph_stream_deadline(io, ph_in_ms(within_ms));
    int rc = ph_stream_peek(io, &seen);
    if (rc < 0)
        return rc;
    ph_stream_deadline(io, ph_in_ms(FRAME_MS));
    return ph_frame_recv(io, s, 0, in);
}

/* Its walks end with it. */
static void forget_walks(const struct pool *p, const void *client)
{
    size_t at = 0;
    ph_str key;
    void *value;

    while (ph_map_next(p->entries, &at, &key, &value)) {
        struct entry *e = value;

        if (e->walker == client)
            e->walker = NULL;
    }
}

static int32_t proxymap_serve(struct ph_service *v, struct ph_scope *session, struct ph_stream *io, const struct ph_peer *peer PH_UNUSED)
{
    struct ph_scope *step = ph_scope_new(session);
    int64_t until = ph_in_ms(LIFE_MS), within = FRAME_MS;
    struct ph_frame *in;
    int rc;

    while ((rc = next_request(io, step, within, &in)) > 0) {
        struct ask q = { .pool = v->self, .scope = step, .in = in, .out = ph_frame_new(step), .client = session };

        handle(&q);
        if ((rc = send_answer(&q, io)) < 0)
            break;
        ph_scope_reset(step);
        within = q.walks ? WALK_MS : IDLE_MS;
        if (!q.walks && ph_now_ms() >= until)
            break;
    }
    forget_walks(v->self, session);
    return rc == PH_EOF || rc == PH_TIMEOUT ? 0 : rc;
}

PH_PLUGIN_SERVICE(proxymap, PH_IS(.summary = "looks things up for other processes: tables that may block, and what stands behind proxy:",
                                  .exec = PH_COROUTINE, .concurrency = PH_MANY_CALLS),
    /* With two accounts who reads is of the network's: databases are asked over it, and a
     * broken client library must not be the queue's owner.  Who writes owns data_directory. */
    .needs = "tables from-network network@proxymap one-client@proxymap data@proxywrite",
    .open = proxymap_open,
    .serve = proxymap_serve);
