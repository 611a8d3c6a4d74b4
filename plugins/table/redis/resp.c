/* resp: see resp.h. */
#include <posthorn/error.h>
#include "resp.h"

#define LINE_BYTES 1024            /* of what is not counted: statuses, errors, lengths */
#define ITEM_BYTES 16              /* what a reply takes of the limit whatever its length */

int resp_send(struct ph_stream *io, const ph_str *word, size_t count)
{
    int rc = ph_stream_printf(io, "*%zu\r\n", count);

    for (size_t i = 0; rc == 0 && i < count; i++)
        if ((rc = ph_stream_printf(io, "$%zu\r\n", word[i].n)) == 0)
            rc = ph_stream_gather(io, (const ph_str[]){ word[i], PH_STR("\r\n") }, 2);
    return rc;
}

int resp_malformed(const struct resp *r)
{
    return ph_fail(PH_TEMP, "malformed answer \"%c%.*s\"", r->kind, PH_FMT(ph_str_first(r->text, 100)));
}

static int take(size_t *left, size_t n)
{
    if (*left < ITEM_BYTES || *left - ITEM_BYTES < n)
        return ph_fail(PH_TEMP, "the answer is too long");
    *left -= ITEM_BYTES + n;
    return 0;
}

/* The n bytes of a text and the end of its line. */
static int read_text(struct ph_stream *io, struct ph_scope *s, size_t n, ph_str *text)
{
    char *mem = ph_alloc(s, n + 2);
    int rc = ph_stream_read(io, mem, n + 2);

    if (rc < 0)
        return rc;
    if (mem[n] != '\r' || mem[n + 1] != '\n')
        return ph_fail(PH_TEMP, "malformed answer: no end behind %zu bytes", n);
    *text = (ph_str){ mem, n };
    return 0;
}

/* A number stands behind the $ or *, or -1; not -0 or 007, which no server says. */
static int read_counted(struct ph_stream *io, struct ph_scope *s, size_t *left, struct resp *r)
{
    uint64_t n;
    int rc;

    if (ph_str_eq(r->text, PH_STR("-1"))) {
        r->kind = RESP_NIL;
        return take(left, 0);
    }
    if (!ph_str_u64(r->text, &n) || (r->text.n > 1 && r->text.p[0] == '0'))
        return resp_malformed(r);
    if (r->kind == RESP_LIST) {
        r->count = (size_t)n;
        return take(left, 0);
    }
    return (rc = take(left, (size_t)n)) < 0 ? rc : read_text(io, s, (size_t)n, &r->text);
}

int resp_read(struct ph_stream *io, struct ph_scope *s, size_t *left, struct resp *r)
{
    ph_str line;
    int64_t n;
    int rc = ph_stream_line(io, LINE_BYTES, &line);

    if (rc < 0)
        return rc;
    if (rc != PH_LINE_CRLF || line.n == 0)
        return ph_fail(PH_TEMP, "malformed answer: a line that is empty, too long or without its end");
    *r = (struct resp){ .kind = line.p[0], .text = ph_str_dup(s, ph_str_from(line, 1)) };
    switch (r->kind) {
    case RESP_STATUS:
    case RESP_ERROR:
        return take(left, r->text.n);
    case RESP_NUMBER:
        return ph_str_i64(r->text, &n) ? take(left, r->text.n) : resp_malformed(r);
    case RESP_TEXT:
    case RESP_LIST:
        return read_counted(io, s, left, r);
    default:
        return resp_malformed(r);
    }
}
