/* preempt: small jobs pass large ones.
 *
 * The job whose turn it is, C, earns a slot for each slot_cost of its entries
 * that were sent.  Another job J with at most n entries to go may pass it when
 * C has n slots, less the discount and the loan, and owes none: C pays n slots, so
 * that it may be in debt, J takes C's place and what it did not need is paid
 * back.  So a stream of small
 * messages passes a large one, and the large one is stretched by at most
 * 1/(slot_cost - 1) of its length: neither starves.
 *
 * Among the jobs that are small enough the one with the most age per entry
 * passes.  They are found without a walk: peers stand on shelves, one for each
 * size class and destination, the oldest first; the shelves of destinations that
 * may send stand in a heap for each class.  So the choice looks at one job of
 * each class that has any, and it is exact within a class (a quarter of its
 * size).  A job keeps its class while it shrinks, so the one whose turn it is
 * never stands where candidates are looked for: what it can ever earn is less
 * than half of its size. */
#include <stdlib.h>
#include "core/sched/priv.h"

#define OCTAVE 4u                  /* classes */

unsigned ph_sched_class(uint64_t n)
{
    unsigned bits;

    if (n < 8)
        return (unsigned)n;
    if (n > UINT32_MAX)
        n = UINT32_MAX;
    bits = 63u - (unsigned)__builtin_clzll(n);
    return OCTAVE * (bits - 1) + (unsigned)(n >> (bits - 2) & (OCTAVE - 1));
}

/* Entries that a job may still need, at most and at least: unread recipients may
 * need one each, or fill one with others. */
static uint64_t most(const struct job *j)
{
    return (uint64_t)j->todo + j->msg->unread;
}

static uint64_t least(const struct job *j)
{
    uint32_t each = j->t->limits.recipients;

    return j->todo + (each ? (j->msg->unread + (uint64_t)each - 1) / each : j->msg->unread > 0);
}

/* ---- shelves ---- */

static int peer_age_cmp(const void *a, const void *b)
{
    const struct peer *x = a, *y = b;

    x->job->t->sched->stats.work++;
    return x->job->number < y->job->number ? -1 : x->job->number > y->job->number;
}

static void peer_place(void *item, size_t index)
{
    ((struct peer *)item)->shelf_index = index;
}

static int shelf_cmp(const void *a, const void *b)
{
    return peer_age_cmp(ph_heap_top(&((const struct shelf *)a)->peers), ph_heap_top(&((const struct shelf *)b)->peers));
}

static void shelf_place(void *item, size_t index)
{
    ((struct shelf *)item)->index = index;
}

static struct shelf *shelf_get(struct dest *d, unsigned size_class)
{
    struct shelf *h = d->shelves;

    while (h && h->size_class != size_class)
        h = h->next;
    if (h)
        return h;
    if (!(h = calloc(1, sizeof *h)))
        ph_die("out of memory");
    *h = (struct shelf){ .next = d->shelves, .d = d, .size_class = size_class,
                         .peers = PH_HEAP_INIT(peer_age_cmp, peer_place) };
    return d->shelves = h;
}

/* Put a shelf where it belongs.  It must not be in the heap of its class while
 * its first peer changes, so callers take it out before. */
static void shelf_settle(struct shelf *h)
{
    struct transport *t = h->d->t;
    struct ph_heap *heap = &t->candidates[h->size_class];
    uint64_t bit = 1ull << h->size_class % 64;

    if (h->d->ready_index && h->peers.n && !h->index) {
        if (!heap->cmp)
            *heap = (struct ph_heap)PH_HEAP_INIT(shelf_cmp, shelf_place);
        ph_heap_push(heap, h);
    } else if (h->index && !(h->d->ready_index && h->peers.n)) {
        ph_heap_remove(heap, h->index);
    }
    if (heap->n)
        t->has_candidates[h->size_class / 64] |= bit;
    else
        t->has_candidates[h->size_class / 64] &= ~bit;
}

static void shelf_take_out(struct shelf *h)
{
    if (h->index)
        ph_heap_remove(&h->d->t->candidates[h->size_class], h->index);
}

void ph_sched_shelve(struct peer *p)
{
    if (!p->job->t->limits.slot_cost || p->shelf)
        return;
    p->shelf = shelf_get(p->d, p->job->size_class);
    shelf_take_out(p->shelf);
    ph_heap_push(&p->shelf->peers, p);
    shelf_settle(p->shelf);
}

void ph_sched_unshelve(struct peer *p)
{
    struct shelf *h = p->shelf;

    if (!h)
        return;
    shelf_take_out(h);
    ph_heap_remove(&h->peers, p->shelf_index);
    p->shelf = NULL;
    shelf_settle(h);
}

void ph_sched_shelves_settle(struct dest *d)
{
    for (struct shelf *h = d->shelves; h; h = h->next)
        shelf_settle(h);
}

void ph_sched_shelves_free(struct dest *d)
{
    for (struct shelf *h; (h = d->shelves); ) {
        d->shelves = h->next;
        ph_heap_fini(&h->peers);
        free(h);
    }
}

/* A job may only get smaller: by unread recipients that share entries.  One
 * octave at a time, so that its peers move seldom. */
void ph_sched_reshelve(struct job *j)
{
    unsigned now = ph_sched_class(j->selected + most(j));

    if (j->size_class && now + OCTAVE > j->size_class)
        return;
    j->size_class = now;
    for (struct ph_list *i = j->peers.next; i != &j->peers; i = i->next) {
        struct peer *p = ph_list_of(i, struct peer, node);

        if (p->shelf) {
            ph_sched_unshelve(p);
            ph_sched_shelve(p);
        }
    }
}

/* ---- who passes ---- */

/* Slots that n entries are worth, rounded down. */
static int64_t slots(const struct job *j, int64_t n)
{
    int64_t cost = j->t->limits.slot_cost;

    return n >= 0 ? n / cost : -((-n + cost - 1) / cost);
}

static int64_t saved(const struct job *j)
{
    return j->earned - (int64_t)j->t->limits.slot_cost * j->charged;
}

/* More age per entry; ages count from 1, so that at once the smaller one wins. */
static int is_better(const struct job *a, const struct job *b, int64_t now)
{
    double x = (double)(now - a->born + 1), y = (double)(now - b->born + 1);

    return x * (double)most(b) > y * (double)most(a);
}

/* The first job of a class, if it may pass c. */
static struct job *candidate_of(struct transport *t, unsigned size_class, const struct job *c, int64_t reach)
{
    const struct shelf *h = ph_heap_top(&t->candidates[size_class]);
    const struct peer *p = ph_heap_top(&h->peers);

    t->sched->stats.work++;
    return p->job != c && most(p->job) <= (uint64_t)reach ? p->job : NULL;
}

static struct job *best_candidate(struct transport *t, const struct job *c, int64_t reach, int64_t now)
{
    unsigned last = ph_sched_class((uint64_t)reach);
    struct job *best = NULL;

    for (unsigned word = 0; word < 2; word++)
        for (uint64_t left = t->has_candidates[word]; left; left &= left - 1) {
            unsigned size_class = word * 64 + (unsigned)__builtin_ctzll(left);
            struct job *j = size_class <= last ? candidate_of(t, size_class, c, reach) : NULL;

            if (j && (!best || is_better(j, best, now)))
                best = j;
        }
    return best;
}

static void leave_parent(struct job *j)
{
    j->parent = NULL;
    ph_list_remove(&j->sibling);
}

/* j takes the place of c. */
static void pass(struct job *c, struct job *j)
{
    struct ph_sched *s = c->t->sched;

    leave_parent(j);
    j->price = (uint32_t)most(j);
    c->charged += j->price;
    j->parent = c;
    ph_list_push(&c->children, &j->sibling);
    j->earned = j->charged = 0;
    j->rank = c->rank;
    j->level = c->level + 1;
    j->order = ++s->number;
    s->stats.passes++;
    for (struct ph_list *i = j->peers.next; i != &j->peers; i = i->next) {
        struct peer *p = ph_list_of(i, struct peer, node);

        if (p->heap_index) {
            ph_heap_update(&p->d->peers, p->heap_index);
            ph_sched_dest_settle(p->d);
        }
    }
}

void ph_sched_preempt(struct transport *t, int64_t now)
{
    const struct ph_sched_limits *l = &t->limits;
    struct dest *d = ph_heap_top(&t->ready);
    struct job *c = ((struct peer *)ph_heap_top(&d->peers))->job, *j;
    int64_t reach;

    /* Who owes slots, or has sent nothing yet, is not passed (watched at Debian's
     * Postfix; its manual: the full amount is accumulated before the next time). */
    if (!l->slot_cost || saved(c) <= 0)
        return;
    if (slots(c, c->earned + (int64_t)least(c)) < l->minimum_slots)
        return;
    reach = slots(c, saved(c) + (int64_t)least(c));
    if (reach < 1 || !(j = best_candidate(t, c, reach, now)))
        return;
    if ((slots(c, saved(c)) + l->slot_loan) * 100 >= (int64_t)most(j) * (100 - (int64_t)l->slot_discount))
        pass(c, j);
}

void ph_sched_job_over(struct job *j)
{
    if (j->parent && j->price > j->earned)
        j->parent->charged -= j->price - j->earned;
    leave_parent(j);
    for (struct ph_list *n; (n = ph_list_shift(&j->children)); )
        leave_parent(ph_list_of(n, struct job, sibling));
}
