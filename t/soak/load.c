/* load: see load.h. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include "load.h"

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
