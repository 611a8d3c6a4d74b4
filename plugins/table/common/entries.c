/* entries: see entries.h. */
#include <posthorn/why.h>
#include "entries.h"

void entries_init(struct entries *e, struct ph_scope *s)
{
    *e = (struct entries){ .scope = s, .map = ph_map_new(s) };
    e->last = &e->first;
}

ph_str entries_key(struct ph_scope *s, const struct ph_table *t, ph_str key)
{
    return ph_str_dup(s, ph_table_key(t, s, key));
}

struct entry *entries_add(struct entries *e, ph_str key, int *is_new)
{
    struct entry *old = ph_map_get(e->map, key);

    *is_new = !old;
    if (old)
        return old;
    struct entry *new = ph_new(e->scope, struct entry);
    new->key = key;
    *e->last = new;
    e->last = &new->next;
    ph_map_set(e->map, key, new);
    return new;
}

int32_t entries_lookup(const struct entries *e, ph_str key, struct ph_scope *out, ph_str *val)
{
    const struct entry *it = ph_map_get(e->map, key);

    if (!it)
        return PH_NONE;
    if (e->path)
        ph_why_at(e->path, it->line);
    *val = ph_str_dup(out, it->value);
    return PH_FOUND;
}

int32_t entries_next(struct entries *e, int first, struct ph_scope *out, ph_str *key, ph_str *val)
{
    e->at = first ? e->first : e->at ? e->at->next : NULL;
    if (!e->at)
        return PH_NONE;
    *key = ph_str_dup(out, e->at->key);
    *val = ph_str_dup(out, e->at->value);
    return PH_FOUND;
}
