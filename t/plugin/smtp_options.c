/* t/plugin/smtp_options.c: what parameters, flags and extensions change in the
 * dialogue.  Run alone: make t/plugin/smtp_options.t && prove -v t/plugin/smtp_options.t */
#include <posthorn/clock.h>
#include "t/plugin/smtp_rig.h"
#include "t/unit/tap.h"

#define OFFER(words) GREET ">250-mx\n>250-PIPELINING\n" words
#define REST  ">250 2.1.0 ok\n>250 2.1.5 ok\n>354 go\n.\n>250 2.0.0 Ok: queued as 1\n" QUIT
#define TALK(mail, rcpt) "=MAIL FROM:<s@x.test>" mail "\n=RCPT TO:<a@x.test>" rcpt "\n=DATA\n" REST
#define OLD_SMTP ">250 mx\n<MAIL\n>250 ok\n<RCPT\n>250 ok\n<DATA\n>354 go\n.\n>250 2.0.0 Ok: queued as 1\n" QUIT

static void body7(struct smtp *self PH_UNUSED, struct ph_delivery *d) { d->message->facts |= PH_FACT_BODY_7BIT; }
static void body8(struct smtp *self PH_UNUSED, struct ph_delivery *d) { d->message->facts |= PH_FACT_BODY_8BIT; }
static void dummy_auth(struct smtp *self, struct ph_delivery *d PH_UNUSED) { self->p.dummy_auth = 1; }
static void never_ehlo(struct smtp *self, struct ph_delivery *d PH_UNUSED) { self->p.never_ehlo = 1; }
static void not_always(struct smtp *self, struct ph_delivery *d PH_UNUSED) { self->p.always_ehlo = 0; }
static void skip_4xx_no(struct smtp *self, struct ph_delivery *d PH_UNUSED) { self->p.skip_4xx = 0; }
static void wait_quit(struct smtp *self, struct ph_delivery *d PH_UNUSED) { self->p.skip_quit = 0; }
static void silent(struct smtp *self, struct ph_delivery *d PH_UNUSED) { self->p.discard_keywords = PH_STR("SIZE, silent-discard"); }
static void helo_literal(struct smtp *self, struct ph_delivery *d PH_UNUSED) { self->p.helo_name = PH_STR("[192.0.2.1]"); }

static void all_dsn(struct smtp *self PH_UNUSED, struct ph_delivery *d)
{
    body8(self, d);
    d->message->facts |= PH_FACT_SMTPUTF8 | PH_FACT_UTF8_HEADER;
    d->message->envelope_id = PH_STR("id+1 =");
    d->message->dsn_ret = PH_STR("FULL");
    d->rcpt[0].dsn_orcpt = PH_STR("rfc822;o+ =x@x.test");
    d->rcpt[0].dsn_notify = PH_STR("SUCCESS,DELAY");
}

static void aliased(struct smtp *self PH_UNUSED, struct ph_delivery *d) { d->rcpt[0].original = PH_STR("before@y.test"); }

static void utf8_orcpt(struct smtp *self PH_UNUSED, struct ph_delivery *d)
{
    d->message->facts |= PH_FACT_SMTPUTF8 | PH_FACT_UTF8_HEADER;
    d->rcpt[0].dsn_orcpt = PH_STR("utf-8;b\xc3\xbc+@x.test");
}

static void odd_parts(struct smtp *self PH_UNUSED, struct ph_delivery *d)
{
    d->message->sender = PH_STR("john doe@x.test");
    d->rcpt[0].address = PH_STR("a\"b@x.test");
}

static void no_quoting(struct smtp *self, struct ph_delivery *d)
{
    odd_parts(self, d);
    self->p.quote_envelope = 0;
}

static void null_sender(struct smtp *self PH_UNUSED, struct ph_delivery *d) { d->message->sender = PH_STR(""); }

static void filter(struct smtp *self, struct ph_delivery *d PH_UNUSED)
{
    self->reply_filter = RIG_TABLE("450 busy=550 5.1.1 never\n250-DSN=250-X\nrubbish=220 mx ESMTP\n550 odd=FAIL\n");
}

static void by_address(struct smtp *self, struct ph_delivery *d PH_UNUSED)
{
    self->p.discard_keywords = PH_STR("pipelining");
    self->discard_maps = RIG_TABLE("10.0.0.1=size\n");
}

static void broken_table(struct smtp *self, struct ph_delivery *d PH_UNUSED) { self->discard_maps = RIG_TABLE("10.0.0.1=FAIL\n"); }

static void old_mail(struct smtp *self PH_UNUSED, struct ph_delivery *d) { d->message->arrival_us = ph_wall_us() - 501000000; }

static void fresh_mail(struct smtp *self PH_UNUSED, struct ph_delivery *d) { d->message->arrival_us = ph_wall_us(); }

static void pix_map(struct smtp *self, struct ph_delivery *d)
{
    old_mail(self, d);
    self->pix_maps = RIG_TABLE("10.0.0.1=delay_dotcrlf\n");
}

static void forward(struct smtp *self, struct ph_delivery *d)
{
    struct ph_message *m = d->message;

    self->p.send_xforward = 1;
    m->client_name = PH_STR("c.test");
    m->client_address = PH_STR("2001:db8::5");
    m->client_port = PH_STR("1234");
    m->client_protocol = PH_STR("ESMTP");
    m->client_helo = PH_STR("h+1");
    m->rewrite_context = PH_STR("remote");
}

static void forward_unknown(struct smtp *self, struct ph_delivery *d)
{
    forward(self, d);
    d->message->client_name = PH_STR("unknown");
    d->message->client_helo = PH_STR("");
}

static void forward_local(struct smtp *self, struct ph_delivery *d PH_UNUSED) { self->p.send_xforward = 1; }

static void flags(struct smtp *self, struct ph_delivery *d)
{
    self->flags = SMTP_FLAG_DELIVERED_TO | SMTP_FLAG_ORIGINAL_TO | SMTP_FLAG_RETURN_PATH;
    aliased(self, d);
}

/* G-04 */
static void status_filter(struct smtp *self, struct ph_delivery *d PH_UNUSED)
{
    self->status_filter = RIG_TABLE("2.0.0 250 2.0.0 Ok: queued as 1=2.7.7 fine\n"
                                    "5.1.1 host 10.0.0.1[10.0.0.1] said: 550 5.1.1 b (in reply to RCPT TO command)=4.9.9 not yet\n"
                                    "4.2.1 host 10.0.0.1[10.0.0.1] said: 450 4.2.1 c (in reply to RCPT TO command)=5.9.9 never\n"
                                    "5.1.1 host 10.0.0.1[10.0.0.1] said: 550 5.1.1 d (in reply to RCPT TO command)=2.0.0 a lie\n"
                                    "5.1.1 host 10.0.0.1[10.0.0.1] said: 550 5.1.1 e (in reply to RCPT TO command)=5.0.0\n");
}

static const struct test tests[] = {
    { "the filter of outcomes", "[10.0.0.1]", 5, { { "10.0.0.1", OFFER(">250 X\n")
        "<MAIL\n<RCPT\n<RCPT\n<RCPT\n<RCPT\n<RCPT\n<DATA\n>250 ok\n>250 a\n>550 5.1.1 b\n>450 4.2.1 c\n>550 5.1.1 d\n>550 5.1.1 e\n>354 go\n.\n>250 2.0.0 Ok: queued as 1\n" QUIT } },
      "b deferred" R1 " dsn=4.9.9 (not yet)\n"
      "d bounced" R1 " dsn=5.1.1 (host 10.0.0.1[10.0.0.1] said: 550 5.1.1 d (in reply to RCPT TO command))\n"
      "e bounced" R1 " dsn=5.1.1 (host 10.0.0.1[10.0.0.1] said: 550 5.1.1 e (in reply to RCPT TO command))\n"
      "a sent" R1 " dsn=2.7.7 (fine)\n" "c bounced" R1 " dsn=5.9.9 (never)\n", NULL, status_filter },
    /* S-17 */
    { "HELO only", "[10.0.0.1]", 1, { { "10.0.0.1", ">220 mx ESMTP\n<HELO me.test\n" OLD_SMTP } }, SENT1, "", never_ehlo },
    { "HELO to a server that does not say ESMTP", "[10.0.0.1]", 1, { { "10.0.0.1", ">220 mx SMTP\n<HELO me.test\n" OLD_SMTP } }, SENT1, "", not_always },
    { "EHLO to one that does", "[10.0.0.1]", 1, { { "10.0.0.1", OFFER(">250 SIZE\n") TALK(" SIZE=21", "") } }, SENT1, "", not_always },
    { "an address as our name", "[10.0.0.1]", 1, { { "10.0.0.1", ">220 mx\n=EHLO [192.0.2.1]\n>250-mx\n>250 PIPELINING\n" ACCEPT QUIT } }, SENT1, "", helo_literal },
    { "features of a HELO reply are ignored", "[10.0.0.1]", 1,
      { { "10.0.0.1", GREET ">500 no\n<HELO\n>250-mx\n>250-SIZE 5\n" OLD_SMTP } }, SENT1, "", NULL },
    /* S-16 */
    { "a 4xx greeting that is not skipped", "[10.0.0.1], [10.0.0.2]", 1, { { "10.0.0.1", ">450 wait\n" QUIT } },
      "a deferred" R1 " dsn=4.0.0 dead (host 10.0.0.1[10.0.0.1] refused to talk to me: 450 wait)\n", "", skip_4xx_no },
    /* S-18 */
    { "keywords in any case; size zero is no limit", "[10.0.0.1]", 1, { { "10.0.0.1", OFFER(">250-size 0\n>250 dsn\n") TALK(" SIZE=21", " ORCPT=rfc822;a@x.test") } }, SENT1, "", NULL },
    { "discarded without a word", "[10.0.0.1]", 1, { { "10.0.0.1", OFFER(">250 SIZE\n") TALK("", "") } }, SENT1, "", silent },
    { "discarded by address, instead of those for all", "[10.0.0.1]", 1, { { "10.0.0.1", OFFER(">250-8BITMIME\n>250 SIZE\n") TALK("", "") } }, SENT1,
      "discarding EHLO keywords: SIZE\n", by_address },
    { "a table that cannot say defers", "[10.0.0.1]", 1, { { "10.0.0.1", ">220 mx\n" QUIT } }, "a deferred relay=none dsn=4.3.0 (the table is broken)\n", NULL, broken_table },
    { "what we do not use", "[10.0.0.1]", 1, { { "10.0.0.1", OFFER(">250-ENHANCEDSTATUSCODES\n>250-BINARYMIME\n>250 VRFY\n") TALK("", "") } }, SENT1, "", NULL },
    /* S-21 */
    { "BODY=7BIT when it was declared", "[10.0.0.1]", 1, { { "10.0.0.1", OFFER(">250 8BITMIME\n") TALK(" BODY=7BIT", "") } }, SENT1, "", body7 },
    { "BODY=8BITMIME", "[10.0.0.1]", 1, { { "10.0.0.1", OFFER(">250 8BITMIME\n") TALK(" BODY=8BITMIME", "") } }, SENT1, "", body8 },
    { "no BODY for plain mail", "[10.0.0.1]", 1, { { "10.0.0.1", OFFER(">250 8BITMIME\n") TALK("", "") } }, SENT1, "", NULL },
    { "no BODY for a server that does not know it", "[10.0.0.1]", 1, { { "10.0.0.1", OFFER(">250 SIZE\n") TALK(" SIZE=21", "") } }, SENT1, "", body7 },
    { "everything, in order, in xtext", "[10.0.0.1]", 1,
      { { "10.0.0.1", OFFER(">250-SIZE\n>250-8BITMIME\n>250-SMTPUTF8\n>250 DSN\n")
          TALK(" SIZE=21 BODY=8BITMIME ENVID=id+2B1+20+3D RET=FULL SMTPUTF8", " ORCPT=rfc822;o+2B+20+3Dx@x.test NOTIFY=SUCCESS,DELAY") } }, SENT1, "", all_dsn },
    { "nothing of it for a server that offers nothing", "[10.0.0.1]", 1, { { "10.0.0.1", OFFER(">250-SMTPUTF8\n>250 X\n") TALK(" SMTPUTF8", "") } }, SENT1, "", utf8_orcpt },
    { "ORCPT is always said: who it was before aliasing", "[10.0.0.1]", 1, { { "10.0.0.1", OFFER(">250 DSN\n") TALK("", " ORCPT=rfc822;before@y.test") } }, SENT1, "", aliased },
    { "ORCPT in UTF-8 for a server that takes it", "[10.0.0.1]", 1,
      { { "10.0.0.1", OFFER(">250-SMTPUTF8\n>250 DSN\n") TALK(" SMTPUTF8", " ORCPT=utf-8;b\\x{FC}\\x{2B}@x.test") } }, SENT1, "", utf8_orcpt },
    { "AUTH=<>", "[10.0.0.1]", 1, { { "10.0.0.1", OFFER(">250 AUTH PLAIN\n") TALK(" AUTH=<>", "") } }, SENT1, "", dummy_auth },
    { "AUTH=<> also where AUTH= was said", "[10.0.0.1]", 1, { { "10.0.0.1", OFFER(">250 AUTH=PLAIN\n") TALK(" AUTH=<>", "") } }, SENT1, "", dummy_auth },
    /* S-22 */
    { "local parts are quoted", "[10.0.0.1]", 1, { { "10.0.0.1", OFFER(">250 X\n") "=MAIL FROM:<\"john doe\"@x.test>\n=RCPT TO:<\"a\\\"b\"@x.test>\n=DATA\n" REST } }, SENT1, "", odd_parts },
    { "or not", "[10.0.0.1]", 1, { { "10.0.0.1", OFFER(">250 X\n") "=MAIL FROM:<john doe@x.test>\n=RCPT TO:<a\"b@x.test>\n=DATA\n" REST } }, SENT1, "", no_quoting },
    { "the null sender", "[10.0.0.1]", 1, { { "10.0.0.1", OFFER(">250 X\n") "=MAIL FROM:<>\n=RCPT TO:<a@x.test>\n=DATA\n" REST } }, SENT1, "", null_sender },
    /* S-29 */
    { "the answer to QUIT is waited for, or not", "[10.0.0.1]", 1, { { "10.0.0.1", OFFER(">250 X\n") TALK("", "") ">221 bye\n" } }, SENT1, "", wait_quit },
    /* S-31 */
    { "a reply is changed before it is read", "[10.0.0.1]", 1, { { "10.0.0.1", ">rubbish\n<EHLO\n>250-mx\n>250-DSN\n>250 PIPELINING\n=MAIL FROM:<s@x.test>\n<RCPT TO:<a@x.test>\n<DATA\n>250 ok\n>450 busy\n>503 no\n" QUIT } },
      "a bounced" R1 " dsn=5.1.1 (host 10.0.0.1[10.0.0.1] said: 550 5.1.1 never (in reply to RCPT TO command))\n", "", filter },
    { "a filter that fails leaves it", "[10.0.0.1]", 1, { { "10.0.0.1", PLAIN "<MAIL\n>550 odd\n" QUIT } },
      "a bounced" R1 " dsn=5.0.0 (host 10.0.0.1[10.0.0.1] said: 550 odd (in reply to MAIL FROM command))\n", "warning: 10.0.0.1[10.0.0.1]:25: reply filter: the table is broken\n", filter },
    { "empty lines, garbage, controls and bad UTF-8", "[10.0.0.1]", 1, { { "10.0.0.1", PLAIN "<MAIL\n>\n>25\n>abc\n>550-5.1.8 a\\tb\n>550- \x01\xff\n>550 5.1.8 \xc3\xbc\n" QUIT } },
      "a bounced" R1 " dsn=5.1.8 (host 10.0.0.1[10.0.0.1] said: 550-5.1.8 a?b 550- ?? 550 5.1.8 \xc3\xbc (in reply to MAIL FROM command))\n", "", NULL },
    { "lines that end with LF alone", "[10.0.0.1]", 1, { { "10.0.0.1", "+220 mx ESMTP\\n\n<EHLO\n+250-mx\\n250 PIPELINING\\n\n" ACCEPT QUIT } }, SENT1, "", NULL },
    { "codes without text", "[10.0.0.1]", 1, { { "10.0.0.1", ">220\n<EHLO\n>250\n<MAIL\n>250\n<RCPT\n>250\n<DATA\n>354\n.\n>250\n" QUIT } },
      "a sent" R1 " dsn=2.0.0 (250)\n", "", NULL },
    { "an enhanced code without text", "[10.0.0.1]", 1, { { "10.0.0.1", PLAIN "<MAIL\n>550 5.7.2\n" QUIT } },
      "a bounced" R1 " dsn=5.7.2 (host 10.0.0.1[10.0.0.1] said: 550 5.7.2 (in reply to MAIL FROM command))\n", "", NULL },
    /* S-34 */
    { "blotted out greeting, old mail: no ESMTP", "[10.0.0.1]", 1, { { "10.0.0.1", ">220 **********2******0*****\n<HELO me.test\n" OLD_SMTP } }, SENT1,
      "Q1: enabling PIX workarounds: disable_esmtp,delay_dotcrlf for 10.0.0.1[10.0.0.1]:25\n", old_mail },
    { "who hangs up while the final dot is held back has no message", "[10.0.0.1]", 1,
      { { "10.0.0.1", ">220 **********2******0*****\n<HELO me.test\n>250 mx\n<MAIL\n>250 ok\n<RCPT\n>250 ok\n<DATA\n>354 go\n~100\n>250 early\n" } },
      "a deferred" R1 " dsn=4.4.2 dead (lost connection with 10.0.0.1[10.0.0.1] while sending end of data -- message may be sent more than once)\n",
      NULL, old_mail },
    { "fresh mail is tried as ever", "[10.0.0.1]", 1, { { "10.0.0.1", ">220 **********2******0*****\n<EHLO me.test\n>250-mx\n>250 PIPELINING\n" ACCEPT QUIT } }, SENT1, "", fresh_mail },
    { "workarounds by address", "[10.0.0.1]", 1, { { "10.0.0.1", ">220 **********2******0*****\n<EHLO me.test\n>250-mx\n>250 PIPELINING\n" ACCEPT QUIT } }, SENT1,
      "Q1: enabling PIX workarounds: delay_dotcrlf for 10.0.0.1[10.0.0.1]:25\n", pix_map },
    /* S-35 */
    { "XFORWARD", "[10.0.0.1]", 1,
      { { "10.0.0.1", OFFER(">250 XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE\n")
          "=XFORWARD NAME=c.test ADDR=IPV6:2001:db8::5 PORT=1234 PROTO=ESMTP HELO=h+2B1 IDENT=Q1 SOURCE=REMOTE\n<MAIL\n<RCPT\n<DATA\n>250 ok\n" REST } }, SENT1, "", forward },
    { "XFORWARD of what is not known, and only what is asked for", "[10.0.0.1]", 1,
      { { "10.0.0.1", OFFER(">250 xforward name helo xyz\n") "=XFORWARD NAME=[UNAVAILABLE] HELO=[UNAVAILABLE]\n<MAIL\n<RCPT\n<DATA\n>250 ok\n" REST } }, SENT1, "", forward_unknown },
    { "XFORWARD of mail that has no client", "[10.0.0.1]", 1,
      { { "10.0.0.1", OFFER(">250 XFORWARD NAME ADDR SOURCE\n") "=XFORWARD SOURCE=LOCAL\n<MAIL\n<RCPT\n<DATA\n>250 ok\n" REST } }, SENT1, "", forward_local },
    { "XFORWARD refused: the mail goes all the same", "[10.0.0.1]", 1,
      { { "10.0.0.1", OFFER(">250 XFORWARD SOURCE\n") "<XFORWARD\n<MAIL\n<RCPT\n<DATA\n>501 no\n" REST } }, SENT1,
      "warning: host 10.0.0.1[10.0.0.1]:25 said: 501 no (in reply to XFORWARD name/address command)\n", forward_local },
    { "no XFORWARD where it is not offered", "[10.0.0.1]", 1, { { "10.0.0.1", OFFER(">250 X\n") TALK("", "") } }, SENT1, "", forward },
    /* S-37 */
    { "flags=DOR", "[10.0.0.1]", 1, { { "10.0.0.1", OFFER(">250 SIZE\n") TALK(" SIZE=100", "") } }, SENT1, "", flags },
};

static int all_cases(void *arg PH_UNUSED)
{
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        if (!ok(rig_case(&tests[i], 0), "%s", tests[i].name))
            rig_explain(&tests[i]);
    is_bytes(ph_cstr(rig.content), "Return-Path: <s@x.test>|X-Original-To: before@y.test|Delivered-To: a@x.test|Subject: x||hello|\n", "headers of the flags, in their order");
    return 0;
}

/* G-07 */
static int loops(void *arg PH_UNUSED)
{
    static const struct server none[] = { { NULL, NULL } };
    static const struct { const char *name, *text; int loops; } cases[] = {
        { "delivered to it before, in other letters and folded", "Subject: x\r\ndelivered-to:\r\n A@X.test\r\n\r\nbody\r\n", 1 },
        { "delivered to another", "Delivered-To: b@x.test\r\n\r\nbody\r\n", 0 },
        { "in the body it means nothing", "Subject: x\r\n\r\nDelivered-To: a@x.test\r\n", 0 },
    };
    static const struct server one[] = { { "10.0.0.1", EHLO ACCEPT QUIT }, { NULL, NULL } };

    for (size_t i = 0; i < 3; i++) {
        PH_SCOPED(s, NULL);
        struct smtp self;

        rig_forget(cases[i].loops ? none : one);
        rig_agent(&self, s);
        self.flags = SMTP_FLAG_DELIVERED_TO;
        rig_start(s);
        rig_deliver(&self, rig_delivery(s, "[10.0.0.1]", 1, cases[i].text));
        is_bytes(ph_cstr(rig.outcomes), cases[i].loops ? "a bounced relay=smtp dsn=5.4.6 (mail forwarding loop for a@x.test)\n" : SENT1, "%s", cases[i].name);
        ph_group_wait(rig.servers, ph_in_ms(5000));
    }
    return 0;
}

/* S-45, S-46 */
static int success_notices(void *arg PH_UNUSED)
{
    struct test t = { .nexthop = "[10.0.0.1]", .rcpts = 1, .servers = { { "10.0.0.1", OFFER(">250 DSN\n") TALK("", " ORCPT=rfc822;a@x.test") } }, .outcomes = SENT1 };

    ok(rig_case(&t, 0) && strstr(rig.details, " next_reports "), "a server with DSN tells the sender itself");
    t.servers[0].script = OFFER(">250 X\n") TALK("", "");
    ok(rig_case(&t, 0) && strstr(rig.details, "action=relayed remote=dns;10.0.0.1 diagnostic=smtp;250 2.0.0 Ok: queued as 1"), "one without: we say relayed");
    return 0;
}

static void probe(struct smtp *self PH_UNUSED, struct ph_delivery *d) { d->probe = 1; }

static void probe_data(struct smtp *self, struct ph_delivery *d)
{
    d->probe = 1;
    self->p.verify_target = PH_STR("data");
}

/* Y-01: nothing is delivered. */
static const struct test probes[] = {
    { "a probe ends after RCPT", "[10.0.0.1]", 2, { { "10.0.0.1", OFFER(">250 X\n") "<MAIL\n<RCPT\n<RCPT\n>250 ok\n>250 2.1.5 yes\n>550 5.1.1 no\n=RSET\n>250 ok\n" QUIT } },
      "a sent" R1 " dsn=2.1.5 (250 2.1.5 yes)\nb bounced" R1 " dsn=5.1.1 (host 10.0.0.1[10.0.0.1] said: 550 5.1.1 no (in reply to RCPT TO command))\n", "", probe },
    { "or after DATA, without a message", "[10.0.0.1]", 1, { { "10.0.0.1", OFFER(">250 X\n") "<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 2.1.5 yes\n>354 go\n=(nothing)\n" } },
      "a sent" R1 " dsn=3.0.0 (354 go)\n", "", probe_data },
    { "which may be refused", "[10.0.0.1]", 1, { { "10.0.0.1", OFFER(">250 X\n") "<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 2.1.5 yes\n>550 5.7.1 no\n=RSET\n>250 ok\n" QUIT } },
      "a bounced" R1 " dsn=5.7.1 (host 10.0.0.1[10.0.0.1] said: 550 5.7.1 no (in reply to DATA command))\n", "", probe_data },
    { "a probe of a recipient who is refused never comes to DATA", "[10.0.0.1]", 1, { { "10.0.0.1", PLAIN "<MAIL\n>250 ok\n<RCPT\n>550 5.1.1 no\n=RSET\n>250 ok\n" QUIT } },
      "a bounced" R1 " dsn=5.1.1 (host 10.0.0.1[10.0.0.1] said: 550 5.1.1 no (in reply to RCPT TO command))\n", "", probe_data },
};

static int all_probes(void *arg PH_UNUSED)
{
    for (size_t i = 0; i < sizeof probes / sizeof *probes; i++)
        if (!ok(rig_case(&probes[i], 0), "%s", probes[i].name))
            rig_explain(&probes[i]);
    return 0;
}

/* S-23: more recipients than one window; each reply is for its own command. */
static int many(void *arg PH_UNUSED)
{
    enum { N = 150 };
    PH_SCOPED(s, NULL);
    struct ph_buf script, want;
    struct smtp self;
    struct ph_delivery *d = rig_delivery(s, "[10.0.0.1]", N, "x: y\r\n\r\n");

    ph_buf_init(&script, s, 1 << 20);
    ph_buf_init(&want, s, 1 << 20);
    ph_buf_puts(&script, EHLO "<MAIL\n>250 ok\n");
    for (int i = 0; i < N; i++) {
        d->rcpt[i].address = ph_str_printf(s, "r%03d-with-a-rather-long-name@x.test", i);
        ph_buf_printf(&script, "<RCPT TO:<r%03d-\n>%s\n", i, i % 3 == 1 ? "550 no" : "250 ok");
    }
    ph_buf_puts(&script, "<DATA\n>354 go\n.\n>250 done\n" QUIT);
    struct server v[2] = { { "10.0.0.1", script.p }, { NULL, NULL } };
    rig_forget(v);
    rig_agent(&self, s);
    rig_start(s);
    rig_deliver(&self, d);
    int good = 0;
    for (int i = 0; i < N; i++)
        good += d->rcpt[i].state == (i % 3 == 1 ? PH_RCPT_BOUNCED : PH_RCPT_SENT);
    is_int(good, N, "%d recipients: each has the fate its reply says", N);
    is_bytes(ph_cstr(rig.complaints), "", "the server saw them in order");
    return 0;
}

int main(void)
{
    ph_run_main(all_cases, NULL);
    ph_run_main(loops, NULL);
    ph_run_main(success_notices, NULL);
    ph_run_main(all_probes, NULL);
    ph_run_main(many, NULL);
    return done_testing();
}
