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
    uint32_t table_flags = (flags & PH_MAPS_FOLD ? PH_TABLE_FOLD : 0) | (flags & PH_MAPS_SECURE ? PH_TABLE_SECURE : 0) |
                           (flags & PH_MAPS_LITERAL ? PH_TABLE_LITERAL : 0);

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
static int find_address(struct ph_maps *m, ph_str address, int whole, struct ph_scope *out, ph_str *val)
{
    ph_str external = ph_address_external(out, address);
    int rc = find(m, external, whole, out, val);

    return rc == PH_NONE && !ph_str_eq(external, address) ? find(m, address, whole, out, val) : rc;
}

/* The same of a user name alone; one with "@" in it would read as an address. */
static int find_user(struct ph_maps *m, ph_str user, struct ph_scope *out, ph_str *val)
{
    ph_str external = ph_address_external(out, ph_str_printf(out, "%.*s@", PH_FMT(user)));

    external.n--;
    int rc = find(m, external, 0, out, val);
    return rc == PH_NONE && !ph_str_eq(external, user) ? find(m, user, 0, out, val) : rc;
}

/* The parts of an address that keys are made of. */
struct keys {
    ph_str user, domain, bare, unmatched;
};

static struct keys keys_of(ph_str address, ph_str delimiters)
{
    struct keys k;
    ph_str extension;
    char delimiter;

    ph_address_split(address, &k.user, &k.domain);
    ph_address_extension(k.user, delimiters, &k.bare, &extension, &delimiter);
    k.unmatched = delimiter ? ph_str_from(k.user, k.bare.n) : PH_STR("");
    return k;
}

static int find_mailbox(struct ph_maps *m, ph_str address, const struct keys *k, struct ph_scope *out, ph_str *val, ph_str *ext)
{
    int rc = find_address(m, address, 1, out, val);

    if (rc != PH_NONE || !k->unmatched.n || !k->domain.n)
        return rc;
    rc = find_address(m, ph_str_printf(out, "%.*s@%.*s", PH_FMT(k->bare), PH_FMT(k->domain)), 0, out, val);
    if (rc != PH_NONE)
        *ext = k->unmatched;
    return rc;
}

int ph_maps_find_mailbox(struct ph_maps *m, ph_str address, ph_str delimiters, struct ph_scope *out, ph_str *val)
{
    struct keys k = keys_of(address, delimiters);
    ph_str ext;

    return m->n == 0 || address.n == 0 ? PH_NONE : find_mailbox(m, address, &k, out, val, &ext);
}

int ph_maps_find_address(struct ph_maps *m, ph_str address, ph_str delimiters, int local, struct ph_scope *out, ph_str *val, ph_str *ext)
{
    struct keys k = keys_of(address, delimiters);

    *ext = PH_STR("");
    if (m->n == 0 || address.n == 0)
        return PH_NONE;
    int rc = find_mailbox(m, address, &k, out, val, ext);
    if (rc == PH_NONE && local && k.domain.n)
        rc = find_user(m, k.user, out, val);
    if (rc == PH_NONE && (local || k.domain.n == 0) && k.unmatched.n && (rc = find_user(m, k.bare, out, val)) != PH_NONE)
        *ext = k.unmatched;
    if (rc != PH_NONE)
        return rc;
    return k.domain.n ? find(m, ph_str_printf(out, "@%.*s", PH_FMT(k.domain)), 0, out, val) : PH_NONE;
}
