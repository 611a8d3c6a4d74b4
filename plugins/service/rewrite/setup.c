/* setup: parameters, lists and our own addresses. */
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "rewrite.h"

#define ST struct rewrite_params
const struct ph_param rewrite_rows[REWRITE_ROWS] = {
    PH_P_STR1(ST, myorigin, "myorigin", "$myhostname", "Domain of addresses that have none."),
    PH_P_STR(ST, mydomain, "mydomain", "", "Our domain."),
    PH_P_STR1(ST, myhostname, "myhostname", "", "Our host name."),
    PH_P_STR(ST, remote_domain, "remote_header_rewrite_domain", "", "Domain appended to incomplete header addresses of remote clients; empty: their headers are left alone."),
    PH_P_STR1(ST, empty_recipient, "empty_address_recipient", "MAILER-DAEMON", "Recipient in place of the null address."),
    PH_P_STR(ST, delimiter, "recipient_delimiter", "", "Characters that separate user and extension."),
    PH_P_STR(ST, parent_matches, "parent_domain_matches_subdomains",
             "debug_peer_list,fast_flush_domains,mynetworks,permit_mx_backup_networks,qmqpd_authorized_clients,relay_domains,smtpd_access_maps",
             "Features where example.com matches its subdomains without a leading dot."),
    PH_P_STR(ST, mydestination, "mydestination", "$myhostname, localhost.$mydomain, localhost", "Domains delivered through local_transport."),
    PH_P_STR(ST, inet_interfaces, "inet_interfaces", "all", "Interfaces that receive mail."),
    PH_P_STR(ST, proxy_interfaces, "proxy_interfaces", "", "Addresses on which we receive mail by way of a proxy."),
    PH_P_STR(ST, alias_domains, "virtual_alias_domains", "$virtual_alias_maps", "Domains whose every address is an alias."),
    PH_P_STR(ST, mailbox_domains, "virtual_mailbox_domains", "$virtual_mailbox_maps", "Domains delivered through virtual_transport."),
    PH_P_STR(ST, relay_domains, "relay_domains", "${{$compatibility_level} <level {2} ? {$mydestination} : {}}", "Domains relayed for anybody."),
    PH_P_STR1(ST, mail.local, "local_transport", "local:$myhostname", "Transport of mydestination."),
    PH_P_STR1(ST, mail.virtual_, "virtual_transport", "virtual", "Transport of virtual_mailbox_domains."),
    PH_P_STR1(ST, mail.relay, "relay_transport", "relay", "Transport of relay_domains."),
    PH_P_STR1(ST, mail.other, "default_transport", "smtp", "Transport of all other domains."),
    PH_P_STR(ST, mail.relayhost, "relayhost", "", "Next hop of remote mail; empty: the recipient's domain."),
    PH_P_STR(ST, mail.transport_maps, "transport_maps", "", "Tables that choose transport and next hop by recipient."),
    PH_P_STR(ST, mail.sender_relayhost_maps, "sender_dependent_relayhost_maps", "", "Tables that choose relayhost by sender."),
    PH_P_STR(ST, mail.sender_transport_maps, "sender_dependent_default_transport_maps", "", "Tables that choose default_transport by sender."),
    PH_P_STR1(ST, probe.local, "address_verify_local_transport", "$local_transport", "The same for probes of verify."),
    PH_P_STR1(ST, probe.virtual_, "address_verify_virtual_transport", "$virtual_transport", "The same for probes of verify."),
    PH_P_STR1(ST, probe.relay, "address_verify_relay_transport", "$relay_transport", "The same for probes of verify."),
    PH_P_STR1(ST, probe.other, "address_verify_default_transport", "$default_transport", "The same for probes of verify."),
    PH_P_STR(ST, probe.relayhost, "address_verify_relayhost", "$relayhost", "The same for probes of verify."),
    PH_P_STR(ST, probe.transport_maps, "address_verify_transport_maps", "$transport_maps", "The same for probes of verify."),
    PH_P_STR(ST, probe.sender_relayhost_maps, "address_verify_sender_dependent_relayhost_maps", "$sender_dependent_relayhost_maps", "The same for probes of verify."),
    PH_P_STR(ST, probe.sender_transport_maps, "address_verify_sender_dependent_default_transport_maps", "$sender_dependent_default_transport_maps",
             "The same for probes of verify."),
    PH_P_STR1(ST, null_relayhost_key, "empty_address_relayhost_maps_lookup_key", "<>", "Key of the null sender in sender_dependent_relayhost_maps."),
    PH_P_STR1(ST, null_transport_key, "empty_address_default_transport_maps_lookup_key", "<>", "Key of the null sender in sender_dependent_default_transport_maps."),
    PH_P_STR(ST, relocated_maps, "relocated_maps", "", "Tables of users that moved."),
    PH_P_BOOL(ST, append_origin, "append_at_myorigin", "yes", "Complete user to user@$myorigin."),
    PH_P_BOOL(ST, append_domain, "append_dot_mydomain", "${{$compatibility_level} <level {1} ? {yes} : {no}}", "Complete user@host to user@host.$mydomain."),
    PH_P_BOOL(ST, swap_bang, "swap_bangpath", "yes", "Turn site!user into user@site."),
    PH_P_BOOL(ST, percent, "allow_percent_hack", "yes", "Turn user%domain into user@domain."),
    PH_P_BOOL(ST, min_user, "allow_min_user", "no", "Let recipients begin with a minus sign, which programs may take for an option."),
    PH_P_BOOL(ST, utf8, "smtputf8_enable", "yes", "Domains may be in UTF-8; an address that is not UTF-8 is none."),
    PH_P_BOOL(ST, dequoted, "resolve_dequoted_address", "yes", "See routing operators inside quoted local parts too, which is safe if not correct."),
    PH_P_BOOL(ST, null_domain, "resolve_null_domain", "no", "Take user@ for user instead of refusing it."),
    PH_P_BOOL(ST, numeric_domain, "resolve_numeric_domain", "no", "Take user@1.2.3.4 for user@[1.2.3.4] instead of refusing it."),
    PH_P_BOOL(ST, relocated_prefix, "relocated_prefix_enable", "yes", "Put \"5.1.6 User has moved to\" in front of the text from relocated_maps."),
    PH_P_BOOL(ST, by_sender, "sender_based_routing", "no", "Obsolete and without effect: sender_dependent_relayhost_maps does it."),
};
#undef ST
_Static_assert(sizeof rewrite_rows == REWRITE_ROWS * sizeof(struct ph_param), "count the rows");

/* 1 when the feature is named in parent_domain_matches_subdomains. */
static int parents(const struct rewriter *w, const char *feature)
{
    ph_str list = w->p.parent_matches, word;

    while ((word = ph_str_list(&list)).n)
        if (ph_str_eq(word, ph_cstr(feature)))
            return 1;
    return 0;
}

/* Domains of ours are listed one by one: no name stands for those below it. */
static int open_ours(struct rewriter *w, struct ph_conf *c, const char *what, ph_str list, struct ph_match **m)
{
    return ph_match_open(c, w->scope, what, list, PH_MATCH_STRING, m);
}

/* Routes: no part of an address may become one ($1 in pattern tables). */
static int open_maps(struct rewriter *w, struct ph_conf *c, const char *what, ph_str list, struct ph_maps **m)
{
    return ph_maps_open(c, w->scope, what, list, PH_MAPS_FOLD | PH_MAPS_LITERAL, m);
}

static int open_lists(struct rewriter *w, struct ph_conf *c)
{
    const struct rewrite_params *p = &w->p;
    int rc;

    if ((rc = open_ours(w, c, "mydestination", p->mydestination, &w->mydestination)) < 0 ||
        (rc = open_ours(w, c, "virtual_alias_domains", p->alias_domains, &w->alias_domains)) < 0 ||
        (rc = open_ours(w, c, "virtual_mailbox_domains", p->mailbox_domains, &w->mailbox_domains)) < 0 ||
        (rc = ph_match_open(c, w->scope, "relay_domains", p->relay_domains, PH_MATCH_DOMAIN | (parents(w, "relay_domains") ? PH_MATCH_PARENT : 0),
                            &w->relay_domains)) < 0)
        return rc;
    return ph_maps_open(c, w->scope, "relocated_maps", p->relocated_maps, PH_MAPS_FOLD, &w->relocated);
}

static int open_mail(struct rewriter *w, struct ph_conf *c)
{
    const struct route_params *p = &w->p.mail;
    int rc;

    w->mail = (struct routes){ .p = p, .parents_directly = parents(w, "transport_maps") };
    if ((rc = open_maps(w, c, "transport_maps", p->transport_maps, &w->mail.transport)) < 0 ||
        (rc = open_maps(w, c, "sender_dependent_relayhost_maps", p->sender_relayhost_maps, &w->mail.sender_relayhost)) < 0)
        return rc;
    return open_maps(w, c, "sender_dependent_default_transport_maps", p->sender_transport_maps, &w->mail.sender_transport);
}

/* A list that is the same as that of mail is opened once. */
static int open_probe_maps(struct rewriter *w, struct ph_conf *c, const char *what, ph_str list, ph_str mail, struct ph_maps *same, struct ph_maps **m)
{
    *m = same;
    return ph_str_eq(list, mail) ? 0 : open_maps(w, c, what, list, m);
}

static int open_probe(struct rewriter *w, struct ph_conf *c)
{
    const struct route_params *p = &w->p.probe, *m = &w->p.mail;
    int rc;

    w->probe = (struct routes){ .p = p, .parents_directly = parents(w, "transport_maps") };
    if ((rc = open_probe_maps(w, c, "address_verify_transport_maps", p->transport_maps, m->transport_maps, w->mail.transport, &w->probe.transport)) < 0 ||
        (rc = open_probe_maps(w, c, "address_verify_sender_dependent_relayhost_maps", p->sender_relayhost_maps, m->sender_relayhost_maps,
                              w->mail.sender_relayhost, &w->probe.sender_relayhost)) < 0)
        return rc;
    return open_probe_maps(w, c, "address_verify_sender_dependent_default_transport_maps", p->sender_transport_maps, m->sender_transport_maps,
                           w->mail.sender_transport, &w->probe.sender_transport);
}

int rewrite_setup(struct rewriter *w, struct ph_conf *c, struct ph_scope *s)
{
    struct rewrite_params *p = &w->p;
    int rc;

    w->scope = s;
    if ((rc = ph_params_load(c, s, rewrite_rows, REWRITE_ROWS, sizeof *rewrite_rows, p)) < 0 || (rc = ph_own_addresses(c, s, &w->own, &w->own_count)) < 0 ||
        (rc = open_lists(w, c)) < 0 || (rc = open_mail(w, c)) < 0)
        return rc;
    w->local = (struct rewrite_context){ p->myorigin, p->mydomain };
    w->remote = (struct rewrite_context){ p->remote_domain, p->remote_domain };
    if (p->by_sender)
        ph_log_warn("sender_based_routing has no effect; use sender_dependent_relayhost_maps");
    return open_probe(w, c);
}
