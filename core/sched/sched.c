/* sched: activation, selection and completion.  See sched.h. */
#include <stdlib.h>
#include <string.h>
#include "core/sched/priv.h"

#define FEW 2u                     /* recipients that an entry holds by itself */
#define COOLS_PER_MS 4             /* four deliveries a second */
#define WARM_MAX     (12 * PH_SCHED_ONE)   /* so that a second without any ends it */

struct ph_sched *ph_sched_new(struct ph_scope *scope,
                              void (*limits)(void *, ph_str, struct ph_sched_limits *), void *arg)
{
    struct ph_sched *s = ph_new(scope, struct ph_sched);

    s->limits = limits;
    s->limits_arg = arg;
    s->dead_max = s->recipient_limit = 20000;
    s->recipient_minimum = 10;
    s->transports = ph_map_new(NULL);
    ph_sched_timers_init(s);
    ph_list_init(&s->messages);
    ph_list_init(&s->turns);
    ph_list_init(&s->doomed_transports);
    ph_list_init(&s->doomed_dests);
    ph_list_init(&s->hungry);
    ph_list_init(&s->idle);
    ph_defer(scope, ph_sched_end, s);
    return s;
}

void ph_sched_dead_max(struct ph_sched *s, size_t max)
{
    s->dead_max = max;
}

void ph_sched_clog_max(struct ph_sched *s, uint32_t max)
{
    s->clog_max = max;
}

void ph_sched_tracer(struct ph_sched *s, void (*fn)(void *, const struct ph_sched_trace *), void *arg)
{
    s->tracer = fn;
    s->tracer_arg = arg;
}

static void *alloc(size_t n)
{
    void *p = calloc(1, n);

    if (!p)
        ph_die("out of memory");
    return p;
}

/* ---- activation ---- */

struct ph_sched_msg *ph_sched_open(struct ph_sched *s, void *user, int64_t now)
{
    struct ph_scope *scope = ph_scope_new(NULL);
    struct ph_sched_msg *m = ph_new(scope, struct ph_sched_msg);

    ph_assert(!s->open);
    s->open = m;
    s->open_now = now;
    m->sched = s;
    m->scope = scope;
    m->user = user;
    ph_list_init(&m->jobs);
    ph_list_init(&m->flying);
    ph_list_init(&m->fresh);
    ph_list_init(&m->hungry);
    ph_sched_timed_init(&m->hunger, s, TIMED_HUNGER);
    ph_list_push(&s->messages, &m->node);
    s->stats.messages++;
    return m;
}

void ph_sched_reopen(struct ph_sched_msg *m, int64_t now)
{
    struct ph_sched *s = m->sched;

    ph_assert(!s->open);
    s->open = m;
    s->open_now = now;
    s->stats.recipients -= m->reading;
    m->reading = 0;
    for (struct ph_list *i = m->jobs.next; i != &m->jobs; i = i->next) {
        struct job *j = ph_list_of(i, struct job, node);

        j->t->newest = j;
    }
}

/* Messages are opened one at a time, so the newest job of a transport is this
 * message's, or this message has none there yet. */
static struct job *job_get(struct ph_sched_msg *m, struct transport *t)
{
    struct job *j = t->newest;

    if (j && j->msg == m)
        return j;
    j = ph_new(m->scope, struct job);
    j->msg = m;
    j->t = t;
    j->number = j->rank = ++m->sched->number;
    j->born = m->sched->open_now;
    ph_list_init(&j->peers);
    ph_list_init(&j->children);
    ph_list_init(&j->sibling);
    ph_list_init(&j->reader);
    ph_list_push(&m->jobs, &j->node);
    return t->newest = j;
}

static struct peer *peer_get(struct job *j, struct dest *d)
{
    struct peer *p = d->newest;

    if (p && p->job == j)
        return p;
    p = alloc(sizeof *p);
    p->job = j;
    p->d = d;
    ph_list_init(&p->entries);
    ph_list_init(&p->fresh);
    ph_list_push(&j->peers, &p->node);
    ph_list_push(&j->msg->fresh, &p->fresh);
    return d->newest = p;
}

static struct entry *entry_new(struct peer *p)
{
    struct ph_sched_msg *m = p->job->msg;
    struct entry *e = alloc(sizeof *e);

    e->peer = p;
    e->pub.msg = m;
    e->pub.user = m->user;
    e->pub.transport = p->job->t->name;
    e->pub.nexthop = p->d->nexthop;
    e->pub.rcpt = e->few;
    e->cap = FEW;
    ph_list_push(&p->entries, &e->node);
    p->count++;
    p->job->todo++;
    p->d->todo++;
    m->todo++;
    m->sched->stats.entries++;
    return e;
}

static void entry_put(struct entry *e, uint32_t rcpt)
{
    if (e->pub.n == e->cap) {
        uint32_t *more = reallocarray(e->cap > FEW ? e->pub.rcpt : NULL, e->cap * (size_t)4, sizeof *more);

        if (!more)
            ph_die("out of memory");
        if (e->cap == FEW)
            memcpy(more, e->few, sizeof e->few);
        e->pub.rcpt = more;
        e->cap *= 4;
    }
    e->pub.rcpt[e->pub.n++] = rcpt;
}

static ph_str text_dup(ph_str v)
{
    char *p = alloc(v.n + 1);

    if (v.n)
        memcpy(p, v.p, v.n);
    return (ph_str){ p, v.n };
}

/* The entry ends, and its peer when it was the last. */
static void entry_free(struct entry *e)
{
    struct peer *p = e->peer;

    if (e->cap > FEW)
        free(e->pub.rcpt);
    free((void *)(uintptr_t)e->pub.dsn.p);
    free((void *)(uintptr_t)e->pub.reason.p);
    ph_list_remove(&e->node);
    free(e);
    if (--p->count)
        return;
    ph_list_remove(&p->node);
    free(p);
}

/* The entry under construction, or NULL. */
static struct entry *entry_newest(struct peer *p, uint32_t max)
{
    struct entry *e = ph_list_is_empty(&p->entries) ? NULL : ph_list_of(p->entries.prev, struct entry, node);

    return e && (!max || e->pub.n < max) ? e : NULL;
}

int ph_sched_by_recipient(struct ph_sched *s, ph_str transport)
{
    return ph_sched_transport_get(s, transport)->limits.recipients == 1;
}

void ph_sched_add(struct ph_sched_msg *m, ph_str transport, ph_str nexthop, ph_str key, uint32_t rcpt)
{
    ph_assert(m->sched->open == m);
    struct transport *t = ph_sched_transport_get(m->sched, transport);
    struct dest *d = ph_sched_dest_get(t, nexthop, t->limits.recipients == 1 ? key : nexthop);
    struct peer *p = peer_get(job_get(m, t), d);
    struct entry *e = entry_newest(p, t->limits.recipients);

    entry_put(e ? e : entry_new(p), rcpt);
    ph_sched_take_in(p->job, 1);
}

static void msg_free(struct ph_sched_msg *m)
{
    ph_sched_read_end(m);
    for (struct ph_list *i = m->jobs.next; i != &m->jobs; i = i->next)
        ph_sched_job_over(ph_list_of(i, struct job, node));
    m->sched->stats.messages--;
    ph_list_remove(&m->node);
    ph_scope_free(m->scope);
}

void ph_sched_msg_discard(struct ph_sched_msg *m)
{
    for (struct ph_list *n; (n = ph_list_shift(&m->flying)); )
        entry_free(ph_list_of(n, struct entry, node));
    for (struct ph_list *i = m->jobs.next, *next; i != &m->jobs; i = next) {
        struct job *j = ph_list_of(i, struct job, node);

        next = i->next;
        while (!ph_list_is_empty(&j->peers)) {
            struct peer *p = ph_list_of(j->peers.next, struct peer, node);

            entry_free(ph_list_of(p->entries.next, struct entry, node));
        }
    }
    ph_sched_timed_drop(&m->hunger);
    ph_scope_free(m->scope);
}

static int msg_is_over(struct ph_sched_msg *m)
{
    if (m->todo || m->in_flight || m->unread || m->reading)
        return 0;
    msg_free(m);
    return 1;
}

static void peer_begin(struct peer *p)
{
    struct dest *d = p->d;
    struct ph_sched *s = d->t->sched;

    d->newest = NULL;
    ph_heap_push(&d->peers, p);
    ph_sched_shelve(p);
    if (s->clog_max && d->todo > s->clog_max)
        s->clog = d;
    ph_sched_dest_settle(d);
}

int ph_sched_close(struct ph_sched_msg *m)
{
    struct ph_sched *s = m->sched;

    ph_assert(s->open == m);
    s->open = NULL;
    for (struct ph_list *i = m->jobs.next; i != &m->jobs; i = i->next) {
        struct job *j = ph_list_of(i, struct job, node);

        j->t->newest = NULL;
        ph_sched_reshelve(j);
    }
    for (struct ph_list *n; (n = ph_list_shift(&m->fresh)); )
        peer_begin(ph_list_of(n, struct peer, fresh));
    ph_sched_read_on(m, s->open_now);
    return msg_is_over(m);
}

/* ---- selection ---- */

/* Take the first entry of the destination's best job. */
static struct entry *dest_take(struct dest *d)
{
    struct peer *p = ph_heap_top(&d->peers);
    struct entry *e = ph_list_of(ph_list_shift(&p->entries), struct entry, node);
    struct ph_sched *s = d->t->sched;
    struct job *j = p->job;

    ph_list_push(&j->msg->flying, &e->node);
    if (ph_list_is_empty(&p->entries)) {
        ph_sched_unshelve(p);
        ph_heap_pop(&d->peers);
    }
    j->todo--;
    j->selected++;
    j->msg->todo--;
    j->msg->in_flight++;
    d->todo--;
    d->busy++;
    d->served = ++s->tick;
    s->stats.entries--;
    s->stats.in_flight++;
    return e;
}

static void job_took(struct job *j)
{
    if (!j->todo && !j->msg->unread)
        ph_sched_job_over(j);
}

static struct ph_sched_entry *take_doomed(struct dest *d, enum ph_sched_kind kind, const struct timed *why)
{
    struct entry *e = dest_take(d);

    e->pub.kind = kind;
    e->pub.dsn = text_dup(why->dsn);
    e->pub.reason = text_dup(why->reason);
    job_took(e->peer->job);
    ph_sched_dest_settle(d);
    return &e->pub;
}

static struct ph_sched_entry *next_doomed(struct ph_sched *s)
{
    if (!ph_list_is_empty(&s->doomed_transports)) {
        struct transport *t = ph_list_of(s->doomed_transports.next, struct transport, doomed);

        return take_doomed(ph_list_of(t->waiting.next, struct dest, waiting), PH_SCHED_UNAVAILABLE, &t->down);
    }
    if (!ph_list_is_empty(&s->doomed_dests)) {
        struct dest *d = ph_list_of(s->doomed_dests.next, struct dest, doomed);

        return take_doomed(d, PH_SCHED_SUSPENDED, &d->dead);
    }
    return NULL;
}

/* Each delivery warms its destination, time cools it: many in a short while, or
 * some each second for longer, are steady traffic, though each is sent as soon
 * as it comes and none ever waits for another. */
static int is_warm(struct dest *d, int64_t now)
{
    int64_t gone = now > d->warm_at ? (now - d->warm_at) * COOLS_PER_MS : 0;

    d->warmth = (gone < d->warmth ? d->warmth - gone : 0) + PH_SCHED_ONE;
    if (d->warmth > WARM_MAX)
        d->warmth = WARM_MAX;
    d->warm_at = now;
    return d->warmth >= PH_SCHED_WARM;
}

/* Back to back: more waits and the window is full, so the next one follows one
 * that ends; it lasts until a delivery is alone and none waits behind it.  Or
 * there is steady traffic. */
static uint32_t reuse_hint(struct dest *d, int64_t now)
{
    int warm = is_warm(d, now);

    if (d->peers.n && (d->busy >= d->window.size || d->t->limits.rate_ms))
        d->reuse = 1;
    else if (!d->peers.n && d->busy <= 1)
        d->reuse = 0;
    return d->reuse || warm;
}

static struct ph_sched_entry *take(struct transport *t, int64_t now)
{
    struct dest *d = ph_heap_top(&t->ready);
    struct entry *e = dest_take(d);
    const ph_str none = { NULL, 0 };

    e->pub.kind = PH_SCHED_DELIVER;
    e->pub.reuse = reuse_hint(d, now);
    e->peer->job->earned++;
    job_took(e->peer->job);
    t->in_flight++;
    if (t->limits.transport_rate_ms)
        ph_sched_timed_begin(&t->pace, none, none, now + t->limits.transport_rate_ms);
    ph_sched_dest_settle(d);                /* busy > 0: it stays */
    return &e->pub;
}

struct ph_sched_entry *ph_sched_next(struct ph_sched *s, int64_t now)
{
    ph_sched_timers_run(s, now);
    ph_sched_idle_run(s, now);
    struct ph_sched_entry *doomed = next_doomed(s);

    if (doomed || ph_list_is_empty(&s->turns))
        return doomed;
    struct transport *t = ph_list_of(ph_list_shift(&s->turns), struct transport, turn);

    ph_sched_preempt(t, now);
    return take(t, now);
}

/* ---- completion ---- */

static void trace(struct dest *d, const char *event)
{
    const struct window *w = &d->window;
    struct ph_sched *s = d->t->sched;

    if (s->tracer)
        s->tracer(s->tracer_arg, &(struct ph_sched_trace){ .transport = d->t->name, .nexthop = d->nexthop,
            .event = event, .window = w->size, .busy = d->busy, .success = w->success, .failure = w->failure,
            .cohorts = w->cohorts });
}

static void learn(struct dest *d, enum ph_sched_outcome how, ph_str dsn, ph_str reason, int64_t now)
{
    const struct ph_sched_limits *l = &d->t->limits;

    if (d->dead.index || how == PH_SCHED_NEUTRAL)
        return;                    /* what began before it died says nothing new */
    if (how == PH_SCHED_ALIVE) {
        ph_window_success(&d->window, d->busy, l);
        trace(d, "success");
    } else if (!ph_window_failure(&d->window, l)) {
        trace(d, "failure");
    } else {
        trace(d, "dead");
        ph_sched_dest_doom(d, dsn, reason, now + l->dead_ms);
        if (!d->dead.index)
            ph_window_init(&d->window, l);
    }
}

/* The destination rests after each delivery that was tried. */
static void rest(struct dest *d, enum ph_sched_outcome how, int64_t now)
{
    const ph_str none = { NULL, 0 };

    if (d->t->limits.rate_ms && how != PH_SCHED_NEUTRAL)
        ph_sched_timed_begin(&d->rest, none, none, now + d->t->limits.rate_ms);
}

int ph_sched_done(struct ph_sched *s, struct ph_sched_entry *pub, enum ph_sched_outcome how,
                  ph_str dsn, ph_str reason, int64_t now)
{
    struct entry *e = (struct entry *)(void *)pub;
    struct job *j = e->peer->job;
    struct dest *d = e->peer->d;
    struct ph_sched_msg *m = pub->msg;

    if (pub->kind == PH_SCHED_DELIVER) {
        learn(d, how, dsn, reason, now);
        rest(d, how, now);
        d->t->in_flight--;
    }
    d->busy--;
    s->stats.in_flight--;
    m->in_flight--;
    ph_sched_let_go(j, pub->n);
    entry_free(e);
    ph_sched_dest_settle(d);
    if (msg_is_over(m))
        return 1;
    if (m->unread)
        ph_sched_read_on(m, now);
    return 0;
}

/* The peer ends with its last entry unless some are in flight. */
static void peer_withdraw(struct ph_sched *s, struct peer *p)
{
    struct dest *d = p->d;

    if (!p->heap_index)
        return;
    /* Out of all heaps before the order is looked at again. */
    ph_sched_unshelve(p);
    ph_heap_remove(&d->peers, p->heap_index);
    for (struct ph_list *n, *next = p->entries.next; (n = next) != &p->entries; ) {
        struct entry *e = ph_list_of(n, struct entry, node);
        int last = n->next == &p->entries;

        next = n->next;
        p->job->todo--;
        p->job->msg->todo--;
        d->todo--;
        s->stats.entries--;
        ph_sched_let_go(p->job, e->pub.n);
        entry_free(e);
        if (last)
            break;                 /* p may be void */
    }
    ph_sched_dest_settle(d);
}

int ph_sched_withdraw(struct ph_sched *s, struct ph_sched_msg *m)
{
    ph_sched_read_end(m);
    for (struct ph_list *i = m->jobs.next; i != &m->jobs; i = i->next) {
        struct job *j = ph_list_of(i, struct job, node);

        for (struct ph_list *k = j->peers.next, *next; k != &j->peers; k = next) {
            next = k->next;
            peer_withdraw(s, ph_list_of(k, struct peer, node));
        }
        ph_sched_job_over(j);
    }
    return msg_is_over(m);
}

int ph_sched_clogged(struct ph_sched *s, int64_t now, int64_t every_ms, struct ph_sched_clog *out)
{
    const struct dest *d = s->clog;

    if (!d || now < s->clog_next)
        return 0;
    s->clog = NULL;
    if (d->todo <= s->clog_max)
        return 0;
    s->clog_next = now + every_ms;
    *out = (struct ph_sched_clog){ d->t->name, d->nexthop, d->todo };
    return 1;
}

void ph_sched_stats(const struct ph_sched *s, struct ph_sched_stats *out)
{
    *out = s->stats;
}
