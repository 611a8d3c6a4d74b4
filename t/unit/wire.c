/* t/unit/wire.c: dots and line ends, at every split of the input. */
#include "tap.h"
#include <posthorn/wire.h>

#define CR10 "\r\r\r\r\r\r\r\r\r\r"
#define CR64 CR10 CR10 CR10 CR10 CR10 CR10 "\r\r\r\r"

static const struct { const char *name, *in; uint32_t mode; const char *want; int done; size_t left; } cases[] = {
    { "plain", "a\r\n.\r\n", PH_BARE_NORMALIZE, "a\r\n", 1, 0 },
    { "empty message", ".\r\n", PH_BARE_NORMALIZE, "", 1, 0 },
    { "what follows the end stays", "a\r\n.\r\nQUIT\r\n", PH_BARE_NORMALIZE, "a\r\n", 1, 6 },
    { "LF . CRLF is dropped", "a\n.\r\nb\r\n.\r\n", PH_BARE_NORMALIZE, "a\r\nb\r\n", 1, 0 },
    { "CRLF . LF is dropped", "a\r\n.\nb\r\n.\r\n", PH_BARE_NORMALIZE, "a\r\nb\r\n", 1, 0 },
    { "LF . LF is dropped", "a\n.\nb\r\n.\r\n", PH_BARE_NORMALIZE, "a\r\nb\r\n", 1, 0 },
    { "second dot line ends", "a\n.\r\n.\r\n", PH_BARE_NORMALIZE, "a\r\n", 1, 0 },
    { "dot CR CR LF is content", "a\r\n.\r\r\nb\r\n.\r\n", PH_BARE_NORMALIZE, "a\r\n\r\r\nb\r\n", 1, 0 },
    { "CR . CR is content", "a\r.\rb\r\n.\r\n", PH_BARE_NORMALIZE, "a\r.\rb\r\n", 1, 0 },
    { "dots are unstuffed", "..a\r\n...\r\n.b\r\n.\r\n", PH_BARE_NORMALIZE, ".a\r\n..\r\nb\r\n", 1, 0 },
    { "a dot inside a line is content", "a.\r\n.\r\n", PH_BARE_NORMALIZE, "a.\r\n", 1, 0 },
    { "old: LF . LF ends", "a\n.\nb", PH_BARE_NO, "a\r\n", 1, 1 },
    { "old: LF . CRLF ends", "a\n.\r\nb", PH_BARE_NO, "a\r\n", 1, 1 },
    { "old: CRLF . LF ends", "a\r\n.\nb", PH_BARE_NO, "a\r\n", 1, 1 },
    { "old: CRs before LF belong to the line end", "a\r\r\nb\r\r\r\n\r\r\n.\r\n", PH_BARE_NO, "a\r\nb\r\n\r\n", 1, 0 },
    { "old: also behind the last dot", "a\r\r\n.\r\r\nb", PH_BARE_NO, "a\r\n", 1, 1 },
    { "old: CRs inside a line stay", "a\r\r\rb\r\n..\r\rc\n.\r\rd\n.\n", PH_BARE_NO, "a\r\r\rb\r\n.\r\rc\r\n\r\rd\r\n", 1, 0 },
    { "old: at most 64 of them", "a\r\r" CR64 "\nb\r" CR64 "c\r\n.\r\n", PH_BARE_NO, "a\r\r\r\nb\r" CR64 "c\r\n", 1, 0 },
    { "old: a dot with more is no end", ".\r" CR64 "\nb\r\n.\r\n", PH_BARE_NO, "\r\r\nb\r\n", 1, 0 },
    { "reject: reads to the real end", "a\n.\nb\r\n.\r\n", PH_BARE_REJECT, "a\r\nb\r\n", 1, 0 },
    { "bare LF becomes CRLF", "a\nb\nc\r\n.\r\n", PH_BARE_NORMALIZE, "a\r\nb\r\nc\r\n", 1, 0 },
    { "no end yet", "a\r\n.", PH_BARE_NORMALIZE, "a\r\n", 0, 0 },
    { "CR at the end is held", "a\r", PH_BARE_NORMALIZE, "a", 0, 0 },
    { "NUL-free run of dots", "....\r\n.\r\n", PH_BARE_NORMALIZE, "...\r\n", 1, 0 },
};

static void test_decode(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = strlen(cases[i].in);
        int good = 1;

        /* Each pair of cuts: three pieces. */
        for (size_t a = 0; a <= n; a++)
            for (size_t b = a; b <= n; b++) {
                struct ph_dot_decoder d;
                size_t cut[4] = { 0, a, b, n }, used = 0, sum = 0, w;
                char out[256];

                ph_dot_decode_init(&d, cases[i].mode);
                for (int k = 0; k < 3 && !d.done; k++) {
                    ph_str piece = { cases[i].in + cut[k], cut[k + 1] - cut[k] };

                    used += ph_dot_decode(&d, piece, out + sum, &w);
                    sum += w;
                }
                good &= (int)d.done == cases[i].done && n - used == (d.done ? cases[i].left : 0) &&
                        ph_str_eq((ph_str){ out, sum }, ph_cstr(cases[i].want));
            }
        ok(good, "decode: %s", cases[i].name);
    }
    struct ph_dot_decoder d;
    size_t w;
    char out[64];

    ph_dot_decode_init(&d, PH_BARE_REJECT);
    ph_dot_decode(&d, PH_STR("a\nb\r\n"), out, &w);
    ok(d.saw_bare_lf && !d.saw_bare_cr, "a bare LF is noted");
    ph_dot_decode_init(&d, PH_BARE_NORMALIZE);
    ph_dot_decode(&d, PH_STR("a\rb\r\n"), out, &w);
    ok(d.saw_bare_cr && !d.saw_bare_lf, "a bare CR is noted");
}

static const struct { const char *name, *in, *want; uint32_t lf, cr; } chunks[] = {
    { "whole lines", "a\r\nb\r\n", "a\r\nb\r\n", 0, 0 },
    { "dots are ordinary", ".\r\n..a\r\n.\r\n", ".\r\n..a\r\n.\r\n", 0, 0 },
    { "the last line gets its end", "a\r\nb", "a\r\nb\r\n", 0, 0 },
    { "a bare LF becomes CRLF", "a\nb\r\n\n", "a\r\nb\r\n\r\n", 1, 0 },
    { "a CR inside a line stays", "a\rb\r\n", "a\rb\r\n", 0, 1 },
    { "a CR at the end", "a\r", "a\r\r\n", 0, 1 },
    { "CR CR LF", "a\r\r\n", "a\r\r\n", 0, 1 },
    { "nothing", "", "", 0, 0 },
};

static void test_chunks(void)
{
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        size_t n = strlen(chunks[i].in);
        int good = 1;

        for (size_t a = 0; a <= n; a++)
            for (size_t b = a; b <= n; b++) {
                struct ph_eol_decoder d = PH_EOL_DECODER_INIT;
                char out[64];
                size_t sum = ph_eol_decode(&d, (ph_str){ chunks[i].in, a }, out);

                sum += ph_eol_decode(&d, (ph_str){ chunks[i].in + a, b - a }, out + sum);
                sum += ph_eol_decode(&d, (ph_str){ chunks[i].in + b, n - b }, out + sum);
                sum += ph_eol_decode_end(&d, out + sum);
                good &= ph_str_eq((ph_str){ out, sum }, ph_cstr(chunks[i].want)) && d.saw_bare_lf == chunks[i].lf && d.saw_bare_cr == chunks[i].cr;
            }
        ok(good, "without dots: %s", chunks[i].name);
    }
}

/* A run of CRs longer than any that waits: content, whole and bounded. */
static void test_long_run(void)
{
    struct ph_dot_decoder d;
    char in[500], out[2 * sizeof in + 66], whole[2 * sizeof in];
    size_t w, sum = 0, n = sizeof in - 6;

    memset(in, '\r', n);
    memcpy(in + n, "x\n.\r\n", 6);
    ph_dot_decode_init(&d, PH_BARE_NO);
    for (size_t i = 0; i < sizeof in; i++) {
        ph_dot_decode(&d, (ph_str){ in + i, 1 }, out, &w);
        memcpy(whole + sum, out, w);
        sum += w;
    }
    ok(d.done && sum == n + 3 && memcmp(whole, in, n + 1) == 0, "a long run of CRs is content, a byte at a time");
    ph_dot_decode_init(&d, PH_BARE_NO);
    ph_dot_decode(&d, (ph_str){ in, sizeof in }, out, &sum);
    ok(d.done && sum == n + 3 && memcmp(out, whole, sum) == 0, "and at once");
}

static void test_round(void)
{
    static const char text[] = "line\r\n.\r\n..x\r\n\r\n.leading\r\nend.\r\n";
    int good = 1;

    for (size_t cut = 0; cut < sizeof text; cut++) {
        struct ph_dot_encoder e = PH_DOT_ENCODER_INIT;
        struct ph_dot_decoder d;
        char wire[256], back[256];
        size_t n = ph_dot_encode(&e, (ph_str){ text, cut }, wire), w;

        n += ph_dot_encode(&e, ph_cstr(text + cut), wire + n);
        memcpy(wire + n, ".\r\n", 3);
        ph_dot_decode_init(&d, PH_BARE_NORMALIZE);
        good &= ph_dot_decode(&d, (ph_str){ wire, n + 3 }, back, &w) == n + 3 && d.done && ph_str_eq((ph_str){ back, w }, ph_cstr(text));
    }
    ok(good, "what is encoded decodes to itself, at every cut");
}

/* Text as it comes, with a little of everything that matters in it. */
static size_t random_text(char *p, size_t max, uint32_t *seed)
{
    static const char *const bits[] = { "a", "\r\n", "\r\n", "\r\n", "line", "x\r\n", "\n", "\r", ".", "\r\n.", "\n.\r\n", "\r\n.\r\n",
                                        "forty bytes without anything that matters" };
    uint32_t kinds = (*seed = *seed * 1664525u + 1013904223u) >> 16 & 1 ? 6 : sizeof bits / sizeof *bits;
    size_t n = 0, want = (*seed >> 20) % max;

    while (n + 50 < want) {
        *seed = *seed * 1664525u + 1013904223u;
        const char *b = (*seed >> 24) % 40 == 0 ? "\r.\n" : bits[(*seed >> 16) % kinds];
        size_t len = strlen(b);

        memcpy(p + n, b, len);
        n += len;
    }
    return n;
}

struct decoded { char out[2200]; size_t n, used; struct ph_dot_decoder d; };

static void decode_in(struct decoded *r, uint32_t mode, const char *in, size_t n, size_t step)
{
    ph_dot_decode_init(&r->d, mode);
    for (r->n = r->used = 0; r->used < n && !r->d.done;) {
        size_t w, piece = n - r->used < step ? n - r->used : step;

        r->used += ph_dot_decode(&r->d, (ph_str){ in + r->used, piece }, r->out + r->n, &w);
        r->n += w;
    }
}

/* What need not be copied is copied here; the rest is decoded, some bytes at a time. */
static void pass_and_decode(struct decoded *r, uint32_t mode, const char *in, size_t n, size_t step, size_t least)
{
    ph_dot_decode_init(&r->d, mode);
    for (r->n = r->used = 0; r->used < n && !r->d.done;) {
        ph_str rest = ph_str_first((ph_str){ in + r->used, n - r->used }, 5 * step);
        size_t w = ph_dot_pass(&r->d, rest, least), used = w;

        if (w)
            memcpy(r->out + r->n, rest.p, w);
        else
            used = ph_dot_decode(&r->d, ph_str_first(rest, step), r->out + r->n, &w);
        r->used += used;
        r->n += w;
    }
}

static size_t pass_and_decode_lines(struct ph_eol_decoder *e, const char *in, size_t n, size_t step, size_t least, char *out)
{
    size_t sum = 0, used;

    for (ph_str rest = { in, n }; rest.n; rest = ph_str_from(rest, used)) {
        size_t w = used = ph_eol_pass(e, rest, least);

        if (w)
            memcpy(out + sum, rest.p, w);
        else
            w = ph_eol_decode(e, ph_str_first(rest, used = rest.n < step ? rest.n : step), out + sum);
        sum += w;
    }
    return sum;
}

static int same(const struct decoded *a, const struct decoded *b)
{
    return a->n == b->n && memcmp(a->out, b->out, a->n) == 0 && a->used == b->used && memcmp(&a->d, &b->d, sizeof a->d) == 0;
}

static size_t naive_stray(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((p[i] == '\r' && (i + 1 == n || p[i + 1] != '\n')) || (p[i] == '\n' && (i == 0 || p[i - 1] != '\r')))
            return i;
    return n;
}

static size_t naive_encode(const char *p, size_t n, char *out)
{
    size_t w = 0;

    for (size_t i = 0; i < n; i++) {
        if (p[i] == '.' && (i == 0 || p[i - 1] == '\n'))
            out[w++] = '.';
        out[w++] = p[i];
    }
    return w;
}

/* Many bytes at a time must be what one byte at a time is. */
static void test_random(void)
{
    static struct decoded one, some, all;
    static char in[1000], wire[2000], want[2000];
    uint32_t seed = 1;
    int decodes = 1, passes = 1, chunked = 1, strays = 1, encodes = 1;

    for (int i = 0; i < 20000; i++) {
        size_t n = random_text(in, sizeof in, &seed), step = 1 + (seed >> 8) % 200;
        uint32_t mode = seed >> 28 & 1 ? PH_BARE_NO : PH_BARE_NORMALIZE;

        decode_in(&one, mode, in, n, 1);
        decode_in(&some, mode, in, n, step);
        decode_in(&all, mode, in, n, n + 1);
        decodes &= same(&one, &some) && same(&one, &all);
        pass_and_decode(&some, mode, in, n, 1, 1);
        pass_and_decode(&all, mode, in, n, step, 1 + (seed >> 4) % 40);
        passes &= same(&one, &some) && same(&one, &all);

        struct ph_eol_decoder e1 = PH_EOL_DECODER_INIT, e2 = PH_EOL_DECODER_INIT;
        size_t w1 = 0, w2 = ph_eol_decode(&e2, (ph_str){ in, n }, some.out);
        for (size_t k = 0; k < n; k++)
            w1 += ph_eol_decode(&e1, (ph_str){ in + k, 1 }, one.out + w1);
        chunked &= w1 == w2 && memcmp(one.out, some.out, w1) == 0 && memcmp(&e1, &e2, sizeof e1) == 0;

        e1 = e2 = (struct ph_eol_decoder)PH_EOL_DECODER_INIT;
        w1 = pass_and_decode_lines(&e1, in, n, step, 1 + (seed >> 4) % 40, some.out);
        w2 = ph_eol_decode(&e2, (ph_str){ in, n }, one.out);
        passes &= w1 == w2 && memcmp(one.out, some.out, w1) == 0 && memcmp(&e1, &e2, sizeof e1) == 0;

        strays &= ph_find_stray((ph_str){ in, n }) == naive_stray(in, n);
        struct ph_dot_encoder d = PH_DOT_ENCODER_INIT;
        size_t cut = n < step ? n : step, w = ph_dot_encode(&d, (ph_str){ in, cut }, wire);
        w += ph_dot_encode(&d, (ph_str){ in + cut, n - cut }, wire + w);
        encodes &= w == naive_encode(in, n, want) && memcmp(wire, want, w) == 0;
    }
    ok(decodes, "random text decodes the same in any pieces");
    ok(chunked, "and without dots");
    ok(passes, "also when what needs no decoding passes by the decoder");
    struct ph_dot_decoder d;
    ph_dot_decode_init(&d, PH_BARE_NORMALIZE);
    is_int(ph_dot_pass(&d, PH_STR("a\r\nbcd\r\n.\r\nQUIT\r\n"), 1), 8, "content passes up to its end");
    is_int(ph_dot_pass(&d, PH_STR(".\r\nQUIT\r\n"), 1), 0, "which does not");
    is_int(ph_dot_pass(&d, PH_STR("ab\r\n.x"), 5), 0, "few bytes do not pass");
    is_int(ph_dot_pass(&d, PH_STR("abc"), 5), 3, "but when they are all");
    ok(strays, "stray CRs and LFs are found where they are");
    ok(encodes, "dots are stuffed where lines begin");
}

int main(void)
{
    test_decode();
    test_chunks();
    test_long_run();
    test_round();
    test_random();
    return done_testing();
}
