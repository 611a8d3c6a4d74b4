/* target: from a next hop to addresses to connect to, RFC 5321 5.1. */
#include <string.h>
#include <posthorn/address.h>
#include <posthorn/dns.h>
#include "smtp.h"

/* What the look-ups of one destination met. */
struct search {
    struct smtp_job *j;
    struct smtp_hosts *out;
    ph_str host;                   /* the destination without brackets and port */
    unsigned port;
    int temporary;                 /* some query got no answer */
    ph_str name;                   /* of the failure to report */
    const char *type, *detail;
};

static const char malformed[] = "Malformed or unexpected name server reply";

static int is_dns_off(const struct smtp *self)
{
    return ph_str_eq_nocase(self->p.dns_support, PH_STR("disabled"));
}

static void note_failure(struct search *x, ph_str name, const char *type, int rc, const struct ph_dns_answer *a)
{
    int temporary = rc < 0 && a->why != PH_DNS_BAD;

    if (x->temporary && !temporary)
        return;                    /* a temporary failure decides, and gives the words */
    x->temporary |= temporary;
    x->name = name;
    x->type = type;
    x->detail = temporary ? "Host not found, try again" : a->why == PH_DNS_BAD ? malformed :
                a->why == PH_DNS_NODATA ? "Host found but no data record of requested type" : "Host not found";
}

static void add_host(struct search *x, ph_str name, const struct ph_ip *ip, uint32_t preference)
{
    smtp_hosts_add(x->j->agent, x->out, name, ip, x->port, preference);
}

static size_t add_answer(struct search *x, ph_str name, const struct ph_dns_answer *a, uint32_t preference)
{
    size_t before = x->out->n;

    for (uint32_t i = 0; i < a->count; i++)
        add_host(x, name, &a->ip[i], preference);
    return x->out->n - before;
}

static size_t find_in_dns(struct search *x, ph_str name, uint32_t preference)
{
    struct ph_dns_answer a;
    size_t found = 0;
    int rc;

    if (x->j->agent->use_ipv6) {
        memset(&a, 0, sizeof a);
        if ((rc = ph_dns_find_aaaa(x->j->scope, name, &a)) == PH_FOUND)
            found += add_answer(x, name, &a, preference);
        else
            note_failure(x, name, "AAAA", rc, &a);
    }
    if (x->j->agent->use_ipv4) {   /* last, so that its failure is the one told */
        memset(&a, 0, sizeof a);
        if ((rc = ph_dns_find_a(x->j->scope, name, &a)) == PH_FOUND)
            found += add_answer(x, name, &a, preference);
        else
            note_failure(x, name, "A", rc, &a);
    }
    return found;
}

static size_t find_addresses(struct search *x, ph_str name, uint32_t preference)
{
    ph_str list = is_dns_off(x->j->agent) ? PH_STR("native") : x->j->agent->p.host_lookup;
    struct ph_ip ip;
    size_t found = 0;

    if (ph_ip_parse(name, &ip)) {
        add_host(x, name, &ip, preference);
        return 1;
    }
    for (ph_str w; found == 0 && (w = ph_str_list(&list)).n;)
        if (ph_str_eq_nocase(w, PH_STR("native"))) {
            struct ph_dns_answer a = { 0 };
            int rc = ph_host_find(x->j->scope, name, &a);

            if (rc == PH_FOUND)
                found = add_answer(x, name, &a, preference);
            else
                note_failure(x, name, "A", rc, &a);
        } else {
            found = find_in_dns(x, name, preference);
        }
    return found;
}

static int is_null_mx(const struct ph_dns_answer *a)
{
    return a->count == 1 && (a->mx[0].host.n == 0 || ph_str_eq(a->mx[0].host, PH_STR(".")));
}

/* RFC 7505. */
static struct smtp_verdict *null_mx(struct smtp_job *j, ph_str domain)
{
    return smtp_verdict(j, PH_RCPT_BOUNCED, "5.1.0", "Domain %.*s does not accept mail (nullMX)", PH_FMT(domain));
}

/* A wildcard is a name like any other; an address is none. */
static int is_mx_host(ph_str name)
{
    struct ph_ip ip;

    return ph_hostname_valid(ph_str_starts(name, PH_STR("*.")) ? ph_str_from(name, 2) : name) && !ph_ip_parse(name, &ip);
}

/* Hosts of a domain: NULL, or why there is nothing to look for. */
static struct smtp_verdict *find_mx(struct search *x, ph_str domain, int *from_mx)
{
    struct ph_dns_answer a = { 0 };
    int rc = ph_dns_find_mx(x->j->scope, domain, &a);

    *from_mx = 0;
    if (rc == PH_FOUND && is_null_mx(&a))
        return null_mx(x->j, domain);
    if (rc == PH_FOUND) {
        *from_mx = 1;
        for (uint32_t i = 0; i < a.count && i < SMTP_MAX_HOSTS; i++)
            if (is_mx_host(a.mx[i].host))
                find_addresses(x, a.mx[i].host, a.mx[i].preference);
            else
                note_failure(x, domain, "MX", PH_PERM, &(struct ph_dns_answer){ .why = PH_DNS_BAD });
        return NULL;
    }
    if (rc < 0 && !x->j->agent->p.ignore_mx_error) {
        note_failure(x, domain, "MX", rc, &a);
        return NULL;
    }
    find_addresses(x, domain, 0);
    return NULL;
}

/* Mail for the relay itself would only bounce the same way: our mistake. */
static int is_relayhost(const struct smtp_job *j, ph_str dest)
{
    ph_str list = j->agent->relayhost;

    for (ph_str w; (w = ph_str_list(&list)).n;)
        if (ph_str_eq_nocase(dest, w))
            return 1;
    return 0;
}

static struct smtp_verdict *not_found(const struct search *x, ph_str dest, int from_mx)
{
    struct smtp_job *j = x->j;
    int temporary = x->temporary;
    const char *dsn = temporary ? "4.4.3" : "5.4.4";
    struct smtp_verdict *v;

    if (!temporary && is_relayhost(j, dest)) {
        ph_log_warn("relayhost configuration problem");
        temporary = 1;
        dsn = "4.3.5";
    } else if (!temporary && from_mx && j->agent->p.defer_no_address) {
        temporary = 1;
        dsn = "4.4.4";
    }
    v = smtp_verdict(j, temporary ? PH_RCPT_DEFERRED : PH_RCPT_BOUNCED, dsn, "%sName service error for name=%.*s type=%s: %s",
                     x->detail == malformed ? "" : "Host or domain name not found. ", PH_FMT(x->name), x->type, x->detail);
    v->dead_site = x->temporary;
    return v;
}

static struct smtp_verdict *bad_destination(struct smtp_job *j, ph_str dest, const char *what)
{
    ph_log_warn("%s in next hop \"%.*s\"", what, PH_FMT(dest));
    return smtp_verdict(j, PH_RCPT_DEFERRED, "4.3.5", "%s in next hop \"%.*s\"", what, PH_FMT(dest));
}

static void make_room(struct search *x, size_t cap)
{
    x->out->cap = cap;
    x->out->at = ph_alloc_array(x->j->scope, cap, sizeof *x->out->at);
}

static struct smtp_verdict *search_socket(struct search *x, ph_str dest, ph_str path)
{
    if (!path.n || path.n > 90)
        return bad_destination(x->j, dest, "bad socket path");
    make_room(x, 1);
    x->out->at[x->out->n++] = (struct smtp_host){ .name = x->j->agent->hostname, .path = path };
    return NULL;
}

/* By name: MX only of a domain, and LMTP never asks for it. */
static struct smtp_verdict *search_name(struct search *x, ph_str host, int literal, int *from_mx)
{
    const struct smtp *self = x->j->agent;
    int no_mx = literal || self->lmtp || is_dns_off(self);

    if (ph_domain_ascii(x->j->scope, host, &host) < 0 || !ph_hostname_valid(host)) {
        x->name = host;
        x->detail = malformed;
        x->type = no_mx ? "A" : "MX";
        return NULL;
    }
    x->name = host = ph_str_lower(x->j->scope, host);
    if (!no_mx)
        return find_mx(x, host, from_mx);
    find_addresses(x, host, 0);
    return NULL;
}

/* Fill x->out; NULL, or why not. */
static struct smtp_verdict *search(struct search *x, ph_str dest, int *from_mx)
{
    ph_str host, port;
    struct ph_ip ip;
    int literal;

    if (x->j->agent->lmtp && ph_str_starts(dest, PH_STR("unix:")))
        return search_socket(x, dest, ph_str_from(dest, 5));
    if (!ph_hostport_parse(dest, &host, &port, &literal) || !host.n)
        return bad_destination(x->j, dest, "bad syntax");
    x->port = port.n ? ph_port_parse(port) : x->j->agent->port;
    if (!x->port)
        return bad_destination(x->j, dest, "unknown service");
    x->host = host;
    if (literal && ph_ip_parse(host, &ip)) {
        make_room(x, 1);
        add_host(x, ph_ip_format(x->j->scope, &ip), &ip, 0);
        x->name = host;
        return NULL;
    }
    make_room(x, SMTP_MAX_HOSTS);
    return search_name(x, host, literal, from_mx);
}

int smtp_find_hosts(struct smtp_job *j, ph_str dest, struct smtp_hosts *out, struct smtp_verdict **why, int *is_self)
{
    struct search x = { .j = j, .out = out, .name = dest, .type = "A", .detail = "Host not found" };
    int from_mx = 0;

    *out = (struct smtp_hosts){ 0 };
    *is_self = 0;
    if ((*why = search(&x, dest, &from_mx)))
        return PH_TEMP;
    if (out->n == 0) {
        *why = not_found(&x, dest, from_mx);
        return PH_TEMP;
    }
    smtp_hosts_sort(out);
    *is_self = smtp_hosts_drop_ourselves(j->agent, out);
    if (out->n == 0) {
        *why = smtp_verdict(j, PH_RCPT_BOUNCED, "5.4.6", "mail for %.*s loops back to myself", PH_FMT(x.host));
        return PH_TEMP;
    }
    smtp_hosts_truncate(out, (size_t)j->agent->p.address_limit, j->agent->p.balance);
    return 0;
}
