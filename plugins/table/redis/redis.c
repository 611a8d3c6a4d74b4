/* table/redis: Redis servers, `redis:/etc/postfix/x.cf`.
 *
 * A table of ours: read-only, asynchronous.  Hosts are asked in the order written
 * until one answers; one that does not is left out for a while.  redis_table(5). */
#include <posthorn/clock.h>
#include <posthorn/task.h>
#include "plugins/table/common/client.h"
#include "plugins/table/redis/resp.h"
#include "plugins/table/socket/link.h"

#define HOSTS_MAX 16
#define WORDS_MAX 32

struct host {
    struct links links;
    ph_str text;
    int64_t shun_until_ms;
};

struct redis {
    struct client client;
    struct host *host;
    unsigned host_count;
    ph_str *word;                  /* of the query, templates each */
    unsigned word_count;
    ph_str auth[3], select[2];
    unsigned auth_count, select_count;
    int64_t timeout_ms, retry_ms;
};

/* One look-up. */
struct question {
    const struct redis *self;
    ph_str key;
    const ph_str *word;
    struct ph_scope *out;
    struct ph_buf answer;
    int64_t count;
    int is_refused;                /* the host keeps the protocol, and that was its answer */
};

/* Commands that read, and answer with values or with a number that is 0 for "no". */
static const char *const reading[] = {
    "EXISTS", "GET", "HEXISTS", "HGET", "HMGET", "HVALS", "LINDEX", "LRANGE", "MGET", "SISMEMBER", "SMEMBERS", "ZRANGE",
};

static int is_reading(ph_str verb)
{
    for (size_t i = 0; i < sizeof reading / sizeof *reading; i++)
        if (ph_str_eq_nocase(verb, ph_cstr(reading[i])))
            return 1;
    return 0;
}

static int read_query(struct ph_table *t, struct redis *self)
{
    ph_str rest = client_get(&self->client, "query", "GET %s"), word;
    int rc;

    self->word = ph_alloc_array(t->scope, WORDS_MAX, sizeof *self->word);
    while ((word = ph_str_word(&rest)).n) {
        if (self->word_count == WORDS_MAX)
            return ph_fail(PH_CONF, "query: more than %d words", WORDS_MAX);
        if ((rc = client_check_template("query", word)) < 0)
            return rc;
        self->word[self->word_count++] = ph_str_dup(t->scope, word);
    }
    if (self->word_count < 2 || !is_reading(self->word[0]))
        return ph_fail(PH_CONF, "query: \"%.*s\" is none of the commands that a table may give, with a key",
                       PH_FMT(self->word_count ? self->word[0] : PH_STR("")));
    return 0;
}

/* What a new connection begins with. */
static int read_login(struct redis *self)
{
    struct client *c = &self->client;
    ph_str user = client_get(c, "user", ""), password = client_get(c, "password", "");
    int64_t db;
    int rc = client_get_i64(c, "db", 0, 0, INT32_MAX, &db);

    if (rc < 0)
        return rc;
    if (user.n && !password.n)
        return ph_fail(PH_CONF, "user is set and password is not");
    if (password.n) {
        self->auth[self->auth_count++] = PH_STR("AUTH");
        if (user.n)
            self->auth[self->auth_count++] = user;
        self->auth[self->auth_count++] = password;
    }
    if (db) {
        self->select[0] = PH_STR("SELECT");
        self->select[1] = ph_str_printf(c->table->scope, "%lld", (long long)db);
        self->select_count = 2;
    }
    return 0;
}

static int read_times(struct redis *self, int64_t *idle_s)
{
    struct client *c = &self->client;
    int64_t timeout, retry;
    int rc;

    if ((rc = client_get_i64(c, "timeout", 10, 1, 3600, &timeout)) < 0 || (rc = client_get_i64(c, "retry_interval", 60, 0, 86400, &retry)) < 0 ||
        (rc = client_get_i64(c, "idle_interval", 60, 1, 86400, idle_s)) < 0)
        return rc;
    self->timeout_ms = timeout * 1000;
    self->retry_ms = retry * 1000;
    return 0;
}

static int read_hosts(struct ph_table *t, struct redis *self, int64_t idle_s)
{
    ph_str list = client_get(&self->client, "hosts", "localhost"), text;
    int rc;

    self->host = ph_alloc_array(t->scope, HOSTS_MAX, sizeof *self->host);
    while ((text = ph_str_list(&list)).n) {
        struct host *h = &self->host[self->host_count];

        if (self->host_count == HOSTS_MAX)
            return ph_fail(PH_CONF, "hosts: more than %d", HOSTS_MAX);
        if (t->flags & PH_TABLE_SECURE && !ph_str_starts(text, PH_STR("unix:")))
            return ph_fail(PH_CONF, "hosts: \"%.*s\" must not be used where an answer gives rights: only unix:/path", PH_FMT(text));
        if ((rc = link_server(&h->links, t->scope, text, "6379")) < 0)
            return ph_wrap(rc, "hosts");
        h->text = ph_str_dup(t->scope, text);
        h->links.idle_ms = idle_s * 1000;
        h->shun_until_ms = 0;
        self->host_count++;
    }
    return self->host_count ? 0 : ph_fail(PH_CONF, "hosts is empty");
}

static int32_t redis_open(struct ph_table *t, ph_str spec)
{
    struct redis *self = ph_new(t->scope, struct redis);
    int64_t idle_s;
    int rc;

    t->self = self;
    if ((rc = client_open(t, spec, &self->client)) < 0 || (rc = read_query(t, self)) < 0 || (rc = read_login(self)) < 0 || (rc = read_times(self, &idle_s)) < 0)
        return rc;
    return read_hosts(t, self, idle_s);
}

/* ---- questions ---- */

static int refused(struct question *q, ph_str words)
{
    q->is_refused = 1;
    return ph_fail(PH_TEMP, "the server says: %.*s", PH_FMT(ph_str_first(words, 200)));
}

static int read_ok(struct question *q, struct ph_stream *io, size_t *left)
{
    struct resp r;
    int rc = resp_read(io, q->out, left, &r);

    if (rc < 0)
        return rc;
    if (r.kind == RESP_ERROR)
        return refused(q, r.text);
    return r.kind == RESP_STATUS ? 0 : ph_fail(PH_TEMP, "malformed answer to AUTH or SELECT");
}

static int add_value(struct question *q, const struct resp *r)
{
    int rc;

    switch (r->kind) {
    case RESP_NIL:
        return 0;
    case RESP_ERROR:
        return refused(q, r->text);
    case RESP_NUMBER:
        if (ph_str_eq(r->text, PH_STR("0")))
            return 0;
        break;
    case RESP_TEXT:
        break;
    default:
        return resp_malformed(r);
    }
    if ((rc = client_add(&q->self->client, q->key, r->text, &q->answer, &q->count)) < 0)
        q->is_refused = 1;
    return rc;
}

static int read_answer(struct question *q, struct ph_stream *io, size_t *left)
{
    struct resp r;
    int rc = resp_read(io, q->out, left, &r);

    if (rc < 0 || r.kind != RESP_LIST)
        return rc < 0 ? rc : add_value(q, &r);
    for (size_t i = 0, n = r.count; rc == 0 && i < n; i++)
        if ((rc = resp_read(io, q->out, left, &r)) == 0)
            rc = add_value(q, &r);
    return rc;
}

/* A new connection says who it is in the same breath. */
static int converse(struct question *q, struct ph_stream *io, int is_new)
{
    const struct redis *self = q->self;
    unsigned auth = is_new ? self->auth_count : 0, select = is_new ? self->select_count : 0;
    size_t left = CLIENT_ANSWER_MAX;
    int rc;

    if ((auth && (rc = resp_send(io, self->auth, auth)) < 0) || (select && (rc = resp_send(io, self->select, select)) < 0) ||
        (rc = resp_send(io, q->word, self->word_count)) < 0 || (rc = ph_stream_flush(io)) < 0)
        return rc;
    if ((auth && (rc = read_ok(q, io, &left)) < 0) || (select && (rc = read_ok(q, io, &left)) < 0))
        return rc;
    return read_answer(q, io, &left);
}

/* One question on one connection.  *again: a kept connection had ended. */
static int ask(struct question *q, struct host *h, int *again)
{
    struct link *k;
    int rc = link_take(&h->links, ph_in_ms(q->self->timeout_ms), &k);

    *again = 0;
    if (rc < 0)
        return rc;
    ph_buf_reset(&q->answer);
    q->count = 0;
    q->is_refused = 0;
    rc = converse(q, k->io, !k->is_kept);
    /* What else stands there would be taken for the answer to the next question. */
    if (rc < 0 || ph_stream_pending(k->io)) {
        *again = rc == PH_EOF && k->is_kept;
        link_drop(&h->links, k);
    } else {
        link_keep(&h->links, k);
    }
    return rc < 0 ? ph_wrap(rc, "%.*s", PH_FMT(h->text)) : 0;
}

/* No more waiting for this look-up's caller. */
static int is_over(int rc)
{
    return rc == PH_CANCEL || ph_deadline() <= ph_now_ms();
}

/* Leave it out for a while, when there are others and it was its own fault. */
static void shun(const struct question *q, struct host *h)
{
    const struct redis *self = q->self;
    int64_t now = ph_now_ms();

    if (self->host_count < 2 || self->retry_ms == 0 || q->is_refused)
        return;
    if (h->shun_until_ms <= now)
        ph_log_warn("redis:%.*s: left out for %lld seconds: %s", PH_FMT(self->client.name), (long long)(self->retry_ms / 1000), ph_error());
    h->shun_until_ms = now + self->retry_ms;
}

static int ask_host(struct question *q, struct host *h)
{
    int again = 1, rc = 0;

    q->is_refused = 0;
    while (again)
        rc = ask(q, h, &again);
    if (rc >= 0)
        h->shun_until_ms = 0;
    else if (!is_over(rc))
        shun(q, h);
    return rc;
}

/* Those that are left out are asked when no other has said anything. */
static int ask_all(struct question *q)
{
    const struct redis *self = q->self;
    unsigned asked = 0;
    int rc = 0, is_refused = 0;

    for (int all = 0; all < 2 && !is_refused; all++)
        for (unsigned i = 0; i < self->host_count; i++) {
            struct host *h = &self->host[i];

            if (asked & 1u << i || (!all && h->shun_until_ms > ph_now_ms()))
                continue;
            asked |= 1u << i;
            if ((rc = ask_host(q, h)) >= 0 || is_over(rc))
                return rc;
            is_refused |= q->is_refused;
        }
    return rc;
}

/* Each word by itself: nothing in a key can become another word. */
static int expand_query(struct question *q)
{
    const struct redis *self = q->self;
    ph_str *word = ph_alloc_array(q->out, self->word_count, sizeof *word);
    struct ph_buf b;

    for (unsigned i = 0; i < self->word_count; i++) {
        ph_buf_init(&b, q->out, CLIENT_ANSWER_MAX);
        if (!client_expand(self->word[i], q->key, client_quote_nothing, NULL, &b))
            return b.full ? ph_fail(PH_TEMP, "the key is too long") : PH_NONE;
        word[i] = ph_buf_view(&b);
    }
    q->word = word;
    return PH_FOUND;
}

static int32_t redis_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    const struct redis *self = t->self;
    struct question q = { .self = self, .key = key, .out = out };
    int rc = client_wants(&self->client, key);

    if (rc != PH_FOUND || (rc = expand_query(&q)) != PH_FOUND)
        return rc;
    ph_buf_init(&q.answer, out, CLIENT_ANSWER_MAX);
    rc = ask_all(&q);
    /* PH_EOF is the server's end, not that of whoever our caller talks to. */
    if (rc < 0)
        return rc == PH_CANCEL ? rc : PH_TEMP;
    return client_answer(&q.answer, val);
}

PH_PLUGIN_TABLE(redis, PH_IS(.summary = "Redis servers", .exec = PH_COROUTINE, .concurrency = PH_MANY_CALLS),
    .open = redis_open,
    .lookup = redis_lookup);
