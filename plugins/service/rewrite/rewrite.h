/* rewrite: what the parts of the rewrite service share.
 *
 * Addresses are in internal form throughout: a routing operator inside a
 * quoted local part is seen like one outside, which is what the relay guard
 * wants (resolve_dequoted_address = yes). */
#ifndef REWRITE_H
#define REWRITE_H

#include <posthorn/lookup.h>
#include <posthorn/net.h>
#include <posthorn/param.h>

struct rewrite_params {
    ph_str myorigin, mydomain, myhostname, remote_domain, empty_recipient, delimiter, parent_matches;
    ph_str mydestination, inet_interfaces, proxy_interfaces;
    ph_str alias_domains, mailbox_domains, relay_domains;
    ph_str local_transport, virtual_transport, relay_transport, default_transport;
    ph_str relayhost, transport_maps, sender_relayhost_maps, sender_transport_maps, null_relayhost_key, null_transport_key, relocated_maps;
    int32_t append_origin, append_domain, swap_bang, percent, null_domain, numeric_domain, relocated_prefix;
};

struct rewriter {
    struct rewrite_params p;
    struct ph_scope *scope;
    struct ph_match *mydestination, *alias_domains, *mailbox_domains, *relay_domains;
    struct ph_maps *transport_maps, *sender_relayhost, *sender_transport, *relocated;
    struct ph_ip *own;             /* addresses of our interfaces and proxies */
    size_t own_count;
    int32_t warned_of_two;         /* said once that a domain has two classes */
    int32_t parents_directly;      /* transport_maps: example.com matches sub.example.com */
};

/* Longer ones are no addresses (RFC 5321 4.5.3.1: 64 + 1 + 255; others allow more). */
#define REWRITE_ADDRESS_MAX 4096u
#define REWRITE_ROWS 31            /* known to the descriptor, which must be constant */
extern const struct ph_param rewrite_rows[REWRITE_ROWS];

/* Open every list and table: 0, or PH_CONF, PH_TEMP. */
int rewrite_setup(struct rewriter *w, struct ph_conf *conf, struct ph_scope *s);
/* 1 when the domain literal [ip] is one of our own addresses. */
int rewrite_is_own(const struct rewriter *w, const struct ph_ip *ip);

/* Complete an address (RFC 822 appendix of the local convention): source route
 * dropped, bang and percent forms turned, origin and domain appended.  origin
 * may be empty: nothing is appended then.  Result on s. */
ph_str rewrite_address(const struct rewriter *w, struct ph_scope *s, ph_str address, ph_str origin);

/* Where an address goes. */
struct resolved {
    ph_str transport, nexthop, recipient;
    const char *class_;            /* local alias virtual relay default */
    const char *error;             /* NULL, or why the address is invalid (permanent) */
    int routed;                    /* a routing operator is left in the local part */
};

/* 0 and *r (views on s); PH_TEMP when a table could not be asked. */
int rewrite_resolve(struct rewriter *w, struct ph_scope *s, ph_str sender, ph_str address, struct resolved *r);

#endif
