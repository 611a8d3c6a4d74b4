/* table/tcp: a server that answers look-ups in lines, `tcp:host:port`.
 *
 *     get KEY\n        200 VALUE\n   500 not found\n   400 try later\n
 *
 * In KEY and VALUE %XX is a byte.  Only the first digit of the code counts.
 * Reference: tcp_table(5). */
#include <posthorn/clock.h>
#include "link.h"

#define TRIES    10
#define PAUSE_MS 1000              /* between two of them */
#define LINE_MAX_BYTES 4096

struct tcp { struct links links; };

static int32_t tcp_open(struct ph_table *t, ph_str spec)
{
    struct tcp *self = ph_new(t->scope, struct tcp);
    ptrdiff_t colon = ph_str_rfind(spec, ':');
    ph_str host = colon < 0 ? PH_STR("localhost") : ph_str_first(spec, (size_t)colon);

    t->self = self;
    return link_inet(&self->links, t->scope, host, ph_str_from(spec, (size_t)(colon + 1)));
}

/* %, blanks and what is not printable as %XX. */
static ph_str quote(struct ph_scope *s, ph_str key)
{
    static const char hex[] = "0123456789ABCDEF";
    char *out = ph_alloc(s, key.n * 3 + 1);
    size_t n = 0;

    for (size_t i = 0; i < key.n; i++) {
        unsigned char c = (unsigned char)key.p[i];

        if (c > 0x20 && c < 0x7f && c != '%') {
            out[n++] = (char)c;
            continue;
        }
        out[n++] = '%';
        out[n++] = hex[c >> 4];
        out[n++] = hex[c & 15];
    }
    return (ph_str){ out, n };
}

static int hex_digit(char c)
{
    c = ph_lower(c);
    return ph_is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Back: 1, or 0 when a % is not followed by two digits. */
static int unquote(struct ph_scope *s, ph_str in, ph_str *out)
{
    char *p = ph_alloc(s, in.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < in.n; i++) {
        int hi = 0, lo = 0;

        if (in.p[i] != '%') {
            p[n++] = in.p[i];
            continue;
        }
        if (i + 2 >= in.n || (hi = hex_digit(in.p[i + 1])) < 0 || (lo = hex_digit(in.p[i + 2])) < 0)
            return 0;
        p[n++] = (char)(hi << 4 | lo);
        i += 2;
    }
    *out = (ph_str){ p, n };
    return 1;
}

/* What a server says that keeps no rules is no answer. */
static int malformed(ph_str line)
{
    return ph_fail(PH_TEMP, "malformed answer \"%.*s\"", PH_FMT(ph_str_first(line, 100)));
}

static int read_answer(struct ph_scope *out, ph_str line, ph_str *val)
{
    ph_str text;

    if (line.n < 4 || !ph_is_digit(line.p[0]) || !ph_is_digit(line.p[1]) || !ph_is_digit(line.p[2]) || (line.p[3] != ' ' && line.p[3] != '\t') ||
        !unquote(out, ph_str_from(line, 4), &text))
        return malformed(line);
    switch (line.p[0]) {
    case '2': *val = text; return PH_FOUND;
    case '4': return ph_fail(PH_TEMP, "the server says: %.*s", PH_FMT(text));
    case '5': return PH_NONE;
    default: return malformed(line);
    }
}

/* How far a question came. */
enum outcome { ANSWERED, LATER, AT_ONCE };         /* the latter two: ask again; a kept connection may just have ended */

/* One question on one connection. */
static int ask(struct tcp *self, ph_str key, struct ph_scope *out, ph_str *val, int64_t deadline, enum outcome *outcome)
{
    struct link *k;
    ph_str line;
    int rc = link_take(&self->links, deadline, &k);

    *outcome = LATER;
    if (rc < 0)
        return rc;
    if ((rc = ph_stream_gather(k->io, (const ph_str[]){ PH_STR("get "), key, PH_STR("\n") }, 3)) == 0 && (rc = ph_stream_flush(k->io)) == 0)
        rc = ph_stream_line(k->io, LINE_MAX_BYTES, &line);
    if (rc < 0) {
        *outcome = k->is_kept && rc == PH_EOF ? AT_ONCE : LATER;
        link_drop(&self->links, k);
        return rc;
    }
    *outcome = ANSWERED;
    int too_long = rc == PH_LINE_LONG;
    rc = too_long ? ph_fail(PH_TEMP, "the answer is longer than %d bytes", LINE_MAX_BYTES) : read_answer(out, line, val);
    /* What else stands there would be taken for the answer to the next question. */
    if (too_long || ph_stream_pending(k->io))
        link_drop(&self->links, k);
    else
        link_keep(&self->links, k);
    return rc;
}

static int32_t tcp_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    struct tcp *self = t->self;
    int64_t deadline = ph_in_ms(LINK_MS);
    ph_str quoted = quote(out, key);
    enum outcome outcome = LATER;
    int rc = 0;

    for (int i = 0; outcome != ANSWERED && i < TRIES; i += outcome == LATER) {
        if (i && outcome == LATER && ph_sleep_until(ph_in_ms(PAUSE_MS)) < 0)
            break;
        rc = ask(self, quoted, out, val, deadline, &outcome);
        if (rc == PH_CANCEL || rc == PH_TIMEOUT)
            break;
    }
    /* PH_EOF is the server's end, not that of whoever our caller talks to. */
    return rc >= 0 || rc == PH_CANCEL ? rc : PH_TEMP;
}

PH_PLUGIN_TABLE(tcp, PH_IS(.summary = "a server that answers in lines", .exec = PH_COROUTINE, .concurrency = PH_MANY_CALLS),
    .is = PH_TABLE_PATTERN | PH_TABLE_INSECURE,
    .open = tcp_open,
    .lookup = tcp_lookup);
