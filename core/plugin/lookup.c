/* lookup: lists of tables, and the partial keys of addresses.  See posthorn/lookup.h. */
#include <posthorn/address.h>
#include <posthorn/error.h>
#include <posthorn/lookup.h>
#include "core/plugin/tables.h"

#define MAPS_MAX 100u

struct ph_maps {
    struct ph_table *table[MAPS_MAX];
    size_t n;
};

int ph_maps_open(struct ph_conf *c, struct ph_scope *s, const char *what, ph_str list, uint32_t flags, struct ph_maps **out)
{
    struct ph_maps *m = ph_new(s, struct ph_maps);
    uint32_t table_flags = (flags & PH_MAPS_FOLD ? PH_TABLE_FOLD : 0) | (flags & PH_MAPS_SECURE ? PH_TABLE_SECURE : 0);

    for (ph_str item; (item = ph_str_list(&list)).n; ) {
        if (m->n == MAPS_MAX)
            return ph_fail(PH_CONF, "%s: more than %u tables", what, MAPS_MAX);
        m->table[m->n++] = ph_table_open_soft(c, s, what, item, table_flags);
    }
    *out = m;
    return 0;
}

int ph_maps_is_empty(const struct ph_maps *m)
{
    return m->n == 0;
}

/* One key in all tables; pattern tables only when it is the whole key. */
static int find(struct ph_maps *m, ph_str key, int whole, struct ph_scope *out, ph_str *val)
{
    for (size_t i = 0; i < m->n; i++) {
        if (!whole && ph_table_is_pattern(m->table[i]))
            continue;
        int rc = ph_table_lookup(m->table[i], key, out, val);

        if (rc != PH_NONE)
            return rc;
    }
    return PH_NONE;
}

int ph_maps_find(struct ph_maps *m, ph_str key, struct ph_scope *out, ph_str *val)
{
    return find(m, key, 1, out, val);
}

int ph_maps_find_part(struct ph_maps *m, ph_str key, struct ph_scope *out, ph_str *val)
{
    return find(m, key, 0, out, val);
}

/* The quoted form first, then the bare one: quoting must not get past a rule. */
static int find_whole(struct ph_maps *m, ph_str address, struct ph_scope *out, ph_str *val)
{
    ph_str external = ph_address_external(out, address);
    int rc = find(m, external, 1, out, val);

    return rc == PH_NONE && !ph_str_eq(external, address) ? find(m, address, 1, out, val) : rc;
}

int ph_maps_find_address(struct ph_maps *m, ph_str address, ph_str delimiters, int local, struct ph_scope *out, ph_str *val, ph_str *ext)
{
    ph_str user, domain, bare, extension;
    char delimiter;

    *ext = PH_STR("");
    if (m->n == 0 || address.n == 0)
        return PH_NONE;
    int rc = find_whole(m, address, out, val);
    if (rc != PH_NONE)
        return rc;
    ph_address_split(address, &user, &domain);
    ph_address_extension(user, delimiters, &bare, &extension, &delimiter);
    ph_str unmatched = delimiter ? ph_str_from(user, bare.n) : PH_STR("");
    if (delimiter && domain.n) {
        rc = find(m, ph_str_printf(out, "%.*s@%.*s", PH_FMT(bare), PH_FMT(domain)), 0, out, val);
        if (rc != PH_NONE) {
            *ext = unmatched;
            return rc;
        }
    }
    if (local || domain.n == 0) {
        rc = domain.n ? find(m, user, 0, out, val) : PH_NONE;
        if (rc == PH_NONE && delimiter && (rc = find(m, bare, 0, out, val)) != PH_NONE)
            *ext = unmatched;
        if (rc != PH_NONE)
            return rc;
    }
    return domain.n ? find(m, ph_str_printf(out, "@%.*s", PH_FMT(domain)), 0, out, val) : PH_NONE;
}
