/* t/unit/sched_preempt.c: who passes whom, how far a large message is stretched,
 * how long a small one waits, and what a step costs. */
#include "sched_world.h"

static void free_windows(void)
{
    limits_default();
    limits_now.initial = limits_now.concurrency = limits_now.in_flight = 100000;
}

static void test_classes(void)
{
    unsigned last = 0, bad = 0;
    uint64_t first = 1;

    for (uint64_t n = 1; n < 100000; n++) {
        unsigned c = ph_sched_class(n);

        bad += c < last || c > last + 1;
        if (c != last)
            first = n;
        bad += n > first + first / 4;
        last = c;
    }
    is_int(bad, 0, "classes rise by one, and within one sizes differ by a quarter at most");
    ok(ph_sched_class(UINT32_MAX) < CLASSES && ph_sched_class(UINT64_MAX) < CLASSES, "the largest size has a class");
}

/* Orders: one list "B" of `list` requests, 12 messages "S" of `small` requests;
 * what is sent first. */
static void test_orders(void)
{
    static const struct {
        const char *name;
        uint32_t list, small, cost, loan, discount, minimum;
        const char *want;
    } cases[] = {
        { "defaults: one on credit, then one for each five", 200, 1, 5, 3, 50, 3, "BSBBBBBSBBBBBSBBBBBSBBBBB" },
        { "cost 0: in order of arrival", 200, 1, 0, 3, 50, 3, "BBBBBBBBBBBBBBBB" },
        { "cost 2, nothing on credit", 200, 1, 2, 0, 0, 3, "BBSBBSBBSBBS" },
        { "a loan of one: when the debt is paid", 200, 1, 2, 1, 0, 3, "BSBBSBBSBBS" },
        { "a large loan does not let two pass at once", 200, 1, 5, 9, 50, 3, "BSBBBBBSBBBBBS" },
        { "eight requests need one slot, and cost eight", 200, 8, 5, 3, 50, 3, "BBBBBSSSSSSSSBBBBB" },
        { "twelve need three", 200, 12, 5, 3, 50, 3, "BBBBBBBBBBBBBBBSSSSSSSSSSSSBB" },
        { "four requests need four slots", 200, 4, 2, 0, 0, 3, "BBBBBBBBSSSSBBBBBBBBSSSS" },
        { "half of them with a discount of 50 %", 200, 4, 2, 0, 50, 3, "BBBBSSSSBBBBBBBBSSSS" },
        { "a list of 14 requests can earn two slots only: it is not passed", 14, 1, 5, 3, 50, 3, "BBBBBBBBBBBBBBSSS" },
        { "one of 15 is", 15, 1, 5, 3, 50, 3, "BSBBBBBSBBBBBSBBBBS" },
        { "the last requests of a list earn nothing", 24, 1, 5, 3, 50, 3, "BSBBBBBSBBBBBSBBBBBSBBBBBBBBS" },
        { "unless minimum_delivery_slots asks for more", 20, 1, 5, 3, 50, 5, "BBBBBBBBBBBBBBBBBBBBSSS" },
        { "who needs more slots than can be earned does not pass", 20, 5, 5, 3, 50, 3, "BBBBBBBBBBBBBBBBBBBBSSS" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        PH_SCOPED(scope, NULL);
        free_windows();
        limits_now.slot_cost = cases[i].cost;
        limits_now.slot_loan = cases[i].loan;
        limits_now.slot_discount = cases[i].discount;
        limits_now.minimum_slots = cases[i].minimum;
        struct ph_sched *s = ph_sched_new(scope, limits, NULL);

        put(s, "B", "list", cases[i].list * 50, 50, 0);
        for (int k = 0; k < 12; k++)
            put(s, "S", "small", cases[i].small * 50, 50, 0);
        is_bytes(order(s, scope, (int)strlen(cases[i].want), 0), cases[i].want, "%s", cases[i].name);
    }
}

static void test_choice(void)
{
    static const struct { const char *name; int64_t older, younger, now; const char *want; } cases[] = {
        { "two requests that wait long go before one that came just now", 0, 90, 100, "BOO" },
        { "age per request decides", 0, 40, 100, "BYB" },
        { "at once the smaller goes first", 100, 100, 100, "BYB" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        PH_SCOPED(scope, NULL);
        free_windows();
        struct ph_sched *s = ph_sched_new(scope, limits, NULL);

        put(s, "B", "list", 10000, 50, 0);
        put(s, "O", "older", 100, 50, cases[i].older);
        put(s, "Y", "younger", 1, 0, cases[i].younger);
        is_bytes(order(s, scope, 3, cases[i].now), cases[i].want, "%s", cases[i].name);
    }
}

/* Entries that pass are of the same destination too. */
static void test_same_destination(void)
{
    PH_SCOPED(scope, NULL);
    limits_default();
    struct ph_sched *s = ph_sched_new(scope, limits, NULL);
    struct ph_sched_entry *e[5];

    put(s, "B", "big.example", 10000, 0, 0);
    for (int i = 0; i < 5; i++)
        e[i] = ph_sched_next(s, 0);
    ok(!ph_sched_next(s, 0), "the list fills the window of its destination");
    put(s, "S", "big.example", 1, 0, 1);
    ok(!ph_sched_next(s, 1), "a window holds for those that pass as well");
    ph_sched_done(s, e[0], PH_SCHED_NEUTRAL, nothing, nothing, 2);
    is_bytes(ph_cstr(ph_sched_next(s, 2)->user), "S", "the next place is the small one's");
}

/* What a passing message did not need is paid back. */
static void test_refund(void)
{
    PH_SCOPED(scope, NULL);
    free_windows();
    limits_now.slot_cost = 2;
    limits_now.slot_loan = limits_now.slot_discount = 0;
    struct ph_sched *s = ph_sched_new(scope, limits, NULL);

    put(s, "B", "list", 10000, 50, 0);
    struct ph_sched_msg *m = put(s, "W", "w", 200, 50, 0);
    is_bytes(order(s, scope, 9, 0), "BBBBBBBBW", "four slots let four requests pass");
    put(s, "S", "s", 50, 0, 0);
    ph_sched_withdraw(s, m);
    is_bytes(order(s, scope, 3, 0), "SBB", "three were withdrawn: a slot is there at once");
}

/* A message that passed may be passed; its parent may end first. */
static void test_nested(void)
{
    PH_SCOPED(scope, NULL);
    free_windows();
    limits_now.slot_loan = 0;
    limits_now.slot_discount = 100;
    struct ph_sched *s = ph_sched_new(scope, limits, NULL);

    put(s, "B", "list", 500 * 50, 50, 0);
    put(s, "M", "medium", 40 * 50, 50, 0);
    is_bytes(order(s, scope, 2, 1), "BM", "a medium message passes a large one");
    put(s, "S", "small", 1, 0, 2);
    is_bytes(order(s, scope, 2, 2), "SM", "a small one passes the medium one");
    is_int(s->stats.passes, 2, "two passed");
    ph_str all = order(s, scope, 1000, 3);
    is_int(all.n, 537, "all requests come out");
    ok(ph_str_starts(all, PH_STR("MMMMMMMMMMMM")) && all.p[37] == 'M' && all.p[38] == 'B',
       "the medium one goes on before the large one");
}

/* An endless stream of small messages: the list is stretched by a quarter at
 * most, with default cost and any depth; no message waits for ever. */
static void test_stretch(void)
{
    static const struct { uint32_t cost; double most; } cases[] = { { 5, 1.25 }, { 2, 2.0 }, { 10, 1.0 + 1.0 / 9 } };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        PH_SCOPED(scope, NULL);
        uint32_t rnd = 7, sent = 0, list = 0;
        free_windows();
        limits_now.slot_cost = cases[i].cost;
        struct ph_sched *s = ph_sched_new(scope, limits, NULL);

        put(s, "B", "list", 2000 * 50, 50, 0);
        for (int64_t now = 1; list < 2000 && sent < 20000; now++, sent++) {
            put(s, "S", "s", 50 * (1 + (dice(&rnd) % 4 ? 0 : dice(&rnd) % 40)), 50, now);
            struct ph_sched_entry *e = ph_sched_next(s, now);

            list += *(const char *)e->user == 'B';
            ph_sched_done(s, e, PH_SCHED_ALIVE, nothing, nothing, now);
        }
        ok(list == 2000 && sent <= 2000 * cases[i].most + 2 * cases[i].cost + 3,
           "cost %u: a list of 2000 requests needs %u turns, at most %.0f %% more", cases[i].cost, sent,
           100 * (cases[i].most - 1));
        ok(sent >= 2000 + 2000 / cases[i].cost * 9 / 10, "and lets small ones pass all along");
    }
}

/* ---- a list of 50,000 beside single messages ---- */

struct single { int64_t came, went; uint64_t before; };
#define SINGLES 400
static struct single singles[SINGLES];

static int64_t a_second(struct world *w, struct ph_sched_entry *e)
{
    struct single *x = e->user;

    if (x) {
        x->went = w->now;
        x->before = w->started - x->before;
    }
    return 1000;
}

static enum ph_sched_outcome alive(struct world *w PH_UNUSED, struct ph_sched_entry *e PH_UNUSED)
{
    return PH_SCHED_ALIVE;
}

/* Singles that come one by one wait for few deliveries and not for the list,
 * at its own destination and elsewhere. */
static void test_list(const char *where, int elsewhere, uint32_t processes, uint32_t per_site,
                      int64_t every_ms)
{
    PH_SCOPED(scope, NULL);
    struct world w;
    uint64_t worst = 0;
    int64_t longest = 0;
    int gone = 0;

    limits_default();
    limits_now.in_flight = processes;
    world_init(&w, scope);
    w.take_off = a_second;
    w.land = alive;
    put(w.s, NULL, "list.example", 50000, per_site, 0);
    for (int i = 0; i < SINGLES && w.s->stats.entries > 100; i++) {
        world_run(&w, w.now + every_ms);
        singles[i] = (struct single){ .came = w.now, .went = -1, .before = w.started };
        put(w.s, &singles[i], elsewhere ? "other.example" : "list.example", 1, 0, w.now);
        gone = i + 1;
    }
    ok(w.s->stats.entries > 50, "%s: the list is still under way", where);
    for (int i = 0; i < gone - 3; i++) {
        longest = singles[i].went < 0 ? INT64_MAX : singles[i].went - singles[i].came > longest ?
                  singles[i].went - singles[i].came : longest;
        worst = singles[i].before > worst ? singles[i].before : worst;
    }
    ok(longest <= 1000, "%s: each of %d messages begins within one delivery's time (%lld ms)", where, gone,
       (long long)longest);
    ok(worst <= 25, "%s: at most one window of deliveries begins before it (%llu)", where, (unsigned long long)worst);
    world_fini(&w);
}

/* A burst: with n waiting the last begins within cost * n deliveries. */
static void test_burst(void)
{
    PH_SCOPED(scope, NULL);
    int last = 0;
    free_windows();
    struct ph_sched *s = ph_sched_new(scope, limits, NULL);

    put(s, "B", "list", 50000, 50, 0);
    for (int i = 0; i < 100; i++)
        put(s, "S", "s", 1, 0, 1);
    ph_str all = order(s, scope, 1000, 1);
    for (size_t i = 0; i < all.n; i++)
        last = all.p[i] == 'S' ? (int)i : last;
    ok(last < 6 * 100, "a hundred at once all begin within 600 deliveries (%d)", last);
}

/* ---- no starvation, in a storm ---- */

struct storm { uint32_t left; int64_t born, ended; uint32_t n; };
#define STORM 4000
static struct storm storm[STORM];

static int64_t some_time(struct world *w PH_UNUSED, struct ph_sched_entry *e)
{
    return 50 + (int64_t)(e->rcpt[0] * 37 % 400);
}

static void storm_over(struct world *w, void *user)
{
    ((struct storm *)user)->ended = w->now;
}

static void test_storm(void)
{
    PH_SCOPED(scope, NULL);
    struct world w;
    uint32_t rnd = 3;
    int64_t worst_small = 0;
    size_t still;

    limits_default();
    world_init(&w, scope);
    w.take_off = some_time;
    w.land = alive;
    w.over = storm_over;
    for (int i = 0; i < STORM; i++) {
        uint32_t kind = dice(&rnd) % 100, n = kind < 90 ? 1 + dice(&rnd) % 3 : kind < 99 ? dice(&rnd) % 200 + 1 : 2000;
        struct ph_sched_msg *m = ph_sched_open(w.s, &storm[i], w.now);

        storm[i] = (struct storm){ .born = w.now, .n = n };
        for (uint32_t k = 0; k < n; k++) {
            char site[24];

            snprintf(site, sizeof site, "site%u", dice(&rnd) % 60 * (dice(&rnd) % 60) / 60);
            ph_sched_add(m, PH_STR("smtp"), ph_cstr(site), nothing, k);
        }
        ph_sched_close(m);
        if (dice(&rnd) % 50 == 0 && ph_sched_withdraw(w.s, m))
            storm[i].ended = w.now;
        world_run(&w, w.now + 1 + dice(&rnd) % 24);
    }
    still = w.s->stats.messages;
    world_run(&w, w.now + 3600000);
    ph_sched_next(w.s, w.now + 60000);             /* what is remembered of steady traffic goes */
    for (int i = 0; i < STORM; i++) {
        if (storm[i].n <= 3 && storm[i].ended - storm[i].born > worst_small)
            worst_small = storm[i].ended - storm[i].born;
    }
    is_int(w.s->stats.messages, 0, "storm: every message got through (%zu were under way at its end)", still);
    is_int(w.s->stats.destinations + w.s->stats.recipients + w.s->stats.entries, 0, "storm: nothing is remembered");
    ok(w.s->stats.passes > 100, "storm: small ones passed large ones (%llu times)", (unsigned long long)w.s->stats.passes);
    ok(worst_small < 60000, "storm: no small message waited long (%lld ms)", (long long)worst_small);
    world_fini(&w);
}

/* ---- the price ---- */

/* Comparisons for each of 1000 steps in front of a backlog of n messages. */
static double price(uint32_t n)
{
    PH_SCOPED(scope, NULL);
    uint32_t rnd = 1;
    limits_default();
    struct ph_sched *s = ph_sched_new(scope, limits, NULL);

    for (uint32_t i = 0; i < n; i++) {
        char site[24];

        snprintf(site, sizeof site, "s%u", dice(&rnd) % 1000);
        put(s, "M", site, i % 100 ? 1 + dice(&rnd) % 60 : 3000, dice(&rnd) % 2, 0);
    }
    uint64_t before = s->stats.work;

    for (int64_t i = 0; i < 1000; i++)
        ph_sched_done(s, ph_sched_next(s, i), PH_SCHED_ALIVE, nothing, nothing, i);
    return (double)(s->stats.work - before) / 1000;
}

static void test_price(void)
{
    double small = price(500), large = price(50000);

    ok(large < 400, "a step in front of 50,000 messages takes few comparisons (%.0f)", large);
    ok(large < 2.5 * small, "hardly more than in front of 500 (%.0f)", small);
}

int main(void)
{
    test_classes();
    test_orders();
    test_choice();
    test_same_destination();
    test_refund();
    test_nested();
    test_stretch();
    test_list("at its own destination", 0, 100, 0, 500);
    test_list("elsewhere", 1, 100, 0, 500);
    test_list("behind a full transport", 1, 10, 50, 1000);
    test_burst();
    test_storm();
    test_price();
    return done_testing();
}
