/* target: from a next hop to addresses to connect to, RFC 5321 5.1. */
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <posthorn/address.h>
#include <posthorn/dns.h>
#include "smtp.h"

/* splitmix64: the order of equal hosts needs no secret. */
static uint64_t next_random(struct smtp *self)
{
    uint64_t z = self->random += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int same_ip(const struct ph_ip *a, const struct ph_ip *b)
{
    return a->family == b->family && memcmp(a->bytes, b->bytes, a->family == 6 ? 16 : 4) == 0;
}

static void add_ours(struct smtp *self, const struct ph_ip *ip)
{
    if (self->our_count < SMTP_OUR_ADDRESSES)
        self->ours[self->our_count++] = *ip;
}

static int ip_of_sockaddr(const struct sockaddr *sa, struct ph_ip *ip)
{
    memset(ip, 0, sizeof *ip);
    if (sa && sa->sa_family == AF_INET) {
        ip->family = 4;
        memcpy(ip->bytes, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
    } else if (sa && sa->sa_family == AF_INET6) {
        ip->family = 6;
        memcpy(ip->bytes, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
    }
    return ip->family != 0;
}

static void add_interfaces(struct smtp *self)
{
    struct ifaddrs *all;
    struct ph_ip ip;

    if (getifaddrs(&all) < 0) {
        ph_log_warn("cannot list the network interfaces: mail loops are not seen");
        return;
    }
    for (struct ifaddrs *a = all; a; a = a->ifa_next)
        if (ip_of_sockaddr(a->ifa_addr, &ip))
            add_ours(self, &ip);
    freeifaddrs(all);
}

static void add_named(struct smtp *self, ph_str name)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *all;
    struct ph_ip ip;

    if (ph_ip_parse(name, &ip)) {
        add_ours(self, &ip);
        return;
    }
    if (getaddrinfo(ph_cstr_dup(self->scope, name), NULL, &hints, &all) != 0) {
        ph_log_warn("inet_interfaces, proxy_interfaces: no address for %.*s", PH_FMT(name));
        return;
    }
    for (struct addrinfo *a = all; a; a = a->ai_next)
        if (ip_of_sockaddr(a->ai_addr, &ip))
            add_ours(self, &ip);
    freeaddrinfo(all);
}

static void add_list(struct smtp *self, ph_str list)
{
    for (ph_str w; (w = ph_str_list(&list)).n;)
        if (ph_str_eq_nocase(w, PH_STR("all")))
            add_interfaces(self);
        else if (ph_str_eq_nocase(w, PH_STR("loopback-only"))) {
            add_named(self, PH_STR("127.0.0.1"));
            add_named(self, PH_STR("::1"));
        } else
            add_named(self, w);
}

int smtp_find_ours(struct smtp *self)
{
    const struct smtp_params *p = &self->p;
    ph_str list = p->inet_protocols;

    for (ph_str w; (w = ph_str_list(&list)).n;) {
        int all = ph_str_eq_nocase(w, PH_STR("all"));

        self->use_ipv4 |= all || ph_str_eq_nocase(w, PH_STR("ipv4"));
        self->use_ipv6 |= all || ph_str_eq_nocase(w, PH_STR("ipv6"));
    }
    if (!self->use_ipv4 && !self->use_ipv6)
        return ph_fail(PH_CONF, "inet_protocols: \"%.*s\" names no protocol (all, ipv4, ipv6)", PH_FMT(p->inet_protocols));
    if (p->bind_address.n && (!ph_ip_parse(p->bind_address, &self->bind4) || self->bind4.family != 4))
        return ph_fail(PH_CONF, "smtp_bind_address: \"%.*s\" is no IPv4 address", PH_FMT(p->bind_address));
    if (p->bind_address6.n && (!ph_ip_parse(p->bind_address6, &self->bind6) || self->bind6.family != 6))
        return ph_fail(PH_CONF, "smtp_bind_address6: \"%.*s\" is no IPv6 address", PH_FMT(p->bind_address6));
    if (!(self->port = ph_port_parse(p->tcp_port)))
        return ph_fail(PH_CONF, "smtp_tcp_port: \"%.*s\" is no port", PH_FMT(p->tcp_port));
    if (getrandom(&self->random, sizeof self->random, GRND_NONBLOCK) < 0)
        self->random = (uint64_t)ph_wall_us();
    add_list(self, p->inet_interfaces);
    add_list(self, p->proxy_interfaces);
    return 0;
}

/* What the look-ups of one destination met. */
struct search {
    struct smtp_job *j;
    struct smtp_hosts *out;
    unsigned port;
    int temporary;                 /* some query got no answer */
    ph_str name;                   /* of the failure to report */
    const char *type, *detail;
};

static void note_failure(struct search *x, ph_str name, const char *type, int rc, const struct ph_dns_answer *a)
{
    int temporary = rc < 0 && a->why != PH_DNS_BAD;

    if (x->temporary && !temporary)
        return;                    /* a temporary failure decides, and gives the words */
    x->temporary |= temporary;
    x->name = name;
    x->type = type;
    x->detail = temporary ? "Host not found, try again" : a->why == PH_DNS_BAD ? "Malformed or unexpected name server reply" :
                a->why == PH_DNS_NODATA ? "Host found but no data record of requested type" : "Host not found";
}

static void add_host(struct search *x, ph_str name, const struct ph_ip *ip, uint32_t preference)
{
    struct smtp_hosts *h = x->out;
    struct smtp *self = x->j->agent;
    ph_str want = self->p.address_preference;

    if (h->n == h->cap || (ip->family == 6 ? !self->use_ipv6 : !self->use_ipv4))
        return;
    struct smtp_host *host = &h->at[h->n++];
    *host = (struct smtp_host){ .name = name, .ip = *ip, .port = x->port, .preference = preference };
    host->order = self->p.randomize ? next_random(self) >> 2 : (uint64_t)h->n;
    if (ph_str_eq_nocase(want, PH_STR("ipv4")) || ph_str_eq_nocase(want, PH_STR("ipv6")))
        host->order |= (uint64_t)(ip->family != (uint32_t)(want.p[3] - '0')) << 63;
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
    ph_str list = x->j->agent->p.host_lookup;
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
            if (ph_hostname_valid(a.mx[i].host))
                find_addresses(x, a.mx[i].host, a.mx[i].preference);
        return NULL;
    }
    if (rc < 0 && !x->j->agent->p.ignore_mx_error) {
        note_failure(x, domain, "MX", rc, &a);
        return NULL;
    }
    find_addresses(x, domain, 0);
    return NULL;
}

static int cmp_hosts(const void *a, const void *b)
{
    const struct smtp_host *x = a, *y = b;

    if (x->preference != y->preference)
        return x->preference < y->preference ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

/* Drop ourselves and whoever is not better: 1 when that was done.  Another
 * port is another program (a content filter), not a loop. */
static int drop_ourselves(const struct smtp *self, struct smtp_hosts *h)
{
    for (size_t i = 0; i < h->n; i++)
        for (size_t k = 0; k < self->our_count; k++)
            if (h->at[i].port == self->port && same_ip(&h->at[i].ip, &self->ours[k])) {
                uint32_t worst = h->at[i].preference;

                while (i && h->at[i - 1].preference == worst)
                    i--;
                h->n = i;
                return 1;
            }
    return 0;
}

/* At most `limit`, in order, with both families when there are both. */
static void truncate_hosts(struct smtp_hosts *h, size_t limit, int balance)
{
    size_t n6 = 0, kept = 0, left[2];

    if (limit == 0 || h->n <= limit)
        return;
    for (size_t i = 0; i < h->n; i++)
        n6 += h->at[i].ip.family == 6;
    size_t n4 = h->n - n6, half = limit / 2;
    left[1] = n6 < half ? n6 : half;
    left[0] = limit - left[1];
    if (left[0] > n4) {
        left[0] = n4;
        left[1] = limit - n4;
    }
    if (!balance || limit < 2)
        left[0] = left[1] = limit;
    for (size_t i = 0; i < h->n && kept < limit; i++) {
        size_t *quota = &left[h->at[i].ip.family == 6];

        if (*quota) {
            --*quota;
            h->at[kept++] = h->at[i];
        }
    }
    h->n = kept;
}

/* Mail for the relay itself would only bounce the same way: our mistake. */
static int is_relayhost(const struct smtp_job *j, ph_str dest)
{
    return j->agent->p.relayhost.n && ph_str_eq_nocase(dest, j->agent->p.relayhost);
}

static struct smtp_verdict *not_found(const struct search *x, ph_str dest, int from_mx)
{
    struct smtp_job *j = x->j;
    int temporary = x->temporary, malformed = strncmp(x->detail, "Malformed", 9) == 0;
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
                     malformed ? "" : "Host or domain name not found. ", PH_FMT(x->name), x->type, x->detail);
    v->dead_site = x->temporary;
    return v;
}

static struct smtp_verdict *bad_destination(struct smtp_job *j, ph_str dest, const char *what)
{
    ph_log_warn("%s in next hop \"%.*s\"", what, PH_FMT(dest));
    return smtp_verdict(j, PH_RCPT_DEFERRED, "4.3.5", "%s in next hop \"%.*s\"", what, PH_FMT(dest));
}

/* Fill x->out; NULL, or why not. */
static struct smtp_verdict *search(struct search *x, ph_str dest, int *from_mx)
{
    ph_str host, port;
    int literal;

    if (!ph_hostport_parse(dest, &host, &port, &literal) || !host.n)
        return bad_destination(x->j, dest, "bad syntax");
    x->port = port.n ? ph_port_parse(port) : x->j->agent->port;
    if (!x->port)
        return bad_destination(x->j, dest, "unknown service");
    struct ph_ip ip;
    if (literal && ph_ip_parse(host, &ip)) {
        add_host(x, ph_ip_format(x->j->scope, &ip), &ip, 0);
        x->name = host;
        return NULL;
    }
    x->name = host = ph_str_lower(x->j->scope, host);
    if (!ph_hostname_valid(host)) {
        x->detail = "Malformed or unexpected name server reply";
        x->type = literal ? "A" : "MX";
        return NULL;
    }
    if (literal) {
        find_addresses(x, host, 0);
        return NULL;
    }
    return find_mx(x, host, from_mx);
}

int smtp_find_hosts(struct smtp_job *j, ph_str dest, struct smtp_hosts *out, struct smtp_verdict **why, int *is_self)
{
    struct search x = { .j = j, .out = out, .name = dest, .type = "A", .detail = "Host not found" };
    int from_mx = 0;

    out->n = 0;
    out->cap = SMTP_MAX_HOSTS;
    out->at = ph_alloc_array(j->scope, out->cap, sizeof *out->at);
    *is_self = 0;
    if ((*why = search(&x, dest, &from_mx)))
        return PH_TEMP;
    if (out->n == 0) {
        *why = not_found(&x, dest, from_mx);
        return PH_TEMP;
    }
    qsort(out->at, out->n, sizeof *out->at, cmp_hosts);
    *is_self = drop_ourselves(j->agent, out);
    if (out->n == 0) {
        *why = smtp_verdict(j, PH_RCPT_BOUNCED, "5.4.6", "mail for %.*s loops back to myself", PH_FMT(dest));
        return PH_TEMP;
    }
    truncate_hosts(out, (size_t)j->agent->p.address_limit, j->agent->p.balance);
    return 0;
}
