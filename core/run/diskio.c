/* diskio: whole transfers and directory changes through the pool.
 * See posthorn/disk.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/disk.h>
#include "core/run/inside.h"

#define IOV_AT_ONCE 64

struct transfer {
    int fd;
    int sync;
    const struct iovec *iov;
    int count;
    int64_t offset;
};

/* Skip `done` bytes of the vector, `skip` being those of iov[0] already gone. */
static void advance(struct transfer *t, size_t *skip, size_t done)
{
    done += *skip;
    while (t->count && done >= t->iov->iov_len) {
        done -= t->iov->iov_len;
        t->iov++;
        t->count--;
    }
    *skip = done;
}

static int write_all(void *arg)
{
    struct transfer *t = arg;
    size_t skip = 0;

    advance(t, &skip, 0);
    while (t->count) {
        struct iovec part[IOV_AT_ONCE];
        int n = t->count < IOV_AT_ONCE ? t->count : IOV_AT_ONCE;

        memcpy(part, t->iov, (size_t)n * sizeof *part);
        part[0].iov_base = (char *)part[0].iov_base + skip;
        part[0].iov_len -= skip;
        ssize_t done = pwritev(t->fd, part, n, t->offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return ph_fail_errno(PH_TEMP, done < 0 ? errno : ENOSPC, "write");
        t->offset += done;
        advance(t, &skip, (size_t)done);
    }
    if (t->sync && fdatasync(t->fd) < 0)
        return ph_fail_errno(PH_TEMP, errno, "sync");
    return 0;
}

int ph_pwritev_all(int fd, const struct iovec *iov, int count, int64_t offset)
{
    struct transfer t = { .fd = fd, .iov = iov, .count = count, .offset = offset };

    return ph_disk(write_all, &t);
}

int ph_pwritev_sync(int fd, const struct iovec *iov, int count, int64_t offset)
{
    struct transfer t = { .fd = fd, .sync = 1, .iov = iov, .count = count, .offset = offset };

    return ph_disk(write_all, &t);
}

struct reading {
    int fd;
    char *p;
    size_t n, done;
    int64_t offset;
};

static int read_all(void *arg)
{
    struct reading *r = arg;

    while (r->done < r->n) {
        ssize_t n = pread(r->fd, r->p + r->done, r->n - r->done, r->offset + (int64_t)r->done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ph_fail_errno(PH_TEMP, errno, "read");
        if (n == 0)
            break;
        r->done += (size_t)n;
    }
    return 0;
}

/* What the page cache holds costs no trip to the pool: mail is mostly read soon
 * after it was written. */
static void read_cached(struct reading *r)
{
    struct iovec v = { r->p, r->n };
    ssize_t n = preadv2(r->fd, &v, 1, r->offset, RWF_NOWAIT);

    if (n > 0)
        r->done = (size_t)n;
}

int64_t ph_pread_all(int fd, void *p, size_t n, int64_t offset)
{
    struct reading r = { .fd = fd, .p = p, .n = n, .offset = offset };
    int rc;

    if (ph_in_task())
        read_cached(&r);
    if (r.done < n && (rc = ph_disk(read_all, &r)) < 0)
        return rc;
    return (int64_t)r.done;
}

static int sync_fd(void *arg)
{
    if (fdatasync(*(int *)arg) < 0)
        return ph_fail_errno(PH_TEMP, errno, "sync");
    return 0;
}

int ph_fdatasync(int fd)
{
    return ph_disk(sync_fd, &fd);
}

struct paths {
    const char *from, *to;
};

static int sync_parent(void *arg)
{
    const char *path = ((const struct paths *)arg)->from, *slash = strrchr(path, '/');
    char dir[4096];
    int rc = 0;

    if (slash && (size_t)(slash - path) + 2 > sizeof dir)
        return ph_fail_errno(PH_TEMP, ENAMETOOLONG, "sync directory");
    snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path) + (slash == path) : 1, slash ? path : ".");
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return ph_fail_errno(PH_TEMP, errno, "open directory %s", dir);
    if (fsync(fd) < 0)
        rc = ph_fail_errno(PH_TEMP, errno, "sync directory %s", dir);
    close(fd);
    return rc;
}

int ph_sync_parent(const char *path)
{
    struct paths p = { .from = path };

    return ph_disk(sync_parent, &p);
}

static int rename_now(void *arg)
{
    const struct paths *p = arg;

    if (renameat2(AT_FDCWD, p->from, AT_FDCWD, p->to, RENAME_NOREPLACE) < 0)
        return ph_fail_errno(PH_TEMP, errno, "rename %s to %s", p->from, p->to);
    return 0;
}

int ph_rename(const char *from, const char *to)
{
    struct paths p = { from, to };

    return ph_disk(rename_now, &p);
}

static int unlink_now(void *arg)
{
    const struct paths *p = arg;

    if (unlink(p->from) < 0)
        return ph_fail_errno(PH_TEMP, errno, "unlink %s", p->from);
    return 0;
}

int ph_unlink(const char *path)
{
    struct paths p = { .from = path };

    return ph_disk(unlink_now, &p);
}
