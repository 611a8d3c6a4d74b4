/* t/faults/calls.c: the calls of the C library that are watched. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>
#include "inject.h"

/* The real one, looked up once. */
#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) \
        real = (__typeof__(name) *)inject_next(#name)

/* A call that is passed on, or fails with `bad`. */
#define PASS(ret, name, params, args, call, fd, path, bad) \
    ret name params \
    { \
        REAL(name); \
        return inject_meets(call, fd, path, 0) == HOW_FAIL ? bad : real args; \
    }

/* A call that moves n bytes by pointer: a short one moves half. */
#define MOVES(name, params, args_n, call) \
    ssize_t name params \
    { \
        REAL(name); \
        int how = inject_meets(call, fd, NULL, n); \
        if (how == HOW_FAIL) \
            return -1; \
        if (how == HOW_SHORT) \
            n /= 2; \
        return real args_n; \
    }

MOVES(read, (int fd, void *p, size_t n), (fd, p, n), CALL_READ)
MOVES(pread, (int fd, void *p, size_t n, off_t at), (fd, p, n, at), CALL_PREAD)
MOVES(write, (int fd, const void *p, size_t n), (fd, p, n), CALL_WRITE)
MOVES(pwrite, (int fd, const void *p, size_t n, off_t at), (fd, p, n, at), CALL_PWRITE)
MOVES(send, (int fd, const void *p, size_t n, int flags), (fd, p, n, flags), CALL_SEND)

/* What is watched for an edge.  A kernel that gives less than was asked for has no
 * more, and tells when there is (epoll(7), question 9); so does a short recv of ours. */
static struct {
    int ep;                        /* plus 1; 0: not watched */
    struct epoll_event event;
} watched[1024];

static void note_watch(int ep, int op, int fd, const struct epoll_event *e)
{
    if (fd < 0 || fd >= (int)(sizeof watched / sizeof *watched))
        return;
    watched[fd].ep = op == EPOLL_CTL_DEL ? 0 : ep + 1;
    if (op != EPOLL_CTL_DEL && e)
        watched[fd].event = *e;
}

static void tell_again(int fd)
{
    __typeof__(epoll_ctl) *real = (__typeof__(epoll_ctl) *)inject_next("epoll_ctl");

    if (fd >= 0 && fd < (int)(sizeof watched / sizeof *watched) && watched[fd].ep)
        real(watched[fd].ep - 1, EPOLL_CTL_MOD, fd, &watched[fd].event);
}

ssize_t recv(int fd, void *p, size_t n, int flags)
{
    REAL(recv);
    int how = inject_meets(CALL_RECV, fd, NULL, n);

    if (how == HOW_FAIL)
        return -1;
    if (how != HOW_SHORT)
        return real(fd, p, n, flags);
    ssize_t got = real(fd, p, n / 2, flags);
    int why = errno;

    tell_again(fd);
    errno = why;
    return got;
}

static size_t sum(const struct iovec *v, int n)
{
    size_t all = 0;

    for (int i = 0; i < n; i++)
        all += v[i].iov_len;
    return all;
}

/* The first half of a vector, in `out` (64 pieces, as many as we ever pass). */
static int half(const struct iovec *v, int n, struct iovec out[64])
{
    size_t left = sum(v, n) / 2;
    int k = 0;

    for (; k < n && k < 64 && left > 0; k++) {
        out[k] = v[k];
        if (out[k].iov_len > left)
            out[k].iov_len = left;
        left -= out[k].iov_len;
    }
    return k;
}

#define MOVES_V(name, params, args, call) \
    ssize_t name params \
    { \
        REAL(name); \
        struct iovec part[64]; \
        int how = inject_meets(call, fd, NULL, sum(v, n)); \
        if (how == HOW_FAIL) \
            return -1; \
        if (how == HOW_SHORT) { \
            n = half(v, n, part); \
            v = part; \
        } \
        return real args; \
    }

MOVES_V(writev, (int fd, const struct iovec *v, int n), (fd, v, n), CALL_WRITE)
MOVES_V(pwritev, (int fd, const struct iovec *v, int n, off_t at), (fd, v, n, at), CALL_PWRITE)
MOVES_V(preadv2, (int fd, const struct iovec *v, int n, off_t at, int flags), (fd, v, n, at, flags), CALL_PREAD)

ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
    REAL(sendmsg);
    struct iovec part[64];
    struct msghdr m = *msg;
    int how = inject_meets(CALL_SEND, fd, NULL, sum(msg->msg_iov, (int)msg->msg_iovlen));

    if (how == HOW_FAIL)
        return -1;
    if (how == HOW_SHORT) {
        m.msg_iovlen = (size_t)half(msg->msg_iov, (int)msg->msg_iovlen, part);
        m.msg_iov = part;
    }
    return real(fd, &m, flags);
}

/* What the kernel does when the receiver has no descriptor left: the data
 * arrives, the descriptors do not. */
static void lose_fds(int over, struct msghdr *msg)
{
    int some = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c))
        some |= c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS;
    if (!some || !inject_loses_fds(over))
        return;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c))
        for (size_t at = CMSG_LEN(0); at + sizeof(int) <= c->cmsg_len; at += sizeof(int)) {
            int fd;

            memcpy(&fd, (char *)c + at, sizeof fd);
            close(fd);
        }
    msg->msg_controllen = 0;
    msg->msg_flags |= MSG_CTRUNC;
}

ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
    REAL(recvmsg);
    struct iovec part[64], *whole = msg->msg_iov;
    size_t count = msg->msg_iovlen;
    int how = inject_meets(CALL_RECV, fd, NULL, sum(msg->msg_iov, (int)msg->msg_iovlen));

    if (how == HOW_FAIL)
        return -1;
    if (how == HOW_SHORT) {        /* few bytes: to half of a large buffer nothing is short */
        part[0] = (struct iovec){ whole->iov_base, 1 };
        msg->msg_iov = part;
        msg->msg_iovlen = 1;
    }
    ssize_t got = real(fd, msg, flags);
    msg->msg_iov = whole;
    msg->msg_iovlen = count;
    int why = errno;

    if (how == HOW_SHORT)
        tell_again(fd);
    if (got > 0)
        lose_fds(fd, msg);
    errno = why;
    return got;
}

static int makes(int flags)
{
    return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE;
}

static mode_t mode_of(int flags, va_list ap)
{
    return makes(flags) ? va_arg(ap, mode_t) : 0;
}

/* A name that may be made is a site of another kind: the disk can be full. */
static int open_fails(const char *path, int flags)
{
    return inject_meets(CALL_OPEN, makes(flags) ? -2 : -1, path, 0) == HOW_FAIL;
}

int openat(int dir, const char *path, int flags, ...)
{
    REAL(openat);
    va_list ap;

    va_start(ap, flags);
    mode_t mode = mode_of(flags, ap);
    va_end(ap);
    return open_fails(path, flags) ? -1 : real(dir, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    REAL(open);
    va_list ap;

    va_start(ap, flags);
    mode_t mode = mode_of(flags, ap);
    va_end(ap);
    return open_fails(path, flags) ? -1 : real(path, flags, mode);
}

int __openat_2(int dir, const char *path, int flags);      /* openat of a fortified build */
int __openat_2(int dir, const char *path, int flags)
{
    return openat(dir, path, flags);
}

int fcntl(int fd, int op, ...)
{
    REAL(fcntl);
    va_list ap;

    va_start(ap, op);
    void *arg = va_arg(ap, void *);
    va_end(ap);
    int is_lock = op == F_OFD_SETLK || op == F_OFD_GETLK || op == F_SETLK || op == F_SETLKW || op == F_OFD_SETLKW;
    int is_dup = op == F_DUPFD_CLOEXEC || op == F_DUPFD;
    if (inject_meets(is_lock ? CALL_LOCK : is_dup ? CALL_DUP : CALL_FCNTL, fd, NULL, 0) == HOW_FAIL)
        return -1;
    return real(fd, op, arg);
}

/* It is closed whatever it answers. */
int close(int fd)
{
    REAL(close);
    int how = inject_meets(CALL_CLOSE, fd, NULL, 0), err = errno;
    int rc = real(fd);

    if (how != HOW_FAIL)
        return rc;
    errno = err;
    return -1;
}

PASS(int, fsync, (int fd), (fd), CALL_SYNC, fd, NULL, -1)
PASS(int, fdatasync, (int fd), (fd), CALL_SYNC, fd, NULL, -1)
PASS(int, rename, (const char *a, const char *b), (a, b), CALL_RENAME, -1, b, -1)
PASS(int, renameat, (int d, const char *a, int e, const char *b), (d, a, e, b), CALL_RENAME, -1, b, -1)
PASS(int, renameat2, (int d, const char *a, int e, const char *b, unsigned f), (d, a, e, b, f), CALL_RENAME, -1, b, -1)
PASS(int, link, (const char *a, const char *b), (a, b), CALL_LINK, -1, b, -1)
PASS(int, linkat, (int d, const char *a, int e, const char *b, int f), (d, a, e, b, f), CALL_LINK, -1, b, -1)
PASS(int, unlink, (const char *a), (a), CALL_UNLINK, -1, a, -1)
PASS(int, unlinkat, (int d, const char *a, int f), (d, a, f), CALL_UNLINK, -1, a, -1)
PASS(int, mkdir, (const char *a, mode_t m), (a, m), CALL_MKDIR, -1, a, -1)
PASS(int, mkdirat, (int d, const char *a, mode_t m), (d, a, m), CALL_MKDIR, -1, a, -1)
PASS(int, stat, (const char *a, struct stat *st), (a, st), CALL_STAT, -1, a, -1)
PASS(int, fstat, (int fd, struct stat *st), (fd, st), CALL_STAT, fd, NULL, -1)
PASS(int, fstatat, (int d, const char *a, struct stat *st, int f), (d, a, st, f), CALL_STAT, -1, a, -1)
PASS(int, fstatvfs, (int fd, struct statvfs *st), (fd, st), CALL_STATVFS, fd, NULL, -1)
PASS(int, utimensat, (int d, const char *a, const struct timespec t[2], int f), (d, a, t, f), CALL_UTIME, -1, a, -1)
PASS(int, chmod, (const char *a, mode_t m), (a, m), CALL_CHMOD, -1, a, -1)
PASS(int, fchmod, (int fd, mode_t m), (fd, m), CALL_CHMOD, fd, NULL, -1)
PASS(int, fchmodat, (int d, const char *a, mode_t m, int f), (d, a, m, f), CALL_CHMOD, -1, a, -1)
PASS(int, ftruncate, (int fd, off_t n), (fd, n), CALL_TRUNCATE, fd, NULL, -1)
PASS(int, flock, (int fd, int op), (fd, op), CALL_LOCK, fd, NULL, -1)
PASS(DIR *, opendir, (const char *a), (a), CALL_DIR, -1, a, NULL)
PASS(DIR *, fdopendir, (int fd), (fd), CALL_DIR, fd, NULL, NULL)
PASS(struct dirent *, readdir, (DIR *d), (d), CALL_READDIR, -1, "", NULL)
PASS(int, accept4, (int fd, struct sockaddr *sa, socklen_t *len, int f), (fd, sa, len, f), CALL_ACCEPT, fd, NULL, -1)
PASS(int, socket, (int d, int t, int p), (d, t, p), CALL_SOCKET, -1, "", -1)
PASS(int, connect, (int fd, const struct sockaddr *sa, socklen_t len), (fd, sa, len), CALL_CONNECT, fd, NULL, -1)
PASS(int, socketpair, (int d, int t, int p, int v[2]), (d, t, p, v), CALL_PAIR, -1, "", -1)
PASS(int, pipe2, (int v[2], int f), (v, f), CALL_PAIR, -1, "", -1)
PASS(int, epoll_wait, (int fd, struct epoll_event *e, int n, int ms), (fd, e, n, ms), CALL_POLL, -1, "", -1)

int epoll_ctl(int ep, int op, int fd, struct epoll_event *e)
{
    REAL(epoll_ctl);
    if (inject_meets(CALL_EPOLL, -1, op == EPOLL_CTL_DEL ? "del" : "", 0) == HOW_FAIL)
        return -1;
    int rc = real(ep, op, fd, e);

    if (rc == 0)
        note_watch(ep, op, fd, e);
    return rc;
}

PASS(void *, mmap, (void *p, size_t n, int a, int b, int fd, off_t at), (p, n, a, b, fd, at), CALL_MAP, -1, "", MAP_FAILED)
PASS(int, mprotect, (void *p, size_t n, int a), (p, n, a), CALL_MAP, -1, "protect", -1)
PASS(pid_t, fork, (void), (), CALL_FORK, -1, "", -1)
PASS(int, dup2, (int a, int b), (a, b), CALL_DUP, -1, "", -1)
PASS(int, faccessat, (int d, const char *a, int m, int f), (d, a, m, f), CALL_ACCESS, -1, a, -1)
