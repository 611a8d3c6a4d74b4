/* t/model/smtp.c: the smtp and lmtp transports against every sequence of answers
 * of a server: what becomes of each of two recipients is compared with the
 * reference model, and with what the servers took.  See README.md.  Without an
 * argument: what fits in a few seconds; --deep: all of it.
 * MODEL="YES YES LATER ..." runs one sequence. */
#include <time.h>
#include "t/unit/tap.h"
#include <posthorn/error.h>
#include "t/model/client.h"

static const char *const answer_names[ANSWERS] = { "YES", "LATER", "NO", "CLOSING", "LOST", "GARBAGE", "ODD", "CUT" };

/* lmtp, PIPELINING, CHUNKING, SIZE; hosts, deliveries; answers that are YES, kinds of answers, depth. */
static const struct scenario scenarios[] = {
    { "plain", 0, 0, 0, 0, 1, 1, 0, ANSWERS, 6, 8 },
    { "SIZE", 0, 0, 0, 1, 1, 1, 0, ANSWERS, 6, 8 },
    { "PIPELINING", 0, 1, 0, 0, 1, 1, 0, ANSWERS, 6, 8 },
    { "PIPELINING SIZE", 0, 1, 0, 1, 1, 1, 0, ANSWERS, 6, 8 },
    { "CHUNKING", 0, 0, 1, 0, 1, 1, 0, ANSWERS, 6, 8 },
    { "CHUNKING SIZE", 0, 0, 1, 1, 1, 1, 0, ANSWERS, 6, 8 },
    { "PIPELINING CHUNKING", 0, 1, 1, 0, 1, 1, 0, ANSWERS, 6, 8 },
    { "PIPELINING CHUNKING SIZE", 0, 1, 1, 1, 1, 1, 0, ANSWERS, 6, 8 },
    { "two hosts", 0, 0, 0, 1, 2, 1, 0, ANSWERS, 6, 8 },
    { "two hosts, PIPELINING", 0, 1, 0, 1, 2, 1, 0, ANSWERS, 6, 8 },
    { "two hosts, CHUNKING", 0, 0, 1, 1, 2, 1, 0, ANSWERS, 6, 8 },
    { "two hosts, PIPELINING CHUNKING", 0, 1, 1, 1, 2, 1, 0, ANSWERS, 6, 8 },
    { "LMTP", 1, 0, 0, 0, 1, 1, 0, ANSWERS, 7, 8 },
    { "LMTP, PIPELINING", 1, 1, 1, 1, 1, 1, 0, ANSWERS, 7, 8 },
    { "LMTP, two hosts, PIPELINING", 1, 1, 0, 1, 2, 1, 2, ANSWERS, 3, 6 },
    { "kept session", 0, 0, 0, 0, 1, 2, 2, LOST + 1, 6, 11 },
    { "kept session, PIPELINING", 0, 1, 0, 1, 1, 2, 2, LOST + 1, 6, 11 },
    { "kept session, CHUNKING", 0, 0, 1, 1, 1, 2, 2, LOST + 1, 6, 11 },
    { "kept session, PIPELINING CHUNKING", 0, 1, 1, 1, 1, 2, 2, LOST + 1, 6, 11 },
    { "kept session, every answer", 0, 1, 0, 1, 1, 2, 2, ANSWERS, 5, 7 },
    { "kept session, LMTP", 1, 1, 0, 1, 1, 2, 2, LOST + 1, 6, 11 },
};
#define SCENARIOS (sizeof scenarios / sizeof *scenarios)

static const char zone[] = "mx.test MX 10 m1.test\n" "mx.test MX 20 m2.test\n" "m1.test A 10.0.0.1\n" "m2.test A 10.0.0.2\n";

static struct {
    uint64_t sequences, deliveries, sent, differences;
    int verbose;
} sum;

static struct client_model model;

static void explain(const struct scenario *c, const uint8_t *answer, unsigned count, const char *wrong)
{
    if (++sum.differences > 20)
        return;
    printf("# MODEL_CASE=\"%s\" MODEL=\"", c->name);
    for (unsigned i = 0; i < count; i++)
        printf("%s%s", i ? " " : "", answer_names[answer[i]]);
    printf("\": %s\n", wrong);
}

/* "a sent relay=R dsn=D dead (...)": what the rig noted of recipient i. */
static struct fate reported(int i, char dsn[static 8])
{
    ph_str text = ph_cstr(rig.outcomes), line;
    struct fate f = { '-', 0, dsn };

    snprintf(dsn, 8, "none");
    while ((line = ph_str_cut(&text, '\n')).n) {
        ptrdiff_t at = ph_str_search(line, PH_STR(" dsn=")), words = ph_str_find(line, '(');

        if (line.p[0] != 'a' + i || at < 0 || words < 0)
            continue;
        snprintf(dsn, 8, "%.5s", line.p + at + 5);
        f.status = f.status == '-' ? line.p[2] : '!';      /* '!': twice */
        f.dead = ph_str_search(ph_str_first(line, (size_t)words), PH_STR(" dead")) > 0;
    }
    return f;
}

/* Recipient i of a delivery: 1 when it is as it should be. */
static int judge(int i, const struct fate *want, char *wrong, size_t size)
{
    char dsn[8];
    struct fate got = reported(i, dsn);

    if (got.status != want->status || strcmp(got.dsn, want->dsn) != 0 || got.dead != want->dead)
        snprintf(wrong, size, "recipient %c is %c %s%s, should be %c %s%s", 'a' + i, got.status, got.dsn, got.dead ? " dead" : "", want->status, want->dsn,
                 want->dead ? " dead" : "");
    else if ((got.status == 's') != (servers_taken(i) == 1))
        snprintf(wrong, size, "recipient %c is %c, and servers took it %u times", 'a' + i, got.status, servers_taken(i));
    return !wrong[0];
}

static void deliver(struct smtp *self, struct ph_scope *s, const struct scenario *c, int which, char *wrong, size_t size)
{
    struct ph_delivery *d = rig_delivery(s, c->hosts == 1 ? "[10.0.0.1]" : c->lmtp ? "[10.0.0.1],[10.0.0.2]" : "mx.test", RCPTS, client_message);

    d->message->facts = PH_FACT_LEADING_DOT;
    d->reuse = c->deliveries > 1;
    rig.outcomes[0] = rig.log[0] = rig.details[0] = rig.queries[0] = 0;
    servers_forget_taken();
    int rc = rig_deliver(self, d);
    sum.deliveries++;
    if (sum.verbose)
        printf("# delivery %d:\n%s%s", which + 1, rig.outcomes, rig.log);
    if (rc < 0)
        snprintf(wrong, size, "the delivery ended with %d", rc);
    for (int i = 0; i < RCPTS && !wrong[0]; i++) {
        sum.sent += model.fate[which][i].status == 's';
        (void)judge(i, &model.fate[which][i], wrong, size);
    }
}

static void run_one(const struct scenario *c, const uint8_t *answer, unsigned count)
{
    PH_SCOPED(s, NULL);
    struct smtp self;
    char wrong[300] = "";

    rig_agent(&self, s);
    self.lmtp = c->lmtp;
    servers_start(c, answer, count);
    sum.sequences++;
    for (int i = 0; i < c->deliveries && !wrong[0]; i++)
        deliver(&self, s, c, i, wrong, sizeof wrong);
    if (!wrong[0] && servers_complaint())
        snprintf(wrong, sizeof wrong, "%s", servers_complaint());
    if (!wrong[0] && (servers_used() != model.used || servers_connects() != model.connects))
        snprintf(wrong, sizeof wrong, "%u answers in %u sessions, should be %u in %u", servers_used(), servers_connects(), model.used, model.connects);
    if (wrong[0])
        explain(c, answer, count, wrong);
}

/* The model says how many answers a sequence takes; more need not be tried. */
static void walk(const struct scenario *c, uint8_t *answer, unsigned count, unsigned depth)
{
    client_model_run(&model, c, answer, count);
    if (count == depth || model.used <= count) {
        run_one(c, answer, count);
        return;
    }
    for (unsigned a = 0; a < (count < c->skip ? 1 : c->answers) && sum.differences < 200; a++) {
        answer[count] = (uint8_t)a;
        walk(c, answer, count + 1, depth);
    }
}

static void run_scenario(const struct scenario *c, unsigned depth)
{
    uint8_t answer[CLIENT_DEPTH];
    uint64_t before = sum.sequences, bad = sum.differences;

    walk(c, answer, 0, c->skip + depth);
    ok(sum.differences == bad, "%s: %u answers of %u kinds: %llu sequences", c->name, depth, c->answers, (unsigned long long)(sum.sequences - before));
}

static void replay(const char *text)
{
    const char *name = getenv("MODEL_CASE");
    const struct scenario *c = scenarios;
    ph_str rest = ph_cstr(text), word;
    uint8_t answer[CLIENT_DEPTH];
    unsigned n = 0;

    for (size_t i = 0; name && i < SCENARIOS; i++)
        if (strcmp(scenarios[i].name, name) == 0)
            c = &scenarios[i];
    for (; n < CLIENT_DEPTH && (word = ph_str_word(&rest)).n; n++)
        for (answer[n] = 0; answer[n] < ANSWERS - 1 && !ph_str_eq(word, ph_cstr(answer_names[answer[n]])); answer[n]++)
            ;
    sum.verbose = 1;
    client_model_run(&model, c, answer, n);
    run_one(c, answer, n);
    ok(sum.differences == 0, "%s: %s", c->name, text);
}

static int64_t clock_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int run_all(void *arg)
{
    const char *one = getenv("MODEL");
    int64_t began = clock_ms();

    rig_zone = zone;
    rig_dial = servers_dial;
    for (size_t i = 0; !one && i < SCENARIOS; i++)
        run_scenario(&scenarios[i], arg ? scenarios[i].deep : scenarios[i].shallow);
    if (one)
        replay(one);
    printf("# model: %llu sequences, %llu deliveries, %llu recipients sent, %llu differences, %.1f seconds\n", (unsigned long long)sum.sequences,
           (unsigned long long)sum.deliveries, (unsigned long long)sum.sent, (unsigned long long)sum.differences, (double)(clock_ms() - began) / 1000);
    return 0;
}

int main(int argc, char **argv)
{
    if (ph_run_main(run_all, argc > 1 && strcmp(argv[1], "--deep") == 0 ? argv : NULL) != 0)
        return 1;
    return done_testing();
}
