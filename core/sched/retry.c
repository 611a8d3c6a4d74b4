/* retry: see retry.h.
 *
 * One array is the heap, by time; a hash table of places in it finds an id.  Each
 * waiter knows its slot in the table, so that moving it in the heap costs one
 * store there.  24 bytes in the heap, and at most 16 in the table, which is
 * between 1/4 and 3/4 full. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <posthorn/error.h>
#include "core/base/hash.h"
#include "core/queue/id.h"
#include "core/sched/retry.h"

/* The upper bits of `born`; below them microseconds of the id's time. */
#define SHORT_ID   (1ull << 61)
#define FOREIGN_ID (1ull << 62)        /* not made by us: `file` points at a copy */
#define FLUSHED    (1ull << 63)        /* somebody asked for it */
#define BORN_MASK  (SHORT_ID - 1)
#define TABLE_MIN  64u

struct waiter {
    uint64_t born, file;               /* what the id says */
    uint32_t when;
    uint32_t slot;                     /* in the table */
};

struct foreign {
    size_t n;
    char id[];
};

struct ph_retry {
    struct waiter *at;                 /* at[1..n], the heap */
    uint32_t *table;                   /* places in the heap, 0: free */
    size_t n, slots;                   /* slots: a power of two */
};

static int64_t clamp(int64_t v, int64_t lo, int64_t hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

int64_t ph_retry_next(const struct ph_retry_rules *r, int64_t arrival, int64_t now)
{
    return now + clamp(now - arrival, r->minimal_backoff, r->maximal_backoff);
}

int ph_retry_is_expired(const struct ph_retry_rules *r, int64_t arrival, int has_sender, int64_t now)
{
    return now - arrival >= (has_sender ? r->maximal_lifetime : r->bounce_lifetime);
}

/* ---- ids ---- */

static struct foreign *foreign_of(const struct waiter *w)
{
    return (struct foreign *)(uintptr_t)w->file;
}

/* What id is made of; a foreign one is not copied yet. */
static struct waiter key_of(ph_str id)
{
    struct waiter w = { .born = FOREIGN_ID };
    int64_t us;
    int is_long;

    if (ph_id_split(id, &us, &w.file, &is_long) && (uint64_t)us <= BORN_MASK)
        w.born = (uint64_t)us | (is_long ? 0 : SHORT_ID);
    return w;
}

static ph_str id_of(const struct waiter *w, char text[PH_ID_MAX + 1])
{
    if (w->born & FOREIGN_ID)
        return (ph_str){ foreign_of(w)->id, foreign_of(w)->n };
    return (ph_str){ text, ph_id_format(text, (int64_t)(w->born & BORN_MASK), w->file, !(w->born & SHORT_ID)) };
}

static uint64_t hash_key(const struct waiter *w, ph_str id)
{
    const uint64_t key[2] = { w->born & ~FLUSHED, w->file };

    return ph_hash_keyed(w->born & FOREIGN_ID ? id : (ph_str){ (const char *)key, sizeof key });
}

static uint64_t hash_of(const struct waiter *w)
{
    return hash_key(w, w->born & FOREIGN_ID ? id_of(w, NULL) : (ph_str){ NULL, 0 });
}

static int is_it(const struct waiter *w, const struct waiter *key, ph_str id)
{
    if ((w->born ^ key->born) & ~FLUSHED)
        return 0;
    return key->born & FOREIGN_ID ? ph_str_eq(id_of(w, NULL), id) : w->file == key->file;
}

/* ---- the table ---- */

/* The slot of this id, or the free one where it would go. */
static size_t probe(const struct ph_retry *r, const struct waiter *key, ph_str id)
{
    size_t i = hash_key(key, id) & (r->slots - 1);

    while (r->table[i] && !is_it(&r->at[r->table[i]], key, id))
        i = (i + 1) & (r->slots - 1);
    return i;
}

static void *resized(void *p, size_t n, size_t size)
{
    if (!(p = reallocarray(p, n, size)))
        ph_die("out of memory");
    return p;
}

static void resize(struct ph_retry *r, size_t slots)
{
    r->at = resized(r->at, slots / 4 * 3 + 1, sizeof *r->at);
    free(r->table);
    if (!(r->table = calloc(slots, sizeof *r->table)))
        ph_die("out of memory");
    r->slots = slots;
    for (size_t place = 1; place <= r->n; place++) {
        size_t i = hash_of(&r->at[place]) & (slots - 1);

        while (r->table[i])
            i = (i + 1) & (slots - 1);
        r->table[i] = (uint32_t)place;
        r->at[place].slot = (uint32_t)i;
    }
}

/* Free slot i, moving back whatever probing would no longer find. */
static void close_gap(struct ph_retry *r, size_t i)
{
    size_t mask = r->slots - 1;

    for (size_t j = (i + 1) & mask; r->table[j]; j = (j + 1) & mask) {
        struct waiter *w = &r->at[r->table[j]];

        if (((j - hash_of(w)) & mask) >= ((j - i) & mask)) {
            r->table[i] = r->table[j];
            w->slot = (uint32_t)i;
            i = j;
        }
    }
    r->table[i] = 0;
}

/* ---- the heap ---- */

static int is_before(const struct waiter *a, const struct waiter *b)
{
    if (a->when != b->when)
        return a->when < b->when;
    return (a->born & BORN_MASK) < (b->born & BORN_MASK);
}

static void put(struct ph_retry *r, size_t place, const struct waiter *w)
{
    r->at[place] = *w;
    r->table[w->slot] = (uint32_t)place;
}

static size_t sift_up(struct ph_retry *r, size_t i)
{
    struct waiter w = r->at[i];

    for (; i > 1 && is_before(&w, &r->at[i / 2]); i /= 2)
        put(r, i, &r->at[i / 2]);
    put(r, i, &w);
    return i;
}

static void sift_down(struct ph_retry *r, size_t i)
{
    struct waiter w = r->at[i];

    for (size_t c; (c = 2 * i) <= r->n; i = c) {
        c += c < r->n && is_before(&r->at[c + 1], &r->at[c]);
        if (!is_before(&r->at[c], &w))
            break;
        put(r, i, &r->at[c]);
    }
    put(r, i, &w);
}

static void take_out(struct ph_retry *r, size_t place)
{
    struct waiter gone = r->at[place];

    close_gap(r, gone.slot);
    if (gone.born & FOREIGN_ID)
        free(foreign_of(&gone));
    if (place < r->n--) {
        put(r, place, &r->at[r->n + 1]);
        sift_down(r, sift_up(r, place));
    }
    if (r->slots > TABLE_MIN && r->n < r->slots / 4)
        resize(r, r->slots / 2);
}

/* ---- calls ---- */

static void retry_end(void *arg)
{
    struct ph_retry *r = arg;

    for (size_t i = 1; i <= r->n; i++)
        if (r->at[i].born & FOREIGN_ID)
            free(foreign_of(&r->at[i]));
    free(r->at);
    free(r->table);
}

struct ph_retry *ph_retry_new(struct ph_scope *s)
{
    struct ph_retry *r = ph_new(s, struct ph_retry);

    resize(r, TABLE_MIN);
    ph_defer(s, retry_end, r);
    return r;
}

static uint64_t copy_foreign(ph_str id)
{
    struct foreign *f = malloc(sizeof *f + id.n);

    if (!f)
        ph_die("out of memory");
    f->n = id.n;
    if (id.n)
        memcpy(f->id, id.p, id.n);
    return (uint64_t)(uintptr_t)f;
}

/* Its place, or 0. */
static size_t find(const struct ph_retry *r, ph_str id)
{
    struct waiter key = key_of(id);

    return r->table[probe(r, &key, id)];
}

static void change(struct ph_retry *r, size_t place, int64_t when)
{
    r->at[place].when = (uint32_t)clamp(when, 0, UINT32_MAX);
    sift_down(r, sift_up(r, place));
}

void ph_retry_add(struct ph_retry *r, ph_str id, int64_t when)
{
    struct waiter key = key_of(id);
    size_t slot = probe(r, &key, id);

    if (r->table[slot]) {
        change(r, r->table[slot], when);
        return;
    }
    if (r->n == r->slots / 4 * 3) {
        ph_assert(r->slots <= UINT32_MAX / 2);
        resize(r, r->slots * 2);
        slot = probe(r, &key, id);
    }
    if (key.born & FOREIGN_ID)
        key.file = copy_foreign(id);
    key.slot = (uint32_t)slot;
    put(r, ++r->n, &key);
    change(r, r->n, when);
}

int ph_retry_find(const struct ph_retry *r, ph_str id, int64_t *when)
{
    size_t place = find(r, id);

    if (!place)
        return 0;
    *when = r->at[place].when;
    return 1;
}

int ph_retry_remove(struct ph_retry *r, ph_str id)
{
    size_t place = find(r, id);

    if (place)
        take_out(r, place);
    return place != 0;
}

int ph_retry_take(struct ph_retry *r, int64_t now, struct ph_scope *s, ph_str *id, int *flushed)
{
    char text[PH_ID_MAX + 1];

    if (!r->n || r->at[1].when > now)
        return 0;
    *id = ph_str_dup(s, id_of(&r->at[1], text));
    *flushed = (r->at[1].born & FLUSHED) != 0;
    take_out(r, 1);
    return 1;
}

static void flush(struct waiter *w, int64_t now)
{
    if (w->when > now)
        w->when = (uint32_t)clamp(now, 0, UINT32_MAX);
    w->born |= FLUSHED;
}

void ph_retry_flush(struct ph_retry *r, int64_t now)
{
    for (size_t i = 1; i <= r->n; i++)
        flush(&r->at[i], now);
    for (size_t i = r->n / 2; i > 0; i--)
        sift_down(r, i);
}

int ph_retry_flush_one(struct ph_retry *r, ph_str id, int64_t now)
{
    size_t place = find(r, id);

    if (!place)
        return 0;
    flush(&r->at[place], now);
    sift_up(r, place);
    return 1;
}

int64_t ph_retry_first(const struct ph_retry *r)
{
    return r->n ? r->at[1].when : INT64_MAX;
}

size_t ph_retry_count(const struct ph_retry *r)
{
    return r->n;
}
