/* t/plugin/smtp_target.c: from a next hop to the addresses that are tried, and
 * in which order.  Run alone: make t/plugin/smtp_target.t && prove -v t/plugin/smtp_target.t */
#include "t/plugin/smtp_rig.h"
#include "t/unit/tap.h"

static const char zone[] =
    "mx.test MX 30 m3.test\n" "mx.test MX 10 m1.test\n" "mx.test MX 20 m2.test\n"
    "m1.test A 10.0.0.1\n" "m2.test A 10.0.0.2\n" "m3.test A 10.0.0.3\n" "m9.test A 10.0.0.9\n"
    "temp.test MX TEMP\n" "temp.test A 10.0.0.1\n"
    "badreply.test MX BAD\n"
    "nodata.test A 10.0.0.1\n"
    "null.test MX 0 .\n"
    "noaddr.test MX 10 gone.test\n" "noaddr.test MX 20 nodata4.test\n" "nodata4.test TXT x\n"
    "halftemp.test MX 10 slow.test\n" "halftemp.test MX 20 m2.test\n" "slow.test A TEMP\n"
    "alltemp.test MX 10 slow.test\n" "alltemp.test MX 20 gone.test\n"
    "onebad.test MX 10 a..b\n" "onebad.test MX 10 -x.test\n" "onebad.test MX 15 10.0.0.7\n" "onebad.test MX 20 m2.test\n"
    "allbad.test MX 10 a..b\n" "allbad.test MX 15 10.0.0.7\n"
    "wild.test MX 10 *.wild.test\n" "*.wild.test A 10.0.0.1\n"
    "self1.test MX 10 m9.test\n" "self1.test MX 20 m2.test\n"
    "self2.test MX 10 m1.test\n" "self2.test MX 20 m9.test\n" "self2.test MX 30 m3.test\n"
    "equal.test MX 10 m1.test\n" "equal.test MX 10 m9.test\n"
    "selfgone.test MX 10 gone.test\n"
    "both.test A 10.0.0.1\n" "both.test AAAA 2001:db8::1\n"
    "many.test MX 10 many4.test\n" "many.test MX 20 many6.test\n"
    "many4.test A 10.0.0.1\n" "many4.test A 10.0.0.2\n" "many4.test A 10.0.0.3\n" "many4.test A 10.0.0.4\n" "many4.test A 10.0.0.5\n" "many4.test A 10.0.0.6\n"
    "many6.test AAAA 2001:db8::1\n" "many6.test AAAA 2001:db8::2\n"
    "hosts.test HOST 10.0.0.1\n" "mixed.test A NODATA\n" "mixed.test HOST 10.0.0.2\n"
    "xn--bcher-kva.test A 10.0.0.1\n";

static void relay(struct smtp *self, struct ph_delivery *d PH_UNUSED) { self->relayhost = PH_STR("[m1.test], gone.test"); }
static void we_are_9(struct smtp *self, struct ph_delivery *d PH_UNUSED) { we_are(self, "10.0.0.9"); }
static void ignore(struct smtp *self, struct ph_delivery *d PH_UNUSED) { self->p.ignore_mx_error = 1; }
static void defer(struct smtp *self, struct ph_delivery *d PH_UNUSED) { self->p.defer_no_address = 1; }
static void native(struct smtp *self, struct ph_delivery *d PH_UNUSED) { self->p.host_lookup = PH_STR("native"); }
static void both_ways(struct smtp *self, struct ph_delivery *d PH_UNUSED) { self->p.host_lookup = PH_STR("dns, native"); }
static void no_dns(struct smtp *self, struct ph_delivery *d PH_UNUSED) { self->p.dns_support = PH_STR("disabled"); }
static void fallback(struct smtp *self, struct ph_delivery *d PH_UNUSED) { self->p.fallback_relay = PH_STR("[10.0.0.7]"); }
static void bind4(struct smtp *self, struct ph_delivery *d PH_UNUSED) { ph_ip_parse(PH_STR("10.9.9.9"), &self->bind4); }

static void fallback_self(struct smtp *self, struct ph_delivery *d)
{
    fallback(self, d);
    we_are_9(self, d);
}

static void soft_fallback(struct smtp *self, struct ph_delivery *d)
{
    fallback(self, d);
    self->p.soft_bounce = 1;
}

static void to_local(struct smtp *self, struct ph_delivery *d)
{
    we_are_9(self, d);
    self->p.best_mx = PH_STR("local");
}

static void to_nobody(struct smtp *self, struct ph_delivery *d)
{
    we_are_9(self, d);
    self->p.best_mx = PH_STR("nobody:x");
}

static void bind_must(struct smtp *self, struct ph_delivery *d)
{
    bind4(self, d);
    self->p.bind_enforce = 1;
    rig_bind_fails = PH_CONF;
}

static void bind_may(struct smtp *self, struct ph_delivery *d)
{
    bind4(self, d);
    rig_bind_fails = PH_CONF;
}

#define OK1 { "10.0.0.1", EHLO ACCEPT QUIT }
#define OK2 { "10.0.0.2", EHLO ACCEPT QUIT }
#define OK7 { "10.0.0.7", EHLO ACCEPT QUIT }
#define DONE " dsn=2.0.0 (250 2.0.0 Ok: queued as 1)\n"
#define NOTFOUND "Host or domain name not found. Name service error for name="
#define BUSY(ip) { ip, GREET ">250 mx\n<MAIL\n>450 busy\n" QUIT }

static const struct test tests[] = {
    /* S-01 */
    { "by preference, whatever the order of the records", "mx.test", 1, { { "10.0.0.1", REFUSE }, { "10.0.0.2", REFUSE }, { "10.0.0.3", REFUSE } },
      "a deferred relay=none dsn=4.4.1 dead (connect to m3.test[10.0.0.3]:25: Connection refused)\n", NULL, NULL },
    /* S-02 */
    { "no such domain", "gone.test", 1, { { NULL, NULL } }, "a bounced relay=none dsn=5.4.4 (" NOTFOUND "gone.test type=A: Host not found)\n", "", NULL },
    { "no MX, an address", "nodata.test", 1, { OK1 }, "a sent relay=nodata.test[10.0.0.1]:25" DONE, "", NULL },
    { "no answer about MX", "temp.test", 1, { { NULL, NULL } },
      "a deferred relay=none dsn=4.4.3 dead (" NOTFOUND "temp.test type=MX: Host not found, try again)\n", "", NULL },
    { "no answer about MX, ignored", "temp.test", 1, { OK1 }, "a sent relay=temp.test[10.0.0.1]:25" DONE, "", ignore },
    { "a malformed answer", "badreply.test", 1, { { NULL, NULL } },
      "a bounced relay=none dsn=5.4.4 (Name service error for name=badreply.test type=MX: Malformed or unexpected name server reply)\n", "", NULL },
    { "MX hosts without address", "noaddr.test", 1, { { NULL, NULL } },
      "a bounced relay=none dsn=5.4.4 (" NOTFOUND "nodata4.test type=A: Host found but no data record of requested type)\n", "", NULL },
    { "MX hosts without address, to be deferred", "noaddr.test", 1, { { NULL, NULL } },
      "a deferred relay=none dsn=4.4.4 (" NOTFOUND "nodata4.test type=A: Host found but no data record of requested type)\n", "", defer },
    { "one MX host is not known now, another is", "halftemp.test", 1, { OK2 }, "a sent relay=m2.test[10.0.0.2]:25" DONE, "", NULL },
    { "no MX host is known, one only for now", "alltemp.test", 1, { { NULL, NULL } },
      "a deferred relay=none dsn=4.4.3 dead (" NOTFOUND "slow.test type=A: Host not found, try again)\n", "", NULL },
    /* S-03 */
    { "null MX", "null.test", 1, { { NULL, NULL } }, "a bounced relay=none dsn=5.1.0 (Domain null.test does not accept mail (nullMX))\n", "", NULL },
    { "null MX, and a fallback relay", "null.test", 1, { OK7 }, "a sent relay=10.0.0.7[10.0.0.7]:25" DONE, NULL, fallback },
    /* S-04 */
    { "names that cannot be are not asked for", "-a.test", 1, { { NULL, NULL } },
      "a bounced relay=none dsn=5.4.4 (Name service error for name=-a.test type=MX: Malformed or unexpected name server reply)\n", "", NULL },
    { "a bad record does not discard the others", "onebad.test", 1, { OK2 }, "a sent relay=m2.test[10.0.0.2]:25" DONE, "", NULL },
    { "only bad records", "allbad.test", 1, { { NULL, NULL } },
      "a bounced relay=none dsn=5.4.4 (Name service error for name=allbad.test type=MX: Malformed or unexpected name server reply)\n", "", NULL },
    { "a wildcard is a name", "wild.test", 1, { OK1 }, "a sent relay=*.wild.test[10.0.0.1]:25" DONE, "", NULL },
    /* S-05 */
    { "we are the best MX", "self1.test", 1, { { NULL, NULL } }, "a bounced relay=none dsn=5.4.6 (mail for self1.test loops back to myself)\n", "", we_are_9 },
    { "we are the second MX: those behind us are not tried", "self2.test", 1, { { "10.0.0.1", REFUSE } },
      "a deferred relay=none dsn=4.4.1 dead (connect to m1.test[10.0.0.1]:25: Connection refused)\n", NULL, we_are_9 },
    { "nor those of our preference", "equal.test", 1, { { NULL, NULL } }, "a bounced relay=none dsn=5.4.6 (mail for equal.test loops back to myself)\n", "", we_are_9 },
    { "our address as a next hop", "[10.0.0.9]", 1, { { NULL, NULL } }, "a bounced relay=none dsn=5.4.6 (mail for 10.0.0.9 loops back to myself)\n", "", we_are_9 },
    { "our name as a next hop", "[m9.test]:25", 1, { { NULL, NULL } }, "a bounced relay=none dsn=5.4.6 (mail for m9.test loops back to myself)\n", "", we_are_9 },
    { "but another port is another program", "[10.0.0.9]:10025", 1, { { "10.0.0.9", EHLO ACCEPT QUIT } }, "a sent relay=10.0.0.9[10.0.0.9]:10025" DONE, "", we_are_9 },
    { "mail for which we are the best MX goes to another transport", "self1.test", 2, { { NULL, NULL } }, "a@x.test passed to local:x.test\nb@x.test passed to local:x.test\n", "", to_local },
    { "which may not exist", "self1.test", 1, { { NULL, NULL } }, "a deferred relay=none dsn=4.3.0 (mail transport unavailable)\n", "warning: Q1: no service \"nobody\"\n", to_nobody },
    { "an MX that does not exist is no loop", "selfgone.test", 1, { { NULL, NULL } },
      "a bounced relay=none dsn=5.4.4 (" NOTFOUND "gone.test type=A: Host not found)\n", "", we_are_9 },
    { "a server with our name is we", "[10.0.0.1]", 1, { { "10.0.0.1", GREET ">250-My.Test\n>250 SIZE\n" QUIT } },
      "a bounced relay=10.0.0.1[10.0.0.1]:25 dsn=5.4.6 (mail for [10.0.0.1] loops back to myself)\n",
      "warning: host 10.0.0.1[10.0.0.1]:25 replied to HELO/EHLO with my own hostname my.test\n", NULL },
    { "but not on another port", "[10.0.0.1]:10025", 1, { { "10.0.0.1", GREET ">250-my.test\n>250 PIPELINING\n" ACCEPT QUIT } }, "a sent relay=10.0.0.1[10.0.0.1]:10025" DONE, "", NULL },
    { "our name in a greeting is worth a warning", "[10.0.0.1]", 1, { { "10.0.0.1", ">220 my.test ESMTP\n<EHLO\n>250-mx\n>250 PIPELINING\n" ACCEPT QUIT } }, SENT1,
      "warning: host 10.0.0.1[10.0.0.1]:25 greeted me with my own hostname my.test\n", NULL },
    /* S-08 */
    { "no such domain, but a fallback relay", "gone.test", 1, { OK7 }, "a sent relay=10.0.0.7[10.0.0.7]:25" DONE, NULL, fallback },
    { "hosts down: the fallback relay, and no host twice", "[10.0.0.1]", 1, { { "10.0.0.1", REFUSE }, OK7 }, "a sent relay=10.0.0.7[10.0.0.7]:25" DONE, NULL, fallback },
    { "recipient refused for now: the fallback relay", "[10.0.0.1]", 1, { { "10.0.0.1", GREET ">250 mx\n<MAIL\n>250 ok\n<RCPT\n>450 later\n" QUIT }, OK7 },
      "a sent relay=10.0.0.7[10.0.0.7]:25" DONE, "Q1: host 10.0.0.1[10.0.0.1] said: 450 later (in reply to RCPT TO command)\n", fallback },
    { "no answer from the name server: the fallback relay", "temp.test", 1, { OK7 }, "a sent relay=10.0.0.7[10.0.0.7]:25" DONE, NULL, fallback },
    { "refused for good: no fallback", "[10.0.0.1]", 1, { { "10.0.0.1", GREET ">250 mx\n<MAIL\n>550 no\n" QUIT } },
      "a bounced relay=10.0.0.1[10.0.0.1]:25 dsn=5.0.0 (host 10.0.0.1[10.0.0.1] said: 550 no (in reply to MAIL FROM command))\n", "", fallback },
    { "refused for good, but softly: the fallback", "[10.0.0.1]", 1, { { "10.0.0.1", GREET ">250 mx\n<MAIL\n>550 no\n" QUIT }, OK7 },
      "a sent relay=10.0.0.7[10.0.0.7]:25" DONE, NULL, soft_fallback },
    { "we are the MX: no fallback, it would come back", "self1.test", 1, { { NULL, NULL } },
      "a bounced relay=none dsn=5.4.6 (mail for self1.test loops back to myself)\n", "", fallback_self },
    { "we are the second MX, the first is down: no fallback", "self2.test", 1, { { "10.0.0.1", REFUSE } },
      "a deferred relay=none dsn=4.4.1 dead (connect to m1.test[10.0.0.1]:25: Connection refused)\n", NULL, fallback_self },
    { "the last attempt gives the reason", "gone.test", 1, { { "10.0.0.7", REFUSE } },
      "a deferred relay=none dsn=4.4.1 dead (connect to 10.0.0.7[10.0.0.7]:25: Connection refused)\n", NULL, fallback },
    /* S-09 */
    { "a relayhost that does not exist is our mistake", "gone.test", 1, { { NULL, NULL } }, "a deferred relay=none dsn=4.3.5 (" NOTFOUND "gone.test type=A: Host not found)\n",
      "warning: relayhost configuration problem\n", relay },
    /* S-10 */
    { "names of this machine", "[hosts.test]", 1, { OK1 }, "a sent relay=hosts.test[10.0.0.1]:25" DONE, "", native },
    { "names of the DNS, then of this machine", "[mixed.test]", 1, { OK2 }, "a sent relay=mixed.test[10.0.0.2]:25" DONE, "", both_ways },
    { "without DNS there is no MX", "hosts.test", 1, { OK1 }, "a sent relay=hosts.test[10.0.0.1]:25" DONE, "", no_dns },
    /* S-14 */
    { "from the address of our choice", "[10.0.0.1]", 1, { OK1 }, SENT1, "", bind4 },
    { "which we may not use: from another", "[10.0.0.1]", 1, { OK1 }, SENT1,
      "warning: 10.0.0.1[10.0.0.1]: bind to the source address: Cannot assign requested address; another is used\n", bind_may },
    { "which we may not use, but must", "[10.0.0.1]", 1, { { NULL, NULL } },
      "a deferred relay=none dsn=4.4.1 dead (connect to 10.0.0.1[10.0.0.1]:25: bind to the source address: Cannot assign requested address)\n", NULL, bind_must },
    /* S-15, S-43 */
    { "a name beyond ASCII", "b\xc3\xbc" "cher.test", 1, { OK1 }, "a sent relay=xn--bcher-kva.test[10.0.0.1]:25" DONE, "", NULL },
    { "what is neither", "b\xfc" "cher.test", 1, { { NULL, NULL } },
      "a bounced relay=none dsn=5.4.4 (Name service error for name=b\xfc" "cher.test type=MX: Malformed or unexpected name server reply)\n", "", NULL },
    { "an unknown service", "[10.0.0.1]:nosuchservice", 1, { { NULL, NULL } },
      "a deferred relay=none dsn=4.3.5 (unknown service in next hop \"[10.0.0.1]:nosuchservice\")\n", "warning: unknown service in next hop \"[10.0.0.1]:nosuchservice\"\n", NULL },
};

static int all_cases(void *arg PH_UNUSED)
{
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        rig_bind_fails = 0;
        if (!ok(rig_case(&tests[i], 0), "%s", tests[i].name))
            rig_explain(&tests[i]);
    }
    rig_bind_fails = 0;
    return 0;
}

/* The addresses of a next hop, "10.0.0.1 10.0.0.2 ", as they would be tried. */
static const char *hosts_of(struct ph_scope *s, struct smtp *self, const char *nexthop)
{
    struct ph_delivery *d = rig_delivery(s, nexthop, 1, "x: y\r\n\r\n");
    struct smtp_job j = { .agent = self, .d = d, .scope = s };
    struct smtp_hosts h;
    struct smtp_verdict *why;
    struct ph_buf b;
    int is_self;

    ph_buf_init(&b, s, 10000);
    if (smtp_find_hosts(&j, d->nexthop, &h, &why, &is_self) < 0)
        return why->text.p;
    for (size_t i = 0; i < h.n; i++)
        ph_buf_printf(&b, "%.*s ", PH_FMT(ph_ip_format(s, &h.at[i].ip)));
    return b.p;
}

static int count_words(const char *text)
{
    int n = 0;

    for (; *text; text++)
        n += *text == ' ';
    return n;
}

/* How many of the first addresses tried are of IPv6, in 200 look-ups. */
static int first_v6(struct ph_scope *s, struct smtp *self, const char *nexthop)
{
    int n = 0;

    for (int i = 0; i < 200; i++)
        n += strncmp(hosts_of(s, self, nexthop), "2001", 4) == 0;
    return n;
}

/* S-01, S-06: families, order, limits. */
static int orders(void *arg PH_UNUSED)
{
    PH_SCOPED(s, NULL);
    struct smtp self;
    const char *got;

    rig_forget(NULL);
    rig_agent(&self, s);
    self.random = 42;
    self.p.randomize = 0;
    is_bytes(ph_cstr(hosts_of(s, &self, "many4.test")), "10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 ", "not shuffled: as they came, five at most");
    ok(strstr(rig.queries, "AAAA") == NULL, "without IPv6 nobody is asked for AAAA");
    self.p.address_limit = 0;
    is_int(count_words(hosts_of(s, &self, "many4.test")), 6, "limit 0: all");
    self.p.address_limit = 5;
    self.p.randomize = 1;
    int first = 0;
    for (int i = 0; i < 200; i++)
        first += strncmp(hosts_of(s, &self, "many4.test"), "10.0.0.1 ", 9) == 0;
    ok(first > 5 && first < 100, "shuffled: the first of six leads sometimes (%d of 200)", first);
    self.use_ipv6 = 1;
    got = hosts_of(s, &self, "many.test");
    ok(count_words(got) == 5 && strstr(got, "2001"), "both families within the limit, though the other is preferred: %s", got);
    self.p.balance = 0;
    got = hosts_of(s, &self, "many.test");
    ok(count_words(got) == 5 && !strstr(got, "2001"), "not when the balance is off: %s", got);
    first = first_v6(s, &self, "both.test");
    ok(first > 50 && first < 150, "any: either family first (%d of 200)", first);
    self.p.address_preference = PH_STR("ipv6");
    is_int(first_v6(s, &self, "both.test"), 200, "ipv6 first");
    self.p.address_preference = PH_STR("ipv4");
    is_int(first_v6(s, &self, "both.test"), 0, "ipv4 first");
    self.use_ipv4 = 0;
    is_bytes(ph_cstr(hosts_of(s, &self, "both.test")), "2001:db8::1 ", "inet_protocols = ipv6: no other");
    rig.queries[0] = 0;
    hosts_of(s, &self, "both.test");
    ok(strstr(rig.queries, "A both.test\n") == strstr(rig.queries, "AAAA both.test\n") + 3, "and nobody is asked for A");
    return 0;
}

/* S-06, S-07: how many are tried. */
static int limits(void *arg PH_UNUSED)
{
    static const struct server v[] = { BUSY("10.0.0.1"), BUSY("10.0.0.2"), BUSY("10.0.0.3"), { NULL, NULL } };
    static const struct server half[] = { { "10.0.0.1", ">421 no\n" }, { "10.0.0.2", ">220 mx\n<EHLO\n" }, { "10.0.0.3", EHLO ACCEPT QUIT }, { NULL, NULL } };

    for (int64_t limit = 0; limit <= 3; limit++) {
        PH_SCOPED(s, NULL);
        struct smtp self;

        rig_forget(v);
        rig_agent(&self, s);
        self.p.session_limit = limit;
        rig_start(s);
        rig_deliver(&self, rig_delivery(s, "mx.test", 1, "x: y\r\n\r\n"));
        is_int(rig.connects, limit ? limit : 3, "smtp_mx_session_limit = %lld", (long long)limit);
    }
    PH_SCOPED(s, NULL);
    struct smtp self;

    rig_forget(half);
    rig_agent(&self, s);
    rig_start(s);
    rig_deliver(&self, rig_delivery(s, "mx.test", 1, "x: y\r\n\r\n"));
    ok(strstr(rig.outcomes, "a sent relay=m3.test") != NULL, "sessions that failed before the handshake was done do not count");
    return 0;
}

int main(void)
{
    rig_zone = zone;
    ph_run_main(all_cases, NULL);
    ph_run_main(orders, NULL);
    ph_run_main(limits, NULL);
    return done_testing();
}
