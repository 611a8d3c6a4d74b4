/* t/plugin/rewrite.c: completing and resolving, as tables of cases, and the
 * service's protocol over a memory stream. */
#include "../unit/tap.h"
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/frame.h>
#include <posthorn/service.h>
#include "core/conf/conf.h"
#include "core/plugin/registry.h"
#include "core/run/loop.h"
#include "plugins/service/rewrite/rewrite.h"

extern const struct ph_service_plugin service_rewrite_LTX_ph_plugin;

#define BASE "myhostname = mx.here.example\nmydomain = here.example\nmydestination = here.example, $myhostname\n" \
             "proxy_interfaces = 192.0.2.9\ninet_interfaces = 127.0.0.1\ncompatibility_level = 3.11\n"

static char conf_dir[] = "/tmp/ph-rewrite-XXXXXX";

/* Manifests of the table types that the cases use, from the build tree. */
static void make_conf_dir(void)
{
    static const char *const types[] = { "inline", "fail", "regexp" };
    static const char *const folders[] = { "inline", "fail", "pattern" };
    char path[300];

    if (!mkdtemp(conf_dir))
        exit(1);
    snprintf(path, sizeof path, "%s/plugins.d", conf_dir);
    mkdir(path, 0700);
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/plugins.d/table_%s.yaml", conf_dir, types[i]);
        FILE *f = fopen(path, "w");
        fprintf(f, "format: 1\nkind: table\nname: %s\nobject: %s/plugins/table/%s/.libs/table_%s.so\nabi: 1\nrevision: 1\n"
                "exec: pure\nsummary: x\n", types[i], TEST_BUILD_DIR, folders[i], types[i]);
        fclose(f);
    }
}

static void remove_conf_dir(void)
{
    char command[100];

    snprintf(command, sizeof command, "rm -rf %s", conf_dir);
    if (system(command) != 0)
        printf("# %s stays\n", conf_dir);
}

static struct ph_conf *conf_of(struct ph_scope *s, const char *more)
{
    struct ph_conf *c;
    ph_str text = ph_str_printf(s, "%s%s\n", BASE, more);

    ph_conf_register(rewrite_rows, REWRITE_ROWS, sizeof *rewrite_rows);
    if (ph_conf_parse(s, conf_dir, "main.cf", text, &c) < 0 || ph_registry_open(c) < 0) {
        printf("Bail out! %s\n", ph_error());
        exit(1);
    }
    return c;
}

static struct rewriter *rewriter_of(struct ph_scope *s, const char *more)
{
    struct rewriter *w = ph_new(s, struct rewriter);

    if (rewrite_setup(w, conf_of(s, more), s) < 0) {
        printf("Bail out! %s\n", ph_error());
        exit(1);
    }
    return w;
}

static const struct { const char *conf, *in, *out; } completions[] = {
    { "", "", "" }, { "", "@", "" }, { "", "user", "user@mx.here.example" }, { "", "u@host", "u@host" },
    { "append_dot_mydomain = yes", "u@host", "u@host.here.example" },
    { "append_dot_mydomain = yes", "u@host.", "u@host" },
    { "append_dot_mydomain = yes", "u@[host]", "u@[host]" },
    { "append_at_myorigin = no", "user", "user" }, { "myorigin = o.example", "user", "user@o.example" },
    { "", "site!user", "user@site" }, { "", "a!b!user", "b!user@a" }, { "swap_bangpath = no", "site!user", "site!user@mx.here.example" },
    { "", "u%d.example", "u@d.example" }, { "", "u%a%b", "u%a@b" },
    { "allow_percent_hack = no", "u%d", "u%d@mx.here.example" }, { "", "site!u@d.example", "site!u@d.example" },
    { "", "@a.example,@b.example:u@d.example", "u@d.example" }, { "", "u@d.example.", "u@d.example" },
    { "", "u@d.example..", "u@d.example.." }, { "", "u@.", "u@." },
    /* Quoted, an operator is none. */
    { "", "\"a!b\"", "a!b@mx.here.example" }, { "", "\"a%b\"", "a%b@mx.here.example" }, { "", "\"a@b\"", "\"a@b\"@mx.here.example" },
    { "", "a\\!b", "a!b@mx.here.example" }, { "", "\"a@b\"@c.example", "\"a@b\"@c.example" }, { "", "\"a%b\"%c", "a%b@c" },
    { "", "c!\"a!b\"", "a!b@c" }, { "", "\"@x:u\"@c", "\"@x:u\"@c" }, { "", "\"a b\"", "\"a b\"@mx.here.example" },
    { "append_at_myorigin = no", "\"a!b\"", "\"a!b\"" }, { "append_at_myorigin = no", "\"a@b\"", "\"a@b\"" },
    /* One spelling of each. */
    { "", "\"joe\"@c", "joe@c" }, { "", "a b@c", "\"a b\"@c" }, { "", "a@b@c", "\"a@b\"@c" }, { "", "\"a\\b\"@c", "ab@c" },
    { "", "\"\\\"\"@b", "\"\\\"\"@b" }, { "", "@b", "\"\"@b" }, { "", "\"\"", "" },
    /* Nothing on one side of an operator. */
    { "", "!a", "a@" }, { "", "a!", "\"\"@a" }, { "", "a%", "a@" }, { "", "%a", "\"\"@a" },
    { "", "u.", "\"u.\"@mx.here.example" }, { "append_at_myorigin = no", "u.", "u" }, { "", "u@\"a@b\"", "\"u@a\"@b" },
    /* In literals there is none, and no host name. */
    { "", "u%[1.2.3.4]", "u@[1.2.3.4]" }, { "", "[a!b]", "\"[a!b]\"@mx.here.example" }, { "", "u@[1.2.3.4].", "u@[1.2.3.4]" },
    { "append_dot_mydomain = yes", "a!b", "b@a.here.example" }, { "append_dot_mydomain = yes", "u%h.", "u@h" }, { "append_dot_mydomain = yes", "u@", "u@" },
    { "append_dot_mydomain = yes", "u@a!b%[1.2.3.4]", "u@a!b%[1.2.3.4]" },
};

static void test_complete(void)
{
    for (size_t i = 0; i < sizeof completions / sizeof *completions; i++) {
        PH_SCOPED(s, NULL);
        struct rewriter *w = rewriter_of(s, completions[i].conf);

        is_bytes(rewrite_address(w, s, ph_cstr(completions[i].in), &w->local), completions[i].out,
                 "%s completed (%s)", completions[i].in, completions[i].conf);
    }
    PH_SCOPED(s, NULL);
    struct rewriter *w = rewriter_of(s, "");
    is_bytes(rewrite_address(w, s, PH_STR("user"), &w->remote), "user", "without an origin nothing is appended");
    w = rewriter_of(s, "append_dot_mydomain = yes\nremote_header_rewrite_domain = r.example");
    is_bytes(rewrite_address(w, s, PH_STR("user"), &w->remote), "user@r.example", "the remote context has its own domain");
    is_bytes(rewrite_address(w, s, PH_STR("u@host"), &w->remote), "u@host.r.example", "for hosts too");
}

/* want: "transport nexthop recipient class", or "!words" for an invalid address. */
static const struct { const char *conf, *sender, *in, *want; } routes[] = {
    { "", "", "u@here.example", "local mx.here.example u@here.example local" },
    { "", "", "u@HERE.example", "local mx.here.example u@HERE.example local" },
    { "", "", "u@here.example.", "local mx.here.example u@here.example local" },
    { "local_transport = local", "", "u@here.example", "local here.example u@here.example local" },
    { "", "", "postmaster", "local mx.here.example postmaster@mx.here.example local" },
    { "mydestination =", "", "user", "smtp mx.here.example user@mx.here.example default" },
    { "", "", "", "local mx.here.example MAILER-DAEMON@mx.here.example local" },
    { "", "", "@here.example", "local mx.here.example MAILER-DAEMON@here.example local" },
    { "", "", "u@other.example", "smtp other.example u@other.example default" },
    { "", "", "u@Other.Example", "smtp other.example u@Other.Example default" },
    { "", "", "u%other.example@here.example", "smtp other.example u@other.example default" },
    { "", "", "other.example!u@here.example", "smtp other.example u@other.example default" },
    { "", "", "u@other.example@here.example", "smtp other.example u@other.example default" },
    { "", "", "u%a%b@here.example", "smtp b u%a@b default" },
    { "", "", "u@[192.0.2.9]", "local mx.here.example u@[192.0.2.9] local" },
    { "", "", "u@[127.0.0.1]", "local mx.here.example u@[127.0.0.1] local" },
    { "", "", "u@[192.0.2.10]", "smtp [192.0.2.10] u@[192.0.2.10] default" },
    { "", "", "u@[IPv6:2001:db8::1]", "smtp [ipv6:2001:db8::1] u@[IPv6:2001:db8::1] default" },
    { "", "", "u@here.example..", "!malformed domain name" }, { "", "", "u@", "!missing domain name" },
    { "resolve_null_domain = yes", "", "u@", "local mx.here.example u@mx.here.example local" },
    { "", "", "u@192.0.2.9", "!numeric domain name" },
    { "resolve_numeric_domain = yes", "", "u@198.51.100.1", "smtp [198.51.100.1] u@[198.51.100.1] default" },
    { "", "", "u@[127.0.0.1]x", "!bad address literal" }, { "", "", "u@[x]", "!bad address literal" },
    { "", "", "u@-bad-.example", "!malformed domain name" }, { "", "", "u@a b", "!malformed domain name" },
    { "", "", "u@\xff.example", "!address is not UTF-8" },
    { "relay_domains = relay.example", "", "u@relay.example", "relay relay.example u@relay.example relay" },
    { "relay_domains = relay.example", "", "u@sub.relay.example", "relay sub.relay.example u@sub.relay.example relay" },
    { "relay_domains = relay.example\nrelayhost = [hub]:26", "", "u@relay.example", "relay [hub]:26 u@relay.example relay" },
    { "relay_domains = r.example\nrelay_transport = smtp:[in.example]", "", "u@r.example", "smtp [in.example] u@r.example relay" },
    { "virtual_alias_domains = v.example", "", "u@v.example", "error 5.1.1 User unknown in virtual alias table u@v.example alias" },
    { "virtual_mailbox_domains = m.example", "", "u@m.example", "virtual m.example u@m.example virtual" },
    { "virtual_mailbox_domains = m.example\nvirtual_transport = lmtp:unix:x", "", "u@m.example", "lmtp unix:x u@m.example virtual" },
    { "virtual_mailbox_domains = m.example\nrelay_domains = m.example", "", "u@m.example", "virtual m.example u@m.example virtual" },
    { "relayhost = [hub.example]", "", "u@other.example", "smtp [hub.example] u@other.example default" },
    { "default_transport = error:no mail leaves here", "", "u@other.example", "error no mail leaves here u@other.example default" },
    { "default_transport = smtp:[x]:25\nrelayhost = hub", "", "u@other.example", "smtp [x]:25 u@other.example default" },
    { "relayhost = hub\nsender_dependent_relayhost_maps = inline:{ {s@a.example=[own]}, {@b.example=[b]}, {<>=[n]}, {d@b.example=DUNNO} }",
      "s@a.example", "u@o.example", "smtp [own] u@o.example default" },
    { "relayhost = hub\nsender_dependent_relayhost_maps = inline:{ {@b.example=[b]} }", "x@b.example", "u@o.example", "smtp [b] u@o.example default" },
    { "relayhost = hub\nsender_dependent_relayhost_maps = inline:{ {<>=[n]} }", "", "u@o.example", "smtp [n] u@o.example default" },
    { "relayhost = hub\nsender_dependent_relayhost_maps = inline:{ {d@b.example=DUNNO} }", "d@b.example", "u@o.example", "smtp hub u@o.example default" },
    { "sender_dependent_default_transport_maps = inline:{ {s@a.example=lmtp:x} }", "s@a.example", "u@o.example", "lmtp x u@o.example default" },
    { "transport_maps = inline:{ {o.example=smtp:[t]} }", "", "u@o.example", "smtp [t] u@o.example default" },
    { "transport_maps = inline:{ {u@o.example=smtp:[u]}, {o.example=smtp:[t]} }", "", "U@O.example", "smtp [u] U@O.example default" },
    { "recipient_delimiter = +\ntransport_maps = inline:{ {u@o.example=smtp:[u]}, {o.example=smtp:[t]} }", "", "u+x@o.example", "smtp [u] u+x@o.example default" },
    { "recipient_delimiter = +\ntransport_maps = inline:{ {u+x@o.example=smtp:[ux]}, {u@o.example=smtp:[u]} }", "", "u+x@o.example", "smtp [ux] u+x@o.example default" },
    { "transport_maps = inline:{ {.o.example=smtp:[p]} }", "", "u@a.b.o.example", "smtp [p] u@a.b.o.example default" },
    { "transport_maps = inline:{ {o.example=smtp:[p]} }", "", "u@a.o.example", "smtp a.o.example u@a.o.example default" },
    { "parent_domain_matches_subdomains = transport_maps\ntransport_maps = inline:{ {o.example=smtp:[p]} }", "", "u@a.o.example", "smtp [p] u@a.o.example default" },
    { "transport_maps = inline:{ {*=smtp:[star]} }", "", "u@o.example", "smtp [star] u@o.example default" },
    { "transport_maps = inline:{ {*=smtp:[star]}, {o.example=:} }", "", "u@o.example", "smtp o.example u@o.example default" },
    { "transport_maps = inline:{ {o.example=:[n]} }", "", "u@o.example", "smtp [n] u@o.example default" },
    { "relayhost = hub\ntransport_maps = inline:{ {o.example=lmtp:} }", "", "u@o.example", "lmtp o.example u@o.example default" },
    { "transport_maps = inline:{ {here.example=smtp:[h]} }", "", "u@here.example", "smtp [h] u@here.example local" },
    { "transport_maps = inline:{ { o.example=error:5.7.1 No: thanks } }", "", "u@o.example", "error 5.7.1 No: thanks u@o.example default" },
    { "virtual_alias_domains = v.example\ntransport_maps = inline:{ {v.example=smtp:[x]} }", "", "u@v.example",
      "error 5.1.1 User unknown in virtual alias table u@v.example alias" },
    { "transport_maps = inline:{ {mailer-daemon@mx.here.example=discard:} }", "", "", "discard mx.here.example MAILER-DAEMON@mx.here.example local" },
    { "relocated_maps = inline:{ {old@here.example=new@there.example} }", "", "old@here.example", "error 5.1.6 User has moved to new@there.example old@here.example local" },
    { "relocated_maps = inline:{ {old=x} }", "", "old@here.example", "error 5.1.6 User has moved to x old@here.example local" },
    { "relocated_maps = inline:{ {old=x} }", "", "old@mx.here.example", "error 5.1.6 User has moved to x old@mx.here.example local" },
    { "relocated_maps = inline:{ {old=x} }", "", "old@o.example", "smtp o.example old@o.example default" },
    { "relocated_maps = inline:{ {@o.example=x} }\nrelocated_prefix_enable = no", "", "u@o.example", "error x u@o.example default" },
    { "relocated_maps = inline:{ {u@v.example=x} }\nvirtual_alias_domains = v.example", "", "u@v.example", "error 5.1.6 User has moved to x u@v.example alias" },
    { "relocated_maps = inline:{ {u@o.example=x} }\ntransport_maps = inline:{ {u@o.example=smtp:[t]} }", "", "u@o.example", "error 5.1.6 User has moved to x u@o.example default" },
    /* Behind a domain of ours the rest is completed like any address. */
    { "append_dot_mydomain = yes", "", "u%host@here.example", "smtp host.here.example u@host.here.example default" },
    { "", "", "a!b%c.example@here.example", "smtp a b%c.example@a default" }, { "", "", "@r:u@o.example@here.example", "smtp o.example u@o.example default" },
    { "", "", "u.@here.example", "local mx.here.example u.@here.example local" }, { "", "", "%", "!missing domain name" }, { "", "", "@", "!missing domain name" },
    { "", "", "@@here.example", "!missing domain name" }, { "", "", "u@o.example@", "smtp o.example u@o.example default" },
    { "", "", "@o.example", "smtp o.example @o.example default" },
    /* Operators in quotes: an internal form shows them where it had to be quoted. */
    { "", "", "a b%o.example@here.example", "smtp o.example a b@o.example default" },
    { "resolve_dequoted_address = no", "", "a b%o.example@here.example", "local mx.here.example a b%o.example@here.example local" },
    { "resolve_dequoted_address = no", "", "u@o.example@here.example", "local mx.here.example u@o.example@here.example local" },
    { "resolve_dequoted_address = no", "", "u%o.example@here.example", "smtp o.example u@o.example default" },
    /* No domain has a list of domains below it, but for relay_domains. */
    { "mydestination = .here.example", "", "u@a.here.example", "smtp a.here.example u@a.here.example default" },
    { "virtual_mailbox_domains = .m.example", "", "u@a.m.example", "smtp a.m.example u@a.m.example default" },
    { "mydestination = [192.0.2.7]", "", "u@[192.0.2.7]", "local mx.here.example u@[192.0.2.7] local" },
    { "resolve_numeric_domain = yes", "", "u@192.0.2.9", "local mx.here.example u@[192.0.2.9] local" },
    { "", "", "u@1", "!numeric domain name" }, { "", "", "u@1.2", "!numeric domain name" }, { "", "", "u@[::1]", "!bad address literal" },
    { "", "", "-u@o.example", "!local part begins with a minus sign" }, { "allow_min_user = yes", "", "-u@o.example", "smtp o.example -u@o.example default" },
    { "", "", "u@b\xc3\xbc.example", "smtp b\xc3\xbc.example u@b\xc3\xbc.example default" }, { "", "", "\xfc@o.example", "!address is not UTF-8" },
    { "smtputf8_enable = no", "", "u@b\xc3\xbc.example", "!malformed domain name" }, { "smtputf8_enable = no", "", "\xfc@o.example", "smtp o.example \xfc@o.example default" },
    { "", "", "u@a\xc3\xbc_-.example\xe2\x80\x8f", "!malformed domain name" },
    /* What a class's transport says may be overridden, but not that of an alias domain. */
    { "default_transport = error:no\ntransport_maps = inline:{ {o.example=smtp:[t]} }", "", "u@o.example", "smtp [t] u@o.example default" },
    { "default_transport = error", "", "u@o.example", "error Address is undeliverable u@o.example default" },
    { "transport_maps = inline:{ {o.example=retry:} }", "", "u@o.example", "retry Address is undeliverable u@o.example default" },
    { "transport_maps = inline:{ {o.example=pipe:Mixed} }", "", "u@O.example", "pipe Mixed u@O.example default" },
    { "transport_maps = inline:{ {o.example=smtp:[a], b:25} }", "", "u@o.example", "smtp [a], b:25 u@o.example default" },
    { "transport_maps = inline:{ {@o.example=smtp:[t]} }", "", "u@o.example", "smtp o.example u@o.example default" },
    { "transport_maps = inline:{ {u=smtp:[t]} }", "", "u@here.example", "local mx.here.example u@here.example local" },
    { "transport_maps = inline:{ {here.example=smtp:[t]} }", "", "u@mx.here.example", "local mx.here.example u@mx.here.example local" },
    { "recipient_delimiter = +-\ntransport_maps = inline:{ {u@o.example=smtp:[t]} }", "", "u-x+y@o.example", "smtp [t] u-x+y@o.example default" },
    { "sender_dependent_default_transport_maps = inline:{ {s=smtp:[t]} }", "s@here.example", "u@o.example", "smtp [t] u@o.example default" },
    { "sender_dependent_default_transport_maps = inline:{ {s=smtp:[t]} }", "s@x.example", "u@o.example", "smtp o.example u@o.example default" },
    { "sender_dependent_default_transport_maps = inline:{ {@x.example=smtp:[t]}, {s@x.example=DUNNO} }", "s@x.example", "u@o.example", "smtp o.example u@o.example default" },
    { "recipient_delimiter = +\nsender_dependent_relayhost_maps = inline:{ {s@x.example=[t]} }", "s+e@x.example", "u@o.example", "smtp [t] u@o.example default" },
    { "empty_address_relayhost_maps_lookup_key = null\nsender_dependent_relayhost_maps = inline:{ {null=[t]} }", "", "u@o.example", "smtp [t] u@o.example default" },
    { "sender_dependent_relayhost_maps = inline:{ {<>=[t]} }", "", "u@o.example", "smtp [t] u@o.example default" },
    { "recipient_delimiter = +\nempty_address_relayhost_maps_lookup_key = s+e@here.example\nsender_dependent_relayhost_maps = inline:{ {s=[t]} }", "", "u@o.example", "smtp [t] u@o.example default" },
    { "empty_address_default_transport_maps_lookup_key = s@x.example\nsender_dependent_default_transport_maps = inline:{ {@x.example=smtp:[t]} }", "", "u@o.example", "smtp [t] u@o.example default" },
};

static int resolve(struct rewriter *w, struct ph_scope *s, const char *sender, ph_str address, struct resolved *r)
{
    struct question ask = { .sender = ph_cstr(sender), .address = address };

    return rewrite_resolve(w, s, &ask, r);
}

static void test_resolve(void)
{
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        PH_SCOPED(s, NULL);
        struct rewriter *w = rewriter_of(s, routes[i].conf);
        struct resolved r;
        int rc = resolve(w, s, routes[i].sender, ph_cstr(routes[i].in), &r);
        ph_str got = rc < 0 ? ph_cstr(ph_error()) : r.error ? ph_str_printf(s, "!%s", r.error)
                   : ph_str_printf(s, "%.*s %.*s %.*s %s", PH_FMT(r.transport), PH_FMT(r.nexthop), PH_FMT(r.recipient), r.class_);

        is_bytes(got, routes[i].want, "%s goes to %s", routes[i].in, routes[i].want);
        ok(rc < 0 || r.transport.n, "%s has a transport", routes[i].in);
    }
}

/* A next hop without a transport is a mistake in a table, which decides nothing. */
static void test_no_transport(void)
{
    PH_SCOPED(s, NULL);
    struct rewriter *w = rewriter_of(s, "sender_dependent_default_transport_maps = inline:{ {s@x.example=:[t]} }");
    struct resolved r;

    is_int(resolve(w, s, "s@x.example", PH_STR("u@o.example"), &r), PH_TEMP, "a next hop without a transport");
    ok(strstr(ph_error(), "sender_dependent_default_transport_maps") != NULL, "is said: %s", ph_error());
}

/* Probes go their own way where one is set, else that of mail. */
static void test_probe(void)
{
    PH_SCOPED(s, NULL);
    struct rewriter *w = rewriter_of(s, "address_verify_relayhost = [v]\naddress_verify_transport_maps = inline:{ {t.example=lmtp:[v]} }\n"
                                        "transport_maps = inline:{ {m.example=lmtp:[m]} }\nrelayhost = [m]\naddress_verify_local_transport = smtp:[l]");
    static const struct { const char *in; int probe; const char *want; } cases[] = {
        { "u@o.example", 0, "smtp [m]" }, { "u@o.example", 1, "smtp [v]" }, { "u@m.example", 0, "lmtp [m]" }, { "u@m.example", 1, "smtp [v]" },
        { "u@t.example", 1, "lmtp [v]" }, { "u@here.example", 0, "local mx.here.example" }, { "u@here.example", 1, "smtp [l]" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct question ask = { .address = ph_cstr(cases[i].in), .probe = cases[i].probe };
        struct resolved r;

        is_int(rewrite_resolve(w, s, &ask, &r), 0, "%s is resolved", cases[i].in);
        is_bytes(ph_str_printf(s, "%.*s %.*s", PH_FMT(r.transport), PH_FMT(r.nexthop)), cases[i].want, "%s: %s", cases[i].probe ? "probe" : "mail", cases[i].in);
    }
    w = rewriter_of(s, "relayhost = [m]");
    struct question ask = { .address = PH_STR("u@o.example"), .probe = 1 };
    struct resolved r;
    ok(rewrite_resolve(w, s, &ask, &r) == 0 && ph_str_eq(r.nexthop, PH_STR("[m]")), "without parameters of its own a probe goes as mail does");
}

/* What is asked of it is completed first. */
static void test_completed_first(void)
{
    PH_SCOPED(s, NULL);
    struct rewriter *w = rewriter_of(s, "append_dot_mydomain = yes\nmyorigin = o.example");
    static const struct { const char *in, *want; } cases[] = {
        { "u", "u@o.example" }, { "u@host", "u@host.here.example" }, { "a!b", "b@a.here.example" }, { "u@here.example.", "u@here.example" }, { "a b", "a b@o.example" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct question ask = { .address = ph_cstr(cases[i].in), .complete = &w->local };
        struct resolved r;

        ok(rewrite_resolve(w, s, &ask, &r) == 0, "%s is resolved", cases[i].in);
        is_bytes(r.recipient, cases[i].want, "as %s", cases[i].want);
    }
    struct question lone = { .address = PH_STR("@"), .complete = &w->local };
    struct resolved r;
    ok(rewrite_resolve(w, s, &lone, &r) == 0 && r.error, "@ alone is no address");
}

/* A routing operator that stays in front of a remote domain must be seen. */
static void test_routed(void)
{
    static const struct { const char *in; int routed; } cases[] = {
        { "u%other.example@relay.example", 1 }, { "x!u@relay.example", 1 }, { "a@b@relay.example", 1 }, { "u@relay.example", 0 },
        { "u%other.example@here.example", 0 }, { "a b%c@relay.example", 1 }, { "[a!b]@relay.example", 1 },
    };
    PH_SCOPED(s, NULL);
    struct rewriter *w = rewriter_of(s, "relay_domains = relay.example");

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct resolved r;

        ok(resolve(w, s, "", ph_cstr(cases[i].in), &r) == 0 && r.routed == cases[i].routed, "%s is %srouted", cases[i].in, cases[i].routed ? "" : "not ");
    }
}

/* No list that fails may read as "not in the list". */
static void test_failing_tables(void)
{
    static const char *const confs[] = {
        "mydestination = fail:x", "virtual_alias_domains = fail:x", "virtual_mailbox_domains = fail:x", "relay_domains = fail:x",
        "transport_maps = fail:x", "sender_dependent_relayhost_maps = fail:x", "sender_dependent_default_transport_maps = fail:x", "relocated_maps = fail:x",
    };
    for (size_t i = 0; i < sizeof confs / sizeof *confs; i++) {
        PH_SCOPED(s, NULL);
        struct rewriter *w = rewriter_of(s, confs[i]);
        struct resolved r = { .class_ = "untouched" };

        is_int(resolve(w, s, "s@x.example", PH_STR("u@o.example"), &r), PH_TEMP, "%s is a temporary failure", confs[i]);
        ok(strstr(ph_error(), "always fails") != NULL, "and says why");
    }
}

static void test_hostile(void)
{
    PH_SCOPED(s, NULL);
    struct rewriter *w = rewriter_of(s, "");
    struct ph_buf b;
    struct resolved r;

    ph_buf_init(&b, s, 100000);
    ph_buf_puts(&b, "u");
    for (int i = 0; i < 200; i++)
        ph_buf_puts(&b, "%here.example");
    ph_buf_puts(&b, "@here.example");
    is_int(resolve(w, s, "", ph_buf_view(&b), &r), 0, "200 nested operators");
    is_bytes(r.recipient, "u@here.example", "end where they lead");
    ph_buf_reset(&b);
    for (int i = 0; i < 2000; i++)
        ph_buf_putc(&b, "%!@"[i % 3]);
    ph_buf_puts(&b, "@here.example");
    is_int(resolve(w, s, "", ph_buf_view(&b), &r), 0, "2000 bytes of operators end");
    for (int i = 0; i < 5000; i++)
        ph_buf_putc(&b, 'x');
    is_int(resolve(w, s, "", ph_buf_view(&b), &r), 0, "what is too long");
    ok(r.error != NULL, "is an error");
}

struct server { struct ph_service *v; struct ph_stream *io; struct ph_scope *s; int rc; };

static void serve(void *arg)
{
    struct server *x = arg;
    struct ph_peer peer = { .size = sizeof peer, .inline_ = 1 };

    x->rc = service_rewrite_LTX_ph_plugin.serve(x->v, x->s, x->io, &peer);
    ph_stream_close(x->io);
}

static struct ph_frame *call(struct ph_scope *s, struct ph_stream *io, const char *op, const char *context, const char *a, const char *b)
{
    struct ph_frame *f = ph_frame_new(s), *reply;

    ph_frame_cstr(f, "op", op);
    ph_frame_cstr(f, "context", context);
    ph_frame_cstr(f, "address", a);
    ph_frame_cstr(f, "address", b);
    if (ph_frame_send(io, f) < 0 || ph_stream_flush(io) < 0 || ph_frame_recv(io, s, 0, &reply) <= 0)
        return NULL;
    return reply;
}

static void test_service(const char *more)
{
    PH_SCOPED(s, NULL);
    struct ph_service v = { .scope = s, .ops = &service_rewrite_LTX_ph_plugin, .conf = conf_of(s, more), .name = "rewrite" };
    struct server x = { .v = &v, .s = ph_scope_new(s) };
    struct ph_stream *io;
    struct ph_frame *r;
    ph_str name, value;
    size_t at = 0, n = 0;

    is_int(service_rewrite_LTX_ph_plugin.open(&v), 0, "the service opens");
    ph_stream_pair(s, x.s, 0, &io, &x.io);
    struct ph_group *g = ph_group_new(s);
    ph_spawn(g, "server", serve, &x);
    if (more[0]) {
        r = call(s, io, "resolve", "local", "u@o.example", "u@here.example");
        is_bytes(ph_frame_value(r, "status"), "temp", "a failing table makes the answer temporary");
        ok(ph_str_search(ph_frame_value(r, "reason"), PH_STR("always fails")) >= 0, "with its reason");
    } else {
        r = call(s, io, "rewrite", "local", "user", "a@b.example");
        is_bytes(ph_frame_value(r, "address"), "user@mx.here.example", "rewrite answers");
        r = call(s, io, "rewrite", "remote", "user", "a@b.example");
        is_bytes(ph_frame_value(r, "address"), "user", "remote context without a domain leaves addresses alone");
        r = call(s, io, "resolve", "local", "u@o.example", "u@here.example");
        is_bytes(ph_frame_value(r, "status"), "ok", "resolve answers");
        while (ph_frame_next(r, &at, &name, &value))
            n += (size_t)ph_str_eq(name, PH_STR("transport"));
        is_int((long long)n, 2, "for each address");
        r = call(s, io, "nonsense", "local", "a", "b");
        ok(!r, "an unknown request ends the connection");
    }
    ph_stream_close(io);
    ph_group_wait(g, PH_FOREVER);
    is_int(x.rc, more[0] ? 0 : PH_PERM, "the session ends with its client, or for its nonsense");
}

static int all(void *arg PH_UNUSED)
{
    test_complete();
    test_resolve();
    test_no_transport();
    test_probe();
    test_completed_first();
    test_routed();
    test_failing_tables();
    test_hostile();
    test_service("");
    test_service("relay_domains = fail:x");
    return 0;
}

int main(void)
{
    make_conf_dir();
    is_int(ph_run_main(all, NULL), 0, "the loop ends");
    remove_conf_dir();
    return done_testing();
}
