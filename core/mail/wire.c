/* wire: dots and line ends, by whole runs of text.  See posthorn/wire.h. */
#include <string.h>
#include <posthorn/error.h>
#include <posthorn/wire.h>
#include "core/base/scan.h"

/* How many bytes before the first CR or LF that is not of a CRLF or, with dots, before
 * the first line that begins with one; `starts`: the first byte begins a line. */
static size_t plain_bytes(ph_str in, int dots, uint64_t starts)
{
    struct ph_scan s;
    uint64_t carry = 0;            /* the byte before was a CR */

    for (size_t at = 0; at < in.n; at += PH_SCAN_BYTES) {
        ph_scan_load(&s, in.p + at, in.n - at);
        uint64_t cr = ph_scan_find(&s, '\r'), lf = ph_scan_find(&s, '\n'), stray = (lf ^ (cr << 1 | carry)) & s.known, bad = stray;

        if (dots)
            bad |= ph_scan_find(&s, '.') & (lf << 1 | starts);
        if (bad) {
            unsigned i = ph_scan_first(bad);
            return at + i - ((stray & ~lf) >> i & 1);      /* the byte behind a stray CR */
        }
        /* A CR that is the last byte is looked at below. */
        carry = in.n - at > PH_SCAN_BYTES ? cr >> 63 : in.p[in.n - 1] == '\r';
        starts = lf >> 63;
    }
    return in.n - (size_t)carry;
}

size_t ph_find_stray(ph_str in)
{
    return plain_bytes(in, 0, 0);
}

/* How many of the bytes are whole lines that need no change, from the start of a line
 * on: each ends in CRLF, has no other CR or LF, and (dots) does not begin with one. */
static size_t plain_lines(const char *p, size_t n, int dots)
{
    struct ph_scan s;
    uint64_t after_cr = 0, starts = 1;
    size_t lines = 0;

    for (size_t at = 0; at < n; at += PH_SCAN_BYTES) {
        ph_scan_load(&s, p + at, n - at);
        uint64_t cr = ph_scan_find(&s, '\r'), lf = ph_scan_find(&s, '\n'), bad = (lf ^ (cr << 1 | after_cr)) & s.known;

        if (dots)
            bad |= ph_scan_find(&s, '.') & (lf << 1 | starts);
        if (bad) {
            uint64_t before = lf & ((bad & -bad) - 1);
            return before ? at + ph_scan_last(before) + 1 : lines;
        }
        if (lf)
            lines = at + ph_scan_last(lf) + 1;
        after_cr = cr >> 63;
        starts = lf >> 63;
    }
    return lines;
}

/* Where the decoder stands.  What is pending is not yet written. */
enum { BOL, DOT, DOT_CR, MID, MID_CR };
#define PREV_BARE 16u              /* the line before ended in a bare LF */
#define HELD_MAX 64u               /* CRs that wait for what follows them, in the loose mode */

void ph_dot_decode_init(struct ph_dot_decoder *d, uint32_t bare)
{
    *d = (struct ph_dot_decoder){ .state = BOL, .bare = bare };
}

struct run {
    struct ph_dot_decoder *d;
    const char *in;
    size_t at, n;
    char *out;
    size_t done;
    uint32_t state, prev_bare;
    uint32_t held;                 /* CRs that are not written yet */
};

static void put(struct run *r, const char *p, size_t n)
{
    memcpy(r->out + r->done, p, n);
    r->done += n;
}

/* A line ended; bare: by LF alone. */
static void end_line(struct run *r, int bare)
{
    r->state = BOL;
    r->prev_bare = bare ? PREV_BARE : 0;
    if (bare)
        r->d->saw_bare_lf = 1;
}

/* A line that is only a dot ended.  Strict modes: it ends the data between two
 * CRLF only; else the line is dropped, neither stored nor an end. */
static void end_dot_line(struct run *r, int bare)
{
    int loose = r->d->bare == PH_BARE_NO;

    if (loose || (!bare && !r->prev_bare))
        r->d->done = 1;
    end_line(r, bare);
}

/* How many CRs before a line end belong to it: one, or as of old all of them. */
static uint32_t held_max(const struct run *r)
{
    return r->d->bare == PH_BARE_NO ? HELD_MAX : 1;
}

/* In the middle of a line: copy up to its end or the end of input. */
static void middle(struct run *r)
{
    const char *p = r->in + r->at, *lf = memchr(p, '\n', r->n - r->at);
    size_t len = lf ? (size_t)(lf - p) : r->n - r->at, text = len;

    for (r->held = 0; text && p[text - 1] == '\r' && r->held < held_max(r); text--)
        r->held++;
    if (text && memchr(p, '\r', text))
        r->d->saw_bare_cr = 1;
    put(r, p, text);
    r->at += len;
    if (!lf) {
        r->state = r->held ? MID_CR : MID;
        return;
    }
    r->at++;
    put(r, "\r\n", 2);
    end_line(r, !r->held);
    r->held = 0;
}

/* CRs that end no line are content. */
static void put_held(struct run *r)
{
    for (; r->held; r->held--)
        put(r, "\r", 1);
    r->d->saw_bare_cr = 1;
    r->state = MID;
}

/* One more CR that waits: 1, or 0 when it is none.  Of too many the last ones wait;
 * the first is content then, and a line that has content is not one of a dot. */
static int hold(struct run *r)
{
    if (r->in[r->at] != '\r')
        return 0;
    r->at++;
    if (r->held < held_max(r)) {
        r->held++;
        return 1;
    }
    put(r, "\r", 1);
    r->d->saw_bare_cr = 1;
    r->state = MID_CR;
    return 1;
}

/* A CR is pending, and it is not known yet what follows. */
static void after_cr(struct run *r)
{
    if (r->in[r->at] == '\n') {
        r->at++;
        r->held = 0;
        put(r, "\r\n", 2);
        end_line(r, 0);
    } else if (!hold(r)) {
        put_held(r);
    }
}

/* At the start of a line: whole lines as they are, while they last; 1 when there were any. */
static int copy_plain(struct run *r, int dots)
{
    size_t n = plain_lines(r->in + r->at, r->n - r->at, dots);

    if (n == 0)
        return 0;
    put(r, r->in + r->at, n);
    r->at += n;
    r->prev_bare = 0;
    return 1;
}

static void step(struct run *r)
{
    char c = r->in[r->at];

    switch (r->state) {
    case BOL:
        if (copy_plain(r, 1))
            break;
        r->state = c == '.' ? DOT : MID;
        r->at += c == '.';
        break;
    case DOT:
        /* The first dot of a line is transport's: RFC 5321 4.5.2. */
        if (c == '\n') {
            r->at++;
            end_dot_line(r, 1);
        } else {
            r->state = c == '\r' ? DOT_CR : MID;
            r->at += c == '\r';
            r->held = c == '\r';
        }
        break;
    case DOT_CR:
        if (c == '\n') {
            r->at++;
            r->held = 0;
            end_dot_line(r, 0);
        } else if (!hold(r)) {
            put_held(r);
        }
        break;
    case MID_CR:
        after_cr(r);
        break;
    default:
        middle(r);
    }
}

size_t ph_dot_decode(struct ph_dot_decoder *d, ph_str in, char *out, size_t *written)
{
    struct run r = { .d = d, .in = in.p, .n = in.n, .out = out, .state = d->state & 15u, .prev_bare = d->state & PREV_BARE, .held = d->held };

    while (r.at < r.n && !d->done)
        step(&r);
    d->state = r.state | r.prev_bare;
    d->held = r.held;
    *written = r.done;
    return r.at;
}

/* Bytes that need no change take the state along. */
static size_t pass(uint32_t *state, ph_str in, int dots, size_t least)
{
    uint32_t s = *state & 15u;
    size_t n = s == BOL || s == MID ? plain_bytes(in, dots, s == BOL) : 0;

    if (n == 0 || (n < in.n && n < least))
        return 0;
    *state = in.p[n - 1] == '\n' ? BOL : MID | (*state & PREV_BARE);
    if (*state & PREV_BARE && memchr(in.p, '\n', n))
        *state &= ~PREV_BARE;
    return n;
}

size_t ph_dot_pass(struct ph_dot_decoder *d, ph_str in, size_t least)
{
    return d->done ? 0 : pass(&d->state, in, 1, least);
}

size_t ph_eol_pass(struct ph_eol_decoder *e, ph_str in, size_t least)
{
    return pass(&e->state, in, 0, least);
}

/* Lines without dots: the machine of above without its states for a dot. */
size_t ph_eol_decode(struct ph_eol_decoder *e, ph_str in, char *out)
{
    struct ph_dot_decoder d = { .bare = PH_BARE_NORMALIZE, .saw_bare_lf = e->saw_bare_lf, .saw_bare_cr = e->saw_bare_cr };
    struct run r = { .d = &d, .in = in.p, .n = in.n, .out = out, .state = e->state, .held = e->state == MID_CR };

    while (r.at < r.n)
        if (r.state == MID_CR)
            after_cr(&r);
        else if (r.state != BOL || !copy_plain(&r, 0))
            middle(&r);
    *e = (struct ph_eol_decoder){ .state = r.state, .saw_bare_lf = d.saw_bare_lf, .saw_bare_cr = d.saw_bare_cr };
    return r.done;
}

size_t ph_eol_decode_end(struct ph_eol_decoder *e, char *out)
{
    size_t n = 0;

    if (e->state == MID_CR) {
        out[n++] = '\r';
        e->saw_bare_cr = 1;
    }
    if (e->state != BOL) {
        out[n++] = '\r';
        out[n++] = '\n';
    }
    e->state = BOL;
    return n;
}

/* state 0: at the start of a line. */
size_t ph_dot_encode(struct ph_dot_encoder *e, ph_str in, char *out)
{
    struct ph_scan s;
    uint64_t starts = e->state == 0;
    size_t n = 0, from = 0;        /* what stands before `from` is written */

    for (size_t at = 0; at < in.n; at += PH_SCAN_BYTES) {
        ph_scan_load(&s, in.p + at, in.n - at);
        uint64_t lf = ph_scan_find(&s, '\n'), dots = ph_scan_find(&s, '.') & (lf << 1 | starts);

        for (; dots; dots &= dots - 1) {
            size_t upto = at + ph_scan_first(dots);

            memcpy(out + n, in.p + from, upto - from);
            n += upto - from;
            out[n++] = '.';
            from = upto;
        }
        starts = lf >> 63;
    }
    if (in.n == 0)
        return 0;
    memcpy(out + n, in.p + from, in.n - from);
    e->state = in.p[in.n - 1] != '\n';
    return n + in.n - from;
}
