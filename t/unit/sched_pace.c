/* t/unit/sched_pace.c: rate delays, the reuse hint, clog notes, and how many
 * recipients are in memory. */
#include "sched_world.h"

static int end(struct ph_sched *s, struct ph_sched_entry *e, enum ph_sched_outcome how, int64_t now)
{
    return ph_sched_done(s, e, how, PH_STR("4.4.1"), PH_STR("refused"), now);
}

/* ---- rate delays ---- */

static void test_destination_rate(void)
{
    PH_SCOPED(scope, NULL);
    struct ph_sched_entry *e, *other;

    limits_default();
    limits_now.rate_ms = 1000;
    struct ph_sched *s = ph_sched_new(scope, limits, NULL);

    for (int i = 0; i < 3; i++)
        put(s, "A", "a.example", 1, 0, 0);
    put(s, "B", "b.example", 1, 0, 0);
    e = ph_sched_next(s, 0);
    other = ph_sched_next(s, 0);
    is_bytes(ph_cstr(other->user), "B", "a rate delay means one at a time: another destination is next");
    ok(!ph_sched_next(s, 0), "and nothing more");
    end(s, e, PH_SCHED_ALIVE, 400);
    end(s, other, PH_SCHED_ALIVE, 400);
    is_int(s->stats.destinations, 2, "a destination without mail is remembered while it rests");
    is_int(ph_sched_wake(s), 1400, "the rest begins when the delivery ends");
    ok(!ph_sched_next(s, 1399), "nothing before its time");
    ph_sched_forget(s);
    ok(!ph_sched_next(s, 1399), "a flush does not end it");
    put(s, "B", "b.example", 1, 0, 1399);
    ok(!ph_sched_next(s, 1399), "nor does new mail");
    e = ph_sched_next(s, 1400);
    ok(e && *(char *)e->user == 'A', "then the next one");
    end(s, e, PH_SCHED_NEUTRAL, 1500);
    other = ph_sched_next(s, 1500);
    ok(other != NULL, "an attempt that was none does not count");
    end(s, ph_sched_next(s, 1500), PH_SCHED_ALIVE, 1500);
    end(s, other, PH_SCHED_ALIVE, 1500);
    ph_sched_next(s, 2500);
    is_int(s->stats.destinations, 0, "after the rest nothing is remembered");
}

static void test_transport_rate(void)
{
    PH_SCOPED(scope, NULL);
    int64_t at[5], now = 0;
    int n = 0;

    limits_default();
    limits_now.transport_rate_ms = 2000;
    struct ph_sched *s = ph_sched_new(scope, limits, NULL);

    put(s, "A", "a", 5, 1, 0);
    ph_sched_throttle(s, PH_STR("smtp"), PH_STR("4.3.0"), PH_STR("x"), -1);
    for (; n < 5 && now < 100000; now += 100)
        for (struct ph_sched_entry *e; n < 5 && (e = ph_sched_next(s, now)); )
            at[n++] = now;
    ok(n == 5 && at[0] == 0 && at[1] == 2000 && at[4] == 8000, "a transport starts one each two seconds, whatever its destinations");
}

/* With a rate delay and the cohort limit 10 one failure does not stop a site. */
static void test_rate_and_failures(void)
{
    PH_SCOPED(scope, NULL);
    int tries = 0;

    limits_default();
    limits_now.rate_ms = 1000;
    limits_now.failed_cohorts = 10;
    struct ph_sched *s = ph_sched_new(scope, limits, NULL);

    for (int i = 0; i < 40; i++)
        put(s, "A", "a.example", 1, 0, 0);
    for (int64_t now = 0; now < 100000; now += 500)
        for (struct ph_sched_entry *e; (e = ph_sched_next(s, now)); ) {
            tries += e->kind == PH_SCHED_DELIVER;
            end(s, e, e->kind == PH_SCHED_DELIVER ? PH_SCHED_SITE_FAILED : PH_SCHED_NEUTRAL, now);
        }
    ok(tries > 10 && tries < 20, "a failing site is tried at its pace until ten windows failed (%d)", tries);
}

/* ---- the reuse hint ---- */

static struct ph_sched_entry *start(struct ph_sched *s, int64_t now, uint32_t *reuse)
{
    struct ph_sched_entry *e = ph_sched_next(s, now);

    *reuse = e ? e->reuse : 99;
    return e;
}

static void test_reuse(void)
{
    PH_SCOPED(scope, NULL);
    struct ph_sched_entry *e[8];
    uint32_t hint[8];

    limits_default();
    limits_now.initial = limits_now.concurrency = 2;
    struct ph_sched *s = ph_sched_new(scope, limits, NULL);

    for (int i = 0; i < 5; i++)
        put(s, "A", "a.example", 1, 0, 0);
    e[0] = start(s, 0, &hint[0]);
    e[1] = start(s, 0, &hint[1]);
    ok(hint[0] == 0 && hint[1] == 1, "asked for once the window is full and more waits");
    end(s, e[0], PH_SCHED_ALIVE, 1);
    e[2] = start(s, 1, &hint[2]);
    end(s, e[1], PH_SCHED_ALIVE, 2);
    e[3] = start(s, 2, &hint[3]);
    end(s, e[2], PH_SCHED_ALIVE, 3);
    e[4] = start(s, 3, &hint[4]);
    ok(hint[2] == 1 && hint[3] == 1 && hint[4] == 1, "and until neither concurrent nor waiting ones are left");
    end(s, e[3], PH_SCHED_ALIVE, 4);
    put(s, "A", "a.example", 1, 0, 4);
    e[5] = start(s, 4, &hint[5]);
    is_int(hint[5], 1, "another comes while one is under way: still");
    end(s, e[5], PH_SCHED_ALIVE, 5);
    end(s, e[4], PH_SCHED_ALIVE, 5);
    put(s, "A", "a.example", 1, 0, 6);
    start(s, 6, &hint[6]);
    is_int(hint[6], 0, "a single one later does not ask");
}

/* One delivery each `every` ms, none ever waits for another: the hint of the last. */
static uint32_t steady(struct ph_sched *s, int64_t *now, int64_t every, int count)
{
    uint32_t hint = 0;

    for (int i = 0; i < count; i++, *now += every) {
        put(s, "A", "a.example", 1, 0, *now);
        end(s, start(s, *now, &hint), PH_SCHED_ALIVE, *now);
    }
    return hint;
}

static void test_steady(void)
{
    PH_SCOPED(scope, NULL);
    int64_t now = 0;

    limits_default();
    struct ph_sched *s = ph_sched_new(scope, limits, NULL);
    put(s, "B", "a.example", 1, 0, 0);             /* its destination is never forgotten meanwhile */
    is_int(steady(s, &now, 10, 7), 0, "seven in a row do not ask to keep connections");
    is_int(steady(s, &now, 10, 2), 1, "more do");
    is_int(steady(s, &now, 100, 100), 1, "ten a second go on to ask");
    now += 5000;
    is_int(steady(s, &now, 100, 1), 0, "after a silence one does not");
    is_int(steady(s, &now, 400, 100), 0, "nor do some that come slowly");
}

/* ---- clog, trace, reload ---- */

static void test_clog(void)
{
    PH_SCOPED(scope, NULL);
    struct ph_sched_clog c;

    limits_default();
    struct ph_sched *s = ph_sched_new(scope, limits, NULL);

    ph_sched_clog_max(s, 100);
    for (int i = 0; i < 100; i++)
        put(s, "A", "big.example", 1, 0, 0);
    ok(!ph_sched_clogged(s, 0, 300000, &c), "a hundred may wait");
    put(s, "A", "big.example", 1, 0, 0);
    ok(ph_sched_clogged(s, 0, 300000, &c), "one more is noted");
    is_bytes(c.nexthop, "big.example", "with its name");
    is_int(c.entries, 101, "and number");
    put(s, "A", "big.example", 1, 0, 0);
    ok(!ph_sched_clogged(s, 299999, 300000, &c), "not twice in five minutes");
    ok(ph_sched_clogged(s, 300000, 300000, &c), "then again");
    put(s, "A", "big.example", 1, 0, 0);
    for (struct ph_sched_entry *e; (e = ph_sched_next(s, 1)); )
        end(s, e, PH_SCHED_ALIVE, 1);
    ok(!ph_sched_clogged(s, 900000, 300000, &c), "nor when it is gone");
}

static char trace_text[4096];

static void trace(void *arg PH_UNUSED, const struct ph_sched_trace *t)
{
    size_t n = strlen(trace_text);

    snprintf(trace_text + n, sizeof trace_text - n, "%.*s %s %u;", PH_FMT(t->nexthop), t->event, t->window);
}

static void test_trace(void)
{
    PH_SCOPED(scope, NULL);
    struct ph_sched_entry *e[4];

    limits_default();
    limits_now.initial = 2;
    struct ph_sched *s = ph_sched_new(scope, limits, NULL);

    ph_sched_tracer(s, trace, NULL);
    for (int i = 0; i < 4; i++)
        put(s, "A", "a", 1, 0, 0);
    e[0] = ph_sched_next(s, 0);
    e[1] = ph_sched_next(s, 0);
    end(s, e[0], PH_SCHED_ALIVE, 0);
    e[2] = ph_sched_next(s, 0);
    end(s, e[1], PH_SCHED_SITE_FAILED, 0);
    end(s, e[2], PH_SCHED_SITE_FAILED, 0);
    is_bytes(ph_cstr(trace_text), "a success 3;a failure 2;a failure 1;", "each change of a window can be seen");
}

static void test_reload(void)
{
    PH_SCOPED(scope, NULL);
    int n = 0;

    limits_default();
    limits_now.initial = 20;
    struct ph_sched *s = ph_sched_new(scope, limits, NULL);

    for (int i = 0; i < 30; i++)
        put(s, "A", "a", 1, 0, 0);
    struct ph_sched_entry *e = ph_sched_next(s, 0);

    limits_now.concurrency = 3;
    ph_sched_reconfigure(s);
    end(s, e, PH_SCHED_ALIVE, 0);
    while (ph_sched_next(s, 0))
        n++;
    is_int(n, 3, "a new concurrency limit holds for destinations that are known");
}

/* ---- recipients in memory ---- */

/* A message of `n` recipients on disk, read as the scheduler says. */
struct reader { uint32_t at, n; uint32_t site; const char *transport; int64_t first, last; };

static void read_portion(struct ph_sched_msg *m, struct reader *r, uint32_t portion, int64_t now PH_UNUSED)
{
    for (uint32_t i = 0; i < portion && r->at < r->n; i++, r->at++) {
        char site[24];

        snprintf(site, sizeof site, "%u.example", r->site ? r->at / r->site : 0);
        ph_sched_add(m, ph_cstr(r->transport), ph_cstr(site), ph_cstr(site), r->at);
    }
    ph_sched_unread(m, r->n - r->at);
}

static struct ph_sched_msg *begin(struct ph_sched *s, struct reader *r, int64_t now)
{
    struct ph_sched_msg *m = ph_sched_open(s, r, now);

    r->first = now;
    read_portion(m, r, ph_sched_appetite(s), now);
    ph_sched_close(m);
    return m;
}

static void read_on(struct ph_sched *s, int64_t now)
{
    struct ph_sched_msg *m;
    void *user;
    uint32_t n;

    while (ph_sched_hungry(s, now, &m, &user, &n)) {
        ph_sched_reopen(m, now);
        read_portion(m, user, n, now);
        ph_sched_close(m);
    }
}

/* One round of the world: everything that can start ends a second later. */
static uint32_t round_of(struct ph_sched *s, int64_t now, size_t *most)
{
    struct ph_sched_entry *air[200];
    uint32_t n = 0, sent = 0;

    read_on(s, now);
    while (n < 200 && (air[n] = ph_sched_next(s, now)))
        n++;
    *most = s->stats.recipients > *most ? s->stats.recipients : *most;
    for (uint32_t i = 0; i < n; i++) {
        struct reader *r = air[i]->user;

        sent += air[i]->n;
        if (end(s, air[i], PH_SCHED_ALIVE, now + 1000))
            r->last = now + 1000;
    }
    return sent;
}

static void test_million(uint32_t per_site, const char *what)
{
    PH_SCOPED(scope, NULL);
    struct reader list = { .n = 1000000, .site = per_site, .transport = "smtp" };
    uint64_t sent = 0;
    size_t most = 0;
    int64_t now = 0;

    limits_default();
    struct ph_sched *s = ph_sched_new(scope, limits, NULL);

    begin(s, &list, 0);
    is_int(list.at, 5000, "%s: the first portion of a million", what);
    for (; s->stats.messages && now < 100000000; now += 1000)
        sent += round_of(s, now, &most);
    is_int(sent, 1000000, "%s: every recipient was sent once", what);
    ok(most <= 20000 + 10, "%s: never more than the limit in memory (%zu)", what, most);
    ph_sched_next(s, now + 60000);         /* what is remembered of steady traffic goes */
    is_int(s->stats.messages + s->stats.recipients + s->stats.destinations, 0, "%s: nothing is left", what);
}

/* Many large messages at once: the totals hold, none starves, and small mail is
 * hardly touched. */
static void test_many_lists(void)
{
    PH_SCOPED(scope, NULL);
    static struct reader lists[40], single[100];
    size_t most = 0;
    int64_t now = 0, worst = 0;
    uint32_t over = 0;

    limits_default();
    limits_now.recipient_limit = 2000;
    limits_now.extra_recipient_limit = 500;
    struct ph_sched *s = ph_sched_new(scope, limits, NULL);

    ph_sched_recipients(s, 10, 3000);
    for (int i = 0; i < 40; i++) {
        lists[i] = (struct reader){ .n = 4000, .site = i % 2 ? 100 : 0, .transport = i % 3 ? "smtp" : "relay" };
        begin(s, &lists[i], 0);
    }
    for (int k = 0; s->stats.messages && now < 10000000; now += 1000, k++) {
        if (k < 100) {
            single[k] = (struct reader){ .n = 1, .transport = "smtp" };
            begin(s, &single[k], now);
        }
        round_of(s, now, &most);
    }
    for (int i = 0; i < 40; i++)
        over += lists[i].last > 0;
    for (int k = 0; k < 100; k++)
        worst = single[k].last - single[k].first > worst ? single[k].last - single[k].first : worst;
    is_int(over, 40, "forty lists of 4,000: all are over");
    ok(most <= 10 * 141 + 2 * 2500, "the totals hold (%zu)", most);
    ok(most > 2000, "and are used");
    ok(worst <= 3000, "singles between them wait three rounds at most (%lld ms)", (long long)worst);
}

static void test_refill_rules(void)
{
    PH_SCOPED(scope, NULL);
    struct reader list = { .n = 1000, .transport = "smtp" };
    struct ph_sched_msg *m, *hungry;
    struct ph_sched_entry *e;
    void *user;
    uint32_t n;

    limits_default();
    limits_now.recipient_limit = 200;
    limits_now.recipients = 50;
    struct ph_sched *s = ph_sched_new(scope, limits, NULL);

    ph_sched_recipients(s, 10, 100);
    m = begin(s, &list, 0);
    is_int(list.at, 100, "a new message takes what is left of qmgr_message_recipient_limit");
    ok(ph_sched_hungry(s, 0, &hungry, &user, &n) && hungry == m && n == 110,
       "the first list gets the slots of its transport, and its minimum");
    ph_sched_reopen(m, 0);
    read_portion(m, &list, n, 0);
    ph_sched_close(m);
    ok(!ph_sched_hungry(s, 0, &hungry, &user, &n), "no more when they are taken");
    e = ph_sched_next(s, 0);
    end(s, e, PH_SCHED_ALIVE, 1000);
    ok(!ph_sched_hungry(s, 1000, &hungry, &user, &n), "fifty less is not worth a read");
    is_int(ph_sched_wake(s), 5000, "unless they are free for recipient_refill_delay");
    ok(ph_sched_hungry(s, 5000, &hungry, &user, &n) && n == 50, "then it is");
    is_int(s->stats.recipients, 210, "what was promised counts");
    is_int(ph_sched_withdraw(s, m), 0, "a message that is being read is not over when it is withdrawn");
    ph_sched_reopen(m, 5000);
    ph_sched_unread(m, 0);
    is_int(ph_sched_close(m), 1, "but when the read comes back");
    is_int(s->stats.recipients + s->stats.messages, 0, "nothing is left");

    struct reader second = { .n = 500, .transport = "smtp" };
    list.at = 0;
    begin(s, &list, 6000);
    begin(s, &second, 6000);
    is_int(second.at, 10, "when the limit is used up the next one has its minimum");
}

int main(void)
{
    test_destination_rate();
    test_transport_rate();
    test_rate_and_failures();
    test_reuse();
    test_steady();
    test_clog();
    test_trace();
    test_reload();
    test_refill_rules();
    test_million(0, "one site");
    test_million(1, "a site each");
    test_million(700, "700 a site");
    test_many_lists();
    return done_testing();
}
