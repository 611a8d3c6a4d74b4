/* resolve: transport, next hop and class of one address.
 *
 * First the address is taken apart until its domain is not ours (a routing
 * operator may stand behind a local domain), then the class's transport is
 * found, then transport_maps may override it.  A table that cannot be asked is
 * a temporary failure, never "not in the list". */
#include <posthorn/address.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "rewrite.h"

/* 1 ours, 0 not, negative: could not look. */
static int is_local(struct rewriter *w, ph_str domain)
{
    struct ph_ip ip;

    if (domain.n && domain.p[0] == '[')
        return ph_ip_parse(domain, &ip) && rewrite_is_own(w, &ip);
    int rc = ph_match(w->mydestination, domain, PH_STR(""));
    return rc < 0 ? rc : rc == PH_FOUND;
}

/* Turn the outermost operator of a domain-less address: 1 and *a, or 0. */
static int turn_operator(const struct rewriter *w, struct ph_scope *s, ph_str *a)
{
    ptrdiff_t at;

    if (w->p.swap_bang && (at = ph_str_find(*a, '!')) > 0)
        *a = ph_str_printf(s, "%.*s@%.*s", PH_FMT(ph_str_from(*a, (size_t)at + 1)), PH_FMT(ph_str_first(*a, (size_t)at)));
    else if (w->p.percent && (at = ph_str_rfind(*a, '%')) > 0)
        *a = ph_str_printf(s, "%.*s@%.*s", PH_FMT(ph_str_first(*a, (size_t)at)), PH_FMT(ph_str_from(*a, (size_t)at + 1)));
    else
        return 0;
    return 1;
}

static int has_operator(const struct rewriter *w, ph_str local)
{
    return ph_str_find(local, '@') >= 0 || (w->p.swap_bang && ph_str_find(local, '!') >= 0) ||
           (w->p.percent && ph_str_find(local, '%') >= 0);
}

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

/* What taking apart leaves. */
struct parts {
    ph_str local, domain;
    int is_local;
    const char *error;
};

/* A domain of ours in front of a is taken off: 1 and it was, 0 it is another's. */
static int strip_local(struct rewriter *w, struct parts *out, ph_str *a, ph_str *ours)
{
    int rc = is_local(w, out->domain);

    if (rc > 0) {
        *ours = out->domain;
        *a = out->local;
    }
    return rc;
}

/* 0, or negative.  Each turn but one (our own name appended) shortens the
 * address or turns one operator, so that its length bounds the loop. */
static int take_apart(struct rewriter *w, struct ph_scope *s, ph_str address, struct parts *out)
{
    ph_str a = address, ours = PH_STR("");
    int rc;

    *out = (struct parts){ 0 };
    for (size_t turn = 0; turn < 2 * address.n + 100; turn++) {
        if (ph_str_find(a, '@') < 0) {
            if (turn_operator(w, s, &a))
                continue;
            if (ours.n) {
                *out = (struct parts){ .local = a, .domain = ours, .is_local = 1 };
                return 0;
            }
            a = ph_str_printf(s, "%.*s@%.*s", PH_FMT(a), PH_FMT(w->p.myhostname));
        }
        ph_address_split(a, &out->local, &out->domain);
        if (out->domain.n > 1 && ph_str_ends(out->domain, PH_STR(".")))
            out->domain.n--;
        if (out->domain.n == 0) {
            if (!w->p.null_domain && !ours.n) {
                out->error = "missing domain name";
                return 0;
            }
            a = out->local;
            continue;
        }
        if ((rc = strip_local(w, out, &a, &ours)) < 0)
            return rc;
        if (!rc) {
            out->error = check_domain(w, s, &out->domain);
            return 0;
        }
    }
    out->error = "routing loop in the address";
    return 0;
}

/* "transport:nexthop" or "transport". */
static void set_transport(struct resolved *r, ph_str value)
{
    ph_str transport = ph_str_cut(&value, ':');

    r->transport = ph_str_trim(transport);
    if (value.n)
        r->nexthop = ph_str_trim(value);
}

/* Sender-dependent table: PH_FOUND and *val (DUNNO reads as none), PH_NONE, negative. */
static int by_sender(struct rewriter *w, struct ph_scope *s, struct ph_maps *maps, ph_str sender, ph_str null_key, ph_str *val)
{
    ph_str ext;

    if (ph_maps_is_empty(maps))
        return PH_NONE;
    int rc = sender.n ? ph_maps_find_address(maps, sender, w->p.delimiter, 0, s, val, &ext)
                      : ph_maps_find(maps, null_key, s, val);
    return rc == PH_FOUND && ph_str_eq_nocase(*val, PH_STR("DUNNO")) ? PH_NONE : rc;
}

/* relayhost, by sender first. */
static int set_relayhost(struct rewriter *w, struct ph_scope *s, ph_str sender, struct resolved *r)
{
    ph_str host;
    int rc = by_sender(w, s, w->sender_relayhost, sender, w->p.null_relayhost_key, &host);

    if (rc < 0)
        return rc;
    if (rc == PH_FOUND && host.n)
        r->nexthop = host;
    else if (w->p.relayhost.n)
        r->nexthop = w->p.relayhost;
    return 0;
}

static int route_default(struct rewriter *w, struct ph_scope *s, ph_str sender, struct resolved *r)
{
    ph_str value, domain = r->nexthop;
    int rc = set_relayhost(w, s, sender, r);

    if (rc < 0)
        return rc;
    rc = by_sender(w, s, w->sender_transport, sender, w->p.null_transport_key, &value);
    if (rc < 0)
        return rc;
    set_transport(r, rc == PH_FOUND && value.n ? value : w->p.default_transport);
    if (ph_str_eq(r->transport, PH_STR("error")) && ph_str_eq(r->nexthop, domain))
        r->nexthop = PH_STR("");
    return 0;
}

/* The class of a domain that is not local: 0, or negative. */
static int route_remote(struct rewriter *w, struct ph_scope *s, ph_str sender, ph_str domain, struct resolved *r)
{
    int rc;

    r->nexthop = domain;
    if ((rc = ph_match(w->alias_domains, domain, PH_STR(""))) == PH_FOUND) {
        r->class_ = "alias";
        r->transport = PH_STR("error");
        r->nexthop = PH_STR("5.1.1 User unknown in virtual alias table");
        return 0;
    }
    if (rc > 0 && (rc = ph_match(w->mailbox_domains, domain, PH_STR(""))) == PH_FOUND) {
        r->class_ = "virtual";
        set_transport(r, w->p.virtual_transport);
        return 0;
    }
    if (rc > 0 && (rc = ph_match(w->relay_domains, domain, PH_STR(""))) == PH_FOUND) {
        r->class_ = "relay";
        if ((rc = set_relayhost(w, s, sender, r)) < 0)
            return rc;
        set_transport(r, w->p.relay_transport);
        return 0;
    }
    if (rc < 0)
        return rc;
    r->class_ = "default";
    return route_default(w, s, sender, r);
}

/* A domain in two final classes: the first one holds, and the administrator
 * should know.  A list that cannot be asked here decides nothing. */
static void warn_of_two(struct rewriter *w, ph_str domain)
{
    const char *also = ph_match(w->alias_domains, domain, PH_STR("")) == PH_FOUND ? "virtual_alias_domains" :
                       ph_match(w->mailbox_domains, domain, PH_STR("")) == PH_FOUND ? "virtual_mailbox_domains" : NULL;

    if (also && !w->warned_of_two) {
        w->warned_of_two = 1;
        ph_log_warn("do not list domain %.*s in BOTH mydestination and %s", PH_FMT(domain), also);
    }
}

/* The keys of transport(5): the address, the domain, its parents, "*". */
static int find_transport(struct rewriter *w, struct ph_scope *s, ph_str recipient, ph_str domain, ph_str *val)
{
    ph_str ext;
    int rc = ph_maps_find_address(w->transport_maps, recipient, w->p.delimiter, 0, s, val, &ext);

    for (ph_str key = ph_str_lower(s, domain); rc == PH_NONE && key.n; ) {
        rc = ph_maps_find_part(w->transport_maps, key, s, val);
        if (key.p[0] == '[')
            break;                 /* a literal has no parents */
        ptrdiff_t dot = ph_str_find(ph_str_from(key, 1), '.');
        if (dot < 0)
            break;
        key = ph_str_from(key, (size_t)dot + (w->parents_directly ? 2 : 1));
    }
    return rc == PH_NONE ? ph_maps_find_part(w->transport_maps, PH_STR("*"), s, val) : rc;
}

/* transport:nexthop; both empty: no change; empty next hop: the recipient's
 * domain; empty transport: only the next hop changes. */
static int override(struct rewriter *w, struct ph_scope *s, ph_str domain, struct resolved *r)
{
    ph_str value;

    if (ph_maps_is_empty(w->transport_maps) || ph_str_eq(r->transport, PH_STR("error")) || ph_str_eq(r->transport, PH_STR("retry")))
        return 0;
    int rc = find_transport(w, s, r->recipient, domain, &value);
    if (rc != PH_FOUND)
        return rc < 0 ? rc : 0;
    ph_str transport = ph_str_trim(ph_str_cut(&value, ':')), nexthop = ph_str_trim(value);
    if (transport.n == 0 && nexthop.n == 0)
        return 0;
    if (transport.n) {
        r->transport = transport;
        r->nexthop = ph_str_eq(transport, PH_STR("error")) || ph_str_eq(transport, PH_STR("retry")) ? PH_STR("") : domain;
    }
    if (nexthop.n)
        r->nexthop = nexthop;
    return 0;
}

static int check_moved(struct rewriter *w, struct ph_scope *s, struct resolved *r, int local)
{
    ph_str where, ext;

    if (ph_maps_is_empty(w->relocated))
        return 0;
    int rc = ph_maps_find_address(w->relocated, r->recipient, w->p.delimiter, local, s, &where, &ext);
    if (rc == PH_FOUND) {
        r->transport = PH_STR("error");
        r->nexthop = w->p.relocated_prefix ? ph_str_printf(s, "5.1.6 User has moved to %.*s", PH_FMT(where)) : where;
    }
    return rc < 0 ? rc : 0;
}

int rewrite_resolve(struct rewriter *w, struct ph_scope *s, ph_str sender, ph_str address, struct resolved *r)
{
    struct parts parts = { .error = "address is too long" };
    int rc = address.n > REWRITE_ADDRESS_MAX ? 0 : take_apart(w, s, address, &parts);

    if (rc < 0)
        return rc;
    *r = (struct resolved){ .class_ = "default", .recipient = address, .error = parts.error };
    if (parts.error) {
        r->transport = PH_STR("error");
        r->nexthop = ph_str_printf(s, "5.1.3 Bad recipient address syntax: %s", parts.error);
        return 0;
    }
    if (parts.local.n == 0)
        parts.local = w->p.empty_recipient;
    r->recipient = ph_str_printf(s, "%.*s@%.*s", PH_FMT(parts.local), PH_FMT(parts.domain));
    r->routed = !parts.is_local && has_operator(w, parts.local);
    if (parts.is_local) {
        r->class_ = "local";
        r->nexthop = parts.domain;
        warn_of_two(w, parts.domain);
        set_transport(r, w->p.local_transport);
    } else if ((rc = route_remote(w, s, sender, parts.domain, r)) < 0) {
        return rc;
    }
    if ((rc = override(w, s, parts.domain, r)) < 0)
        return rc;
    if ((rc = check_moved(w, s, r, parts.is_local)) < 0)
        return rc;
    /* Texts and paths mean what they say; a name of a host is the same in any case. */
    if (!ph_str_eq(r->transport, PH_STR("error")) && !ph_str_eq(r->transport, PH_STR("retry")) && ph_str_search(r->nexthop, PH_STR("unix:")) < 0)
        r->nexthop = ph_str_lower(s, r->nexthop);
    return 0;
}
