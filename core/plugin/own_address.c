/* own_address: inet_interfaces and proxy_interfaces as addresses.  See posthorn/net.h. */
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <posthorn/error.h>
#include <posthorn/net.h>
#include <posthorn/param.h>

struct own {
    struct ph_scope *scope;
    struct ph_ip *list;
    size_t n, room;
};

static void add(struct own *o, const struct ph_ip *ip)
{
    if (o->n == o->room) {
        struct ph_ip *more = ph_alloc_array(o->scope, o->room * 2 + 8, sizeof *more);

        if (o->n)
            memcpy(more, o->list, o->n * sizeof *more);
        o->list = more;
        o->room = o->room * 2 + 8;
    }
    o->list[o->n++] = *ip;
}

static int from_sockaddr(const struct sockaddr *sa, struct ph_ip *ip)
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

static int is_loopback(const struct ph_ip *ip)
{
    static const uint8_t one[16] = { [15] = 1 };

    return ip->family == 4 ? ip->bytes[0] == 127 : memcmp(ip->bytes, one, 16) == 0;
}

static int add_interfaces(struct own *o, int loopback_only)
{
    struct ifaddrs *all;
    struct ph_ip ip;

    if (getifaddrs(&all) < 0)
        return ph_fail(PH_TEMP, "cannot list the network interfaces");
    for (const struct ifaddrs *i = all; i; i = i->ifa_next)
        if (from_sockaddr(i->ifa_addr, &ip) && (!loopback_only || is_loopback(&ip)))
            add(o, &ip);
    freeifaddrs(all);
    return 0;
}

static int add_named(struct own *o, ph_str word)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *all;
    struct ph_ip ip;

    if (ph_ip_parse(word, &ip)) {
        add(o, &ip);
        return 0;
    }
    int err = getaddrinfo(ph_cstr_dup(o->scope, word), NULL, &hints, &all);
    if (err)
        return ph_fail(PH_TEMP, "%.*s: %s", PH_FMT(word), gai_strerror(err));
    for (const struct addrinfo *i = all; i; i = i->ai_next)
        if (from_sockaddr(i->ai_addr, &ip))
            add(o, &ip);
    freeaddrinfo(all);
    return 0;
}

static int add_list(struct own *o, ph_str list)
{
    int rc = 0;

    for (ph_str word; rc >= 0 && (word = ph_str_list(&list)).n; )
        if (ph_str_eq_nocase(word, PH_STR("all")))
            rc = add_interfaces(o, 0);
        else if (ph_str_eq_nocase(word, PH_STR("loopback-only")))
            rc = add_interfaces(o, 1);
        else
            rc = add_named(o, word);
    return rc;
}

int ph_own_addresses(struct ph_conf *c, struct ph_scope *s, struct ph_ip **list, size_t *n)
{
    struct own o = { .scope = s };
    int rc = add_list(&o, ph_conf_value(c, s, "inet_interfaces"));

    if (rc < 0)
        return ph_wrap(rc, "inet_interfaces");
    if ((rc = add_list(&o, ph_conf_value(c, s, "proxy_interfaces"))) < 0)
        return ph_wrap(rc, "proxy_interfaces");
    *list = o.list;
    *n = o.n;
    return 0;
}
