/* client_reference: what a delivery comes to, on one page: RFC 5321 (4.2.1 classes,
 * 4.5.4.1, 5.1), 2920, 3030, 2033, and the outcome matrix of the specification. */
#include <string.h>
#include "t/model/client.h"

static enum answer ask(struct client_model *m)
{
    unsigned i = m->host == 0 ? m->used++ : m->count;

    return i < m->count ? m->answer[i] : YES;
}

static int is_yes(enum answer a) { return a == YES || a == CUT; }
static int is_gone(enum answer a) { return a == LOST || a == GARBAGE; }

/* What a refusal means: 4xx may change, 5xx is final, an answer that has no place there is our
 * or their mistake and final too.  at_host: it is about the host, not about the mail. */
static struct fate refused(enum answer a, int at_host)
{
    switch (a) {
    case LATER: return (struct fate){ 'd', at_host, "4.2.0" };
    case CLOSING: return (struct fate){ 'd', at_host, "4.3.2" };
    case LOST:
    case GARBAGE: return (struct fate){ 'd', 1, "4.4.2" };
    case NO: return (struct fate){ 'b', 0, "5.7.1" };
    default: return (struct fate){ 'b', 0, "5.5.0" };
    }
}

/* A bounce is said at once; what is deferred waits for what the next host says. */
static void settle(struct client_model *m, struct fate *f, int i, struct fate v)
{
    if (!m->is_open[i])
        return;
    if (v.status == 'd') {
        m->why[i] = v;
        return;
    }
    m->is_open[i] = 0;
    f[i] = v;
}

static void settle_all(struct client_model *m, struct fate *f, struct fate v, const int *which)
{
    for (int i = 0; i < RCPTS; i++)
        if (!which || which[i])
            settle(m, f, i, v);
}

/* Greeting, EHLO, HELO: 1 when MAIL may follow. */
static int handshake(struct client_model *m, struct fate *f)
{
    const struct scenario *c = m->c;
    enum answer a = ask(m);

    m->connects++;
    m->uses = 0;
    m->needs_reset = m->last_use = m->broken = 0;
    if (!is_yes(a)) {
        /* smtp_skip_5xx_greeting: another host, or another day. */
        settle_all(m, f, a == NO ? (struct fate){ 'd', 1, "4.7.1" } : refused(a, 1), NULL);
        return 0;
    }
    a = ask(m);
    m->features = is_yes(a);
    if (!is_yes(a) && !is_gone(a) && a != CLOSING && !c->lmtp)
        a = ask(m);                /* HELO */
    if (!is_yes(a))
        settle_all(m, f, refused(a, 1), NULL);
    return is_yes(a);
}

/* The session cannot go on: 1. */
static int ends(struct client_model *m, struct fate *f, enum answer a, const int *concerned)
{
    if (!is_gone(a) && a != CLOSING)
        return 0;
    m->broken = 1;
    settle_all(m, f, refused(a, 0), concerned);
    return 1;
}

/* After the content. */
static void finish(struct client_model *m, struct fate *f, int bdat)
{
    int left[RCPTS];

    memcpy(left, m->accepted, sizeof left);
    for (int i = 0, first = 1; i < RCPTS; i++) {
        if (!left[i] || !(first || m->c->lmtp))
            continue;
        enum answer a = ask(m);
        int *about = m->c->lmtp ? (int[RCPTS]){ i == 0, i == 1 } : left;

        first = 0;
        m->needs_reset = bdat && !is_yes(a);   /* RFC 3030: what a chunk that failed leaves is not known */
        if (ends(m, f, a, left))
            return;
        settle_all(m, f, is_yes(a) ? (struct fate){ 's', 0, "2.0.0" } : refused(a, 0), about);
        m->last_use |= a == ODD;
        m->broken |= bdat && a == NO;          /* it may know no BDAT, and read content as commands */
        left[i] = 0;
    }
}

/* DATA went along in the group, and nobody is left: nothing is sent. */
static void finish_nothing(struct client_model *m)
{
    enum answer a = m->c->lmtp ? LOST : ask(m);    /* LMTP: no recipient, no answer */

    m->broken = is_gone(a) || a == CLOSING;
}

/* Commands that left behind an RSET which was refused: nobody reads what is said to them. */
static int pass_over(struct client_model *m, int commands, enum answer a)
{
    while (commands-- && !is_gone(a) && a != CLOSING)
        a = ask(m);
    return 1;
}

/* 1: the session that was kept had ended; nobody is to blame. */
static int transact(struct client_model *m, struct fate *f)
{
    const struct scenario *c = m->c;
    int pipelining = c->pipelining && m->features, bdat = c->chunking && m->features && !c->lmtp;
    int offered[RCPTS], concerned[RCPTS], reset = m->needs_reset, refused_mail = 0, n = 0, answered = 0;
    enum answer a = YES;

    memcpy(offered, m->is_open, sizeof offered);
    memcpy(concerned, offered, sizeof concerned);
    memset(m->accepted, 0, sizeof m->accepted);
    m->uses++;
    m->needs_reset = 1;
    for (int k = reset ? -2 : -1; k <= RCPTS; k++) {       /* -2 RSET, -1 MAIL, recipients, DATA */
        if ((k >= 0 && k < RCPTS && !offered[k]) || (k == RCPTS && bdat))
            continue;
        if (!pipelining && (refused_mail || (k == RCPTS && n == 0)))
            return 0;
        a = ask(m);
        if (m->uses > 1 && !answered++ && (is_gone(a) || a == CLOSING || (k == -2 && !is_yes(a))))
            return pass_over(m, pipelining ? bdat ? 3 : 4 : 0, a);
        if (ends(m, f, a, concerned))
            return 0;
        if (is_yes(a)) {
            n += k >= 0 && k < RCPTS && !refused_mail;
            if (k >= 0 && k < RCPTS)
                m->accepted[k] = !refused_mail;
        } else if (k == -1) {
            refused_mail = 1;
            settle_all(m, f, refused(a, 0), concerned);
            memset(concerned, 0, sizeof concerned);
            m->last_use |= a == ODD;
        } else if (k >= 0 && !refused_mail && (k < RCPTS || n)) {
            settle_all(m, f, refused(a, 0), k < RCPTS ? (int[RCPTS]){ k == 0, k == 1 } : m->accepted);
            m->last_use |= a == ODD;
        }
        if (k >= 0 && k < RCPTS && !is_yes(a))
            concerned[k] = 0;                              /* it has its answer */
    }
    if (bdat ? n : is_yes(a)) {
        if (n)
            finish(m, f, bdat);
        else
            finish_nothing(m);
    }
    return 0;
}

/* 1: the session is there and has been used; what it could not do stays open. */
static int use(struct client_model *m, struct fate *f)
{
    if (transact(m, f)) {
        m->live = 0;
        return 0;
    }
    m->sessions++;
    m->worked |= !m->broken;
    m->live = m->c->deliveries > 1 && !m->broken && !m->last_use;
    m->tried |= m->is_open[0] || m->is_open[1];
    return 1;
}

static void deliver(struct client_model *m, struct fate *f)
{
    m->host = m->sessions = m->worked = m->tried = 0;
    for (int i = 0; i < RCPTS; i++)
        m->is_open[i] = 1;
    if (m->live)
        (void)use(m, f);
    for (; m->host < m->c->hosts && (m->is_open[0] || m->is_open[1]); m->host++)
        if ((m->host || !m->tried) && handshake(m, f))
            (void)use(m, f);
    for (int i = 0; i < RCPTS; i++)
        if (m->is_open[i]) {
            f[i] = m->why[i];
            f[i].dead &= !m->worked;
        }
}

void client_model_run(struct client_model *m, const struct scenario *c, const uint8_t *answer, unsigned count)
{
    *m = (struct client_model){ .c = c, .answer = answer, .count = count };
    for (int i = 0; i < c->deliveries; i++)
        deliver(m, m->fate[i]);
}
