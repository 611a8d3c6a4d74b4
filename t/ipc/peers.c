/* t/ipc/peers.c: peers that are slow, deaf, or half there. */
#include "feed.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEAF 4u
#define DEAF_BYTES (4u << 20)
#define QUIET_MS 300

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
    for (unsigned i = 0; i < f->lodgers; i++) {
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
    for (unsigned i = 0; i < l->f->lodgers; i++)
        close(l->half[i]);
    close(l->slow);
    free(l);
}

/* Ask and ask, and never read an answer: whose memory holds them? */
struct deaf {
    int fd;
    unsigned part;
    size_t sent;
    int done;                      /* it takes no more of us, or enough */
};

static void ask_on(struct deaf *d, const struct talk *t)
{
    const struct part *p = &t->part[d->part];
    ssize_t n = send(d->fd, p->p, p->n, MSG_NOSIGNAL);

    d->part = d->part + 1 < t->n ? d->part + 1 : t->n > 1 ? 1 : 0;
    d->sent += n > 0 ? (size_t)n : 0;
    d->done = n < 0 || d->sent >= DEAF_BYTES;
}

/* Those that still ask, to be waited for: how many. */
static unsigned asking(const struct deaf *d, struct pollfd *w, unsigned count)
{
    unsigned n = 0;

    for (unsigned i = 0; i < count; i++) {
        w[i] = (struct pollfd){ .fd = d[i].done ? -1 : d[i].fd, .events = POLLOUT };
        n += !d[i].done;
    }
    return n;
}

/* All of them at once, until nobody reads any more for a while: well done. */
static void deafen(struct deaf *d, unsigned count, const struct talk *t)
{
    struct pollfd w[DEAF];

    while (asking(d, w, count) && poll(w, count, QUIET_MS) > 0)
        for (unsigned i = 0; i < count; i++)
            if (w[i].revents)
                ask_on(&d[i], t);
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
    struct deaf d[DEAF] = { 0 };

    f->what = "deaf";
    for (unsigned i = 0; i < DEAF; i++, f->cases++)
        d[i].fd = dial(f);
    deafen(d, DEAF, t);
    check_server(f);
    for (unsigned i = 0; i < DEAF; i++)
        close(d[i].fd);
    f->what = "rude";
    for (unsigned i = 0; i < 20; i++)
        rude(f, t);
    check_server(f);
}
