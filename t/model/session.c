/* session: one session of the real smtpd.  Its client is the layer below its
 * stream: when smtpd wants to read, it has said all it has to say, so what it
 * said and what it remembers are judged there, and the next command is given.
 * No other task and no system call is between them. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <posthorn/error.h>
#include "core/run/stream_in.h"
#include "t/model/model.h"

__attribute__((format(printf, 2, 3)))
static void differ(struct run *r, const char *fmt, ...)
{
    va_list ap;

    if (r->wrong[0])
        return;
    va_start(ap, fmt);
    vsnprintf(r->wrong, sizeof r->wrong, fmt, ap);
    va_end(ap);
}

/* ---- what it said ---- */

static void want(struct run *r, const char *code)
{
    if (code)
        r->want[r->want_n++] = code;
}

/* One reply, of one line or more: its length, 0 when it is not this one. */
static size_t take_reply(ph_str got, ph_str code)
{
    size_t at = 0;

    for (;;) {
        ph_str line = ph_str_from(got, at);
        ptrdiff_t lf = ph_str_find(line, '\n');

        if (lf < 5 || line.p[lf - 1] != '\r' || memcmp(line.p, code.p, 3) != 0)
            return 0;
        at += (size_t)lf + 1;
        if (line.p[3] == '-')
            continue;
        int enhanced = code.n == 3 || (ph_str_starts(line, code) && line.p[code.n] == ' ');
        return line.p[3] == ' ' && enhanced ? at : 0;
    }
}

static void judge_replies(struct run *r)
{
    ph_str got = { r->got, r->got_n };

    for (unsigned i = 0; i < r->want_n; i++) {
        size_t n = take_reply(got, ph_cstr(r->want[i]));

        if (n == 0) {
            differ(r, "want \"%s\", got \"%.*s\"", r->want[i], (int)(got.n > 200 ? 200 : got.n), got.p);
            return;
        }
        got = ph_str_from(got, n);
    }
    if (got.n)
        differ(r, "more than it should say: \"%.*s\"", (int)(got.n > 200 ? 200 : got.n), got.p);
    r->want_n = 0;
    r->got_n = 0;
}

/* ---- what it remembers ---- */

static void same(struct run *r, const char *what, int64_t got, int64_t should)
{
    if (got != should)
        differ(r, "%s is %lld and should be %lld", what, (long long)got, (long long)should);
}

static void judge_state(struct run *r)
{
    const struct session *s = r->s;
    const struct model *m = &r->m;
    struct transaction none = { .scope = s->t.scope, .forward = s->t.forward };

    same(r, "known by HELO", s->helo.n > 0, m->helo != NULL);
    if (m->helo && !ph_str_eq(s->helo, ph_cstr(m->helo)))
        differ(r, "the HELO name is %.*s", PH_FMT(s->helo));
    same(r, "esmtp", s->esmtp, m->esmtp);
    same(r, "transaction open", s->t.open, m->mail);
    same(r, "recipients", s->t.rcpt_count, m->rcpts);
    same(r, "excess recipients", s->t.rcpt_over, m->over);
    same(r, "cleanup has a message", s->t.intake != NULL, m->intake);
    same(r, "XFORWARD", s->t.forward != NULL, m->forward);
    same(r, "chunks", s->chunks, m->chunks);
    same(r, "errors", s->errors, m->errors);
    same(r, "junk", s->junk, m->junk);
    if (m->mail && !ph_str_eq(s->t.sender, ph_cstr(m->sender)))
        differ(r, "the sender is %.*s", PH_FMT(s->t.sender));
    if (!m->mail && memcmp(&s->t, &none, sizeof none) != 0)
        differ(r, "something is left of the transaction that has ended");
}

static void judge_message(struct run *r)
{
    const struct model *m = &r->m;
    const struct acceptor *a = &acceptor;
    ph_str got = { a->content, a->n }, should = { m->last_content, m->last_n };
    ptrdiff_t id = ph_str_find(should, '@');

    if (strcmp(a->sender, m->last_sender) != 0 || strcmp(a->to, m->last_to) != 0)
        differ(r, "the queue has a message from <%s> to %s: should be from <%s> to %s", a->sender, a->to, m->last_sender, m->last_to);
    if (strcmp(a->client, m->last_client) != 0)
        differ(r, "the queue has a message of client %s: should be of %s", a->client, m->last_client);
    /* The model does not know the queue id; it stands where it says '@'. */
    size_t n = strlen(a->id), at = id < 0 ? 0 : (size_t)id;
    if (got.n + 1 != should.n + n || memcmp(got.p, should.p, at) != 0 || memcmp(got.p + at, a->id, n) != 0 ||
        memcmp(got.p + at + n, should.p + at + 1, should.n - at - 1) != 0)
        differ(r, "the queue has content \"%.*s\", should be \"%.*s\"", PH_FMT(ph_str_first(got, 250)), PH_FMT(ph_str_first(should, 250)));
}

static int judge_queue(struct run *r)
{
    int rc = acceptor_settle((unsigned)r->m.intake);

    if (rc < 0)
        differ(r, "%u messages are open at the queue, should be %d", acceptor.open, r->m.intake);
    same(r, "messages committed", acceptor.commits - r->commits_before, r->m.commits);
    if (r->m.commits > r->judged && !r->wrong[0])
        judge_message(r);
    r->judged = r->m.commits;
    if (acceptor.why)
        differ(r, "%s", acceptor.why);
    return rc;
}

/* "250 2.0.0 Ok: queued as ID" names what the queue has. */
static void judge_id(struct run *r)
{
    size_t n = strlen(acceptor.id);

    if (r->got_n < n + 3 || memcmp(r->got + r->got_n - n - 3, " ", 1) != 0 || memcmp(r->got + r->got_n - n - 2, acceptor.id, n) != 0)
        differ(r, "the reply does not name the queue id %s: \"%.*s\"", acceptor.id, (int)r->got_n, r->got);
}

/* What came of what was sent since the last time. */
static void judge(struct run *r)
{
    if (r->verbose)
        printf("# S: %.*s# model: %s%srcpts %u chunks %d errors %lld commits %u\n", (int)r->got_n, r->got, r->m.mail ? "mail " : "", r->m.intake ? "intake " : "",
               r->m.rcpts, (int)r->m.chunks, (long long)r->m.errors, r->m.commits);
    if (r->want_n == 1 && r->m.commits > r->judged)
        judge_id(r);
    judge_replies(r);
    if (!r->m.closed)
        judge_state(r);
    judge_queue(r);
}

/* ---- what it is told ---- */

static void put(struct run *r, const char *p, size_t n)
{
    ph_assert(r->feed_n + n <= sizeof r->block);
    memcpy(r->block + r->feed_n, p, n);
    r->feed_n += n;
}

int run_more(const struct run *r, unsigned i)
{
    if (r->how != ONE_BLOCK || i < r->head)
        return 0;
    return i + 1 < r->depth || r->more || (r->config->enforce && alphabet[r->seq[i]].act == A_DATA);
}

/* The next command, and what smtpd should say to it. */
static void put_command(struct run *r, int more)
{
    const struct symbol *y = &alphabet[r->seq[r->next++]];
    const char *reply = model_command(&r->m, y, more);

    if (r->verbose)
        printf("# C: %.*s\n", (int)y->wire_n - 2, y->wire);
    put(r, y->wire, y->wire_n);
    if (y->act == A_BDAT)
        put(r, y->content, y->content_n);
    want(r, reply);
    want(r, r->m.farewell);
    r->content = reply && strcmp(reply, "354") == 0 ? y : NULL;
    r->lost |= y->act == A_BDAT && y->is & IS_LOST;
}

static void put_content(struct run *r)
{
    const struct symbol *y = r->content;

    put(r, y->content, y->content_n);
    if (!(y->is & IS_LOST))
        put(r, ".\r\n", 3);
    want(r, model_content(&r->m, y));
    want(r, r->m.farewell);
    r->content = NULL;
    r->lost |= (y->is & IS_LOST) != 0;
}

/* RFC 2920: all of it at once, though DATA should end a group. */
static void put_all(struct run *r)
{
    while (!r->m.closed && r->next < r->depth) {
        put_command(r, run_more(r, r->next));
        if (r->content)
            put_content(r);
    }
    if (r->m.closed && !r->lost && run_more(r, r->next - 1))
        put(r, "NOOP\r\n", 6);     /* nothing may be answered there */
    r->finished = 1;
}

/* 1: there is something to read; 0: the client has left. */
static int next_bytes(struct run *r)
{
    if (r->finished || r->m.closed || (!r->content && r->next == r->depth))
        return 0;
    if (r->content)
        put_content(r);
    else if (r->how == ONE_BLOCK && r->next >= r->head)
        put_all(r);
    else
        put_command(r, 0);
    return 1;
}

static int64_t client_read(struct ph_stream *io, void *p, size_t n)
{
    struct run *r = io->layer;

    if (r->feed_n == 0) {
        judge(r);
        if (r->m.closed && !r->lost)
            differ(r, "it reads on where the session should have ended");
        r->feed = r->block;
        if (r->wrong[0] || !next_bytes(r))
            return ph_fail(PH_EOF, "the client has left");
    }
    size_t take = r->how == BYTE_WISE ? 1 : r->feed_n < n ? r->feed_n : n;
    memcpy(p, r->feed, take);
    r->feed += take;
    r->feed_n -= take;
    return (int64_t)take;
}

static int64_t client_write(struct ph_stream *io, const struct iovec *iov, int count)
{
    struct run *r = io->layer;
    int64_t sum = 0;

    for (int i = 0; i < count; i++) {
        size_t room = sizeof r->got - r->got_n, n = iov[i].iov_len < room ? iov[i].iov_len : room;

        memcpy(r->got + r->got_n, iov[i].iov_base, n);
        r->got_n += n;
        sum += (int64_t)iov[i].iov_len;
    }
    return sum;
}

static int client_wait(struct ph_stream *io PH_UNUSED, int what PH_UNUSED, int64_t deadline PH_UNUSED)
{
    return ph_fail(PH_TEMP, "there is nothing to wait for");
}

static int client_is_stale(struct ph_stream *io PH_UNUSED) { return 0; }
static void client_close(struct ph_stream *io PH_UNUSED) { }

static const struct ph_stream_ops client = {
    .read = client_read, .write = client_write, .wait = client_wait, .is_stale = client_is_stale, .close = client_close,
};

static void start(struct run *r)
{
    r->next = r->want_n = 0;
    r->got_n = r->feed_n = 0;
    r->content = NULL;
    r->finished = r->lost = 0;
    r->wrong[0] = 0;
    r->judged = 0;
    r->commits_before = acceptor.commits;
    model_start(&r->m, r->config);
    want(r, "220");
}

int run_session(struct run *r)
{
    static const struct ph_peer peer = {
        .size = sizeof peer, .address = PH_STR_INIT("192.0.2.9"), .port = PH_STR_INIT("1025"),
        .server_address = PH_STR_INIT("192.0.2.1"), .server_port = PH_STR_INIT("25"),
    };
    struct ph_scope *scope = ph_scope_new(NULL);
    struct ph_stream *io = ph_stream_make(scope, &client, r, -1, 16384);

    start(r);
    r->s = session_new(r->c, scope, io, &peer);
    int rc = session_run(r->s);
    if (rc < 0)
        differ(r, "the session ended with %d", rc);
    if (r->feed_n && !r->m.closed)
        differ(r, "the session ended early");
    if (r->next < r->depth && !r->m.closed)
        differ(r, "the session ended before %s", alphabet[r->seq[r->next]].name);
    r->used = r->next;
    r->m.intake = 0;
    judge(r);
    ph_scope_free(scope);
    return r->wrong[0] ? -1 : 0;
}
