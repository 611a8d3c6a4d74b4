/* t/unit/net.c: addresses as text, and connections over loopback. */
#include "tap.h"
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/net.h>
#include "core/net/listen.h"
#include "core/net/sockaddr.h"
#include "core/run/loop.h"

static const struct { const char *in; unsigned family; const char *out; } ips[] = {
    { "192.0.2.1", 4, "192.0.2.1" }, { "[192.0.2.1]", 4, "192.0.2.1" }, { "2001:DB8:0::1", 6, "2001:db8::1" },
    { "IPv6:::1", 6, "::1" }, { "[IPv6:::1]", 6, "::1" }, { "[::1]", 6, "::1" }, { "192.0.2.256", 0, "" },
    { "192.0.2", 0, "" }, { "192.0.2.1 ", 0, "" }, { "", 0, "" }, { "[]", 0, "" }, { "host", 0, "" },
    { "IPv6:192.0.2.1", 0, "" }, { "[::1", 0, "" }, { "1.2.3.4.5", 0, "" }, { "::1%lo", 0, "" },
};

static void test_ip(struct ph_scope *s)
{
    for (size_t i = 0; i < sizeof ips / sizeof *ips; i++) {
        struct ph_ip ip = { 0 };

        is_int(ph_ip_parse(ph_cstr(ips[i].in), &ip), ips[i].family != 0, "\"%s\" is %san address", ips[i].in, ips[i].family ? "" : "not ");
        is_bytes(ph_ip_format(s, &ip), ips[i].out, "written \"%s\"", ips[i].out);
        is_int(ip.family, ips[i].family, "its family");
    }
    struct ph_ip ip = { 0 };
    ok(!ph_ip_parse((ph_str){ "1.2.3.4\0", 8 }, &ip), "a NUL is no end of text");
}

static const struct { const char *net; int good; const char *in, *out; } nets[] = {
    { "10.0.0.0/8", 1, "10.255.1.2", "11.0.0.0" }, { "192.0.2.128/25", 1, "192.0.2.129", "192.0.2.127" },
    { "192.0.2.1", 1, "192.0.2.1", "192.0.2.2" }, { "[2001:db8::]/33", 1, "2001:db8:7fff::1", "2001:db8:8000::" },
    { "0.0.0.0/0", 1, "203.0.113.9", "::1" }, { "10.0.0.1/8", 0, "10.2.3.4", "11.0.0.0" },
    { "[::1]/128", 1, "::1", "::2" },
};
static const char *const bad_nets[] = { "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/a", "10/8", "[::]/129", "/8", "" };

static void test_net(void)
{
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        struct ph_ip net = { 0 }, in, out;
        unsigned bits = 0;

        is_int(ph_net_parse(ph_cstr(nets[i].net), &net, &bits), nets[i].good, "%s %s", nets[i].net, nets[i].good ? "is a network" : "has host bits");
        ph_ip_parse(ph_cstr(nets[i].in), &in);
        ph_ip_parse(ph_cstr(nets[i].out), &out);
        ok(ph_ip_in_net(&in, &net, bits), "%s is in it", nets[i].in);
        ok(!ph_ip_in_net(&out, &net, bits), "%s is not", nets[i].out);
    }
    struct ph_ip list[2], ip = { 0 };

    ph_ip_parse(PH_STR("192.0.2.1"), &list[0]);
    ph_ip_parse(PH_STR("::1"), &list[1]);
    ok(!ph_ip_is_among(&ip, list, 2) && !ph_ip_is_loopback(&ip), "no address is among none");
    ok(ph_ip_is_among(&list[1], list, 2) && !ph_ip_is_among(&list[1], list, 1), "the second is among two");
    ok(ph_ip_parse(PH_STR("127.9.0.1"), &ip) && ph_ip_is_loopback(&ip) && ph_ip_is_loopback(&list[1]) && !ph_ip_is_loopback(&list[0]), "loopback");
    for (size_t i = 0; i < sizeof bad_nets / sizeof *bad_nets; i++) {
        struct ph_ip net;
        unsigned bits;

        ok(!ph_net_parse(ph_cstr(bad_nets[i]), &net, &bits), "\"%s\" is no network", bad_nets[i]);
    }
}

static const struct { const char *in; int good; const char *host, *port; int literal; } pairs[] = {
    { "host", 1, "host", "", 0 }, { "host:25", 1, "host", "25", 0 }, { "[host]", 1, "host", "", 1 },
    { "[host]:smtp", 1, "host", "smtp", 1 }, { "[::1]:25", 1, "::1", "25", 1 }, { "inet:h:25", 1, "h", "25", 0 },
    { "::1", 0, "", "", 0 }, { "host:", 0, "", "", 0 }, { ":25", 0, "", "", 0 }, { "", 0, "", "", 0 },
    { "[]", 0, "", "", 0 }, { "[host", 0, "", "", 0 }, { "[host]x", 0, "", "", 0 }, { "[host]:", 0, "", "", 0 },
};

static void test_hostport(void)
{
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        ph_str host, port;
        int literal = 0, rc = ph_hostport_parse(ph_cstr(pairs[i].in), &host, &port, &literal);

        ok(rc == pairs[i].good && (!rc || (ph_str_eq(host, ph_cstr(pairs[i].host)) && ph_str_eq(port, ph_cstr(pairs[i].port)) &&
                                           literal == pairs[i].literal)), "host and port of \"%s\"", pairs[i].in);
    }
    is_int(ph_port_parse(PH_STR("65535")), 65535, "the last port");
    is_int(ph_port_parse(PH_STR("65536")), 0, "one too many");
    is_int(ph_port_parse(PH_STR("0")), 0, "port 0 is none");
    is_int(ph_port_parse(PH_STR("smtp")), 25, "a service by name");
    is_int(ph_port_parse(PH_STR("nosuchservice")), 0, "an unknown one");
}

static unsigned port_of(int fd)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    struct ph_ip ip;
    unsigned port = 0;

    getsockname(fd, (struct sockaddr *)&sa, &len);
    ph_sockaddr_to_ip((struct sockaddr *)&sa, &ip, &port);
    return port;
}

/* A port that is free now: the kernel's choice. */
static unsigned free_port(void)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (bind(fd, (struct sockaddr *)&sa, sizeof sa) < 0)
        exit(1);
    unsigned port = port_of(fd);
    close(fd);
    return port;
}

static void talk(struct ph_scope *s, int listener, struct ph_stream *io, const char *how)
{
    char got[6] = "";

    ok(ph_fd_wait(listener, PH_READ, ph_in_ms(5000)) > 0, "%s: a client is there", how);
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct ph_stream *server = ph_stream_fd(s, fd, 0);
    ph_stream_str(io, PH_STR("hello"));
    ph_stream_flush(io);
    is_int(ph_stream_read(server, got, 5), 0, "%s: bytes come", how);
    is_bytes(ph_cstr(got), "hello", "%s: as they were sent", how);
}

static void test_tcp(struct ph_scope *parent)
{
    PH_SCOPED(s, parent);
    struct ph_listeners l = { .n = 0 };
    struct ph_ip ip, own;
    struct ph_stream *io;
    unsigned port = free_port();

    ph_ip_parse(PH_STR("127.0.0.1"), &ip);
    ph_ip_parse(PH_STR("127.0.0.2"), &own);
    is_int(ph_dial_ip(s, &ip, port, NULL, ph_in_ms(5000), &io), PH_TEMP, "nobody listens");
    ok(strstr(ph_error(), "refused") != NULL, "and the text says so");
    ph_str spec = ph_str_printf(s, "127.0.0.1:%u", port);
    is_int(ph_listen_inet(spec, PH_STR("all"), PH_STR("all"), 10, &l), 0, "listen on host:port");
    is_int(l.n, 1, "one socket");
    is_int(ph_listen_inet(spec, PH_STR("all"), PH_STR("all"), 10, &l), PH_TEMP, "twice is refused");
    ok(strstr(ph_error(), "in use") != NULL && l.n == 1, "with the cause, and nothing was added");
    is_int(ph_dial_ip(s, &ip, port, NULL, ph_in_ms(5000), &io), 0, "now it connects");
    talk(s, l.fd[0], io, "tcp");
    is_int(ph_dial_ip(s, &ip, port, &own, ph_in_ms(5000), &io), 0, "and from a source address of our choice");
    talk(s, l.fd[0], io, "bound");
    ph_fd_forget(l.fd[0]);
    close(l.fd[0]);
}

/* On a port that was free a moment ago, which somebody else may have taken since: another one then. */
static int listen_somewhere(struct ph_scope *s, ph_str interfaces, ph_str protocols, struct ph_listeners *l, ph_str *port)
{
    int rc = PH_TEMP;

    for (int k = 0; k < 20 && rc == PH_TEMP; k++) {
        *port = ph_str_printf(s, "%u", free_port());
        rc = ph_listen_inet(*port, interfaces, protocols, 10, l);
    }
    return rc;
}

static void test_interfaces(void)
{
    struct ph_listeners l = { .n = 0 };
    PH_SCOPED(s, NULL);
    ph_str port;

    is_int(listen_somewhere(s, PH_STR("loopback-only"), PH_STR("all"), &l, &port), 0, "a port alone: the interfaces, whether IPv6 is there or not");
    ok(l.n == 1 || l.n == 2, "%u sockets", l.n);
    is_int(port_of(l.fd[0]), atoi(port.p), "on that port");
    while (l.n)
        close(l.fd[--l.n]);
    is_int(listen_somewhere(s, PH_STR("all"), PH_STR("ipv4"), &l, &port), 0, "one protocol");
    is_int(l.n, 1, "one socket");
    while (l.n)
        close(l.fd[--l.n]);
    is_int(ph_listen_inet(PH_STR("nosuchservice"), PH_STR("all"), PH_STR("all"), 10, &l), PH_CONF, "an unknown service is a configuration error");
    is_int(ph_listen_inet(PH_STR("::1:25"), PH_STR("all"), PH_STR("all"), 10, &l), PH_CONF, "so is IPv6 without brackets");
    is_int(ph_listen_inet(PH_STR("192.0.2.77:2525"), PH_STR("all"), PH_STR("all"), 10, &l), PH_TEMP, "an address that is not ours");
    ok(strstr(ph_error(), "192.0.2.77") != NULL && l.n == 0, "is named");
}

static void test_unix(struct ph_scope *parent)
{
    PH_SCOPED(s, parent);
    char path[] = "/tmp/ph-net-XXXXXX";
    struct ph_stream *io;
    struct stat st;
    int fd, old;

    close(mkstemp(path));
    is_int(ph_dial_unix(s, "/nonexistent/socket", ph_in_ms(5000), &io), PH_TEMP, "no such socket");
    is_int(ph_listen_unix(path, 0600, 10, &old), 0, "a socket in place of what was there");
    is_int(ph_listen_unix(path, 0666, 10, &fd), 0, "and again");
    ok(stat(path, &st) == 0 && S_ISSOCK(st.st_mode) && (st.st_mode & 0777) == 0666, "with its mode");
    is_int(ph_dial_unix(s, path, ph_in_ms(5000), &io), 0, "it connects");
    talk(s, fd, io, "unix");
    close(old);
    ph_fd_forget(fd);
    close(fd);
    unlink(path);
    char *long_path = ph_alloc(s, 300);
    memset(long_path, 'x', 299);
    is_int(ph_listen_unix(long_path, 0600, 10, &fd), PH_CONF, "a path that is too long");
    is_int(ph_dial_unix(s, long_path, ph_in_ms(5000), &io), PH_CONF, "is none for a client either");
}

/* A full backlog: the connect waits until its deadline and says so. */
static void test_full(struct ph_scope *parent)
{
    PH_SCOPED(s, parent);
    char path[] = "/tmp/ph-net-XXXXXX";
    struct ph_stream *io;
    int fd, rc = 0;

    close(mkstemp(path));
    ph_listen_unix(path, 0600, 0, &fd);
    for (int i = 0; i < 50 && rc == 0; i++)
        rc = ph_dial_unix(s, path, ph_in_ms(30), &io);
    is_int(rc, PH_TIMEOUT, "a full backlog is a timeout");
    close(fd);
    unlink(path);
}

static int all(void *arg)
{
    struct ph_scope *s = ph_scope_new(NULL);

    (void)arg;
    test_ip(s);
    test_net();
    test_hostport();
    test_tcp(s);
    test_interfaces();
    test_unix(s);
    test_full(s);
    ph_scope_free(s);
    return 0;
}

int main(void)
{
    is_int(ph_run_main(all, NULL), 0, "the loop ends");
    return done_testing();
}
