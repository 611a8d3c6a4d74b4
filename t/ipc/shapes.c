/* t/ipc/shapes.c: frames whose shape, values or order are wrong. */
#include "feed.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD 8u
#define FRAME_MAX (1u << 20)
#define ROOM (FRAME_MAX + 65536u)

/* One of many alike: a short run leaves most of them out. */
static void by_rule(struct feed *f, const struct talk *t, unsigned n, const struct part *last)
{
    if (!is_left_out(f))
        hostile(f, t, n, last);
}

/* A copy of p with room to grow, one at a time. */
static struct part copy_of(const struct part *p)
{
    static unsigned char room[ROOM];
    struct part c = *p;

    if (c.n > ROOM)
        exit(2);
    memcpy(room, p->p, p->n);
    c.p = room;
    return c;
}

/* Each beginning of the conversation: all of them when it is short. */
static void truncations(struct feed *f, const struct talk *t)
{
    f->what = "truncation";
    for (unsigned i = 0; i < t->n; i++) {
        size_t step = t->part[i].n / 400 + 1;

        for (size_t cut = 0; cut < t->part[i].n; cut += step) {
            struct part c = copy_of(&t->part[i]);

            c.n = cut;
            by_rule(f, t, i, cut ? &c : NULL);
        }
    }
}

static void lengths(struct feed *f, const struct talk *t, unsigned i)
{
    uint32_t right = get32(t->part[i].p);
    const uint32_t wrong[] = { 0, 1, 3, 4, 5, right - 1, right + 1, FRAME_MAX - 1, FRAME_MAX, FRAME_MAX + 1, 0x7fffffff, 0x80000000, 0xffffff00, 0xffffffff };

    f->what = "length";
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        struct part c = copy_of(&t->part[i]);

        put32(c.p, wrong[k]);
        by_rule(f, t, i, &c);
    }
}

/* Number of descriptors, the byte that is 0, number of attributes. */
static void counts(struct feed *f, const struct talk *t, unsigned i)
{
    static const struct { unsigned at; unsigned char value; } wrong[] = {
        { 4, 1 }, { 4, 16 }, { 4, 17 }, { 4, 255 }, { 5, 1 }, { 5, 255 }, { 6, 0 }, { 6, 255 }, { 7, 1 }, { 7, 255 } };

    f->what = "count";
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        struct part c = copy_of(&t->part[i]);

        c.p[wrong[k].at] = wrong[k].value;
        by_rule(f, t, i, &c);
    }
}

/* A frame as large as may be, then larger ones, then one without end. */
static void giants(struct feed *f, const struct talk *t, unsigned i)
{
    static const uint32_t sizes[] = { FRAME_MAX, FRAME_MAX + 1, FRAME_MAX + 60000 };

    f->what = "giant";
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        struct part c = copy_of(&t->part[i]);

        put32(c.p, sizes[k]);
        c.p[4] = 0;
        c.p[6] = 1;
        c.p[7] = 0;
        memcpy(c.p + HEAD, "\1x", 2);
        put32(c.p + HEAD + 2, sizes[k] - 4 - 6);
        c.n = sizes[k] + 4;
        memset(c.p + HEAD + 6, 'y', c.n - HEAD - 6);
        by_rule(f, t, i, &c);
        /* As many attributes as fit. */
        unsigned n = 0;
        for (size_t at = HEAD; at + 6 <= c.n && n < 65535; at += 6, n++)
            memcpy(c.p + at, "\1x\0\0\0\0", 6);
        c.p[6] = (unsigned char)(n & 0xff);
        c.p[7] = (unsigned char)(n >> 8);
        by_rule(f, t, i, &c);
    }
}

void feed_shapes(struct feed *f, const struct talk *t)
{
    truncations(f, t);
    for (unsigned i = 0; i < t->n; i++) {
        lengths(f, t, i);
        counts(f, t, i);
        giants(f, t, i);
    }
    check_server(f);
}

/* ---- values ---- */

/* Where attribute k of a frame stands: its first byte, its value; 0 when there is none. */
static int find_attr(const struct part *p, unsigned k, size_t *at, size_t *value, size_t *n)
{
    unsigned count = (unsigned)p->p[6] | (unsigned)p->p[7] << 8;
    size_t pos = HEAD;

    for (unsigned i = 0; i < count && i <= k; i++) {
        size_t name = p->p[pos];

        *at = pos;
        *value = pos + 1 + name + 4;
        *n = get32(p->p + pos + 1 + name);
        pos = *value + *n;
    }
    return k < count;
}

/* Bytes [from, from + old) become `text`; the frame's length follows. */
static void splice(struct part *c, size_t from, size_t old, const void *text, size_t n)
{
    memmove(c->p + from + n, c->p + from + old, c->n - from - old);
    memcpy(c->p + from, text, n);
    c->n = c->n - old + n;
    put32(c->p, get32(c->p) + (uint32_t)n - (uint32_t)old);
}

static void add_to_count(struct part *c, int more)
{
    unsigned n = (unsigned)((int)((unsigned)c->p[6] | (unsigned)c->p[7] << 8) + more);

    c->p[6] = (unsigned char)(n & 0xff);
    c->p[7] = (unsigned char)(n >> 8);
}

struct value { const char *p; size_t n; };
#define V(s) { s, sizeof s - 1 }

static const struct value hostile_values[] = {
    V(""), V("0"), V("1"), V("-1"), V("-9223372036854775808"), V("9223372036854775807"), V("18446744073709551615"), V("18446744073709551616"),
    V("4294967295"), V("4294967296"), V("1000000"), V("0x10"), V(" 1"), V("1e9"), V("../../etc/passwd"), V("/etc/passwd"), V(".."), V("a/b"), V("4BAD0000000001"),
    V("4Bq2rS5mXFzQ1z"), V("%s%s%s%n"), V("a\0b"), V("a\nb: c\r\n\r\nd"), V("\r\n.\r\nMAIL FROM:<>\r\n"), V("\xff\xfe\x80"), V("\x1b[2J"), V("<>"), V("@"),
    V("a@b@c"), V("\"a\\"), V("user@[127.0.0.1]"), V("sent"), V("bounced"), V("5.1.1"), V("perm"), V("list"), V("delete"), V("hello"), V("deliver"), V("commit"),
};

static void values_of(struct feed *f, const struct talk *t, unsigned i, unsigned k)
{
    static char big[60000];
    size_t at, value, n;

    memset(big, 'A', sizeof big);
    f->what = "value";
    for (size_t h = 0; h <= sizeof hostile_values / sizeof *hostile_values; h++) {
        struct part c = copy_of(&t->part[i]);
        struct value v = h < sizeof hostile_values / sizeof *hostile_values ? hostile_values[h] : (struct value){ big, sizeof big };

        if (!find_attr(&c, k, &at, &value, &n))
            return;
        put32(c.p + value - 4, (uint32_t)v.n);
        splice(&c, value, n, v.p, v.n);
        /* And what would have come after it. */
        by_rule(f, t, i, &c);
    }
}

/* The attribute twice, not at all, with another name, with a wrong length. */
static void attributes_of(struct feed *f, const struct talk *t, unsigned i, unsigned k)
{
    static const unsigned char names[] = { 0, 64, 255, 1 };
    static const char letters[] = { 'A', 0, '=', '\n', '/', (char)0x80 };
    size_t at, value, n;
    struct part c = copy_of(&t->part[i]);

    f->what = "attribute";
    if (!find_attr(&c, k, &at, &value, &n))
        return;
    splice(&c, at, 0, t->part[i].p + at, value + n - at);
    add_to_count(&c, 1);
    by_rule(f, t, i, &c);
    c = copy_of(&t->part[i]);
    splice(&c, at, value + n - at, "", 0);
    add_to_count(&c, -1);
    by_rule(f, t, i, &c);
    for (size_t h = 0; h < sizeof names; h++) {
        c = copy_of(&t->part[i]);
        c.p[at] = names[h];
        by_rule(f, t, i, &c);
    }
    for (size_t h = 0; h < sizeof letters; h++) {
        c = copy_of(&t->part[i]);
        c.p[at + 1] = (unsigned char)letters[h];
        by_rule(f, t, i, &c);
    }
    const uint32_t lengths_[] = { (uint32_t)n - 1, (uint32_t)n + 1, 0x7fffffff, 0x80000000, 0xffffffff };
    for (size_t h = 0; h < sizeof lengths_ / sizeof *lengths_; h++) {
        c = copy_of(&t->part[i]);
        put32(c.p + value - 4, lengths_[h]);
        by_rule(f, t, i, &c);
    }
}

/* A million recipients do not fit; as many of one name as do. */
static void very_many(struct feed *f, const struct talk *t, unsigned i, unsigned k)
{
    size_t at, value, n;
    struct part c = copy_of(&t->part[i]);

    f->what = "very many of one attribute";
    if (!find_attr(&c, k, &at, &value, &n))
        return;
    size_t one = value + n - at;
    unsigned left = 65535u - ((unsigned)c.p[6] | (unsigned)c.p[7] << 8);
    while (left && c.n + one < FRAME_MAX) {
        memcpy(c.p + c.n, t->part[i].p + at, one);
        c.n += one;
        put32(c.p, get32(c.p) + (uint32_t)one);
        add_to_count(&c, 1);
        left--;
    }
    by_rule(f, t, i, &c);
}

void feed_values(struct feed *f, const struct talk *t)
{
    size_t at, value, n;

    for (unsigned i = 0; i < t->n; i++)
        for (unsigned k = 0; find_attr(&t->part[i], k, &at, &value, &n); k++) {
            values_of(f, t, i, k);
            attributes_of(f, t, i, k);
            very_many(f, t, i, k);
        }
    check_server(f);
}

/* ---- order ---- */

void feed_orders(struct feed *f, const struct talk *t)
{
    f->what = "order";
    for (unsigned i = 0; i < t->n; i++) {
        by_rule(f, t, 0, &t->part[i]);             /* without what comes before */
        by_rule(f, t, i + 1, &t->part[0]);         /* the beginning again */
        by_rule(f, t, i + 1, &t->part[i]);         /* twice */
        for (unsigned k = 1; k <= i; k++)          /* each after each */
            by_rule(f, t, k, &t->part[i]);
    }
    struct talk back = *t;
    for (unsigned i = 0; i < t->n; i++)
        back.part[i] = t->part[t->n - 1 - i];
    by_rule(f, &back, back.n, NULL);
    check_server(f);
}

/* ---- by chance ---- */

static void distort(struct feed *f, struct part *c)
{
    for (uint32_t k = pick(f, 4) + 1; k; k--) {
        size_t at = pick(f, (uint32_t)c->n), n = pick(f, 16) + 1;

        if (n > c->n - at)
            n = c->n - at;
        switch (pick(f, 5)) {
        case 0: c->p[at] ^= (unsigned char)(1u << pick(f, 8)); break;
        case 1: c->p[at] = (unsigned char)pick(f, 256); break;
        case 2: if (c->n > n) { memmove(c->p + at, c->p + at + n, c->n - at - n); c->n -= n; } break;
        case 3: memmove(c->p + at + n, c->p + at, c->n - at); c->n += n; break;
        default: if (c->n >= 4 && at + 4 <= c->n) put32(c->p + at, pick(f, 2) ? 0xffffffff : pick(f, 1u << 24)); break;
        }
    }
}

void feed_random(struct feed *f, const struct talk *t)
{
    for (unsigned r = 0; r < f->rounds; r++) {
        unsigned i = pick(f, t->n);
        struct part c = copy_of(&t->part[i]);

        f->what = "random";
        if (pick(f, 4) == 0) {
            c.n = pick(f, 4000) + 1;
            for (size_t k = 0; k < c.n; k++)
                c.p[k] = (unsigned char)pick(f, 256);
            c.fds = 0;
        } else {
            distort(f, &c);
        }
        hostile(f, t, i, &c);
    }
    check_server(f);
}
