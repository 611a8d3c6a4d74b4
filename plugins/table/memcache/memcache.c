/* table/memcache: a memcached server, alone or in front of another table,
 * `memcache:/etc/postfix/x.cf`.
 *
 * With a backup the server is a cache: what it cannot say the backup does, and what
 * is changed is changed there first.  Reference: memcache_table(5). */
#include <posthorn/clock.h>
#include <posthorn/task.h>
#include "plugins/table/common/client.h"
#include "plugins/table/memcache/protocol.h"
#include "plugins/table/socket/link.h"

#define RELATIVE_MAX_S 2592000     /* the server takes a larger expiry for a date */

struct memcache {
    struct client client;
    struct links links;
    struct ph_table *backup;       /* or NULL */
    ph_str key_format;
    int64_t flags, ttl_s, data_max, line_max, tries, pause_ms, timeout_ms;
    int is_down;                   /* and a warning said so */
};

/* A blank or control character would be read as the protocol's. */
static int is_wire(ph_str text)
{
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] <= 0x20 || text.p[i] == 0x7f)
            return 0;
    return 1;
}

static int read_key_format(struct memcache *self)
{
    self->key_format = client_get(&self->client, "key_format", "%s");
    if (!is_wire(self->key_format) || self->key_format.n == 0)
        return ph_fail(PH_CONF, "key_format: \"%.*s\" is empty or holds a blank", PH_FMT(self->key_format));
    if (client_get(&self->client, "key_digest", "").n)
        return ph_fail(PH_CONF, "key_digest is not implemented yet");
    return client_check_template("key_format", self->key_format);
}

static int read_numbers(struct memcache *self)
{
    struct client *c = &self->client;
    int64_t pause, timeout;
    int rc;

    if ((rc = client_get_i64(c, "flags", 0, 0, UINT32_MAX, &self->flags)) < 0 || (rc = client_get_i64(c, "ttl", 3600, 0, INT32_MAX, &self->ttl_s)) < 0 ||
        (rc = client_get_i64(c, "data_size_limit", 10240, 1, CLIENT_ANSWER_MAX, &self->data_max)) < 0 ||
        (rc = client_get_i64(c, "line_size_limit", 1024, 1, INT32_MAX, &self->line_max)) < 0 ||
        (rc = client_get_i64(c, "max_try", 2, 1, 1000, &self->tries)) < 0 || (rc = client_get_i64(c, "retry_pause", 1, 0, 3600, &pause)) < 0 ||
        (rc = client_get_i64(c, "timeout", 2, 1, 3600, &timeout)) < 0)
        return rc;
    self->pause_ms = pause * 1000;
    self->timeout_ms = timeout * 1000;
    return 0;
}

static int32_t memcache_open(struct ph_table *t, ph_str spec)
{
    struct memcache *self = ph_new(t->scope, struct memcache);
    ph_str backup;
    int rc;

    t->self = self;
    if (t->flags & PH_TABLE_CREATE && !(t->flags & PH_TABLE_WRITE))
        return ph_fail(PH_CONF, "it is not built from a source file: entries can be added and removed");
    if ((rc = client_open(t, spec, &self->client)) < 0 || (rc = read_key_format(self)) < 0 || (rc = read_numbers(self)) < 0)
        return rc;
    if ((rc = link_server(&self->links, t->scope, client_get(&self->client, "memcache", "inet:localhost:11211"), "11211")) < 0)
        return ph_wrap(rc, "memcache");
    backup = client_get(&self->client, "backup", "");
    return backup.n && (rc = ph_table_inner(t, backup, &self->backup)) < 0 ? ph_wrap(rc, "backup") : 0;
}

/* ---- the server ---- */

/* One command on one connection.  *again: a kept connection had ended. */
static int run_once(struct memcache *self, const struct memcache_command *c, struct ph_scope *out, ph_str *val, int *again)
{
    struct link *k;
    int rc = link_take(&self->links, ph_in_ms(self->timeout_ms), &k);

    *again = 0;
    if (rc < 0)
        return rc;
    rc = memcache_run(k->io, c, out, val);
    /* What else stands there would be taken for the answer to the next command. */
    if (rc < 0 || ph_stream_pending(k->io)) {
        *again = rc == PH_EOF && k->is_kept;
        link_drop(&self->links, k);
    } else {
        link_keep(&self->links, k);
    }
    return rc;
}

static int run(struct memcache *self, const struct memcache_command *c, struct ph_scope *out, ph_str *val)
{
    int again = 0, rc = PH_TEMP;

    for (int64_t i = 0; i < self->tries; i += !again) {
        if (i && !again && ph_sleep_until(ph_in_ms(self->pause_ms)) < 0)
            break;
        rc = run_once(self, c, out, val, &again);
        if (rc >= 0 || rc == PH_CANCEL || ph_deadline() <= ph_now_ms())
            break;
    }
    /* PH_EOF is the server's end, not that of whoever our caller talks to. */
    return rc >= 0 || rc == PH_CANCEL ? rc : ph_wrap(PH_TEMP, "memcache");
}

/* Behind a cache that fails mail still flows, but slower. */
static void note_state(struct memcache *self, int rc)
{
    if (rc < 0 && rc != PH_CANCEL && !self->is_down)
        ph_log_warn("memcache:%.*s: its backup is asked instead: %s", PH_FMT(self->client.name), ph_error());
    self->is_down = rc < 0;
}

static int64_t expiry(const struct memcache *self)
{
    return self->ttl_s > RELATIVE_MAX_S ? ph_wall_us() / 1000000 + self->ttl_s : self->ttl_s;
}

static struct memcache_command command(const struct memcache *self, enum memcache_verb verb, ph_str key, ph_str val)
{
    return (struct memcache_command){ .verb = verb, .key = key, .val = val, .flags = self->flags, .expiry = expiry(self),
                                      .line_max = self->line_max, .data_max = self->data_max };
}

/* ---- the table ---- */

/* The key as the server sees it: 1; 0: it cannot be a key there. */
static int find_wire_key(const struct memcache *self, ph_str key, struct ph_scope *s, ph_str *wire)
{
    struct ph_buf b;

    ph_buf_init(&b, s, MEMCACHE_KEY_MAX);
    if (!client_expand(self->key_format, key, client_quote_nothing, NULL, &b) || b.n == 0 || !is_wire(ph_buf_view(&b)))
        return 0;
    *wire = ph_buf_view(&b);
    return 1;
}

static int32_t memcache_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    struct memcache *self = t->self;
    ph_str wire = PH_STR("");
    int rc = client_wants(&self->client, key), has_key;

    if (rc != PH_FOUND)
        return rc;
    has_key = find_wire_key(self, key, out, &wire);
    struct memcache_command get = command(self, MEMCACHE_GET, wire, PH_STR(""));
    rc = has_key ? run(self, &get, out, val) : PH_NONE;
    if (!self->backup || rc == PH_FOUND || rc == PH_CANCEL)
        return rc;
    int may_fill = has_key && rc == PH_NONE;
    note_state(self, rc);
    rc = ph_table_lookup(self->backup, key, out, val);
    if (rc == PH_FOUND && may_fill && (int64_t)val->n <= self->data_max) {
        struct memcache_command set = command(self, MEMCACHE_SET, wire, *val);
        ph_str none;

        (void)run(self, &set, out, &none);         /* it is only a cache */
    }
    return rc;
}

/* PH_FOUND: look-ups would ask for that key; else negative. */
static int check_wanted(const struct memcache *self, ph_str key)
{
    int rc = client_wants(&self->client, key);

    return rc == PH_NONE ? ph_fail(PH_CONF, "\"%.*s\" is empty or not in the list of domains", PH_FMT(ph_str_first(key, 200))) : rc;
}

static int refuse(ph_str key, ph_str val, int has_key, int64_t max)
{
    return has_key ? ph_fail(PH_CONF, "the value has %zu bytes, data_size_limit allows %lld", val.n, (long long)max)
                   : ph_fail(PH_CONF, "\"%.*s\" cannot be a key of memcache", PH_FMT(ph_str_first(key, 200)));
}

static int32_t memcache_update(struct ph_table *t, ph_str key, ph_str val)
{
    struct memcache *self = t->self;
    PH_SCOPED(s, t->scope);
    ph_str wire = PH_STR(""), none;
    int rc = check_wanted(self, key), keep = t->flags & PH_TABLE_KEEP && !self->backup;

    if (rc < 0)
        return rc;
    int has_key = find_wire_key(self, key, s, &wire), fits = (int64_t)val.n <= self->data_max;
    if (!self->backup && !(has_key && fits))
        return refuse(key, val, has_key, self->data_max);
    if (self->backup && ((rc = ph_table_update(self->backup, key, val)) != PH_FOUND || !has_key))
        return rc;
    /* What is too long for the server still takes the older value's place: nothing. */
    struct memcache_command c = command(self, !fits ? MEMCACHE_DELETE : keep ? MEMCACHE_ADD : MEMCACHE_SET, wire, val);
    rc = run(self, &c, s, &none);
    return rc < 0 || keep ? rc : PH_FOUND;
}

static int32_t memcache_remove(struct ph_table *t, ph_str key)
{
    struct memcache *self = t->self;
    PH_SCOPED(s, t->scope);
    ph_str wire = PH_STR(""), none;
    int rc = self->backup ? ph_table_remove(self->backup, key) : PH_NONE, there;

    if (rc < 0 || !find_wire_key(self, key, s, &wire))
        return rc;
    struct memcache_command c = command(self, MEMCACHE_DELETE, wire, PH_STR(""));
    there = run(self, &c, s, &none);
    return there < 0 || !self->backup ? there : rc;
}

static int32_t memcache_sequence(struct ph_table *t, int32_t first, struct ph_scope *out, ph_str *key, ph_str *val)
{
    const struct memcache *self = t->self;

    return self->backup ? ph_table_next(self->backup, first, out, key, val) : ph_fail(PH_CONF, "without a backup it cannot be listed");
}

static int32_t memcache_commit(struct ph_table *t)
{
    const struct memcache *self = t->self;

    return self->backup ? ph_table_commit(self->backup) : 0;
}

PH_PLUGIN_TABLE(memcache, PH_IS(.summary = "memcached server", .exec = PH_COROUTINE, .concurrency = PH_MANY_CALLS),
    .is = PH_TABLE_INSECURE,
    .open = memcache_open,
    .lookup = memcache_lookup,
    .update = memcache_update,
    .remove = memcache_remove,
    .sequence = memcache_sequence,
    .commit = memcache_commit);
