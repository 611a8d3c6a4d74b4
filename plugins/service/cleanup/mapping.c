/* mapping: canonical maps and masquerading of one address, wherever it stands. */
#include <posthorn/address.h>
#include <posthorn/error.h>
#include <posthorn/why.h>
#include "cleanup.h"

/* 1 when the domain lies below the other. */
static int is_below(ph_str domain, ph_str parent)
{
    return domain.n > parent.n && domain.p[domain.n - parent.n - 1] == '.' && ph_str_ends_nocase(domain, parent);
}

static int is_exempt(const struct cleanup_params *p, ph_str user)
{
    int rc = ph_match(p->exceptions, user, PH_STR(""));

    return rc == PH_FOUND ? 1 : rc == PH_NONE ? 0 : rc;
}

/* The first entry that the domain is, or lies below, decides. */
static int masquerade(const struct cleanup_params *p, struct ph_scope *s, ph_str *address)
{
    ph_str user, domain;
    int rc;

    ph_address_split(*address, &user, &domain);
    for (size_t i = 0; domain.n && i < p->masquerade_count; i++) {
        ph_str parent = p->masquerade[i];
        int shown = parent.p[0] == '!';

        if (shown)
            parent = ph_str_from(parent, 1);
        if (!is_below(domain, parent) && !ph_str_eq_nocase(domain, parent))
            continue;
        if (shown || ph_str_eq_nocase(domain, parent) || (rc = is_exempt(p, user)) == 1)
            return 0;
        if (rc < 0)
            return rc;
        *address = ph_str_printf(s, "%.*s@%.*s", PH_FMT(user), PH_FMT(parent));
        ph_why("masquerade_domains", "%.*s", PH_FMT(*address));
        return 0;
    }
    return 0;
}

int cleanup_map(const struct cleanup_params *p, struct ph_scope *s, uint32_t class, ph_str *address)
{
    if (!(p->mapped & class) || address->n == 0)
        return 0;
    for (size_t i = 0; i < sizeof p->canonical / sizeof *p->canonical; i++) {
        if (!(p->canonical[i].classes & class))
            continue;
        int rc = ph_address_map_settle(p->canonical[i].map, s, *address, address);

        if (rc < 0)
            return rc;
    }
    return p->masqueraded & class ? masquerade(p, s, address) : 0;
}
