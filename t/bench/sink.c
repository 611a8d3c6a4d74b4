/* sink: an SMTP server that takes messages and knows which of a run it has got.
 *
 *     sink [-i RUN] [-m MESSAGES] [-w MILLISECONDS] [-t PERCENT] [-c PERCENT] [-q] [PORT]
 *
 * -w: answers the end of data so much later.  -t: so many of a hundred messages
 * are refused for now (451), -c: or lose their connection at the end of data,
 * each at its first try only; which ones depends on their numbers alone.  -q:
 * closes after each message, without waiting for QUIT.
 *
 * Prints its port; a line of JSON when the last message has come; and another at
 * the end, which is the end of standard input. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "sink.h"

#define LISTENER UINT64_MAX
#define INPUT (UINT64_MAX - 1)

static void print(const struct sink *s)
{
    printf("{\"messages\":%u,\"distinct\":%u,\"duplicates\":%llu,\"foreign\":%llu,\"tempfailed\":%llu,\"dropped\":%llu,\"late\":%u,\"connections\":%llu,"
           "\"bytes\":%llu,\"first_us\":%lld,\"last_us\":%lld,\"cpu_us\":%lld}\n", s->messages, s->distinct, (unsigned long long)s->duplicates,
           (unsigned long long)s->foreign, (unsigned long long)s->tempfailed, (unsigned long long)s->dropped, s->late, (unsigned long long)s->connections,
           (unsigned long long)s->bytes, (long long)s->first_us, (long long)s->last_us, (long long)cpu_us());
    fflush(stdout);
}

static void watch(struct sink *s, int fd, uint64_t what)
{
    struct epoll_event ev = { .events = EPOLLIN, .data.u64 = what };

    if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &ev) < 0)
        die("epoll");
}

static void listen_on(struct sink *s)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons((uint16_t)s->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof sa;
    int one = 1;

    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(s->listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(s->listener, (const struct sockaddr *)&sa, sizeof sa) < 0 || listen(s->listener, 4096) < 0)
        die("listen");
    getsockname(s->listener, (struct sockaddr *)&sa, &n);
    printf("%d\n", ntohs(sa.sin_port));
    fflush(stdout);
}

static void accept_all(struct sink *s)
{
    for (int fd; (fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0;)
        conn_start(s, fd);
}

/* 0 when standard input has ended. */
static int input_open(void)
{
    char buf[64];
    ssize_t n = read(STDIN_FILENO, buf, sizeof buf);

    return n > 0 || (n < 0 && errno == EINTR);
}

static void run(struct sink *s)
{
    struct epoll_event ev[256];
    int said = 0, open = 1;

    /* A message that was counted gets its answer, or it would come again. */
    while (open || s->held) {
        int n = epoll_wait(s->epoll, ev, 256, conns_release(s));

        for (int i = 0; i < n; i++) {
            uint64_t what = ev[i].data.u64;

            if (what == LISTENER) {
                accept_all(s);
            } else if (what == INPUT) {
                if (!(open = input_open()))
                    epoll_ctl(s->epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
            } else {
                struct conn *c = s->conn[(uint32_t)what];

                if (c->fd >= 0 && c->gen == what >> 32)
                    conn_ready(s, c);
            }
        }
        if (!said && s->distinct == s->messages) {
            said = 1;
            print(s);
        }
    }
}

static int options(struct sink *s, int argc, char **argv)
{
    int c, known = 1;

    while ((c = getopt(argc, argv, "i:m:w:t:c:q")) != -1)
        switch (c) {
        case 'i': s->run = optarg; break;
        case 'm': s->messages = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'w': s->slow_us = 1000 * atoll(optarg); break;
        case 't': s->tempfail = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'c': s->close_early = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'q': s->hang_up = 1; break;
        default: known = 0;
        }
    s->port = optind < argc ? atoi(argv[optind]) : 0;
    return known && s->messages;
}

int main(int argc, char **argv)
{
    static struct sink s = { .run = "run", .messages = 1 };

    if (!options(&s, argc, argv)) {
        fprintf(stderr, "usage: sink [-i RUN] [-m MESSAGES] [-w MILLISECONDS] [-t PERCENT] [-c PERCENT] [-q] [PORT]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    raise_limits();
    s.held_end = &s.held;
    s.seen = calloc(s.messages, 1);
    s.tried = calloc(s.messages, 1);
    if (!s.seen || !s.tried || (s.epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
        die("start");
    listen_on(&s);
    watch(&s, s.listener, LISTENER);
    watch(&s, STDIN_FILENO, INPUT);
    run(&s);
    print(&s);
    return 0;
}
