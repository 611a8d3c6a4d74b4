/* dns: the questions callers ask.  See posthorn/dns.h. */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <posthorn/buf.h>
#include <posthorn/error.h>
#include "core/net/dns.h"

/* A bad name is not in the DNS: no server need be asked. */
static int not_a_name(struct ph_dns_answer *a)
{
    a->why = PH_DNS_NXDOMAIN;
    return PH_NONE;
}

static int find(struct ph_scope *s, ph_str name, int type, struct ph_dns_answer *a)
{
    ph_str packet;
    int rcode;

    memset(a, 0, sizeof *a);
    a->canonical = name;
    if (!ph_dns_name_ok(name))
        return not_a_name(a);
    int rc = ph_dns_query(s, name, type, &packet, &rcode, &a->secure);
    if (rc < 0) {
        a->why = PH_DNS_TEMP;
        return rc;
    }
    /* Some failures come as a code alone. */
    if (rcode == 3 && packet.n == 0)
        return not_a_name(a);
    if (rcode != 0 && rcode != 3) {
        a->why = PH_DNS_TEMP;
        return ph_fail(PH_TEMP, "the name servers gave no answer (code %d)", rcode);
    }
    return ph_dns_parse(s, packet, name, type, a);
}

static int by_preference(const void *x, const void *y)
{
    const struct ph_dns_mx *a = x, *b = y;

    if (a->preference != b->preference)
        return a->preference < b->preference ? -1 : 1;
    return a->pad < b->pad ? -1 : a->pad > b->pad;
}

/* RFC 5321 5.1: equals in random order, so that the load is shared. */
static void sort_mx(struct ph_dns_answer *a)
{
    for (uint32_t i = 0; i < a->count; i++)
        if (getrandom(&a->mx[i].pad, sizeof a->mx[i].pad, GRND_NONBLOCK) != sizeof a->mx[i].pad)
            a->mx[i].pad = i;
    qsort(a->mx, a->count, sizeof *a->mx, by_preference);
    for (uint32_t i = 0; i < a->count; i++)
        a->mx[i].pad = 0;
}

int ph_dns_find_mx(struct ph_scope *s, ph_str domain, struct ph_dns_answer *a)
{
    int rc = find(s, domain, PH_DNS_MX, a);

    if (rc == PH_FOUND)
        sort_mx(a);
    return rc;
}

int ph_dns_find_a(struct ph_scope *s, ph_str host, struct ph_dns_answer *a)
{
    return find(s, host, PH_DNS_A, a);
}

int ph_dns_find_aaaa(struct ph_scope *s, ph_str host, struct ph_dns_answer *a)
{
    return find(s, host, PH_DNS_AAAA, a);
}

int ph_dns_find_txt(struct ph_scope *s, ph_str name, struct ph_dns_answer *a)
{
    return find(s, name, PH_DNS_TXT, a);
}

/* 4.3.2.1.in-addr.arpa, RFC 1035 3.5; nibbles under ip6.arpa, RFC 3596 2.5. */
int ph_dns_find_ptr(struct ph_scope *s, const struct ph_ip *ip, struct ph_dns_answer *a)
{
    struct ph_buf name;

    ph_buf_init(&name, s, PH_DNS_NAME_MAX);
    if (ip->family == 4) {
        ph_buf_printf(&name, "%u.%u.%u.%u.in-addr.arpa", ip->bytes[3], ip->bytes[2], ip->bytes[1], ip->bytes[0]);
    } else {
        for (int i = 15; i >= 0; i--)
            ph_buf_printf(&name, "%x.%x.", ip->bytes[i] & 15u, (unsigned)ip->bytes[i] >> 4);
        ph_buf_puts(&name, "ip6.arpa");
    }
    return find(s, ph_buf_view(&name), PH_DNS_PTR, a);
}
