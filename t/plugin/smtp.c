/* t/plugin/smtp.c: the SMTP client against scripted servers.
 *
 * The servers are tasks on the other end of memory streams; the name server is
 * a table.  Each case says what the servers do, and which outcomes and log lines
 * must come of it.  Run alone: make t/plugin/smtp.t && prove -v t/plugin/smtp.t */
#include <posthorn/dns.h>
#include <posthorn/wire.h>
#include "plugins/transport/smtp/smtp.h"
#include "core/run/loop.h"
#include "t/unit/tap.h"

extern const struct ph_transport_plugin transport_smtp_LTX_ph_plugin;

/* A script: one step per line.
 *   >text   send text CRLF (\r and \n inside are as in C)
 *   <text   read a line, which must start with text
 *   .       read up to the final dot and keep it
 *   +text   send without CRLF
 *   zzz     sleep until the client leaves
 *   (end)   hang up */
#define GREET   ">220 mx ESMTP\n<EHLO me.test\n"
#define EHLO    GREET ">250-mx\n>250-PIPELINING\n>250-SIZE 1000000\n>250 8BITMIME\n"
#define PLAIN   GREET ">250 mx\n"
#define ACCEPT  "<MAIL FROM:<s@x.test>\n<RCPT TO:<a@x.test>\n<DATA\n>250 2.1.0 ok\n>250 2.1.5 ok\n>354 go\n.\n>250 2.0.0 Ok: queued as 1\n"
#define QUIT    "<QUIT\n"
#define REFUSE  "refuse"

struct server { const char *ip; const char *script; };

struct test {
    const char *name;
    const char *nexthop;
    uint32_t rcpts;                /* a, b, c ... @x.test */
    struct server servers[6];      /* in order of connections per address */
    const char *outcomes;          /* one line per recipient */
    const char *log;               /* or NULL: not looked at */
    void (*setup)(struct smtp *self, struct ph_delivery *d);
};

/* --- what the plugin calls, in place of the core's --- */

static char outcomes[16384], loglines[16384], servers_said[4096], content_seen[65536];
static const struct server *servers;
static unsigned connects;
static int64_t connect_order[16];
static struct ph_group *server_group;
static struct ph_scope *server_scope;
static const char *message_text;

__attribute__((format(printf, 3, 4)))
static void add(char *to, size_t size, const char *fmt, ...)
{
    va_list ap;
    size_t n = strlen(to);

    va_start(ap, fmt);
    vsnprintf(to + n, size - n, fmt, ap);
    va_end(ap);
}

void ph_log(const char *fmt, ...)
{
    char line[2048];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    add(loglines, sizeof loglines, "%s\n", line);
}

void ph_log_warn(const char *fmt, ...)
{
    char line[2048];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    add(loglines, sizeof loglines, "warning: %s\n", line);
}

void ph_delivered(struct ph_delivery *d, uint32_t i, const struct ph_outcome *o)
{
    static const char *const words[] = { "?", "sent", "bounced", "deferred" };

    add(outcomes, sizeof outcomes, "%.*s %s relay=%.*s dsn=%.*s%s", PH_FMT(ph_str_first(d->rcpt[i].address, 1)), words[o->status],
        PH_FMT(o->relay), PH_FMT(o->dsn), o->dead_site ? " dead" : "");
    if (o->conn_use > 1)
        add(outcomes, sizeof outcomes, " use=%u", o->conn_use);
    add(outcomes, sizeof outcomes, " (%.*s)\n", PH_FMT(o->text));
    d->rcpt[i].state = o->status;
}

uint64_t ph_message_bytes(const struct ph_message *m)
{
    return m->header_bytes;
}

int64_t ph_message_read(const struct ph_message *m, uint64_t offset, void *p, size_t n)
{
    size_t left = (size_t)(m->header_bytes - offset);

    if (m->fd == -2)
        return ph_fail(PH_TEMP, "read: Input/output error");
    if (n > left)
        n = left;
    memcpy(p, message_text + offset, n);
    return (int64_t)n;
}

/* Names: "mx.test" MX 10 m1, 20 m2; m1 is 10.0.0.1, m2 is 10.0.0.2 and so on. */
static int name_error(struct ph_dns_answer *a, uint32_t why)
{
    a->why = why;
    return why == PH_DNS_TEMP || why == PH_DNS_BAD ? PH_TEMP : PH_NONE;
}

int ph_dns_find_mx(struct ph_scope *s, ph_str domain, struct ph_dns_answer *a)
{
    memset(a, 0, sizeof *a);
    if (ph_str_eq(domain, PH_STR("temp.test")))
        return name_error(a, PH_DNS_TEMP);
    if (ph_str_eq(domain, PH_STR("gone.test")))
        return name_error(a, PH_DNS_NXDOMAIN);
    if (ph_str_eq(domain, PH_STR("10.test")))
        return name_error(a, PH_DNS_NODATA);
    a->mx = ph_alloc_array(s, 3, sizeof *a->mx);
    a->count = 1;
    if (ph_str_eq(domain, PH_STR("null.test")))
        a->mx[0].host = PH_STR(".");
    else if (ph_str_eq(domain, PH_STR("noaddr.test")))
        a->mx[0].host = PH_STR("gone.test");
    else if (ph_str_eq(domain, PH_STR("self.test")))
        a->mx[0].host = PH_STR("m9.test");
    else {
        a->count = 3;
        a->mx[0] = (struct ph_dns_mx){ .host = PH_STR("m1.test"), .preference = 10 };
        a->mx[1] = (struct ph_dns_mx){ .host = PH_STR("m2.test"), .preference = 20 };
        a->mx[2] = (struct ph_dns_mx){ .host = PH_STR("m3.test"), .preference = 30 };
    }
    return PH_FOUND;
}

int ph_dns_find_a(struct ph_scope *s, ph_str host, struct ph_dns_answer *a)
{
    memset(a, 0, sizeof *a);
    if (ph_str_eq(host, PH_STR("temp.test")))
        return name_error(a, PH_DNS_TEMP);
    a->ip = ph_new(s, struct ph_ip);
    a->ip->family = 4;
    a->count = 1;
    memcpy(a->ip->bytes, "\x0a\0\0\0", 4);
    if (ph_str_starts(host, PH_STR("m")))
        a->ip->bytes[3] = (uint8_t)(host.p[1] - '0');
    else if (ph_str_eq(host, PH_STR("10.test")))
        a->ip->bytes[3] = 1;
    else
        return name_error(a, PH_DNS_NXDOMAIN);
    return PH_FOUND;
}

int ph_dns_find_aaaa(struct ph_scope *s PH_UNUSED, ph_str host PH_UNUSED, struct ph_dns_answer *a)
{
    memset(a, 0, sizeof *a);
    return name_error(a, PH_DNS_NODATA);
}

int ph_host_find(struct ph_scope *s, ph_str host, struct ph_dns_answer *a)
{
    return ph_dns_find_a(s, host, a);
}

/* --- the servers --- */

struct serving {
    struct ph_stream *io;
    struct ph_scope *scope;
    const char *script;
    ph_str ip;
};

static void complain(struct serving *v, const char *want, ph_str got)
{
    add(servers_said, sizeof servers_said, "%.*s: want \"%s\" got \"%.*s\"\n", PH_FMT(v->ip), want, PH_FMT(got));
}

static int read_content(struct ph_stream *io)
{
    ph_str line;
    int rc;

    while ((rc = ph_stream_line(io, 0, &line)) > 0 && !ph_str_eq(line, PH_STR(".")))
        add(content_seen, sizeof content_seen, "%.*s%s", PH_FMT(line), rc == PH_LINE_CRLF ? "|" : "<LF>");
    if (rc > 0)
        add(content_seen, sizeof content_seen, "\n");
    return rc < 0 ? rc : 0;
}

static int send_text(struct ph_stream *io, const char *text, size_t n, int end)
{
    for (size_t i = 0; i < n; i++) {
        char c = text[i];

        if (c == '\\' && i + 1 < n) {
            c = text[++i];
            c = c == 'r' ? '\r' : c == 'n' ? '\n' : c == 't' ? '\t' : c;
        }
        ph_stream_write(io, &c, 1);
    }
    return end ? ph_stream_str(io, PH_STR("\r\n")) : 0;
}

/* One step; < 0 ends the script. */
static int step(struct serving *v, const char *s, size_t n)
{
    char want[256], waste[512];
    ph_str line;
    int rc;

    if (*s == '>' || *s == '+')
        return send_text(v->io, s + 1, n - 1, *s == '>');
    if ((rc = ph_stream_flush(v->io)) < 0)
        return rc;
    if (*s == '.')
        return read_content(v->io);
    if (*s == 'z')
        return ph_stream_read(v->io, waste, sizeof waste);
    snprintf(want, sizeof want, "%.*s", (int)n - 1, s + 1);
    if ((rc = ph_stream_line(v->io, 0, &line)) < 0)
        line = PH_STR("(nothing)");
    if (!ph_str_starts(line, ph_cstr(want)))
        complain(v, want, line);
    return rc;
}

static void serve(void *arg)
{
    struct serving *v = arg;
    int rc = 0;

    for (const char *s = v->script; *s && rc >= 0;) {
        const char *end = strchr(s, '\n');

        rc = step(v, s, end ? (size_t)(end - s) : strlen(s));
        s = end ? end + 1 : s + strlen(s);
    }
    ph_stream_flush(v->io);
    ph_stream_close(v->io);
}

int ph_dial_ip(struct ph_scope *s, const struct ph_ip *ip, unsigned port PH_UNUSED, const struct ph_ip *bind PH_UNUSED,
               int64_t deadline PH_UNUSED, struct ph_stream **io)
{
    struct serving *v = ph_new(server_scope, struct serving);

    v->ip = ph_ip_format(server_scope, ip);
    for (unsigned i = 0; i < 6 && servers[i].ip; i++) {
        if (connect_order[i] || !ph_str_eq(v->ip, ph_cstr(servers[i].ip)))
            continue;
        connect_order[i] = ++connects;
        if (strcmp(servers[i].script, REFUSE) == 0)
            return ph_fail(PH_TEMP, "Connection refused");
        v->script = servers[i].script;
        ph_stream_pair(s, server_scope, 0, io, &v->io);
        return ph_spawn(server_group, "server", serve, v);
    }
    add(servers_said, sizeof servers_said, "unexpected connection to %.*s\n", PH_FMT(v->ip));
    return ph_fail(PH_TEMP, "Connection refused");
}

/* --- set-ups --- */

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
    self->p.relayhost = d->nexthop;
}

static void fallback(struct smtp *self, struct ph_delivery *d PH_UNUSED)
{
    self->p.fallback_relay = PH_STR("[10.0.0.7]");
}

static void we_are_9(struct smtp *self, struct ph_delivery *d PH_UNUSED)
{
    self->our_count = ph_ip_parse(PH_STR("10.0.0.9"), &self->ours[0]) ? 1 : 0;
}

static void we_are_2(struct smtp *self, struct ph_delivery *d PH_UNUSED)
{
    self->our_count = ph_ip_parse(PH_STR("10.0.0.2"), &self->ours[0]) ? 1 : 0;
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

#define R1 " relay=10.0.0.1[10.0.0.1]:25"
#define R2 " relay=10.0.0.2[10.0.0.2]:25"
#define SENT1 "a sent" R1 " dsn=2.0.0 (250 2.0.0 Ok: queued as 1)\n"

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
      "a sent" R1 " dsn=2.0.0 (250 ok)\n", "", discard },
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

static void agent_init(struct smtp *self, struct ph_scope *s)
{
    memset(self, 0, sizeof *self);
    self->scope = s;
    self->port = 25;
    self->use_ipv4 = 1;
    self->p = (struct smtp_params){
        .helo_name = PH_STR("me.test"), .address_preference = PH_STR("any"), .host_lookup = PH_STR("dns"),
        .connect_timeout = 30, .helo_timeout = 30, .mail_timeout = 30, .rcpt_timeout = 30, .data_init_timeout = 30,
        .data_xfer_timeout = 30, .data_done_timeout = 30, .rset_timeout = 30, .quit_timeout = 30,
        .cache_time_limit = 2, .reuse_time_limit = 300, .address_limit = 5, .session_limit = 2, .line_length_limit = 998,
        .always_ehlo = 1, .skip_4xx = 1, .skip_5xx = 1, .skip_quit = 1, .cache_on_demand = 1, .quote_envelope = 1,
    };
    smtp_pool_init(self);
}

static struct ph_delivery *delivery_new(struct ph_scope *s, const char *nexthop, uint32_t rcpts, const char *text)
{
    struct ph_delivery *d = ph_new(s, struct ph_delivery);

    d->scope = s;
    d->message = ph_new(s, struct ph_message);
    d->message->header_bytes = strlen(text);
    d->message->queue_id = PH_STR("Q1");
    d->message->sender = PH_STR("s@x.test");
    d->nexthop = ph_cstr(nexthop);
    d->rcpt = ph_alloc_array(s, rcpts, sizeof *d->rcpt);
    d->rcpt_count = rcpts;
    for (uint32_t i = 0; i < rcpts; i++)
        d->rcpt[i].address = ph_str_printf(s, "%c@x.test", 'a' + (int)i);
    message_text = text;
    return d;
}

static void forget(const struct server *s)
{
    outcomes[0] = loglines[0] = servers_said[0] = content_seen[0] = 0;
    connects = 0;
    memset(connect_order, 0, sizeof connect_order);
    servers = s;
}

static int deliver(struct smtp *self, struct ph_delivery *d)
{
    struct ph_transport t = { .scope = self->scope, .self = self };

    d->transport = &t;
    return transport_smtp_LTX_ph_plugin.deliver(&t, d);
}

static void servers_start(struct ph_scope *s)
{
    server_scope = ph_scope_new(s);
    server_group = ph_group_new(server_scope);
}

static void one_test(const struct test *t)
{
    PH_SCOPED(s, NULL);
    struct smtp self;
    struct ph_delivery *d = delivery_new(s, t->nexthop, t->rcpts, "Subject: x\r\n\r\nhello\r\n");

    forget(t->servers);
    agent_init(&self, s);
    servers_start(s);
    if (t->setup)
        t->setup(&self, d);
    int rc = deliver(&self, d);
    ph_group_wait(server_group, ph_in_ms(5000));
    unsigned wanted = 0;
    while (wanted < 6 && t->servers[wanted].ip)
        wanted++;
    int good = rc == 0 && strcmp(outcomes, t->outcomes) == 0 && !servers_said[0] && connects == wanted &&
               (!t->log || strcmp(loglines, t->log) == 0);
    if (!ok(good, "%s", t->name))
        printf("# rc %d, %u connections of %u\n# got:\n%s# want:\n%s# log:\n%s# servers:\n%s", rc, connects, wanted,
               outcomes, t->outcomes, loglines, servers_said);
}

static int all_cases(void *arg PH_UNUSED)
{
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        one_test(&tests[i]);
    return 0;
}

#define CTE8 "Content-Transfer-Encoding: 8bit"

/* What arrives when the message is not ordinary. */
static int contents(void *arg PH_UNUSED)
{
    static const struct { const char *name; uint32_t facts; const char *text, *want; } cases[] = {
        { "8-bit for a server without 8BITMIME", PH_FACT_8BIT, CTE8 "\r\n\r\n.\xa0\r\n", "Content-Transfer-Encoding: quoted-printable||..=A0|\n" },
        { "dots are stuffed", PH_FACT_LEADING_DOT, ".\r\n..a\r\nb.\r\n", "..|...a|b.|\n" },
        { "an empty message", 0, "", "\n" },
        { "no line end at the end", 0, "a: b\r\n\r\nx", "a: b||x|\n" },
        { "stray CR and LF become blanks", PH_FACT_BARE_CR | PH_FACT_BARE_LF, "a\rb\r\r\nc\nd\r\n.\r\n\r", "a b |c d|..| |\n" },
        { "long lines are broken", 0, "abcdefghijklmnopqrstuvwxyz\r\n.\r\n", "abcdefghij| klmnopqrs| tuvwxyz|..|\n" },
        { "but not inside a character", 0, "abcdefghi\xc3\xa4xyz\r\n", "abcdefghi| \xc3\xa4xyz|\n" },
        { "a line of the limit is not long", 0, "abcdefghij\r\nx\r\n", "abcdefghij|x|\n" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        PH_SCOPED(s, NULL);
        struct smtp self;
        struct ph_delivery *d = delivery_new(s, "[10.0.0.1]", 1, cases[i].text);
        struct server v[2] = { { "10.0.0.1", GREET ">250-mx\n>250 PIPELINING\n" ACCEPT QUIT } };

        for (const char *p = cases[i].text, *e; (e = strstr(p, "\r\n")); p = e + 2)
            if ((uint64_t)(e - p) > d->message->longest_line)
                d->message->longest_line = (uint64_t)(e - p);
        d->message->facts = cases[i].facts;
        forget(v);
        agent_init(&self, s);
        self.p.line_length_limit = cases[i].facts & PH_FACT_8BIT ? 998 : 10;
        servers_start(s);
        deliver(&self, d);
        ph_group_wait(server_group, ph_in_ms(5000));
        is_bytes(ph_cstr(content_seen), cases[i].want, "content: %s", cases[i].name);
    }
    return 0;
}

/* For servers without 8BITMIME. */
static int downgrade(void *arg PH_UNUSED)
{
#define CTE "Content-Transfer-Encoding: "
    static const struct { const char *name, *in, *want; } cases[] = {
        { "one 8-bit body", CTE "8bit\r\nSubject: \xc3\xa4\r\n\r\n\xc3\xa4= x \r\n.\r\n", "Subject: \xc3\xa4\r\n" CTE "quoted-printable\r\n\r\n=C3=A4=3D x=20\r\n.\r\n" },
        { "labelled 7bit: its own fault", CTE "7bit\r\n\r\n\xc3\xa4\r\n", CTE "7bit\r\n\r\n\xc3\xa4\r\n" },
        { "no label", "A: b\r\n\r\n\xc3\xa4\r\n", "A: b\r\n\r\n\xc3\xa4\r\n" },
        { "folded label, any case", "a: b\r\ncontent-transfer-ENCODING:\r\n 8BIT\r\n\r\n\t\r\nx", "a: b\r\n" CTE "quoted-printable\r\n\r\n=09\r\nx" },
        { "stray CR and LF", CTE "binary\r\n\r\na\rb\nc\r", CTE "quoted-printable\r\n\r\na=0Db=0Ac=0D" },
        { "parts", "Content-Type: multipart/mixed; x=y; boundary=\"b b\"\r\n" CTE "8bit\r\n\r\npre\xa0\r\n--b b\r\n" CTE "8bit\r\n\r\n\xa0\r\n--b bx\r\n--b b \r\n"
          "A: b\r\n\r\n\xa0\r\n--b b--\r\npost\xa0\r\n",
          "Content-Type: multipart/mixed; x=y; boundary=\"b b\"\r\n" CTE "7bit\r\n\r\npre\xa0\r\n--b b\r\n" CTE "quoted-printable\r\n\r\n=A0\r\n--b bx\r\n--b b \r\n"
          "A: b\r\n\r\n\xa0\r\n--b b--\r\npost\xa0\r\n" },
        { "a message inside", "Content-Type: message/rfc822\r\n" CTE "8bit\r\n\r\nA: b\r\n" CTE "8bit\r\n\r\n\xa0\r\n",
          "Content-Type: message/rfc822\r\n" CTE "7bit\r\n\r\nA: b\r\n" CTE "quoted-printable\r\n\r\n=A0\r\n" },
        { "inner levels end with the outer", "Content-Type: multipart/a; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/digest; boundary=i\r\n\r\n--i\r\n\r\n"
          CTE "8bit\r\n\r\n\xa0\r\n--o\r\n" CTE "8bit\r\n\r\n\xa1\r\n--o--\r\n",
          "Content-Type: multipart/a; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/digest; boundary=i\r\n\r\n--i\r\n\r\n"
          CTE "quoted-printable\r\n\r\n=A0\r\n--o\r\n" CTE "quoted-printable\r\n\r\n=A1\r\n--o--\r\n" },
        { "delivery status is never encoded", "Content-Type: message/delivery-status\r\n" CTE "8bit\r\n\r\n\xa0\r\n", "Content-Type: message/delivery-status\r\n" CTE "8bit\r\n\r\n\xa0\r\n" },
        { "soft line breaks", CTE "8bit\r\n\r\n"
          "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggggggggg1234\xa0\xa1\r\n",
          CTE "quoted-printable\r\n\r\naaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggggggggg1234=\r\n=A0=A1\r\n" },
        { "headers only", CTE "8bit\r\n", CTE "8bit\r\n" },
        { "what is no header stays as it is", CTE "8bit\r\nnonsense\r\n\r\n\xa0\r\n", CTE "8bit\r\nnonsense\r\n\r\n\xa0\r\n" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = strlen(cases[i].in), bad = 0;

        for (size_t cut = 0; cut <= n; cut++) {
            PH_SCOPED(s, NULL);
            struct smtp_mime *m = ph_new(s, struct smtp_mime);
            struct ph_buf out;

            ph_buf_init(&out, s, 65536);
            smtp_mime_init(m, s);
            smtp_mime_convert(m, cases[i].in, cut, 0, &out);
            smtp_mime_convert(m, cases[i].in + cut, n - cut, 1, &out);
            if (!ph_str_eq(ph_buf_view(&out), ph_cstr(cases[i].want)) && bad++ == 0) {
                printf("# cut at %zu\n", cut);
                diag_bytes("got ", out.p, out.n);
                diag_bytes("want", cases[i].want, strlen(cases[i].want));
            }
        }
        is_int(bad, 0, "downgrade, cut everywhere: %s", cases[i].name);
    }
    return 0;
}

static void again(struct smtp *self, struct ph_scope *s, const char *want, const char *name)
{
    struct ph_delivery *d = delivery_new(s, "[10.0.0.1]", 1, "x: y\r\n\r\n");

    outcomes[0] = 0;
    d->reuse = 1;
    deliver(self, d);
    is_bytes(ph_cstr(outcomes), want, "%s", name);
}

#define SECOND "<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 ok\n>354 go\n.\n>250 second\n"

/* Sessions are used again, unless they should not be. */
static int reuse(void *arg PH_UNUSED)
{
    static const struct server v[] = {
        { "10.0.0.1", EHLO ACCEPT SECOND "<MAIL\n<RCPT\n<DATA\n>250 ok\n>550 no\n>503 no\n<RSET\n<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 ok\n>250 ok\n>354 go\n.\n>250 fourth\n" },
        { "10.0.0.1", EHLO ACCEPT ">421 idle too long\n" },
        { "10.0.0.1", EHLO ACCEPT "<MAIL\n>421 busy\n" },
        { "10.0.0.1", EHLO "<MAIL\n<RCPT\n<DATA\n>250 ok\n>250 ok\n+354 go\\r\\n250 early\\r\\n\n.\n" },
        { "10.0.0.1", EHLO ACCEPT QUIT },
        { NULL, NULL },
    };
    PH_SCOPED(s, NULL);
    struct smtp self;

    forget(v);
    agent_init(&self, s);
    servers_start(s);
    again(&self, s, SENT1, "the first delivery connects");
    again(&self, s, "a sent" R1 " dsn=2.0.0 use=2 (250 second)\n", "the second uses the session, without RSET");
    again(&self, s, "a bounced" R1 " dsn=5.0.0 use=3 (host 10.0.0.1[10.0.0.1] said: 550 no (in reply to RCPT TO command))\n",
          "a refused recipient does not spoil it");
    again(&self, s, "a sent" R1 " dsn=2.0.0 use=4 (250 fourth)\n", "after a transaction that did not end RSET goes first");
    is_int(connects, 1, "one connection so far");
    again(&self, s, SENT1, "the server left: a new connection, and nobody is told");
    while (ph_group_count(server_group))
        ph_yield();                /* its 421 is there */
    again(&self, s, SENT1, "a session that has something to say is not used");
    again(&self, s, "a sent" R1 " dsn=2.0.0 (250 early)\n", "421 to the first command of a reused session: a new connection");
    again(&self, s, SENT1, "a peer that answers early gets no second message");
    is_int(connects, 5, "five connections in all");
    is_bytes(ph_cstr(servers_said), "", "the servers got what they expected");
    is_bytes(ph_cstr(loglines), "", "and nothing was logged");
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
    struct ph_delivery *d = delivery_new(s, "[10.0.0.1]", 1, "x: y\r\n\r\n");

    ph_buf_init(&script, s, 1 << 20);
    ph_buf_puts(&script, GREET);
    for (int i = 0; i < 20000; i++)
        ph_buf_puts(&script, ">250-again and again\n");
    struct server v[2] = { { "10.0.0.1", script.p } };
    forget(v);
    agent_init(&self, s);
    servers_start(s);
    deliver(&self, d);
    is_bytes(ph_cstr(outcomes), "a deferred" R1 " dsn=4.4.2 dead (lost connection with 10.0.0.1[10.0.0.1] while performing the EHLO handshake)\n",
             "an endless reply ends the session");
    return 0;
}

int main(void)
{
    ph_run_main(all_cases, NULL);
    ph_run_main(contents, NULL);
    ph_run_main(downgrade, NULL);
    ph_run_main(reuse, NULL);
    ph_run_main(endless, NULL);
    return done_testing();
}
