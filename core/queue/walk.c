/* Listing a directory lazily: some hundred names are read and looked at in the
 * disk pool at a time, so a million deferred messages neither stop the loop nor
 * take memory. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/disk.h>
#include "core/queue/store.h"

#define CHUNK 256

struct ph_walk {
    struct ph_queue *queue;
    unsigned place, next_dir;          /* subdirectory to open next */
    int64_t due_us, earliest_us;
    DIR *dir;
    unsigned count, at;                /* names read, and given */
    int over;                          /* 1: these are the last */
    struct { char name[PH_ID_MAX + 1], slot[PH_SLOT_NAME]; uint64_t inode; int64_t mtime_us; } found[CHUNK];
};

static void walk_close(void *arg)
{
    struct ph_walk *w = arg;

    if (w->dir)
        closedir(w->dir);
    w->dir = NULL;
}

struct ph_walk *ph_walk_new(struct ph_scope *s, struct ph_queue *q, unsigned place, int64_t due_us)
{
    struct ph_walk *w = ph_new(s, struct ph_walk);

    w->queue = q;
    w->place = place;
    w->due_us = due_us;
    w->earliest_us = INT64_MAX;
    ph_defer(s, walk_close, w);
    return w;
}

/* 1: a directory is open; 0: there are no more; PH_TEMP. */
static int open_next(struct ph_walk *w)
{
    const char *hex = w->place == PH_PLACE_SLOT ? "0123456789abcdef" : "0123456789ABCDEF";
    unsigned dirs = w->place == PH_PLACE_DEFERRED || w->place == PH_PLACE_SLOT ? 16 : 1;
    char path[PH_PATH];
    int fd;

    if (w->next_dir >= dirs)
        return 0;
    if (dirs > 1)
        snprintf(path, sizeof path, "%s/%c", ph_place_name(w->place), hex[w->next_dir]);
    else
        snprintf(path, sizeof path, "%s", ph_place_name(w->place));
    w->next_dir++;
    fd = openat(w->queue->dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* The owner makes them; before his first start there is nothing to see. */
    if (fd < 0 && errno == ENOENT && w->queue->read_only)
        return open_next(w);
    if (fd < 0)
        return ph_fail_errno(PH_TEMP, errno, "open directory %s", path);
    if ((w->dir = fdopendir(fd)) == NULL) {
        close(fd);
        return ph_fail_errno(PH_TEMP, errno, "open directory %s", path);
    }
    return 1;
}

/* A slot's name is not that of its message: only its record says it. */
static void look_at_slot(struct ph_walk *w, const char *name)
{
    unsigned char head[PH_RECORD_BYTES];
    struct ph_record r;
    struct stat st;
    int fd = openat(dirfd(w->dir), name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    if (fd < 0)
        return;
    if (strlen(name) + 3 < PH_SLOT_NAME && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
        ph_pread_all(fd, head, sizeof head, 0) == (int64_t)sizeof head &&
        ph_record_decode(head, sizeof head, (uint64_t)st.st_size, &r) == 0) {
        memcpy(w->found[w->count].name, r.id, sizeof r.id);
        snprintf(w->found[w->count].slot, PH_SLOT_NAME, "%x/%s", w->next_dir - 1, name);
        w->found[w->count].inode = st.st_ino;
        w->found[w->count++].mtime_us = r.arrival_us;
    }
    close(fd);
}

static void look_at(struct ph_walk *w, const char *name)
{
    struct stat st = { 0 };
    int64_t us;

    if (!ph_id_is_name(ph_cstr(name)))
        return;
    /* What cannot be looked at now is shown as due: who takes it up looks again. */
    if (fstatat(dirfd(w->dir), name, &st, AT_SYMLINK_NOFOLLOW) < 0 ? errno == ENOENT : !S_ISREG(st.st_mode))
        return;
    us = (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000;
    if (w->due_us > 0 && us > w->due_us) {
        if (us < w->earliest_us)
            w->earliest_us = us;
        return;
    }
    memcpy(w->found[w->count].name, name, strlen(name) + 1);     /* is_name: it fits */
    w->found[w->count++].mtime_us = us;
}

/* In the disk pool: read on until there is a chunk, or CHUNK * 4 names were
 * looked at (the caller may want to be cancelled).  1: there may be more. */
static int read_chunk(void *arg)
{
    struct ph_walk *w = arg;
    struct dirent *e;
    int rc;

    w->count = w->at = 0;
    for (int seen = 0; seen < CHUNK * 4 && w->count < CHUNK; seen++) {
        if (!w->dir && (rc = open_next(w)) <= 0)
            return rc;
        errno = 0;
        if ((e = readdir(w->dir)) != NULL) {
            if (w->place != PH_PLACE_SLOT)
                look_at(w, e->d_name);
            else if (e->d_name[0] != '.')
                look_at_slot(w, e->d_name);
            continue;
        }
        rc = errno;
        walk_close(w);
        if (rc)
            return ph_fail_errno(PH_TEMP, rc, "read directory %s", ph_place_name(w->place));
    }
    return 1;
}

/* Index of the next name: PH_FOUND, PH_NONE, PH_TEMP, PH_CANCEL. */
static int next_found(struct ph_walk *w, unsigned *i)
{
    int rc;

    while (w->at >= w->count) {
        if (w->over)
            return PH_NONE;
        if ((rc = ph_disk(read_chunk, w)) < 0)
            return rc;
        w->over = rc == 0;
        if (ph_in_task() && (rc = ph_yield()) < 0)
            return rc;
    }
    *i = w->at++;
    return PH_FOUND;
}

int ph_walk_name(struct ph_walk *w, const char **id)
{
    unsigned i;
    int rc = next_found(w, &i);

    if (rc == PH_FOUND)
        *id = w->found[i].name;
    return rc;
}

int ph_walk_next(struct ph_walk *w, struct ph_qmsg **out)
{
    unsigned i;
    int rc;

    /* In somebody's hands, or about to be: not ours to give. */
    while ((rc = next_found(w, &i)) == PH_FOUND && ph_queue_in_memory(w->queue, ph_cstr(w->found[i].name)))
        ;
    if (rc != PH_FOUND)
        return rc;
    *out = ph_qmsg_new(w->queue, ph_cstr(w->found[i].name), w->place);
    (*out)->next_us = w->found[i].mtime_us;
    (*out)->recovered = 1;
    if (w->place == PH_PLACE_SLOT)
        (*out)->slot = ph_slot_add(w->queue, w->found[i].slot, w->found[i].inode, PH_SLOT_MESSAGE);
    return PH_FOUND;
}

int64_t ph_walk_earliest(const struct ph_walk *w)
{
    return w->earliest_us;
}
