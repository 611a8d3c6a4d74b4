/* spawn_calls: work on files with somebody's rights (spawn.h).
 *
 * The conversation with a child is the loop's: requests of many tasks are under way at
 * once, and are answered in order.  A function in the disk pool has the loop ask for it. */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <posthorn/disk.h>
#include <posthorn/error.h>
#include "core/worker/spawn_files.h"

#define ANSWER_MS 120000           /* a file system that hangs for so long costs the child */
#define ASKED_MAX 8u               /* requests under way; the system's default lets 10 datagrams wait */

/* Ours: has no child, and is never in a list. */
static struct ph_files here = { .fd = -1 };

struct ph_files *ph_files_here(void)
{
    return &here;
}

/* ---- the conversation ---- */

struct call {
    struct call *next;
    struct ph_files *files;
    struct files_request r;
    const char *a, *b;
    struct files_reply reply;
    int fd, is_lost;
    struct ph_latch latch;         /* a task waits for the answer, */
    int is_thread;                 /* or a thread of the pool */
    struct ph_post post;
    sem_t answered;
};

/* An errno for names that are not sent to anybody. */
static int check_names(const struct call *c)
{
    if (strlen(c->a) >= SPAWNER_PATH_MAX || strlen(c->b) >= SPAWNER_PATH_MAX)
        return ENAMETOOLONG;
    return c->a[0] != '/' || (c->b[0] && c->b[0] != '/') ? EINVAL : 0;
}

static void queue(struct calls *l, struct call *c)
{
    c->next = NULL;
    *l->last = c;
    l->last = &c->next;
}

static struct call *unqueue(struct calls *l)
{
    struct call *c = l->first;

    if (c && !(l->first = c->next))
        l->last = &l->first;
    return c;
}

static void complete(struct call *c)
{
    if (c->is_thread)
        sem_post(&c->answered);    /* c is void from here */
    else
        ph_latch_set(&c->latch);
}

/* Nothing more is asked of this child, and nothing it may still say counts. */
static void lose(struct ph_files *f)
{
    f->broken = 1;
    ph_watch_stop(&f->watch);
    ph_timer_stop(&f->patience);
    for (struct call *c; (c = unqueue(&f->asked)) || (c = unqueue(&f->waiting)); ) {
        c->is_lost = 1;
        complete(c);
    }
    f->asked_count = 0;
}

static void on_silence(struct ph_timer *t)
{
    lose(t->arg);
}

/* 1; 0 when it must wait for an answer to another; -1 when the child is lost. */
static int send_one(struct ph_files *f, struct call *c)
{
    size_t la = strlen(c->a) + 1, lb = strlen(c->b) + 1;
    struct iovec iov[3] = { { &c->r, sizeof c->r }, { (void *)(uintptr_t)c->a, la }, { (void *)(uintptr_t)c->b, lb } };
    struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 3 };
    ssize_t n;

    while ((n = sendmsg(f->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT)) < 0 && errno == EINTR)
        ;
    if (n < 0 && (errno == EAGAIN || errno == ENOBUFS) && f->asked_count)
        return 0;
    return n == (ssize_t)(sizeof c->r + la + lb) ? 1 : -1;
}

static void pump(struct ph_files *f)
{
    while (!f->broken && f->waiting.first && f->asked_count < ASKED_MAX) {
        int rc = send_one(f, f->waiting.first);

        if (rc == 0)
            return;
        if (rc < 0) {
            lose(f);
            return;
        }
        queue(&f->asked, unqueue(&f->waiting));
        if (f->asked_count++ == 0)
            ph_timer_set(&f->patience, ph_in_ms(ANSWER_MS));
    }
}

/* The answer to the oldest request: 1, 0 when none is there, -1 when the child is lost. */
static int take_answer(struct ph_files *f)
{
    struct files_reply reply;
    int fd = -1;
    ssize_t got;

    while ((got = ph_spawner_recv(f->fd, &reply, sizeof reply, &fd, MSG_DONTWAIT)) < 0 && errno == EINTR)
        ;
    if (got < 0 && errno == EAGAIN)
        return 0;
    struct call *c = got == (ssize_t)sizeof reply ? unqueue(&f->asked) : NULL;
    if (!c) {
        if (got >= 0 && fd >= 0)
            close(fd);
        return -1;
    }
    c->reply = reply;
    c->fd = fd;
    f->asked_count--;
    complete(c);
    return 1;
}

static void on_answer(struct ph_watch *w, int ready PH_UNUSED)
{
    struct ph_files *f = w->arg;
    int rc, any = 0;

    while ((rc = take_answer(f)) > 0 && f->asked_count)
        any = 1;
    if (rc < 0) {
        lose(f);
        return;
    }
    if (!f->asked_count)
        ph_timer_stop(&f->patience);
    else if (any || rc > 0)
        ph_timer_set(&f->patience, ph_in_ms(ANSWER_MS));
    pump(f);
}

int ph_files_attach(struct ph_files *f)
{
    f->loop = ph_loop_here();
    f->waiting.last = &f->waiting.first;
    f->asked.last = &f->asked.first;
    f->watch.fn = on_answer;
    f->patience.fn = on_silence;
    f->watch.arg = f->patience.arg = f;
    return ph_watch_start(&f->watch, f->fd, PH_READ);
}

void ph_files_detach(struct ph_files *f)
{
    ph_watch_stop(&f->watch);
    ph_timer_stop(&f->patience);
}

static void ask(struct call *c)
{
    if (c->files->broken) {
        c->is_lost = 1;
        complete(c);
        return;
    }
    queue(&c->files->waiting, c);
    pump(c->files);
}

static void on_post(struct ph_post *p)
{
    ask(p->arg);
}

/* The child does it: 0, or PH_TEMP when it is lost. */
static int run_there(struct call *c)
{
    if (ph_in_task()) {
        ask(c);
        ph_latch_wait(&c->latch, "files of another user");
    } else {
        c->is_thread = 1;
        c->post = (struct ph_post){ .fn = on_post, .arg = c };
        sem_init(&c->answered, 0, 0);
        ph_post(c->files->loop, &c->post);
        while (sem_wait(&c->answered) < 0)
            ;                      /* EINTR */
        sem_destroy(&c->answered);
    }
    return c->is_lost ? ph_fail(PH_TEMP, "the helper that works with the rights of user %u ended", c->files->uid) : 0;
}

/* With our own rights; in the disk pool. */
static int run_here(void *arg)
{
    struct call *c = arg;

    c->reply.err = ph_files_perform(&c->r, c->a, c->b, &c->reply.st, &c->fd) < 0 ? errno : 0;
    return 0;
}

/* 0, or PH_TEMP with text and *err. */
static int call(struct call *c, const char *what, int32_t *err)
{
    int rc = 0;

    c->fd = -1;
    if (!c->b)
        c->b = "";
    if (!(c->reply.err = check_names(c)))
        rc = c->files == &here ? ph_disk(run_here, c) : run_there(c);
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

/* ---- names that are stable ---- */

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

/* The directory in which the name was made: the one that was known, the one whose
 * descriptor came, or, when another one has this path now, that one if it is the one. */
static struct shared_dir *dir_of(const struct call *c, const char *path, struct shared_dir *known)
{
    uint64_t device = c->reply.st.device, inode = c->reply.st.inode;
    struct ph_file_stat st = { .size = sizeof st };
    int32_t fd = c->fd;

    if (known && ph_shared_dir_is(known, device, inode))
        return known;
    if (known)
        ph_shared_dir_leave(known);
    if (fd < 0 && (ph_files_fd(c->files, path, O_RDONLY | O_DIRECTORY, 0, &fd, NULL) < 0))
        return NULL;
    if (c->fd < 0 && (ph_files_stat(c->files, path, 0, &st, NULL) < 0 || st.device != device || st.inode != inode)) {
        close(fd);
        return NULL;
    }
    return ph_shared_dir_add(path, device, inode, fd);
}

/* An errno is EIO whatever it was: the name is there, and no other cause is to be read here. */
static int rename_and_sync(struct call *c, const char *path, int32_t *err)
{
    struct shared_dir *d = ph_shared_dir_find(path);

    c->r.flags |= (int32_t)(d ? FILES_DIR_KNOWN : 0);
    int rc = call(c, "rename", err);
    if (rc < 0) {
        if (d)
            ph_shared_dir_leave(d);
        return rc;
    }
    int failed = EIO;
    if ((d = dir_of(c, path, d))) {
        failed = ph_shared_dir_sync(d);
        ph_shared_dir_leave(d);
    }
    if (!failed)
        return 0;
    if (err)
        *err = EIO;
    return ph_fail_errno(PH_TEMP, EIO, "rename %s", c->a);
}

int ph_files_rename(struct ph_files *f, const char *from, const char *to, uint32_t flags, int32_t *err)
{
    struct call c = { .files = f, .r = { .op = FILES_OP_RENAME, .flags = (int32_t)(flags & (PH_FILES_NOREPLACE | PH_FILES_SYNC)) }, .a = from, .b = to };
    const char *slash = strrchr(to, '/');

    if (!(flags & PH_FILES_SYNC) || check_names(&c))
        return call(&c, "rename", err);
    ph_assert(ph_in_task());
    PH_SCOPED(s, NULL);
    return rename_and_sync(&c, slash > to ? ph_cstr_dup(s, (ph_str){ to, (size_t)(slash - to) }) : "/", err);
}
