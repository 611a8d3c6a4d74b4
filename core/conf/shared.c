/* shared: the parameters whose default is found out, not written: the host's
 * name and domain, the networks it trusts, and what the program is. */
#include <ifaddrs.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <net/if.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <unistd.h>
#include "core/conf/internal.h"

/* The kernel's name of the host, asked once per configuration. */
static ph_str kernel_host(struct ph_conf *c)
{
    char name[256];

    if (!c->host) {
        if (gethostname(name, sizeof name) < 0)
            name[0] = 0;
        name[sizeof name - 1] = 0;
        c->host = ph_cstr_dup(c->scope, ph_cstr(name[0] ? name : "localhost"));
    }
    return ph_cstr(c->host);
}

static ph_str domain_of(ph_str host)
{
    ptrdiff_t dot = ph_str_find(host, '.');

    return dot < 0 ? PH_STR("localdomain") : ph_str_from(host, (size_t)dot + 1);
}

/* A name without a dot gets the domain; both may refer to each other. */
static int find_myhostname(struct ph_conf *c, struct ph_scope *s, ph_str *text)
{
    ph_str host = kernel_host(c);

    *text = ph_str_find(host, '.') >= 0 ? host : ph_str_printf(s, "%.*s.$mydomain", PH_FMT(host));
    return 0;
}

static int find_mydomain(struct ph_conf *c, struct ph_scope *s, ph_str *text)
{
    const struct entry *e = ph_conf_find(c, PH_STR("myhostname"));
    ph_str host = kernel_host(c);
    int rc = 0;

    if (e && !c->finding_domain) {
        c->finding_domain = 1;             /* myhostname = host.$mydomain comes back here */
        rc = ph_conf_expand_at(c, s, e->name, e->value, e, &host);
        c->finding_domain = 0;
    }
    if (rc == 0)
        *text = domain_of(host);
    return rc;
}

/* Bits of the network of an interface's address. */
static unsigned mask_bits(const struct sockaddr *mask, unsigned full)
{
    const unsigned char *p;
    unsigned bits = 0, bytes = full / 8;

    if (!mask)
        return full;
    p = full == 32 ? (const unsigned char *)&((const struct sockaddr_in *)(const void *)mask)->sin_addr
                   : (const unsigned char *)&((const struct sockaddr_in6 *)(const void *)mask)->sin6_addr;
    for (unsigned i = 0; i < bytes * 8 && (p[i / 8] & (0x80u >> (i % 8))); i++)
        bits++;
    return bits;
}

static unsigned class_bits(const unsigned char *address)
{
    return address[0] < 128 ? 8 : address[0] < 192 ? 16 : 24;
}

/* One address as a network of the style: host, subnet or class. */
static void put_network(struct ph_buf *out, const struct ifaddrs *i, ph_str style)
{
    int v6 = i->ifa_addr->sa_family == AF_INET6;
    unsigned full = v6 ? 128 : 32, bits = full;
    unsigned char address[16] = { 0 };
    char text[INET6_ADDRSTRLEN];
    ph_str seen = ph_buf_view(out);
    PH_SCOPED(step, NULL);

    if (v6)
        memcpy(address, &((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr, 16);
    else
        memcpy(address, &((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr, 4);
    if (ph_str_eq(style, PH_STR("class")) && !v6)
        bits = class_bits(address);
    else if (!ph_str_eq(style, PH_STR("host")))
        bits = mask_bits(i->ifa_netmask, full);
    for (unsigned b = bits; b < full; b++)
        address[b / 8] &= (unsigned char)~(0x80u >> (b % 8));
    inet_ntop(i->ifa_addr->sa_family, address, text, sizeof text);
    ph_str one = ph_str_printf(step, v6 ? " [%s]/%u " : " %s/%u ", text, bits);

    /* The list is built as " a b c " so that a repeated network is found. */
    if (ph_str_search(seen, one) < 0)
        ph_buf_str(out, seen.n ? ph_str_from(one, 1) : one);
}

/* 1 when the address is one that inet_interfaces names. */
static int is_listed(ph_str interfaces, const struct ifaddrs *i)
{
    char host[NI_MAXHOST];
    socklen_t n = i->ifa_addr->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    ph_str rest = interfaces, word;

    if (getnameinfo(i->ifa_addr, n, host, sizeof host, NULL, 0, NI_NUMERICHOST) != 0)
        return 0;
    while ((word = ph_str_list(&rest)).n) {
        if (word.n > 2 && word.p[0] == '[')
            word = (ph_str){ word.p + 1, word.n - 2 };
        if (ph_str_eq_nocase(word, PH_STR("all")) || ph_str_eq_nocase(word, ph_cstr(host)))
            return 1;
        if ((ph_str_eq_nocase(word, PH_STR("loopback-only")) || ph_str_eq_nocase(word, PH_STR("localhost"))) &&
            (i->ifa_flags & IFF_LOOPBACK))
            return 1;
    }
    return 0;
}

static int has_protocol(ph_str protocols, int family)
{
    ph_str rest = protocols, word;

    while ((word = ph_str_list(&rest)).n)
        if (ph_str_eq_nocase(word, PH_STR("all")) ||
            ph_str_eq_nocase(word, family == AF_INET ? PH_STR("ipv4") : PH_STR("ipv6")))
            return 1;
    return 0;
}

/* What mynetworks is made from.  These may be set to anything, to $mynetworks too. */
static int networks_settings(struct ph_conf *c, struct ph_scope *s, ph_str *style, ph_str *interfaces, ph_str *protocols)
{
    int rc;

    c->finding_networks = 1;
    if ((rc = ph_conf_get(c, s, "mynetworks_style", style)) >= 0 && (rc = ph_conf_get(c, s, "inet_interfaces", interfaces)) >= 0)
        rc = ph_conf_get(c, s, "inet_protocols", protocols);
    c->finding_networks = 0;
    return rc;
}

static int bad_style(const struct ph_conf *c, ph_str style)
{
    struct ph_place place = { 0 };
    ph_str text;

    (void)ph_conf_raw_set(c, PH_STR("mynetworks_style"), &text, &place);
    return ph_conf_fail_at(place, "bad value of mynetworks_style: %.*s (host, subnet or class)", PH_FMT(style));
}

static int find_mynetworks(struct ph_conf *c, struct ph_scope *s, ph_str *text)
{
    ph_str style, interfaces, protocols;
    struct ifaddrs *list = NULL;
    struct ph_buf out;
    int rc;

    if ((rc = networks_settings(c, s, &style, &interfaces, &protocols)) < 0)
        return rc;
    if (!ph_str_eq(style, PH_STR("host")) && !ph_str_eq(style, PH_STR("subnet")) && !ph_str_eq(style, PH_STR("class")))
        return bad_style(c, style);
    ph_buf_init(&out, s, PH_CONF_VALUE_MAX);
    if (getifaddrs(&list) == 0)
        for (const struct ifaddrs *i = list; i; i = i->ifa_next)
            if (i->ifa_addr && (i->ifa_addr->sa_family == AF_INET || i->ifa_addr->sa_family == AF_INET6) &&
                (i->ifa_flags & IFF_UP) &&
                has_protocol(protocols, i->ifa_addr->sa_family) && is_listed(interfaces, i))
                put_network(&out, i, style);
    freeifaddrs(list);
    *text = ph_str_trim(ph_buf_view(&out));
    return 0;
}

const char *ph_conf_circle(const struct ph_conf *c, ph_str name)
{
    if (!c->finding_networks || !ph_str_eq(name, PH_STR("mynetworks")) || ph_conf_find(c, name))
        return NULL;
    return "the default of mynetworks comes from mynetworks_style, inet_interfaces and inet_protocols: none of these can refer to it";
}

int ph_conf_computed(struct ph_conf *c, struct ph_scope *s, ph_str name, ph_str *text)
{
    if (ph_str_eq(name, PH_STR("myhostname")))
        return find_myhostname(c, s, text);
    if (ph_str_eq(name, PH_STR("mydomain")))
        return find_mydomain(c, s, text);
    if (ph_str_eq(name, PH_STR("mynetworks")))
        return find_mynetworks(c, s, text);
    if (ph_str_eq(name, PH_STR("config_directory")))
        *text = ph_cstr(c->dir);
    else if (ph_str_eq(name, PH_STR("process_name")))
        *text = ph_cstr(c->process_name);
    else if (ph_str_eq(name, PH_STR("service_name")))
        *text = ph_cstr(c->service_name);
    else
        *text = ph_str_printf(s, "%ld", (long)getpid());
    return 0;
}
