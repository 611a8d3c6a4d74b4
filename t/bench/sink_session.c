/* sink_session: one session of the sink: says yes to everything, as quickly as
 * it can, or fails in the ways it was told to; see sink.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "sink.h"

#define EHLO_REPLY "250-sink.test\r\n250-PIPELINING\r\n250-SIZE 100000000\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n"

static void put(struct conn *c, const char *text)
{
    size_t n = strlen(text);

    if (n <= sizeof c->out - c->out_size) {
        memcpy(c->out + c->out_size, text, n);
        c->out_size += n;
    }
}

static struct conn *conn_new(struct sink *s)
{
    struct conn *c = s->free;

    if (c) {
        s->free = c->later;
        return c;
    }
    if (!(s->conn = reallocarray(s->conn, s->conns + 1, sizeof *s->conn)) || !(c = calloc(1, sizeof *c)))
        die("memory");
    c->slot = s->conns;
    s->conn[s->conns++] = c;
    return c;
}

void conn_start(struct sink *s, int fd)
{
    struct conn *c = conn_new(s);
    struct epoll_event ev = { .events = EPOLLIN };

    c->fd = fd;
    c->gen++;
    c->in_content = c->quitting = 0;
    c->line_size = c->out_size = 0;
    c->due_us = 0;
    ev.data.u64 = (uint64_t)c->gen << 32 | c->slot;
    if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &ev) < 0)
        die("epoll");
    s->connections++;
    if (send(fd, "220 sink.test ESMTP\r\n", 21, MSG_NOSIGNAL) != 21)
        c->quitting = 1;           /* its end will be read */
}

/* A held one stays in the list until its time; conns_release() frees it. */
static void conn_end(struct sink *s, struct conn *c)
{
    close(c->fd);
    c->fd = -1;
    if (!c->due_us) {
        c->later = s->free;
        s->free = c;
    }
}

static void flush(struct sink *s, struct conn *c)
{
    if (c->due_us)
        return;
    if (c->out_size && send(c->fd, c->out, c->out_size, MSG_NOSIGNAL) != (ssize_t)c->out_size)
        c->quitting = 1;           /* gone, or it reads nothing */
    c->out_size = 0;
    if (c->quitting)
        conn_end(s, c);
}

int conns_release(struct sink *s)
{
    while (s->held) {
        struct conn *c = s->held;
        int64_t wait = c->due_us - clock_us();

        if (wait > 0)
            return (int)(wait / 1000) + 1;
        if (!(s->held = c->later))
            s->held_end = &s->held;
        c->due_us = 0;
        if (c->fd >= 0) {
            flush(s, c);
        } else {
            c->later = s->free;
            s->free = c;
        }
    }
    return -1;
}

/* Answer later.  All wait equally long, so the list stays in order. */
static void hold(struct sink *s, struct conn *c)
{
    c->due_us = clock_us() + s->slow_us;
    c->later = NULL;
    *s->held_end = c;
    s->held_end = &c->later;
}

/* The number of the message, or NO_MESSAGE when it is none of this run. */
static uint32_t number_of(const struct sink *s, struct conn *c)
{
    static const char name[] = "\n" BENCH_ID;
    const char *p = memmem(c->head, c->head_size, name, sizeof name - 1);
    size_t n = strlen(s->run);
    char *end;

    if (!p)
        return NO_MESSAGE;
    p += sizeof name - 1;
    if (strncmp(p, s->run, n) != 0 || p[n] != '-')
        return NO_MESSAGE;
    unsigned long number = strtoul(p + n + 1, &end, 10);
    return *end == '\r' && number < s->messages ? (uint32_t)number : NO_MESSAGE;
}

/* What becomes of a message is known from its number; once only, then it is taken. */
static int fails_now(struct sink *s, uint32_t n, unsigned percent, uint64_t way)
{
    if (n == NO_MESSAGE || s->tried[n] || bench_mix(n | way << 32) % 100 >= percent)
        return 0;
    s->tried[n] = 1;
    return 1;
}

static void note_accepted(struct sink *s, struct conn *c, uint32_t n)
{
    if (n == NO_MESSAGE) {
        s->foreign++;
        return;
    }
    s->bytes += c->size;
    if (s->seen[n] < 255)
        s->seen[n]++;
    if (s->seen[n] > 1) {
        s->duplicates++;
        return;
    }
    s->late += s->tried[n];
    s->last_us = clock_us();
    if (!s->distinct++)
        s->first_us = s->last_us;
}

static void end_of_data(struct sink *s, struct conn *c)
{
    uint32_t n;

    c->in_content = 0;
    c->head[c->head_size < HEAD_MAX ? c->head_size : HEAD_MAX - 1] = 0;
    n = number_of(s, c);
    if (fails_now(s, n, s->close_early, 1)) {
        s->dropped++;
        c->out_size = 0;
        c->quitting = 1;
        return;
    }
    if (fails_now(s, n, s->tempfail, 0)) {
        s->tempfailed++;
        put(c, "451 4.3.0 Try again later\r\n");
    } else {
        note_accepted(s, c, n);
        put(c, "250 2.0.0 Ok\r\n");
    }
    c->quitting = s->hang_up;
    if (s->slow_us && !c->due_us)
        hold(s, c);
}

static void command(struct sink *s, struct conn *c, const char *line)
{
    (void)s;
    if (strncasecmp(line, "DATA", 4) == 0) {
        c->in_content = 1;
        c->end_seen = 2;           /* a dot at once would end it */
        c->size = 0;
        c->head_size = 0;
        put(c, "354 Go on\r\n");
    } else if (strncasecmp(line, "EHLO", 4) == 0) {
        put(c, EHLO_REPLY);
    } else if (strncasecmp(line, "QUIT", 4) == 0) {
        put(c, "221 2.0.0 Bye\r\n");
        c->quitting = 1;
    } else if (strncasecmp(line, "MAIL", 4) == 0 || strncasecmp(line, "RCPT", 4) == 0 || strncasecmp(line, "RSET", 4) == 0
               || strncasecmp(line, "NOOP", 4) == 0 || strncasecmp(line, "HELO", 4) == 0) {
        put(c, "250 2.0.0 Ok\r\n");
    } else {
        put(c, "502 5.5.2 What\r\n");
    }
}

/* Bytes of the content up to and with its end, or all of them. */
static size_t content(struct conn *c, const char *p, size_t n, int *ended)
{
    static const char end[] = "\r\n.\r\n";
    size_t i = 0;

    while (i < n && c->end_seen < 5) {
        if (c->end_seen == 0) {
            const char *cr = memchr(p + i, '\r', n - i);

            i = cr ? (size_t)(cr - p) : n;
            if (!cr)
                break;
        }
        c->end_seen = p[i] == end[c->end_seen] ? c->end_seen + 1 : p[i] == '\r';
        i++;
    }
    *ended = c->end_seen == 5;
    size_t keep = HEAD_MAX - c->head_size < i ? HEAD_MAX - c->head_size : i;
    memcpy(c->head + c->head_size, p, keep);
    c->head_size += keep;
    c->size += i;
    return i;
}

/* One command, if its line is whole: how many bytes were used. */
static size_t line(struct sink *s, struct conn *c, const char *p, size_t n)
{
    const char *lf = memchr(p, '\n', n);
    size_t used = lf ? (size_t)(lf - p) + 1 : n, room = sizeof c->line - 1 - c->line_size;
    size_t keep = used < room ? used : room;

    memcpy(c->line + c->line_size, p, keep);
    c->line_size += keep;
    c->line[c->line_size] = 0;
    if (lf) {
        command(s, c, c->line);
        c->line_size = 0;
    }
    return used;
}

void conn_ready(struct sink *s, struct conn *c)
{
    static char buf[65536];
    ssize_t n = recv(c->fd, buf, sizeof buf, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        conn_end(s, c);
        return;
    }
    for (size_t at = 0; at < (size_t)n && !c->quitting;) {
        int ended = 0;

        if (c->in_content)
            at += content(c, buf + at, (size_t)n - at, &ended);
        else
            at += line(s, c, buf + at, (size_t)n - at);
        if (ended)
            end_of_data(s, c);
    }
    flush(s, c);
}
