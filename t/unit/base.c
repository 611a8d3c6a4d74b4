/* t/unit/base.c: strings, scopes, buffers, maps, heaps, checksums, errors. */
#include <limits.h>
#include "tap.h"
#include <posthorn/error.h>
#include <posthorn/map.h>
#include "core/base/crc32c.h"
#include "core/base/hash.h"
#include "core/base/heap.h"

static void test_str(void)
{
    ph_str s = PH_STR("  one two,three "), w;

    w = ph_str_word(&s);
    is_bytes(w, "one", "first word");
    is_bytes(s, "two,three ", "the rest starts at the next word");
    w = ph_str_cut(&s, ',');
    is_bytes(w, "two", "cut at a comma");
    is_bytes(ph_str_trim(s), "three", "trim");
    s = PH_STR("a, {b, {c d}} e");
    ph_str_list(&s);
    is_bytes(ph_str_list(&s), "{b, {c d}}", "braces make one list item");
    is_bytes(ph_str_list(&s), "e", "list goes on after braces");
    is_int(ph_str_list(&s).n, 0, "list ends");

    uint64_t u;
    int64_t i;
    ok(ph_str_u64(PH_STR("18446744073709551615"), &u) && u == UINT64_MAX, "largest u64");
    ok(!ph_str_u64(PH_STR("18446744073709551616"), &u), "u64 overflow is refused");
    ok(ph_str_i64(PH_STR("-9223372036854775808"), &i) && i == INT64_MIN, "smallest i64");
    ok(!ph_str_i64(PH_STR("9223372036854775808"), &i), "i64 overflow is refused");
    ok(!ph_str_u64(PH_STR(""), &u) && !ph_str_u64(PH_STR("1x"), &u), "no number");
}

static int PH_PRINTF(3, 4) format_into(char *to, size_t size, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    int n = ph_vformat(to, size, fmt, ap);
    va_end(ap);
    return n;
}

static int PH_PRINTF(3, 4) judge_into(char *to, size_t size, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(to, size, fmt, ap);
    va_end(ap);
    return n;
}

/* The C library is the judge, with room and without. */
#define SAME(...) do { \
        for (size_t size = 0; size <= 100; size++) { \
            char want[100] = "", got[100] = ""; \
            int w = judge_into(want, size, __VA_ARGS__), g = format_into(got, size, __VA_ARGS__); \
            if (w != g || strcmp(want, got) != 0) { \
                ok(0, "%s in %zu bytes: %d <%s>, want %d <%s>", #__VA_ARGS__, size, g, got, w, want); \
                break; \
            } \
            if (size == 100) \
                ok(1, "%s", #__VA_ARGS__); \
        } \
    } while (0)

static void test_format(void)
{
    SAME("no conversion at all");
    SAME("%s", "");
    SAME("a%sb%%c", "text");
    SAME("<%.*s> %.*s|", 3, "abcdef", 0, "x");
    SAME("%.*s", -1, "all of it");
    SAME("%.5s%.0s", "hi", "none");
    SAME("%d %i %u", INT_MIN, INT_MAX, UINT_MAX);
    SAME("%ld %lu %lld %llu", LONG_MIN, ULONG_MAX, LLONG_MIN, ULLONG_MAX);
    SAME("%zu %jd %ju", (size_t)-1, (intmax_t)-7, (uintmax_t)7);
    SAME("%x %llx %c", 0xbeefu, 0x123456789abcdefull, '!');
    SAME("%02d:%02d %5d %05d %04x %3u", 7, -3, -42, -42, 0xabu, 1000);
    SAME("%ld|%02ld", 0L, 5L);
    SAME("%s then what we leave to it: %-5d|%+d %5s %#x %.3f", "first", 3, 4, "ab", 255u, 1.5);
    SAME("%d %5.3d %hhd %o %X", 1, 2, (signed char)3, 8u, 0xabcu);
    SAME("%10.2s|%-4s|%5c", "abc", "d", 'e');
}

/* A text that does not fit leaves the buffer as it was. */
static void test_buf_printf(void)
{
    char mem[9];
    struct ph_buf b;

    ph_buf_fixed(&b, mem, sizeof mem);
    ok(ph_buf_printf(&b, "%s", "1234") && b.n == 4, "fits");
    ok(!ph_buf_printf(&b, "%d", 56789) && b.n == 4 && b.full && strcmp(b.p, "1234") == 0, "does not, and nothing is left of it");
    ok(ph_buf_printf(&b, "%d", 5678) && strcmp(b.p, "12345678") == 0, "fits to the last byte");
    ph_buf_init(&b, NULL, 1000);
    ok(ph_buf_printf(&b, "%s", "") && b.n == 0 && *b.p == 0, "nothing in an empty buffer");
    for (int i = 0; i < 100; i++)
        ph_buf_printf(&b, "%d,", i);
    ok(b.n == 290 && memcmp(b.p, "0,1,2,", 6) == 0 && strcmp(b.p + 284, "98,99,") == 0, "grows");
    ok(!ph_buf_printf(&b, "%0711d", 1) && b.n == 290 && ph_buf_printf(&b, "%0710d", 1) && b.n == 1000, "not beyond its maximum");
    ph_buf_fini(&b);
}

static void test_utf8(void)
{
    static const struct { const char *in; int valid; } cases[] = {
        { "abc", 1 }, { "\xc3\xa4", 1 }, { "\xc0\xaf", 0 }, { "\xed\xa0\x80", 0 }, { "\xf4\x8f\xbf\xbf", 1 },
        { "\xf4\x90\x80\x80", 0 }, { "\xe2\x82", 0 }, { "\x80", 0 }, { "\xe0\x80\x80", 0 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        is_int(ph_str_is_utf8(ph_cstr(cases[i].in)), cases[i].valid, "UTF-8 case %zu", i);
}

static int order[8], order_n;
static void note(void *arg) { order[order_n++] = (int)(intptr_t)arg; }

static void test_scope(void)
{
    struct ph_scope *s = ph_scope_new(NULL), *child = ph_scope_new(s);

    ph_defer(s, note, (void *)1);
    struct ph_defer *d = ph_defer(s, note, (void *)2);
    ph_defer(s, note, (void *)3);
    ph_defer(child, note, (void *)4);
    ph_disarm(d);
    for (size_t n = 0; n < 10000; n += 37) {
        char *p = ph_alloc(s, n);
        int zero = 1;

        for (size_t i = 0; i < n; i++)
            zero &= p[i] == 0;
        if (!zero || ((uintptr_t)p & 15))
            ok(0, "allocation of %zu is zeroed and aligned", n);
        memset(p, 0xee, n);
    }
    ph_scope_free(s);
    ok(order_n == 3 && order[0] == 4 && order[1] == 3 && order[2] == 1,
       "children end first, defers run backwards, a disarmed one does not");
    order_n = 0;
    s = ph_scope_new(NULL);
    ph_defer(s, note, (void *)5);
    ph_alloc(s, 100000);
    ph_scope_reset(s);
    ok(order_n == 1 && ph_scope_bytes(s) == 0, "reset runs defers and forgets memory");
    ph_scope_free(s);
}

static void test_buf(void)
{
    PH_SCOPED(s, NULL);
    struct ph_buf b;

    ph_buf_init(&b, s, 10);
    ok(ph_buf_printf(&b, "%s", "0123456789") && !b.full, "ten of ten bytes fit");
    ok(!ph_buf_putc(&b, 'x') && b.full && b.n == 10, "the eleventh does not, and that is remembered");
    ph_buf_shift(&b, 4);
    is_str(b, "456789", "shift");
    char mem[4];
    ph_buf_fixed(&b, mem, sizeof mem);
    ok(ph_buf_puts(&b, "abc") && !ph_buf_putc(&b, 'd'), "fixed memory keeps room for the NUL");
}

/* Alone on its scope a buffer grows where it is; with neighbours it moves, and
 * nobody's bytes are touched. */
static void test_buf_grows(int neighbours)
{
    PH_SCOPED(s, NULL);
    struct ph_buf b[3];
    int good = 1;

    for (int k = 0; k <= neighbours; k++)
        ph_buf_init(&b[k], s, 100000);
    for (size_t i = 0; i < 20000; i++)
        for (int k = 0; k <= neighbours; k++)
            good &= ph_buf_putc(&b[k], (char)('a' + k + (int)(i % 7)));
    for (int k = 0; k <= neighbours; k++)
        for (size_t i = 0; i < 20000; i++)
            good &= b[k].p[i] == (char)('a' + k + (int)(i % 7)) && b[k].p[b[k].n] == 0;
    ok(good, "20000 bytes, one by one, %d buffers beside", neighbours);
}

static void test_map(void)
{
    struct ph_map *m = ph_map_new(NULL);
    char key[16];
    int good = 1;

    for (intptr_t i = 1; i <= 5000; i++) {
        int n = snprintf(key, sizeof key, "k%d", (int)i);
        ph_map_set(m, (ph_str){ key, (size_t)n }, (void *)i);
    }
    for (intptr_t i = 1; i <= 5000; i += 2) {
        snprintf(key, sizeof key, "k%d", (int)i);
        good &= ph_map_del(m, ph_cstr(key)) == (void *)i;
    }
    for (intptr_t i = 1; i <= 5000; i++) {
        snprintf(key, sizeof key, "k%d", (int)i);
        good &= ph_map_get(m, ph_cstr(key)) == (i % 2 ? NULL : (void *)i);
    }
    ok(good && ph_map_count(m) == 2500, "set, delete, get of 5000 keys");
    size_t at = 0, seen = 0;
    ph_str k;
    void *v;
    while (ph_map_next(m, &at, &k, &v)) {
        seen++;
        ph_map_del(m, k);
    }
    ok(seen == 2500 && ph_map_count(m) == 0, "walk with deletion sees each once (%zu)", seen);
    size_t missed = 0;
    for (int n = 1; n < 400; n++) {
        struct ph_map *small = ph_map_new(NULL);

        for (int i = 0; i < n; i++)
            ph_map_set(small, (ph_str){ key, (size_t)snprintf(key, sizeof key, "%d/%d", n, i) }, small);
        for (at = seen = 0; ph_map_next(small, &at, &k, &v); seen++)
            ph_map_del(small, k);
        missed += (size_t)n - seen + ph_map_count(small);
        ph_map_free(small);
    }
    is_int(missed, 0, "also where entries wrap round the end of the table");
    ph_map_free(m);
}

struct item { int key; size_t index; };
static int item_cmp(const void *a, const void *b)
{
    return ((const struct item *)a)->key - ((const struct item *)b)->key;
}
static void item_place(void *item, size_t index) { ((struct item *)item)->index = index; }

static void test_heap(void)
{
    struct ph_heap h = PH_HEAP_INIT(item_cmp, item_place);
    static struct item items[1000];
    unsigned x = 1;
    int good = 1, last = -1, n = 0;

    for (size_t i = 0; i < 1000; i++) {
        x = x * 1103515245u + 12345u;
        items[i].key = (int)(x >> 16 & 0x7fff);
        ph_heap_push(&h, &items[i]);
    }
    for (size_t i = 0; i < 1000; i += 3)
        ph_heap_remove(&h, items[i].index);
    for (struct item *it; (it = ph_heap_pop(&h)); n++) {
        good &= it->key >= last;
        last = it->key;
    }
    ok(good && n == 666, "heap gives back in order what was not removed (%d)", n);
    ph_heap_fini(&h);
}

static void test_sums(void)
{
    static const unsigned char key[16] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
    static const char in[15] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14 };
    static char big[20011];
    int agree = 1;

    ok(ph_siphash(key, (ph_str){ in, 15 }) == 0xa129ca6149be45e5u, "SipHash paper's vector");
    is_int(ph_crc32c(0, "123456789", 9), 0xe3069283u, "CRC32C check value");
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)(i * i >> 7);
    for (size_t n = 0; n <= sizeof big; n += n < 4000 ? 1 : 997)
        agree &= ph_crc32c((uint32_t)n, big + n % 16, sizeof big - 16 - n / 2) == ph_crc32c_table((uint32_t)n, big + n % 16, sizeof big - 16 - n / 2) &&
                 ph_crc32c(7, big + n % 16, n - n % 16) == ph_crc32c_table(7, big + n % 16, n - n % 16);
    ok(agree, "both CRC32C agree, at any length");
    is_int(ph_crc32c(ph_crc32c(0, big, 100), big + 100, 677), ph_crc32c(0, big, 777), "CRC32C in pieces");
}

int main(void)
{
    test_str();
    test_format();
    test_buf_printf();
    test_utf8();
    test_scope();
    for (int i = 0; i < 3; i++)
        test_buf_grows(i);
    test_buf();
    test_map();
    test_heap();
    test_sums();
    is_int(ph_fail_errno(PH_TEMP, 28, "write %s", "x"), PH_TEMP, "fail returns its code");
    ph_wrap(PH_TEMP, "queue file %s", "Q");
    is_bytes(ph_cstr(ph_error()), "queue file Q: write x: No space left on device", "wrap adds where, in front");
    return done_testing();
}
