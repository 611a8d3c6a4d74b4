/* world: see world.h. */
#include <stdlib.h>
#include <string.h>
#include <posthorn/buf.h>
#include <posthorn/client.h>
#include <posthorn/error.h>
#include <posthorn/intake.h>
#include <posthorn/policy.h>
#include <posthorn/table.h>
#include <posthorn/wire.h>
#include "core/conf/conf.h"
#include "core/run/log.h"
#include "core/run/loop.h"
#include "core/plugin/registry.h"
#include "core/queue/record.h"
#include "world.h"

#define START_MS 1000000

struct world world;
static struct ph_scope *for_ever, *run_scope;   /* the second: what was committed */
static struct world_service *const *services;
static size_t service_count;
static struct ph_group *group;
static unsigned serving;

/* ---- plugins: those that are linked in ---- */

extern const struct ph_policy_plugin policy_basic_LTX_ph_plugin;
extern const struct ph_table_plugin table_inline_LTX_ph_plugin, table_static_LTX_ph_plugin;

static const struct ph_plugin *const linked[] = {
    &policy_basic_LTX_ph_plugin.plugin, &table_inline_LTX_ph_plugin.plugin, &table_static_LTX_ph_plugin.plugin,
};

int ph_plugin_find(uint32_t kind, ph_str name, const struct ph_plugin **desc)
{
    for (size_t i = 0; i < sizeof linked / sizeof *linked; i++)
        if (linked[i]->kind == kind && ph_str_eq(ph_cstr(linked[i]->name), name)) {
            *desc = linked[i];
            return 0;
        }
    return ph_fail(PH_CONF, "no plugin %.*s is linked in", PH_FMT(name));
}

int ph_plugin_provider(uint32_t kind, ph_str what, ph_str *name)
{
    const struct ph_policy_plugin *p = &policy_basic_LTX_ph_plugin;

    for (uint32_t i = 0; kind == PH_KIND_POLICY && i < p->name_count; i++)
        if (ph_str_eq(ph_cstr(p->names[i].name), what)) {
            *name = PH_STR("basic");
            return PH_FOUND;
        }
    return PH_NONE;
}

int ph_plugin_not_provided(uint32_t kind PH_UNUSED, const char *what, ph_str name)
{
    return ph_fail(PH_CONF, "%s \"%.*s\"", what, PH_FMT(name));
}

/* ---- services ---- */

static void begin(void)
{
    static const struct ph_log_options log = { .file = "/dev/null", .service = "fuzz", .host = "mx.test" };

    if (for_ever)
        return;
    for_ever = ph_scope_new(NULL);
    FUZZ_CHECK(ph_log_open(&log) == 0, "%s", ph_error());
    for (size_t i = 0; i < sizeof linked / sizeof *linked; i++)
        ph_conf_register(linked[i]->params, linked[i]->param_count, linked[i]->param_stride);
}

struct world_service *world_open(const struct ph_service_plugin *ops, const char *main_cf)
{
    begin();
    struct world_service *w = ph_new(for_ever, struct world_service);

    ph_conf_register(ops->plugin.params, ops->plugin.param_count, ops->plugin.param_stride);
    w->ops = ops;
    w->v = (struct ph_service){ .scope = for_ever, .ops = ops, .name = ops->plugin.name, .queue_dir_fd = -1 };
    FUZZ_CHECK(ph_conf_parse(for_ever, "/nowhere", "main.cf", ph_cstr(main_cf), &w->v.conf) == 0, "%s", ph_error());
    FUZZ_CHECK(ops->open(&w->v) >= 0, "%s", ph_error());
    return w;
}

void world_set(struct world_service *const *list, size_t n)
{
    services = list;
    service_count = n;
}

struct session {
    const struct world_service *w;
    struct ph_scope *scope;
    struct ph_stream *io;
    struct ph_peer peer;
    unsigned *count;
};

static void serve(void *arg)
{
    struct session *x = arg;
    struct ph_service v = x->w->v;
    unsigned *count = x->count;

    int rc = x->w->ops->serve(&v, x->scope, x->io, &x->peer);
    if (count)
        world.ended = rc;
    ph_scope_free(x->scope);       /* as the worker does; it holds x */
    if (count)
        --*count;
}

static int start(struct ph_scope *s, const struct world_service *w, const struct ph_peer *peer, size_t buffer, unsigned *count, struct ph_stream **io)
{
    struct ph_scope *theirs = ph_scope_new(NULL);
    struct session *x = ph_new(theirs, struct session);

    *x = (struct session){ .w = w, .scope = theirs, .peer = *peer, .count = count };
    ph_stream_pair(s, theirs, buffer, io, &x->io);
    if (count)
        ++*count;
    return ph_spawn(group, w->ops->plugin.name, serve, x);
}

void world_serve(struct ph_scope *s, const struct world_service *w, const struct ph_peer *peer, size_t buffer, struct ph_stream **io)
{
    FUZZ_CHECK(start(s, w, peer, buffer, &serving, io) == 0, "%s", ph_error());
}

int world_is_serving(void)
{
    return serving > 0;
}

int ph_service_dial(struct ph_scope *s, const char *name, struct ph_stream **io)
{
    static const struct ph_peer peer = { .size = sizeof peer, .inline_ = 1 };

    for (size_t i = 0; i < service_count; i++)
        if (strcmp(services[i]->ops->plugin.name, name) == 0)
            return start(s, services[i], &peer, 0, NULL, io);
    return ph_fail(PH_CONF, "no service %s here", name);
}

int ph_service_call(struct ph_scope *s, const char *name, const struct ph_frame *request, struct ph_frame **reply)
{
    PH_SCOPED(t, NULL);
    struct ph_stream *io;
    int rc = ph_service_dial(t, name, &io);

    if (rc == 0 && (rc = ph_frame_send(io, request)) == 0 && (rc = ph_stream_flush(io)) == 0)
        rc = ph_frame_recv(io, s, 0, reply);
    return rc == PH_EOF ? PH_TEMP : rc < 0 ? rc : 0;
}

/* ---- the loop ---- */

struct job {
    void (*fn)(void *);
    void *arg;
};

static int job(void *arg)
{
    struct job *j = arg;

    PH_SCOPED(s, NULL);

    group = ph_group_new(s);
    j->fn(j->arg);
    world_settle();
    FUZZ_CHECK(ph_group_count(group) == 0, "%zu tasks are left", ph_group_count(group));
    return 0;
}

void world_run(struct ph_scope *s, void (*fn)(void *), void *arg)
{
    struct job j = { fn, arg };

    begin();
    world = (struct world){ .message_max = 1 << 20 };
    run_scope = s;
    serving = 0;
    ph_clock_simulate(START_MS);
    FUZZ_CHECK(ph_run_main(job, &j) == 0, "%s", ph_error());
    ph_clock_simulate(0);
}

void world_settle(void)
{
    ph_sleep_until(ph_in_ms(1));
}

unsigned world_choice(ph_str *in, unsigned n)
{
    return (fuzz_byte(in) - '0') % n;
}

size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

size_t world_heap(void)
{
    return __sanitizer_get_current_allocated_bytes ? __sanitizer_get_current_allocated_bytes() : 0;
}

/* ---- the queue ---- */

struct ph_intake {
    struct ph_buf content, rcpts, attrs;
    ph_str sender, id;
    uint32_t rcpt_count, hold, in_body;
};

int ph_intake_begin(struct ph_scope *s, uint32_t who PH_UNUSED, struct ph_intake **q)
{
    struct ph_intake *n = ph_new(s, struct ph_intake);

    if (++world.begun == world.fail_begin)
        return ph_fail(PH_TEMP, "no slot is free");
    n->id = ph_str_printf(s, "4XyZ01%07uz", world.begun);
    ph_buf_init(&n->content, s, world.message_max);
    ph_buf_init(&n->rcpts, s, PH_RCPTS_BYTES);
    ph_buf_init(&n->attrs, s, PH_ENVELOPE_MAX);
    *q = n;
    return 0;
}

ph_str ph_intake_id(const struct ph_intake *q) { return q->id; }
uint64_t ph_intake_bytes(const struct ph_intake *q) { return q->content.n; }
uint32_t ph_intake_recipients(const struct ph_intake *q) { return q->rcpt_count; }
void ph_intake_facts(struct ph_intake *q PH_UNUSED, uint32_t facts PH_UNUSED) { }
void ph_intake_hold(struct ph_intake *q) { q->hold = 1; }

int ph_intake_write(struct ph_intake *q, ph_str bytes)
{
    ph_buf_str(&q->content, bytes);
    return q->content.full ? ph_fail(PH_PERM, "message size exceeds the limit") : 0;
}

int ph_intake_write_plain(struct ph_intake *q, ph_str bytes)
{
    return ph_find_stray(bytes) < bytes.n ? PH_NONE : ph_intake_write(q, bytes);
}

int ph_intake_body(struct ph_intake *q)
{
    if (q->in_body)
        return 0;
    q->in_body = 1;
    return ph_intake_write(q, PH_STR("\r\n"));
}

void ph_intake_sender(struct ph_intake *q, ph_str a)
{
    q->sender = ph_str_dup(run_scope, a);
    ph_record_put_attr(&q->attrs, "sender", a);
}

int ph_intake_recipient(struct ph_intake *q, ph_str address, ph_str original, ph_str orcpt, ph_str notify)
{
    int rc = ph_record_put_rcpt(&q->rcpts, address, original, orcpt, notify);

    q->rcpt_count += rc == 0;
    return rc;
}

int ph_intake_expanded(struct ph_intake *q, ph_str address, ph_str original, ph_str orcpt, ph_str notify)
{
    int rc = ph_record_put_expanded(&q->rcpts, address, original, orcpt, notify);

    q->rcpt_count += rc == 0;
    return rc;
}

void ph_intake_forget_recipients(struct ph_intake *q)
{
    ph_buf_truncate(&q->rcpts, 0);
    q->rcpt_count = 0;
}

int ph_intake_attr(struct ph_intake *q, const char *name, ph_str value)
{
    return value.n ? ph_record_put_attr(&q->attrs, name, value) : 0;
}

static void remember(const struct ph_intake *q)
{
    if (world.committed < sizeof world.message / sizeof *world.message)
        world.message[world.committed] = (struct world_message){
            .sender = q->sender, .rcpts = ph_str_dup(run_scope, ph_buf_view(&q->rcpts)), .attrs = ph_str_dup(run_scope, ph_buf_view(&q->attrs)),
            .content = ph_str_dup(run_scope, ph_buf_view(&q->content)), .rcpt_count = q->rcpt_count, .hold = q->hold };
    world.committed++;
}

int ph_intake_commit(struct ph_intake *q)
{
    int rc = ph_yield();           /* the disk */

    if (rc < 0)
        return rc;
    if (world.committed + 1 == world.fail_commit) {
        world.fail_commit = 0;
        return ph_fail(PH_TEMP, "fdatasync: Input/output error");
    }
    remember(q);
    return 0;
}
