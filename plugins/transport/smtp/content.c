/* content: the message after 354, RFC 5321 4.1.1.4, 4.5.2, or as a chunk, RFC 3030.
 *
 * It is copied out of the queue file through the stream, never lent to the
 * socket: slots are used again, and a peer that answers early and reads late
 * must not see the next message.  A message that reception found ordinary (no
 * leading dots, no stray CR or LF, no long lines) goes out as it stands. */
#include <posthorn/wire.h>
#include "smtp.h"

#define PIECE 65536u
#define TIMED 16384u               /* so much must leave within smtp_data_xfer_timeout */

/* A character of several bytes goes to the next line whole.  Its later bytes
 * always fit, since its first one was placed so. */
static int does_not_fit(const struct smtp_fold *f, unsigned char c)
{
    size_t need = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 1;

    return f->column + need > f->limit;
}

static void put(struct smtp_fold *f, char c, char *out, size_t *n)
{
    if (f->limit && does_not_fit(f, (unsigned char)c)) {
        out[(*n)++] = '\r';
        out[(*n)++] = '\n';
        out[(*n)++] = ' ';
        f->column = 1;
        f->broke = 1;
    }
    out[(*n)++] = c;
    f->column++;
}

/* A CR waits for its LF; without it, or an LF without CR, becomes a blank. */
size_t smtp_fold(struct smtp_fold *f, const char *in, size_t n, int last, char *out)
{
    size_t w = 0;

    for (size_t i = 0; i < n; i++) {
        if (f->cr && in[i] == '\n') {
            out[w++] = '\r';
            out[w++] = '\n';
            f->column = 0;
            f->cr = 0;
            continue;
        }
        if (f->cr)
            put(f, ' ', out, &w);
        f->cr = in[i] == '\r';
        if (!f->cr)
            put(f, in[i] == '\n' ? ' ' : in[i], out, &w);
    }
    if (last && f->cr) {
        put(f, ' ', out, &w);
        f->cr = 0;
    }
    return w;
}

/* State of one message on its way. */
struct sending {
    struct smtp_job *j;
    struct smtp_session *s;
    struct smtp_fold fold;
    int must_convert, must_fold, must_dot, bdat;
    struct smtp_mime *mime;        /* when it must be converted */
    struct ph_buf converted;
    struct ph_dot_encoder dot;
    size_t piece;                  /* the buffers are made for */
    char *in, *folded, *dotted;
    char tail[2];                  /* last two bytes sent */
    ph_str held;                   /* the end of the content: it leaves with the final dot */
    int64_t deadline;              /* with smtp_per_request_deadline */
};

/* With smtp_per_request_deadline: what the message may take in all, which grows with
 * the next n bytes that are sent, but never beyond smtp_data_xfer_timeout from now. */
static void extend_deadline(struct sending *x, size_t n)
{
    const struct smtp_params *p = &x->s->agent->p;
    int64_t latest = ph_in_ms(p->data_xfer_timeout * 1000);

    x->deadline = x->deadline ? x->deadline + (int64_t)n * 1000 / p->min_data_rate : latest;
    if (x->deadline > latest)
        x->deadline = latest;
    ph_stream_deadline(x->s->io, x->deadline);
}

/* The time that there is for the content. */
static void begin_time(struct sending *x)
{
    const struct smtp_params *p = &x->s->agent->p;

    if (p->per_request)
        extend_deadline(x, 0);
    else
        ph_stream_pace(x->s->io, p->data_xfer_timeout * 1000, TIMED);
}

static int send_bytes(struct sending *x, const char *p, size_t n, int last)
{
    if (n == 0)
        return 0;
    if (x->must_dot) {
        n = ph_dot_encode(&x->dot, (ph_str){ p, n }, x->dotted);
        p = x->dotted;
    }
    x->tail[0] = n > 1 ? p[n - 2] : x->tail[1];
    x->tail[1] = p[n - 1];
    if (x->s->agent->p.per_request)
        extend_deadline(x, n);
    if (last) {
        x->held = (ph_str){ p, n };
        return 0;
    }
    return ph_stream_write(x->s->io, p, n);
}

static int send_folded(struct sending *x, const char *p, size_t n, int last)
{
    if (!x->must_fold)
        return send_bytes(x, p, n, last);
    n = smtp_fold(&x->fold, p, n, last, x->folded);
    return send_bytes(x, x->folded, n, last);
}

/* What the conversion gives can be larger than what the next steps have room
 * for, and so goes on in pieces again. */
static int send_piece(struct sending *x, const char *p, size_t n, int last)
{
    int rc = 0;

    if (!x->must_convert)
        return send_folded(x, p, n, last);
    ph_buf_reset(&x->converted);
    smtp_mime_convert(x->mime, p, n, last, &x->converted);
    ph_str left = ph_buf_view(&x->converted);
    for (size_t k; rc >= 0 && left.n; left = ph_str_from(left, k)) {
        k = left.n < x->piece ? left.n : x->piece;
        rc = send_folded(x, left.p, k, last && k == left.n);
    }
    return rc;
}

int smtp_must_downgrade(const struct smtp_job *j, const struct smtp_session *s)
{
    return !(s->features & SMTP_HAS_8BITMIME) && !s->agent->p.no_downgrade &&
           (j->d->message->facts & (PH_FACT_8BIT | PH_FACT_BODY_8BIT));
}

static uint64_t longest_line(ph_str block)
{
    uint64_t longest = 0;

    while (block.n) {
        ph_str line = ph_str_cut(&block, '\n');

        if (line.n > longest + 1)
            longest = line.n - 1;  /* CR */
    }
    return longest;
}

/* Headers that go instead of the message's own. */
static int send_headers(struct sending *x)
{
    int rc = 0;

    for (ph_str left = x->j->headers; rc >= 0 && left.n; ) {
        size_t k = left.n < x->piece ? left.n : x->piece;

        rc = send_piece(x, left.p, k, 0);
        left = ph_str_from(left, k);
    }
    return rc;
}

static int must_fold(const struct smtp_job *j, const struct smtp_session *s)
{
    const struct ph_message *m = j->d->message;
    int64_t limit = s->agent->p.line_length_limit;

    return (m->facts & (PH_FACT_BARE_CR | PH_FACT_BARE_LF)) ||
           (limit > 0 && (m->longest_line > (uint64_t)limit || longest_line(j->headers) > (uint64_t)limit));
}

int smtp_can_bdat(const struct smtp_job *j, const struct smtp_session *s)
{
    return (s->features & SMTP_HAS_CHUNKING) && !s->agent->lmtp && !smtp_must_downgrade(j, s) && !must_fold(j, s);
}

static void prepare(struct sending *x, uint64_t bytes)
{
    const struct ph_message *m = x->j->d->message;
    const struct smtp_params *p = &x->s->agent->p;
    int64_t limit = p->line_length_limit;

    x->must_convert = smtp_must_downgrade(x->j, x->s);
    x->must_fold = must_fold(x->j, x->s);
    /* What grows on its way needs several buffers: then they are small. */
    size_t most = p->per_request || x->must_convert || x->must_fold ? TIMED : PIECE;
    size_t piece = x->piece = bytes < most ? (size_t)bytes + 1 : most;
    x->must_dot = !x->bdat && ((m->facts & PH_FACT_LEADING_DOT) || x->must_fold || x->must_convert);
    x->fold.limit = limit > 0 ? (size_t)(limit < 4 ? 4 : limit) : 0;
    x->in = ph_alloc(x->j->scope, piece);
    if (x->must_convert) {
        x->mime = ph_new(x->j->scope, struct smtp_mime);
        smtp_mime_init(x->mime, x->j->scope);
        x->mime->max_depth = (size_t)p->mime_nesting < SMTP_MIME_DEPTH ? (size_t)p->mime_nesting : SMTP_MIME_DEPTH;
        x->mime->max_boundary = (size_t)p->mime_boundary < x->mime->max_boundary ? (size_t)p->mime_boundary : x->mime->max_boundary;
        ph_buf_init(&x->converted, x->j->scope, 4 * TIMED + 262144);
    }
    if (x->must_fold)
        x->folded = ph_alloc(x->j->scope, SMTP_FOLD_ROOM(piece));
    if (x->must_dot)
        x->dotted = ph_alloc(x->j->scope, 2 * (x->must_fold ? SMTP_FOLD_ROOM(piece) : piece));
}

/* A reply before the final dot: 4xx and 5xx end the sending, the caller reads
 * it.  The socket is asked once per piece after the first, so that a message of
 * one piece costs no call. */
static int interrupted(struct sending *x, uint64_t at, int *early)
{
    ph_str view;

    if (*early || !(at ? ph_stream_is_stale(x->s->io) : ph_stream_pending(x->s->io) > 0))
        return 0;
    *early = 1;
    ph_stream_deadline(x->s->io, ph_now_ms());
    int is_refusal = ph_stream_peek(x->s->io, &view) == 1 && (view.p[0] == '4' || view.p[0] == '5');

    begin_time(x);
    return is_refusal;
}

/* A session that ends here ends with the same write, RFC 2920 3.1. */
static ph_str quit_too(struct smtp_session *s)
{
    if (!s->quit_early || !(s->features & SMTP_HAS_PIPELINING) || s->pix & SMTP_PIX_DELAY_DOT)
        return PH_STR("");
    s->quit_sent = 1;
    return PH_STR("QUIT\r\n");
}

/* What is left of the content, the dot and what follows it: one call, since each
 * wakes the peer. */
static int finish(struct sending *x)
{
    struct ph_stream *io = x->s->io;
    int rc, ended = x->tail[0] == '\r' && x->tail[1] == '\n';

    if (!x->bdat && x->s->pix & SMTP_PIX_DELAY_DOT) {
        if ((rc = ph_stream_str(io, x->held)) < 0 || (rc = ph_stream_flush(io)) < 0 ||
            (rc = ph_sleep_until(ph_in_ms(x->s->agent->p.pix_delay * 1000))) < 0)
            return rc;
        x->held = PH_STR("");
    }
    ph_str part[PH_STREAM_PARTS] = { x->held, PH_STR(""), PH_STR(""), quit_too(x->s) };
    if (!x->bdat) {
        part[1] = ended ? part[1] : PH_STR("\r\n");
        part[2] = PH_STR(".\r\n");
    }
    return ph_stream_gather(io, part, PH_STREAM_PARTS);
}

/* What comes before the first header: our chunk's size, RFC 3030 2, and the headers of flags=. */
static int begin(struct sending *x)
{
    int rc = 0;

    if (x->bdat)
        rc = ph_stream_printf(x->s->io, "BDAT %llu LAST\r\n", (unsigned long long)smtp_content_bytes(x->j));
    if (rc < 0 || (rc = ph_stream_str(x->s->io, x->j->prefix)) < 0)
        return rc;
    return send_headers(x);
}

int smtp_send_content(struct smtp_job *j, struct smtp_session *s, int bdat, int *early, int *local)
{
    const struct ph_message *m = j->d->message;
    uint64_t bytes = ph_message_bytes(m), at = 0;
    struct sending *x = ph_new(j->scope, struct sending);   /* too large for a task's stack */
    int rc;

    x->j = j;
    x->s = s;
    x->bdat = bdat;
    x->tail[0] = '\r';
    x->tail[1] = '\n';
    prepare(x, bytes);
    begin_time(x);
    if ((rc = begin(x)) < 0)
        return rc;
    at = j->headers.p ? m->header_bytes : 0;
    while (at < bytes) {
        size_t want = bytes - at < x->piece ? (size_t)(bytes - at) : x->piece;
        int64_t got = ph_message_read(m, at, x->in, want);

        if (got <= 0) {
            *local = 1;
            return got < 0 ? (int)got : ph_fail(PH_TEMP, "queue file is cut short");
        }
        if (interrupted(x, at, early))
            return 1;
        at += (uint64_t)got;
        if ((rc = send_piece(x, x->in, (size_t)got, at == bytes)) < 0)
            return rc;
    }
    if (x->fold.broke)
        ph_log("%.*s: breaking line > %lld bytes with <CR><LF>SPACE", PH_FMT(m->queue_id), (long long)s->agent->p.line_length_limit);
    return finish(x);
}
