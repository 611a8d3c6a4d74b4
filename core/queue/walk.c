/* Listing a directory lazily: some hundred names are taken at a time, in the disk
 * pool, so a million deferred messages neither stop the loop nor take memory; of one
 * directory some thousand, so that they can be given in the order of their inodes.
 * Names that nobody wants cost nothing more; of the others as much is read as
 * was asked for: nothing, the time (walk_time), or the envelope (glance.c). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/disk.h>
#include "core/queue/walk.h"

static void walk_close(void *arg)
{
    struct ph_walk *w = arg;

    if (w->dir)
        closedir(w->dir);
    w->dir = NULL;
    w->dir_over = 0;
}

struct ph_walk *ph_walk_new(struct ph_scope *s, struct ph_queue *q, unsigned place)
{
    struct ph_walk *w = ph_new(s, struct ph_walk);

    w->queue = q;
    w->scope = s;
    w->place = place;
    ph_defer(s, walk_close, w);
    return w;
}

void ph_walk_pass(struct ph_walk *w, int (*is_known)(void *arg, ph_str id), void *arg)
{
    w->is_known = is_known;
    w->arg = arg;
}

/* ---- names, in the disk pool ---- */

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
static void take_slot(struct ph_walk *w, const char *name)
{
    struct found *f = &w->found[w->count];
    unsigned char head[PH_RECORD_BYTES];
    struct ph_record r;
    struct stat st;
    int fd = openat(dirfd(w->dir), name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    if (fd < 0)
        return;
    if (strlen(name) + 3 < PH_SLOT_NAME && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
        ph_pread_all(fd, head, sizeof head, 0) == (int64_t)sizeof head &&
        ph_record_decode(head, sizeof head, (uint64_t)st.st_size, &r) == 0) {
        memcpy(f->name, r.id, sizeof r.id);
        snprintf(f->slot, PH_SLOT_NAME, "%x/%s", w->next_dir - 1, name);
        f->inode = st.st_ino;
        w->count++;
    }
    close(fd);
}

static void take_name(struct ph_walk *w, const struct dirent *e)
{
    struct name *name = &w->name[w->name_count];
    struct stat st;

    if (!ph_id_is_name(ph_cstr(e->d_name)))
        return;
    if (e->d_type == DT_UNKNOWN ? fstatat(dirfd(w->dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode)
                                : e->d_type != DT_REG)
        return;
    name->inode = e->d_ino;
    memcpy(name->name, e->d_name, strlen(e->d_name) + 1);      /* is_name: it fits */
    w->name_count++;
}

/* Read on until there are `max` of w->*count, or the directory ends (it stays open:
 * the names are looked up in it), or many names were seen (the caller may want to be
 * cancelled).  1: there may be more; 0: there are no more; PH_TEMP. */
static int read_on(struct ph_walk *w, const unsigned *count, unsigned max)
{
    const struct dirent *e;
    int rc;

    if (w->dir_over)
        walk_close(w);
    for (unsigned seen = 0; seen < max * 4 && *count < max && !w->dir_over; seen++) {
        if (!w->dir && (rc = open_next(w)) <= 0)
            return rc;
        errno = 0;
        if ((e = readdir(w->dir)) == NULL) {
            w->dir_over = 1;
            if (errno)
                return ph_fail_errno(PH_TEMP, errno, "read directory %s", ph_place_name(w->place));
        } else if (w->place != PH_PLACE_SLOT) {
            take_name(w, e);
        } else if (e->d_name[0] != '.') {
            take_slot(w, e->d_name);
        }
    }
    return 1;
}

static int by_inode(const void *a, const void *b)
{
    const struct name *x = a, *y = b;

    return (x->inode > y->inode) - (x->inode < y->inode);
}

/* Names come in the order of their hashes.  In that of their inodes, neighbours share
 * blocks, which are then read, or changed, once. */
static int read_sorted(struct ph_walk *w)
{
    int rc;

    if (w->name_at == w->name_count) {
        w->name_at = w->name_count = 0;
        if ((rc = read_on(w, &w->name_count, WALK_NAMES)) <= 0)
            return rc;
        qsort(w->name, w->name_count, sizeof *w->name, by_inode);
    }
    while (w->count < WALK_CHUNK && w->name_at < w->name_count)
        memcpy(w->found[w->count++].name, w->name[w->name_at++].name, sizeof w->name->name);
    return 1;
}

/* The next chunk: 1: there may be more. */
static int read_names(void *arg)
{
    struct ph_walk *w = arg;

    w->count = w->at = w->looked = 0;
    return w->place == PH_PLACE_SLOT ? read_on(w, &w->count, WALK_CHUNK) : read_sorted(w);
}

/* ---- what is asked about them ---- */

static int is_wanted(struct ph_walk *w, const struct found *f)
{
    return !w->is_known || !w->is_known(w->arg, ph_cstr(f->name));
}

/* Names that somebody knows are passed over before anything is read about them. */
static void drop_known(struct ph_walk *w)
{
    unsigned n = 0;

    for (unsigned i = 0; i < w->count; i++)
        if (is_wanted(w, &w->found[i]))
            w->found[n++] = w->found[i];
    w->count = n;
}

/* In the disk pool.  What cannot be looked at now is shown as due: who takes it up looks again. */
static int read_times(void *arg)
{
    struct ph_walk *w = arg;
    struct stat st;

    for (; w->looked < w->count; w->looked++) {
        struct found *f = &w->found[w->looked];
        int rc = fstatat(dirfd(w->dir), f->name, &st, AT_SYMLINK_NOFOLLOW);

        f->is_gone = rc < 0 && errno == ENOENT;
        f->next_us = rc < 0 ? 0 : (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000;
    }
    return 0;
}

static int look_at_times(void *walk)
{
    return ph_disk(read_times, walk);
}

static int look_at_nothing(void *arg)
{
    struct ph_walk *w = arg;

    w->looked = w->count;
    return 0;
}

int ph_walk_found(struct ph_walk *w, int (*look)(void *walk), const struct found **f)
{
    int rc;

    for (;;) {
        while (w->at < w->looked)
            if (!(*f = &w->found[w->at++])->is_gone)
                return PH_FOUND;
        if (w->at < w->count) {
            rc = look(w);
        } else if (w->is_over) {
            return PH_NONE;
        } else if ((rc = ph_disk(read_names, w)) >= 0) {
            w->is_over = !rc;
            drop_known(w);
            rc = ph_in_task() ? ph_yield() : 0;
        }
        if (rc < 0)
            return rc;
    }
}

int ph_walk_next(struct ph_walk *w, struct ph_qmsg **out)
{
    const struct found *f;
    int rc;

    while ((rc = ph_walk_found(w, look_at_nothing, &f)) == PH_FOUND) {
        /* In somebody's hands, or about to be: not ours to give. */
        if (ph_queue_in_memory(w->queue, ph_cstr(f->name)))
            continue;
        *out = ph_qmsg_new(w->queue, ph_cstr(f->name), w->place);
        (*out)->recovered = 1;
        if (w->place == PH_PLACE_SLOT)
            (*out)->slot = ph_slot_add(w->queue, f->slot, f->inode, PH_SLOT_MESSAGE);
        return PH_FOUND;
    }
    return rc;
}

int ph_walk_name(struct ph_walk *w, ph_str *id)
{
    const struct found *f;
    int rc = ph_walk_found(w, look_at_nothing, &f);

    if (rc == PH_FOUND)
        *id = ph_cstr(f->name);
    return rc;
}

int ph_walk_time(struct ph_walk *w, ph_str *id, int64_t *next_us)
{
    const struct found *f;
    int rc = ph_walk_found(w, look_at_times, &f);

    if (rc == PH_FOUND) {
        *id = ph_cstr(f->name);
        *next_us = f->next_us;
    }
    return rc;
}
