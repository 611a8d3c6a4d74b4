/* t/unit/sched_days.c: five days of mail, replayed: ordinary mail to a hundred
 * sites, a list of 50,000 each day, dead sites, sites that keep each connection
 * for ten minutes, and sites that put every third message off. */
#include "sched_world.h"

#define DAY        86400000LL
#define GOOD_SITES 100u
#define RULES      ((struct ph_retry_rules){ 300, 4000, 432000, 432000 })

enum kind { GOOD, LIST, DEAD, TARPIT, MOODY, KINDS };

struct mail {
    enum kind kind;
    uint32_t number, tries, deferred;
    int64_t born, began, over;     /* ms; began: its first delivery started */
    int ended;                     /* 1: delivered, 2: returned to its sender */
};

struct week {
    struct world w;                /* first: world callbacks get this */
    struct ph_retry *retry;
    struct mail *mail;
    uint32_t count, rnd;
    uint32_t contacts[KINDS], rounds[KINDS], delivered[KINDS], returned[KINDS];
    int64_t worst[KINDS], last_return;   /* from birth to the first delivery's begin */
};

#define MAIL_MAX 100000u

static int64_t take_off(struct world *w, struct ph_sched_entry *e)
{
    struct week *k = (struct week *)(void *)w;
    struct mail *m = e->user;

    k->contacts[m->kind]++;
    if (m->began < 0) {
        m->began = w->now;
        if (w->now - m->born > k->worst[m->kind])
            k->worst[m->kind] = w->now - m->born;
    }
    switch (m->kind) {
    case DEAD: return 30000;       /* the time limit of a connection */
    case TARPIT: return 600000;
    case LIST: return 15000 + dice(&k->rnd) % 10000;
    default: return 500 + dice(&k->rnd) % 1000;
    }
}

static enum ph_sched_outcome land(struct world *w, struct ph_sched_entry *e)
{
    struct week *k = (struct week *)(void *)w;
    struct mail *m = e->user;

    if (e->kind != PH_SCHED_DELIVER || m->kind == DEAD) {
        m->deferred++;
        return PH_SCHED_SITE_FAILED;
    }
    if (m->kind == MOODY && dice(&k->rnd) % 3 == 0)
        m->deferred++;
    return PH_SCHED_ALIVE;
}

static void id_of(const struct mail *m, char id[16])
{
    snprintf(id, 16, "%u", m->number);
}

/* The end of a round, as finish.c decides it. */
static void over(struct world *w, void *user)
{
    struct week *k = (struct week *)(void *)w;
    const struct ph_retry_rules rules = RULES;
    struct mail *m = user;
    int64_t now = w->now / 1000;
    char id[16];

    k->rounds[m->kind]++;
    m->tries++;
    m->over = w->now;
    if (!m->deferred) {
        m->ended = 1;
        k->delivered[m->kind]++;
    } else if (ph_retry_is_expired(&rules, m->born / 1000, 1, now)) {
        m->ended = 2;
        k->returned[m->kind]++;
        k->last_return = w->now - m->born;
    } else {
        id_of(m, id);
        ph_retry_add(k->retry, ph_cstr(id), ph_retry_next(&rules, m->born / 1000, now));
    }
    m->deferred = 0;
}

static void activate(struct week *k, struct mail *m)
{
    static const char *const names[KINDS] = { "good", "good", "dead", "tarpit", "moody" };
    static const uint32_t sites[KINDS] = { GOOD_SITES, GOOD_SITES, 5, 3, 10 };
    uint32_t n = m->kind == LIST ? 50000 : 1;
    struct ph_sched_msg *s = ph_sched_open(k->w.s, m, k->w.now);

    for (uint32_t i = 0; i < n; i++) {
        char site[24];

        snprintf(site, sizeof site, "%s%u", names[m->kind], (m->number + i) % sites[m->kind]);
        ph_sched_add(s, PH_STR("smtp"), ph_cstr(site), nothing, i);
    }
    ph_sched_close(s);
}

static void arrive(struct week *k, enum kind kind)
{
    if (k->count == MAIL_MAX)
        abort();
    struct mail *m = &k->mail[k->count];

    *m = (struct mail){ .kind = kind, .number = k->count++, .born = k->w.now, .began = -1 };
    activate(k, m);
}

static void retry_due(struct week *k)
{
    PH_SCOPED(s, NULL);
    ph_str id;
    uint64_t n;
    int flushed;

    while (ph_retry_take(k->retry, k->w.now / 1000, s, &id, &flushed))
        if (ph_str_u64(id, &n))
            activate(k, &k->mail[n]);
}

/* Mail arrives for five days; then until the last is gone. */
static void live(struct week *k, int with_trouble)
{
    static const struct { enum kind kind; int64_t first, every; } plan[] = {
        { GOOD, 0, 20000 }, { LIST, 3600000, DAY }, { DEAD, 1000, 600000 }, { TARPIT, 2000, 9000 }, { MOODY, 3000, 120000 },
    };
    int64_t next[KINDS];

    for (int i = 0; i < KINDS; i++)
        next[i] = plan[i].kind <= LIST || with_trouble ? plan[i].first : INT64_MAX;
    for (;;) {
        int64_t at = ph_retry_first(k->retry) == INT64_MAX ? INT64_MAX : ph_retry_first(k->retry) * 1000;
        int64_t busy = world_next(&k->w);

        for (int i = 0; i < KINDS; i++)
            at = next[i] < at ? next[i] : at;
        at = busy < at ? busy : at;
        if (at == INT64_MAX)
            break;
        world_run(&k->w, at > k->w.now ? at : k->w.now);
        retry_due(k);
        for (int i = 0; i < KINDS; i++)
            if (next[i] <= k->w.now) {
                arrive(k, plan[i].kind);
                next[i] = next[i] + plan[i].every < 5 * DAY ? next[i] + plan[i].every : INT64_MAX;
            }
        world_start(&k->w);
    }
}

static struct week *week(struct ph_scope *scope, int with_trouble)
{
    struct week *k = ph_new(scope, struct week);

    limits_default();
    world_init(&k->w, scope);
    k->w.take_off = take_off;
    k->w.land = land;
    k->w.over = over;
    k->retry = ph_retry_new(scope);
    k->mail = ph_alloc_array(scope, MAIL_MAX, sizeof *k->mail);
    k->rnd = 11;
    live(k, with_trouble);
    world_fini(&k->w);
    return k;
}

int main(void)
{
    PH_SCOPED(scope, NULL);
    struct week *quiet = week(scope, 0), *k = week(scope, 1);
    uint32_t lost = 0, early = 0, tries_least = UINT32_MAX, tries_most = 0;

    for (uint32_t i = 0; i < k->count; i++) {
        const struct mail *m = &k->mail[i];

        lost += !m->ended;
        early += m->ended == 2 && m->over - m->born < 432000000;
        if (m->kind == DEAD) {
            tries_least = m->tries < tries_least ? m->tries : tries_least;
            tries_most = m->tries > tries_most ? m->tries : tries_most;
        }
    }
    ok(k->count > 70000, "%u messages came in five days", k->count);
    is_int(lost, 0, "each was delivered or returned: no starvation");
    is_int(k->delivered[GOOD] + k->delivered[LIST], quiet->count, "all good mail was delivered");
    is_int(k->delivered[TARPIT], 5 * 86400 / 9, "all mail to the tar pits too, in its time");
    ok(k->worst[TARPIT] > 3600000, "though they had more than they take (%lld s)", (long long)k->worst[TARPIT] / 1000);
    is_int(k->delivered[MOODY] + k->returned[MOODY], 3600, "and what was put off at times");
    is_int(k->returned[MOODY], 0, "delivered, all of it");
    is_int(k->returned[DEAD], 720, "mail to dead sites was returned");
    is_int(early, 0, "none before five days");
    ok(k->last_return < 432000000 + 4000000 + 60000, "nor more than one round later (%lld s)", (long long)k->last_return / 1000);
    ok(tries_least > 100 && tries_most < 130, "after as many rounds as the formula says (%u..%u)", tries_least, tries_most);
    /* Five sites, ten days, five minutes of rest after 30 s. */
    ok(k->contacts[DEAD] < k->rounds[DEAD] && k->contacts[DEAD] < 5u * 5u * (10u * 86400u / 330u),
       "a dead site sees no more than an initial window in five minutes (%u contacts in %u rounds)", k->contacts[DEAD],
       k->rounds[DEAD]);
    ok(quiet->worst[GOOD] <= 25000, "beside a list of 50,000 a message begins within one delivery's time (%lld ms)",
       (long long)quiet->worst[GOOD]);
    ok(k->worst[GOOD] <= quiet->worst[GOOD] + 2000, "dead sites and tar pits slow nobody else (%lld ms)",
       (long long)k->worst[GOOD]);
    double steps = 0;
    for (int i = 0; i < KINDS; i++)
        steps += k->contacts[i] + k->rounds[i];
    ok((double)k->w.s->stats.work / steps < 100, "a step took %.1f comparisons with thousands waiting",
       (double)k->w.s->stats.work / steps);
    is_int(k->w.s->stats.messages + k->w.s->stats.destinations + k->w.s->stats.recipients, 0, "nothing is remembered");
    return done_testing();
}
