/* dial: outgoing connections.  See posthorn/net.h. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/net/dial.h"
#include "core/net/sockaddr.h"

/* The words of the cause alone: callers say to whom. */
static int refused(int err)
{
    char text[128];

    return ph_fail(PH_TEMP, "%s", strerror_r(err, text, sizeof text));
}

/* Wait for a connect that is under way: 0, or negative with text. */
static int finish(int fd, int64_t deadline)
{
    int err = 0;
    socklen_t len = sizeof err;
    int rc = ph_fd_wait(fd, PH_WRITE, deadline);

    if (rc < 0)
        return rc;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
        err = errno;
    return err ? refused(err) : 0;
}

/* Connect fd, or close it. */
static int connect_fd(int fd, const struct sockaddr *sa, socklen_t len, int64_t deadline)
{
    int rc = 0;

    if (connect(fd, sa, len) < 0)
        rc = errno == EINPROGRESS ? finish(fd, deadline) : refused(errno);
    if (rc < 0) {
        ph_fd_forget(fd);
        close(fd);
    }
    return rc;
}

int ph_dial_ip(struct ph_scope *s, const struct ph_ip *ip, unsigned port, const struct ph_ip *bind_ip,
               int64_t deadline, struct ph_stream **io)
{
    struct sockaddr_storage sa;
    socklen_t len = ph_sockaddr_from_ip(&sa, ip, port);
    int one = 1, fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return ph_fail_errno(PH_TEMP, errno, "socket");
    if (bind_ip && bind_ip->family == ip->family) {
        struct sockaddr_storage own;
        socklen_t n = ph_sockaddr_from_ip(&own, bind_ip, 0);

        if (bind(fd, (const struct sockaddr *)&own, n) < 0) {
            int err = errno;

            close(fd);
            return ph_fail_errno(PH_CONF, err, "bind to the source address");
        }
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    int rc = connect_fd(fd, (const struct sockaddr *)&sa, len, deadline);
    if (rc < 0)
        return rc;
    *io = ph_stream_fd(s, fd, 0);
    return 0;
}

int ph_dial_unix(struct ph_scope *s, const char *path, int64_t deadline, struct ph_stream **io)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };

    if (strlen(path) >= sizeof sa.sun_path)
        return ph_fail(PH_CONF, "socket path is longer than %zu bytes: %s", sizeof sa.sun_path - 1, path);
    memcpy(sa.sun_path, path, strlen(path) + 1);
    /* A UNIX connect is done at once, or the backlog is full (EAGAIN): then it
     * must be tried again, there is nothing to wait on. */
    for (;;) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

        if (fd < 0)
            return ph_fail_errno(PH_TEMP, errno, "socket");
        if (connect(fd, (const struct sockaddr *)&sa, sizeof sa) == 0) {
            *io = ph_stream_fd(s, fd, 16384);
            return 0;
        }
        int err = errno;
        close(fd);
        if (err != EAGAIN)
            return ph_fail_errno(PH_TEMP, err, "connect to %s", path);
        int rc = ph_now_ms() >= deadline ? PH_TIMEOUT : ph_sleep_until(ph_in_ms(20));
        if (rc < 0)
            return ph_wrap(rc, "connect to %s", path);
    }
}

static unsigned later[PH_DIAL_PORTS];
static size_t later_count;

void ph_dial_later(unsigned port)
{
    for (size_t i = 0; i < later_count; i++)
        if (later[i] == port)
            return;
    if (later_count < PH_DIAL_PORTS)
        later[later_count++] = port;
}

size_t ph_dial_ports(const unsigned **ports)
{
    *ports = later;
    return later_count;
}
