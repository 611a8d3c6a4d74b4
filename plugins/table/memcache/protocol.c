/* protocol: see protocol.h. */
#include <posthorn/error.h>
#include "protocol.h"

static const struct { const char *name, *yes, *no; } verbs[] = {
    [MEMCACHE_GET] = { "get", "VALUE", "END" },
    [MEMCACHE_SET] = { "set", "STORED", "\n" },   /* no line: it has no "no" */
    [MEMCACHE_ADD] = { "add", "STORED", "NOT_STORED" },
    [MEMCACHE_DELETE] = { "delete", "DELETED", "NOT_FOUND" },
};

static int send_command(struct ph_stream *io, const struct memcache_command *c)
{
    int has_data = c->verb == MEMCACHE_SET || c->verb == MEMCACHE_ADD;
    int rc = ph_stream_printf(io, "%s %.*s", verbs[c->verb].name, PH_FMT(c->key));

    if (rc == 0 && has_data)
        rc = ph_stream_printf(io, " %lld %lld %zu\r\n", (long long)c->flags, (long long)c->expiry, c->val.n);
    if (rc == 0)
        rc = has_data ? ph_stream_gather(io, (const ph_str[]){ c->val, PH_STR("\r\n") }, 2) : ph_stream_str(io, PH_STR("\r\n"));
    return rc < 0 ? rc : ph_stream_flush(io);
}

static int read_line(struct ph_stream *io, const struct memcache_command *c, ph_str *line)
{
    int rc = ph_stream_line(io, (size_t)c->line_max, line);

    if (rc < 0 || rc == PH_LINE_CRLF)
        return rc < 0 ? rc : 0;
    return ph_fail(PH_TEMP, rc == PH_LINE_LONG ? "malformed answer: a line of more than %lld bytes" : "malformed answer: a line without its end (of at most %lld bytes)",
                   (long long)c->line_max);
}

static int said(ph_str line)
{
    return ph_fail(PH_TEMP, "the server says: %.*s", PH_FMT(ph_str_first(line, 200)));
}

/* Behind VALUE: KEY FLAGS BYTES. */
static int read_length(const struct memcache_command *c, ph_str rest, uint64_t *n)
{
    ph_str key = ph_str_word(&rest), flags = ph_str_word(&rest), bytes = ph_str_word(&rest);
    uint64_t any;

    if (!ph_str_eq(key, c->key) || !ph_str_u64(flags, &any) || !ph_str_u64(bytes, n) || rest.n)
        return ph_fail(PH_TEMP, "malformed answer: it is not what was asked for");
    return *n > (uint64_t)c->data_max ? ph_fail(PH_TEMP, "the answer has %llu bytes, data_size_limit allows %lld", (unsigned long long)*n, (long long)c->data_max) : 0;
}

static int read_value(struct ph_stream *io, const struct memcache_command *c, ph_str rest, struct ph_scope *out, ph_str *val)
{
    uint64_t n;
    ph_str line;
    int rc = read_length(c, rest, &n);

    if (rc < 0)
        return rc;
    char *mem = ph_alloc(out, (size_t)n + 2);
    if ((rc = ph_stream_read(io, mem, (size_t)n + 2)) < 0)
        return rc;
    if (mem[n] != '\r' || mem[n + 1] != '\n')
        return ph_fail(PH_TEMP, "malformed answer: no end behind %llu bytes", (unsigned long long)n);
    if ((rc = read_line(io, c, &line)) < 0)
        return rc;
    if (!ph_str_eq(line, PH_STR("END")))
        return said(line);
    *val = (ph_str){ mem, (size_t)n };
    return PH_FOUND;
}

int memcache_run(struct ph_stream *io, const struct memcache_command *c, struct ph_scope *out, ph_str *val)
{
    ph_str line, rest;
    int rc = send_command(io, c);

    if (rc < 0 || (rc = read_line(io, c, &line)) < 0)
        return rc;
    if (ph_str_eq(line, ph_cstr(verbs[c->verb].no)))
        return PH_NONE;
    rest = line;
    if (c->verb == MEMCACHE_GET && ph_str_eq(ph_str_cut(&rest, ' '), ph_cstr(verbs[c->verb].yes)))
        return read_value(io, c, rest, out, val);
    return c->verb != MEMCACHE_GET && ph_str_eq(line, ph_cstr(verbs[c->verb].yes)) ? PH_FOUND : said(line);
}
