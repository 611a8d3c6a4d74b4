/* rebuild: see rebuild.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/clock.h>
#include "rebuild.h"

#define LOCK_AT ((off_t)1 << 62)   /* far behind what readers of any type lock: they go on */
#define QUIET_SECONDS 100          /* a source touched since then may be on its way to us */

static void unlock(struct rebuild *r)
{
    if (r->locked_fd >= 0)
        close(r->locked_fd);
    r->locked_fd = -1;
}

static void end(void *arg)
{
    struct rebuild *r = arg;

    if (r->tmp)
        unlink(r->tmp);
    unlock(r);
}

static const char *parent_of(struct ph_scope *s, const char *path)
{
    char *dir = ph_cstr_dup(s, ph_cstr(path)), *slash = strrchr(dir, '/');

    if (slash)
        slash[slash == dir] = 0;
    return slash ? dir : ".";
}

/* In the directory of another account root is led by whoever put a name there. */
static int names_are_ours(const struct rebuild *r)
{
    struct stat st;

    return geteuid() != 0 || (stat(r->dir, &st) == 0 && st.st_uid == 0 && !(st.st_mode & 022));
}

int rebuild_init(struct ph_table *t, struct rebuild *r, ph_str spec, const char *suffix)
{
    if (spec.n == 0)
        return ph_fail(PH_CONF, "a file name must follow the colon");
    r->locked_fd = -1;
    r->path = ph_str_printf(t->scope, "%.*s%s", PH_FMT(spec), suffix).p;
    r->dir = parent_of(t->scope, r->path);
    ph_defer(t->scope, end, r);
    return 0;
}

/* Through a lock on the table's own file.  Who had to wait may hold the lock of a
 * file that was replaced meanwhile: again then. */
int rebuild_lock(struct rebuild *r)
{
    int nofollow = names_are_ours(r) ? 0 : O_NOFOLLOW;

    for (int tries = 0; tries < 100; tries++) {
        struct flock lk = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCK_AT, .l_len = 1 };
        struct stat now;
        int fd = open(r->path, O_RDWR | O_CLOEXEC | nofollow);

        if (fd < 0)
            return errno == ENOENT ? 0 : ph_fail_errno(PH_TEMP, errno, "open %s", r->path);
        r->locked_fd = fd;
        if (fcntl(fd, F_OFD_SETLKW, &lk) < 0 || fstat(fd, &r->st) < 0)
            return ph_fail_errno(PH_TEMP, errno, "lock %s", r->path);
        if (stat(r->path, &now) == 0 && now.st_ino == r->st.st_ino && now.st_dev == r->st.st_dev)
            return 0;
        unlock(r);
    }
    return ph_fail(PH_TEMP, "lock %s: it is replaced again and again", r->path);
}

int rebuild_begin(struct ph_table *t, struct rebuild *r)
{
    r->tmp = ph_str_printf(t->scope, "%s.tmp.%d", r->path, (int)getpid()).p;
    unlink(r->tmp);
    return rebuild_lock(r);
}

static int create(const struct rebuild *r)
{
    int fd = open(r->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

    return fd < 0 ? ph_fail_errno(PH_TEMP, errno, "create %s", r->tmp) : fd;
}

int rebuild_create(const struct rebuild *r)
{
    int fd = create(r);

    if (fd >= 0)
        close(fd);
    return fd < 0 ? fd : 0;
}

/* Who restricted the old file, or gave it to a group, means the one in its place too.
 * A group that is not ours to give is not let in under another's name. */
static int take_rights(const struct rebuild *r, int fd, mode_t most)
{
    mode_t mode = r->st.st_mode & 0777 & most;

    if (r->st.st_uid != geteuid() || fchown(fd, (uid_t)-1, r->st.st_gid) < 0)
        mode &= ~(mode_t)070 | (mode & 07) << 3;
    return fchmod(fd, mode) < 0 ? ph_fail_errno(PH_TEMP, errno, "create %s", r->tmp) : 0;
}

int rebuild_copy_old(struct rebuild *r)
{
    char piece[65536];
    ssize_t got;
    int to = create(r), rc;

    if (to < 0)
        return to;
    rc = take_rights(r, to, 0777);
    for (off_t at = 0; rc == 0 && (got = pread(r->locked_fd, piece, sizeof piece, at)) != 0; at += got)
        if (got < 0 || write(to, piece, (size_t)got) != got)
            rc = ph_fail_errno(PH_TEMP, got < 0 ? errno : ENOSPC, "copy %s", r->path);
    close(to);
    return rc;
}

static int sync_path(const char *path, int flags)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | flags), rc = fd < 0 ? -1 : fsync(fd);

    if (fd >= 0)
        close(fd);
    return rc;
}

/* Libraries made the file, by its name: is it still that one? */
static int is_ours(int fd, struct stat *st)
{
    return fstat(fd, st) == 0 && S_ISREG(st->st_mode) && st->st_nlink == 1 && st->st_uid == geteuid();
}

int rebuild_like_old(const struct ph_table *t, const struct rebuild *r)
{
    struct stat st;

    if (r->locked_fd < 0 || r->st.st_uid != geteuid() || !names_are_ours(r))
        return 0;
    int rc, fd = open(r->tmp, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return ph_fail_errno(PH_TEMP, errno, "create %s", r->tmp);
    if (!is_ours(fd, &st))
        rc = ph_fail(PH_TEMP, "create %s: another file is in its place", r->tmp);
    else                           /* who may read the source may be one who may write the table */
        rc = take_rights(r, fd, t->flags & PH_TABLE_WRITE ? 0777 : st.st_mode | (st.st_mode & 0444) >> 1);
    close(fd);
    return rc;
}

int rebuild_commit(struct rebuild *r)
{
    if (sync_path(r->tmp, O_NOFOLLOW | O_NONBLOCK) < 0 || rename(r->tmp, r->path) < 0)
        return ph_fail_errno(PH_TEMP, errno, "replace %s", r->path);
    r->tmp = NULL;
    unlock(r);
    return sync_path(r->dir, O_DIRECTORY) < 0 ? ph_fail_errno(PH_TEMP, errno, "replace %s", r->path) : 0;
}

int rebuild_look(struct ph_table *t, struct rebuild *r, ph_str spec)
{
    PH_SCOPED(s, t->scope);
    struct stat src;

    ph_reopen_later(r->path);
    if (stat(r->path, &r->st) < 0)
        return ph_fail_errno(PH_TEMP, errno, "open database %s", r->path);
    if (stat(ph_cstr_dup(s, spec), &src) == 0 && src.st_mtime > r->st.st_mtime && src.st_mtime + QUIET_SECONDS < ph_wall_us() / 1000000)
        ph_log_warn("database %s is older than source file %.*s", r->path, PH_FMT(spec));
    return 0;
}

int rebuild_changed(const struct rebuild *r)
{
    struct stat now;

    return stat(r->path, &now) < 0 || now.st_ino != r->st.st_ino || now.st_dev != r->st.st_dev ||
                   now.st_mtim.tv_sec != r->st.st_mtim.tv_sec || now.st_mtim.tv_nsec != r->st.st_mtim.tv_nsec ? PH_FOUND : PH_NONE;
}
