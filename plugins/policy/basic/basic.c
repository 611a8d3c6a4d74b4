/* policy/basic: the restrictions every installation uses.  Reference:
 * man/posthorn_restrictions.5. */
#include <string.h>
#include <posthorn/address.h>
#include <posthorn/dns.h>
#include <posthorn/net.h>
#include "basic.h"

#define ST struct basic_params
static const struct ph_param rows[] = {
    PH_P_STR(ST, mynetworks, "mynetworks", "", "Clients that may relay: networks, files, tables."),
    PH_P_STR(ST, delimiter, "recipient_delimiter", "", "Characters that separate user and extension."),
    PH_P_STR1(ST, origin, "myorigin", "$myhostname", "Domain of addresses that have none."),
    PH_P_STR1(ST, null_key, "smtpd_null_access_lookup_key", "<>", "Key of the null sender in access tables."),
    PH_P_STR(ST, parent_matches, "parent_domain_matches_subdomains",
             "debug_peer_list,fast_flush_domains,mynetworks,permit_mx_backup_networks,qmqpd_authorized_clients,relay_domains,smtpd_access_maps",
             "Features where example.com matches its subdomains without a leading dot."),
    PH_P_STR1(ST, double_bounce, "double_bounce_sender", "double-bounce", "Sender of notices to the postmaster about undeliverable notices."),
    PH_P_STR(ST, local_rcpt, "local_recipient_maps", "proxy:unix:passwd.byname $alias_maps", "Tables of the recipients of mydestination; empty: all exist."),
    PH_P_STR(ST, virtual_maps, "virtual_mailbox_maps", "", "Tables of the recipients of virtual_mailbox_domains."),
    PH_P_STR(ST, relay_rcpt, "relay_recipient_maps", "", "Tables of the recipients of relay_domains; empty: all exist."),
    PH_P_STR(ST, alias_maps, "virtual_alias_maps", "$virtual_maps", "Tables of aliases."),
    PH_P_STR(ST, canonical, "canonical_maps", "", "Tables of other names of addresses: whom they have exists."),
    PH_P_STR(ST, rcpt_canonical, "recipient_canonical_maps", "", "The same of recipients."),
    PH_P_STR(ST, sender_canonical, "sender_canonical_maps", "", "The same of senders."),
    PH_P_INT(ST, relay_code, "relay_domains_reject_code", "554", 400, 599, "Code of the reply to a stranger who wants to relay."),
    PH_P_INT(ST, local_code, "unknown_local_recipient_reject_code", "550", 400, 599, "Code for an unknown local recipient."),
    PH_P_INT(ST, alias_code, "unknown_virtual_alias_reject_code", "550", 400, 599, "Code for an unknown alias."),
    PH_P_INT(ST, mailbox_code, "unknown_virtual_mailbox_reject_code", "550", 400, 599, "Code for an unknown virtual mailbox."),
    PH_P_INT(ST, relay_rcpt_code, "unknown_relay_recipient_reject_code", "550", 400, 599, "Code for an unknown relay recipient."),
    PH_P_INT(ST, non_fqdn_code, "non_fqdn_reject_code", "504", 400, 599, "Code for a name or address that is not fully qualified."),
    PH_P_INT(ST, invalid_code, "invalid_hostname_reject_code", "501", 400, 599, "Code for a malformed HELO name."),
    PH_P_INT(ST, unknown_client_code, "unknown_client_reject_code", "450", 400, 599, "Code for a client without a name."),
    PH_P_INT(ST, unknown_address_code, "unknown_address_reject_code", "450", 400, 599, "Code for a domain that does not exist."),
    PH_P_INT(ST, unknown_host_code, "unknown_hostname_reject_code", "450", 400, 599, "Code for a HELO name that does not exist."),
    PH_P_INT(ST, multi_code, "multi_recipient_bounce_reject_code", "550", 400, 599, "Code for a bounce to several recipients."),
    PH_P_STR1(ST, address_tempfail, "unknown_address_tempfail_action", "$reject_tempfail_action", "When a domain cannot be looked up now: defer_if_permit, or defer."),
    PH_P_STR1(ST, helo_tempfail, "unknown_helo_hostname_tempfail_action", "$reject_tempfail_action", "When a HELO name cannot be looked up now: defer_if_permit, or defer."),
    PH_P_BOOL(ST, show_table, "show_user_unknown_table_name", "yes", "Name the table in \"User unknown\"."),
    PH_P_BOOL(ST, untrusted_routing, "allow_untrusted_routing", "no", "Accept addresses that route on through us."),
};
#undef ST

/* A table that cannot be opened must not keep the server from answering 4xx for
 * the domains it belongs to, and 250 for the others. */
static int open_maps(struct ph_policy *p, const char *what, ph_str list, struct ph_maps **m)
{
    if (ph_maps_open(p->conf, p->scope, what, list, PH_MAPS_FOLD, m) < 0) {
        ph_log_warn("%s: recipients that need it are answered with 451", ph_error());
        *m = NULL;
    }
    return 0;
}

/* Tables that give another address for one: whoever has one there exists. */
static int open_address_maps(struct basic *b, struct ph_policy *p)
{
    struct ph_address_rules *rules;
    int rc = ph_address_rules_open(p->conf, p->scope, &rules);

    if (rc < 0 || (rc = ph_address_map_open(rules, "virtual_alias_maps", b->p.alias_maps, NULL, &b->aliases)) < 0 ||
        (rc = ph_address_map_open(rules, "canonical_maps", b->p.canonical, NULL, &b->canonical)) < 0 ||
        (rc = ph_address_map_open(rules, "recipient_canonical_maps", b->p.rcpt_canonical, NULL, &b->rcpt_canonical)) < 0)
        return rc;
    return ph_address_map_open(rules, "sender_canonical_maps", b->p.sender_canonical, NULL, &b->sender_canonical);
}

static int32_t basic_open(struct ph_policy *p)
{
    struct basic *b = ph_new(p->scope, struct basic);
    int rc = ph_params_load(p->conf, p->scope, rows, sizeof rows / sizeof *rows, sizeof *rows, &b->p);

    if (rc < 0)
        return rc;
    const uint32_t parents = ph_str_search(b->p.parent_matches, PH_STR("mynetworks")) >= 0 ? PH_MATCH_PARENT : 0;
    if ((rc = ph_match_open(p->conf, p->scope, "mynetworks", b->p.mynetworks, PH_MATCH_ADDRESS | PH_MATCH_DOMAIN | parents, &b->mynetworks)) < 0)
        return rc;
    b->parents = ph_str_search(b->p.parent_matches, PH_STR("smtpd_access_maps")) >= 0;
    if ((rc = ph_own_addresses(p->conf, p->scope, &b->own, &b->own_count)) < 0)
        return rc;
    open_maps(p, "local_recipient_maps", b->p.local_rcpt, &b->local_rcpt);
    open_maps(p, "virtual_mailbox_maps", b->p.virtual_maps, &b->virtual_maps);
    open_maps(p, "relay_recipient_maps", b->p.relay_rcpt, &b->relay_rcpt);
    p->self = b;
    return open_address_maps(b, p);
}

static int32_t basic_prepare(struct ph_restriction *r)
{
    struct ph_maps *m;

    if (r->argument.n == 0)
        return 0;
    int rc = ph_maps_open(r->policy->conf, r->policy->scope, r->name, r->argument, PH_MAPS_FOLD, &m);
    if (rc == 0)
        r->self = m;
    return rc;
}

static int answer(ph_str *action, ph_str text)
{
    *action = text;
    return PH_FOUND;
}

static int networks(struct ph_restriction *r, const struct ph_policy_facts *f, struct ph_scope *out PH_UNUSED, ph_str *action)
{
    struct basic *b = r->policy->self;

    *action = PH_STR("OK");
    return ph_match(b->mynetworks, f->client_name, f->client_address);
}

static int sasl(struct ph_restriction *r PH_UNUSED, const struct ph_policy_facts *f, struct ph_scope *out PH_UNUSED, ph_str *action)
{
    *action = PH_STR("OK");
    return f->sasl_username.n ? PH_FOUND : PH_NONE;
}

static int unauth(struct ph_restriction *r, const struct ph_policy_facts *f, struct ph_scope *out, ph_str *action)
{
    return check_unauth(r, f, out, action, r->name);
}

static int unlisted_recipient(struct ph_restriction *r, const struct ph_policy_facts *f, struct ph_scope *out, ph_str *action)
{
    return check_unlisted(r, f, out, action, 0);
}

static int unlisted_sender(struct ph_restriction *r, const struct ph_policy_facts *f, struct ph_scope *out, ph_str *action)
{
    return check_unlisted(r, f, out, action, 1);
}

static int is_literal(ph_str name) { return name.n && name.p[0] == '['; }

static int non_fqdn_address(struct ph_restriction *r, const struct ph_policy_facts *f, struct ph_scope *out, ph_str *action)
{
    struct basic *b = r->policy->self;
    int sender = strcmp(r->name, "reject_non_fqdn_sender") == 0;
    ph_str address = sender ? f->sender : f->recipient, local, domain;

    if (address.n == 0)
        return PH_NONE;
    ph_address_split(address, &local, &domain);
    int ok = is_literal(domain) ? ph_domain_literal_valid(domain) : ph_hostname_valid(domain) && ph_str_find(domain, '.') > 0;
    if (ok)
        return PH_NONE;
    return answer(action, ph_str_printf(out, "%lld %c.5.2 <%.*s>: %s address rejected: need fully-qualified address", (long long)b->p.non_fqdn_code,
                                        b->p.non_fqdn_code < 500 ? '4' : '5', PH_FMT(ph_str_first(address, 200)), sender ? "Sender" : "Recipient"));
}

const char *basic_tempfail(ph_str action)
{
    return ph_str_eq_nocase(action, PH_STR("defer_if_permit")) ? "DEFER_IF_PERMIT " : "";
}

/* Neither MX nor address: PH_FOUND with *code and words. */
static int domain_missing(struct ph_scope *out, ph_str domain, const char **why)
{
    struct ph_dns_answer a;
    int rc = ph_dns_find_mx(out, domain, &a);

    if (rc == PH_FOUND && a.count == 1 && (a.mx[0].host.n == 0 || ph_str_eq(a.mx[0].host, PH_STR(".")))) {
        *why = "null";
        return PH_FOUND;
    }
    *why = "Domain not found";
    if (rc == PH_FOUND)
        return PH_NONE;
    if (rc < 0 || a.why == PH_DNS_NXDOMAIN)
        return rc < 0 ? rc : PH_FOUND;
    if ((rc = ph_dns_find_a(out, domain, &a)) != PH_NONE || (rc = ph_dns_find_aaaa(out, domain, &a)) != PH_NONE)
        return rc < 0 ? rc : PH_NONE;
    return PH_FOUND;
}

static int unknown_domain(struct ph_restriction *r, const struct ph_policy_facts *f, struct ph_scope *out, ph_str *action)
{
    struct basic *b = r->policy->self;
    int sender = strcmp(r->name, "reject_unknown_sender_domain") == 0;
    ph_str address = sender ? f->sender : f->recipient, local, domain;
    struct destination d;
    const char *why, *label = sender ? "Sender" : "Recipient", *dsn = sender ? "1.8" : "1.2";

    ph_address_split(address, &local, &domain);
    if (domain.n == 0 || is_literal(domain))
        return PH_NONE;
    int rc = basic_resolve(out, f->sender, address, &d);
    if (rc < 0 || !ph_str_eq(d.class_, PH_STR("default")))
        return rc < 0 ? rc : PH_NONE;
    rc = domain_missing(out, domain, &why);
    if (rc == PH_CANCEL || rc == PH_NONE)
        return rc;
    if (rc < 0 && rc != PH_PERM)
        return answer(action, ph_str_printf(out, "%s450 4.%s <%.*s>: %s address rejected: Domain not found", basic_tempfail(b->p.address_tempfail), dsn,
                                            PH_FMT(ph_str_first(address, 200)), label));
    if (rc == PH_PERM)
        why = "Malformed DNS server reply";
    if (strcmp(why, "null") == 0)
        return answer(action, ph_str_printf(out, "%s <%.*s>: %s address rejected: Domain %.*s does not accept mail (nullMX)",
                                            sender ? "550 5.7.27" : "556 5.1.10", PH_FMT(ph_str_first(address, 200)), label, PH_FMT(domain)));
    int64_t code = b->p.unknown_address_code;
    return answer(action, ph_str_printf(out, "%lld %c.%s <%.*s>: %s address rejected: %s", (long long)code, code < 500 ? '4' : '5', dsn,
                                        PH_FMT(ph_str_first(address, 200)), label, why));
}

static int multi_bounce(struct ph_restriction *r, const struct ph_policy_facts *f, struct ph_scope *out, ph_str *action)
{
    const struct basic *b = r->policy->self;

    if (!f->has_sender || f->sender.n || f->recipient_count < 2)
        return PH_NONE;
    return answer(action, ph_str_printf(out, "%lld %c.5.3 <%.*s>: Multi-recipient bounce", (long long)b->p.multi_code, b->p.multi_code < 500 ? '4' : '5',
                                        PH_FMT(ph_str_first(f->recipient, 200))));
}

#define TABLE "type:table"
static const struct ph_policy_name names[] = {
    { "permit_mynetworks", NULL, PH_STAGE_CONNECT, 0 }, { "permit_sasl_authenticated", NULL, 0, 0 },
    { "reject_unauth_destination", NULL, PH_STAGE_RCPT, 0 }, { "defer_unauth_destination", NULL, PH_STAGE_RCPT, 0 },
    { "permit_auth_destination", NULL, PH_STAGE_RCPT, 0 }, { "reject_unlisted_recipient", NULL, PH_STAGE_RCPT, 0 },
    { "reject_unlisted_sender", NULL, PH_STAGE_MAIL, 0 }, { "check_client_access", TABLE, PH_STAGE_CONNECT, 0 },
    { "check_reverse_client_hostname_access", TABLE, PH_STAGE_CONNECT, 0 }, { "check_helo_access", TABLE, PH_STAGE_HELO, 0 },
    { "check_sender_access", TABLE, PH_STAGE_MAIL, 0 }, { "check_recipient_access", TABLE, PH_STAGE_RCPT, 0 },
    { "reject_unknown_client_hostname", NULL, PH_STAGE_CONNECT, 0 }, { "reject_unknown_reverse_client_hostname", NULL, PH_STAGE_CONNECT, 0 },
    { "reject_invalid_helo_hostname", NULL, PH_STAGE_HELO, 0 }, { "reject_non_fqdn_helo_hostname", NULL, PH_STAGE_HELO, 0 },
    { "reject_non_fqdn_sender", NULL, PH_STAGE_MAIL, 0 }, { "reject_non_fqdn_recipient", NULL, PH_STAGE_RCPT, 0 },
    { "reject_unknown_sender_domain", NULL, PH_STAGE_MAIL, 0 }, { "reject_unknown_recipient_domain", NULL, PH_STAGE_RCPT, 0 },
    { "reject_multi_recipient_bounce", NULL, PH_STAGE_DATA, 0 }, { "check_etrn_access", TABLE, PH_STAGE_ETRN, 0 },
    { "permit_inet_interfaces", NULL, PH_STAGE_CONNECT, 0 }, { "reject_unknown_helo_hostname", NULL, PH_STAGE_HELO, 0 },
    /* The names of before Postfix 2.3. */
    { "reject_unknown_client", NULL, PH_STAGE_CONNECT, 0 }, { "reject_invalid_hostname", NULL, PH_STAGE_HELO, 0 },
    { "reject_non_fqdn_hostname", NULL, PH_STAGE_HELO, 0 }, { "reject_unknown_hostname", NULL, PH_STAGE_HELO, 0 },
};

static const struct { const char *name; int (*run)(struct ph_restriction *r, const struct ph_policy_facts *f, struct ph_scope *out, ph_str *action); } checks[] = {
    { "permit_mynetworks", networks }, { "permit_sasl_authenticated", sasl }, { "reject_unauth_destination", unauth }, { "defer_unauth_destination", unauth },
    { "permit_auth_destination", unauth }, { "reject_unlisted_recipient", unlisted_recipient }, { "reject_unlisted_sender", unlisted_sender },
    { "permit_inet_interfaces", check_own_client },
    { "reject_unknown_client_hostname", check_unknown_client }, { "reject_unknown_client", check_unknown_client },
    { "reject_unknown_reverse_client_hostname", check_unknown_client }, { "reject_invalid_helo_hostname", check_helo_syntax },
    { "reject_invalid_hostname", check_helo_syntax }, { "reject_non_fqdn_helo_hostname", check_helo_syntax },
    { "reject_non_fqdn_hostname", check_helo_syntax }, { "reject_unknown_helo_hostname", check_helo_known },
    { "reject_unknown_hostname", check_helo_known }, { "reject_non_fqdn_sender", non_fqdn_address },
    { "reject_non_fqdn_recipient", non_fqdn_address }, { "reject_unknown_sender_domain", unknown_domain }, { "reject_unknown_recipient_domain", unknown_domain },
    { "reject_multi_recipient_bounce", multi_bounce },
};

static int32_t basic_check(struct ph_restriction *r, const struct ph_policy_facts *f, struct ph_scope *out, ph_str *action)
{
    if (r->argument.n)
        return check_access(r, f, out, action);
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
        if (strcmp(checks[i].name, r->name) == 0)
            return checks[i].run(r, f, out, action);
    return ph_fail(PH_TEMP, "no such restriction");
}

PH_PLUGIN_POLICY(basic, PH_IS(.summary = "the restrictions every installation uses", .exec = PH_COROUTINE, .concurrency = PH_MANY_CALLS, .params = rows,
                              .param_count = sizeof rows / sizeof *rows),
    .names = names,
    .name_count = sizeof names / sizeof *names,
    .open = basic_open,
    .prepare = basic_prepare,
    .check = basic_check);
