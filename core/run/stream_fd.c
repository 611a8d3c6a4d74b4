/* stream_fd: the layer over sockets and pipes: the call first, a wait only
 * when it would block.  Descriptors pass over UNIX sockets. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/run/loop.h"
#include "core/run/stream_in.h"

/* After 0 the caller waits for the next edge, so only what reports one may say
 * it: a call that a signal cut short is made again instead. */
static int64_t failed(int err)
{
    if (err == EAGAIN || err == EWOULDBLOCK)
        return 0;
    if (err == ECONNRESET || err == EPIPE)
        return ph_fail_errno(PH_EOF, err, "connection lost");
    return ph_fail_errno(PH_TEMP, err, "input or output error");
}

/* A socket that lingers (SO_LINGER) makes its last close wait, for as long as its
 * maker said: a worker of many sessions must not be made to.  One without a peer
 * has nothing to wait for.  (Sealed processes may not touch SO_LINGER itself.) */
void ph_stream_close_taken(int fd)
{
    const struct sockaddr nobody = { .sa_family = AF_UNSPEC };

    if (fd < 0)
        return;
    (void)!connect(fd, &nobody, sizeof nobody);     /* fails for what is no such socket */
    close(fd);
}

/* Keep the descriptors that came with a message; a sender that sends too many
 * loses the connection. */
static int take_control(struct ph_stream *io, struct msghdr *msg)
{
    int rc = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (rc == 0)
                rc = ph_stream_fds_add(&io->fds_in, fd, PH_STREAM_FDS);
            if (rc < 0)
                ph_stream_close_taken(fd);
        }
    }
    /* The control buffer holds as many as a message may carry, so what was cut
     * off found no free descriptor here (or the sender is not one of ours). */
    if (rc == 0 && msg->msg_flags & MSG_CTRUNC)
        rc = ph_fail(PH_TEMP, "descriptors that were sent are lost: too many open files");
    return rc;
}

static int64_t recv_with_fds(struct ph_stream *io, void *p, size_t n)
{
    /* Room for all that can come: what does not fit the kernel closes, its way. */
    union { struct cmsghdr align; char space[CMSG_SPACE(PH_STREAM_FDS_EVER * sizeof(int))]; } control PH_UNFILLED;
    struct iovec iov = { p, n };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    ssize_t got;

    while ((got = recvmsg(io->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR)
        ;
    if (got < 0)
        return failed(errno);
    int rc = take_control(io, &msg);
    return rc < 0 ? rc : got ? got : ph_fail(PH_EOF, "connection closed by the peer");
}

static int is_tcp(const struct ph_stream *io)
{
    return io->family == AF_INET || io->family == AF_INET6;
}

/* Of a TCP socket that gave less than it was asked for nothing is left, and what
 * comes later is an edge: it is not asked again before that.  (Urgent data breaks
 * this; whoever sends it waits for himself.) */
static int64_t fd_read(struct ph_stream *io, void *p, size_t n)
{
    if (io->family == AF_UNIX)
        return recv_with_fds(io, p, n);
    if (io->drained)
        return 0;
    ssize_t got;

    while ((got = io->family ? recv(io->fd, p, n, MSG_DONTWAIT) : read(io->fd, p, n)) < 0 && errno == EINTR)
        ;
    if (got < 0)
        return failed(errno);
    io->drained = is_tcp(io) && got > 0 && (size_t)got < n;
    return got ? got : ph_fail(PH_EOF, "connection closed by the peer");
}

static int64_t send_with_fds(struct ph_stream *io, struct msghdr *msg)
{
    union { struct cmsghdr align; char space[CMSG_SPACE(PH_STREAM_FDS_OUT * sizeof(int))]; } control;
    size_t bytes = io->fds_out.n * sizeof(int);

    memset(&control, 0, CMSG_SPACE(bytes));
    msg->msg_control = &control;
    msg->msg_controllen = CMSG_SPACE(bytes);
    struct cmsghdr *c = CMSG_FIRSTHDR(msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(bytes);
    memcpy(CMSG_DATA(c), io->fds_out.fd, bytes);
    ssize_t done;

    while ((done = sendmsg(io->fd, msg, MSG_DONTWAIT | MSG_NOSIGNAL)) < 0 && errno == EINTR)
        ;
    if (done < 0)
        return failed(errno);
    ph_stream_fds_sent(&io->fds_out);
    return done;
}

static int64_t fd_write(struct ph_stream *io, const struct iovec *iov, int count)
{
    struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)count };

    if (io->fds_out.n && io->family != AF_UNIX)
        return ph_fail(PH_PERM, "descriptors pass over UNIX sockets only");
    if (io->fds_out.n)
        return send_with_fds(io, &msg);
    int flags = MSG_DONTWAIT | MSG_NOSIGNAL | (io->is_last && is_tcp(io) ? MSG_MORE : 0);
    ssize_t done;

    while ((done = io->family ? sendmsg(io->fd, &msg, flags) : writev(io->fd, iov, count)) < 0 && errno == EINTR)
        ;
    return done < 0 ? failed(errno) : done;
}

static int fd_wait(struct ph_stream *io, int what, int64_t deadline)
{
    int after_less = what == PH_READ && io->drained;
    int rc = after_less ? ph_fd_wait_more(io->fd, deadline) : ph_fd_wait_again(io->fd, what, deadline);

    /* Also after a deadline: who reads on shall ask, not wait for the next edge. */
    if (after_less)
        io->drained = 0;
    return rc < 0 ? rc : 0;
}

static int fd_is_stale(struct ph_stream *io)
{
    char c;
    ssize_t got = recv(io->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);
    int is_empty = got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);

    if (got >= 0 || is_empty)
        io->drained = is_empty && is_tcp(io);
    return !is_empty && !(got < 0 && errno == EINTR);
}

static void fd_close(struct ph_stream *io)
{
    ph_fd_forget(io->fd);
    close(io->fd);
}

static const struct ph_stream_ops fd_ops = {
    .read = fd_read, .write = fd_write, .wait = fd_wait, .is_stale = fd_is_stale, .close = fd_close,
};

struct ph_stream *ph_stream_socket(struct ph_scope *s, int fd, int family, size_t size)
{
    struct ph_stream *io = ph_stream_make(s, &fd_ops, NULL, fd, size ? size : 4096);

    io->family = family;
    return io;
}

struct ph_stream *ph_stream_fd(struct ph_scope *s, int fd, size_t size)
{
    int family, flags;
    socklen_t len = sizeof family;

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) < 0) {
        family = 0;                /* a pipe or a terminal */
        if ((flags = fcntl(fd, F_GETFL)) >= 0 && !(flags & O_NONBLOCK))
            fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    }
    return ph_stream_socket(s, fd, family, size);
}
