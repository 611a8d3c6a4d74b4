/* t/unit/retry.c: retry times, and the index of what waits: against a plain list,
 * and how much memory it takes. */
#include <stdint.h>
#include "tap.h"
#include "core/queue/id.h"
#include "core/sched/retry.h"

/* Under a sanitizer memory means nothing. */
#if defined(__SANITIZE_ADDRESS__)
#define MEASURED 0
#else
#define MEASURED 1
#endif

static void test_retry_times(void)
{
    const struct ph_retry_rules r = { 300, 4000, 432000, 432000 };
    int64_t now = 1000, arrival = 1000, gaps[6];

    for (int i = 0; i < 6; i++) {
        int64_t next = ph_retry_next(&r, arrival, now);

        gaps[i] = next - now;
        now = next;
    }
    ok(gaps[0] == 300 && gaps[1] == 300 && gaps[2] == 600 && gaps[3] == 1200 && gaps[4] == 2400 && gaps[5] == 4000,
       "the gap doubles from minimal_backoff_time to maximal_backoff_time");
    is_int(ph_retry_next(&r, 5000, 1000), 1300, "an arrival in the future counts as age 0");
    ok(!ph_retry_is_expired(&r, 0, 1, 431999) && ph_retry_is_expired(&r, 0, 1, 432000), "expiry at the lifetime");
    const struct ph_retry_rules zero = { 300, 4000, 0, 86400 };
    ok(ph_retry_is_expired(&zero, 7, 1, 7) && !ph_retry_is_expired(&zero, 7, 0, 7),
       "a lifetime of 0 means one try; the null sender has its own");
}

static void test_retry_index(void)
{
    PH_SCOPED(scope, NULL);
    struct ph_retry *r = ph_retry_new(scope);
    ph_str id;
    int64_t when;
    int flushed;

    ph_retry_add(r, PH_STR("b"), 20);
    ph_retry_add(r, PH_STR("a"), 10);
    ph_retry_add(r, PH_STR("c"), 30);
    ph_retry_add(r, PH_STR("b"), 5);
    is_int(ph_retry_count(r), 3, "an id waits once");
    ok(!ph_retry_take(r, 4, scope, &id, &flushed), "nothing before its time");
    ok(ph_retry_take(r, 5, scope, &id, &flushed) && ph_str_eq(id, PH_STR("b")), "the earliest first");
    ok(ph_retry_remove(r, PH_STR("a")) && !ph_retry_remove(r, PH_STR("a")), "one is removed once");
    ok(ph_retry_find(r, PH_STR("c"), &when) && when == 30, "found with its time");
    ph_retry_add(r, PH_STR("d"), 25);
    ph_retry_add(r, PH_STR("e"), 26);
    ok(ph_retry_flush_one(r, PH_STR("e"), 6) && !ph_retry_flush_one(r, PH_STR("x"), 6), "one can be flushed");
    ok(ph_retry_take(r, 6, scope, &id, &flushed) && ph_str_eq(id, PH_STR("e")) && flushed, "and is known to have been");
    ph_retry_flush(r, 7);
    ok(ph_retry_take(r, 7, scope, &id, &flushed) && ph_retry_take(r, 7, scope, &id, &flushed) && flushed, "a flush makes all due");
    is_int(ph_retry_first(r), INT64_MAX, "empty");
}

/* ---- the index against a plain list ---- */

#define MODEL 400

static struct { char id[PH_ID_MAX + 1]; int64_t when; int there, flushed; } model[MODEL];

/* Long, short, and foreign ids; some foreign ones look much like ours. */
static void model_ids(void)
{
    for (unsigned i = 0; i < MODEL; i++) {
        if (i % 4 < 2)
            ph_id_format(model[i].id, 1700000000000000 + (int64_t)i * 77, 1000 + i / 8, i % 4 == 0);
        else
            snprintf(model[i].id, sizeof model[i].id, i % 4 == 2 ? "import%u" : "0000001%uz1", i);
    }
}

static int model_count(void)
{
    int n = 0;

    for (unsigned i = 0; i < MODEL; i++)
        n += model[i].there;
    return n;
}

/* The one taken must be known, due, as early as any, and as flushed as it is. */
static int model_take(struct ph_retry *r, int64_t now)
{
    PH_SCOPED(s, NULL);
    int64_t least = INT64_MAX;
    unsigned which = MODEL;
    int flushed;
    ph_str id;
    int got = ph_retry_take(r, now, s, &id, &flushed);

    for (unsigned i = 0; i < MODEL; i++) {
        if (model[i].there && model[i].when < least)
            least = model[i].when;
        if (got && ph_str_eq(id, ph_cstr(model[i].id)))
            which = i;
    }
    if (!got)
        return least > now;
    if (which == MODEL || !model[which].there || model[which].when != least || least > now || flushed != model[which].flushed)
        return 0;
    model[which].there = model[which].flushed = 0;
    return 1;
}

static int model_flush(struct ph_retry *r, unsigned i, int64_t now)
{
    unsigned from = i, to = i + 1;

    if (i == 0) {
        ph_retry_flush(r, now);
        to = MODEL;
    } else if (ph_retry_flush_one(r, ph_cstr(model[i].id), now) != model[i].there) {
        return 0;
    }
    for (i = from; i < to; i++)
        if (model[i].there) {
            model[i].when = model[i].when < now ? model[i].when : now;
            model[i].flushed = 1;
        }
    return 1;
}

static int model_step(struct ph_retry *r, unsigned what, unsigned i, int64_t now)
{
    ph_str id = ph_cstr(model[i].id);
    int64_t when;

    if (what < 5) {
        ph_retry_add(r, id, model[i].when = now + (int64_t)(what * i) % 50);
        model[i].there = 1;
    } else if (what < 8) {
        return model_take(r, now + 10);
    } else if (what == 8) {
        int was = model[i].there;

        model[i].there = model[i].flushed = 0;
        return ph_retry_remove(r, id) == was;
    } else if (i % 16 == 0) {
        return model_flush(r, i % 64 ? i : 0, now);
    }
    return ph_retry_find(r, id, &when) == model[i].there && (!model[i].there || when == model[i].when);
}

static void test_retry_model(void)
{
    PH_SCOPED(scope, NULL);
    struct ph_retry *r = ph_retry_new(scope);
    uint32_t seed = 1, step = 0;
    int good = 1;

    model_ids();
    for (; step < 200000 && good; step++) {
        seed = seed * 1664525u + 1013904223u;
        good = model_step(r, (seed >> 8) % 10, (seed >> 16) % MODEL, 1000 + step / 100) &&
               ph_retry_count(r) == (size_t)model_count();
    }
    ok(good, "the index says what a plain list says (%u steps)", step);
    while (model_count() && model_take(r, INT64_MAX))
        ;
    is_int(model_count(), 0, "and gives all of it back");
}

static size_t resident(void)
{
    unsigned long pages = 0, all;
    FILE *f = fopen("/proc/self/statm", "r");

    if (!f || fscanf(f, "%lu %lu", &all, &pages) != 2)
        pages = 0;
    if (f)
        fclose(f);
    return pages * 4096;
}

/* At any number: the table doubles on the way. */
static void test_retry_memory(void)
{
    PH_SCOPED(scope, NULL);
    struct ph_retry *r = ph_retry_new(scope);
    size_t before = resident(), most = 0;
    char id[PH_ID_MAX + 1];
    ph_str first;
    int flushed;

    for (unsigned i = 1; i <= 300000; i++) {
        ph_id_format(id, 1700000000000000 + (int64_t)i * 1009, 1000000 + i, 1);
        ph_retry_add(r, ph_cstr(id), 5000 + i % 4000);
        if (i % 10000 == 0 && i >= 50000 && (resident() - before) / i > most)
            most = (resident() - before) / i;
    }
    if (MEASURED)
        ok(most <= 42, "a message costs at most 40 bytes (and a page or two: %zu)", most);
    ph_retry_flush(r, 1);
    ph_id_format(id, 1700000000000000 + 1009, 1000001, 1);
    ok(ph_retry_take(r, 1, scope, &first, &flushed) && ph_str_eq(first, ph_cstr(id)), "of those that are due at once the oldest comes first");
    while (ph_retry_count(r) > 1000) {
        PH_SCOPED(step, NULL);

        ph_retry_take(r, 1, step, &first, &flushed);
    }
    if (MEASURED)
        ok(resident() - before < 40 * 300000 / 2, "what is no longer needed is given back");
}

int main(void)
{
    test_retry_times();
    test_retry_index();
    test_retry_model();
    test_retry_memory();
    return done_testing();
}
