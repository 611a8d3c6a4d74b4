/* Slots: files of a few blocks, made ahead with their directory synced, so that
 * a commit is one write and one fdatasync that changes no metadata; used again
 * by the worker that had them when their message is gone.
 *
 * A lease is an OFD write lock on the descriptor that was sent: it ends with the
 * last holder, whoever that is, and outlives us.  A slot whose lock is held, by
 * a writer or by a reader, is never leased. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <posthorn/disk.h>
#include <posthorn/intake.h>
#include <posthorn/log.h>
#include "core/queue/store.h"

#define BATCH_MAX    16
#define AHEAD        32            /* fresh slots kept */
#define FREE_MS      (10 * 60 * 1000)  /* a free slot not used for so long goes */
#define TICK_MS      1000

int ph_lock_is_held(int fd, short type)
{
    struct flock l = { .l_type = type, .l_whence = SEEK_SET };

    if (fcntl(fd, F_OFD_GETLK, &l) < 0)
        return ph_fail_errno(PH_TEMP, errno, "ask for lock");
    return l.l_type != F_UNLCK;
}

int ph_lock_take(int fd, short type)
{
    struct flock l = { .l_type = type, .l_whence = SEEK_SET };

    return fcntl(fd, F_OFD_SETLK, &l) < 0 ? ph_fail_errno(PH_TEMP, errno, "take lock") : 0;
}

struct ph_slot *ph_slot_add(struct ph_queue *q, const char *name, uint64_t inode, uint32_t state)
{
    struct ph_slot *slot = calloc(1, sizeof *slot);

    if (!slot)
        ph_die("out of memory");
    snprintf(slot->name, sizeof slot->name, "%s", name);
    slot->inode = inode;
    slot->state = state;
    slot->fd = slot->lease_fd = slot->reader_fd = -1;
    ph_list_init(&slot->node);
    ph_map_set(q->slots, ph_cstr(slot->name), slot);
    if (state == PH_SLOT_FRESH) {
        ph_list_push(&q->fresh, &slot->node);
        q->fresh_count++;
    }
    return slot;
}

static void close_kept(struct ph_queue *q, int *fd)
{
    if (*fd < 0)
        return;
    close(*fd);
    *fd = -1;
    q->open_count--;
}

void ph_slot_free(struct ph_queue *q, struct ph_slot *slot)
{
    if (slot->state == PH_SLOT_FRESH)
        q->fresh_count--;
    q->large_bytes -= slot->large_bytes;
    close_kept(q, &slot->fd);
    close_kept(q, &slot->lease_fd);
    close_kept(q, &slot->reader_fd);
    ph_list_remove(&slot->node);
    ph_map_del(q->slots, ph_cstr(slot->name));
    free(slot);
}

int ph_slot_unlink(struct ph_queue *q, struct ph_slot *slot)
{
    char path[PH_PATH];
    int rc;

    ph_queue_path(path, PH_PLACE_SLOT, slot->name);
    /* Out of reach of others before the wait. */
    ph_slot_free(q, slot);
    if ((rc = ph_dirs_unlink(q, path)) < 0)
        ph_log_warn("%s", ph_error());     /* the next start will find and remove it */
    return rc;
}

struct batch {
    int dir_fd;
    unsigned count, made;
    char dir[PH_PATH];
    char name[BATCH_MAX][PH_SLOT_NAME];
    uint64_t inode[BATCH_MAX];
};

/* Full size and on disk: later commits then change no metadata. */
static int fill(int fd, uint64_t *inode)
{
    static const char zeros[PH_SLOT_BYTES];
    struct iovec v = { (void *)(uintptr_t)zeros, sizeof zeros };
    struct stat st;
    int rc = ph_pwritev_all(fd, &v, 1, 0);

    if (rc == 0)
        rc = ph_fdatasync(fd);
    if (rc == 0 && fstat(fd, &st) < 0)
        rc = ph_fail_errno(PH_TEMP, errno, "fstat");
    if (rc == 0)
        *inode = st.st_ino;
    return rc;
}

static int run_make(void *arg)
{
    struct batch *b = arg;
    char path[PH_PATH];
    int rc = 0;

    for (; b->made < b->count; b->made++) {
        int fd;

        ph_queue_path(path, PH_PLACE_SLOT, b->name[b->made]);
        if ((fd = openat(b->dir_fd, path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600)) < 0)
            return ph_fail_errno(PH_TEMP, errno, "make slot %s", path);
        rc = fill(fd, &b->inode[b->made]);
        close(fd);
        if (rc < 0) {
            unlinkat(b->dir_fd, path, 0);
            return ph_wrap(rc, "make slot %s", path);
        }
    }
    return 0;
}

static int run_unmake(void *arg)
{
    const struct batch *b = arg;
    char path[PH_PATH];

    for (unsigned i = 0; i < b->made; i++) {
        ph_queue_path(path, PH_PLACE_SLOT, b->name[i]);
        unlinkat(b->dir_fd, path, 0);          /* else the next start finds and removes it */
    }
    return 0;
}

/* Their names are on disk before anybody sees them: without the sync they could be
 * lost with mail inside. */
static int publish_slots(struct ph_queue *q, struct batch *b)
{
    int rc = ph_dirs_sync_pool(q, b->dir);

    for (unsigned i = 0; rc >= 0 && i < b->made; i++)
        ph_slot_add(q, b->name[i], b->inode[i], PH_SLOT_FRESH);
    if (rc < 0)
        (void)ph_disk(run_unmake, b);
    return rc;
}

int ph_slot_make(struct ph_queue *q, unsigned count)
{
    PH_SCOPED(s, NULL);
    struct batch *b = ph_new(s, struct batch);
    unsigned h = (unsigned)(q->slot_serial % PH_POOL_DIRS);   /* one directory, one sync */
    int rc, synced = 0;

    b->dir_fd = q->dir_fd;
    b->count = count < BATCH_MAX ? count : BATCH_MAX;
    snprintf(b->dir, sizeof b->dir, "pool/%x", h);
    for (unsigned i = 0; i < b->count; i++)
        snprintf(b->name[i], PH_SLOT_NAME, "%x/%llx.%x", h, (unsigned long long)ph_wall_us(), i);
    q->slot_serial++;
    rc = ph_disk(run_make, b);
    if (b->made > 0)
        synced = publish_slots(q, b);
    return synced < 0 ? synced : rc;
}

void ph_slot_lease_close(struct ph_queue *q, struct ph_slot *slot)
{
    close_kept(q, &slot->lease_fd);
}

void ph_slot_reader_close(struct ph_queue *q, struct ph_slot *slot)
{
    close_kept(q, &slot->reader_fd);
    slot->reader_of = NULL;
    slot->reader_out = 0;
}

static int open_lease(struct ph_queue *q, struct ph_slot *slot)
{
    char path[PH_PATH];

    ph_queue_path(path, PH_PLACE_SLOT, slot->name);
    if ((slot->lease_fd = openat(q->dir_fd, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW)) < 0) {
        ph_fail_errno(PH_TEMP, errno, "open slot %s", path);
        if (!q->lend_fails)            /* once, until it works again */
            ph_log_warn("%s", ph_error());
        q->lend_fails = 1;
        return PH_TEMP;
    }
    q->lend_fails = 0;
    q->open_count++;
    return 0;
}

int ph_slot_lease(struct ph_queue *q, struct ph_slot *slot)
{
    if (slot->lease_fd < 0 && open_lease(q, slot) < 0)
        return PH_TEMP;
    if (ph_lock_take(slot->lease_fd, F_WRLCK) == 0)
        return 0;
    /* Somebody's lock is in the way: an agent's, who did not give it up and shares it
     * with us.  Without us it ends with him. */
    ph_slot_lease_close(q, slot);
    ph_slot_reader_close(q, slot);
    return PH_NONE;
}

/* What a large file has costs nothing any more: the next message of its size allocates
 * nothing.  But files without mail must not fill the disk. */
int ph_slot_can_serve(const struct ph_slot *slot, uint64_t bytes)
{
    if (slot->spoilt || !slot->worker)
        return 0;
    if (bytes <= PH_SLOT_MAX || bytes <= slot->large_bytes)
        return 1;
    return bytes <= PH_SLOT_LARGEST && slot->worker->queue->large_bytes - slot->large_bytes + bytes <= PH_POOL_LARGE;
}

static void note_size(struct ph_queue *q, struct ph_slot *slot, uint64_t bytes)
{
    if (bytes <= PH_SLOT_MAX || bytes <= slot->large_bytes)
        return;
    q->large_bytes += bytes - slot->large_bytes;
    slot->large_bytes = bytes;
}

int ph_slot_release(struct ph_queue *q, struct ph_slot *slot, int reusable, uint64_t bytes)
{
    if (!reusable)
        return ph_slot_unlink(q, slot);
    note_size(q, slot, bytes);
    ph_list_remove(&slot->node);
    slot->state = PH_SLOT_FREE;
    slot->since_ms = ph_now_ms();
    ph_list_push(&slot->worker->free, &slot->node);
    if (slot->worker->want[PH_INTAKE_NET])
        ph_cond_signal(slot->worker->wake);
    return 0;
}

/* Enough room for one large message beyond what must stay free. */
static int has_space(struct ph_queue *q)
{
    int64_t need = q->params.message_size_limit + q->params.message_size_limit / 2;
    struct statvfs v;

    if (q->params.queue_minfree > need)
        need = q->params.queue_minfree;
    if (fstatvfs(q->dir_fd, &v) < 0)
        return 1;                  /* cannot tell: writing will */
    return (uint64_t)v.f_bavail * v.f_frsize >= (uint64_t)need;
}

static void wake_workers(struct ph_queue *q)
{
    for (struct ph_list *n = q->workers.next; n != &q->workers; n = n->next)
        ph_cond_signal(ph_list_of(n, struct ph_worker, node)->wake);
}

static void set_space(struct ph_queue *q, int low, const char *why)
{
    if (low && !q->space_low)
        ph_log_warn("not accepting mail: %s", why);
    else if (!low && q->space_low)
        ph_log("accepting mail again");
    q->space_low = (uint32_t)low;
}

/* Free slots that no message came for; the oldest are at the front.  All of them when
 * the disk is full: mail that comes can use the space. */
static void trim(struct ph_queue *q)
{
    int64_t keep_ms = q->space_low ? 0 : FREE_MS;
    struct ph_list *w = q->workers.next;

    while (w != &q->workers) {
        struct ph_worker *worker = ph_list_of(w, struct ph_worker, node);
        struct ph_slot *slot = ph_list_of(worker->free.next, struct ph_slot, node);

        if (ph_list_is_empty(&worker->free) || slot->since_ms + keep_ms > ph_now_ms()) {
            w = w->next;
            continue;
        }
        ph_slot_unlink(q, slot);   /* yields: the list of workers may be another */
        w = q->workers.next;
    }
}

void ph_slot_maker(void *arg)
{
    struct ph_queue *q = arg;
    int rc = 0;

    while (!ph_cancelled()) {
        if (q->fresh_count < AHEAD && (rc = ph_slot_make(q, BATCH_MAX)) < 0) {
            if (rc == PH_CANCEL)
                break;
            set_space(q, 1, ph_error());
        } else if (!has_space(q)) {
            set_space(q, 1, "insufficient free space in queue_directory");
        } else {
            set_space(q, 0, NULL);
        }
        wake_workers(q);
        /* Asked for more than was made meanwhile: go on at once. */
        if (rc >= 0 && q->fresh_count < AHEAD)
            continue;
        /* What failed waits its time, whoever asks: who wants slots asks as soon as he
         * hears that there are none. */
        int failed = rc < 0;
        rc = failed ? ph_sleep_until(ph_in_ms(TICK_MS)) : ph_cond_wait(q->make, ph_in_ms(TICK_MS));
        if (rc == PH_CANCEL)
            break;
        if (failed || rc == PH_TIMEOUT) {
            trim(q);
            if (ph_dirs_settle(q) < 0)
                ph_log_warn("%s", ph_error());
        }
        rc = 0;
    }
}
