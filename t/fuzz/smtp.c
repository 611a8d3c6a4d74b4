/* Sessions of the SMTP and LMTP client against servers that say anything.
 *
 * Input: a digit each for what is asked (see enum what), the message (see texts),
 * the settings (see settings); then the servers' bytes.  0xff is not sent:
 * the server waits until the client has nothing to do.  0xfe: the byte behind it is
 * sent, whatever it is.  0xfd: hang up; what follows is for the next connection.
 * 0xfc: silence for 40 seconds, which is longer than any of the client's limits.
 *
 * What became of a recipient is compared with a strict reading of both sides. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/queue/facts.h"
#include "t/plugin/smtp_rig.h"
#include "fuzz.h"

enum what { ASK_ONE, ASK_THREE, ASK_TWICE, ASK_LMTP, ASK_LMTP_TWICE, ASK_PROBE, ASKS };

static const struct { const char *text; uint32_t facts; } texts[] = {
    { "Subject: x\r\n\r\nhello\r\n", 0 },
    { "Subject: x\r\n\r\n.\r\n..\r\n.QUIT\r\n\r\n.\r\n", 0 },
    { "Subject: x\r\nContent-Type: text/plain\r\n\r\ncaf\303\251 \r\n=\r\nFrom me\r\n.\r\n", PH_FACT_BODY_8BIT },
    { "Subject: caf\303\251\r\n\r\nx\r\n", PH_FACT_SMTPUTF8 | PH_FACT_UTF8_HEADER | PH_FACT_BODY_8BIT },
    { "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n\303\251\r\n.\r\n--b--\r\n", PH_FACT_BODY_8BIT },
    { NULL, 0 },                   /* long: made below */
};
#define TEXTS (sizeof texts / sizeof *texts)

static char long_text[40000];

/* A connection as the server saw it. */
struct conn {
    struct ph_buf sent, got;
    struct ph_stream *io;
};
#define CONNS 16

static struct {
    struct ph_scope *s;
    ph_str in;
    struct conn conn[CONNS];
    unsigned count, silences;
    enum what what;
    unsigned first;                /* of this delivery's connections */
    char base;                     /* name of its first recipient */
} run;

/* ---- the server ---- */

static void reader(void *arg)
{
    struct conn *c = arg;
    ph_str view;

    while (ph_stream_peek(c->io, &view) > 0) {
        ph_buf_str(&c->got, view);
        ph_stream_skip(c->io, view.n);
    }
}

static void pause_here(struct conn *c, int64_t ms)
{
    if (ph_stream_flush(c->io) >= 0)
        ph_sleep_until(ph_in_ms(ms));
}

static void say(struct conn *c, unsigned byte)
{
    char b = (char)byte;

    ph_buf_putc(&c->sent, b);
    ph_stream_write(c->io, &b, 1);
}

static void serve(struct ph_stream *io)
{
    struct conn *c = &run.conn[run.count];
    unsigned b = 0;

    FUZZ_CHECK(run.count < CONNS, "more than %d connections", CONNS);
    run.count++;
    ph_buf_init(&c->sent, run.s, 1 << 20);
    ph_buf_init(&c->got, run.s, 1 << 20);
    c->io = io;
    ph_spawn(rig.servers, "reader", reader, c);
    while (run.in.n && (b = fuzz_byte(&run.in)) != 0xfd)
        if (b == 0xff)
            pause_here(c, 1);
        else if (b == 0xfc && ++run.silences < 20)
            pause_here(c, 40000);
        else
            say(c, b == 0xfe ? fuzz_byte(&run.in) : b);
    pause_here(c, 1);
    ph_stream_close(io);
}

/* ---- the strict reading ---- */

struct replies {
    unsigned code[2000];
    unsigned n;
};

/* A reply ends with the line whose fourth byte is no minus; what is no reply line
 * is passed over, as RFC 5321 4.2 has nothing to say of it. */
static void read_replies(ph_str in, struct replies *r)
{
    ptrdiff_t lf;

    r->n = 0;
    for (; (lf = ph_str_find(in, '\n')) >= 0 && r->n < 2000; in = ph_str_from(in, (size_t)lf + 1)) {
        ph_str l = ph_str_first(in, (size_t)lf);

        if (l.n && l.p[l.n - 1] == '\r')
            l.n--;
        if (l.n < 3 || l.p[0] < '2' || l.p[0] > '5' || !ph_is_digit(l.p[1]) || !ph_is_digit(l.p[2]) || (l.n > 3 && l.p[3] != ' ' && l.p[3] != '-'))
            continue;
        if (l.n == 3 || l.p[3] == ' ')
            r->code[r->n++] = (unsigned)((l.p[0] - '0') * 100 + (l.p[1] - '0') * 10 + (l.p[2] - '0'));
    }
}

struct reading {
    struct replies r;
    ph_str got;                    /* what the client sent and was not read yet */
    unsigned at;                   /* replies used */
    char rcpt[26];                 /* recipients of this transaction, accepted, in order */
    unsigned rcpts;
    unsigned sent;                 /* bit per letter: 2xx at the end of a message for it */
    int has_sender, lmtp;
};

/* 0: there is none.  421 ends the session whatever it answers, RFC 5321 3.8. */
static unsigned next_code(struct reading *x)
{
    unsigned code = x->at < x->r.n ? x->r.code[x->at++] : 0;

    if (code == 421)
        x->r.n = 0;
    return code;
}

static void message_ends(struct reading *x)
{
    unsigned code = x->lmtp ? 0 : next_code(x);

    for (unsigned i = 0; i < x->rcpts; i++) {
        if (x->lmtp)
            code = next_code(x);
        if (code / 100 == 2)
            x->sent |= 1u << (x->rcpt[i] - 'a');
    }
    x->rcpts = 0;
}

/* Past the final dot: 1, or 0 when the client never came to it. */
static int pass_content(struct reading *x)
{
    ph_str end = PH_STR("\r\n.\r\n");
    ptrdiff_t at = ph_str_starts(x->got, ph_str_from(end, 2)) ? -2 : ph_str_search(x->got, end);

    if (at < 0 && at != -2)
        return 0;
    ph_str body = ph_str_first(x->got, (size_t)(at + 2));
    for (size_t i = 0; i < body.n; i++)
        FUZZ_CHECK(body.p[i] != '\n' || (i && body.p[i - 1] == '\r'), "a bare LF goes out: %.*s", PH_FMT(body));
    x->got = ph_str_from(x->got, (size_t)(at + 5));
    return 1;
}

static void take_rcpt(struct reading *x, ph_str line, unsigned code)
{
    FUZZ_CHECK(line.n > 9 && line.p[9] >= 'a' && line.p[9] <= 'z', "%.*s", PH_FMT(line));
    if (code / 100 == 2 && x->has_sender && x->rcpts < 26)
        x->rcpt[x->rcpts++] = line.p[9];
}

static int take_bdat(struct reading *x, ph_str line)
{
    ph_str size = ph_str_from(line, 5);
    uint64_t n = 0;

    FUZZ_CHECK(ph_str_u64(ph_str_word(&size), &n) && ph_str_eq(size, PH_STR("LAST")), "%.*s", PH_FMT(line));
    if (n > x->got.n)
        return 0;
    x->got = ph_str_from(x->got, (size_t)n);
    message_ends(x);
    return 1;
}

/* One command of the client; 0 when it stopped in the middle of one. */
static int command(struct reading *x)
{
    static const char *const others[] = { "EHLO ", "HELO ", "LHLO ", "RSET", "QUIT", "XFORWARD " };
    ptrdiff_t lf = ph_str_find(x->got, '\n');

    if (lf < 0)
        return 0;
    FUZZ_CHECK(lf > 0 && x->got.p[lf - 1] == '\r', "a command ends with CR LF: %.*s", PH_FMT(x->got));
    ph_str line = ph_str_first(x->got, (size_t)lf - 1);
    x->got = ph_str_from(x->got, (size_t)lf + 1);
    if (ph_str_starts(line, PH_STR("BDAT ")))
        return take_bdat(x, line);
    unsigned code = next_code(x);
    if (ph_str_eq(line, PH_STR("DATA"))) {
        if (code / 100 != 3)
            return 1;
        int whole = pass_content(x);
        if (whole)
            message_ends(x);
        return whole;
    }
    if (ph_str_starts(line, PH_STR("RCPT TO:<")))
        take_rcpt(x, line, code);
    else if (ph_str_starts(line, PH_STR("MAIL FROM:<"))) {
        x->rcpts = 0;
        x->has_sender = code / 100 == 2;
    } else {
        size_t i = 0;

        while (i < sizeof others / sizeof *others && !ph_str_starts(line, ph_cstr(others[i])))
            i++;
        FUZZ_CHECK(i < sizeof others / sizeof *others, "no command of ours: %.*s", PH_FMT(line));
    }
    return 1;
}

static unsigned strictly_sent(const struct conn *c)
{
    static struct reading x;

    memset(&x, 0, sizeof x);
    x.lmtp = run.what == ASK_LMTP || run.what == ASK_LMTP_TWICE;
    x.got = ph_buf_view(&c->got);
    read_replies(ph_buf_view(&c->sent), &x.r);
    next_code(&x);                 /* the greeting */
    while (x.got.n && command(&x))
        ;
    return x.sent;
}

/* ---- one delivery ---- */

static const char *text_of(size_t i)
{
    if (texts[i].text)
        return texts[i].text;
    if (!long_text[0]) {
        strcpy(long_text, "Subject: x\r\n\r\n");
        for (size_t n = strlen(long_text); n < sizeof long_text - 4; n++)
            long_text[n] = n % 3000 == 2999 ? '\n' : n % 3000 == 2998 ? '\r' : n % 3000 == 0 ? '.' : 'x';
    }
    return long_text;
}

static struct ph_delivery *delivery(struct ph_scope *s, size_t text, char base)
{
    uint32_t n = run.what == ASK_ONE || run.what == ASK_PROBE ? 1 : 3;
    struct ph_delivery *d = rig_delivery(s, run.what == ASK_ONE ? "mx.test" : "[10.0.0.1]", n, text_of(text));
    struct ph_facts f = { 0 };

    ph_facts_scan(&f, ph_cstr(text_of(text)));
    d->message->facts = f.bits | texts[text].facts;
    d->message->longest_line = f.longest;
    d->message->client_address = PH_STR("192.0.2.1");
    d->message->client_helo = PH_STR("h\tx");
    d->reuse = run.what == ASK_TWICE || run.what == ASK_LMTP_TWICE;
    d->probe = run.what == ASK_PROBE;
    for (uint32_t i = 0; i < n; i++) {
        d->rcpt[i].address = ph_str_printf(s, "%c@x.test", base + (char)i);
        d->rcpt[i].dsn_notify = PH_STR("NEVER");
    }
    return d;
}

static void check_words(void)
{
    for (const char *p = rig.outcomes; *p; p++)
        FUZZ_CHECK(*p == '\n' || ((unsigned char)*p >= 0x20 && *p != 0x7f), "a control byte goes into the log: %s", rig.outcomes);
}

/* Each recipient has one outcome, or none: then core defers it. */
static void check_outcomes(const struct ph_delivery *d, int rc, char base)
{
    unsigned sent = 0;

    for (unsigned i = 0; i < run.count; i++)
        sent |= strictly_sent(&run.conn[i]);
    for (uint32_t i = 0; i < d->rcpt_count; i++) {
        unsigned bit = 1u << (base - 'a' + (char)i), state = d->rcpt[i].state;

        FUZZ_CHECK(rig.said[i] <= 1, "%u outcomes of recipient %u:\n%s", rig.said[i], i, rig.outcomes);
        FUZZ_CHECK(rig.said[i] == 1 || rc < 0, "no outcome of recipient %u", i);
        FUZZ_CHECK((state == PH_RCPT_OPEN) == (rig.said[i] == 0), "%u", state);
        FUZZ_CHECK(state != PH_RCPT_SENT || (sent & bit) || d->probe, "sent without 2xx at the end of the message:\n%s", rig.outcomes);
        FUZZ_CHECK(!(sent & bit) || state == PH_RCPT_SENT || run.silences, "2xx at the end of the message, yet not sent:\n%s", rig.outcomes);
        fuzz_saw_number(state);
    }
    fuzz_saw(ph_cstr(rig.outcomes));
    check_words();
}

static void show(void)
{
    for (unsigned i = 0; getenv("FUZZ_SHOW") && i < run.count; i++) {
        fprintf(stderr, "--- connection %u: server said:\n", i);
        fwrite(run.conn[i].sent.p, 1, run.conn[i].sent.n, stderr);
        fprintf(stderr, "\n--- client said:\n");
        fwrite(run.conn[i].got.p, 1, run.conn[i].got.n, stderr);
    }
}

static void deliver(struct smtp *self, struct ph_scope *s, size_t text, char base)
{
    PH_SCOPED(mine, s);
    struct ph_delivery *d = delivery(mine, text, base);
    int64_t began = ph_now_ms();

    memset(rig.said, 0, sizeof rig.said);
    rig.outcomes[0] = 0;
    int rc = rig_deliver(self, d);
    int64_t took = ph_now_ms() - began;

    if (getenv("FUZZ_SHOW"))
        fprintf(stderr, "%lld ms, answer %d, outcomes:\n%s", (long long)took, rc, rig.outcomes);
    /* Each of its waits is 30 s at most; a delivery has some 20 of them on two hosts. */
    FUZZ_CHECK(took <= 1200000, "%lld seconds", (long long)took / 1000);
    ph_sleep_until(ph_in_ms(1));   /* what is under way arrives */
    show();
    check_outcomes(d, rc, base);
}

static void settings(struct smtp *self, unsigned n)
{
    self->p.send_xforward = n == 1;
    self->p.per_request = n == 2;
    self->p.soft_bounce = n == 3;
    self->p.skip_quit = n != 4;
    self->p.always_ehlo = n != 5;
    self->p.no_downgrade = n == 6;
    self->p.line_length_limit = n == 7 ? 0 : 998;
    self->p.verify_target = n == 8 ? PH_STR("data") : PH_STR("rcpt");
    self->flags = n == 9 ? SMTP_FLAG_DELIVERED_TO | SMTP_FLAG_ORIGINAL_TO | SMTP_FLAG_RETURN_PATH : 0;
}

struct choice { size_t text; unsigned settings; };

static int job(void *arg)
{
    struct choice *c = arg;
    PH_SCOPED(s, NULL);
    struct smtp self;

    rig_forget(NULL);
    rig_agent(&self, s);
    settings(&self, c->settings);
    self.lmtp = run.what == ASK_LMTP || run.what == ASK_LMTP_TWICE;
    rig_start(s);
    deliver(&self, s, c->text, 'a');
    if (run.what == ASK_TWICE || run.what == ASK_LMTP_TWICE)
        deliver(&self, s, c->text, 'f');
    ph_sleep_until(ph_in_ms(1000000));         /* kept sessions end, servers finish */
    FUZZ_CHECK(self.idle_count == 0, "%zu sessions are kept for ever", self.idle_count);
    ph_group_wait(rig.servers, PH_FOREVER);
    FUZZ_CHECK(ph_tasks_count() == 1, "%zu tasks are left", ph_tasks_count() - 1);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    PH_SCOPED(s, NULL);
    struct choice c;

    memset(&run, 0, sizeof run);
    run.s = s;
    run.in = (ph_str){ (const char *)data, size };
    run.what = (fuzz_byte(&run.in) - '0') % ASKS;
    c.text = (fuzz_byte(&run.in) - '0') % TEXTS;
    c.settings = (fuzz_byte(&run.in) - '0') % 10;
    rig_zone = "mx.test MX 10 m1.test\nmx.test MX 20 m2.test\nm1.test A 10.0.0.1\nm2.test A 10.0.0.2\n";
    rig_serve = serve;
    ph_clock_simulate(1000000);
    ph_run_main(job, &c);
    ph_clock_simulate(0);
    return 0;
}
