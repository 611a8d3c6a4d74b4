/* t/plugin/smtpd_client.c: who the client is: what the DNS says and what it is
 * worth.  The DNS is stood in for. */
#include "t/unit/tap.h"
#include <stdio.h>
#include <unistd.h>
#include <posthorn/dns.h>
#include <posthorn/error.h>
#include "core/conf/conf.h"
#include "core/run/log.h"
#include "plugins/service/smtpd/smtpd.h"

int ehlo_hide(struct session *s PH_UNUSED) { return 0; }

/* What each question is answered with: a code and one record. */
static struct { int ptr_code, forward_code; const char *name, *address; int asked_v6; } dns;

static void put_ip(struct ph_scope *s, struct ph_dns_answer *a)
{
    a->ip = ph_new(s, struct ph_ip);
    a->count = dns.address && ph_ip_parse(ph_cstr(dns.address), a->ip) ? 1 : 0;
}

static int answer(int code)
{
    return code < 0 ? ph_fail(code, "server failure") : code;
}

int ph_dns_find_ptr(struct ph_scope *s, const struct ph_ip *ip PH_UNUSED, struct ph_dns_answer *a)
{
    *a = (struct ph_dns_answer){ .count = dns.name != NULL, .text = ph_new(s, ph_str) };
    a->text[0] = ph_cstr(dns.name);
    return answer(dns.ptr_code);
}

int ph_dns_find_a(struct ph_scope *s, ph_str host PH_UNUSED, struct ph_dns_answer *a)
{
    *a = (struct ph_dns_answer){ .count = 0 };
    put_ip(s, a);
    dns.asked_v6 = 0;
    return answer(dns.forward_code);
}

int ph_dns_find_aaaa(struct ph_scope *s, ph_str host, struct ph_dns_answer *a)
{
    int rc = ph_dns_find_a(s, host, a);

    dns.asked_v6 = 1;
    return rc;
}

static const struct {
    const char *title, *client;
    int ptr_code;
    const char *name;
    int forward_code;
    const char *address, *want, *want_reverse, *status, *reverse_status, *log;
} cases[] = {
    { "a name that leads back", "192.0.2.1", PH_FOUND, "a.test", PH_FOUND, "192.0.2.1", "a.test[192.0.2.1]", "a.test", "OK", "OK", "" },
    { "in the same family", "2001:db8::1", PH_FOUND, "six.test", PH_FOUND, "2001:db8::1", "six.test[2001:db8::1]", "six.test", "OK", "OK", "" },
    { "no PTR", "192.0.2.1", PH_NONE, NULL, PH_NONE, NULL, "unknown[192.0.2.1]", "unknown", "PERM", "PERM", "" },
    { "no PTR for the moment", "192.0.2.1", PH_TEMP, NULL, PH_NONE, NULL, "unknown[192.0.2.1]", "unknown", "TEMP", "TEMP", "" },
    { "a name that leads elsewhere", "192.0.2.1", PH_FOUND, "b.test", PH_FOUND, "192.0.2.2", "unknown[192.0.2.1]", "b.test", "FORGED", "OK",
      "warning: hostname b.test does not resolve to address 192.0.2.1\n" },
    { "a name that does not exist", "192.0.2.1", PH_FOUND, "c.test", PH_NONE, NULL, "unknown[192.0.2.1]", "c.test", "PERM", "OK",
      "warning: hostname c.test does not resolve to address 192.0.2.1: host not found\n" },
    { "a name that cannot be looked up now", "192.0.2.1", PH_FOUND, "d.test", PH_TEMP, NULL, "unknown[192.0.2.1]", "d.test", "TEMP", "OK",
      "warning: hostname d.test does not resolve to address 192.0.2.1: server failure\n" },
    { "a name that is an address", "192.0.2.1", PH_FOUND, "192.0.2.1", PH_FOUND, "192.0.2.1", "unknown[192.0.2.1]", "unknown", "PERM", "PERM",
      "warning: numeric or malformed host name for address 192.0.2.1\n" },
    { "a name that is none", "192.0.2.1", PH_FOUND, "a b)\n", PH_FOUND, "192.0.2.1", "unknown[192.0.2.1]", "unknown", "PERM", "PERM",
      "warning: numeric or malformed host name for address 192.0.2.1\n" },
};

static char log_path[] = "/tmp/ph-smtpd-XXXXXX";
static long log_seen;

/* What was logged since the last look, without what stands before the text. */
static ph_str log_text(struct ph_scope *s)
{
    char *mem = ph_alloc(s, 8192), *text;
    FILE *f = fopen(log_path, "r");

    fseek(f, log_seen, SEEK_SET);
    size_t n = fread(mem, 1, 8191, f);
    log_seen = ftell(f);
    fclose(f);
    text = n ? strstr(mem, "]: ") : NULL;
    return ph_cstr(text ? text + 3 : "");
}

static struct session *a_session(struct ph_scope *s, const char *client, struct smtpd_conf *c)
{
    struct session *x = ph_new(s, struct session);
    struct ph_peer *peer = ph_new(s, struct ph_peer);

    *peer = (struct ph_peer){ .size = sizeof *peer, .address = ph_cstr(client), .port = PH_STR("1234") };
    x->c = c;
    x->scope = s;
    x->t.scope = ph_scope_new(s);
    x->peer = peer;
    return x;
}

static void test_names(struct ph_scope *s, struct smtpd_conf *c)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct session *x = a_session(s, cases[i].client, c);

        dns.ptr_code = cases[i].ptr_code;
        dns.name = cases[i].name;
        dns.forward_code = cases[i].forward_code;
        dns.address = cases[i].address;
        client_identify(x);
        is_bytes(x->name_addr, cases[i].want, "%s: name", cases[i].title);
        is_bytes(x->w.reverse, cases[i].want_reverse, "%s: reverse name", cases[i].title);
        is_bytes(ph_cstr(x->w.name_status), cases[i].status, "%s: status", cases[i].title);
        is_bytes(ph_cstr(x->w.reverse_status), cases[i].reverse_status, "%s: status of the reverse name", cases[i].title);
        is_bytes(log_text(s), cases[i].log, "%s: log", cases[i].title);
    }
    ok(dns.asked_v6 == 0, "an IPv4 client is looked for among IPv4 addresses");
}

static void test_settings(struct ph_scope *s, struct smtpd_conf *c)
{
    struct session *x;

    dns.ptr_code = PH_FOUND;
    dns.name = "a.test";
    c->p.peername = 0;
    c->p.port_logging = 1;
    client_identify(x = a_session(s, "192.0.2.1", c));
    is_bytes(x->name_addr, "unknown[192.0.2.1]:1234", "smtpd_peername_lookup = no, smtpd_client_port_logging = yes");
    c->p.peername = 1;
    c->p.port_logging = 0;
    client_identify(x = a_session(s, "127.0.0.1", c));
    ok(x->w.name.n > 0 && !ph_str_eq(x->w.name, PH_STR("a.test")), "loopback is not the DNS's to name");
    client_identify(x = a_session(s, "unix", c));
    is_bytes(x->name_addr, "localhost[unix]", "a UNIX socket");
}

static struct session *settled(struct ph_scope *s, const char *client, struct smtpd_conf *c)
{
    struct session *x = a_session(s, client, c);

    client_identify(x);
    client_settle(x);
    return x;
}

/* Lists: what they give, and that one that fails gives nothing. */
static void test_lists(struct ph_scope *s, struct smtpd_conf *c)
{
    struct session *x;

    dns.ptr_code = dns.forward_code = PH_NONE;
    dns.name = NULL;
    c->bare_mode = PH_BARE_REJECT;
    is_int(ph_match_open(c->conf, s, "x", PH_STR("192.0.2.0/24, .friend.test"), PH_MATCH_ADDRESS | PH_MATCH_DOMAIN, &c->bare_exclusions), 0, "a list");
    c->xclient_hosts = c->xforward_hosts = c->mynetworks = c->bare_exclusions;
    c->rewrite_networks = 1;
    x = settled(s, "192.0.2.9", c);
    ok(x->may_xclient == 1 && x->may_xforward == 1 && x->bare_mode == PH_BARE_NO && client_is_local(x) == 1, "a client that is in it");
    x = settled(s, "198.51.100.9", c);
    ok(!x->may_xclient && !x->may_xforward && x->bare_mode == PH_BARE_REJECT && !client_is_local(x), "one that is not");
    is_int(ph_match_open(c->conf, s, "x", PH_STR("192.0.2.1/24"), PH_MATCH_ADDRESS, &c->xforward_hosts), 0, "a list that cannot be used");
    x = settled(s, "192.0.2.9", c);
    ok(x->may_xclient == 1 && x->may_xforward < 0, "gives nothing, and is known to have failed");
    c->bare_exclusions = c->mynetworks = c->xforward_hosts;
    x = settled(s, "192.0.2.9", c);
    ok(x->bare_mode == PH_BARE_REJECT && client_is_local(x) < 0, "nor does it exclude anybody, or make him local");
}

int main(void)
{
    PH_SCOPED(s, NULL);
    struct ph_log_options o = { .file = log_path, .service = "smtpd", .host = "mx.test" };
    struct smtpd_conf *c = ph_new(s, struct smtpd_conf);

    close(mkstemp(log_path));
    is_int(ph_log_open(&o), 0, "a log file");
    is_int(ph_conf_parse(s, "/tmp", "main.cf", PH_STR("myhostname = mx.test\n"), &c->conf), 0, "a configuration");
    c->scope = s;
    c->p.peername = 1;
    c->names = ph_map_new(s);
    test_names(s, c);
    test_settings(s, c);
    test_lists(s, c);
    unlink(log_path);
    return done_testing();
}
