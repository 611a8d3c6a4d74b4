/* map: open addressing, linear probing, backward-shift deletion.  See posthorn/map.h. */
#include <stdlib.h>
#include <string.h>
#include <posthorn/error.h>
#include <posthorn/map.h>
#include "core/base/hash.h"

struct entry {
    char *key;                     /* NULL: free */
    size_t n;
    uint64_t hash;
    void *value;
};

struct ph_map {
    struct entry *slots;
    size_t cap, count;             /* cap is 0 or a power of two */
};

static void map_fini(void *arg)
{
    ph_map_free(arg);
}

struct ph_map *ph_map_new(struct ph_scope *s)
{
    struct ph_map *m = calloc(1, sizeof *m);

    if (!m)
        ph_die("out of memory");
    if (s)
        ph_defer(s, map_fini, m);
    return m;
}

void ph_map_free(struct ph_map *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->cap; i++)
        free(m->slots[i].key);
    free(m->slots);
    free(m);
}

size_t ph_map_count(const struct ph_map *m) { return m->count; }

/* The entry of the key, or the free one where it would go (cap must be > count). */
static struct entry *probe(const struct ph_map *m, ph_str key, uint64_t hash)
{
    for (size_t i = hash & (m->cap - 1); ; i = (i + 1) & (m->cap - 1)) {
        struct entry *e = &m->slots[i];

        if (!e->key || (e->hash == hash && e->n == key.n && memcmp(e->key, key.p ? key.p : "", key.n) == 0))
            return e;
    }
}

static void grow(struct ph_map *m)
{
    struct entry *old = m->slots;
    size_t old_cap = m->cap;

    m->cap = old_cap ? old_cap * 2 : 8;
    if (!(m->slots = calloc(m->cap, sizeof *m->slots)))
        ph_die("out of memory");
    for (size_t i = 0; i < old_cap; i++)
        if (old[i].key)
            *probe(m, (ph_str){ old[i].key, old[i].n }, old[i].hash) = old[i];
    free(old);
}

void *ph_map_get(const struct ph_map *m, ph_str key)
{
    if (m->count == 0)
        return NULL;
    struct entry *e = probe(m, key, ph_hash_keyed(key));
    return e->key ? e->value : NULL;
}

void *ph_map_set(struct ph_map *m, ph_str key, void *value)
{
    ph_assert(value != NULL);
    if (m->count + 1 > m->cap - m->cap / 4)
        grow(m);
    uint64_t hash = ph_hash_keyed(key);
    struct entry *e = probe(m, key, hash);
    void *old = e->key ? e->value : NULL;

    if (!e->key) {
        if (!(e->key = malloc(key.n + 1)))
            ph_die("out of memory");
        if (key.n)
            memcpy(e->key, key.p, key.n);
        e->key[key.n] = 0;
        e->n = key.n;
        e->hash = hash;
        m->count++;
    }
    e->value = value;
    return old;
}

/* Close the gap at i: move back whatever probing would no longer find. */
static void close_gap(struct ph_map *m, size_t i)
{
    size_t mask = m->cap - 1;

    for (size_t j = (i + 1) & mask; m->slots[j].key; j = (j + 1) & mask) {
        size_t home = m->slots[j].hash & mask;

        if (((j - home) & mask) >= ((j - i) & mask)) {
            m->slots[i] = m->slots[j];
            i = j;
        }
    }
    memset(&m->slots[i], 0, sizeof m->slots[i]);
}

void *ph_map_del(struct ph_map *m, ph_str key)
{
    if (m->count == 0)
        return NULL;
    struct entry *e = probe(m, key, ph_hash_keyed(key));
    if (!e->key)
        return NULL;
    void *old = e->value;
    free(e->key);
    m->count--;
    close_gap(m, (size_t)(e - m->slots));
    return old;
}

/* Backwards, so that a deletion's shift brings only entries already seen; and
 * from an empty slot on, since no shift passes one: from the end of the array an
 * entry behind the wrap could be shifted to where the walk has been.  *at holds
 * that slot (plus one) in its upper half and the steps taken in its lower. */
#define HALF (sizeof(size_t) * 4)

static size_t first_empty(const struct ph_map *m)
{
    size_t i = 0;

    while (i < m->cap && m->slots[i].key)
        i++;
    return i;
}

int ph_map_next(const struct ph_map *m, size_t *at, ph_str *key, void **value)
{
    size_t start = *at >> HALF, steps = *at & (((size_t)1 << HALF) - 1);

    if (start == 0)
        start = first_empty(m) + 1;
    while (steps < m->cap) {
        const struct entry *e = &m->slots[(start - 1 + m->cap - steps++) % m->cap];

        if (e->key) {
            *at = start << HALF | steps;
            *key = (ph_str){ e->key, e->n };
            *value = e->value;
            return 1;
        }
    }
    *at = start << HALF | steps;
    return 0;
}
