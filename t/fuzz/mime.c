/* The message on the wire: 8-bit parts to quoted-printable, line repair, dots and
 * line ends.  First byte of the input: which of them; then where to cut. */
#include <string.h>
#include <posthorn/error.h>
#include <posthorn/wire.h>
#include "plugins/transport/smtp/smtp.h"
#include "fuzz.h"

/* Lengths of the pieces an input comes in: each the byte's choice. */
struct cuts { ph_str choices; };

static size_t next_piece(struct cuts *c, size_t left)
{
    unsigned n = fuzz_byte(&c->choices);

    return n == 0 || n > left ? left : n;
}

static ph_str all(struct ph_scope *s, ph_str in, size_t most, char **out)
{
    *out = ph_alloc(s, most + 1);
    return in;
}

/* --- structure and quoted-printable --- */

static ph_str convert(struct ph_scope *s, ph_str in, struct cuts cuts)
{
    struct smtp_mime *m = ph_new(s, struct smtp_mime);
    struct ph_buf out;

    ph_buf_init(&out, s, 4 * in.n + 262144);
    smtp_mime_init(m, s);
    m->max_depth = 5;
    do {
        size_t n = next_piece(&cuts, in.n);

        smtp_mime_convert(m, in.p, n, n == in.n, &out);
        FUZZ_CHECK(m->depth <= m->max_depth, "%zu levels", m->depth);
        in = ph_str_from(in, n);
    } while (in.n);
    FUZZ_CHECK(!out.full, "more than it may become");
    return ph_buf_view(&out);
}

static void structure(struct ph_scope *s, ph_str in, struct cuts cuts)
{
    ph_str whole = convert(s, in, (struct cuts){ { "", 0 } });

    FUZZ_SAME(convert(s, in, cuts), whole, "pieces make no difference");
    FUZZ_SAME(convert(s, whole, (struct cuts){ { "", 0 } }), whole, "what is converted needs no conversion");
    fuzz_saw(whole);
}

static int hex(char c)
{
    return ph_is_digit(c) ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* RFC 2045 6.7, strictly. */
static ph_str decode_qp(struct ph_scope *s, ph_str in)
{
    struct ph_buf out;
    size_t column = 0;

    ph_buf_init(&out, s, in.n);
    for (size_t i = 0; i < in.n; i++) {
        char c = in.p[i];

        if (c == '\r') {
            FUZZ_CHECK(i + 1 < in.n && in.p[i + 1] == '\n', "bare CR");
            FUZZ_CHECK(!i || (in.p[i - 1] != ' ' && in.p[i - 1] != '\t'), "a blank ends a line");
            ph_buf_puts(&out, "\r\n");
            i++;
            column = 0;
            continue;
        }
        FUZZ_CHECK(ph_is_print(c) || c == '\t', "byte %02x", (unsigned char)c);
        FUZZ_CHECK(++column <= 76, "a line of more than 76");
        if (c != '=') {
            ph_buf_putc(&out, c);
        } else if (i + 2 < in.n && in.p[i + 1] == '\r' && in.p[i + 2] == '\n') {
            i += 2;
            column = 0;
        } else {
            FUZZ_CHECK(i + 2 < in.n && hex(in.p[i + 1]) >= 0 && hex(in.p[i + 2]) >= 0, "bad =");
            ph_buf_putc(&out, (char)(hex(in.p[i + 1]) * 16 + hex(in.p[i + 2])));
            column += 2;
            i += 2;
        }
    }
    FUZZ_CHECK(!in.n || (in.p[in.n - 1] != ' ' && in.p[in.n - 1] != '\t'), "a blank ends the body");
    return ph_buf_view(&out);
}

#define LEAF "Content-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
#define LEAF_QP "Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
#define PART "Content-Type: multipart/mixed; boundary=\"b b\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n--b b\r\n" LEAF
#define PART_QP "Content-Type: multipart/mixed; boundary=\"b b\"\r\nContent-Transfer-Encoding: 7bit\r\n\r\n--b b\r\n" LEAF_QP
#define END "--b b--\r\n\xc3\xa4"

static ph_str join(struct ph_scope *s, const char *before, ph_str in, const char *after)
{
    struct ph_buf b;

    ph_buf_init(&b, s, in.n + 1000);
    ph_buf_puts(&b, before);
    ph_buf_str(&b, in);
    ph_buf_puts(&b, after);
    return ph_buf_view(&b);
}

/* One body of any bytes: decoded it is what it was. */
static void body(struct ph_scope *s, ph_str in, struct cuts cuts)
{
    ph_str out = convert(s, join(s, LEAF, in, ""), cuts);

    FUZZ_CHECK(ph_str_starts(out, PH_STR(LEAF_QP)), "%.*s", PH_FMT(out));
    FUZZ_SAME(decode_qp(s, ph_str_from(out, strlen(LEAF_QP))), in, "decoded");
    fuzz_saw(out);
    if (ph_str_search(in, PH_STR("--b b")) >= 0 || (in.n && !ph_str_ends(in, PH_STR("\r\n"))))
        return;
    out = convert(s, join(s, PART, in, END), cuts);
    FUZZ_CHECK(ph_str_starts(out, PH_STR(PART_QP)) && ph_str_ends(out, PH_STR(END)), "%.*s", PH_FMT(out));
    out = ph_str_first(out, out.n - strlen(END));
    FUZZ_SAME(decode_qp(s, ph_str_from(out, strlen(PART_QP))), in, "decoded, in a part");
}

/* --- line repair --- */

static ph_str fold(struct ph_scope *s, ph_str in, struct cuts cuts, size_t limit, int *broke)
{
    struct smtp_fold f = { .limit = limit };
    size_t done = 0;
    char *out;

    in = all(s, in, SMTP_FOLD_ROOM(in.n), &out);
    do {
        size_t n = next_piece(&cuts, in.n), w = smtp_fold(&f, in.p, n, n == in.n, out + done);

        FUZZ_CHECK(w <= SMTP_FOLD_ROOM(n), "%zu bytes of %zu", w, n);
        done += w;
        in = ph_str_from(in, n);
    } while (in.n);
    *broke = (int)f.broke;
    return (ph_str){ out, done };
}

/* What folding is, said in another way: stray ends are blanks. */
static ph_str without_strays(struct ph_scope *s, ph_str in)
{
    char *p = ph_cstr_dup(s, in);

    for (size_t i = 0; i < in.n; i++)
        if (in.p[i] == '\r' && i + 1 < in.n && in.p[i + 1] == '\n')
            i++;
        else if (in.p[i] == '\r' || in.p[i] == '\n')
            p[i] = ' ';
    return (ph_str){ p, in.n };
}

static void lines(struct ph_scope *s, ph_str in, struct cuts cuts)
{
    size_t limit = (size_t[]){ 0, 4, 5, 6, 10, 20 }[fuzz_choice(&in, 6)], column = 0, from = 0;
    int broke, broke2;
    ph_str want = without_strays(s, in), out = fold(s, in, (struct cuts){ { "", 0 } }, limit, &broke);

    FUZZ_SAME(fold(s, in, cuts, limit, &broke2), out, "pieces make no difference");
    FUZZ_CHECK(broke == broke2 && (broke || out.n == in.n), "broke %d", broke);
    fuzz_saw(out);
    for (size_t i = 0; i < out.n; i++) {
        if (out.p[i] == '\r') {
            FUZZ_CHECK(i + 1 < out.n && out.p[i + 1] == '\n', "stray CR");
            if (from < want.n && want.p[from] == '\r')
                from += 2;
            else
                FUZZ_CHECK(broke && out.p[i + 2] == ' ' && i++, "a line end from nowhere");
            column = out.p[++i] == ' ' && i + 1 < out.n && out.p[i] != '\n';
            continue;
        }
        FUZZ_CHECK(from < want.n && want.p[from++] == out.p[i], "byte %zu is another", i);
        FUZZ_CHECK(!limit || ++column <= limit, "a line of more than %zu", limit);
    }
    FUZZ_CHECK(from == want.n, "%zu bytes of %zu", from, want.n);
}

/* --- dots --- */

static ph_str undot(struct ph_scope *s, ph_str in, struct cuts cuts, struct ph_dot_decoder *d, size_t *used)
{
    size_t done = 0, start = in.n;
    char *out;

    in = all(s, in, 2 * in.n + 66, &out);
    do {
        size_t n = next_piece(&cuts, in.n), w = 0, took = ph_dot_decode(d, ph_str_first(in, n), out + done, &w);

        FUZZ_CHECK(w <= 2 * n + 66, "%zu bytes of %zu", w, n);
        FUZZ_CHECK(took == n || (took < n && d->done), "took %zu of %zu", took, n);
        done += w;
        in = ph_str_from(in, took);
    } while (in.n && !d->done);
    *used = start - in.n;
    return (ph_str){ out, done };
}

static int is_wire(ph_str b)
{
    for (size_t i = 0; i < b.n; i++)
        if (b.p[i] == '\n' && (i == 0 || b.p[i - 1] != '\r'))
            return 0;
    return 1;
}

static void received(struct ph_scope *s, ph_str in, struct cuts cuts)
{
    struct ph_dot_decoder one, two;
    uint32_t bare = fuzz_choice(&in, 3);
    size_t used, used2;

    ph_dot_decode_init(&one, bare);
    ph_dot_decode_init(&two, bare);
    ph_str out = undot(s, in, (struct cuts){ { "", 0 } }, &one, &used), other = undot(s, in, cuts, &two, &used2);
    FUZZ_SAME(other, out, "pieces make no difference");
    FUZZ_CHECK(used == used2 && one.done == two.done && one.saw_bare_lf == two.saw_bare_lf && one.saw_bare_cr == two.saw_bare_cr, "nor to what is known");
    FUZZ_CHECK(is_wire(out), "a bare LF is content");
    if (one.done && bare != PH_BARE_NO) {
        ph_str taken = ph_str_first(in, used);

        FUZZ_CHECK(ph_str_eq(taken, PH_STR(".\r\n")) || ph_str_ends(taken, PH_STR("\r\n.\r\n")), "ended by something else");
    }
    fuzz_saw(out);
    fuzz_saw_number((int64_t)used);
}

/* Sent and received, it is the same, and it ends where we ended it. */
static void sent(struct ph_scope *s, ph_str in, struct cuts cuts)
{
    struct ph_dot_encoder e = PH_DOT_ENCODER_INIT;
    struct ph_dot_decoder d;
    struct cuts first = cuts;
    size_t done = 0, used;
    char *mem;
    int broke;

    in = join(s, "", fold(s, in, (struct cuts){ { "", 0 } }, 0, &broke), "\r\n");
    all(s, in, 2 * in.n, &mem);
    for (ph_str left = in; left.n; ) {
        size_t n = next_piece(&first, left.n);

        done += ph_dot_encode(&e, ph_str_first(left, n), mem + done);
        left = ph_str_from(left, n);
    }
    FUZZ_CHECK(done <= 2 * in.n, "%zu bytes of %zu", done, in.n);
    ph_str wire = join(s, "", (ph_str){ mem, done }, ".\r\n");
    ph_dot_decode_init(&d, PH_BARE_NORMALIZE);
    FUZZ_SAME(undot(s, wire, cuts, &d, &used), in, "what was sent arrives");
    FUZZ_CHECK(d.done && used == wire.n && !d.saw_bare_cr && !d.saw_bare_lf, "and ends at its end: %zu of %zu", used, wire.n);
}

/* --- chunks, RFC 3030 --- */

static ph_str chunks(struct ph_scope *s, ph_str in, struct cuts cuts, struct ph_eol_decoder *d)
{
    size_t done = 0;
    char *out;

    in = all(s, in, 2 * in.n + 4, &out);
    do {
        size_t n = next_piece(&cuts, in.n), w = ph_eol_decode(d, ph_str_first(in, n), out + done);

        FUZZ_CHECK(w <= 2 * n + 1, "%zu bytes of %zu", w, n);
        done += w;
        in = ph_str_from(in, n);
    } while (in.n);
    done += ph_eol_decode_end(d, out + done);
    return (ph_str){ out, done };
}

static void chunked(struct ph_scope *s, ph_str in, struct cuts cuts)
{
    struct ph_eol_decoder one = PH_EOL_DECODER_INIT, two = PH_EOL_DECODER_INIT;
    ph_str out = chunks(s, in, (struct cuts){ { "", 0 } }, &one);

    FUZZ_SAME(chunks(s, in, cuts, &two), out, "pieces make no difference");
    FUZZ_CHECK(one.saw_bare_lf == two.saw_bare_lf && one.saw_bare_cr == two.saw_bare_cr, "nor to what is known");
    FUZZ_CHECK(is_wire(out) && (!out.n || ph_str_ends(out, PH_STR("\r\n"))), "lines");
    if (!one.saw_bare_lf && (!in.n || ph_str_ends(in, PH_STR("\r\n"))))
        FUZZ_SAME(out, in, "what needs nothing is not touched");
    fuzz_saw(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const modes[])(struct ph_scope *, ph_str, struct cuts) = { structure, body, lines, received, sent, chunked };
    PH_SCOPED(s, NULL);
    ph_str in = { (const char *)data, size };
    unsigned mode = fuzz_choice(&in, 6);
    struct cuts cuts = { ph_str_first(in, 4) };

    fuzz_quiet();
    in = ph_str_from(in, 4);
    modes[mode](s, in, cuts);
    return 0;
}
