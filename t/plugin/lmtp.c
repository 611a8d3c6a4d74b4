/* t/plugin/lmtp.c: one delivery over LMTP, RFC 2033.
 * Run alone: make t/plugin/lmtp.t && prove -v t/plugin/lmtp.t */
#include "t/plugin/smtp_rig.h"
#include "t/unit/tap.h"

#define LHLO   ">220 store LMTP\n<LHLO me.test\n>250-store\n>250-PIPELINING\n>250 ENHANCEDSTATUSCODES\n"
#define THREE  "<MAIL\n<RCPT TO:<a\n<RCPT TO:<b\n<RCPT TO:<c\n<DATA\n>250 ok\n>250 ok\n>250 ok\n>250 ok\n>354 go\n.\n"
#define U      " relay=my.test[private/lmtp]"

static const char zone[] = "store.test A 10.0.0.1\n" "store.test MX 10 mx.test\n" "mx.test A 10.0.0.2\n";

static void final(struct smtp *self, struct ph_delivery *d PH_UNUSED)
{
    self->flags = SMTP_FLAG_FINAL;
}

static void we_are_1(struct smtp *self, struct ph_delivery *d PH_UNUSED)
{
    self->port = 24;
    we_are(self, "10.0.0.1");
}

static void slow_end(struct smtp *self, struct ph_delivery *d PH_UNUSED)
{
    self->p.data_done_timeout = 0;
}

static const struct test tests[] = {
    { "a socket below the queue directory", "unix:private/lmtp", 1,
      { { "/queue/private/lmtp", LHLO "<MAIL FROM:<s@x.test>\n<RCPT TO:<a@x.test>\n<DATA\n>250 ok\n>250 ok\n>354 go\n.\n>250 2.1.5 Saved\n" QUIT } },
      "a sent" U " dsn=2.1.5 (250 2.1.5 Saved)\n", "", NULL },
    { "an absolute path", "unix:/run/lmtp", 1,
      { { "/run/lmtp", LHLO "<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 ok\n>354 go\n.\n>250 ok\n" QUIT } },
      "a sent relay=my.test[/run/lmtp] dsn=2.0.0 (250 ok)\n", "", final },
    { "one reply for each recipient, in their order", "unix:private/lmtp", 3,
      { { "/queue/private/lmtp", LHLO THREE ">250 2.1.5 a in\n>452 4.2.2 b full\n>550 5.1.1 c gone\n" QUIT } },
      "a sent" U " dsn=2.1.5 (250 2.1.5 a in)\n"
      "c bounced" U " dsn=5.1.1 (host my.test[private/lmtp] said: 550 5.1.1 c gone (in reply to end of DATA command))\n"
      "b deferred" U " dsn=4.2.2 (host my.test[private/lmtp] said: 452 4.2.2 b full (in reply to end of DATA command))\n", "", NULL },
    { "replies only for those that were accepted", "unix:private/lmtp", 3,
      { { "/queue/private/lmtp", LHLO "<MAIL\n<RCPT\n<RCPT\n<RCPT\n<DATA\n>250 ok\n>250 ok\n>550 5.1.1 no b\n>250 ok\n>354 go\n.\n>250 a\n>250 c\n" QUIT } },
      "b bounced" U " dsn=5.1.1 (host my.test[private/lmtp] said: 550 5.1.1 no b (in reply to RCPT TO command))\n"
      "a sent" U " dsn=2.0.0 (250 a)\nc sent" U " dsn=2.0.0 (250 c)\n", "", NULL },
    { "the store leaves between two replies", "unix:private/lmtp", 3, { { "/queue/private/lmtp", LHLO THREE ">250 2.1.5 a in\n" } },
      "a sent" U " dsn=2.1.5 (250 2.1.5 a in)\n"
      "b deferred" U " dsn=4.4.2 dead (lost connection with my.test[private/lmtp] while sending end of data -- message may be sent more than once)\n"
      "c deferred" U " dsn=4.4.2 dead (lost connection with my.test[private/lmtp] while sending end of data -- message may be sent more than once)\n", "", NULL },
    { "421 instead of the second reply is for all that follow", "unix:private/lmtp", 3, { { "/queue/private/lmtp", LHLO THREE ">250 2.1.5 a in\n>421 4.3.2 bye\n" } },
      "a sent" U " dsn=2.1.5 (250 2.1.5 a in)\n"
      "b deferred" U " dsn=4.3.2 (host my.test[private/lmtp] said: 421 4.3.2 bye (in reply to end of DATA command))\n"
      "c deferred" U " dsn=4.3.2 (host my.test[private/lmtp] said: 421 4.3.2 bye (in reply to end of DATA command))\n", "", NULL },
    { "silence instead of the replies", "unix:private/lmtp", 1, { { "/queue/private/lmtp", LHLO "<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 ok\n>354 go\n.\nzzz" } },
      "a deferred" U " dsn=4.4.2 dead (conversation with my.test[private/lmtp] timed out while sending end of data -- message may be sent more than once)\n", "", slow_end },
    { "nobody accepted, DATA accepted: no reply is waited for", "unix:private/lmtp", 1,
      { { "/queue/private/lmtp", LHLO "<MAIL\n<RCPT\n<DATA\n>250 ok\n>550 no\n>354 go\n<.\n" } },
      "a bounced" U " dsn=5.0.0 (host my.test[private/lmtp] said: 550 no (in reply to RCPT TO command))\n", "", NULL },
    { "a refusal in the middle of the message is for all", "unix:private/lmtp", 2,
      { { "/queue/private/lmtp", LHLO "<MAIL\n<RCPT\n<RCPT\n<DATA\n>250 ok\n>250 ok\n>250 ok\n+354 go\\r\\n552 5.3.4 too big\\r\\n\n" } },
      "a bounced" U " dsn=5.3.4 (host my.test[private/lmtp] said: 552 5.3.4 too big (in reply to end of DATA command))\n"
      "b bounced" U " dsn=5.3.4 (host my.test[private/lmtp] said: 552 5.3.4 too big (in reply to end of DATA command))\n", "", NULL },
    { "LHLO refused: there is no HELO", "inet:10.0.0.1", 1, { { "10.0.0.1", ">220 x\n<LHLO\n>500 what\n" QUIT } },
      "a bounced" R1 " dsn=5.0.0 (host 10.0.0.1[10.0.0.1] refused to talk to me: 500 what)\n", "", NULL },
    { "hang-up after LHLO", "inet:10.0.0.1", 1, { { "10.0.0.1", ">220 x\n<LHLO\n" } },
      "a deferred" R1 " dsn=4.4.2 dead (lost connection with 10.0.0.1[10.0.0.1] while performing the LHLO handshake)\n", "", NULL },
    { "a 4xx greeting", "inet:10.0.0.1", 1, { { "10.0.0.1", ">451 4.3.0 down\n" QUIT } },
      "a deferred" R1 " dsn=4.3.0 dead (host 10.0.0.1[10.0.0.1] refused to talk to me: 451 4.3.0 down)\n", "", NULL },
    { "a 5xx greeting is for now, too", "inet:10.0.0.1", 1, { { "10.0.0.1", ">554 5.3.0 down\n" QUIT } },
      "a deferred" R1 " dsn=4.3.0 dead (host 10.0.0.1[10.0.0.1] refused to talk to me: 554 5.3.0 down)\n", "", NULL },
    { "no socket", "unix:private/lmtp", 1, { { "/queue/private/lmtp", REFUSE } },
      "a deferred relay=none dsn=4.4.1 dead (connect to my.test[private/lmtp]: No such file or directory)\n",
      "connect to my.test[private/lmtp]: No such file or directory\n", NULL },
    { "a host: its address, never its MX; and our own address is no loop", "inet:store.test", 1,
      { { "10.0.0.1", LHLO "<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 ok\n>354 go\n.\n>250 ok\n" QUIT } },
      "a sent relay=store.test[10.0.0.1]:24 dsn=2.0.0 (250 ok)\n", "", we_are_1 },
    { "nor is it on the port of SMTP", "inet:[10.0.0.1]:25", 1, { { "10.0.0.1", LHLO "<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 ok\n>354 go\n.\n>250 ok\n" QUIT } },
      "a sent" R1 " dsn=2.0.0 (250 ok)\n", "", we_are_1 },
    { "host, port and no inet:", "store.test:2424", 1, { { "10.0.0.1", LHLO "<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 ok\n>354 go\n.\n>250 ok\n" QUIT } },
      "a sent relay=store.test[10.0.0.1]:2424 dsn=2.0.0 (250 ok)\n", "", NULL },
    { "an address in brackets", "inet:[10.0.0.1]:2424", 1, { { "10.0.0.1", LHLO "<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 ok\n>354 go\n.\n>250 ok\n" QUIT } },
      "a sent relay=10.0.0.1[10.0.0.1]:2424 dsn=2.0.0 (250 ok)\n", "", NULL },
    { "a list: the second when the first is down", "unix:private/lmtp, inet:[10.0.0.1]:24", 1,
      { { "/queue/private/lmtp", REFUSE }, { "10.0.0.1", LHLO "<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 ok\n>354 go\n.\n>250 ok\n" QUIT } },
      "a sent relay=10.0.0.1[10.0.0.1]:24 dsn=2.0.0 (250 ok)\n", NULL, NULL },
};

static int all_cases(void *arg PH_UNUSED)
{
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        if (!ok(rig_case(&tests[i], 1), "%s", tests[i].name))
            rig_explain(&tests[i]);
    return 0;
}

/* Whom the sender hears of success from, and in which words. */
static int actions(void *arg PH_UNUSED)
{
    ok(rig_case(&tests[0], 1) && strstr(rig.details, "a action=relayed remote=dns;my.test"), "a store without DSN: relayed");
    ok(rig_case(&tests[1], 1) && strstr(rig.details, "a action= "), "with flags=X: delivered");
    return 0;
}

#define BODY "<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 ok\n>354 go\n.\n>250 ok\n"

/* Sessions over a socket are kept under the name they are looked for. */
static int reuse(void *arg PH_UNUSED)
{
    static const struct server v[] = { { "/queue/private/lmtp", LHLO BODY BODY BODY }, { NULL, NULL } };
    PH_SCOPED(s, NULL);
    struct smtp self;

    rig_forget(v);
    rig_agent(&self, s);
    self.lmtp = 1;
    rig_start(s);
    for (int i = 0; i < 3; i++) {
        struct ph_delivery *d = rig_delivery(s, "unix:private/lmtp", 1, "x: y\r\n\r\n");

        d->reuse = i < 2;
        rig_deliver(&self, d);
    }
    is_bytes(ph_cstr(rig.outcomes), "a sent" U " dsn=2.0.0 (250 ok)\na sent" U " dsn=2.0.0 use=2 (250 ok)\na sent" U " dsn=2.0.0 use=3 (250 ok)\n",
             "three deliveries over one socket session");
    is_int(rig.connects, 1, "one connection");
    return 0;
}

/* lmtp_skip_quit_response = no: the answer is waited for, but not by the mail. */
static int quit(void *arg PH_UNUSED)
{
    static const struct server v[] = { { "10.0.0.1", LHLO BODY QUIT ">221 bye\n" }, { NULL, NULL } };
    PH_SCOPED(s, NULL);
    struct smtp self;

    rig_forget(v);
    rig_agent(&self, s);
    self.lmtp = 1;
    self.p.skip_quit = 0;
    rig_start(s);
    rig_deliver(&self, rig_delivery(s, "inet:10.0.0.1", 1, "x: y\r\n\r\n"));
    is_int(ph_group_count(self.group), 1, "delivered, and a task waits for the answer to QUIT");
    is_int(ph_group_wait(self.group, ph_in_ms(5000)), 0, "which ends when it came");
    is_bytes(ph_cstr(rig.complaints), "", "the server got its QUIT");
    return 0;
}

int main(void)
{
    rig_zone = zone;
    ph_run_main(all_cases, NULL);
    ph_run_main(actions, NULL);
    ph_run_main(reuse, NULL);
    ph_run_main(quit, NULL);
    return done_testing();
}
