/* Opening the queue: parameters, directories, the lock of its one owner. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>
#include "core/base/list.h"
#include "core/queue/store.h"

#define OPEN_MIN 16

static const struct ph_param rows[] = {
    PH_P_STR1(struct ph_queue_params, queue_directory, "queue_directory", "/var/spool/postfix",
              "The top of the queue. It must be on a filesystem that keeps its promises: fdatasync is "
              "durable, and rename is atomic across a power loss."),
    PH_P_INT(struct ph_queue_params, queue_minfree, "queue_minfree", "0", 0, 0,
             "Bytes that must stay free in the queue filesystem; at least 1.5 times message_size_limit."),
    PH_P_INT(struct ph_queue_params, message_size_limit, "message_size_limit", "10240000", 0, 0,
             "Largest message in bytes, 0 for no limit."),
    PH_P_TIME(struct ph_queue_params, in_flow_delay, "in_flow_delay", "1s", "s", 0, 10,
              "How long a receiver waits for a queue file when there is none, before it answers 4xx."),
    PH_P_BOOL(struct ph_queue_params, enable_long_queue_ids, "enable_long_queue_ids", "yes",
              "Long queue ids, which are never used twice."),
};

static int load_params(struct ph_queue *q, struct ph_conf *c)
{
    return ph_params_load(c, q->scope, rows, sizeof rows / sizeof *rows, sizeof *rows, &q->params);
}

int ph_queue_reload(struct ph_queue *q, struct ph_conf *c)
{
    ph_str was = q->params.queue_directory;
    int rc = load_params(q, c);

    /* The directory is open and locked: it changes with a restart. */
    q->params.queue_directory = was;
    for (struct ph_list *n = q->workers.next; rc == 0 && n != &q->workers; n = n->next) {
        struct ph_worker *w = ph_list_of(n, struct ph_worker, node);

        w->told = 0;
        ph_cond_signal(w->wake);
    }
    return rc;
}

static void free_messages(struct ph_queue *q)
{
    struct ph_qmsg *m;
    size_t at = 0;

    while ((m = ph_queue_next(q, &at)) != NULL) {
        ph_queue_forget(q, m);
        at = 0;
    }
}

static void queue_close(void *arg)
{
    struct ph_queue *q = arg;
    ph_str key;
    void *slot;

    free_messages(q);
    for (size_t at = 0; ph_map_next(q->slots, &at, &key, &slot); at = 0)
        ph_slot_free(q, slot);
    if (q->lock_fd >= 0)
        close(q->lock_fd);
    if (q->dir_fd >= 0)
        close(q->dir_fd);
}

static struct ph_queue *queue_new(struct ph_scope *s)
{
    struct ph_queue *q = ph_new(s, struct ph_queue);
    struct rlimit rl;

    q->scope = s;
    q->dir_fd = q->lock_fd = -1;
    q->by_id = ph_map_new(s);
    q->slots = ph_map_new(s);
    q->dirty = ph_map_new(s);
    ph_list_init(&q->fresh);
    ph_list_init(&q->limbo);
    ph_list_init(&q->workers);
    ph_list_init(&q->open);
    q->make = ph_cond_new(s);
    q->order = ph_cond_new(s);
    q->limbo_wake = ph_cond_new(s);
    q->slot_serial = (uint64_t)ph_wall_us();
    /* Half of the descriptors may be those of messages; agents, receivers and
     * leases need the rest. */
    q->open_max = getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur > 2 * OPEN_MIN ? rl.rlim_cur / 2 : OPEN_MIN;
    ph_defer(s, queue_close, q);
    return q;
}

static int open_dir(struct ph_queue *q, struct ph_conf *c)
{
    const char *path;
    int rc = load_params(q, c);

    if (rc < 0)
        return rc;
    path = ph_cstr_dup(q->scope, q->params.queue_directory);
    if ((q->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return ph_fail_errno(PH_TEMP, errno, "open queue_directory %s", path);
    return 0;
}

/* The lock is on the pool directory itself: it needs no file, and no permission
 * that the owner of the queue has not. */
static int lock_pool(struct ph_queue *q)
{
    if ((q->lock_fd = openat(q->dir_fd, "pool", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return ph_fail_errno(PH_TEMP, errno, "open directory pool");
    if (flock(q->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return ph_fail(PH_TEMP, "another process owns the queue %.*s", PH_FMT(q->params.queue_directory));
    return ph_fail_errno(PH_TEMP, errno, "lock directory pool");
}

int ph_queue_open(struct ph_scope *s, struct ph_conf *c, const struct ph_queue_events *ev, void *arg,
                  struct ph_queue **out)
{
    struct ph_queue *q = queue_new(s);
    int rc;

    q->ev = ev;
    q->arg = arg;
    if ((rc = open_dir(q, c)) < 0 || (rc = ph_dirs_make(q)) < 0 || (rc = lock_pool(q)) < 0)
        return rc;
    ph_dirs_inherit(q);
    *out = q;
    return 0;
}

int ph_queue_open_read(struct ph_scope *s, struct ph_conf *c, struct ph_queue **out)
{
    struct ph_queue *q = queue_new(s);
    int rc;

    q->read_only = 1;
    if ((rc = open_dir(q, c)) < 0)
        return rc;
    *out = q;
    return 0;
}

int ph_queue_start(struct ph_queue *q, struct ph_group *g)
{
    int rc;

    q->group = g;
    if ((rc = ph_spawn(g, "slots", ph_slot_maker, q)) == 0)
        rc = ph_spawn(g, "limbo", ph_limbo_watch, q);
    return rc;
}
