/* t/faults/inject.c: preloaded into workers by t/system/faults.t; makes chosen
 * calls fail.  What fails is read from a file mapped before the seal
 * (POSTHORN_FAULTS), so that the test can change it while the worker runs:
 * an array of { int32 errno, int32 skip, int32 count, int32 hits } by call. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { AT_FDATASYNC, AT_WRITE, AT_OPEN, AT_ACCEPT, AT_SOCKET, AT_CALLS };

struct fault { int32_t err, skip, count, hits; };
static struct fault *faults;

__attribute__((constructor))
static void map_faults(void)
{
    const char *path = getenv("POSTHORN_FAULTS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

    if (fd < 0)
        return;
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p != MAP_FAILED)
        faults = p;
    close(fd);
}

/* 1 with errno set when this call is to fail. */
static int fails(int at)
{
    struct fault *f = faults ? &faults[at] : NULL;

    if (!f || !__atomic_load_n(&f->err, __ATOMIC_SEQ_CST))
        return 0;
    if (__atomic_fetch_sub(&f->skip, 1, __ATOMIC_SEQ_CST) > 0)
        return 0;
    if (__atomic_fetch_sub(&f->count, 1, __ATOMIC_SEQ_CST) <= 0)
        return 0;
    __atomic_fetch_add(&f->hits, 1, __ATOMIC_SEQ_CST);
    errno = f->err;
    return 1;
}

#define REAL(type, name, ...) ((type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))

int fdatasync(int fd)
{
    return fails(AT_FDATASYNC) ? -1 : REAL(int, fdatasync, int)(fd);
}

int fsync(int fd)
{
    return fails(AT_FDATASYNC) ? -1 : REAL(int, fsync, int)(fd);
}

ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t at)
{
    return fails(AT_WRITE) ? -1 : REAL(ssize_t, pwritev, int, const struct iovec *, int, off_t)(fd, iov, n, at);
}

ssize_t pwritev64(int fd, const struct iovec *iov, int n, off64_t at)
{
    return pwritev(fd, iov, n, at);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    return fails(AT_WRITE) ? -1 : REAL(ssize_t, pwrite, int, const void *, size_t, off_t)(fd, p, n, at);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
    return pwrite(fd, p, n, at);
}

int openat(int dir, const char *path, int flags, ...)
{
    va_list ap;

    va_start(ap, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return fails(AT_OPEN) ? -1 : REAL(int, openat, int, const char *, int, mode_t)(dir, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list ap;

    va_start(ap, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return fails(AT_OPEN) ? -1 : REAL(int, open, const char *, int, mode_t)(path, flags, mode);
}

int accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
    return fails(AT_ACCEPT) ? -1 : REAL(int, accept4, int, struct sockaddr *, socklen_t *, int)(fd, sa, len, flags);
}

int socket(int domain, int type, int protocol)
{
    return fails(AT_SOCKET) ? -1 : REAL(int, socket, int, int, int)(domain, type, protocol);
}
