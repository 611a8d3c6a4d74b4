/* t/plugin/smtp.c: one delivery over SMTP: what each server says, and what must
 * come of it.  Run alone: make t/plugin/smtp.t && prove -v t/plugin/smtp.t */
#include "t/plugin/smtp_rig.h"
#include "t/unit/tap.h"

/* mx.test has three servers; 10.test has none, but an address. */
static const char zone[] =
    "mx.test MX 10 m1.test\n" "mx.test MX 20 m2.test\n" "mx.test MX 30 m3.test\n"
    "m1.test A 10.0.0.1\n" "m2.test A 10.0.0.2\n" "m3.test A 10.0.0.3\n" "m9.test A 10.0.0.9\n"
    "temp.test MX TEMP\n" "10.test A 10.0.0.1\n" "null.test MX 0 .\n" "noaddr.test MX 10 gone.test\n" "self.test MX 10 m9.test\n";

static void fast(struct smtp *self, struct ph_delivery *d PH_UNUSED)
{
    self->p.helo_timeout = self->p.mail_timeout = self->p.rcpt_timeout = self->p.data_done_timeout = 0;
}

static void slow_end(struct smtp *self, struct ph_delivery *d PH_UNUSED)
{
    self->p.data_done_timeout = 0;
}

static void no_skip(struct smtp *self, struct ph_delivery *d PH_UNUSED)
{
    self->p.skip_5xx = 0;
}

static void relay(struct smtp *self, struct ph_delivery *d)
{
    self->relayhost = d->nexthop;
}

static void fallback(struct smtp *self, struct ph_delivery *d PH_UNUSED)
{
    self->p.fallback_relay = PH_STR("[10.0.0.7]");
}

static void we_are_9(struct smtp *self, struct ph_delivery *d PH_UNUSED)
{
    we_are(self, "10.0.0.9");
}

static void we_are_2(struct smtp *self, struct ph_delivery *d PH_UNUSED)
{
    we_are(self, "10.0.0.2");
}

static void big(struct smtp *self PH_UNUSED, struct ph_delivery *d)
{
    d->message->header_bytes = 2000000;
}

static void unreadable(struct smtp *self PH_UNUSED, struct ph_delivery *d)
{
    d->message->fd = -2;
}

static void utf8(struct smtp *self PH_UNUSED, struct ph_delivery *d)
{
    d->message->facts |= PH_FACT_SMTPUTF8 | PH_FACT_UTF8_HEADER;
}

static void body8(struct smtp *self PH_UNUSED, struct ph_delivery *d)
{
    d->message->facts |= PH_FACT_BODY_8BIT;
}

static void dsn(struct smtp *self PH_UNUSED, struct ph_delivery *d)
{
    d->message->envelope_id = PH_STR("e=1");
    d->message->dsn_ret = PH_STR("HDRS");
    d->rcpt[0].dsn_notify = PH_STR("SUCCESS");
    d->rcpt[0].dsn_orcpt = PH_STR("rfc822;o+1@x.test");
}

static void odd_sender(struct smtp *self PH_UNUSED, struct ph_delivery *d)
{
    d->message->sender = PH_STR("a\r\nRCPT TO:<b@x.test>@x.test");
}

static void discard(struct smtp *self, struct ph_delivery *d PH_UNUSED)
{
    self->p.discard_keywords = PH_STR("pipelining, size");
}
static const struct test tests[] = {
    { "one recipient, pipelined", "[10.0.0.1]", 1, { { "10.0.0.1", EHLO ACCEPT QUIT } }, SENT1, "", NULL },
    { "one recipient, lock-step", "[10.0.0.1]", 1,
      { { "10.0.0.1", PLAIN "<MAIL FROM:<s@x.test>\n>250 ok\n<RCPT TO:<a@x.test>\n>250 ok\n<DATA\n>354 go\n.\n>250 done\n" QUIT } },
      "a sent" R1 " dsn=2.0.0 (250 done)\n", "", NULL },
    { "another port", "[10.0.0.1]:2525", 1, { { "10.0.0.1", EHLO ACCEPT QUIT } },
      "a sent relay=10.0.0.1[10.0.0.1]:2525 dsn=2.0.0 (250 2.0.0 Ok: queued as 1)\n", "", NULL },
    { "EHLO refused, HELO does", "[10.0.0.1]", 1,
      { { "10.0.0.1", GREET ">502 what\n<HELO me.test\n>250-mx\n>250 PIPELINING\n<MAIL\n>250 ok\n<RCPT\n>250 ok\n<DATA\n>354 go\n.\n>250 ok\n" QUIT } },
      "a sent" R1 " dsn=2.0.0 (250 ok)\n", "", NULL },
    { "HELO refused for good", "mx.test", 1, { { "10.0.0.1", GREET ">502 what\n<HELO\n>550 no\n" QUIT } },
      "a bounced relay=m1.test[10.0.0.1]:25 dsn=5.0.0 (host m1.test[10.0.0.1] refused to talk to me: 550 no)\n", "", NULL },
    { "each recipient has its own fate", "[10.0.0.1]", 3,
      { { "10.0.0.1", EHLO "<MAIL\n>250 ok\n<RCPT TO:<a\n<RCPT TO:<b\n<RCPT TO:<c\n<DATA\n>550 5.1.1 no\\tsuch user\n>450 later\n>250 ok\n>354 go\n.\n>250 ok\n" QUIT } },
      "a bounced" R1 " dsn=5.1.1 (host 10.0.0.1[10.0.0.1] said: 550 5.1.1 no?such user (in reply to RCPT TO command))\n"
      "c sent" R1 " dsn=2.0.0 (250 ok)\n"
      "b deferred" R1 " dsn=4.0.0 (host 10.0.0.1[10.0.0.1] said: 450 later (in reply to RCPT TO command))\n", "", NULL },
    { "a 5xx greeting is skipped", "mx.test", 1, { { "10.0.0.1", ">554 go away\n" QUIT }, { "10.0.0.2", EHLO ACCEPT QUIT } },
      "a sent relay=m2.test[10.0.0.2]:25 dsn=2.0.0 (250 2.0.0 Ok: queued as 1)\n",
      "Q1: host m1.test[10.0.0.1] refused to talk to me: 554 go away\n", NULL },
    { "a 5xx greeting is final", "mx.test", 1, { { "10.0.0.1", ">554 go away\n" QUIT } },
      "a bounced relay=m1.test[10.0.0.1]:25 dsn=5.0.0 (host m1.test[10.0.0.1] refused to talk to me: 554 go away)\n", "", no_skip },
    { "a 3xx greeting is no SMTP", "[10.0.0.1]", 1, { { "10.0.0.1", ">354 hm\n" QUIT } },
      "a bounced" R1 " dsn=5.5.0 (host 10.0.0.1[10.0.0.1] refused to talk to me: 354 hm)\n", "", NULL },
    { "the only host refuses for now", "[10.0.0.1]", 1, { { "10.0.0.1", ">421-4.3.2 not\n>421 4.3.2 now\n" } },
      "a deferred" R1 " dsn=4.3.2 dead (host 10.0.0.1[10.0.0.1] refused to talk to me: 421-4.3.2 not 421 4.3.2 now)\n", "", NULL },
    { "garbage before the greeting is skipped", "[10.0.0.1]", 1, { { "10.0.0.1", ">hello\n>\n>99 no\n" EHLO ACCEPT QUIT } }, SENT1, "", NULL },
    { "connection refused, next host", "mx.test", 1, { { "10.0.0.1", REFUSE }, { "10.0.0.2", EHLO ACCEPT QUIT } },
      "a sent relay=m2.test[10.0.0.2]:25 dsn=2.0.0 (250 2.0.0 Ok: queued as 1)\n",
      "connect to m1.test[10.0.0.1]:25: Connection refused\n", NULL },
    { "all refused", "mx.test", 2, { { "10.0.0.1", REFUSE }, { "10.0.0.2", REFUSE }, { "10.0.0.3", REFUSE } },
      "a deferred relay=none dsn=4.4.1 dead (connect to m3.test[10.0.0.3]:25: Connection refused)\n"
      "b deferred relay=none dsn=4.4.1 dead (connect to m3.test[10.0.0.3]:25: Connection refused)\n",
      "connect to m1.test[10.0.0.1]:25: Connection refused\nconnect to m2.test[10.0.0.2]:25: Connection refused\n"
      "connect to m3.test[10.0.0.3]:25: Connection refused\n", NULL },
    { "hang-up instead of a greeting", "[10.0.0.1]", 1, { { "10.0.0.1", "" } },
      "a deferred" R1 " dsn=4.4.2 dead (lost connection with 10.0.0.1[10.0.0.1] while receiving the initial server greeting)\n", "", NULL },
    { "silence instead of a greeting", "[10.0.0.1]", 1, { { "10.0.0.1", "zzz" } },
      "a deferred" R1 " dsn=4.4.2 dead (conversation with 10.0.0.1[10.0.0.1] timed out while receiving the initial server greeting)\n", "", fast },
    { "hang-up after EHLO", "[10.0.0.1]", 1, { { "10.0.0.1", GREET } },
      "a deferred" R1 " dsn=4.4.2 dead (lost connection with 10.0.0.1[10.0.0.1] while performing the EHLO handshake)\n", "", NULL },
    { "sender refused for good", "mx.test", 2, { { "10.0.0.1", EHLO "<MAIL\n>550 5.7.1 no\n<RCPT\n>503 x\n<RCPT\n>503 x\n<DATA\n>503 x\n" QUIT } },
      "a bounced relay=m1.test[10.0.0.1]:25 dsn=5.7.1 (host m1.test[10.0.0.1] said: 550 5.7.1 no (in reply to MAIL FROM command))\n"
      "b bounced relay=m1.test[10.0.0.1]:25 dsn=5.7.1 (host m1.test[10.0.0.1] said: 550 5.7.1 no (in reply to MAIL FROM command))\n", "", NULL },
    { "sender refused for now, next host", "mx.test", 1,
      { { "10.0.0.1", PLAIN "<MAIL\n>450 5.7.1 wait\n" QUIT }, { "10.0.0.2", EHLO ACCEPT QUIT } },
      "a sent relay=m2.test[10.0.0.2]:25 dsn=2.0.0 (250 2.0.0 Ok: queued as 1)\n",
      "Q1: host m1.test[10.0.0.1] said: 450 5.7.1 wait (in reply to MAIL FROM command)\n", NULL },
    { "two sessions are enough", "mx.test", 1,
      { { "10.0.0.1", PLAIN "<MAIL\n>450 one\n" QUIT }, { "10.0.0.2", PLAIN "<MAIL\n>450 two\n" QUIT } },
      "a deferred relay=m2.test[10.0.0.2]:25 dsn=4.0.0 (host m2.test[10.0.0.2] said: 450 two (in reply to MAIL FROM command))\n",
      "Q1: host m1.test[10.0.0.1] said: 450 one (in reply to MAIL FROM command)\n", NULL },
    { "recipient refused for now goes to the next host, alone", "mx.test", 2,
      { { "10.0.0.1", EHLO "<MAIL\n<RCPT TO:<a\n<RCPT TO:<b\n<DATA\n>250 ok\n>450 busy\n>250 ok\n>354 go\n.\n>250 one\n" QUIT },
        { "10.0.0.2", EHLO ACCEPT QUIT } },
      "b sent relay=m1.test[10.0.0.1]:25 dsn=2.0.0 (250 one)\n"
      "a sent relay=m2.test[10.0.0.2]:25 dsn=2.0.0 (250 2.0.0 Ok: queued as 1)\n",
      "Q1: host m1.test[10.0.0.1] said: 450 busy (in reply to RCPT TO command)\n", NULL },
    { "one host worked: the site is not dead, whatever the next one does", "mx.test", 2,
      { { "10.0.0.1", EHLO "<MAIL\n<RCPT TO:<a\n<RCPT TO:<b\n<DATA\n>250 ok\n>450 busy\n>250 ok\n>354 go\n.\n>250 one\n" QUIT },
        { "10.0.0.2", REFUSE }, { "10.0.0.3", REFUSE } },
      "b sent relay=m1.test[10.0.0.1]:25 dsn=2.0.0 (250 one)\n"
      "a deferred relay=none dsn=4.4.1 (connect to m3.test[10.0.0.3]:25: Connection refused)\n", NULL, NULL },
    { "DATA refused", "[10.0.0.1]", 1, { { "10.0.0.1", EHLO "<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 ok\n>554 no\n" QUIT } },
      "a bounced" R1 " dsn=5.0.0 (host 10.0.0.1[10.0.0.1] said: 554 no (in reply to DATA command))\n", "", NULL },
    { "DATA answered as if it were done", "[10.0.0.1]", 1, { { "10.0.0.1", EHLO "<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 ok\n>250 done\n" QUIT } },
      "a bounced" R1 " dsn=5.5.0 (Protocol error: host 10.0.0.1[10.0.0.1] said: 250 done (in reply to DATA command))\n", "", NULL },
    { "all refused, DATA accepted: an empty message, no delivery", "[10.0.0.1]", 1,
      { { "10.0.0.1", EHLO "<MAIL\n<RCPT\n<DATA\n>250 ok\n>550 no\n>354 go\n<.\n>250 queued nothing\n" QUIT } },
      "a bounced" R1 " dsn=5.0.0 (host 10.0.0.1[10.0.0.1] said: 550 no (in reply to RCPT TO command))\n", "", NULL },
    { "all refused, lock-step: no DATA", "[10.0.0.1]", 1, { { "10.0.0.1", PLAIN "<MAIL\n>250 ok\n<RCPT\n>550 no\n" QUIT } },
      "a bounced" R1 " dsn=5.0.0 (host 10.0.0.1[10.0.0.1] said: 550 no (in reply to RCPT TO command))\n", "", NULL },
    { "message refused", "[10.0.0.1]", 1, { { "10.0.0.1", EHLO "<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 ok\n>354 go\n.\n>550 5.7.1 spam\n" QUIT } },
      "a bounced" R1 " dsn=5.7.1 (host 10.0.0.1[10.0.0.1] said: 550 5.7.1 spam (in reply to end of DATA command))\n", "", NULL },
    { "message refused for now", "[10.0.0.1]", 1, { { "10.0.0.1", EHLO "<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 ok\n>354 go\n.\n>451 4.3.0 full\n" QUIT } },
      "a deferred" R1 " dsn=4.3.0 (host 10.0.0.1[10.0.0.1] said: 451 4.3.0 full (in reply to end of DATA command))\n", "", NULL },
    { "421 to a recipient ends the session", "[10.0.0.1]", 2, { { "10.0.0.1", EHLO "<MAIL\n<RCPT\n>250 ok\n>421 bye\n" } },
      "a deferred" R1 " dsn=4.0.0 (host 10.0.0.1[10.0.0.1] said: 421 bye (in reply to RCPT TO command))\n"
      "b deferred" R1 " dsn=4.0.0 (host 10.0.0.1[10.0.0.1] said: 421 bye (in reply to RCPT TO command))\n", "", NULL },
    { "hang-up after the final dot", "[10.0.0.1]", 1, { { "10.0.0.1", EHLO "<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 ok\n>354 go\n.\n" } },
      "a deferred" R1 " dsn=4.4.2 dead (lost connection with 10.0.0.1[10.0.0.1] while sending end of data -- message may be sent more than once)\n", "", NULL },
    { "silence after the final dot", "[10.0.0.1]", 1, { { "10.0.0.1", EHLO "<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 ok\n>354 go\nzzz" } },
      "a deferred" R1 " dsn=4.4.2 dead (conversation with 10.0.0.1[10.0.0.1] timed out while sending end of data -- message may be sent more than once)\n", "", slow_end },
    { "hang-up before MAIL is answered", "[10.0.0.1]", 1, { { "10.0.0.1", EHLO } },
      "a deferred" R1 " dsn=4.4.2 dead (lost connection with 10.0.0.1[10.0.0.1] while sending MAIL FROM)\n", "", NULL },
    { "an early 250 counts, but the session is not used again", "[10.0.0.1]", 1,
      { { "10.0.0.1", EHLO "<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 ok\n+354 go\\r\\n250 early\\r\\n\n.\n" } },
      "a sent" R1 " dsn=2.0.0 (250 early)\n", "", NULL },
    { "what only looks like an early refusal does not make a message sent that was not", "[10.0.0.1]", 1,
      { { "10.0.0.1", EHLO "<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 ok\n+354 go\\r\\n55\\r\\n250 early\\r\\n\n" } },
      "a deferred" R1 " dsn=4.4.2 dead (lost connection with 10.0.0.1[10.0.0.1] while sending message body)\n", NULL, NULL },
    { "an early refusal ends the sending", "[10.0.0.1]", 1,
      { { "10.0.0.1", EHLO "<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 ok\n+354 go\\r\\n552 too big\\r\\n\n" } },
      "a bounced" R1 " dsn=5.0.0 (host 10.0.0.1[10.0.0.1] said: 552 too big (in reply to end of DATA command))\n", "", NULL },
    { "fragments", "[10.0.0.1]", 1, { { "10.0.0.1", "+2\n+20 m\n+x ESMTP\\r\n+\\n\n<EHLO\n+250-mx\\r\\n250 PIPE\n+LINING\\r\\n\n" ACCEPT QUIT } }, SENT1, "", NULL },
    { "too large for the server", "mx.test", 1, { { "10.0.0.1", EHLO QUIT } },
      "a bounced relay=m1.test[10.0.0.1]:25 dsn=5.3.4 (message size 2000000 exceeds size limit 1000000 of server m1.test[10.0.0.1])\n", "", big },
    { "UTF-8 that nobody offers", "[10.0.0.1]", 1, { { "10.0.0.1", EHLO QUIT } },
      "a bounced" R1 " dsn=5.6.7 (SMTPUTF8 is required, but was not offered by host 10.0.0.1[10.0.0.1])\n", "", utf8 },
    { "UTF-8 that the second host offers", "mx.test", 1,
      { { "10.0.0.1", EHLO QUIT }, { "10.0.0.2", GREET ">250-mx\n>250 smtputf8\n<MAIL FROM:<s@x.test> SMTPUTF8\n>250 ok\n<RCPT\n>250 ok\n<DATA\n>354 go\n.\n>250 ok\n" QUIT } },
      "a sent relay=m2.test[10.0.0.2]:25 dsn=2.0.0 (250 ok)\n", NULL, utf8 },
    { "SIZE and BODY", "[10.0.0.1]", 1,
      { { "10.0.0.1", EHLO "<MAIL FROM:<s@x.test> SIZE=21 BODY=8BITMIME\n<RCPT\n<DATA\n>250 ok\n>250 ok\n>354 go\n.\n>250 ok\n" QUIT } },
      "a sent" R1 " dsn=2.0.0 (250 ok)\n", "", body8 },
    { "DSN", "[10.0.0.1]", 1,
      { { "10.0.0.1", GREET ">250-mx\n>250 DSN\n<MAIL FROM:<s@x.test> ENVID=e+3D1 RET=HDRS\n>250 ok\n<RCPT TO:<a@x.test> ORCPT=rfc822;o+2B1@x.test NOTIFY=SUCCESS\n>250 ok\n<DATA\n>354 go\n.\n>250 ok\n" QUIT } },
      "a sent" R1 " dsn=2.0.0 (250 ok)\n", "", dsn },
    { "keywords that are not believed", "[10.0.0.1]", 1,
      { { "10.0.0.1", EHLO "<MAIL FROM:<s@x.test>\n>250 ok\n<RCPT\n>250 ok\n<DATA\n>354 go\n.\n>250 ok\n" QUIT } },
      "a sent" R1 " dsn=2.0.0 (250 ok)\n", "discarding EHLO keywords: PIPELINING SIZE\n", discard },
    { "a sender with a line end in it", "[10.0.0.1]", 1, { { "10.0.0.1", EHLO QUIT } },
      "a bounced" R1 " dsn=5.1.7 (bad sender address syntax)\n", "", odd_sender },
    { "the queue file cannot be read", "mx.test", 1, { { "10.0.0.1", EHLO "<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 ok\n>354 go\n" } },
      "a deferred relay=none dsn=4.3.0 (cannot read the message: read: Input/output error)\n", "", unreadable },
    { "null MX", "null.test", 1, { { NULL, NULL } }, "a bounced relay=none dsn=5.1.0 (Domain null.test does not accept mail (nullMX))\n", "", NULL },
    { "no such domain", "gone.test", 1, { { NULL, NULL } },
      "a bounced relay=none dsn=5.4.4 (Host or domain name not found. Name service error for name=gone.test type=A: Host not found)\n", "", NULL },
    { "a relayhost that does not exist is our mistake", "gone.test", 1, { { NULL, NULL } },
      "a deferred relay=none dsn=4.3.5 (Host or domain name not found. Name service error for name=gone.test type=A: Host not found)\n",
      "warning: relayhost configuration problem\n", relay },
    { "no such domain, but a fallback", "gone.test", 1, { { "10.0.0.7", EHLO ACCEPT QUIT } },
      "a sent relay=10.0.0.7[10.0.0.7]:25 dsn=2.0.0 (250 2.0.0 Ok: queued as 1)\n", NULL, fallback },
    { "no answer from the name server", "temp.test", 1, { { NULL, NULL } },
      "a deferred relay=none dsn=4.4.3 dead (Host or domain name not found. Name service error for name=temp.test type=MX: Host not found, try again)\n", "", NULL },
    { "an MX without address", "noaddr.test", 1, { { NULL, NULL } },
      "a bounced relay=none dsn=5.4.4 (Host or domain name not found. Name service error for name=gone.test type=A: Host not found)\n", "", NULL },
    { "no MX, an address", "10.test", 1, { { "10.0.0.1", EHLO ACCEPT QUIT } },
      "a sent relay=10.test[10.0.0.1]:25 dsn=2.0.0 (250 2.0.0 Ok: queued as 1)\n", "", NULL },
    { "names that cannot be", "a_b.test..", 1, { { NULL, NULL } },
      "a bounced relay=none dsn=5.4.4 (Name service error for name=a_b.test.. type=MX: Malformed or unexpected name server reply)\n", "", NULL },
    { "we are the MX", "self.test", 1, { { NULL, NULL } }, "a bounced relay=none dsn=5.4.6 (mail for self.test loops back to myself)\n", "", we_are_9 },
    { "we are the second MX: only better ones are tried", "mx.test", 1, { { "10.0.0.1", REFUSE } },
      "a deferred relay=none dsn=4.4.1 dead (connect to m1.test[10.0.0.1]:25: Connection refused)\n", NULL, we_are_2 },
    { "our own address, but another port", "[10.0.0.9]:10025", 1, { { "10.0.0.9", EHLO ACCEPT QUIT } },
      "a sent relay=10.0.0.9[10.0.0.9]:10025 dsn=2.0.0 (250 2.0.0 Ok: queued as 1)\n", "", we_are_9 },
    { "a list of next hops", "[10.0.0.1], [10.0.0.2]", 1, { { "10.0.0.1", REFUSE }, { "10.0.0.2", EHLO ACCEPT QUIT } },
      "a sent" R2 " dsn=2.0.0 (250 2.0.0 Ok: queued as 1)\n", NULL, NULL },
};

static int all_cases(void *arg PH_UNUSED)
{
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        if (!ok(rig_case(&tests[i], 0), "%s", tests[i].name))
            rig_explain(&tests[i]);
    return 0;
}

int main(void)
{
    rig_zone = zone;
    ph_run_main(all_cases, NULL);
    return done_testing();
}
