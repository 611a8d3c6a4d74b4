/* table/internal: entries in the memory of this process, `internal:x`, for caches.
 * Empty at first; who opens the same name in the same process sees the same entries,
 * which go with the last that has it open.  Reference: internal_table(5). */
#include <stdlib.h>
#include <string.h>
#include <posthorn/map.h>
#include <posthorn/table.h>

#define STORE_MAX_BYTES ((size_t)256 << 20)

/* In the order in which they came: a walk goes on while entries come and go. */
struct entry {
    struct entry *next, *prev;
    ph_str key;                    /* its bytes behind the struct */
    char *value;
    size_t value_n;
};

struct store {
    struct store *next;
    struct entry *first, *last;
    struct ph_map *by_key;
    struct handle *handles;
    size_t bytes;
    ph_str name;
};

/* One opening.  walk: what its walk gives next. */
struct handle {
    struct handle *next;
    struct store *store;
    struct entry *walk;
};

static struct store *stores;       /* of the process: small, and few */

static void *must(void *p)
{
    if (!p)
        ph_die("out of memory");
    return p;
}

static size_t bytes_of(const struct entry *e)
{
    return sizeof *e + e->key.n + e->value_n;
}

static void drop(struct store *s, struct entry *e)
{
    for (struct handle *h = s->handles; h; h = h->next)
        if (h->walk == e)
            h->walk = e->next;
    *(e->prev ? &e->prev->next : &s->first) = e->next;
    *(e->next ? &e->next->prev : &s->last) = e->prev;
    s->bytes -= bytes_of(e);
    free(e->value);
    free(e);
}

static void end_store(struct store *s)
{
    struct store **at = &stores;

    while (s->first)
        drop(s, s->first);
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    ph_map_free(s->by_key);
    free(s);
}

static void internal_close(void *arg)
{
    struct handle *h = arg, **at = &h->store->handles;

    while (*at != h)
        at = &(*at)->next;
    *at = h->next;
    if (!h->store->handles)
        end_store(h->store);
}

static struct store *find_store(ph_str name)
{
    struct store *s = stores;

    while (s && !ph_str_eq(s->name, name))
        s = s->next;
    if (s)
        return s;
    s = must(malloc(sizeof *s + name.n));
    memcpy(s + 1, name.p, name.n);
    *s = (struct store){ .next = stores, .by_key = ph_map_new(NULL), .name = { (const char *)(s + 1), name.n } };
    return stores = s;
}

static int32_t internal_open(struct ph_table *t, ph_str spec)
{
    struct handle *h = ph_new(t->scope, struct handle);

    if (spec.n == 0)
        return ph_fail(PH_CONF, "a name must follow the colon");
    h->store = find_store(spec);
    h->next = h->store->handles;
    h->store->handles = h;
    ph_defer(t->scope, internal_close, h);
    t->self = h;
    return 0;
}

static int32_t internal_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    const struct handle *h = t->self;
    const struct entry *e = ph_map_get(h->store->by_key, key);

    if (!e)
        return PH_NONE;
    *val = ph_str_dup(out, (ph_str){ e->value, e->value_n });
    return PH_FOUND;
}

/* A new entry without a value, at the end. */
static struct entry *append(struct store *s, ph_str key)
{
    struct entry *e = must(malloc(sizeof *e + key.n + 1));

    memcpy(e + 1, key.n ? key.p : "", key.n);
    *e = (struct entry){ .prev = s->last, .key = { (const char *)(e + 1), key.n } };
    *(s->last ? &s->last->next : &s->first) = e;
    s->last = e;
    s->bytes += bytes_of(e);
    ph_map_set(s->by_key, key, e);
    return e;
}

static int32_t internal_update(struct ph_table *t, ph_str key, ph_str val)
{
    struct store *s = ((struct handle *)t->self)->store;
    struct entry *e = ph_map_get(s->by_key, key);
    size_t more = val.n + (e ? 0 : sizeof *e + key.n), less = e ? e->value_n : 0;

    if (e && t->flags & PH_TABLE_KEEP)
        return PH_NONE;
    if (more > less && more - less > STORE_MAX_BYTES - s->bytes)
        return ph_fail(PH_TEMP, "it has %zu bytes and is full", s->bytes);
    char *copy = must(malloc(val.n + 1));
    memcpy(copy, val.n ? val.p : "", val.n);
    if (!e)
        e = append(s, key);
    free(e->value);
    s->bytes += val.n - e->value_n;
    e->value = copy;
    e->value_n = val.n;
    return PH_FOUND;
}

static int32_t internal_remove(struct ph_table *t, ph_str key)
{
    struct store *s = ((struct handle *)t->self)->store;
    struct entry *e = ph_map_del(s->by_key, key);

    if (e)
        drop(s, e);
    return e ? PH_FOUND : PH_NONE;
}

static int32_t internal_sequence(struct ph_table *t, int32_t first, struct ph_scope *out, ph_str *key, ph_str *val)
{
    struct handle *h = t->self;
    const struct entry *e = first ? h->store->first : h->walk;

    h->walk = e ? e->next : NULL;
    if (!e)
        return PH_NONE;
    *key = ph_str_dup(out, e->key);
    *val = ph_str_dup(out, (ph_str){ e->value, e->value_n });
    return PH_FOUND;
}

PH_PLUGIN_TABLE(internal, PH_IS(.summary = "entries in the memory of the process", .exec = PH_PURE, .concurrency = PH_MANY_CALLS),
    .open = internal_open,
    .lookup = internal_lookup,
    .update = internal_update,
    .remove = internal_remove,
    .sequence = internal_sequence);
