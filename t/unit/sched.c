/* t/unit/sched.c: the scheduler on a simulated clock. */
#include <stdint.h>
#include "tap.h"
#include "core/sched/priv.h"
#include "core/sched/retry.h"

static struct ph_sched_limits limits_now;

static void limits(void *arg PH_UNUSED, ph_str transport, struct ph_sched_limits *out)
{
    *out = limits_now;
    if (ph_str_eq(transport, PH_STR("local")))
        out->recipients = 1;
    if (ph_str_eq(transport, PH_STR("narrow")))
        out->in_flight = 2;
}

static struct ph_sched *fresh(struct ph_scope *s)
{
    limits_now = (struct ph_sched_limits){
        .recipients = 50, .concurrency = 20, .initial = 5, .failed_cohorts = 1,
        .positive = { 1, PH_FEEDBACK_CONST }, .negative = { 1, PH_FEEDBACK_CONST }, .dead_ms = 300000,
    };
    return ph_sched_new(s, limits, NULL);
}

/* One message for `n` recipients at one next hop. */
static struct ph_sched_msg *put(struct ph_sched *s, const char *id, const char *transport,
                                const char *nexthop, uint32_t n)
{
    struct ph_sched_msg *m = ph_sched_open(s, (void *)(uintptr_t)id, 0);

    for (uint32_t i = 0; i < n; i++) {
        char key[32];

        snprintf(key, sizeof key, "user%u", i);
        ph_sched_add(m, ph_cstr(transport), ph_cstr(nexthop), ph_cstr(key), i);
    }
    ph_sched_close(m);
    return m;
}

static const ph_str nothing = { "", 0 };
static const ph_str refused = PH_STR_INIT("connect to mx.example[192.0.2.1]:25: Connection refused");

static int done(struct ph_sched *s, struct ph_sched_entry *e, enum ph_sched_outcome how, int64_t now)
{
    return ph_sched_done(s, e, how, PH_STR("4.4.1"), how == PH_SCHED_SITE_FAILED ? refused : nothing, now);
}

static void test_batches(void)
{
    PH_SCOPED(scope, NULL);
    struct ph_sched *s = fresh(scope);
    struct ph_sched_entry *e[4];
    uint32_t seen[120] = { 0 }, all = 1;

    put(s, "A", "smtp", "example.com", 120);
    for (int i = 0; i < 4; i++)
        e[i] = ph_sched_next(s, 0);
    is_int(e[0]->n, 50, "a request has recipient_limit recipients");
    is_int(e[2]->n, 20, "the last one has the rest");
    ok(!e[3], "and there are no more");
    for (int i = 0; i < 3; i++)
        for (uint32_t k = 0; k < e[i]->n; k++)
            seen[e[i]->rcpt[k]]++;
    for (int i = 0; i < 120; i++)
        all &= seen[i] == 1;
    ok((int)all, "each recipient is in exactly one request");
    ok(!e[0]->reuse && !e[2]->reuse, "a burst within the window does not ask to keep connections");
    is_int(done(s, e[0], PH_SCHED_ALIVE, 0), 0, "one request over, the message is not");
    done(s, e[2], PH_SCHED_ALIVE, 0);
    is_int(done(s, e[1], PH_SCHED_ALIVE, 0), 1, "the last one ends the message");
    struct ph_sched_stats st;
    ph_sched_stats(s, &st);
    is_int(st.destinations + st.messages + st.entries + st.in_flight, 0, "nothing is remembered");
    is_int(ph_sched_close(ph_sched_open(s, NULL, 0)), 1, "a message without recipients is over at once");
}

static void test_recipient_destinations(void)
{
    PH_SCOPED(scope, NULL);
    struct ph_sched *s = fresh(scope);
    struct ph_sched_stats st;

    put(s, "A", "local", "host.example", 3);
    ph_sched_stats(s, &st);
    is_int(st.destinations, 3, "with a recipient limit of 1 each recipient is a destination");
    is_int(ph_sched_next(s, 0)->n, 1, "and is sent alone");
}

/* Concurrency is never exceeded, whatever comes and goes; no message waits
 * forever.  A deterministic storm: 3,000 messages, 40 sites, 3 transports. */
struct flight { struct ph_sched_entry *e; int64_t ends; };

static uint32_t dice(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

#define FLIGHTS 1000
static void test_storm(void)
{
    static const char *const transports[] = { "smtp", "relay", "narrow" };
    PH_SCOPED(scope, NULL);
    struct ph_sched *s = fresh(scope);
    static struct flight air[FLIGHTS];
    uint32_t rnd = 1, in_air = 0, sent = 0, finished = 0, worst = 0, narrow = 0, narrow_worst = 0;
    uint32_t busy[3][40] = { { 0 } };

    limits_now.concurrency = 7;
    for (int64_t now = 0; finished < 3000 && now < 10000000; now++) {
        if (sent < 3000 && now % 2 == 0) {
            struct ph_sched_msg *m = ph_sched_open(s, NULL, 0);
            const char *t = transports[dice(&rnd) % 3];
            uint32_t n = 1 + dice(&rnd) % 5;

            for (uint32_t i = 0; i < n; i++) {
                char site[16];

                snprintf(site, sizeof site, "%u", dice(&rnd) % 40);
                ph_sched_add(m, ph_cstr(t), ph_cstr(site), nothing, i);
            }
            ph_sched_close(m);
            sent++;
        }
        for (uint32_t i = 0; i < in_air; i++)
            if (air[i].ends <= now) {
                uint64_t site = 0;
                uint32_t t = air[i].e->transport.p[0] == 's' ? 0 : air[i].e->transport.p[0] == 'r' ? 1 : 2;

                ph_str_u64(air[i].e->nexthop, &site);
                busy[t][site]--;
                narrow -= t == 2;
                finished += (uint32_t)done(s, air[i].e, PH_SCHED_ALIVE, now);
                air[i--] = air[--in_air];
            }
        for (struct ph_sched_entry *e; in_air < FLIGHTS && (e = ph_sched_next(s, now)); ) {
            uint64_t site = 0;
            uint32_t t = e->transport.p[0] == 's' ? 0 : e->transport.p[0] == 'r' ? 1 : 2;

            ph_str_u64(e->nexthop, &site);
            if (++busy[t][site] > worst)
                worst = busy[t][site];
            if (t == 2 && ++narrow > narrow_worst)
                narrow_worst = narrow;
            air[in_air++] = (struct flight){ e, now + 1 + dice(&rnd) % 20 };
        }
    }
    is_int(finished, 3000, "every message got through");
    ok(worst <= 7 && worst >= 2, "no destination ever had more than its limit in flight (%u)", worst);
    is_int(narrow_worst, 2, "nor a transport more than its own");
}

static void test_turns(void)
{
    PH_SCOPED(scope, NULL);
    struct ph_sched *s = fresh(scope);
    char order[8] = "";

    limits_now.initial = 100;
    limits_now.concurrency = 100;
    for (int i = 0; i < 50; i++)
        put(s, "B", "busy", "big.example", 1);
    put(s, "A", "smtp", "a.example", 1);
    put(s, "N", "narrow", "n.example", 1);
    for (int i = 0; i < 5; i++)
        order[i] = *(const char *)ph_sched_next(s, 0)->user;
    is_bytes(ph_cstr(order), "BANBB", "transports take turns: a backlog of one delays no other");
}

static void test_rotation(void)
{
    PH_SCOPED(scope, NULL);
    struct ph_sched *s = fresh(scope);
    struct ph_sched_msg *m = ph_sched_open(s, NULL, 0);
    char order[8] = "";

    limits_now.recipients = 1;
    ph_sched_reconfigure(s);
    for (uint32_t i = 0; i < 6; i++)
        ph_sched_add(m, PH_STR("smtp"), PH_STR("same"), i < 3 ? PH_STR("a") : i < 5 ? PH_STR("b") : PH_STR("c"), i);
    ph_sched_close(m);
    for (int i = 0; i < 6; i++)
        order[i] = (char)('0' + ph_sched_next(s, 0)->rcpt[0]);
    is_bytes(ph_cstr(order), "035142", "within a message its destinations rotate");
}

static void test_fifo(void)
{
    PH_SCOPED(scope, NULL);
    struct ph_sched *s = fresh(scope);
    struct ph_sched_entry *e;

    limits_now.initial = limits_now.concurrency = 1;
    put(s, "1", "smtp", "slow.example", 1);
    put(s, "2", "smtp", "slow.example", 1);
    put(s, "3", "smtp", "other.example", 1);
    e = ph_sched_next(s, 0);
    is_bytes(ph_cstr(e->user), "1", "first come first served");
    is_bytes(ph_cstr(ph_sched_next(s, 0)->user), "3", "what is blocked by its window lets later jobs pass");
    ok(!ph_sched_next(s, 0), "the second waits for the first");
    done(s, e, PH_SCHED_ALIVE, 0);
    is_bytes(ph_cstr(ph_sched_next(s, 0)->user), "2", "and is next");
}

static void test_window(void)
{
    struct ph_sched_limits l;
    struct window w;
    int n;

    PH_SCOPED(scope, NULL);
    fresh(scope);
    l = limits_now;
    ph_window_init(&w, &l);
    for (n = 1; !ph_window_failure(&w, &l) && n < 100; n++)
        ;
    is_int(n, 4, "defaults: four failures in a row make a new destination dead");
    ph_window_init(&w, &l);
    w.size = 20;
    for (n = 1; !ph_window_failure(&w, &l) && n < 100; n++)
        ;
    is_int(n, 13, "from a window of 20 thirteen do");
    ph_window_init(&w, &l);
    ph_window_failure(&w, &l);
    ph_window_success(&w, 5, &l);
    ok(w.cohorts <= 0, "a success forgets the failures");
    for (int i = 0; i < 40; i++)
        ph_window_success(&w, w.size, &l);
    is_int(w.size, 20, "the window grows to the limit and not beyond");
    l.positive = (struct ph_feedback){ 1, PH_FEEDBACK_INVERSE };
    ph_window_init(&w, &l);
    for (n = 0; w.size == 5; n++)
        ph_window_success(&w, 5, &l);
    is_int(n, 5, "1/concurrency: five successes widen a window of five");
    ph_window_success(&w, 0, &l);
    n = (int)w.size;
    for (int i = 0; i < 50; i++)
        ph_window_success(&w, 0, &l);
    is_int(w.size, n, "a window that is not used does not grow");
    l.failed_cohorts = 0;
    for (int i = 0; i < 100; i++)
        n = ph_window_failure(&w, &l);
    ok(!n && w.size == 1, "cohort limit 0: never dead, window down to one");
}

static void test_feedback_text(void)
{
    static const struct { const char *text; int good; double x; int form; } cases[] = {
        { "1", 1, 1, PH_FEEDBACK_CONST }, { "0.25", 1, 0.25, PH_FEEDBACK_CONST },
        { "1/concurrency", 1, 1, PH_FEEDBACK_INVERSE }, { "0.5 / sqrt_concurrency", 1, 0.5, PH_FEEDBACK_SQRT },
        { "2", 0, 0, 0 }, { "-1", 0, 0, 0 }, { "", 0, 0, 0 }, { "1/x", 0, 0, 0 }, { "1/", 0, 0, 0 }, { ".", 0, 0, 0 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ph_feedback f = { 0, PH_FEEDBACK_CONST };
        int good = ph_feedback_parse(ph_cstr(cases[i].text), &f);

        ok(good == cases[i].good && (!good || (f.x - cases[i].x < 1e-9 && cases[i].x - f.x < 1e-9 &&
           (int)f.form == cases[i].form)), "feedback \"%s\"", cases[i].text);
    }
}

static void test_dead(void)
{
    PH_SCOPED(scope, NULL);
    struct ph_sched *s = fresh(scope);
    struct ph_sched_entry *e[8];
    int n, kinds = 0;

    for (int i = 0; i < 10; i++)
        put(s, "D", "smtp", "dead.example", 1);
    put(s, "G", "smtp", "good.example", 1);
    for (n = 0; n < 4; n++)
        e[n] = ph_sched_next(s, 1000);
    for (n = 0; n < 4; n++)
        done(s, e[n], PH_SCHED_SITE_FAILED, 1000);
    for (n = 0; (e[0] = ph_sched_next(s, 1000)) && e[0]->kind == PH_SCHED_SUSPENDED; n++) {
        kinds += ph_str_eq(e[0]->reason, refused) && ph_str_eq(e[0]->dsn, PH_STR("4.4.1"));
        done(s, e[0], PH_SCHED_NEUTRAL, 1000);
    }
    is_int(n, 6, "after four failures the other six come out at once");
    is_int(kinds, 6, "with the code and words of the last failure");
    is_bytes(ph_cstr(e[0]->user), "G", "another destination goes on");
    is_int(ph_sched_wake(s), 301000, "the site is left alone for minimal_backoff_time");
    put(s, "N", "smtp", "dead.example", 1);
    e[1] = ph_sched_next(s, 300999);
    is_int(e[1]->kind, PH_SCHED_SUSPENDED, "new mail for it is suspended until then");
    done(s, e[1], PH_SCHED_NEUTRAL, 300999);
    put(s, "N", "smtp", "dead.example", 1);
    e[1] = ph_sched_next(s, 301000);
    is_int(e[1]->kind, PH_SCHED_DELIVER, "and tried when it is over");
    done(s, e[1], PH_SCHED_ALIVE, 301000);
    done(s, e[0], PH_SCHED_ALIVE, 301000);
    is_int(s->stats.destinations, 0, "it is forgotten afterwards");
}

static void test_dead_forget(void)
{
    PH_SCOPED(scope, NULL);
    struct ph_sched *s = fresh(scope);

    limits_now.initial = 1;
    put(s, "D", "smtp", "dead.example", 1);
    done(s, ph_sched_next(s, 0), PH_SCHED_SITE_FAILED, 0);
    is_int(s->stats.dead, 1, "one failure at a window of one is a whole cohort");
    ph_sched_forget(s);
    is_int(s->stats.dead + s->stats.destinations, 0, "a flush forgets it");
    ph_sched_dead_max(s, 2);
    for (int i = 0; i < 5; i++) {
        char site[16];

        snprintf(site, sizeof site, "d%d", i);
        put(s, "D", "smtp", site, 1);
        done(s, ph_sched_next(s, 0), PH_SCHED_SITE_FAILED, 0);
    }
    is_int(s->stats.dead, 2, "the memory for dead sites is bounded");
}

static void test_unavailable(void)
{
    PH_SCOPED(scope, NULL);
    struct ph_sched *s = fresh(scope);
    struct ph_sched_entry *e;

    put(s, "A", "smtp", "a.example", 1);
    put(s, "B", "smtp", "b.example", 1);
    put(s, "C", "relay", "c.example", 1);
    ph_sched_throttle(s, PH_STR("smtp"), PH_STR("4.3.0"), PH_STR("mail transport unavailable"), 60000);
    for (int i = 0; i < 2; i++) {
        e = ph_sched_next(s, 0);
        is_int(e->kind, PH_SCHED_UNAVAILABLE, "a throttled transport gives its mail back");
        done(s, e, PH_SCHED_NEUTRAL, 0);
    }
    e = ph_sched_next(s, 0);
    is_bytes(ph_cstr(e->user), "C", "another transport is not touched");
    put(s, "D", "smtp", "a.example", 1);
    is_int(ph_sched_next(s, 60000)->kind, PH_SCHED_DELIVER, "after transport_retry_time it is tried again");
}

static void test_withdraw(void)
{
    PH_SCOPED(scope, NULL);
    struct ph_sched *s = fresh(scope);
    struct ph_sched_msg *a = put(s, "A", "smtp", "a.example", 500), *b;
    struct ph_sched_entry *e = ph_sched_next(s, 0);

    b = put(s, "B", "smtp", "a.example", 1);
    is_int(ph_sched_withdraw(s, a), 0, "withdrawn, but one request is under way");
    is_int(done(s, e, PH_SCHED_ALIVE, 0), 1, "when it ends the message is over");
    is_int(ph_sched_withdraw(s, b), 1, "nothing under way: over at once");
    ok(!ph_sched_next(s, 0), "nothing is left to send");
    is_int(s->stats.destinations + s->stats.messages + s->stats.entries, 0, "or to remember");
}

/* With a walk over the backlog in each step this would take an hour. */
static void test_backlog(void)
{
    PH_SCOPED(scope, NULL);
    struct ph_sched *s = fresh(scope);
    uint32_t n = 0;

    for (int i = 0; i < 200000; i++) {
        char site[16];

        snprintf(site, sizeof site, "%d.example", i % 50);
        put(s, "L", "smtp", site, 1);
    }
    limits_now.initial = 20;
    for (struct ph_sched_entry *e; (e = ph_sched_next(s, 0)); n++)
        done(s, e, PH_SCHED_ALIVE, 0);
    is_int(n, 200000, "a backlog of 200,000 is worked off");
}

/* 500 messages to a site that is down for five days, replayed: all expire,
 * each tried as often as the retry times say, the site spared meanwhile. */
static void test_five_days(void)
{
    const struct ph_retry_rules rules = { 300, 4000, 432000, 432000 };
    PH_SCOPED(scope, NULL);
    struct ph_sched *s = fresh(scope);
    struct ph_retry *r = ph_retry_new(scope);
    uint32_t expired = 0, contacts = 0, rounds = 0;
    int64_t last = 0;

    for (int i = 0; i < 500; i++) {
        char id[16];

        snprintf(id, sizeof id, "%d", i);
        ph_retry_add(r, ph_cstr(id), i / 10);
    }
    for (int64_t now; (now = ph_retry_first(r)) != INT64_MAX; last = now) {
        PH_SCOPED(step, NULL);
        ph_str id;
        int flushed;

        while (ph_retry_take(r, now, step, &id, &flushed)) {
            struct ph_sched_msg *m = ph_sched_open(s, (void *)(uintptr_t)ph_cstr_dup(step, id), now * 1000);

            ph_sched_add(m, PH_STR("smtp"), PH_STR("dead.example"), nothing, 0);
            ph_sched_close(m);
        }
        for (struct ph_sched_entry *e; (e = ph_sched_next(s, now * 1000)); ) {
            ph_str who = ph_cstr(e->user);
            uint64_t i;

            rounds++;
            contacts += e->kind == PH_SCHED_DELIVER;
            done(s, e, e->kind == PH_SCHED_DELIVER ? PH_SCHED_SITE_FAILED : PH_SCHED_NEUTRAL, now * 1000);
            ph_str_u64(who, &i);
            if (ph_retry_is_expired(&rules, (int64_t)i / 10, 1, now))
                expired++;
            else
                ph_retry_add(r, who, ph_retry_next(&rules, (int64_t)i / 10, now));
        }
    }
    is_int(expired, 500, "five days later every message is expired");
    ok(last >= 432000 && last < 432000 + 4100, "at the end of the lifetime (%lld)", (long long)last);
    ok(rounds > 500 * 108 && rounds < 500 * 125, "tried as often as the formula says (%u)", rounds / 500);
    ok(contacts < rounds / 10, "the site itself was asked in few of the rounds (%u of %u)", contacts, rounds);
}

int main(void)
{
    test_batches();
    test_recipient_destinations();
    test_storm();
    test_turns();
    test_rotation();
    test_fifo();
    test_window();
    test_feedback_text();
    test_dead();
    test_dead_forget();
    test_unavailable();
    test_withdraw();
    test_backlog();
    test_five_days();
    return done_testing();
}
