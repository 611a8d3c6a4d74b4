/* rewrite: what the parts of the rewrite service share. */
#ifndef REWRITE_H
#define REWRITE_H

#include <posthorn/lookup.h>
#include <posthorn/net.h>
#include <posthorn/param.h>
#include "text.h"

/* Where mail goes, by class, and what overrides it: once for mail and once for
 * the probes of address verification. */
struct route_params {
    ph_str local, virtual_, relay, other, relayhost, transport_maps, sender_relayhost_maps, sender_transport_maps;
};

struct rewrite_params {
    ph_str myorigin, mydomain, myhostname, remote_domain, empty_recipient, delimiter, parent_matches;
    ph_str mydestination, inet_interfaces, proxy_interfaces;
    ph_str alias_domains, mailbox_domains, relay_domains;
    struct route_params mail, probe;
    ph_str null_relayhost_key, null_transport_key, relocated_maps;
    int32_t append_origin, append_domain, swap_bang, percent, dequoted, min_user, utf8, null_domain, numeric_domain, relocated_prefix, by_sender;
};

struct routes {
    const struct route_params *p;
    struct ph_maps *transport, *sender_relayhost, *sender_transport;
    int parents_directly;          /* transport_maps: example.com matches sub.example.com */
};

/* What incomplete addresses get: user@origin, user@host.domain; both may be empty. */
struct rewrite_context {
    ph_str origin, domain;
};

struct rewriter {
    struct rewrite_params p;
    struct ph_scope *scope;
    struct rewrite_context local, remote;
    struct ph_match *mydestination, *alias_domains, *mailbox_domains, *relay_domains;
    struct routes mail, probe;
    struct ph_maps *relocated;
    struct ph_ip *own;             /* addresses of our interfaces and proxies */
    size_t own_count;
    struct ph_map *seen;           /* domains of ours that were looked for in two lists */
};

/* Longer ones are no addresses (RFC 5321 4.5.3.1: 64 + 1 + 255; others allow more). */
#define REWRITE_ADDRESS_MAX 4096u
#define REWRITE_ROWS 43            /* known to the descriptor, which must be constant */
extern const struct ph_param rewrite_rows[REWRITE_ROWS];

/* Open every list and table: 0, or PH_CONF, PH_TEMP. */
int rewrite_setup(struct rewriter *w, struct ph_conf *conf, struct ph_scope *s);

/* 1 when the domain (not empty) is one of mydestination or a literal of our own,
 * 0 when not, negative: could not look. */
int rewrite_is_local(struct rewriter *w, ph_str domain) PH_YIELDS;

/* Complete an address in external form (RFC 822 appendix of the local
 * convention): source route dropped, bang and percent forms turned, origin and
 * domain appended.  Operators in quotes are none.  The result, in external form
 * and on s, is the one canonical spelling of it. */
ph_str rewrite_address(const struct rewriter *w, struct ph_scope *s, ph_str address, const struct rewrite_context *x);
/* The same in place. */
void rewrite_text(const struct rewriter *w, struct text *t, const struct rewrite_context *x);
/* Turn the outermost operator of a text without domain: 1, or 0 when there is none. */
int rewrite_turn(const struct rewriter *w, struct text *t);

/* What taking apart leaves. */
struct parts {
    ph_str local, domain;          /* never both empty but for an error */
    int is_local, routed;
    const char *error;
};

/* Take t apart (it is changed) until its domain is not ours: 0 and *out, or
 * negative when a list could not be asked.  Yields. */
int rewrite_apart(struct rewriter *w, struct text *t, struct parts *out) PH_YIELDS;

/* Where an address goes. */
struct resolved {
    ph_str transport, nexthop, recipient;
    const char *class_;            /* local alias virtual relay default */
    const char *error;             /* NULL, or why the address is invalid (permanent) */
    int routed;                    /* a routing operator is left in the local part */
};

/* What is asked. */
struct question {
    ph_str sender, address;        /* internal form */
    const struct rewrite_context *complete; /* NULL: the address is complete already */
    int probe;                     /* 1: for the probe of an address verification */
};

/* 0 and *r (views on s); PH_TEMP when a table could not be asked. */
int rewrite_resolve(struct rewriter *w, struct ph_scope *s, const struct question *ask, struct resolved *r) PH_YIELDS;

#endif
