/* apart: an address is taken apart until its domain is not ours: a routing
 * operator may stand behind a domain of ours, and is then the way on. */
#include <posthorn/address.h>
#include <posthorn/why.h>
#include "rewrite.h"

/* 1 ours, 0 not, negative: could not look. */
static int is_local(struct rewriter *w, ph_str domain)
{
    struct ph_ip ip;

    if (domain.p[0] == '[' && ph_ip_parse(domain, &ip) && rewrite_is_own(w, &ip)) {
        ph_why("inet_interfaces", "%.*s is one of our addresses", PH_FMT(domain));
        return 1;
    }
    int rc = ph_match(w->mydestination, domain, PH_STR(""));
    return rc < 0 ? rc : rc == PH_FOUND;
}

static int has_operator(const struct rewriter *w, const struct text *t)
{
    return text_rfind(t, '@') >= 0 || (w->p.swap_bang && text_find(t, '!') >= 0) || (w->p.percent && text_find(t, '%') >= 0);
}

/* NULL, or what is wrong with it. */
static const char *check_domain(const struct rewriter *w, struct ph_scope *s, ph_str *domain)
{
    struct ph_ip ip;

    if (domain->p[0] == '[')
        return ph_domain_literal_valid(*domain) ? NULL : "bad address literal";
    if (ph_ip_parse(*domain, &ip)) {
        if (!w->p.numeric_domain)
            return "numeric domain name";
        *domain = ph_str_printf(s, "[%.*s]", PH_FMT(*domain));
        return NULL;
    }
    if (!ph_str_is_ascii(*domain))
        return ph_str_is_utf8(*domain) ? NULL : "malformed domain name";
    return ph_hostname_valid(*domain) ? NULL : "malformed domain name";
}

/* The end: local part and domain are known. */
static void finish(const struct rewriter *w, struct parts *out, struct text *t, size_t local, ph_str domain, int ours)
{
    out->domain = domain;
    out->is_local = ours;
    out->local = local ? text_bytes(t, 0, local) : w->p.empty_recipient;
    if (ours)
        return;
    out->error = check_domain(w, t->s, &out->domain);
    t->n = local;
    out->routed = has_operator(w, t);
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

/* Each turn but one (our own name appended) shortens the address or turns one
 * operator, so that its length bounds the loop. */
int rewrite_apart(struct rewriter *w, struct text *t, struct parts *out)
{
    ph_str ours = PH_STR("");

    *out = (struct parts){ .local = PH_STR(""), .domain = PH_STR("") };
    for (size_t left = 2 * t->n + 100; left > 0; left--) {
        text_drop_dot(t);
        ptrdiff_t at = text_rfind(t, '@');
        if (at < 0) {
            if (go_on(w, t, ours))
                continue;
            finish(w, out, t, t->n, ours, 1);
            return 0;
        }
        ph_str domain = text_bytes(t, (size_t)at + 1, t->n);
        if (domain.n == 0 && !w->p.null_domain) {
            out->error = "missing domain name";
            return 0;
        }
        int rc = domain.n ? is_local(w, domain) : 1;
        if (rc < 0)
            return rc;
        if (rc == 0) {
            finish(w, out, t, (size_t)at, domain, 0);
            return 0;
        }
        if (domain.n)
            ours = domain;
        t->n = (size_t)at;
        if (has_operator(w, t))
            rewrite_text(w, t, &w->local);
    }
    out->error = "routing loop in the address";
    return 0;
}
