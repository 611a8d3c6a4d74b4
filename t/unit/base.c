/* t/unit/base.c: strings, scopes, buffers, maps, heaps, checksums, errors. */
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
    char big[777];

    ok(ph_siphash(key, (ph_str){ in, 15 }) == 0xa129ca6149be45e5u, "SipHash paper's vector");
    is_int(ph_crc32c(0, "123456789", 9), 0xe3069283u, "CRC32C check value");
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)(i * 7);
    is_int(ph_crc32c(0, big, sizeof big), ph_crc32c_table(0, big, sizeof big), "both CRC32C agree");
    is_int(ph_crc32c(ph_crc32c(0, big, 100), big + 100, 677), ph_crc32c(0, big, 777), "CRC32C in pieces");
}

int main(void)
{
    test_str();
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
