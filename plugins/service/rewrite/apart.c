/* apart: an address is taken apart until its domain is not ours: a routing
 * operator may stand behind a domain of ours, and is then the way on. */
#include <posthorn/address.h>
#include <posthorn/dns.h>
#include <posthorn/why.h>
#include "rewrite.h"

static int has_operator(const struct rewriter *w, const struct text *t)
{
    return text_rfind(t, '@') >= 0 || (w->p.swap_bang && text_find(t, '!') >= 0) || (w->p.percent && text_find(t, '%') >= 0);
}

/* "1", "1.2": no host is called so, and some would read an address. */
static int is_number(ph_str domain)
{
    for (size_t i = 0; i < domain.n; i++)
        if (domain.p[i] != '.' && !ph_is_digit(domain.p[i]))
            return 0;
    return 1;
}

/* [1.2.3.4] or [IPv6:...], as RFC 5321 4.1.3 has it. */
static int is_literal(ph_str domain)
{
    return ph_domain_literal_valid(domain) && (ph_str_find(domain, ':') < 0 || ph_str_starts_nocase(domain, PH_STR("[IPv6:")));
}

static int is_own(const struct rewriter *w, ph_str domain)
{
    struct ph_ip ip;

    return is_literal(domain) && ph_ip_parse(domain, &ip) && ph_ip_is_among(&ip, w->own, w->own_count);
}

int rewrite_is_local(struct rewriter *w, ph_str domain)
{
    if (is_own(w, domain)) {
        ph_why("inet_interfaces", "%.*s is one of our addresses", PH_FMT(domain));
        return 1;
    }
    int rc = ph_match(w->mydestination, domain, PH_STR(""));
    return rc < 0 ? rc : rc == PH_FOUND;
}

/* NULL, or what is wrong with it. */
static const char *check_domain(const struct rewriter *w, struct ph_scope *s, ph_str *domain)
{
    struct ph_ip ip;
    ph_str ascii = *domain;

    if (domain->p[0] == '[')
        return is_literal(*domain) ? NULL : "bad address literal";
    if (ph_ip_parse(*domain, &ip)) {
        if (!w->p.numeric_domain)
            return "numeric domain name";
        *domain = ph_str_printf(s, "[%s%.*s]", ip.family == 6 ? "IPv6:" : "", PH_FMT(*domain));
        return NULL;
    }
    if (!ph_str_is_ascii(*domain) && (!w->p.utf8 || ph_domain_ascii(s, *domain, &ascii) < 0))
        return "malformed domain name";
    if (!ph_hostname_valid(ascii))
        return "malformed domain name";
    return is_number(ascii) ? "numeric domain name" : NULL;
}

/* An operator is left, whether or not we would turn it, and in quotes or not:
 * others might. */
static int is_routed(const struct text *t, size_t local)
{
    for (size_t i = 0; i < local; i++)
        if (ph_str_find(PH_STR("@!%"), text_byte(t, i)) >= 0)
            return 1;
    return 0;
}

/* The end: local part and domain are known. */
static void finish(const struct rewriter *w, struct parts *out, struct text *t, size_t local, ph_str domain, int ours)
{
    out->domain = domain;
    out->is_local = ours;
    out->local = local || !ours ? text_bytes(t, 0, local) : w->p.empty_recipient;
    out->routed = is_routed(t, local);
    if (domain.n && !(out->error = check_domain(w, t->s, &out->domain)) && !ours)
        out->is_local = out->domain.p[0] == '[' && is_own(w, out->domain);  /* it was a number */
    if (!out->error && !w->p.min_user && ph_str_starts(out->local, PH_STR("-")))
        out->error = "local part begins with a minus sign";
}

/* Rewriting takes it for nothing at all; here it is an address without a domain. */
static int is_lone_at(const struct text *t)
{
    return t->n == 1 && text_at(t, 0) == '@';
}

/* What is left when a domain of ours was taken off, or when there was none: 1
 * when it is to be looked at again, 0 when it is a name. */
static int go_on(const struct rewriter *w, struct text *t, ph_str ours)
{
    if (has_operator(w, t)) {
        rewrite_text(w, t, &w->local);
        return 1;
    }
    if (ours.n)
        return 0;
    if (t->n == 0)
        text_append(t, w->p.empty_recipient);
    text_append(t, PH_STR("@"));
    text_append(t, w->p.myhostname);
    return 1;
}

/* The domain behind `at`: 1, it was ours and is taken off; 0, the end; negative. */
static int take_domain(struct rewriter *w, struct text *t, size_t at, ph_str *ours, struct parts *out)
{
    ph_str domain = text_bytes(t, at + 1, t->n);
    int rc = domain.n ? rewrite_is_local(w, domain) : 1;

    if (rc == 0)
        finish(w, out, t, at, domain, 0);
    if (rc <= 0)
        return rc;
    t->n = at;
    if (domain.n) {
        *ours = domain;
    } else if (!w->p.null_domain && !has_operator(w, t)) {
        out->error = "missing domain name";
        return 0;
    }
    if (has_operator(w, t) && !is_lone_at(t))
        rewrite_text(w, t, &w->local);
    return 1;
}

/* Each turn but one (our own name appended) shortens the address or turns one
 * operator, so that its length bounds the loop. */
int rewrite_apart(struct rewriter *w, struct text *t, struct parts *out)
{
    ph_str ours = PH_STR("");

    *out = (struct parts){ .local = PH_STR(""), .domain = PH_STR("") };
    for (size_t left = 2 * t->n + 100; left > 0; left--) {
        ptrdiff_t at = text_rfind(t, '@');
        if (at < 0) {
            if (go_on(w, t, ours))
                continue;
            finish(w, out, t, t->n, ours, 1);
            return 0;
        }
        text_drop_dot(t);
        int rc = take_domain(w, t, (size_t)at, &ours, out);
        if (rc <= 0)
            return rc;
    }
    out->error = "routing loop in the address";
    return 0;
}
