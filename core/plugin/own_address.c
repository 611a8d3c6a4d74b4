/* own_address: inet_interfaces and proxy_interfaces as addresses.  See posthorn/net.h. */
#include <ifaddrs.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <posthorn/error.h>
#include <posthorn/net.h>
#include <posthorn/param.h>
#include "core/net/sockaddr.h"

struct own {
    struct ph_scope *scope;
    struct ph_ip *list;
    size_t n, room;
    int unnamed;                   /* some are the interfaces that there are */
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

static int add_interfaces(struct own *o, int loopback_only)
{
    struct ifaddrs *all;
    struct ph_ip ip;

    if (getifaddrs(&all) < 0)
        return ph_fail(PH_TEMP, "cannot list the network interfaces");
    for (const struct ifaddrs *i = all; i; i = i->ifa_next)
        if (i->ifa_addr && ph_sockaddr_to_ip(i->ifa_addr, &ip, NULL) && (!loopback_only || ph_ip_is_loopback(&ip)))
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
        if (ph_sockaddr_to_ip(i->ai_addr, &ip, NULL))
            add(o, &ip);
    freeaddrinfo(all);
    return 0;
}

static int add_list(struct own *o, ph_str list)
{
    int rc = 0;

    for (ph_str word; rc >= 0 && (word = ph_str_list(&list)).n; ) {
        int all = ph_str_eq_nocase(word, PH_STR("all")), loopback = ph_str_eq_nocase(word, PH_STR("loopback-only"));

        rc = all || loopback ? add_interfaces(o, loopback) : add_named(o, word);
        o->unnamed |= all || loopback;
    }
    return rc;
}

static int find_interfaces(struct ph_conf *c, struct own *o)
{
    int rc = add_list(o, ph_conf_value(c, o->scope, "inet_interfaces"));

    return rc < 0 ? ph_wrap(rc, "inet_interfaces") : 0;
}

int ph_own_interfaces(struct ph_conf *c, struct ph_scope *s, struct ph_ip **list, size_t *n)
{
    struct own o = { .scope = s };
    int rc = find_interfaces(c, &o);

    if (rc < 0)
        return rc;
    *list = o.list;
    *n = o.unnamed ? 0 : o.n;
    return 0;
}

int ph_own_addresses(struct ph_conf *c, struct ph_scope *s, struct ph_ip **list, size_t *n)
{
    struct own o = { .scope = s };
    int rc = find_interfaces(c, &o);

    if (rc < 0)
        return rc;
    if ((rc = add_list(&o, ph_conf_value(c, s, "proxy_interfaces"))) < 0)
        return ph_wrap(rc, "proxy_interfaces");
    *list = o.list;
    *n = o.n;
    return 0;
}
