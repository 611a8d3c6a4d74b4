/* spawn_files: files with somebody's rights, as the worker sees them (spawn.h).
 *
 * One child for each (uid, gid), kept and shared.  The conversation with a child
 * is blocking and belongs to the thread that holds its lock: it happens in the
 * disk pool, like any other work on files. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <posthorn/disk.h>
#include <posthorn/error.h>
#include "core/run/loop.h"
#include "core/worker/spawner.h"

#define KEPT_MAX  32u
#define IDLE_MS   60000
#define START_MS  30000
#define ROOM_MS   60000            /* waiting for one of 32 to become idle */
#define ANSWER_S  120              /* a file system that hangs for so long costs the child */

struct ph_files {
    struct ph_list node;           /* in kept, or in none once it is broken */
    uint32_t uid, gid;
    uint32_t users;
    int starting;
    int64_t idle_since;
    int fd;
    int broken;                    /* under lock */
    pthread_mutex_t lock;
};

/* Ours: has no child, and is never in a list. */
static struct ph_files here = { .fd = -1 };

/* One per process. */
static struct {
    struct ph_list list;           /* least recently used first */
    uint32_t count;
    struct ph_scope *scope;
    struct ph_cond *changed;
    struct ph_timer sweep;
} kept = { .list = PH_LIST_INIT(kept.list) };

static void discard(struct ph_files *f)
{
    ph_list_remove(&f->node);
    kept.count--;
    if (f->fd >= 0)
        close(f->fd);              /* its child ends */
    pthread_mutex_destroy(&f->lock);
    free(f);
}

static void arm(void);

static void on_sweep(struct ph_timer *t PH_UNUSED)
{
    for (struct ph_list *n = kept.list.next, *next; n != &kept.list; n = next) {
        struct ph_files *f = ph_list_of(n, struct ph_files, node);

        next = n->next;
        if (f->users == 0 && ph_now_ms() - f->idle_since >= IDLE_MS)
            discard(f);
    }
    arm();
}

static void arm(void)
{
    kept.sweep.fn = on_sweep;
    if (!ph_list_is_empty(&kept.list))
        ph_timer_set(&kept.sweep, ph_in_ms(IDLE_MS / 2));
}

static int is_broken(struct ph_files *f)
{
    pthread_mutex_lock(&f->lock);
    int broken = f->broken;
    pthread_mutex_unlock(&f->lock);
    return broken;
}

/* The one kept for this identity, or NULL.  A broken one is nobody's any more. */
static struct ph_files *find(uint32_t uid, uint32_t gid)
{
    for (struct ph_list *n = kept.list.next, *next; n != &kept.list; n = next) {
        struct ph_files *f = ph_list_of(n, struct ph_files, node);

        next = n->next;
        if (f->uid != uid || f->gid != gid)
            continue;
        if (!is_broken(f))
            return f;
        if (f->users == 0)
            discard(f);
    }
    return NULL;
}

static int evict(void)
{
    for (struct ph_list *n = kept.list.next; n != &kept.list; n = n->next)
        if (ph_list_of(n, struct ph_files, node)->users == 0) {
            discard(ph_list_of(n, struct ph_files, node));
            return 1;
        }
    return 0;
}

static void release(void *arg)
{
    struct ph_files *f = arg;

    f->idle_since = ph_now_ms();
    if (--f->users == 0 && is_broken(f))
        discard(f);
    ph_cond_broadcast(kept.changed);
}

/* ---- a new child ---- */

static int start(struct ph_files *f)
{
    struct spawner_request r = { .op = SPAWNER_OP_FILES, .uid = f->uid, .gid = f->gid };
    struct spawner_reply reply;
    struct timeval wait = { .tv_sec = ANSWER_S };
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return ph_fail_errno(PH_TEMP, errno, "socketpair");
    f->fd = pair[0];
    setsockopt(f->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    int rc = ph_spawner_send(&r, NULL, 0, &pair[1], 1);
    close(pair[1]);
    if (rc < 0)
        return rc;
    rc = ph_spawner_reply(f->fd, &reply, ph_in_ms(START_MS));
    ph_fd_forget(f->fd);
    if (rc < 0)
        return rc == PH_TIMEOUT ? ph_fail(PH_TEMP, "the spawner does not answer") : rc;
    return reply.what == SPAWNER_STARTED ? 0 : ph_spawner_refused(&reply, "files of another user");
}

static int add(const struct ph_identity *id, struct ph_files **out)
{
    struct ph_files *f = calloc(1, sizeof *f);

    if (!f)
        ph_die("out of memory");
    *f = (struct ph_files){ .uid = id->uid, .gid = id->gid, .users = 1, .starting = 1, .fd = -1 };
    pthread_mutex_init(&f->lock, NULL);
    ph_list_push(&kept.list, &f->node);
    kept.count++;
    int rc = start(f);
    f->starting = 0;
    if (rc < 0)
        f->broken = 1;
    ph_cond_broadcast(kept.changed);
    if (rc < 0)
        discard(f);                /* those who waited for it look again */
    else
        *out = f;
    return rc;
}

int ph_files_open(struct ph_scope *s, const struct ph_identity *id, struct ph_files **out)
{
    struct ph_files *f;
    int64_t until = ph_in_ms(ROOM_MS);
    int rc = 0;

    if (!kept.changed) {
        kept.scope = ph_scope_new(NULL);
        kept.changed = ph_cond_new(kept.scope);
    }
    while (((f = find(id->uid, id->gid)) && f->starting) || (!f && kept.count >= KEPT_MAX && !evict()))
        if ((rc = ph_cond_wait(kept.changed, until)) < 0)
            return rc == PH_TIMEOUT ? ph_fail(PH_TEMP, "too many identities at once") : rc;
    if (f) {
        f->users++;
        ph_list_remove(&f->node);  /* the most recently used is last */
        ph_list_push(&kept.list, &f->node);
    } else if ((rc = add(id, &f)) < 0) {
        return rc;
    }
    arm();
    ph_defer(s, release, f);
    *out = f;
    return 0;
}

struct ph_files *ph_files_here(void)
{
    return &here;
}

/* ---- calls ---- */

struct call {
    struct ph_files *files;
    struct files_request r;
    const char *a, *b;
    struct files_reply reply;
    int fd;
};

/* An errno for names that are not sent to anybody. */
static int check_names(const struct call *c)
{
    if (strlen(c->a) >= SPAWNER_PATH_MAX || strlen(c->b) >= SPAWNER_PATH_MAX)
        return ENAMETOOLONG;
    return c->a[0] != '/' || (c->b[0] && c->b[0] != '/') ? EINVAL : 0;
}

static void put_request(const struct call *c, char *mem, size_t *n)
{
    size_t la = strlen(c->a) + 1, lb = strlen(c->b) + 1;

    memcpy(mem, &c->r, sizeof c->r);
    memcpy(mem + sizeof c->r, c->a, la);
    memcpy(mem + sizeof c->r + la, c->b, lb);
    *n = sizeof c->r + la + lb;
}

/* Question and answer, under the lock: 0, or -1 when the child is lost. */
static int exchange(struct call *c, const char *mem, size_t n)
{
    struct ph_files *f = c->files;
    ssize_t got;

    if (f->broken || send(f->fd, mem, n, MSG_NOSIGNAL) != (ssize_t)n)
        return -1;
    while ((got = ph_spawner_recv(f->fd, &c->reply, sizeof c->reply, &c->fd, 0)) < 0 && errno == EINTR)
        ;
    return got == (ssize_t)sizeof c->reply ? 0 : -1;
}

/* The child does it: 0, or PH_TEMP when it is lost. */
static int run_there(struct call *c)
{
    char *mem = malloc(sizeof c->r + 2 * SPAWNER_PATH_MAX + 2);
    size_t n;

    if (!mem)
        return ph_fail(PH_TEMP, "out of memory");
    put_request(c, mem, &n);
    pthread_mutex_lock(&c->files->lock);
    int rc = exchange(c, mem, n);
    if (rc < 0)
        c->files->broken = 1;      /* a late answer must not be taken for another's */
    pthread_mutex_unlock(&c->files->lock);
    free(mem);
    return rc < 0 ? ph_fail(PH_TEMP, "the helper that works with the rights of user %u ended", c->files->uid) : 0;
}

/* The sync is ours: the child is free for others meanwhile. */
static void sync_parent(struct call *c)
{
    if (c->fd < 0 || fsync(c->fd) < 0)
        c->reply.err = EIO;        /* whatever it was: the name is there, and no other cause is to be read here */
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

/* In the disk pool. */
static int run_call(void *arg)
{
    struct call *c = arg;
    int rc = 0;

    if ((c->reply.err = check_names(c)))
        return 0;
    if (c->files != &here)
        rc = run_there(c);
    else
        c->reply.err = ph_files_perform(&c->r, c->a, c->b, &c->reply.st, &c->fd) < 0 ? errno : 0;
    if (rc == 0 && c->reply.err == 0 && c->r.op == FILES_OP_RENAME && (uint32_t)c->r.flags & PH_FILES_SYNC)
        sync_parent(c);
    return rc;
}

/* 0, or PH_TEMP with text and *err. */
static int call(struct call *c, const char *what, int32_t *err)
{
    c->fd = -1;
    if (!c->b)
        c->b = "";
    int rc = ph_disk(run_call, c);

    if (err)
        *err = rc < 0 ? 0 : c->reply.err;
    if (rc < 0)
        return rc;
    if (c->reply.err)
        return ph_fail_errno(PH_TEMP, c->reply.err, "%s %s", what, c->a);
    return 0;
}

int ph_files_fd(struct ph_files *f, const char *path, int32_t flags, uint32_t mode, int32_t *fd, int32_t *err)
{
    struct call c = { .files = f, .r = { .op = FILES_OP_OPEN, .flags = flags, .mode = mode }, .a = path };
    int rc = call(&c, "open", err);

    if (rc < 0)
        return rc;
    if (c.fd < 0)
        return ph_fail(PH_TEMP, "open %s: no descriptor came", path);
    *fd = c.fd;
    return 0;
}

int ph_files_stat(struct ph_files *f, const char *path, uint32_t flags, struct ph_file_stat *st, int32_t *err)
{
    struct call c = { .files = f, .r = { .op = FILES_OP_STAT, .flags = (int32_t)flags }, .a = path };
    uint32_t size = st->size < sizeof *st ? st->size : (uint32_t)sizeof *st;
    int rc = call(&c, "stat", err);

    if (rc < 0)
        return rc;
    memcpy(st, &c.reply.st, size);
    st->size = size;
    return 0;
}

int ph_files_access(struct ph_files *f, const char *path, uint32_t mode, int32_t *err)
{
    struct call c = { .files = f, .r = { .op = FILES_OP_ACCESS, .mode = mode }, .a = path };

    return call(&c, "access", err);
}

int ph_files_mkdir(struct ph_files *f, const char *path, uint32_t mode, int32_t *err)
{
    struct call c = { .files = f, .r = { .op = FILES_OP_MKDIR, .mode = mode }, .a = path };

    return call(&c, "create directory", err);
}

int ph_files_rename(struct ph_files *f, const char *from, const char *to, uint32_t flags, int32_t *err)
{
    struct call c = { .files = f, .r = { .op = FILES_OP_RENAME, .flags = (int32_t)flags }, .a = from, .b = to };

    return call(&c, "rename", err);
}

int ph_files_link(struct ph_files *f, const char *from, const char *to, int32_t *err)
{
    struct call c = { .files = f, .r = { .op = FILES_OP_LINK }, .a = from, .b = to };

    return call(&c, "link", err);
}

int ph_files_unlink(struct ph_files *f, const char *path, int32_t *err)
{
    struct call c = { .files = f, .r = { .op = FILES_OP_UNLINK }, .a = path };

    return call(&c, "remove", err);
}

struct sync_call {
    int fd, err;
};

static int run_sync(void *arg)
{
    struct sync_call *c = arg;

    c->err = fsync(c->fd) < 0 ? errno : 0;
    return 0;
}

/* The sync itself is ours: the child stays free for others. */
int ph_files_sync_dir(struct ph_files *f, const char *path, int32_t *err)
{
    struct sync_call c = { .fd = -1 };
    int rc = ph_files_fd(f, path, O_RDONLY | O_DIRECTORY, 0, &c.fd, err);

    if (rc < 0)
        return rc;
    ph_disk(run_sync, &c);
    close(c.fd);
    if (err)
        *err = c.err;
    return c.err ? ph_fail_errno(PH_TEMP, c.err, "sync %s", path) : 0;
}
