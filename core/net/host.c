/* host: addresses of a name through nsswitch (/etc/hosts, and what else this
 * machine asks).  getaddrinfo blocks, so it runs in the disk pool. */
#include <netdb.h>
#include <string.h>
#include <posthorn/disk.h>
#include <posthorn/error.h>
#include "core/net/dns.h"
#include "core/net/sockaddr.h"

struct ask {
    const char *name;
    struct addrinfo *all;
    int err;
};

static int ask(void *arg)
{
    struct ask *q = arg;
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };

    q->err = getaddrinfo(q->name, NULL, &hints, &q->all);
    return 0;
}

static void keep(struct ph_scope *s, const struct addrinfo *all, struct ph_dns_answer *a)
{
    struct ph_ip ip;

    a->ip = ph_alloc_array(s, PH_DNS_RECORDS_MAX, sizeof *a->ip);
    for (const struct addrinfo *i = all; i && a->count < PH_DNS_RECORDS_MAX; i = i->ai_next)
        if (ph_sockaddr_to_ip(i->ai_addr, &ip, NULL))
            a->ip[a->count++] = ip;
}

static int is_no_such_host(int err)
{
#ifdef EAI_NODATA
    if (err == EAI_NODATA)
        return 1;
#endif
    return err == EAI_NONAME;
}

int ph_host_find(struct ph_scope *s, ph_str host, struct ph_dns_answer *a)
{
    struct ask q = { 0 };
    int rc;

    memset(a, 0, sizeof *a);
    a->canonical = host;
    if (!ph_dns_name_ok(host)) {
        a->why = PH_DNS_NXDOMAIN;
        return PH_NONE;
    }
    q.name = ph_cstr_dup(s, host);
    if ((rc = ph_disk(ask, &q)) < 0) {
        a->why = PH_DNS_TEMP;
        return rc;
    }
    if (q.err == 0) {
        keep(s, q.all, a);
        freeaddrinfo(q.all);
    }
    if (a->count)
        return PH_FOUND;
    if (q.err == 0 || is_no_such_host(q.err)) {
        a->why = q.err == EAI_NONAME ? PH_DNS_NXDOMAIN : PH_DNS_NODATA;
        return PH_NONE;
    }
    a->why = PH_DNS_TEMP;
    return ph_fail(PH_TEMP, "%s: %s", q.name, gai_strerror(q.err));
}
