/* posthorn/dns.h: DNS through libunbound on our loop.  Servers: parameter
 * dns_servers, else resolv.conf.  Names go in and come out in ASCII form. */
#ifndef POSTHORN_DNS_H
#define POSTHORN_DNS_H

#include <posthorn/net.h>

PH_BEGIN

/* Why there is no answer (besides PH_NONE: the name or type does not exist). */
#define PH_DNS_NXDOMAIN 1
#define PH_DNS_NODATA   2
#define PH_DNS_TEMP     3      /* SERVFAIL, timeout */
#define PH_DNS_BAD      4      /* malformed data */

struct ph_dns_mx { ph_str host; uint32_t preference; uint32_t pad; };

struct ph_dns_answer {
    uint32_t why;              /* PH_DNS_* when there are none */
    uint32_t secure;           /* 1: validated by DNSSEC */
    uint32_t count;
    uint32_t pad;
    struct ph_dns_mx *mx;      /* MX: sorted by preference, order among equals random */
    struct ph_ip *ip;          /* A, AAAA */
    ph_str *text;              /* PTR names, TXT strings */
    ph_str canonical;          /* end of the CNAME chain */
};

/* Each: PH_FOUND, PH_NONE (answer->why says NXDOMAIN or NODATA), PH_TEMP,
 * PH_PERM (why is PH_DNS_BAD), PH_CANCEL, PH_TIMEOUT.  A record that is
 * malformed is left out when others are good; at most 100 are given.  *a is
 * filled on the scope in every case.  Yields. */
int ph_dns_find_mx(struct ph_scope *s, ph_str domain, struct ph_dns_answer *a) PH_YIELDS;
int ph_dns_find_a(struct ph_scope *s, ph_str host, struct ph_dns_answer *a) PH_YIELDS;
int ph_dns_find_aaaa(struct ph_scope *s, ph_str host, struct ph_dns_answer *a) PH_YIELDS;
int ph_dns_find_ptr(struct ph_scope *s, const struct ph_ip *ip, struct ph_dns_answer *a) PH_YIELDS;
int ph_dns_find_txt(struct ph_scope *s, ph_str name, struct ph_dns_answer *a) PH_YIELDS;
/* Addresses of a host through nsswitch (/etc/hosts): smtp_host_lookup = native.
 * Runs in the disk pool, so nothing that a stranger can ask for as often as he
 * likes comes here: names of clients are looked up in the DNS only. */
int ph_host_find(struct ph_scope *s, ph_str host, struct ph_dns_answer *a) PH_YIELDS;

/* The ASCII form of a domain in UTF-8, RFC 5891 (one in ASCII is its own): 0
 * and *out, on s or the given view; PH_PERM: it has none. */
int ph_domain_ascii(struct ph_scope *s, ph_str domain, ph_str *out);

PH_END
#endif
