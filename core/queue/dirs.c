/* Directories of the queue and the order of their syncs.
 *
 * A rename needs no sync of its own: after a crash the file is in the old place
 * or the new one, and both are scanned.  What must not happen is that the old
 * directory reaches the disk without the name while the new one is not there:
 * pool directories are synced (when slots are made), so before that every
 * directory that a rename went to is, and no rename runs meanwhile. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/disk.h>
#include "core/queue/store.h"

static const char *const place_names[PH_PLACES] = { "pool", "incoming", "active", "deferred", "hold", "corrupt" };

const char *ph_place_name(unsigned place)
{
    return place < PH_PLACES ? place_names[place] : "?";
}

int ph_place_find(ph_str name)
{
    for (int i = 0; i < PH_PLACES; i++)
        if (ph_str_eq(name, ph_cstr(place_names[i])))
            return i;
    return -1;
}

void ph_queue_path(char out[PH_PATH], unsigned place, const char *name)
{
    char hash[6];

    if (place == PH_PLACE_DEFERRED) {
        ph_id_hash(ph_cstr(name), hash);
        snprintf(out, PH_PATH, "deferred/%c/%s", hash[0], name);
    } else {
        const char *dir = ph_place_name(place);
        size_t n = strlen(dir), left = strlen(name);

        memcpy(out, dir, n);
        out[n++] = '/';
        left = left < PH_PATH - n ? left : PH_PATH - n - 1;
        memcpy(out + n, name, left);
        out[n + left] = 0;
    }
}

void ph_qmsg_path(char out[PH_PATH], const struct ph_qmsg *m)
{
    ph_queue_path(out, m->place, m->place == PH_PLACE_SLOT ? m->slot->name : m->id);
}

/* Only the owner of a file may read it so; one that root copied here may be another's. */
int ph_queue_open_file(int dir_fd, const char *path, int flags)
{
    int fd;

    flags |= O_CLOEXEC | O_NOFOLLOW;
    if ((fd = openat(dir_fd, path, flags | O_NOATIME)) < 0 && errno == EPERM)
        fd = openat(dir_fd, path, flags);
    return fd;
}

static int make_dir(struct ph_queue *q, const char *path)
{
    struct stat st;

    if (mkdirat(q->dir_fd, path, 0700) == 0)
        return 0;
    if (errno == EEXIST && fstatat(q->dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
        return 0;
    return ph_fail_errno(PH_TEMP, errno == EEXIST ? ENOTDIR : errno, "make directory %s", path);
}

struct dir_sync {
    int dir_fd;
    const char *path;
};

static int run_dir_sync(void *arg)
{
    const struct dir_sync *v = arg;
    int fd = openat(v->dir_fd, v->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = 0;

    if (fd < 0)
        return ph_fail_errno(PH_TEMP, errno, "open directory %s", v->path);
    if (fsync(fd) < 0)
        rc = ph_fail_errno(PH_TEMP, errno, "sync directory %s", v->path);
    close(fd);
    return rc;
}

static int sync_dir(struct ph_queue *q, const char *path)
{
    struct dir_sync v = { q->dir_fd, path };

    return ph_disk(run_dir_sync, &v);
}

/* The new directories themselves must outlive a power loss.  Also those that were
 * there: the start that made them may have ended before it synced them. */
static int sync_tops(struct ph_queue *q)
{
    static const char *const tops[] = { ".", "pool", "deferred" };
    int rc = 0;

    for (size_t i = 0; i < sizeof tops / sizeof *tops && rc == 0; i++)
        rc = sync_dir(q, tops[i]);
    return rc;
}

void ph_dirs_inherit(struct ph_queue *q)
{
    static const char hex[] = "0123456789ABCDEF";
    char path[PH_PATH];

    for (unsigned i = 0; i < PH_PLACES; i++)
        if (i != PH_PLACE_SLOT)
            ph_map_set(q->dirty, ph_cstr(place_names[i]), q);
    for (unsigned i = 0; i < 16; i++) {
        snprintf(path, sizeof path, "deferred/%c", hex[i]);
        ph_map_set(q->dirty, ph_cstr(path), q);
    }
    ph_map_set(q->dirty, PH_STR("maildrop"), q);
}

int ph_dirs_make(struct ph_queue *q)
{
    static const char hex[] = "0123456789ABCDEF";
    char path[PH_PATH];
    int rc = make_dir(q, "maildrop");

    for (unsigned i = 0; i < PH_PLACES && rc == 0; i++)
        rc = make_dir(q, place_names[i]);
    for (unsigned i = 0; i < 16 && rc == 0; i++) {
        snprintf(path, sizeof path, "deferred/%c", hex[i]);
        rc = make_dir(q, path);
        snprintf(path, sizeof path, "pool/%x", i);
        if (rc == 0)
            rc = make_dir(q, path);
    }
    return rc < 0 ? rc : sync_tops(q);
}

struct move {
    int dir_fd;
    const char *from, *to;
    int64_t mtime_us;
};

/* Without a journal a rename may have reached the disk in half: the file has both
 * names.  Then there is nothing left to do but the other half. */
static int is_same_file(const struct move *v)
{
    struct stat a, b;

    return fstatat(v->dir_fd, v->from, &a, AT_SYMLINK_NOFOLLOW) == 0 && fstatat(v->dir_fd, v->to, &b, AT_SYMLINK_NOFOLLOW) == 0 &&
           a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static int run_move(void *arg)
{
    const struct move *v = arg;
    struct timespec ts[2] = { { .tv_nsec = UTIME_OMIT },
        { .tv_sec = v->mtime_us / 1000000, .tv_nsec = v->mtime_us % 1000000 * 1000 } };

    if (v->mtime_us >= 0 && utimensat(v->dir_fd, v->from, ts, AT_SYMLINK_NOFOLLOW) < 0 && errno != ENOENT)
        return ph_fail_errno(PH_TEMP, errno, "set time of %s", v->from);
    if (v->to == NULL || renameat2(v->dir_fd, v->from, v->dir_fd, v->to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno == EEXIST && is_same_file(v))
        return unlinkat(v->dir_fd, v->from, 0) == 0 ? 0 : ph_fail_errno(PH_TEMP, errno, "remove %s", v->from);
    if (errno == ENOENT && faccessat(v->dir_fd, v->from, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
        return PH_NONE;
    return ph_fail_errno(PH_TEMP, errno, "rename %s to %s", v->from, v->to);
}

int ph_dirs_move(struct ph_queue *q, const char *from, const char *to, int64_t mtime_us)
{
    struct move v = { q->dir_fd, from, to, mtime_us };
    char dir[PH_PATH];
    int rc;

    /* These waits end by themselves: a sync of the pool is bounded. */
    while (to && q->pool_syncing)
        if ((rc = ph_cond_wait(q->order, PH_FOREVER)) < 0)
            return rc;
    q->moving += to != NULL;
    rc = ph_disk(run_move, &v);
    if (to) {
        snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(to, '/') - to), to);
        if (rc == 0)
            ph_map_set(q->dirty, ph_cstr(dir), q);
        if (--q->moving == 0)
            ph_cond_broadcast(q->order);
    }
    return rc;
}

/* Each directory that is dirty now, once: renames go on, and would keep us busy. */
static int settle_all(struct ph_queue *q)
{
    PH_SCOPED(s, NULL);
    size_t at = 0, n = 0, max = ph_map_count(q->dirty);
    const char **path = ph_alloc_array(s, max, sizeof *path);
    void *value;
    int rc = 0;

    for (ph_str key; n < max && ph_map_next(q->dirty, &at, &key, &value); n++)
        path[n] = ph_cstr_dup(s, key);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        /* Clean before the sync: a rename during it makes it dirty again. */
        ph_map_del(q->dirty, ph_cstr(path[i]));
        if ((rc = sync_dir(q, path[i])) < 0)
            ph_map_set(q->dirty, ph_cstr(path[i]), q);
    }
    return rc;
}

int ph_dirs_settle(struct ph_queue *q)
{
    int rc = 0;

    /* One at a time: what another syncs just now is not on disk yet. */
    while (q->settling)
        if ((rc = ph_cond_wait(q->order, PH_FOREVER)) < 0)
            return rc;
    q->settling = 1;
    rc = settle_all(q);
    q->settling = 0;
    ph_cond_broadcast(q->order);
    return rc;
}

int ph_dirs_sync_pool(struct ph_queue *q, const char *dir)
{
    int rc = 0;

    while (q->pool_syncing)
        if ((rc = ph_cond_wait(q->order, PH_FOREVER)) < 0)
            return rc;
    q->pool_syncing = 1;
    while (q->moving > 0 && rc == 0)
        rc = ph_cond_wait(q->order, PH_FOREVER);
    if (rc == 0)
        rc = ph_dirs_settle(q);
    if (rc == 0)
        rc = sync_dir(q, dir);
    q->pool_syncing = 0;
    ph_cond_broadcast(q->order);
    return rc;
}

static int run_unlink(void *arg)
{
    const struct move *v = arg;

    if (unlinkat(v->dir_fd, v->from, 0) == 0 || errno == ENOENT)
        return 0;
    return ph_fail_errno(PH_TEMP, errno, "remove %s", v->from);
}

int ph_dirs_unlink(struct ph_queue *q, const char *path)
{
    struct move v = { .dir_fd = q->dir_fd, .from = path };

    return ph_disk(run_unlink, &v);
}
