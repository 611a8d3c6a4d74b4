/* client_server: servers for the transports, below the client's stream: what the
 * client writes is read at once, and the answer waits before it looks for it.
 * The first host answers as told, the second says yes to everything.  Both
 * complain about a client that does not keep to the protocol. */
#include <stdio.h>
#include <string.h>
#include <posthorn/error.h>
#include "core/run/stream_in.h"
#include "t/model/client.h"

const char client_message[] = "Subject: x\r\n\r\nhello\r\n.a dot\r\n";
static const char dotted[] = "Subject: x\r\n\r\nhello\r\n..a dot\r\n";

#define CONNECTIONS 8
#define IN_BYTES    4096

enum stage { S_GREETING, S_HELO, S_COMMAND, S_DOT };

struct peer {
    int host;
    char in[IN_BYTES], out[2048];
    size_t in_n, out_n;
    int closed, silent;            /* hung up; never answers again */
    int esmtp, open, to[RCPTS], mail_refused;
    int content, bdat;             /* what is read: up to the dot; so many bytes */
    size_t bdat_n;
    int unanswered;                /* commands since the client last looked */
};

static struct {
    const struct scenario *c;
    const uint8_t *answer;
    unsigned count, used, connects, taken[RCPTS];
    struct peer server[CONNECTIONS];
    const char *complaint;
} all;

static void complain(const char *what)
{
    if (!all.complaint)
        all.complaint = what;
}

/* ---- what it says ---- */

static void say(struct peer *v, const char *text)
{
    size_t n = strlen(text);

    ph_assert(v->out_n + n <= sizeof v->out);
    memcpy(v->out + v->out_n, text, n);
    v->out_n += n;
}

static void say_yes(struct peer *v, enum stage stage, const char *verb)
{
    if (stage == S_GREETING) {
        say(v, "220 mx ESMTP\r\n");
    } else if (stage == S_HELO && v->esmtp) {
        say(v, "250-mx\r\n");
        say(v, all.c->pipelining ? "250-PIPELINING\r\n" : "");
        say(v, all.c->chunking ? "250-CHUNKING\r\n" : "");
        say(v, all.c->size ? "250-SIZE 1000000\r\n" : "");
        say(v, "250 8BITMIME\r\n");
    } else {
        say(v, strcmp(verb, "DATA") == 0 ? "354 go\r\n" : "250 2.0.0 ok\r\n");
    }
}

/* Keywords in what refuses EHLO offer nothing. */
static void say_no(struct peer *v, enum stage stage, const char *code, const char *words)
{
    for (int i = 0; stage == S_HELO && i < 2; i++) {
        say(v, code);
        say(v, i ? "-CHUNKING\r\n" : "-PIPELINING\r\n");
    }
    say(v, code);
    say(v, " ");
    say(v, words);
    say(v, "\r\n");
}

/* One answer: 1 when it was yes. */
static int answer(struct peer *v, enum stage stage, const char *verb)
{
    unsigned i = v->host == 0 ? all.used++ : all.count;
    enum answer a = i < all.count ? all.answer[i] : YES;

    v->unanswered++;
    switch (a) {
    case YES: say_yes(v, stage, verb); break;
    case CUT:
        say(v, "what is this\r\n");
        if (stage == S_COMMAND && strcmp(verb, "DATA") == 0)
            say(v, "354-almost\r\n");
        else
            say(v, stage == S_GREETING ? "220-mx waits\r\n" : stage == S_HELO ? "" : "250-2.0.0 nearly\r\n");
        say_yes(v, stage, verb);
        break;
    case LATER: say_no(v, stage, "450", "4.2.0 wait"); break;
    case NO: say_no(v, stage, "550", "5.7.1 no"); break;
    case CLOSING:
        say(v, "421 4.3.2 closing\r\n");
        v->closed = 1;
        break;
    case LOST: v->closed = 1; break;
    case GARBAGE:
        say(v, "\x16\x03\x01 what is this\r\n");
        v->silent = 1;
        break;
    case ODD: say_no(v, stage, strcmp(verb, "DATA") == 0 ? "250" : "354", "odd"); break;
    case ANSWERS: break;
    }
    return a == YES || a == CUT;
}

/* ---- what it is told ---- */

static void deliver(struct peer *v)
{
    for (int i = 0; i < RCPTS; i++)
        if (v->to[i]) {
            int yes = !all.c->lmtp || answer(v, S_DOT, "");

            all.taken[i] += (unsigned)yes;
            if (v->closed || v->silent)
                return;
        }
}

/* The content is complete. */
static void end_of_content(struct peer *v)
{
    int any = v->to[0] || v->to[1], bdat = v->bdat;

    v->content = v->bdat = 0;
    if (!any && all.c->lmtp)
        return;
    int yes = all.c->lmtp || answer(v, S_DOT, "");
    if (yes)
        deliver(v);
    v->open = bdat && !yes;        /* RFC 3030: nobody knows what is left then */
    memset(v->to, 0, sizeof v->to);
}

static void mail(struct peer *v, ph_str line)
{
    int has_size = ph_str_search(line, PH_STR(" SIZE=")) >= 0;

    if (v->open)
        complain("MAIL in a transaction");
    if (has_size != (v->esmtp && all.c->size))
        complain("SIZE= does not go with what was offered");
    v->mail_refused = !answer(v, S_COMMAND, "MAIL");
    v->open = !v->mail_refused;
}

static void rcpt(struct peer *v, ph_str line)
{
    int i = line.n > 9 ? line.p[9] - 'a' : -1;

    if (i < 0 || i >= RCPTS || !ph_str_starts(ph_str_from(line, 10), PH_STR("@x.test>"))) {
        complain("RCPT is none of the recipients");
        return;
    }
    if (v->mail_refused && !all.c->pipelining)
        complain("RCPT after a refused MAIL");
    if (v->to[i])
        complain("one recipient twice");
    int yes = answer(v, S_COMMAND, "RCPT");
    v->to[i] = yes && !v->mail_refused;
}

static void data(struct peer *v)
{
    if (v->esmtp && all.c->chunking && !all.c->lmtp)
        complain("DATA where BDAT would do");
    if (!v->to[0] && !v->to[1] && !(all.c->pipelining && v->esmtp))
        complain("DATA without a recipient");
    v->content = answer(v, S_COMMAND, "DATA");
}

static void bdat(struct peer *v, ph_str line)
{
    uint64_t n;

    if (!v->esmtp || !all.c->chunking || all.c->lmtp)
        complain("BDAT was not offered");
    if (!v->to[0] && !v->to[1])
        complain("BDAT without a recipient");
    line = ph_str_from(line, 5);
    if (!ph_str_u64(ph_str_word(&line), &n) || !ph_str_eq(line, PH_STR("LAST")))
        complain("BDAT is not understood");
    v->bdat = 1;
    v->bdat_n = (size_t)n;
}

static void hello(struct peer *v, ph_str line)
{
    v->esmtp = line.p[0] != 'H';
    if (!answer(v, S_HELO, ""))
        v->esmtp = 0;
}

/* Who refuses RSET must not wonder at what is pipelined behind it. */
static void reset(struct peer *v)
{
    answer(v, S_COMMAND, "RSET");
    v->open = v->mail_refused = 0;
    memset(v->to, 0, sizeof v->to);
}

static void command(struct peer *v, ph_str line)
{
    if (v->unanswered && !(v->esmtp && all.c->pipelining))
        complain("a command before the answer to the last one, without PIPELINING");
    if (ph_str_eq(line, PH_STR("QUIT")))
        v->closed = 1;
    else if (ph_str_starts(line, all.c->lmtp ? PH_STR("LHLO ") : PH_STR("EHLO ")) || (!all.c->lmtp && ph_str_starts(line, PH_STR("HELO "))))
        hello(v, line);
    else if (ph_str_starts(line, PH_STR("MAIL FROM:<s@x.test>")))
        mail(v, line);
    else if (ph_str_starts(line, PH_STR("RCPT TO:<")))
        rcpt(v, line);
    else if (ph_str_eq(line, PH_STR("DATA")))
        data(v);
    else if (ph_str_starts(line, PH_STR("BDAT ")))
        bdat(v, line);
    else if (!ph_str_eq(line, PH_STR("RSET")))
        complain("a command that nobody knows");
    else
        reset(v);
}

/* Bytes used of the content, 0: not all is here. */
static size_t take_content(struct peer *v, ph_str in)
{
    const char *want = v->bdat ? client_message : dotted;
    size_t n = v->bdat ? v->bdat_n : 0;

    if (v->bdat && in.n < n)
        return 0;
    if (!v->bdat) {
        ptrdiff_t end = ph_str_starts(in, PH_STR(".\r\n")) ? -2 : ph_str_search(in, PH_STR("\r\n.\r\n"));

        if (end == -1)
            return 0;
        n = (size_t)(end + 2);
    }
    if (!v->to[0] && !v->to[1])
        want = "";
    if (!ph_str_eq(ph_str_first(in, n), ph_cstr(want)))
        complain("the content is another");
    end_of_content(v);
    return n + (want == client_message ? 0 : 3);
}

static void read_all(struct peer *v)
{
    size_t at = 0;

    while (at < v->in_n && !v->closed && !v->silent) {
        ph_str in = { v->in + at, v->in_n - at };
        ptrdiff_t lf = ph_str_find(in, '\n');
        size_t n;

        if (v->content || v->bdat) {
            if ((n = take_content(v, in)) == 0)
                break;
            at += n;
            continue;
        }
        if (lf < 0)
            break;
        if (lf < 1 || in.p[lf - 1] != '\r')
            complain("a line without CR");
        command(v, ph_str_first(in, (size_t)lf - 1));
        at += (size_t)lf + 1;
    }
    if (v->closed || v->silent)
        at = v->in_n;
    memmove(v->in, v->in + at, v->in_n - at);
    v->in_n -= at;
}

/* ---- the layer below the client ---- */

static int64_t server_read(struct ph_stream *io, void *p, size_t n)
{
    struct peer *v = io->layer;
    size_t take = v->out_n < n ? v->out_n : n;

    v->unanswered = 0;
    if (take == 0 && v->closed)
        return ph_fail(PH_EOF, "connection closed by the peer");
    if (take == 0 && !v->silent)
        complain("the client waits for an answer that nobody owes it");
    if (take == 0)
        return ph_fail(PH_TIMEOUT, "timeout");
    memcpy(p, v->out, take);
    memmove(v->out, v->out + take, v->out_n - take);
    v->out_n -= take;
    return (int64_t)take;
}

static int64_t server_write(struct ph_stream *io, const struct iovec *iov, int count)
{
    struct peer *v = io->layer;
    int64_t sum = 0;

    for (int i = 0; i < count; i++) {
        sum += (int64_t)iov[i].iov_len;
        if (v->closed || v->silent || v->in_n + iov[i].iov_len > sizeof v->in)
            continue;
        memcpy(v->in + v->in_n, iov[i].iov_base, iov[i].iov_len);
        v->in_n += iov[i].iov_len;
    }
    read_all(v);
    return sum;
}

static int server_wait(struct ph_stream *io PH_UNUSED, int what PH_UNUSED, int64_t deadline PH_UNUSED)
{
    return ph_fail(PH_TEMP, "there is nothing to wait for");
}

static int server_is_stale(struct ph_stream *io)
{
    const struct peer *v = io->layer;

    return v->closed || v->out_n;
}

static void server_close(struct ph_stream *io PH_UNUSED) { }

static const struct ph_stream_ops ops = {
    .read = server_read, .write = server_write, .wait = server_wait, .is_stale = server_is_stale, .close = server_close,
};

int servers_dial(struct ph_scope *s, ph_str where, struct ph_stream **io)
{
    ph_assert(all.connects < CONNECTIONS);
    struct peer *v = &all.server[all.connects++];

    memset(v, 0, sizeof *v);
    v->host = ph_str_eq(where, PH_STR("10.0.0.2"));
    answer(v, S_GREETING, "");
    *io = ph_stream_make(s, &ops, v, -1, 4096);
    return 0;
}

void servers_start(const struct scenario *c, const uint8_t *answers, unsigned count)
{
    all.c = c;
    all.answer = answers;
    all.count = count;
    all.used = all.connects = 0;
    all.complaint = NULL;
    servers_forget_taken();
}

unsigned servers_used(void) { return all.used; }
unsigned servers_connects(void) { return all.connects; }
unsigned servers_taken(int i) { return all.taken[i]; }
void servers_forget_taken(void) { memset(all.taken, 0, sizeof all.taken); }
const char *servers_complaint(void) { return all.complaint; }
