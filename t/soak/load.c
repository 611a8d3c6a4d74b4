/* load: see load.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "load.h"

void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

int64_t clock_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int reply_take(struct reply *r, const char *p, size_t n, size_t *used)
{
    for (size_t i = 0; i < n; i++) {
        char c = p[i];

        if (r->column == 0)
            r->code = r->more = 0;
        if (r->column < 3 && c >= '0' && c <= '9')
            r->code = r->code * 10 + (c - '0');
        else if (r->column == 3)
            r->more = c == '-';
        r->column++;
        if (c != '\n')
            continue;
        r->column = 0;
        if (!r->more) {
            *used = i + 1;
            return r->code;
        }
    }
    *used = n;
    return 0;
}

int dial(int port, int blocking)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (blocking ? 0 : SOCK_NONBLOCK), 0), one = 1;

    if (fd < 0)
        die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (const struct sockaddr *)&sa, sizeof sa) < 0 && errno != EINPROGRESS)
        die("connect");
    return fd;
}

int send_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t done = send(fd, p, n, MSG_NOSIGNAL);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return 0;
        p += done;
        n -= (size_t)done;
    }
    return 1;
}

int await_reply(int fd, struct reply *r)
{
    /* Look first, then take what is ours and no more. */
    for (;;) {
        char buf[1024];
        ssize_t n = recv(fd, buf, sizeof buf, MSG_PEEK);
        size_t used;

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return 0;
        int code = reply_take(r, buf, (size_t)n, &used);
        for (size_t i = 0; i < used; i += (size_t)n)
            if ((n = recv(fd, buf, used - i, 0)) <= 0)
                return 0;
        if (code)
            return code;
    }
}

static void raise_limits(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

int main(int argc, char **argv)
{
    static const struct { const char *name; int (*run)(int argc, char **argv); } modes[] = {
        { "hold", hold_main }, { "probe", probe_main }, { "flood", flood_main },
    };

    signal(SIGPIPE, SIG_IGN);
    raise_limits();
    for (size_t i = 0; argc > 1 && i < sizeof modes / sizeof *modes; i++)
        if (strcmp(argv[1], modes[i].name) == 0)
            return modes[i].run(argc - 1, argv + 1);
    fprintf(stderr, "usage: load hold PORT TICK_MS KIND=COUNT... | probe COUNT RCPT PORT... | flood PORT KIND BYTES\n");
    return 2;
}
