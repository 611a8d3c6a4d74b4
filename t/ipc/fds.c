/* t/ipc/fds.c: descriptors that nobody asked for, of every kind. */

#include "feed.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int listener(void)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (bind(fd, (const struct sockaddr *)&to, sizeof to) < 0 || listen(fd, 64) < 0)
        exit(2);
    return fd;
}

/* A TCP connection whose other side does not read, that lingers an hour. */
static int lingering(int to_fd)
{
    struct sockaddr_in to;
    const struct linger hour = { .l_onoff = 1, .l_linger = 3600 };
    static char load[65536];
    socklen_t n = sizeof to;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (getsockname(to_fd, (struct sockaddr *)&to, &n) < 0 || connect(fd, (const struct sockaddr *)&to, sizeof to) < 0)
        _exit(2);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (write(fd, load, sizeof load) > 0)
        ;
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hour, sizeof hour);
    return fd;
}

/* Who closes such a one last waits, unless he knows what he closes.  Sent by a
 * child: an exit does not linger. */
static void linger_there(struct feed *f)
{
    struct part c = { .p = (unsigned char *)(uintptr_t)"\1", .n = 1, .fds = 1 };
    int to = listener(), status;
    pid_t pid = fork();

    if (pid == 0) {
        int io = dial(f);

        c.fd[0] = lingering(to);
        _exit(say(io, &c, now_ms() + f->wait_ms) < 0 ? 2 : 0);
    }
    f->cases++;
    if (waitpid(pid, &status, 0) != pid || status != 0)
        exit(2);
    check_server(f);
    close(to);
}

static int pipe_end(int which)
{
    int p[2];

    if (pipe2(p, O_CLOEXEC) < 0)
        exit(2);
    close(p[!which]);
    return p[which];
}

static int pair_end(void)
{
    int p[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p) < 0)
        exit(2);
    close(p[1]);
    return p[0];
}

#define KINDS 12

/* A descriptor of kind k; the caller closes it. */
static int make_fd(unsigned k)
{
    switch (k) {
    case 0:  return open("/dev/null", O_RDWR | O_CLOEXEC);
    case 1:  return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    case 2:  return open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    case 3:  return open("/dev/zero", O_RDONLY | O_CLOEXEC);
    case 4:  return open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    case 5:  return open("/", O_PATH | O_CLOEXEC);
    case 6:  return pipe_end(0);
    case 7:  return pipe_end(1);
    case 8:  return pair_end();
    case 9:  return memfd_create("hostile", MFD_CLOEXEC);
    case 10: return epoll_create1(EPOLL_CLOEXEC);
    default: return eventfd(0, EFD_CLOEXEC);
    }
}

static void with_fds(struct feed *f, const struct talk *t, unsigned i, unsigned count, unsigned kind, int said)
{
    struct part c = t->part[i];
    unsigned char *copy = malloc(c.n);
    int fd = make_fd(kind);

    if (!copy || fd < 0)
        exit(2);
    memcpy(copy, c.p, c.n);
    c.p = copy;
    if (said)
        c.p[4] = (unsigned char)said;
    c.fds = count;
    for (unsigned k = 0; k < count; k++)
        c.fd[k] = fd;
    hostile(f, t, i, &c);
    close(fd);
    free(copy);
}

/* The last to hold it is the server: our own copy is closed before it reads. */
static void leave_behind(struct feed *f, unsigned kind, unsigned count)
{
    struct part c = { .p = (unsigned char *)(uintptr_t)"\1", .n = 1, .fds = count };
    int fd = make_fd(kind), io = dial(f);

    for (unsigned k = 0; k < count; k++)
        c.fd[k] = fd;
    f->cases++;
    say(io, &c, now_ms() + f->wait_ms);
    close(fd);
    close(io);
}

/* The connection itself, in its own queue: a cycle that only the kernel can break. */
static void itself(struct feed *f)
{
    struct part c = { .p = (unsigned char *)(uintptr_t)"\1", .n = 1, .fds = 1 };
    int io = dial(f);

    c.fd[0] = io;
    f->cases++;
    say(io, &c, now_ms() + f->wait_ms);
    close(io);
}

void feed_fds(struct feed *f, const struct talk *t)
{
    static const unsigned counts[] = { 1, 2, 15, 16, 17, 63, 64, 65, 128, 250, 253 };

    f->what = "descriptors";
    for (unsigned i = 0; i < t->n; i++) {
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++)
            with_fds(f, t, i, counts[k], 0, 0);
        for (unsigned kind = 0; kind < KINDS; kind++) {
            with_fds(f, t, i, 1, kind, 1);
            with_fds(f, t, i, 1, kind, 0);
        }
        with_fds(f, t, i, 16, 2, 16);
        with_fds(f, t, i, 3, 2, 16);
        check_server(f);
    }
    for (unsigned kind = 0; kind < KINDS; kind++) {
        leave_behind(f, kind, 1);
        leave_behind(f, kind, 64);
        check_server(f);
    }
    itself(f);
    check_server(f);
    /* Of what nobody reads the kernel closes the descriptors, as it does; sealed
     * processes cannot make such sockets (core/worker/seal.c). */
    if (f->old >= 0)
        linger_there(f);
}
