/* table/socketmap: a server that answers look-ups in netstrings,
 * `socketmap:inet:host:port:NAME`, `socketmap:unix:/path:NAME`.
 *
 *     NAME key        OK value   NOTFOUND   TEMP why   TIMEOUT why   PERM why
 *
 * Reference: socketmap_table(5). */
#include <posthorn/clock.h>
#include "link.h"

#define IDLE_MS  10000
#define LIFE_MS  100000
#define DIGITS_MAX 9               /* of a netstring's length */

struct params { int64_t query, reply; };
struct socketmap { struct links links; ph_str name; struct params p; };

static const struct ph_param rows[] = {
    PH_P_INT(struct params, query, "socketmap_max_query_size", "10000", 1, 100000000, "Bytes of a question to a socketmap server; a longer key is not found."),
    PH_P_INT(struct params, reply, "socketmap_max_reply_size", "100000", 1, 100000000, "Bytes of the answer of a socketmap server; a longer one is a failure."),
};

static int32_t socketmap_open(struct ph_table *t, ph_str spec)
{
    struct socketmap *self = ph_new(t->scope, struct socketmap);
    ph_str rest = spec, kind = ph_str_cut(&rest, ':');
    ptrdiff_t at = ph_str_rfind(rest, ':');
    int rc = 0;

    t->self = self;
    self->p = (struct params){ .query = 10000, .reply = 100000 };
    if (at < 1)
        return ph_fail(PH_CONF, "written socketmap:inet:host:port:name or socketmap:unix:/path:name");
    self->name = ph_str_dup(t->scope, ph_str_from(rest, (size_t)at + 1));
    rest = ph_str_first(rest, (size_t)at);
    if (t->conf && (rc = ph_params_load(t->conf, t->scope, rows, sizeof rows / sizeof *rows, sizeof *rows, &self->p)) < 0)
        return rc;
    if (ph_str_eq(kind, PH_STR("unix")))
        return link_unix(&self->links, t->scope, rest);
    if (!ph_str_eq(kind, PH_STR("inet")))
        return ph_fail(PH_CONF, "\"%.*s\": inet or unix", PH_FMT(kind));
    at = ph_str_rfind(rest, ':');
    return link_inet(&self->links, t->scope, ph_str_first(rest, at < 0 ? 0 : (size_t)at), ph_str_from(rest, (size_t)(at + 1)));
}

static int send_question(struct ph_stream *io, ph_str name, ph_str key)
{
    int rc = ph_stream_printf(io, "%zu:", name.n + 1 + key.n);

    if (rc == 0)
        rc = ph_stream_gather(io, (const ph_str[]){ name, PH_STR(" "), key, PH_STR(",") }, 4);
    return rc < 0 ? rc : ph_stream_flush(io);
}

static int read_length(struct ph_stream *io, int64_t max, size_t *n)
{
    char c = 0;
    int rc, digits = 0;

    for (*n = 0; (rc = ph_stream_read(io, &c, 1)) == 0 && ph_is_digit(c); digits++) {
        if (digits == DIGITS_MAX)
            return ph_fail(PH_TEMP, "malformed answer");
        *n = *n * 10 + (size_t)(c - '0');
    }
    if (rc < 0)
        return rc;
    if (c != ':' || digits == 0)
        return ph_fail(PH_TEMP, "malformed answer");
    return (int64_t)*n > max ? ph_fail(PH_TEMP, "the answer has %zu bytes, socketmap_max_reply_size allows %lld", *n, (long long)max) : 0;
}

/* The answer, on out. */
static int read_netstring(struct ph_stream *io, int64_t max, struct ph_scope *out, ph_str *answer)
{
    size_t n;
    int rc = read_length(io, max, &n);

    if (rc < 0)
        return rc;
    char *mem = ph_alloc(out, n + 1);
    if ((rc = ph_stream_read(io, mem, n + 1)) < 0)
        return rc;
    if (mem[n] != ',')
        return ph_fail(PH_TEMP, "malformed answer: no comma behind %zu bytes", n);
    mem[n] = 0;
    *answer = (ph_str){ mem, n };
    return 0;
}

static int judge(ph_str answer, ph_str *val)
{
    ph_str text = answer, status = ph_str_cut(&text, ' ');

    if (ph_str_eq(answer, PH_STR("OK")))       /* with no value, not even an empty one */
        return PH_NONE;
    if (ph_str_eq(status, PH_STR("OK"))) {
        *val = text;
        return PH_FOUND;
    }
    if (ph_str_eq(status, PH_STR("NOTFOUND")))
        return PH_NONE;
    int is_known = ph_str_eq(status, PH_STR("TEMP")) || ph_str_eq(status, PH_STR("TIMEOUT")), is_perm = ph_str_eq(status, PH_STR("PERM"));
    return ph_fail(is_perm ? PH_CONF : PH_TEMP, "the server says%s: %.*s", is_perm || is_known ? "" : " what is not in the protocol", PH_FMT(ph_str_first(answer, 200)));
}

/* One question on one connection.  *again: a kept connection had ended. */
static int ask(struct socketmap *self, ph_str key, struct ph_scope *out, ph_str *val, int64_t deadline, int *again)
{
    struct link *k;
    ph_str answer = PH_STR("");
    int rc = link_take(&self->links, deadline, &k);

    *again = 0;
    if (rc < 0)
        return rc;
    if ((rc = send_question(k->io, self->name, key)) == 0)
        rc = read_netstring(k->io, self->p.reply, out, &answer);
    /* What else stands there would be taken for the answer to the next question. */
    if (rc < 0 || ph_stream_pending(k->io)) {
        *again = rc == PH_EOF && k->is_kept;
        link_drop(&self->links, k);
    } else {
        link_keep(&self->links, k);
    }
    return rc < 0 ? rc : judge(answer, val);
}

static int32_t socketmap_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    struct socketmap *self = t->self;
    int64_t deadline = ph_in_ms(LINK_MS);
    int again = 1, rc = 0;

    if ((int64_t)(self->name.n + 1 + key.n) > self->p.query) {
        ph_log_warn("socketmap:%.*s: a key of %zu bytes is not asked for: socketmap_max_query_size", PH_FMT(t->name), key.n);
        return PH_NONE;
    }
    while (again)
        rc = ask(self, key, out, val, deadline, &again);
    /* PH_EOF is the server's end, not that of whoever our caller talks to. */
    return rc == PH_EOF || rc == PH_TIMEOUT ? PH_TEMP : rc;
}

PH_PLUGIN_TABLE(socketmap, PH_IS(.summary = "a server that answers in netstrings", .exec = PH_COROUTINE, .concurrency = PH_MANY_CALLS,
                                 .params = rows, .param_count = sizeof rows / sizeof *rows),
    .is = PH_TABLE_PATTERN | PH_TABLE_INSECURE,
    .open = socketmap_open,
    .lookup = socketmap_lookup);
