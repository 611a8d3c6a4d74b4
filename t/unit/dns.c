/* t/unit/dns.c: look-ups against a name server of our own on loopback, and the
 * parser against every cut and corruption of its answers. */
#include "tap.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/task.h>
#include "core/net/dns.h"
#include "core/run/loop.h"

/* The zone.  data: see put_data. */
static const struct { const char *name; int type; const char *data; } zone[] = {
    { "example.test", PH_DNS_MX, "20 b.example.test" }, { "example.test", PH_DNS_MX, "10 a.example.test" },
    { "example.test", PH_DNS_TXT, "v=spf1 -all" }, { "a.example.test", PH_DNS_A, "192.0.2.1" },
    { "a.example.test", PH_DNS_A, "192.0.2.2" }, { "a.example.test", PH_DNS_AAAA, "2001:db8::1" },
    { "alias.test", PH_DNS_CNAME, "a.example.test" }, { "null.test", PH_DNS_MX, "0 ." },
    { "badmx.test", PH_DNS_MX, "10 10.0.0.1" }, { "halfbad.test", PH_DNS_MX, "10 no/host" },
    { "halfbad.test", PH_DNS_MX, "20 good.test" }, { "1.2.0.192.in-addr.arpa", PH_DNS_PTR, "a.example.test" },
    { "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", PH_DNS_PTR, "six.example.test" },
    { "loop1.test", PH_DNS_CNAME, "loop2.test" }, { "loop2.test", PH_DNS_CNAME, "loop1.test" },
    { "10.in-addr.arpa", PH_DNS_TXT, "private zones are the server's" },
};
#define ZONE_COUNT (sizeof zone / sizeof *zone)

static int queries_seen;
static unsigned char last_answer[1500];
static size_t last_size;

static void put16(struct ph_buf *b, unsigned v)
{
    ph_buf_putc(b, (char)(v >> 8));
    ph_buf_putc(b, (char)v);
}

static void put_name(struct ph_buf *b, ph_str name)
{
    while (name.n && !ph_str_eq(name, PH_STR("."))) {
        ph_str label = ph_str_cut(&name, '.');

        ph_buf_putc(b, (char)label.n);
        ph_buf_str(b, label);
    }
    ph_buf_putc(b, 0);
}

static void put_data(struct ph_buf *out, int type, const char *text)
{
    PH_SCOPED(s, NULL);
    struct ph_buf b;
    ph_str rest = ph_cstr(text);
    char ip[16];

    ph_buf_init(&b, s, 1000);
    if (type == PH_DNS_MX) {
        put16(&b, (unsigned)atoi(text));
        ph_str_word(&rest);
        put_name(&b, rest);
    } else if (type == PH_DNS_TXT) {
        ph_buf_putc(&b, 3);                    /* two strings, joined by the reader */
        ph_buf_put(&b, text, 3);
        ph_buf_putc(&b, (char)(rest.n - 3));
        ph_buf_puts(&b, text + 3);
    } else if (type == PH_DNS_A || type == PH_DNS_AAAA) {
        inet_pton(type == PH_DNS_A ? AF_INET : AF_INET6, text, ip);
        ph_buf_put(&b, ip, type == PH_DNS_A ? 4 : 16);
    } else {
        put_name(&b, rest);
    }
    put16(out, (unsigned)b.n);
    ph_buf_str(out, ph_buf_view(&b));
}

static int put_records(struct ph_buf *out, ph_str *name, unsigned type, int *exists)
{
    int count = 0;

    for (int links = 0; links < 4; links++) {
        int moved = 0;

        for (size_t i = 0; i < ZONE_COUNT; i++) {
            if (!ph_str_eq_nocase(ph_cstr(zone[i].name), *name))
                continue;
            *exists = 1;
            if (zone[i].type != (int)type && zone[i].type != PH_DNS_CNAME)
                continue;
            put_name(out, *name);
            put16(out, (unsigned)zone[i].type);
            put16(out, 1);
            put16(out, 0);
            put16(out, 60);
            put_data(out, zone[i].type, zone[i].data);
            count++;
            if (zone[i].type == PH_DNS_CNAME) {
                *name = ph_cstr(zone[i].data);
                moved = 1;
                break;
            }
        }
        if (!moved)
            break;
    }
    return count;
}

/* Answer one query; names in it are not compressed and EDNS is passed over. */
static size_t answer(const unsigned char *q, size_t n, unsigned char *out, size_t size)
{
    PH_SCOPED(s, NULL);
    struct ph_buf name, b;
    size_t at = 12;
    int exists = 0;

    ph_buf_init(&name, s, 300);
    ph_buf_init(&b, s, size);
    while (at < n && q[at]) {
        if (name.n)
            ph_buf_putc(&name, '.');
        ph_buf_put(&name, q + at + 1, q[at]);
        at += q[at] + 1u;
    }
    unsigned type = (unsigned)q[at + 1] << 8 | q[at + 2];
    ph_str owner = ph_buf_view(&name);
    if (ph_str_eq_nocase(owner, PH_STR("silent.test")))
        return 0;
    int failing = ph_str_eq_nocase(owner, PH_STR("broken.test"));
    ph_buf_put(&b, q, 2);
    put16(&b, 0x8580);
    put16(&b, 1);
    for (int i = 0; i < 3; i++)
        put16(&b, 0);
    ph_buf_put(&b, q + 12, at + 5 - 12);
    int count = put_records(&b, &owner, type, &exists);
    b.p[7] = (char)count;
    b.p[3] = (char)(0x80 | (failing ? 2 : exists || count ? 0 : 3));
    memcpy(out, b.p, b.n);
    return b.n;
}

static void serve(void *arg)
{
    int fd = *(int *)arg;
    unsigned char q[1500];
    struct sockaddr_in from;

    while (ph_fd_wait(fd, PH_READ, PH_FOREVER) > 0) {
        socklen_t len = sizeof from;
        ssize_t n = recvfrom(fd, q, sizeof q, 0, (struct sockaddr *)&from, &len);

        if (n < 17)
            continue;
        queries_seen++;
        size_t size = answer(q, (size_t)n, last_answer, sizeof last_answer);
        if (size) {
            last_size = size;
            sendto(fd, last_answer, size, 0, (struct sockaddr *)&from, len);
        }
    }
    ph_fd_forget(fd);
    close(fd);
}

static unsigned start_server(struct ph_group *g, int *fd)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t len = sizeof sa;

    *fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*fd < 0 || bind(*fd, (struct sockaddr *)&sa, sizeof sa) < 0 || getsockname(*fd, (struct sockaddr *)&sa, &len) < 0)
        exit(1);
    ph_spawn(g, "server", serve, fd);
    return ntohs(sa.sin_port);
}

static void test_answers(struct ph_scope *parent)
{
    PH_SCOPED(s, parent);
    struct ph_dns_answer a;
    struct ph_ip ip;

    is_int(ph_dns_find_mx(s, PH_STR("example.test"), &a), PH_FOUND, "MX are found");
    ok(a.count == 2 && a.mx[0].preference == 10, "the best first");
    is_bytes(a.mx[0].host, "a.example.test", "with its host");
    is_int(ph_dns_find_a(s, PH_STR("A.Example.test."), &a), PH_FOUND, "A, whatever the case, with a last dot");
    ok(a.count == 2 && a.ip[0].family == 4 && a.secure == 0, "two addresses, not secure");
    is_int(ph_dns_find_aaaa(s, PH_STR("a.example.test"), &a), PH_FOUND, "AAAA");
    is_bytes(ph_ip_format(s, &a.ip[0]), "2001:db8::1", "its address");
    is_int(ph_dns_find_a(s, PH_STR("alias.test"), &a), PH_FOUND, "a CNAME is followed");
    is_bytes(a.canonical, "a.example.test", "to its end");
    is_int(ph_dns_find_txt(s, PH_STR("example.test"), &a), PH_FOUND, "TXT");
    is_bytes(a.text[0], "v=spf1 -all", "its strings are joined");
    ph_ip_parse(PH_STR("192.0.2.1"), &ip);
    is_int(ph_dns_find_ptr(s, &ip, &a), PH_FOUND, "PTR");
    is_bytes(a.text[0], "a.example.test", "its name");
    ph_ip_parse(PH_STR("2001:db8::1"), &ip);
    is_int(ph_dns_find_ptr(s, &ip, &a), PH_FOUND, "PTR of IPv6");
    is_bytes(a.text[0], "six.example.test", "its name");
    is_int(ph_dns_find_txt(s, PH_STR("10.in-addr.arpa"), &a), PH_FOUND, "private reverse zones are asked, not made up");
    is_int(ph_dns_find_mx(s, PH_STR("null.test"), &a), PH_FOUND, "a null MX");
    ok(a.count == 1 && a.mx[0].host.n == 0, "has an empty host");
}

static void test_failures(struct ph_scope *parent)
{
    PH_SCOPED(s, parent);
    struct ph_dns_answer a;

    is_int(ph_dns_find_mx(s, PH_STR("nowhere.test"), &a), PH_NONE, "no such domain");
    is_int(a.why, PH_DNS_NXDOMAIN, "is NXDOMAIN");
    is_int(ph_dns_find_mx(s, PH_STR("a.example.test"), &a), PH_NONE, "no such type");
    is_int(a.why, PH_DNS_NODATA, "is NODATA");
    is_int(ph_dns_find_a(s, PH_STR("broken.test"), &a), PH_TEMP, "SERVFAIL is temporary");
    is_int(a.why, PH_DNS_TEMP, "and says so");
    is_int(ph_dns_find_mx(s, PH_STR("badmx.test"), &a), PH_PERM, "an MX of a number is refused");
    is_int(a.why, PH_DNS_BAD, "as malformed");
    is_int(ph_dns_find_mx(s, PH_STR("halfbad.test"), &a), PH_FOUND, "one bad record does not spoil the others");
    ok(a.count == 1 && a.mx[0].preference == 20, "which are used");
    ok(ph_dns_find_a(s, PH_STR("loop1.test"), &a) != PH_FOUND, "a CNAME loop ends");
    int before = queries_seen;
    is_int(ph_dns_find_a(s, PH_STR("a..b"), &a), PH_NONE, "a bad name is not in the DNS");
    is_int(ph_dns_find_a(s, PH_STR("a\\046b.test"), &a), PH_NONE, "nor one with escapes");
    is_int(ph_dns_find_a(s, PH_STR("a b.test"), &a), PH_NONE, "nor one with blanks");
    is_int(queries_seen, before, "and no server was asked");
    int64_t old = ph_deadline_set(ph_in_ms(50));
    is_int(ph_dns_find_a(s, PH_STR("silent.test"), &a), PH_TIMEOUT, "the task's deadline ends a wait");
    ph_deadline_set(old);
}

struct client { int rc; };

static void client(void *arg)
{
    struct client *c = arg;
    struct ph_dns_answer a;
    PH_SCOPED(s, NULL);

    c->rc = ph_dns_find_a(s, PH_STR("silent.test"), &a);
}

static void test_cancel(struct ph_scope *parent)
{
    PH_SCOPED(s, parent);
    struct ph_group *g = ph_group_new(s);
    struct client c[20] = { { 0 } };
    struct ph_dns_answer a;
    int good = 1;

    for (size_t i = 0; i < 20; i++)
        ph_spawn(g, "client", client, &c[i]);
    ph_sleep_until(ph_in_ms(20));
    ph_group_cancel(g);
    ph_group_wait(g, PH_FOREVER);
    for (size_t i = 0; i < 20; i++)
        good &= c[i].rc == PH_CANCEL;
    ok(good, "cancelled tasks leave at once");
    is_int(ph_dns_find_a(s, PH_STR("a.example.test"), &a), PH_FOUND, "and others are still answered");
}

/* Each cut and each changed byte of a real answer: no crash, no over-read
 * (the packet is a block of its own, so that the sanitizer sees one). */
static void test_hostile(struct ph_scope *parent)
{
    static const int types[] = { PH_DNS_A, PH_DNS_MX, PH_DNS_TXT, PH_DNS_PTR };
    PH_SCOPED(s, parent);
    struct ph_dns_answer a;
    ph_str name = PH_STR("alias.test");
    size_t n, answers = 0;

    is_int(ph_dns_find_a(s, PH_STR("ALIAS.test"), &a), PH_FOUND, "a sample");
    unsigned char sample[1500], q[64] = { 0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 5, 'a', 'l', 'i', 'a', 's', 4, 't', 'e', 's', 't', 0, 0, 1, 0, 1 };
    n = answer(q, 28, sample, sizeof sample);
    is_int(ph_dns_parse(s, (ph_str){ (char *)sample, n }, name, PH_DNS_A, &a), PH_FOUND, "which parses");
    for (size_t cut = 0; cut < n; cut++) {
        char *copy = malloc(cut ? cut : 1);

        memcpy(copy, sample, cut);
        memset(&a, 0, sizeof a);
        answers += ph_dns_parse(s, (ph_str){ copy, cut }, name, PH_DNS_A, &a) == PH_PERM && a.why == PH_DNS_BAD;
        free(copy);
    }
    is_int((long long)answers, (long long)n, "each cut is malformed");
    answers = 0;
    for (size_t at = 0; at < n; at++)
        for (int change = 1; change < 256; change += 3) {
            PH_SCOPED(t, s);
            char *copy = malloc(n);

            memcpy(copy, sample, n);
            copy[at] = (char)(copy[at] ^ change);
            for (size_t i = 0; i < 4; i++) {
                memset(&a, 0, sizeof a);
                int rc = ph_dns_parse(t, (ph_str){ copy, n }, name, types[i], &a);
                answers += (rc == PH_FOUND && a.count > 0) || (rc < 0 && a.why) || (rc == PH_NONE && a.why);
            }
            free(copy);
        }
    is_int((long long)answers, (long long)n * 85 * 4, "each corruption gets a definite answer");
    static const unsigned char self[] = { 0, 1, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1 };
    memset(&a, 0, sizeof a);
    is_int(ph_dns_parse(s, (ph_str){ (const char *)self, sizeof self }, name, PH_DNS_A, &a), PH_PERM, "a name that points at itself");
}

static void test_host(struct ph_scope *s)
{
    struct ph_dns_answer a;

    is_int(ph_host_find(s, PH_STR("localhost"), &a), PH_FOUND, "nsswitch knows localhost");
    ok(a.count > 0 && (a.ip[0].bytes[0] == 127 || a.ip[0].family == 6), "its address");
    is_int(ph_host_find(s, PH_STR("a..b"), &a), PH_NONE, "a bad name is not there");
}

static int all(void *arg)
{
    struct ph_scope *s = ph_scope_new(NULL);
    struct ph_group *g = ph_group_new(s);
    char servers[64];
    int fd;

    (void)arg;
    is_int(ph_dns_open(PH_STR("not-an-address")), PH_CONF, "a server must be an address");
    is_int(ph_dns_open(PH_STR("127.0.0.1@x y")), PH_CONF, "with a port that is one");
    snprintf(servers, sizeof servers, "127.0.0.1@%u", start_server(g, &fd));
    is_int(ph_dns_open(ph_cstr(servers)), 0, "open with a server of our own");
    ph_dns_warmup();
    test_answers(s);
    test_failures(s);
    test_cancel(s);
    test_hostile(s);
    test_host(s);
    is_int(ph_dns_open(ph_cstr(servers)), 0, "opened again while queries are under way");
    test_answers(s);
    ph_dns_close();
    ph_group_cancel(g);
    ph_group_wait(g, PH_FOREVER);
    ph_scope_free(s);
    return 0;
}

int main(void)
{
    is_int(ph_run_main(all, NULL), 0, "the loop ends");
    return done_testing();
}
