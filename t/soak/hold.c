/* hold: very many sessions at once that go as far as their kind says and then
 * wait; and slow ones, which send one byte per tick.
 *
 * When all are where they shall be a line is printed; then each line on standard
 * input is answered by one, and its end ends the program. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "load.h"

#define CONNECTING_MAX 200         /* more would only wait in the listener's queue */
#define SLOTS 20                   /* of a tick */

/* A held client says the first `steps` of these; after DATA it sends half a message. */
static const char *const script[] = { "EHLO held.test\r\n", "MAIL FROM:<held@soak.test>\r\n", "RCPT TO:<held@example.test>\r\n", "DATA\r\n" };
static const char half[] = "Subject: held\r\n\r\nThe first half of a li";
/* A slow one says all of it byte by byte, and then the last line for ever. */
static const char slow_text[] = "EHLO slow.test\r\nMAIL FROM:<slow@soak.test>\r\nRCPT TO:<slow@example.test>\r\nDATA\r\n";
static const char slow_line[] = "X-Slow: a header of a very slow client\r\n";

static const struct { const char *name; unsigned steps; int slow; } kinds[] = {
    { "greet", 0, 0 }, { "ehlo", 1, 0 }, { "mail", 2, 0 }, { "rcpt", 3, 0 }, { "data", 4, 0 }, { "slow", 0, 1 },
};
#define KINDS (sizeof kinds / sizeof *kinds)

struct client {
    int fd;                        /* -1: not connected, or the server left */
    unsigned kind, step, said;     /* said: commands of a slow one */
    size_t at;                     /* in its text */
    unsigned replies;
    int settled, refused;
    struct reply reply;
};

struct hold {
    int port, epoll;
    int64_t tick_us, next_tick;
    struct client *client;
    unsigned slot, total, started, connecting, settled, lost, refused;
    uint64_t slow_bytes;
    int announced;
};

static void settle(struct hold *h, struct client *c)
{
    if (!c->settled) {
        c->settled = 1;
        h->settled++;
        h->connecting--;
    }
}

static void leave(struct hold *h, struct client *c)
{
    settle(h, c);
    h->lost++;
    close(c->fd);
    c->fd = -1;
}

static void start(struct hold *h, struct client *c)
{
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };

    c->fd = dial(h->port, 0);
    if (epoll_ctl(h->epoll, EPOLL_CTL_ADD, c->fd, &ev) < 0)
        die("epoll");
    h->started++;
    h->connecting++;
}

/* What comes after a reply. */
static void go_on(struct hold *h, struct client *c, int code)
{
    c->replies++;
    if (code >= 400 && !c->refused) {
        c->refused = 1;
        h->refused++;
    }
    if (kinds[c->kind].slow || code >= 400) {
        settle(h, c);
    } else if (c->step < kinds[c->kind].steps) {
        const char *text = script[c->step++];

        if (!send_all(c->fd, text, strlen(text)))
            leave(h, c);
    } else {
        if (c->step == sizeof script / sizeof *script && !c->settled && !send_all(c->fd, half, sizeof half - 1)) {
            leave(h, c);
            return;
        }
        settle(h, c);
    }
}

static void hear(struct hold *h, struct client *c)
{
    char buf[4096];
    ssize_t n = recv(c->fd, buf, sizeof buf, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        leave(h, c);
        return;
    }
    for (size_t at = 0, used; at < (size_t)n && c->fd >= 0; at += used) {
        int code = reply_take(&c->reply, buf + at, (size_t)n - at, &used);

        if (code)
            go_on(h, c, code);
    }
}

/* A command is answered before the next one begins: this client is slow, not rude. */
static void send_byte(struct hold *h, struct client *c)
{
    char b;

    if (c->replies <= c->said)
        return;
    if (c->at < sizeof slow_text - 1)
        b = slow_text[c->at];
    else
        b = slow_line[(c->at - (sizeof slow_text - 1)) % (sizeof slow_line - 1)];
    c->said += b == '\n' && c->at < sizeof slow_text - 1;
    c->at++;
    h->slow_bytes++;
    if (!send_all(c->fd, &b, 1))
        leave(h, c);
}

/* Some of the slow ones each time: real ones do not keep step. */
static void tick(struct hold *h)
{
    h->next_tick += h->tick_us / SLOTS;
    h->slot = (h->slot + 1) % SLOTS;
    for (unsigned i = h->slot; i < h->started; i += SLOTS)
        if (kinds[h->client[i].kind].slow && h->client[i].fd >= 0)
            send_byte(h, &h->client[i]);
}

static void print(const struct hold *h)
{
    unsigned count[KINDS] = { 0 };

    for (unsigned i = 0; i < h->started; i++)
        count[h->client[i].kind] += h->client[i].fd >= 0 && !h->client[i].refused;
    printf("{\"held\":%u,\"lost\":%u,\"refused\":%u,\"slow_bytes\":%llu", h->settled - h->lost, h->lost, h->refused, (unsigned long long)h->slow_bytes);
    for (unsigned k = 0; k < KINDS; k++)
        printf(",\"%s\":%u", kinds[k].name, count[k]);
    printf("}\n");
    fflush(stdout);
}

/* 0 when standard input has ended. */
static int obey(const struct hold *h)
{
    char buf[64];
    ssize_t n = read(STDIN_FILENO, buf, sizeof buf);

    for (ssize_t i = 0; i < n; i++)
        if (buf[i] == '\n')
            print(h);
    return n > 0 || (n < 0 && errno == EINTR);
}

static void run(struct hold *h)
{
    struct epoll_event ev[256], in = { .events = EPOLLIN };

    if (epoll_ctl(h->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &in) < 0)
        die("standard input");
    h->next_tick = clock_us();
    for (;;) {
        while (h->started < h->total && h->connecting < CONNECTING_MAX)
            start(h, &h->client[h->started]);
        if (h->settled == h->total && !h->announced) {
            h->announced = 1;
            print(h);
        }
        int64_t wait = (h->next_tick - clock_us()) / 1000;
        int n = epoll_wait(h->epoll, ev, 256, wait < 0 ? 0 : (int)wait);
        for (int i = 0; i < n; i++)
            if (ev[i].data.ptr)
                hear(h, ev[i].data.ptr);
            else if (!obey(h))
                return;
        if (clock_us() >= h->next_tick)
            tick(h);
    }
}

/* KIND=COUNT; the kinds are mixed as they come. */
static int add(struct hold *h, const char *word)
{
    for (unsigned k = 0; k < KINDS; k++) {
        size_t n = strlen(kinds[k].name);

        if (strncmp(word, kinds[k].name, n) != 0 || word[n] != '=')
            continue;
        unsigned more = (unsigned)strtoul(word + n + 1, NULL, 10);
        if (!(h->client = reallocarray(h->client, h->total + more + 1, sizeof *h->client)))
            die("memory");
        for (unsigned i = 0; i < more; i++)
            h->client[h->total++] = (struct client){ .fd = -1, .kind = k };
        return 1;
    }
    return 0;
}

int hold_main(int argc, char **argv)
{
    struct hold h = { .port = argc > 1 ? atoi(argv[1]) : 0, .tick_us = argc > 2 ? 1000 * (int64_t)atoi(argv[2]) : 0 };

    for (int i = 3; i < argc; i++)
        if (!add(&h, argv[i]))
            return 2;
    if (h.port <= 0 || h.tick_us <= 0 || h.total == 0)
        return 2;
    if ((h.epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
        die("epoll");
    run(&h);
    free(h.client);
    return 0;
}
