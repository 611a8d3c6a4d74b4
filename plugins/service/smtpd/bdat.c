/* bdat: BDAT, RFC 3030: the content in chunks of a size that is said before.
 *
 * Buffer rule: the bytes of a chunk are consumed by this file and nowhere else,
 * exactly as many as were announced, whatever becomes of the message; only
 * then is the next command read.  When it is not known how many there are
 * (bad syntax, a line that cannot be read, not offered) the session ends, or content would be read as
 * commands.  After an error all chunks up to LAST, or RSET, are passed over. */
#include <posthorn/error.h>
#include "smtpd.h"

struct chunk {
    uint64_t size;
    int last;
};

/* More than this of a chunk that is refused is not swallowed. */
static uint64_t swallow_max(const struct session *s)
{
    const uint64_t least = 10u << 20, limit = (uint64_t)s->c->p.size_limit;

    return limit == 0 || limit < least ? least : limit;
}

static int parse(ph_str args, struct chunk *k)
{
    ph_str size = ph_str_word(&args), last = ph_str_word(&args);

    k->last = last.n > 0;
    return ph_str_u64(size, &k->size) && k->size <= INT64_MAX && (last.n == 0 || ph_str_eq_nocase(last, PH_STR("LAST"))) && args.n == 0;
}

int bdat_malformed(struct session *s, ph_str args)
{
    PH_SCOPED(t, s->scope);

    ph_log_warn("%.*s: malformed BDAT command syntax from %.*s: BDAT %.*s", PH_FMT(log_id(s)), PH_FMT(s->name_addr), PH_FMT(escaped(t, args, 100)));
    return reply(s, "521 5.5.4 Syntax: BDAT count [LAST]");
}

/* Where the client was lost. */
static int lost(struct session *s, int rc)
{
    s->where = ph_str_printf(s->scope, "BDAT (%llu bytes)", (unsigned long long)(s->t.content ? s->t.content->bytes : 0)).p;
    return rc;
}

/* At least one byte of content.  RFC 2920 3.2: what we owe leaves before we wait. */
static int next_bytes(struct session *s, ph_str *view)
{
    int rc = ph_stream_pending(s->io) ? 0 : ph_stream_flush(s->io);

    if (rc < 0 || (rc = ph_stream_peek(s->io, view)) < 0)
        return lost(s, rc);
    return 0;
}

/* Consume n bytes of content without looking at them. */
static int swallow(struct session *s, uint64_t n)
{
    ph_str view;

    deadline_begin(s);
    while (n) {
        int rc = next_bytes(s, &view);

        if (rc < 0)
            return rc;
        size_t take = view.n < n ? view.n : (size_t)n;
        ph_stream_skip(s->io, take);
        deadline_extend(s, take);
        n -= take;
    }
    deadline_end(s);
    return 0;
}

/* The chunk is read and refused; the message is given up with it. */
static int skip(struct session *s, const struct chunk *k, const char *text)
{
    int rc, endless = k->size > swallow_max(s);

    if (endless) {
        ph_log_warn("%.*s: too much BDAT content -- disabling further input from %.*s", PH_FMT(log_id(s)), PH_FMT(s->name_addr));
        s->quit = 1;
    }
    if (!endless && (rc = swallow(s, k->size)) < 0)
        return rc;
    rc = reply(s, "%s", text);
    transaction_reset(s);
    s->chunks = k->last ? CHUNKS_NONE : CHUNKS_SKIP;
    return rc;
}

static int transfer(struct session *s, uint64_t left)
{
    struct content *x = s->t.content;
    ph_str view;
    int rc;

    deadline_begin(s);
    while (left) {
        content_rest(s);
        if ((rc = next_bytes(s, &view)) < 0)
            return rc;
        view = ph_str_first(view, left < view.n ? (size_t)left : view.n);
        size_t plain = ph_eol_pass(&x->eol, view, CONTENT_RUN);
        if (plain) {
            left -= plain;
            if ((rc = content_pass(s, ph_str_first(view, plain))) < 0)
                return rc;
            continue;
        }
        view = ph_str_first(view, CONTENT_PIECE);
        char *out = content_room(x, view.n);
        size_t used = view.n, n = ph_eol_decode(&x->eol, view, out);
        ph_stream_skip(s->io, used);
        deadline_extend(s, used);
        left -= used;
        if ((rc = content_add(s, (ph_str){ out, n })) < 0)
            return rc;
    }
    content_rest(s);               /* commands may follow, or the next chunk much later */
    deadline_end(s);
    return 0;
}

/* The first chunk is what DATA is: 0; PH_NONE: refused and answered. */
static int first_chunk(struct session *s, const struct chunk *k)
{
    ph_str text;
    int rc = restrict_stage(s, PH_STAGE_DATA, "BDAT", only_rcpt(s), &text);

    if (rc == PH_FOUND) {
        log_decision(s, "reject", "BDAT", text, only_rcpt(s));
        rc = skip(s, k, ph_str_dup(transaction_scope(s), text).p);
        return rc < 0 ? rc : PH_NONE;
    }
    if (rc < 0)
        return rc;
    s->chunks = CHUNKS_TAKEN;
    return content_begin(s);
}

static int take_chunk(struct session *s, const struct chunk *k)
{
    struct content *x;
    int rc = s->chunks == CHUNKS_NONE ? first_chunk(s, k) : 0;

    if (rc != 0)
        return rc < 0 ? rc : 0;
    x = s->t.content;
    if ((rc = transfer(s, k->size)) < 0)
        return rc;
    if (k->last) {
        char *out = content_room(x, 1);
        size_t n = ph_eol_decode_end(&x->eol, out);

        return (rc = content_add(s, (ph_str){ out, n })) < 0 ? rc : content_conclude(s, 1);
    }
    const struct chunk read = { 0, 0 };
    if (x->too_big)
        return skip(s, &read, "552 5.3.4 Chunk exceeds message size limit");
    if (x->failed)
        return skip(s, &read, "451 4.3.0 Error: queue file write error");
    return reply(s, "250 2.0.0 Ok: %llu bytes", (unsigned long long)k->size);
}

static int is_too_big(const struct session *s, const struct chunk *k)
{
    uint64_t limit = (uint64_t)s->c->p.size_limit, have = s->t.content ? s->t.content->bytes : 0;

    return limit && (have > limit || k->size > limit - have);
}

int do_bdat(struct session *s, ph_str args)
{
    struct chunk k;

    if (s->hidden & KEY_CHUNKING)
        return reply(s, "521 5.5.1 Error: command not implemented");
    if (!parse(args, &k))
        return bdat_malformed(s, args);
    if (k.size == 0 && !k.last) {
        ph_log_warn("%.*s: null BDAT request from %.*s", PH_FMT(log_id(s)), PH_FMT(s->name_addr));
        return skip(s, &k, "551 5.7.1 Null BDAT request");
    }
    if (s->chunks == CHUNKS_SKIP)
        return skip(s, &k, ph_str_printf(transaction_scope(s), "551 5.0.0 Discarded %llu bytes after earlier error", (unsigned long long)k.size).p);
    if (!s->t.intake || s->t.rcpt_count == 0)
        return skip(s, &k, s->t.open ? "554 5.5.1 Error: no valid recipients" : "503 5.5.1 Error: need RCPT command");
    if (is_too_big(s, &k)) {
        ph_log_warn("%.*s: BDAT request from %.*s exceeds message size limit", PH_FMT(log_id(s)), PH_FMT(s->name_addr));
        return skip(s, &k, "552 5.3.4 Chunk exceeds message size limit");
    }
    return take_chunk(s, &k);
}
