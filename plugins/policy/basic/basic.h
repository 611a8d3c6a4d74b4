/* basic: what the restrictions of this plugin share. */
#ifndef BASIC_H
#define BASIC_H

#include <posthorn/address_map.h>
#include <posthorn/lookup.h>
#include <posthorn/net.h>
#include <posthorn/policy.h>

struct basic_params {
    ph_str mynetworks, delimiter, null_key, origin, parent_matches, double_bounce;
    ph_str local_rcpt, virtual_maps, relay_rcpt, alias_maps, canonical, rcpt_canonical, sender_canonical;
    ph_str address_tempfail, helo_tempfail;
    int64_t relay_code, local_code, alias_code, mailbox_code, relay_rcpt_code, non_fqdn_code, invalid_code, unknown_client_code, unknown_address_code,
        unknown_host_code, multi_code;
    int32_t show_table, untrusted_routing;
};

struct basic {
    struct basic_params p;
    struct ph_match *mynetworks;
    struct ph_maps *local_rcpt, *virtual_maps, *relay_rcpt;   /* NULL: could not be opened */
    struct ph_address_map *aliases, *canonical, *rcpt_canonical, *sender_canonical;   /* NULL: there is none */
    struct ph_ip *own;             /* inet_interfaces */
    size_t own_count;
    int parents;                   /* access tables: example.com matches sub.example.com */
};

/* address.c: what rewrite says of an address. */
struct destination {
    ph_str transport, nexthop, recipient, class_;
    int invalid, routed;
};
int basic_resolve(struct ph_scope *s, ph_str sender, ph_str address, struct destination *d) PH_YIELDS;

/* Each check: see ph_policy_plugin.check. */
int check_access(struct ph_restriction *r, const struct ph_policy_facts *f, struct ph_scope *out, ph_str *action) PH_YIELDS;
int check_unauth(struct ph_restriction *r, const struct ph_policy_facts *f, struct ph_scope *out, ph_str *action, const char *what) PH_YIELDS;
int check_unlisted(struct ph_restriction *r, const struct ph_policy_facts *f, struct ph_scope *out, ph_str *action, int sender) PH_YIELDS;

/* client.c */
int check_own_client(struct ph_restriction *r, const struct ph_policy_facts *f, struct ph_scope *out, ph_str *action);
int check_unknown_client(struct ph_restriction *r, const struct ph_policy_facts *f, struct ph_scope *out, ph_str *action);
int check_helo_syntax(struct ph_restriction *r, const struct ph_policy_facts *f, struct ph_scope *out, ph_str *action);
int check_helo_known(struct ph_restriction *r, const struct ph_policy_facts *f, struct ph_scope *out, ph_str *action) PH_YIELDS;
/* What stands in front of an action that follows from a failed look-up. */
const char *basic_tempfail(ph_str action);

#endif
