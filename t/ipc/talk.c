/* t/ipc/talk.c: conversations, connections, and what must hold after each. */
#include "feed.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* xorshift: the same everywhere, so that a seed is enough to repeat a run. */
uint32_t pick(struct feed *f, uint32_t below)
{
    f->random_state ^= f->random_state << 13;
    f->random_state ^= f->random_state >> 7;
    f->random_state ^= f->random_state << 17;
    return below ? (uint32_t)(f->random_state >> 16) % below : 0;
}

uint32_t get32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

void put32(unsigned char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)(v >> 8 * i);
}

void die(const struct feed *f, const char *text)
{
    printf("FAILED %s: %s, case %lu, seed %llu: %s\n", f->path, f->what, f->cases, (unsigned long long)f->seed, text);
    exit(1);
}

/* t is zeroed before the first.  Per part: u32 bytes, u8 how many descriptors, the bytes. */
void talk_read(struct talk *t, const char *file)
{
    FILE *in = fopen(file, "rb");
    unsigned char head[5];

    while (t->n)                   /* of the conversation before */
        free(t->part[--t->n].p);
    memset(t, 0, sizeof *t);
    while (in && t->n < PARTS_MAX && fread(head, 1, sizeof head, in) == sizeof head) {
        struct part *p = &t->part[t->n++];

        p->n = get32(head);
        p->fds = head[4];
        p->p = malloc(p->n + 1);
        if (!p->p || fread(p->p, 1, p->n, in) != p->n)
            exit(2);
    }
    if (!in || !t->n) {
        fprintf(stderr, "%s: no conversation\n", file);
        exit(2);
    }
    fclose(in);
}

/* The backlog may be full for a moment: it is a local socket, so connect says so. */
int dial(const struct feed *f)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    int64_t deadline = now_ms() + f->wait_ms;

    snprintf(to.sun_path, sizeof to.sun_path, "%s", f->path);
    for (;;) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof to) == 0) {
            fcntl(fd, F_SETFL, O_NONBLOCK);
            return fd;
        }
        if (fd >= 0)
            close(fd);
        if (errno != EAGAIN || now_ms() > deadline)
            die(f, strerror(errno));
        poll(NULL, 0, 1);
    }
}

static ssize_t send_part(int fd, const unsigned char *p, size_t n, const int *fds, unsigned count)
{
    union { struct cmsghdr align; char space[CMSG_SPACE(PART_FDS * sizeof(int))]; } control;
    struct iovec iov = { (void *)(uintptr_t)p, n };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (count) {
        memset(&control, 0, sizeof control);
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, count * sizeof(int));
    }
    return sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* What came, forgotten: 1, 0 at the end, -1 when nothing is there. */
static int drain(int fd)
{
    static char sink[65536];
    ssize_t n;

    do {
        n = recv(fd, sink, sizeof sink, MSG_DONTWAIT);
    } while (n == (ssize_t)sizeof sink);
    return n > 0 ? 1 : n == 0 || (errno != EAGAIN && errno != EINTR) ? 0 : -1;
}

int say(int fd, const struct part *p, int64_t deadline)
{
    size_t at = 0;
    unsigned fds = p->fds;

    while (at < p->n) {
        ssize_t n = send_part(fd, p->p + at, p->n - at, p->fd, fds);

        if (n > 0) {
            at += (size_t)n;
            fds = 0;
            continue;
        }
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return -1;
        struct pollfd w = { .fd = fd, .events = POLLIN | POLLOUT };
        if (now_ms() > deadline || poll(&w, 1, 100) < 0)
            return -1;
        if (w.revents & POLLIN && drain(fd) == 0)
            return -1;
    }
    return 0;
}

/* Until the server ends it: 1, or 0 when it does not in time. */
static int await_end(int fd, int64_t deadline)
{
    int64_t left;

    while ((left = deadline - now_ms()) > 0) {
        struct pollfd w = { .fd = fd, .events = POLLIN };

        if (poll(&w, 1, (int)left) > 0 && drain(fd) == 0)
            return 1;
    }
    return 0;
}

static void ask_old(struct feed *f)
{
    char got[4096];
    ssize_t n = 0;

    if (f->old < 0)
        return;
    f->asked++;
    if (say(f->old, f->question, now_ms() + f->wait_ms) < 0)
        die(f, "the connection opened before is lost");
    struct pollfd w = { .fd = f->old, .events = POLLIN };
    if (poll(&w, 1, (int)f->wait_ms) <= 0 || (n = recv(f->old, got, sizeof got - 1, 0)) <= 0)
        die(f, "the connection opened before is not answered");
    if (!memmem(got, (size_t)n, f->answer, strlen(f->answer)))
        die(f, "the connection opened before is answered wrongly");
}

void check_server(struct feed *f)
{
    if (kill(f->pid, 0) < 0)
        die(f, "the server died");
    ask_old(f);
}

int is_left_out(struct feed *f)
{
    return f->turn++ % f->every != f->seed % f->every;
}

void hostile(struct feed *f, const struct talk *t, unsigned n, const struct part *last)
{
    int64_t deadline = now_ms() + f->wait_ms;
    int fd = dial(f), rc = 0;

    f->cases++;
    for (unsigned i = 0; rc == 0 && i < n; i++)
        rc = say(fd, &t->part[i], deadline);
    if (rc == 0 && last)
        rc = say(fd, last, deadline);
    shutdown(fd, SHUT_WR);
    if (!await_end(fd, deadline)) {
        f->open++;
        printf("# still open: %s: %s, case %lu, seed %llu\n", f->path, f->what, f->cases, (unsigned long long)f->seed);
    }
    close(fd);
    if (kill(f->pid, 0) < 0)
        die(f, "the server died");
    if (f->cases % 50 == 0)
        ask_old(f);
}
