/* edit_file: see edit_file.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/disk.h>
#include "core/cmd/cmd.h"
#include "core/cmd/edit_file.h"

static int has_directory(struct ph_scope *s, const char *path)
{
    ptrdiff_t slash = ph_str_rfind(ph_cstr(path), '/');
    struct stat st;

    return slash < 0 || (stat(ph_cstr_dup(s, ph_str_first(ph_cstr(path), (size_t)slash + 1)), &st) == 0 && S_ISDIR(st.st_mode));
}

/* The file that is edited, symbolic links followed. */
static const char *resolve(struct ph_scope *s, const char *path)
{
    char *found = realpath(path, NULL);
    int why = errno;

    if (!found && !has_directory(s, path))     /* what is written comes first */
        ph_cmd_fatal("open %s.tmp: %s", path, strerror(why));
    if (!found)
        ph_cmd_fatal("open %s for reading: %s", path, strerror(why));
    const char *copy = ph_cstr_dup(s, ph_cstr(found));

    free(found);
    return copy;
}

/* The lock is worth something only while the name still leads to what we locked:
 * whoever had it before us may have renamed or removed the file. */
static int is_named(int fd, const char *path)
{
    struct stat a, b;

    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static int lock_fresh(const struct edit_file *e)
{
    struct stat st;

    for (;;) {
        int fd = open(e->fresh, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600), rc;

        if (fd < 0)
            ph_cmd_fatal("open %s.tmp: %s", e->shown, strerror(errno));
        do
            rc = flock(fd, LOCK_EX);
        while (rc < 0 && errno == EINTR);
        if (rc < 0)
            ph_cmd_fatal("lock %s.tmp: %s", e->shown, strerror(errno));
        if (is_named(fd, e->fresh)) {
            if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1)
                ph_cmd_fatal("%s.tmp: not a file of its own: remove it", e->shown);
            return fd;
        }
        close(fd);
    }
}

static ph_str read_old(const struct edit_file *e, struct ph_scope *s, size_t max)
{
    int fd = open(e->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        ph_cmd_fatal("open %s for reading: %s", e->shown, strerror(errno));
    if (S_ISDIR(st.st_mode))
        ph_cmd_fatal("read %s: %s", e->shown, strerror(EISDIR));
    if (!S_ISREG(st.st_mode) || st.st_size < 0 || (size_t)st.st_size > max)
        ph_cmd_fatal("%s: %s", e->shown, S_ISREG(st.st_mode) ? "too large" : "not a regular file");
    char *text = ph_alloc(s, (size_t)st.st_size + 1);
    int64_t n = ph_pread_all(fd, text, (size_t)st.st_size, 0);

    close(fd);
    if (n < 0)
        ph_cmd_fatal("read %s: %s", e->shown, ph_error());
    return (ph_str){ text, (size_t)n };
}

/* Whoever ends in the middle of an edit leaves nothing behind. */
static const char *under_way;

static void remove_fresh(void)
{
    if (under_way)
        unlink(under_way);
}

void edit_file_open(struct edit_file *e, struct ph_scope *s, const char *path, size_t max)
{
    e->shown = path;
    e->path = resolve(s, path);
    e->fresh = ph_str_printf(s, "%s.tmp", e->path).p;
    e->fd = lock_fresh(e);
    under_way = e->fresh;
    ph_cmd_before_fatal(remove_fresh);
    e->text = read_old(e, s, max);
}

void edit_file_abandon(struct edit_file *e)
{
    unlink(e->fresh);
    under_way = NULL;
    close(e->fd);
}

static PH_NORETURN void fail(struct edit_file *e, const char *why)
{
    edit_file_abandon(e);
    ph_cmd_fatal("write %s.tmp: %s", e->shown, why);
}

void edit_file_commit(struct edit_file *e, ph_str text)
{
    struct iovec v = { .iov_base = (void *)(uintptr_t)text.p, .iov_len = text.n };
    struct stat st;

    if (stat(e->path, &st) < 0 || ftruncate(e->fd, 0) < 0)
        fail(e, strerror(errno));
    if (text.n && ph_pwritev_all(e->fd, &v, 1, 0) < 0)
        fail(e, ph_error());
    /* Who edits without being root keeps what can be kept. */
    if (fchown(e->fd, st.st_uid, st.st_gid) < 0 && errno != EPERM)
        fail(e, strerror(errno));
    if (fchmod(e->fd, st.st_mode & 0777) < 0 || fsync(e->fd) < 0 || rename(e->fresh, e->path) < 0)
        fail(e, strerror(errno));
    under_way = NULL;
    if (ph_sync_parent(e->path) < 0)
        ph_cmd_fatal("%s", ph_error());
    close(e->fd);
}
