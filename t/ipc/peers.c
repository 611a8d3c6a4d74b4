/* t/ipc/peers.c: peers that are slow, deaf, or half there. */
#include "feed.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LODGERS 16
#define DEAF_BYTES (4u << 20)

struct lodgers {
    struct feed *f;
    const struct talk *t;
    int half[LODGERS];             /* said half a frame, and nothing more */
    int slow;                      /* a byte now and then */
    unsigned part;
    size_t at;
};

struct lodgers *lodgers_in(struct feed *f, const struct talk *t)
{
    struct lodgers *l = calloc(1, sizeof *l);

    if (!l)
        exit(2);
    f->what = "half-open";
    l->f = f;
    l->t = t;
    l->slow = dial(f);
    for (unsigned i = 0; i < LODGERS; i++) {
        struct part c = t->part[i % t->n];

        l->half[i] = dial(f);
        c.n = i == 0 ? 0 : (c.n + 1) / 2;
        c.fds = 0;
        say(l->half[i], &c, now_ms() + f->wait_ms);
        f->cases++;
    }
    return l;
}

void lodgers_turn(struct lodgers *l)
{
    struct part c = l->t->part[l->part];

    c.p += l->at;
    c.n = 1;
    c.fds = l->at == 0 ? c.fds : 0;
    if (say(l->slow, &c, now_ms() + l->f->wait_ms) < 0 || ++l->at < l->t->part[l->part].n)
        return;
    l->at = 0;
    l->part = (l->part + 1) % l->t->n;
}

void lodgers_out(struct lodgers *l)
{
    for (unsigned i = 0; i < LODGERS; i++)
        close(l->half[i]);
    close(l->slow);
    free(l);
}

/* Ask and ask, and never read an answer: whose memory holds them? */
static void deaf(struct feed *f, const struct talk *t, int *fd)
{
    size_t sent = 0;

    *fd = dial(f);
    f->cases++;
    for (unsigned i = 0; sent < DEAF_BYTES; i = i + 1 < t->n ? i + 1 : t->n > 1 ? 1 : 0) {
        const struct part *p = &t->part[i];
        struct pollfd w = { .fd = *fd, .events = POLLOUT };

        if (poll(&w, 1, 300) <= 0)
            return;                /* it reads no more of us: well done */
        ssize_t n = send(*fd, p->p, p->n, MSG_NOSIGNAL);
        if (n < 0)
            return;
        sent += (size_t)n;
    }
}

/* Whole conversations at once, then gone without a word. */
static void rude(struct feed *f, const struct talk *t)
{
    int fd = dial(f);

    f->cases++;
    for (unsigned i = 0; i < t->n; i++)
        if (say(fd, &t->part[i], now_ms() + f->wait_ms) < 0)
            break;
    close(fd);
}

void feed_peers(struct feed *f, const struct talk *t)
{
    int fd[4];

    f->what = "deaf";
    for (unsigned i = 0; i < 4; i++)
        deaf(f, t, &fd[i]);
    check_server(f);
    for (unsigned i = 0; i < 4; i++)
        close(fd[i]);
    f->what = "rude";
    for (unsigned i = 0; i < 20; i++)
        rude(f, t);
    check_server(f);
}
