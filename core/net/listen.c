/* listen: see listen.h. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "core/net/listen.h"
#include "core/net/sockaddr.h"

static int open_one(const struct ph_ip *ip, unsigned port, int backlog, int *out)
{
    struct sockaddr_storage sa;
    socklen_t len = ph_sockaddr_from_ip(&sa, ip, port);
    int one = 1, fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return ph_fail_errno(PH_TEMP, errno, "socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (ip->family == 6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    if (bind(fd, (const struct sockaddr *)&sa, len) < 0 || listen(fd, backlog) < 0) {
        int err = errno;

        close(fd);
        errno = err;
        return ph_fail_errno(PH_TEMP, err, "listen on port %u", port);
    }
    *out = fd;
    return 0;
}

static int wants(ph_str protocols, const char *family)
{
    ph_str word;
    int any = 0;

    while ((word = ph_str_list(&protocols)).n) {
        any = 1;
        if (ph_str_eq_nocase(word, PH_STR("all")) || ph_str_eq_nocase(word, ph_cstr(family)))
            return 1;
    }
    return !any;
}

/* One address; a family that the machine lacks is a warning, not an error. */
static int add(const struct ph_ip *ip, unsigned port, int backlog, int optional, struct ph_listeners *l)
{
    PH_SCOPED(s, NULL);
    int fd;

    if (l->n == PH_LISTEN_MAX)
        return ph_fail(PH_CONF, "more than %d addresses to listen on", PH_LISTEN_MAX);
    errno = 0;
    int rc = open_one(ip, port, backlog, &fd);
    if (rc < 0) {
        int lacks = errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL || errno == EPROTONOSUPPORT;

        if (optional && lacks) {
            ph_log_warn("%s is not available here: not listening on it (%s)", ip->family == 6 ? "IPv6" : "IPv4", ph_error());
            return 0;
        }
        return ph_wrap(rc, "%.*s", PH_FMT(ph_ip_format(s, ip)));
    }
    l->fd[l->n++] = fd;
    return 0;
}

static const struct ph_ip any4 = { .family = 4 }, any6 = { .family = 6 };
static const struct ph_ip loop4 = { .family = 4, .bytes = { 127, 0, 0, 1 } }, loop6 = { .family = 6, .bytes = { [15] = 1 } };

static int add_both(const struct ph_ip *v4, const struct ph_ip *v6, ph_str protocols, unsigned port, int backlog, struct ph_listeners *l)
{
    int use4 = wants(protocols, "ipv4"), use6 = wants(protocols, "ipv6"), rc = 0;

    if (use4)
        rc = add(v4, port, backlog, use6, l);
    if (rc == 0 && use6)
        rc = add(v6, port, backlog, use4, l);
    return rc;
}

/* The addresses a host name has. */
static int add_host(ph_str host, ph_str protocols, unsigned port, int backlog, struct ph_listeners *l)
{
    PH_SCOPED(s, NULL);
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC }, *all = NULL;
    struct ph_ip ip;
    int rc = 0, err;

    if (ph_ip_parse(host, &ip))
        return add(&ip, port, backlog, 0, l);
    if ((err = getaddrinfo(ph_cstr_dup(s, host), NULL, &hints, &all)) != 0)
        return ph_fail(PH_TEMP, "%.*s: %s", PH_FMT(host), gai_strerror(err));
    for (struct addrinfo *a = all; rc == 0 && a; a = a->ai_next)
        if (ph_sockaddr_to_ip(a->ai_addr, &ip, NULL) && wants(protocols, ip.family == 4 ? "ipv4" : "ipv6"))
            rc = add(&ip, port, backlog, 1, l);
    freeaddrinfo(all);
    return rc;
}

static int add_interfaces(ph_str interfaces, ph_str protocols, unsigned port, int backlog, struct ph_listeners *l)
{
    ph_str word;
    int rc = 0;

    while (rc == 0 && (word = ph_str_list(&interfaces)).n) {
        if (ph_str_eq_nocase(word, PH_STR("all")))
            rc = add_both(&any4, &any6, protocols, port, backlog, l);
        else if (ph_str_eq_nocase(word, PH_STR("loopback-only")))
            rc = add_both(&loop4, &loop6, protocols, port, backlog, l);
        else
            rc = add_host(word, protocols, port, backlog, l);
    }
    return rc;
}

int ph_listen_inet(ph_str spec, ph_str interfaces, ph_str protocols, int backlog, struct ph_listeners *l)
{
    unsigned before = l->n;
    ph_str host = PH_STR(""), port = spec;
    int literal, rc;

    if (ph_str_starts(spec, PH_STR("inet:")))
        spec = port = ph_str_from(spec, 5);
    if (spec.n && spec.p[0] == ':')
        port = ph_str_from(spec, 1);
    else if (ph_str_find(spec, ':') >= 0 && (!ph_hostport_parse(spec, &host, &port, &literal) || port.n == 0))
        return ph_fail(PH_CONF, "\"%.*s\" is no host:port", PH_FMT(spec));
    unsigned number = ph_port_parse(port);
    if (number == 0)
        return ph_fail(PH_CONF, "\"%.*s\": unknown port", PH_FMT(spec));
    rc = host.n ? add_host(host, protocols, number, backlog, l) : add_interfaces(interfaces, protocols, number, backlog, l);
    if (rc == 0 && l->n == before)
        rc = ph_fail(PH_TEMP, "no address to listen on");
    if (rc < 0) {
        while (l->n > before)
            close(l->fd[--l->n]);
        return ph_wrap(rc, "%.*s", PH_FMT(spec));
    }
    return 0;
}

int ph_listen_unix(const char *path, mode_t mode, int backlog, int *out)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    int fd;

    if (strlen(path) >= sizeof sa.sun_path)
        return ph_fail(PH_CONF, "socket path is longer than %zu bytes: %s", sizeof sa.sun_path - 1, path);
    memcpy(sa.sun_path, path, strlen(path) + 1);
    if ((fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) < 0)
        return ph_fail_errno(PH_TEMP, errno, "socket");
    if (unlink(path) < 0 && errno != ENOENT) {
        int err = errno;

        close(fd);
        return ph_fail_errno(PH_TEMP, err, "remove %s", path);
    }
    if (bind(fd, (const struct sockaddr *)&sa, sizeof sa) < 0 || chmod(path, mode) < 0 || listen(fd, backlog) < 0) {
        int err = errno;

        close(fd);
        return ph_fail_errno(PH_TEMP, err, "listen on %s", path);
    }
    *out = fd;
    return 0;
}
