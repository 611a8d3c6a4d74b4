/* resolve: transport, next hop and class of one address.
 *
 * First the address is taken apart until its domain is not ours (apart.c), then
 * the class's transport is found, then transport_maps may override it, then
 * relocated_maps say who moved.  A table that cannot be asked is a temporary
 * failure, never "not in the list". */
#include <posthorn/address.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include <posthorn/map.h>
#include <posthorn/why.h>
#include "rewrite.h"

#define SEEN_MAX 1000u             /* domains */

static const ph_str undeliverable = PH_STR_INIT("Address is undeliverable");

/* Their next hop is a text. */
static int is_verdict(ph_str transport)
{
    return ph_str_eq(transport, PH_STR("error")) || ph_str_eq(transport, PH_STR("retry"));
}

/* "transport:nexthop" or "transport": 0, or PH_TEMP. */
static int set_transport(struct resolved *r, const char *what, ph_str value)
{
    ph_why(what, "class %s, transport %.*s", r->class_, PH_FMT(value));
    r->transport = ph_str_trim(ph_str_cut(&value, ':'));
    value = ph_str_trim(value);
    if (value.n || is_verdict(r->transport))
        r->nexthop = value.n ? value : undeliverable;
    return r->transport.n ? 0 : ph_fail(PH_TEMP, "%s: a next hop without a transport", what);
}

/* Are bare user names keys for addresses of that domain?  1, 0, negative. */
static int has_bare_keys(struct rewriter *w, ph_str address)
{
    ph_str local, domain;

    ph_address_split(address, &local, &domain);
    return domain.n == 0 || ph_str_eq_nocase(domain, w->p.myorigin) ? 1 : rewrite_is_local(w, domain);
}

/* Sender-dependent table: PH_FOUND and *val (DUNNO reads as none), PH_NONE, negative. */
static int by_sender(struct rewriter *w, struct ph_scope *s, struct ph_maps *maps, ph_str sender, ph_str null_key, ph_str *val)
{
    ph_str ext;
    int rc;

    if (ph_maps_is_empty(maps))
        return PH_NONE;
    if (sender.n == 0 && ph_str_eq(null_key, PH_STR("<>")))
        rc = ph_maps_find(maps, null_key, s, val);
    else if ((rc = has_bare_keys(w, sender = sender.n ? sender : null_key)) >= 0)
        rc = ph_maps_find_address(maps, sender, w->p.delimiter, rc, s, val, &ext);
    return rc == PH_FOUND && ph_str_eq_nocase(*val, PH_STR("DUNNO")) ? PH_NONE : rc;
}

/* relayhost, by sender first. */
static int set_relayhost(struct rewriter *w, struct ph_scope *s, const struct routes *to, ph_str sender, struct resolved *r)
{
    ph_str host;
    int rc = by_sender(w, s, to->sender_relayhost, sender, w->p.null_relayhost_key, &host);

    if (rc < 0)
        return rc;
    if (rc == PH_FOUND && host.n) {
        r->nexthop = host;
    } else if (to->p->relayhost.n) {
        r->nexthop = to->p->relayhost;
        ph_why("relayhost", "next hop %.*s", PH_FMT(r->nexthop));
    }
    return 0;
}

static int route_default(struct rewriter *w, struct ph_scope *s, const struct routes *to, ph_str sender, struct resolved *r)
{
    ph_str value;
    int rc = set_relayhost(w, s, to, sender, r);

    if (rc < 0)
        return rc;
    rc = by_sender(w, s, to->sender_transport, sender, w->p.null_transport_key, &value);
    if (rc < 0)
        return rc;
    if (rc == PH_FOUND && value.n)
        rc = set_transport(r, "sender_dependent_default_transport_maps", value);
    else
        rc = set_transport(r, "default_transport", to->p->other);
    return rc;
}

static const char *const list_name[] = { "mydestination", "virtual_alias_domains", "virtual_mailbox_domains", "relay_domains" };

/* 1 the first time a domain of ours is seen, so that what follows costs nothing after that. */
static int is_new(struct rewriter *w, ph_str domain)
{
    if (!w->seen)
        w->seen = ph_map_new(w->scope);
    if (ph_map_get(w->seen, domain) || ph_map_count(w->seen) >= SEEN_MAX)
        return 0;
    ph_map_set(w->seen, domain, w);
    return 1;
}

/* A domain is in the list `first`, which holds; the administrator should know when
 * it is in a later one too.  A list that cannot be asked here decides nothing. */
static void warn_of_two(struct rewriter *w, ph_str domain, unsigned first)
{
    struct ph_match *const list[] = { w->mydestination, w->alias_domains, w->mailbox_domains, w->relay_domains };

    if (!is_new(w, domain))
        return;
    for (unsigned i = first + 1; i < (first ? 4 : 3); i++)     /* what is ours may be relayed too */
        if (ph_match(list[i], domain, PH_STR("")) == PH_FOUND)
            ph_log_warn("do not list domain %.*s in BOTH %s and %s", PH_FMT(domain), list_name[first], list_name[i]);
}

/* The class of a domain that is not local: 0, or negative. */
static int route_remote(struct rewriter *w, struct ph_scope *s, const struct routes *to, ph_str sender, ph_str domain, struct resolved *r)
{
    int rc;

    r->nexthop = domain;
    if ((rc = ph_match(w->alias_domains, domain, PH_STR(""))) == PH_FOUND) {
        r->class_ = "alias";
        ph_why("virtual_alias_domains", "class alias: each address must be an alias");
        warn_of_two(w, domain, 1);
        r->transport = PH_STR("error");
        r->nexthop = PH_STR("5.1.1 User unknown in virtual alias table");
        return 0;
    }
    if (rc > 0 && (rc = ph_match(w->mailbox_domains, domain, PH_STR(""))) == PH_FOUND) {
        r->class_ = "virtual";
        warn_of_two(w, domain, 2);
        return set_transport(r, "virtual_transport", to->p->virtual_);
    }
    if (rc > 0 && (rc = ph_match(w->relay_domains, domain, PH_STR(""))) == PH_FOUND) {
        r->class_ = "relay";
        if ((rc = set_relayhost(w, s, to, sender, r)) < 0)
            return rc;
        return set_transport(r, "relay_transport", to->p->relay);
    }
    if (rc < 0)
        return rc;
    r->class_ = "default";
    return route_default(w, s, to, sender, r);
}

/* The keys of transport(5): the address, the domain, its parents, "*". */
static int find_transport(struct rewriter *w, struct ph_scope *s, const struct routes *to, ph_str recipient, ph_str domain, ph_str *val)
{
    int rc = ph_maps_find_mailbox(to->transport, recipient, w->p.delimiter, s, val);

    for (ph_str key = ph_str_lower(s, domain); rc == PH_NONE && key.n; ) {
        rc = ph_maps_find_part(to->transport, key, s, val);
        if (key.p[0] == '[')
            break;                 /* a literal has no parents */
        ptrdiff_t dot = ph_str_find(ph_str_from(key, 1), '.');
        if (dot < 0)
            break;
        key = ph_str_from(key, (size_t)dot + (to->parents_directly ? 2 : 1));
    }
    return rc == PH_NONE ? ph_maps_find_part(to->transport, PH_STR("*"), s, val) : rc;
}

/* transport:nexthop; both empty: no change; empty next hop: the recipient's
 * domain; empty transport: only the next hop changes. */
static int override(struct rewriter *w, struct ph_scope *s, const struct routes *to, ph_str domain, struct resolved *r)
{
    ph_str value;

    if (ph_maps_is_empty(to->transport) || r->class_[0] == 'a')
        return 0;
    int rc = find_transport(w, s, to, r->recipient, domain, &value);
    if (rc != PH_FOUND)
        return rc < 0 ? rc : 0;
    ph_str transport = ph_str_trim(ph_str_cut(&value, ':')), nexthop = ph_str_trim(value);
    if (transport.n == 0 && nexthop.n == 0)
        return 0;
    if (transport.n) {
        r->transport = transport;
        r->nexthop = is_verdict(transport) ? undeliverable : domain;
    }
    if (nexthop.n)
        r->nexthop = nexthop;
    return 0;
}

static int check_moved(struct rewriter *w, struct ph_scope *s, struct resolved *r)
{
    ph_str where, ext;
    int local, rc;

    if (ph_maps_is_empty(w->relocated))
        return 0;
    if ((local = has_bare_keys(w, r->recipient)) < 0)
        return local;
    rc = ph_maps_find_address(w->relocated, r->recipient, w->p.delimiter, local, s, &where, &ext);
    if (rc == PH_FOUND) {
        r->transport = PH_STR("error");
        r->nexthop = w->p.relocated_prefix ? ph_str_printf(s, "5.1.6 User has moved to %.*s", PH_FMT(where)) : where;
    }
    return rc < 0 ? rc : 0;
}

static int refuse(struct ph_scope *s, const char *error, struct resolved *r)
{
    r->error = error;
    ph_why(NULL, "the address is not valid: %s", error);
    r->transport = PH_STR("error");
    r->nexthop = ph_str_printf(s, "5.1.3 Bad recipient address syntax: %s", error);
    return 0;
}

/* 0 and *parts, or negative. */
static int take_apart(struct rewriter *w, struct ph_scope *s, const struct question *ask, struct parts *parts)
{
    struct text t;

    text_of_internal(&t, s, ask->address, w->p.dequoted, w->p.myorigin.n + w->p.myhostname.n + w->p.mydomain.n + w->p.empty_recipient.n + 8);
    if (ask->complete && t.n) {
        rewrite_text(w, &t, ask->complete);
        if (t.n == 0) {            /* "@": nothing is left to complete, yet it is not the null address */
            *parts = (struct parts){ .error = "missing domain name" };
            return 0;
        }
    }
    return rewrite_apart(w, &t, parts);
}

int rewrite_resolve(struct rewriter *w, struct ph_scope *s, const struct question *ask, struct resolved *r)
{
    const struct routes *to = ask->probe ? &w->probe : &w->mail;
    struct parts parts;
    int rc;

    *r = (struct resolved){ .class_ = "default", .recipient = ask->address };
    if (ask->address.n > REWRITE_ADDRESS_MAX)
        return refuse(s, "address is too long", r);
    if (w->p.utf8 && !ph_str_is_ascii(ask->address) && !ph_str_is_utf8(ask->address))
        return refuse(s, "address is not UTF-8", r);
    if ((rc = take_apart(w, s, ask, &parts)) < 0)
        return rc;
    if (parts.error)
        return refuse(s, parts.error, r);
    r->recipient = ph_str_printf(s, "%.*s@%.*s", PH_FMT(parts.local), PH_FMT(parts.domain));
    r->routed = parts.routed;
    if (parts.is_local) {
        r->class_ = "local";
        r->nexthop = parts.domain;
        warn_of_two(w, parts.domain, 0);
        if ((rc = set_transport(r, "local_transport", to->p->local)) < 0)
            return rc;
    } else if ((rc = route_remote(w, s, to, ask->sender, parts.domain, r)) < 0) {
        return rc;
    }
    if ((rc = override(w, s, to, parts.domain, r)) < 0)
        return rc;
    if ((rc = check_moved(w, s, r)) < 0)
        return rc;
    /* One destination, however the domain is spelled; what was configured stays. */
    if (ph_str_eq(r->nexthop, parts.domain))
        r->nexthop = ph_str_lower(s, r->nexthop);
    return 0;
}
