/* t/plugin/smtp_session.c: sessions that are used again, and servers that take
 * their time.  Run alone: make t/plugin/smtp_session.t && prove -v t/plugin/smtp_session.t */
#include "t/plugin/smtp_rig.h"
#include "t/unit/tap.h"

static void again(struct smtp *self, struct ph_scope *s, const char *want, const char *name)
{
    struct ph_delivery *d = rig_delivery(s, "[10.0.0.1]", 1, "x: y\r\n\r\n");

    rig.outcomes[0] = 0;
    d->reuse = 1;
    rig_deliver(self, d);
    is_bytes(ph_cstr(rig.outcomes), want, "%s", name);
}

#define SECOND "<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 ok\n>354 go\n.\n>250 second\n"

/* Sessions are used again, unless they should not be. */
static int reuse(void *arg PH_UNUSED)
{
    static const struct server v[] = {
        { "10.0.0.1", EHLO ACCEPT SECOND "<MAIL\n<RCPT\n<DATA\n>250 ok\n>550 no\n>503 no\n<RSET\n<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 ok\n>250 ok\n>354 go\n.\n>250 fourth\n" },
        { "10.0.0.1", EHLO ACCEPT ">421 idle too long\n" },
        { "10.0.0.1", EHLO ACCEPT "<MAIL\n>421 busy\n" },
        { "10.0.0.1", EHLO "<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 ok\n>354 go\n.\n>250 fifth\n<MAIL\n" },
        { "10.0.0.1", EHLO "<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 ok\n+354 go\\r\\n250 early\\r\\n\n.\n=(nothing)\n" },
        { "10.0.0.1", EHLO ACCEPT QUIT },
        { NULL, NULL },
    };
    PH_SCOPED(s, NULL);
    struct smtp self;

    rig_forget(v);
    rig_agent(&self, s);
    rig_start(s);
    again(&self, s, SENT1, "the first delivery connects");
    again(&self, s, "a sent" R1 " dsn=2.0.0 use=2 (250 second)\n", "the second uses the session, without RSET");
    again(&self, s, "a bounced" R1 " dsn=5.0.0 use=3 (host 10.0.0.1[10.0.0.1] said: 550 no (in reply to RCPT TO command))\n",
          "a refused recipient does not spoil it");
    again(&self, s, "a sent" R1 " dsn=2.0.0 use=4 (250 fourth)\n", "after a transaction that did not end RSET goes first");
    is_int(rig.connects, 1, "one connection so far");
    again(&self, s, SENT1, "the server left: a new connection, and nobody is told");
    while (ph_group_count(rig.servers))
        ph_yield();                /* its 421 is there */
    again(&self, s, SENT1, "a session that has something to say is not used");
    again(&self, s, "a sent" R1 " dsn=2.0.0 (250 fifth)\n", "421 to the first command of a reused session: a new connection");
    again(&self, s, "a sent" R1 " dsn=2.0.0 (250 early)\n", "a hang-up after the first command of a reused session: a new connection");
    again(&self, s, SENT1, "a peer that answers early gets no second message");
    is_int(rig.connects, 6, "six connections in all");
    is_bytes(ph_cstr(rig.complaints), "", "the servers got what they expected");
    is_bytes(ph_cstr(rig.log), "", "and nothing was logged");
    self.idle->idle_until = ph_now_ms();
    ph_group_cancel(self.group);
    ph_group_wait(self.group, ph_in_ms(5000));
    is_int(self.idle_count, 0, "idle sessions end");
    return 0;
}

/* A peer that never ends its reply: bounded, and the mail stays ours. */
static int endless(void *arg PH_UNUSED)
{
    PH_SCOPED(s, NULL);
    struct ph_buf script;
    struct smtp self;
    struct ph_delivery *d = rig_delivery(s, "[10.0.0.1]", 1, "x: y\r\n\r\n");

    ph_buf_init(&script, s, 1 << 20);
    ph_buf_puts(&script, GREET);
    for (int i = 0; i < 20000; i++)
        ph_buf_puts(&script, ">250-again and again\n");
    struct server v[2] = { { "10.0.0.1", script.p } };
    rig_forget(v);
    rig_agent(&self, s);
    rig_start(s);
    rig_deliver(&self, d);
    is_bytes(ph_cstr(rig.outcomes), "a deferred" R1 " dsn=4.4.2 dead (lost connection with 10.0.0.1[10.0.0.1] while performing the EHLO handshake)\n",
             "an endless reply ends the session");
    return 0;
}

/* Deliver `text` to one server that takes its time; the limits are one second. */
static int slowly(const char *script, const char *text, int per_request)
{
    PH_SCOPED(s, NULL);
    const struct server v[] = { { "10.0.0.1", script }, { NULL, NULL } };
    struct smtp self;

    rig_forget(v);
    rig_agent(&self, s);
    self.p.helo_timeout = self.p.data_xfer_timeout = 1;
    self.p.min_data_rate = 1000000;
    self.p.per_request = per_request;
    rig_start(s);
    rig_deliver(&self, rig_delivery(s, "[10.0.0.1]", 1, text));
    return strcmp(rig.outcomes, SENT1) == 0;
}

/* smtp_per_request_deadline, S-32. */
static int deadlines(void *arg PH_UNUSED)
{
    static const char lines[] = ">220 mx\n<EHLO\n>250-mx\n~600\n>250-X\n~600\n>250 PIPELINING\n" ACCEPT QUIT;
    static const char pieces[] = EHLO "<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 ok\n>354 go\nr24000\n~600\nr24000\n~600\nr24000\n~600\n.\n>250 2.0.0 Ok: queued as 1\n" QUIT;
    PH_SCOPED(s, NULL);
    char *text = ph_alloc(s, 120001);

    for (size_t i = 0; i < 120000; i++)
        text[i] = "0123456789\r\n"[i % 12];
    ok(slowly(lines, "x: y\r\n\r\n", 0), "lines that come slowly are waited for, each");
    ok(!slowly(lines, "x: y\r\n\r\n", 1), "but not when the limit is for the whole reply");
    is_bytes(ph_cstr(rig.outcomes), "a deferred" R1 " dsn=4.4.2 dead (conversation with 10.0.0.1[10.0.0.1] timed out while performing the EHLO handshake)\n", "which defers");
    ok(slowly(pieces, text, 0), "pieces that leave slowly are waited for, each");
    ok(!slowly(pieces, text, 1), "but not when the message has one limit, which grows too slowly");
    is_bytes(ph_cstr(rig.outcomes), "a deferred" R1 " dsn=4.4.2 dead (conversation with 10.0.0.1[10.0.0.1] timed out while sending message body)\n", "which defers");
    return 0;
}

int main(void)
{
    ph_run_main(deadlines, NULL);
    ph_run_main(reuse, NULL);
    ph_run_main(endless, NULL);
    return done_testing();
}
