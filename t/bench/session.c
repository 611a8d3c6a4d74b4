/* session: one client, RFC 5321 3.1 to 3.8, that waits for each reply before it
 * goes on (or not, with `pipeline`); see load.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "load.h"

static void interest(const struct source *s, struct session *x, int op, uint32_t events)
{
    struct epoll_event ev = { .events = events, .data.u64 = (uint64_t)x->gen << 32 | (uint64_t)(x - s->session) };

    if (epoll_ctl(s->epoll, op, x->fd, &ev) < 0)
        die("epoll");
}

int source_has_work(const struct source *s) { return s->agains || s->next < s->messages; }

static void take_message(struct source *s, struct session *x)
{
    x->number = s->agains ? s->again[--s->agains] : s->next++;
    x->sent = 0;
    message_make(&s->plan, x->number, &x->message);
}

void session_start(struct source *s, struct session *x)
{
    take_message(s, x);
    x->fd = dial(s->port, 0);
    x->gen++;
    x->step = GREETING;
    x->dialled_us = clock_us();
    x->writing = 0;
    x->reply = (struct reply){ 0 };
    interest(s, x, EPOLL_CTL_ADD, EPOLLIN);
    s->live++;
    s->connections++;
}

static void hang_up(struct source *s, struct session *x)
{
    close(x->fd);
    x->fd = -1;
    x->step = IDLE;
    s->live--;
}

/* The message has not got through: it comes again, with a connection of its own. */
static void fail(struct source *s, struct session *x)
{
    if (x->number != NO_MESSAGE) {
        if (x->step == CONTENT && x->sent == x->message.size)
            s->uncertain++;
        s->again[s->agains++] = x->number;
        s->retried++;
        x->number = NO_MESSAGE;
        x->again_us = clock_us() + RETRY_US;
    }
    hang_up(s, x);
}

/* A full listener may drop the end of the handshake, which only the server knows
 * then; it speaks first, so the client would wait for ever. */
void session_check(struct source *s, struct session *x, int64_t now)
{
    if (x->step == GREETING && now - x->dialled_us > GREETING_US)
        fail(s, x);
}

/* A command, which always finds room: the one before was answered. */
static int say(struct source *s, struct session *x, const char *text, size_t n)
{
    if (send(x->fd, text, n, MSG_NOSIGNAL) == (ssize_t)n)
        return 1;
    fail(s, x);
    return 0;
}

/* As much of the content as there is room for. */
static void send_content(struct source *s, struct session *x)
{
    struct iovec part[3];
    struct msghdr h = { .msg_iov = part };
    size_t skip = x->sent;

    for (size_t i = 0; i < 3; i++) {
        const struct iovec *v = &x->message.part[i];

        if (skip >= v->iov_len) {
            skip -= v->iov_len;
            continue;
        }
        part[h.msg_iovlen++] = (struct iovec){ (char *)v->iov_base + skip, v->iov_len - skip };
        skip = 0;
    }
    ssize_t n = sendmsg(x->fd, &h, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        fail(s, x);
        return;
    }
    x->sent += n > 0 ? (size_t)n : 0;
    int more = x->sent < x->message.size;
    if (!more)
        x->sent_us = clock_us();
    if (more != x->writing) {
        x->writing = more;
        interest(s, x, EPOLL_CTL_MOD, more ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
}

/* MAIL of the next message; all of its envelope when pipelined (RFC 2920). */
static void say_envelope(struct source *s, struct session *x)
{
    char text[700], to[256];
    int n = snprintf(text, sizeof text, "MAIL FROM:<%s>\r\n", s->plan.from);

    if (s->pipeline) {
        plan_recipient(&s->plan, x->number, to, sizeof to);
        n += snprintf(text + n, sizeof text - (size_t)n, "RCPT TO:<%s>\r\nDATA\r\n", to);
    }
    x->step = MAIL;
    say(s, x, text, (size_t)n);
}

static void say_recipient(struct source *s, struct session *x)
{
    char text[300], to[256];

    plan_recipient(&s->plan, x->number, to, sizeof to);
    int n = snprintf(text, sizeof text, "RCPT TO:<%s>\r\n", to);
    x->step = RCPT;
    if (!s->pipeline)
        say(s, x, text, (size_t)n);
}

/* It was accepted, or refused for good: the next one, or the end. */
static void next_message(struct source *s, struct session *x)
{
    x->number = NO_MESSAGE;
    if (s->persistent && source_has_work(s)) {
        take_message(s, x);
        say_envelope(s, x);
    } else {
        x->step = QUIT;
        say(s, x, "QUIT\r\n", 6);
    }
}

static void note_accepted(struct source *s, struct session *x)
{
    s->last_us = clock_us();
    s->latency_us[s->accepted++] = (uint32_t)(s->last_us - x->sent_us);
    s->bytes += x->message.size;
    next_message(s, x);
}

/* Not the reply that was wanted. */
static void refused(struct source *s, struct session *x, int code, const char *text, size_t n)
{
    size_t k = 0;

    for (; k < n && k + 1 < sizeof s->trouble && text[k] != '\r'; k++)
        s->trouble[k] = text[k] < ' ' || text[k] > '~' || text[k] == '"' || text[k] == '\\' ? '?' : text[k];
    s->trouble[k] = 0;
    if (code >= 500 && x->step > HELLO && x->number != NO_MESSAGE) {
        x->number = NO_MESSAGE;
        s->rejected++;
    }
    if (x->step == CONTENT)
        x->sent = 0;               /* the reply is known: nothing is uncertain */
    fail(s, x);
}

static void go_on(struct source *s, struct session *x)
{
    switch (x->step) {
    case GREETING: x->step = HELLO; say(s, x, "EHLO source.bench.test\r\n", 24); return;
    case HELLO: say_envelope(s, x); return;
    case MAIL: say_recipient(s, x); return;
    case RCPT: x->step = DATA; if (!s->pipeline) say(s, x, "DATA\r\n", 6); return;
    case DATA: x->step = CONTENT; send_content(s, x); return;
    case CONTENT: note_accepted(s, x); return;
    case QUIT: case IDLE: hang_up(s, x); if (source_has_work(s)) session_start(s, x); return;
    }
}

static int wanted(enum step step)
{
    return step == GREETING ? 220 : step == DATA ? 354 : step == QUIT ? 221 : 250;
}

static void hear(struct source *s, struct session *x)
{
    char buf[4096];
    uint32_t gen = x->gen;
    ssize_t n = recv(x->fd, buf, sizeof buf, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        fail(s, x);
        return;
    }
    for (size_t at = 0, used; at < (size_t)n && x->fd >= 0 && x->gen == gen; at += used) {
        int code = reply_take(&x->reply, buf + at, (size_t)n - at, &used);

        if (code && code != wanted(x->step))
            refused(s, x, code, buf + at, used);
        else if (code)
            go_on(s, x);
    }
}

void session_ready(struct source *s, struct session *x, uint32_t events)
{
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        hear(s, x);
    if (x->fd >= 0 && x->writing && events & EPOLLOUT)
        send_content(s, x);
}
