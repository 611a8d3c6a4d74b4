/* complete: the rewriting of incomplete addresses. */
#include "rewrite.h"
#include <posthorn/address.h>

/* @a,@b:user@dom: what stands behind the colon. */
static ph_str drop_route(ph_str a)
{
    ptrdiff_t colon;

    while (a.n && a.p[0] == '@' && (colon = ph_str_find(a, ':')) > 0)
        a = ph_str_from(a, (size_t)colon + 1);
    return a;
}

/* Append .mydomain to a host without dots, strip one trailing dot. */
static ph_str complete_domain(const struct rewriter *w, struct ph_scope *s, ph_str a)
{
    ph_str local, domain;

    ph_address_split(a, &local, &domain);
    if (domain.n == 0)
        return a;
    if (w->p.append_domain && w->p.mydomain.n && domain.p[0] != '[' && ph_str_find(domain, '.') < 0)
        return ph_str_printf(s, "%.*s.%.*s", PH_FMT(a), PH_FMT(w->p.mydomain));
    if (domain.n > 1 && ph_str_ends(domain, PH_STR(".")) && !ph_str_ends(domain, PH_STR("..")))
        a.n--;
    return a;
}

ph_str rewrite_address(const struct rewriter *w, struct ph_scope *s, ph_str address, ph_str origin)
{
    ph_str a = drop_route(address);
    ptrdiff_t at;

    if (a.n == 0 || ph_str_eq(a, PH_STR("@")))
        return PH_STR("");
    if (a.n > REWRITE_ADDRESS_MAX)
        return a;                  /* resolve calls it an error */
    if (ph_str_find(a, '@') < 0) {
        if (w->p.swap_bang && (at = ph_str_find(a, '!')) > 0)
            a = ph_str_printf(s, "%.*s@%.*s", PH_FMT(ph_str_from(a, (size_t)at + 1)), PH_FMT(ph_str_first(a, (size_t)at)));
        else if (w->p.percent && (at = ph_str_rfind(a, '%')) > 0)
            a = ph_str_printf(s, "%.*s@%.*s", PH_FMT(ph_str_first(a, (size_t)at)), PH_FMT(ph_str_from(a, (size_t)at + 1)));
        else if (w->p.append_origin && origin.n)
            a = ph_str_printf(s, "%.*s@%.*s", PH_FMT(a), PH_FMT(origin));
    }
    return complete_domain(w, s, a);
}
