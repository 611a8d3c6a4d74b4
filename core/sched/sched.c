/* sched: activation, selection and completion.  See sched.h. */
#include <stdlib.h>
#include <string.h>
#include "core/sched/priv.h"

struct ph_sched *ph_sched_new(struct ph_scope *scope,
                              void (*limits)(void *, ph_str, struct ph_sched_limits *), void *arg)
{
    struct ph_sched *s = ph_new(scope, struct ph_sched);

    s->limits = limits;
    s->limits_arg = arg;
    s->dead_max = 20000;
    s->transports = ph_map_new(NULL);
    s->timers = (struct ph_heap)PH_HEAP_INIT(ph_sched_timed_cmp, ph_sched_timed_place);
    ph_list_init(&s->messages);
    ph_list_init(&s->turns);
    ph_list_init(&s->doomed_transports);
    ph_list_init(&s->doomed_dests);
    ph_defer(scope, ph_sched_end, s);
    return s;
}

void ph_sched_dead_max(struct ph_sched *s, size_t max)
{
    s->dead_max = max;
}

/* ---- activation ---- */

struct ph_sched_msg *ph_sched_open(struct ph_sched *s, void *user)
{
    struct ph_scope *scope = ph_scope_new(NULL);
    struct ph_sched_msg *m = ph_new(scope, struct ph_sched_msg);

    ph_assert(!s->open);
    s->open = m;
    m->sched = s;
    m->scope = scope;
    m->user = user;
    ph_list_init(&m->jobs);
    ph_list_push(&s->messages, &m->node);
    s->stats.messages++;
    return m;
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
    j->rank = ++m->sched->rank;
    ph_list_init(&j->peers);
    ph_list_push(&m->jobs, &j->node);
    return t->newest = j;
}

static struct peer *peer_get(struct job *j, struct dest *d)
{
    struct peer *p = d->newest;

    if (p && p->job == j)
        return p;
    p = ph_new(j->msg->scope, struct peer);
    p->job = j;
    p->d = d;
    ph_list_init(&p->entries);
    ph_list_push(&j->peers, &p->node);
    return d->newest = p;
}

static struct entry *entry_new(struct peer *p)
{
    struct ph_sched_msg *m = p->job->msg;
    struct entry *e = ph_new(m->scope, struct entry);

    e->peer = p;
    e->pub.msg = m;
    e->pub.user = m->user;
    e->pub.transport = p->job->t->name;
    e->pub.nexthop = p->d->nexthop;
    ph_list_push(&p->entries, &e->node);
    m->todo++;
    m->sched->stats.entries++;
    return e;
}

static void entry_put(struct entry *e, uint32_t rcpt)
{
    if (e->pub.n == e->cap) {
        uint32_t *old = e->pub.rcpt;

        e->cap = e->cap ? e->cap * 2 : 2;
        e->pub.rcpt = ph_alloc_array(e->pub.msg->scope, e->cap, sizeof *old);
        if (old)
            memcpy(e->pub.rcpt, old, e->pub.n * sizeof *old);
    }
    e->pub.rcpt[e->pub.n++] = rcpt;
}

/* The entry under construction, or NULL. */
static struct entry *entry_newest(struct peer *p, uint32_t max)
{
    struct entry *e = ph_list_is_empty(&p->entries) ? NULL : ph_list_of(p->entries.prev, struct entry, node);

    return e && (!max || e->pub.n < max) ? e : NULL;
}

void ph_sched_add(struct ph_sched_msg *m, ph_str transport, ph_str nexthop, ph_str key, uint32_t rcpt)
{
    ph_assert(m->sched->open == m);
    struct transport *t = ph_sched_transport_get(m->sched, transport);
    struct dest *d = ph_sched_dest_get(t, nexthop, t->limits.recipients == 1 ? key : nexthop);
    struct peer *p = peer_get(job_get(m, t), d);
    struct entry *e = entry_newest(p, t->limits.recipients);

    entry_put(e ? e : entry_new(p), rcpt);
}

static void msg_free(struct ph_sched_msg *m)
{
    m->sched->stats.messages--;
    ph_list_remove(&m->node);
    ph_scope_free(m->scope);
}

int ph_sched_close(struct ph_sched_msg *m)
{
    ph_assert(m->sched->open == m);
    m->sched->open = NULL;
    for (struct ph_list *i = m->jobs.next; i != &m->jobs; i = i->next) {
        struct job *j = ph_list_of(i, struct job, node);

        j->t->newest = NULL;
        for (struct ph_list *k = j->peers.next; k != &j->peers; k = k->next) {
            struct peer *p = ph_list_of(k, struct peer, node);

            p->d->newest = NULL;
            ph_heap_push(&p->d->peers, p);
            ph_sched_dest_settle(p->d);
        }
    }
    if (m->todo)
        return 0;
    msg_free(m);
    return 1;
}

/* ---- selection ---- */

/* Take the first entry of the destination's best job. */
static struct entry *dest_take(struct dest *d)
{
    struct peer *p = ph_heap_top(&d->peers);
    struct entry *e = ph_list_of(ph_list_shift(&p->entries), struct entry, node);
    struct ph_sched *s = d->t->sched;

    if (ph_list_is_empty(&p->entries))
        ph_heap_pop(&d->peers);
    e->pub.msg->todo--;
    e->pub.msg->in_flight++;
    d->busy++;
    d->served = ++s->tick;
    s->stats.entries--;
    s->stats.in_flight++;
    return e;
}

static struct ph_sched_entry *take_doomed(struct dest *d, enum ph_sched_kind kind, const struct timed *why)
{
    struct entry *e = dest_take(d);

    e->pub.kind = kind;
    e->pub.dsn = ph_str_dup(e->pub.msg->scope, why->dsn);
    e->pub.reason = ph_str_dup(e->pub.msg->scope, why->reason);
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

struct ph_sched_entry *ph_sched_next(struct ph_sched *s, int64_t now)
{
    ph_sched_timers_run(s, now, 0);
    struct ph_sched_entry *doomed = next_doomed(s);

    if (doomed || ph_list_is_empty(&s->turns))
        return doomed;
    struct transport *t = ph_list_of(ph_list_shift(&s->turns), struct transport, turn);
    struct dest *d = ph_heap_top(&t->ready);
    struct entry *e = dest_take(d);

    e->pub.kind = PH_SCHED_DELIVER;
    e->pub.reuse = d->peers.n > 0;
    t->in_flight++;
    ph_sched_dest_settle(d);                /* busy > 0: it stays */
    return &e->pub;
}

/* ---- completion ---- */

static void learn(struct dest *d, enum ph_sched_outcome how, ph_str dsn, ph_str reason, int64_t now)
{
    const struct ph_sched_limits *l = &d->t->limits;

    if (d->dead.index)
        return;                    /* what began before it died says nothing new */
    if (how == PH_SCHED_ALIVE)
        ph_window_success(&d->window, d->busy, l);
    else if (how == PH_SCHED_SITE_FAILED && ph_window_failure(&d->window, l)) {
        ph_sched_dest_doom(d, dsn, reason, now + l->dead_ms);
        if (!d->dead.index)
            ph_window_init(&d->window, l);
    }
}

static int msg_is_over(struct ph_sched_msg *m)
{
    if (m->todo || m->in_flight)
        return 0;
    msg_free(m);
    return 1;
}

int ph_sched_done(struct ph_sched *s, struct ph_sched_entry *pub, enum ph_sched_outcome how,
                  ph_str dsn, ph_str reason, int64_t now)
{
    struct entry *e = (struct entry *)(void *)pub;
    struct dest *d = e->peer->d;
    struct ph_sched_msg *m = pub->msg;

    if (pub->kind == PH_SCHED_DELIVER) {
        learn(d, how, dsn, reason, now);
        d->t->in_flight--;
    }
    d->busy--;
    s->stats.in_flight--;
    m->in_flight--;
    ph_sched_dest_settle(d);
    return msg_is_over(m);
}

static void peer_withdraw(struct ph_sched *s, struct peer *p)
{
    if (!p->heap_index)
        return;
    while (ph_list_shift(&p->entries)) {
        p->job->msg->todo--;
        s->stats.entries--;
    }
    ph_heap_remove(&p->d->peers, p->heap_index);
    /* The ready heap compares by the first peer: take the destination out
     * before the order is looked at again, ph_sched_dest_settle puts it back. */
    ph_sched_dest_settle(p->d);
}

int ph_sched_withdraw(struct ph_sched *s, struct ph_sched_msg *m)
{
    for (struct ph_list *i = m->jobs.next; i != &m->jobs; i = i->next) {
        struct job *j = ph_list_of(i, struct job, node);

        for (struct ph_list *k = j->peers.next; k != &j->peers; k = k->next)
            peer_withdraw(s, ph_list_of(k, struct peer, node));
    }
    return msg_is_over(m);
}

void ph_sched_stats(const struct ph_sched *s, struct ph_sched_stats *out)
{
    *out = s->stats;
}
