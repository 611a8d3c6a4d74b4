/* What servers of tables may answer: tcp, socketmap, memcache and redis against servers
 * that say anything.
 *
 * Input: a digit each for the table (see tables) and the keys (see keys); then the
 * servers' bytes.  0xff is not sent: the server waits until the table has nothing to do.
 * 0xfd: hang up; what follows is for the next connection.  0xfc: silence for 200 s,
 * which is longer than any limit.
 *
 * The target stands in for link.c: connections, kept and new. */
#include <stdlib.h>
#include <string.h>
#include <posthorn/buf.h>
#include <posthorn/clock.h>
#include <posthorn/error.h>
#include "core/conf/conf.h"
#include "core/run/loop.h"
#include "plugins/table/common/client.h"
#include "plugins/table/socket/link.h"
#include "fuzz.h"

#define CONNS 40

extern const struct ph_table_plugin table_tcp_LTX_ph_plugin, table_socketmap_LTX_ph_plugin, table_memcache_LTX_ph_plugin, table_redis_LTX_ph_plugin;

/* found, none: what the servers must have said for that answer. */
static const struct { const struct ph_table_plugin *ops; const char *spec, *conf; int is_update; const char *found, *none[4]; } tables[] = {
    { &table_tcp_LTX_ph_plugin, "x:1", "", 0, "2", { "5" } },
    { &table_socketmap_LTX_ph_plugin, "inet:x:1:map", "", 0, "OK ", { "NOTFOUND" } },
    { &table_memcache_LTX_ph_plugin, "x", "", 0, "VALUE ", { "END\r\n" } },
    { &table_memcache_LTX_ph_plugin, "x", "x_data_size_limit = 5\nx_max_try = 1\nx_key_format = k%s\n", 0, "VALUE k", { "END\r\n" } },
    { &table_memcache_LTX_ph_plugin, "x", "", 1, "STORED\r\n", { "NOT_STORED\r\n" } },
    { &table_redis_LTX_ph_plugin, "x", "", 0, "", { "$-1\r\n", "*", ":0\r\n", "$0\r\n" } },
    { &table_redis_LTX_ph_plugin, "x", "x_query = SMEMBERS s:%s\nx_expansion_limit = 3\nx_result_format = <%s>\nx_hosts = a b\n", 0, "", { "$-1\r\n", "*", ":0\r\n", "$0\r\n" } },
    { &table_redis_LTX_ph_plugin, "x", "x_user = u\nx_password = p\nx_db = 3\nx_hosts = a b\nx_retry_interval = 5\n", 0, "+", { "$-1\r\n", "*", ":0\r\n", "$0\r\n" } },
};
#define TABLES (sizeof tables / sizeof *tables)

static const char *const keys[] = { "k", "o'neil@x.test", "two words", "%41\xc3\xa9", "longer-than-most-keys-are-but-not-too-long@example.com" };
#define KEYS (sizeof keys / sizeof *keys)

static struct {
    struct ph_scope *s;
    ph_str in;
    unsigned table, key, count, taken, given;
    struct ph_buf said;
    struct ph_group *servers;
} run;

/* ---- the servers ---- */

static void pause_here(struct ph_stream *io, int64_t ms)
{
    if (ph_stream_flush(io) >= 0)
        ph_sleep_until(ph_in_ms(ms));
}

static void drain(void *arg)
{
    struct ph_stream *io = arg;
    ph_str view;

    while (ph_stream_peek(io, &view) > 0)
        ph_stream_skip(io, view.n);
}

static void serve(void *arg)
{
    struct ph_stream *io = arg;
    unsigned b = 0;

    ph_spawn(run.servers, "reader", drain, io);
    while (run.in.n && (b = fuzz_byte(&run.in)) != 0xfd) {
        char c = (char)b;

        if (b == 0xff || b == 0xfc) {
            pause_here(io, b == 0xff ? 1 : 200000);
            continue;
        }
        ph_buf_putc(&run.said, c);
        ph_stream_write(io, &c, 1);
    }
    pause_here(io, 1);
    ph_stream_close(io);
}

/* ---- link.h ---- */

int link_inet(struct links *l, struct ph_scope *s, ph_str host PH_UNUSED, ph_str port PH_UNUSED)
{
    *l = (struct links){ .scope = s };
    return 0;
}

int link_unix(struct links *l, struct ph_scope *s, ph_str path) { return link_inet(l, s, path, path); }
int link_server(struct links *l, struct ph_scope *s, ph_str text, const char *port) { return link_inet(l, s, text, ph_cstr(port)); }

int link_take(struct links *l, int64_t deadline, struct link **out)
{
    struct link *k = l->idle;
    struct ph_stream *server;

    l->idle = NULL;
    if (k && ph_stream_is_stale(k->io)) {
        ph_scope_free(k->scope);
        k = NULL;
    }
    if (!k) {
        if (++run.count > CONNS)
            return ph_fail(PH_TEMP, "refused");
        struct ph_scope *s = ph_scope_new(run.s);
        k = ph_new(s, struct link);
        k->scope = s;
        ph_stream_pair(s, run.s, 0, &k->io, &server);
        ph_spawn(run.servers, "server", serve, server);
    }
    ph_stream_deadline(k->io, deadline);
    run.taken++;
    *out = k;
    return 0;
}

void link_keep(struct links *l, struct link *k)
{
    FUZZ_CHECK(!ph_stream_pending(k->io), "the answer to one question is left for the next");
    FUZZ_CHECK(!l->idle, "one question at a time");
    run.given++;
    k->is_kept = 1;
    l->idle = k;
}

void link_drop(struct links *l PH_UNUSED, struct link *k)
{
    run.given++;
    ph_stream_close(k->io);
    ph_scope_free(k->scope);
}

/* ---- the questions ---- */

static int was_said(const char *const *words, size_t n)
{
    int said = 0;

    for (size_t i = 0; i < n && words[i]; i++)
        said |= ph_str_search(ph_buf_view(&run.said), ph_cstr(words[i])) >= 0;
    return said;
}

static void ask(struct ph_table *t, ph_str key)
{
    PH_SCOPED(out, run.s);
    int64_t began = ph_now_ms();
    ph_str val = PH_STR("?");
    int is_update = tables[run.table].is_update;
    int rc = is_update ? t->ops->update(t, key, PH_STR("value")) : t->ops->lookup(t, key, out, &val);
    int64_t took = ph_now_ms() - began;

    fuzz_saw_number(rc);
    FUZZ_CHECK(rc == PH_FOUND || rc == PH_NONE || rc == PH_TEMP || rc == PH_CONF, "%d", rc);
    FUZZ_CHECK(rc > 0 || ph_error()[0], "no words");
    FUZZ_CHECK(took <= 1200000, "%lld seconds", (long long)took / 1000);
    FUZZ_CHECK(run.taken == run.given, "%u connections taken, %u given back", run.taken, run.given);
    if (rc == PH_FOUND) {
        FUZZ_CHECK(was_said(&tables[run.table].found, 1), "found, and nobody said so");
        FUZZ_CHECK(val.n <= CLIENT_ANSWER_MAX && (is_update || val.p), "%zu bytes", val.n);
        fuzz_saw(val);
    } else {
        FUZZ_SAME(val, PH_STR("?"), "no answer, no change");
    }
    int is_asked = tables[run.table].ops != &table_memcache_LTX_ph_plugin || ph_str_find(key, ' ') < 0;
    FUZZ_CHECK(rc != PH_NONE || !is_asked || was_said(tables[run.table].none, 4), "not found, and nobody said so");
}

static int job(void *arg PH_UNUSED)
{
    PH_SCOPED(s, NULL);
    struct ph_table t = { .scope = s, .ops = tables[run.table].ops, .type = PH_STR("x"), .name = ph_cstr(tables[run.table].spec) };

    run.s = s;
    run.servers = ph_group_new(s);
    ph_buf_init(&run.said, s, 1u << 24);
    FUZZ_CHECK(ph_conf_parse(s, "/etc/x", "main.cf", ph_cstr(tables[run.table].conf), &t.conf) == 0, "%s", ph_error());
    FUZZ_CHECK(t.ops->open(&t, t.name) == 0, "%s", ph_error());
    for (unsigned i = 0; i < 3; i++)
        ask(&t, ph_cstr(keys[(run.key + i / 2) % KEYS]));
    ph_group_cancel(run.servers);
    ph_group_wait(run.servers, PH_FOREVER);
    FUZZ_CHECK(ph_tasks_count() == 1, "%zu tasks are left", ph_tasks_count() - 1);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    memset(&run, 0, sizeof run);
    run.in = (ph_str){ (const char *)data, size };
    run.table = fuzz_choice(&run.in, TABLES);
    run.key = fuzz_choice(&run.in, KEYS);
    fuzz_quiet();
    ph_clock_simulate(1000000);
    ph_run_main(job, NULL);
    ph_clock_simulate(0);
    return 0;
}
