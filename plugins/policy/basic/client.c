/* client: who the client is and what it calls itself. */
#include <string.h>
#include <posthorn/address.h>
#include <posthorn/dns.h>
#include <posthorn/error.h>
#include <posthorn/net.h>
#include "basic.h"

static int is_literal(ph_str name) { return name.n && name.p[0] == '['; }

/* permit_inet_interfaces: the machine itself. */
int check_own_client(struct ph_restriction *r, const struct ph_policy_facts *f, struct ph_scope *out PH_UNUSED, ph_str *action)
{
    const struct basic *b = r->policy->self;
    struct ph_ip ip = { 0 };

    if (!ph_ip_parse(f->client_address, &ip) || !ph_ip_is_among(&ip, b->own, b->own_count))
        return PH_NONE;
    *action = PH_STR("OK");
    return PH_FOUND;
}

/* reject_unknown_client_hostname, reject_unknown_reverse_client_hostname. */
int check_unknown_client(struct ph_restriction *r, const struct ph_policy_facts *f, struct ph_scope *out, ph_str *action)
{
    const struct basic *b = r->policy->self;
    int reverse = strstr(r->name, "reverse") != NULL;

    if (!ph_str_eq(reverse ? f->reverse_name : f->client_name, PH_STR("unknown")))
        return PH_NONE;
    int64_t code = ph_str_eq(reverse ? f->reverse_name_status : f->client_name_status, PH_STR("TEMP")) ? 450 : b->p.unknown_client_code;
    *action = ph_str_printf(out, "%lld %c.7.%s Client host rejected: cannot find your %shostname, [%.*s]", (long long)code, code < 500 ? '4' : '5',
                            reverse ? "1" : "25", reverse ? "reverse " : "", PH_FMT(f->client_address));
    return PH_FOUND;
}

static int refuse_helo(ph_str *action, struct ph_scope *out, ph_str helo, int64_t code, const char *dsn, const char *why)
{
    *action = ph_str_printf(out, "%lld %c.%s <%.*s>: Helo command rejected: %s", (long long)code, code < 500 ? '4' : '5', dsn, PH_FMT(helo), why);
    return PH_FOUND;
}

/* reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname. */
int check_helo_syntax(struct ph_restriction *r, const struct ph_policy_facts *f, struct ph_scope *out, ph_str *action)
{
    const struct basic *b = r->policy->self;
    struct ph_ip ip;
    int fqdn = strstr(r->name, "fqdn") != NULL, ok;

    if (!f->has_helo)
        return PH_NONE;
    if (is_literal(f->helo))
        return ph_domain_literal_valid(f->helo) ? PH_NONE : refuse_helo(action, out, f->helo, b->p.invalid_code, "5.2", "invalid ip address");
    ok = ph_hostname_valid(f->helo) && (!fqdn || (ph_str_find(f->helo, '.') > 0 && !ph_ip_parse(f->helo, &ip)));
    if (ok)
        return PH_NONE;
    return fqdn ? refuse_helo(action, out, f->helo, b->p.non_fqdn_code, "5.2", "need fully-qualified hostname")
                : refuse_helo(action, out, f->helo, b->p.invalid_code, "5.2", "Invalid name");
}

/* reject_unknown_helo_hostname: neither A, AAAA nor MX. */
int check_helo_known(struct ph_restriction *r, const struct ph_policy_facts *f, struct ph_scope *out, ph_str *action)
{
    const struct basic *b = r->policy->self;
    struct ph_dns_answer a;
    int rc;

    if (!f->has_helo)
        return PH_NONE;
    if (is_literal(f->helo))
        return ph_domain_literal_valid(f->helo) ? PH_NONE : refuse_helo(action, out, f->helo, b->p.invalid_code, "5.2", "invalid ip address");
    if (!ph_hostname_valid(f->helo))
        return refuse_helo(action, out, f->helo, b->p.unknown_host_code, "7.1", "Host not found");
    if ((rc = ph_dns_find_a(out, f->helo, &a)) == PH_NONE && (rc = ph_dns_find_aaaa(out, f->helo, &a)) == PH_NONE)
        rc = ph_dns_find_mx(out, f->helo, &a);
    if (rc == PH_FOUND || rc == PH_CANCEL)
        return rc == PH_FOUND ? PH_NONE : rc;
    if (rc == PH_NONE)
        return refuse_helo(action, out, f->helo, b->p.unknown_host_code, "7.1", "Host not found");
    *action = ph_str_printf(out, "%s450 4.7.1 <%.*s>: Helo command rejected: Host not found", basic_tempfail(b->p.helo_tempfail), PH_FMT(f->helo));
    return PH_FOUND;
}
