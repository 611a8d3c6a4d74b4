/* spawn_dirs: directories in which names are made again and again (spawner.h).
 *
 * Who has made a name asks for a sync.  While one runs, those who come later wait for
 * the next: it begins after all of their names were made, and serves all of them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/disk.h>
#include <posthorn/error.h>
#include "core/run/loop.h"
#include "core/worker/spawner.h"

#define KEPT_MAX 64u
#define IDLE_MS  5000              /* then its filesystem can be unmounted again */

struct shared_dir {
    struct ph_list node;           /* least recently used first; in none once it is not to be found again */
    char *path;
    uint32_t hash;
    uint64_t device, inode;
    int fd;
    uint32_t users;
    int64_t idle_since;
    int is_syncing;
    int err;                       /* of a sync that failed */
    struct ph_list waiters;        /* for a sync that has not begun */
};

struct waiter {
    struct ph_list node;
    struct ph_latch latch;
    int err;
    int leads;                     /* it is woken to make the sync, not because it is done */
};

/* One per process. */
static struct {
    struct ph_list list;
    uint32_t count;
    struct ph_timer sweep;
} kept = { .list = PH_LIST_INIT(kept.list) };

static uint32_t hash_of(const char *path)
{
    uint32_t h = 2166136261u;

    for (; *path; path++)
        h = (h ^ (unsigned char)*path) * 16777619u;
    return h;
}

static void discard(struct shared_dir *d)
{
    close(d->fd);
    free(d->path);
    free(d);
}

/* Not to be found again; it ends with its last user. */
static void forget(struct shared_dir *d)
{
    if (ph_list_is_empty(&d->node))
        return;
    ph_list_remove(&d->node);
    kept.count--;
    if (d->users == 0)
        discard(d);
}

static void on_sweep(struct ph_timer *t)
{
    for (struct ph_list *n = kept.list.next, *next; n != &kept.list; n = next) {
        struct shared_dir *d = ph_list_of(n, struct shared_dir, node);

        next = n->next;
        if (d->users == 0 && ph_now_ms() - d->idle_since >= IDLE_MS)
            forget(d);
    }
    if (kept.count)
        ph_timer_set(t, ph_in_ms(IDLE_MS));
}

static struct shared_dir *look(const char *path)
{
    uint32_t hash = hash_of(path);

    for (struct ph_list *n = kept.list.next; n != &kept.list; n = n->next) {
        struct shared_dir *d = ph_list_of(n, struct shared_dir, node);

        if (d->hash == hash && strcmp(d->path, path) == 0)
            return d;
    }
    return NULL;
}

struct shared_dir *ph_shared_dir_find(const char *path)
{
    struct shared_dir *d = look(path);

    if (d) {
        d->users++;
        ph_list_remove(&d->node);
        ph_list_push(&kept.list, &d->node);
    }
    return d;
}

/* Room for one more: the one that was not used for the longest time goes. */
static void make_room(void)
{
    for (struct ph_list *n = kept.list.next; kept.count >= KEPT_MAX && n != &kept.list; n = n->next)
        if (ph_list_of(n, struct shared_dir, node)->users == 0) {
            forget(ph_list_of(n, struct shared_dir, node));
            return;
        }
}

struct shared_dir *ph_shared_dir_add(const char *path, uint64_t device, uint64_t inode, int fd)
{
    struct shared_dir *d = look(path);

    if (d && ph_shared_dir_is(d, device, inode)) {      /* somebody else was faster */
        close(fd);
        d->users++;
        return d;
    }
    if (d)
        forget(d);                 /* another directory has that name now */
    make_room();
    if (!(d = calloc(1, sizeof *d)) || !(d->path = strdup(path)))
        ph_die("out of memory");
    d->hash = hash_of(path);
    d->device = device;
    d->inode = inode;
    d->fd = fd;
    d->users = 1;
    ph_list_init(&d->waiters);
    ph_list_push(&kept.list, &d->node);
    kept.count++;
    kept.sweep.fn = on_sweep;
    if (!kept.sweep.index)
        ph_timer_set(&kept.sweep, ph_in_ms(IDLE_MS));
    return d;
}

int ph_shared_dir_is(const struct shared_dir *d, uint64_t device, uint64_t inode)
{
    return inode && d->device == device && d->inode == inode;
}

void ph_shared_dir_leave(struct shared_dir *d)
{
    d->idle_since = ph_now_ms();
    if (--d->users == 0 && ph_list_is_empty(&d->node))
        discard(d);
    else if (kept.count > KEPT_MAX)
        make_room();
}

/* In the disk pool. */
static int run_sync(void *arg)
{
    return fsync(((struct shared_dir *)arg)->fd) < 0 ? -errno : 0;
}

/* Sync for ourselves and for those who wait by now; then one of those who came meanwhile goes on. */
static int lead(struct shared_dir *d)
{
    struct ph_list ours, *n;

    ph_list_init(&ours);
    while ((n = ph_list_shift(&d->waiters)))
        ph_list_push(&ours, n);
    d->is_syncing = 1;
    /* After a failure the kernel may have dropped what was to be written: nobody is told
     * 0 through this descriptor again. */
    if (!d->err && (d->err = -ph_disk(run_sync, d)))
        forget(d);
    d->is_syncing = 0;
    while ((n = ph_list_shift(&ours))) {
        ph_list_of(n, struct waiter, node)->err = d->err;
        ph_latch_set(&ph_list_of(n, struct waiter, node)->latch);
    }
    if ((n = ph_list_shift(&d->waiters))) {
        d->is_syncing = 1;         /* who comes before it runs waits, too */
        ph_list_of(n, struct waiter, node)->leads = 1;
        ph_latch_set(&ph_list_of(n, struct waiter, node)->latch);
    }
    return d->err;
}

int ph_shared_dir_sync(struct shared_dir *d)
{
    struct waiter w = { .err = 0 };

    if (!d->is_syncing)
        return lead(d);
    ph_list_push(&d->waiters, &w.node);
    ph_latch_wait(&w.latch, "sync of a directory");
    return w.leads ? lead(d) : w.err;
}
