/* t/plugin/smtp_matrix.c: each stage of a session x each way it can go wrong:
 * what becomes of the recipient, is the next host asked, is the whole
 * destination to blame.  Run alone: make t/plugin/smtp_matrix.t && prove -v t/plugin/smtp_matrix.t */
#include "t/plugin/smtp_rig.h"
#include "t/unit/tap.h"

static const char zone[] = "mx.test MX 10 m1.test\n" "mx.test MX 20 m2.test\n" "m1.test A 10.0.0.1\n" "m2.test A 10.0.0.2\n";

enum stage { GREETING, EHLO_SAID, HELO_SAID, MAIL, RCPT, DATA, DOT };

/* The session up to the place where it goes wrong, and the words for it. */
static const struct { const char *script, *stage, *command; size_t timeout; } stages[] = {
    [GREETING] = { "", "receiving the initial server greeting", NULL, offsetof(struct smtp_params, helo_timeout) },
    [EHLO_SAID] = { GREET, "performing the EHLO handshake", NULL, offsetof(struct smtp_params, helo_timeout) },
    [HELO_SAID] = { GREET ">500 what\n<HELO\n", "performing the EHLO handshake", NULL, offsetof(struct smtp_params, helo_timeout) },
    [MAIL] = { PLAIN "<MAIL\n", "sending MAIL FROM", "MAIL FROM", offsetof(struct smtp_params, mail_timeout) },
    [RCPT] = { PLAIN "<MAIL\n>250 ok\n<RCPT\n", "sending RCPT TO", "RCPT TO", offsetof(struct smtp_params, rcpt_timeout) },
    [DATA] = { PLAIN "<MAIL\n>250 ok\n<RCPT\n>250 ok\n<DATA\n", "sending DATA command", "DATA", offsetof(struct smtp_params, data_init_timeout) },
    [DOT] = { PLAIN "<MAIL\n>250 ok\n<RCPT\n>250 ok\n<DATA\n>354 go\n.\n", "sending end of data -- message may be sent more than once", "end of DATA",
              offsetof(struct smtp_params, data_done_timeout) },
};

#define LOST    NULL               /* hang-up */
#define SILENCE "zzz"
#define Y 1
#define N 0

static const struct {
    enum stage stage;
    const char *event;             /* a reply, LOST, SILENCE */
    int next;                      /* the next host is asked */
    const char *status, *dsn;      /* when there is none */
    int dead;
} rows[] = {
    { GREETING, "450 4.7.1 wait", Y, "deferred", "4.7.1", Y }, { GREETING, "421 4.3.2 later", Y, "deferred", "4.3.2", Y },
    { GREETING, "554 5.7.1 no", Y, "deferred", "4.7.1", Y },   { GREETING, "354 odd", N, "bounced", "5.5.0", N },
    { GREETING, LOST, Y, "deferred", "4.4.2", Y },             { GREETING, SILENCE, Y, "deferred", "4.4.2", Y },
    { EHLO_SAID, "421 4.3.2 later", Y, "deferred", "4.3.2", Y },
    { EHLO_SAID, LOST, Y, "deferred", "4.4.2", Y },            { EHLO_SAID, SILENCE, Y, "deferred", "4.4.2", Y },
    { HELO_SAID, "450 4.7.1 wait", Y, "deferred", "4.7.1", Y },{ HELO_SAID, "421 4.3.2 later", Y, "deferred", "4.3.2", Y },
    { HELO_SAID, "550 5.7.1 no", N, "bounced", "5.7.1", N },   { HELO_SAID, "354 odd", N, "bounced", "5.5.0", N },
    { HELO_SAID, LOST, Y, "deferred", "4.4.2", Y },            { HELO_SAID, SILENCE, Y, "deferred", "4.4.2", Y },
    { MAIL, "450 4.7.1 wait", Y, "deferred", "4.7.1", N },     { MAIL, "421 4.3.2 later", Y, "deferred", "4.3.2", N },
    { MAIL, "550 5.7.1 no", N, "bounced", "5.7.1", N },        { MAIL, "354 odd", N, "bounced", "5.5.0", N },
    { MAIL, "550 4.7.1 odd code", N, "bounced", "5.0.0", N },  { MAIL, "450 5.7.1 odd code", Y, "deferred", "4.0.0", N },
    { MAIL, LOST, Y, "deferred", "4.4.2", Y },                 { MAIL, SILENCE, Y, "deferred", "4.4.2", Y },
    { RCPT, "450 4.2.1 wait", Y, "deferred", "4.2.1", N },     { RCPT, "421 4.3.2 later", Y, "deferred", "4.3.2", N },
    { RCPT, "452 too many", Y, "deferred", "4.0.0", N },       { RCPT, "552 5.2.2 full", N, "bounced", "5.2.2", N },
    { RCPT, "550 5.1.1 who", N, "bounced", "5.1.1", N },       { RCPT, "354 odd", N, "bounced", "5.5.0", N },
    { RCPT, LOST, Y, "deferred", "4.4.2", Y },                 { RCPT, SILENCE, Y, "deferred", "4.4.2", Y },
    { DATA, "450 4.3.0 wait", Y, "deferred", "4.3.0", N },     { DATA, "421 4.3.2 later", Y, "deferred", "4.3.2", N },
    { DATA, "550 5.7.1 no", N, "bounced", "5.7.1", N },        { DATA, "250 odd", N, "bounced", "5.5.0", N },
    { DATA, LOST, Y, "deferred", "4.4.2", Y },                 { DATA, SILENCE, Y, "deferred", "4.4.2", Y },
    { DOT, "450 4.3.0 wait", Y, "deferred", "4.3.0", N },      { DOT, "421 4.3.2 later", Y, "deferred", "4.3.2", N },
    { DOT, "550 5.7.1 spam", N, "bounced", "5.7.1", N },       { DOT, "354 odd", N, "bounced", "5.5.0", N },
    { DOT, LOST, Y, "deferred", "4.4.2", Y },                  { DOT, SILENCE, Y, "deferred", "4.4.2", Y },
};

static size_t current;

static void no_time(struct smtp *self, struct ph_delivery *d PH_UNUSED)
{
    *(int64_t *)(void *)((char *)&self->p + stages[rows[current].stage].timeout) = 0;
}

static void softly(struct smtp *self, struct ph_delivery *d PH_UNUSED)
{
    self->p.soft_bounce = 1;
}

/* What the first server does. */
static const char *script(struct ph_scope *s)
{
    const char *event = rows[current].event, *before = stages[rows[current].stage].script;
    int leaves = event && strncmp(event, "421", 3) == 0 && rows[current].stage >= MAIL;

    if (event == LOST)
        return before;
    if (strcmp(event, SILENCE) == 0)
        return ph_str_printf(s, "%szzz", before).p;
    return ph_str_printf(s, "%s>%s\n%s", before, event, leaves ? "" : "zzz").p;
}

/* The words of the outcome, as of "host m1.test[10.0.0.1]". */
static const char *words(struct ph_scope *s, const char *peer)
{
    const char *event = rows[current].event, *stage = stages[rows[current].stage].stage, *command = stages[rows[current].stage].command;
    unsigned class = event ? (unsigned)(event[0] - '0') : 0;

    if (event == LOST)
        return ph_str_printf(s, "lost connection with %s while %s", peer, stage).p;
    if (strcmp(event, SILENCE) == 0)
        return ph_str_printf(s, "conversation with %s timed out while %s", peer, stage).p;
    if (!command)
        return ph_str_printf(s, "host %s refused to talk to me: %s", peer, event).p;
    return ph_str_printf(s, "%shost %s said: %s (in reply to %s command)", class < 4 ? "Protocol error: " : "", peer, event, command).p;
}

static int is_silence(void)
{
    return rows[current].event && strcmp(rows[current].event, SILENCE) == 0;
}

/* The only host: the recipient's fate. */
static void alone(struct ph_scope *s)
{
    struct test t = { .nexthop = "[10.0.0.1]", .rcpts = 1, .servers = { { "10.0.0.1", script(s) } }, .setup = is_silence() ? no_time : NULL };

    t.outcomes = ph_str_printf(s, "a %s" R1 " dsn=%s%s (%s)\n", rows[current].status, rows[current].dsn, rows[current].dead ? " dead" : "",
                               words(s, "10.0.0.1[10.0.0.1]")).p;
    if (!ok(rig_case(&t, 0), "%s, %s: %s %s", stages[rows[current].stage].stage, rows[current].event ? rows[current].event : "hang-up",
            rows[current].status, rows[current].dead ? "and the site failed" : ""))
        rig_explain(&t);
}

/* Another host: it gets the mail, and the first failure a line of its own; or
 * the first one's word is final. */
static void with_another(struct ph_scope *s, int soft)
{
    struct test t = { .nexthop = "mx.test", .rcpts = 1, .setup = soft ? softly : is_silence() ? no_time : NULL };
    int next = rows[current].next || soft;

    t.servers[0] = (struct server){ "10.0.0.1", script(s) };
    if (next)
        t.servers[1] = (struct server){ "10.0.0.2", EHLO ACCEPT QUIT };
    t.outcomes = next ? "a sent relay=m2.test[10.0.0.2]:25 dsn=2.0.0 (250 2.0.0 Ok: queued as 1)\n"
                      : ph_str_printf(s, "a %s relay=m1.test[10.0.0.1]:25 dsn=%s (%s)\n", rows[current].status, rows[current].dsn,
                                      words(s, "m1.test[10.0.0.1]")).p;
    t.log = next ? ph_str_printf(s, "Q1: %s\n", words(s, "m1.test[10.0.0.1]")).p : "";
    if (is_silence())
        return;                    /* the second server would have no time either */
    if (!ok(rig_case(&t, 0), "%s, %s%s: %s", stages[rows[current].stage].stage, rows[current].event ? rows[current].event : "hang-up",
            soft ? ", soft_bounce" : "", next ? "the next host is asked" : "no other host is asked"))
        rig_explain(&t);
}

static int all_rows(void *arg PH_UNUSED)
{
    for (current = 0; current < sizeof rows / sizeof *rows; current++) {
        PH_SCOPED(s, NULL);

        alone(s);
        with_another(s, 0);
        if (!rows[current].next)
            with_another(s, 1);
    }
    return 0;
}

int main(void)
{
    rig_zone = zone;
    ph_run_main(all_rows, NULL);
    return done_testing();
}
