/* spawner_files: a child with somebody's identity that opens and names files
 * for the worker.  One datagram a request, one a reply. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "core/run/loop.h"
#include "core/worker/spawner.h"

static void put_stat(const struct stat *st, struct ph_file_stat *out)
{
    *out = (struct ph_file_stat){
        .size = sizeof *out, .mode = st->st_mode, .uid = st->st_uid, .gid = st->st_gid, .device = st->st_dev,
        .inode = st->st_ino, .nlink = st->st_nlink, .bytes = st->st_size, .mtime_s = st->st_mtime,
    };
}

static int do_stat(const char *path, int32_t flags, struct ph_file_stat *out)
{
    struct stat st;

    if (fstatat(AT_FDCWD, path, &st, (uint32_t)flags & PH_FILES_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0) < 0)
        return -1;
    put_stat(&st, out);
    return 0;
}

/* The directory of a name: its state and descriptor, or -1 with errno. */
static int open_parent(const char *path, uint32_t flags, struct ph_file_stat *out, int *fd)
{
    char dir[SPAWNER_PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t n = slash > path ? (size_t)(slash - path) : 1;
    struct stat st;

    memcpy(dir, path, n);
    dir[n] = 0;
    if (flags & FILES_DIR_KNOWN)
        return do_stat(dir, 0, out);
    if ((*fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return -1;
    if (fstat(*fd, &st) < 0)
        memset(&st, 0, sizeof st);     /* no directory has number 0: it is known by nothing then */
    put_stat(&st, out);
    return 0;
}

/* The directory is opened first: a name that could not be made stable is not made. */
static int do_rename(const char *a, const char *b, uint32_t flags, struct ph_file_stat *st, int *fd)
{
    if (flags & PH_FILES_SYNC && open_parent(b, flags, st, fd) < 0)
        return -1;
    if (renameat2(AT_FDCWD, a, AT_FDCWD, b, flags & PH_FILES_NOREPLACE ? RENAME_NOREPLACE : 0) == 0)
        return 0;
    int err = errno;

    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    errno = err;
    return -1;
}

int ph_files_perform(const struct files_request *r, const char *a, const char *b, struct ph_file_stat *st, int *fd)
{
    switch (r->op) {
    case FILES_OP_OPEN:
        *fd = open(a, r->flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, (mode_t)r->mode & 0777);
        return *fd < 0 ? -1 : 0;
    case FILES_OP_STAT:
        return do_stat(a, r->flags, st);
    case FILES_OP_ACCESS:
        return access(a, (int)r->mode & 7);
    case FILES_OP_MKDIR:
        return mkdir(a, (mode_t)r->mode & 0777);
    case FILES_OP_RENAME:
        return do_rename(a, b, (uint32_t)r->flags, st, fd);
    case FILES_OP_LINK:
        return link(a, b);
    case FILES_OP_UNLINK:
        return unlink(a);
    default:
        errno = EINVAL;
        return -1;
    }
}

static int send_reply(int sock, const struct files_reply *r, int fd)
{
    union { struct cmsghdr align; char space[CMSG_SPACE(sizeof(int))]; } control;
    struct iovec iov = { (void *)(uintptr_t)r, sizeof *r };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (fd >= 0) {
        memset(&control, 0, sizeof control);
        msg.msg_control = &control;
        msg.msg_controllen = sizeof control.space;
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    return sendmsg(sock, &msg, MSG_NOSIGNAL) == (ssize_t)sizeof *r ? 0 : -1;
}

/* Two absolute paths (the second may be empty) behind the head: 0, or -1. */
static int parse(char *p, size_t n, struct files_request *r, const char **a, const char **b)
{
    if (n < sizeof *r + 2)
        return -1;
    memcpy(r, p, sizeof *r);
    const char *nul = memchr(p + sizeof *r, 0, n - sizeof *r);
    if (!nul || p[n - 1] != 0 || nul == p + n - 1 || memchr(nul + 1, 0, (size_t)(p + n - nul - 1)) != p + n - 1)
        return -1;
    *a = p + sizeof *r;
    *b = nul + 1;
    if (strlen(*a) >= SPAWNER_PATH_MAX || strlen(*b) >= SPAWNER_PATH_MAX)
        return -1;
    return **a == '/' && (**b == '/' || **b == 0) ? 0 : -1;
}

/* Names outside of the directory that the plugin named are nobody's. */
static int is_allowed(const char *below, const char *a, const char *b)
{
    return ph_spawner_is_below(below, a) && (!*b || ph_spawner_is_below(below, b));
}

static int serve_one(int sock, const char *below)
{
    char mem[sizeof(struct files_request) + 2 * SPAWNER_PATH_MAX + 2];
    struct files_request r;
    struct files_reply reply;
    const char *a, *b;
    int fd = -1;
    ssize_t n = recv(sock, mem, sizeof mem, MSG_TRUNC);

    if (n < 0 && errno == EINTR)
        return 0;
    if (n <= 0)
        return -1;                 /* the worker is done with us */
    memset(&reply, 0, sizeof reply);
    if ((size_t)n > sizeof mem || parse(mem, (size_t)n, &r, &a, &b) < 0)
        reply.err = EINVAL;
    else if (!is_allowed(below, a, b))
        reply.err = EACCES;
    else if (ph_files_perform(&r, a, b, &reply.st, &fd) < 0)
        reply.err = errno;
    int rc = send_reply(sock, &reply, fd);
    if (fd >= 0)
        close(fd);
    return rc;
}

void ph_spawner_files(const struct spawner_policy *p, const struct spawner_job *j)
{
    struct spawner_reply reply = { .what = SPAWNER_STARTED };
    int sock = j->fd[0];

    ph_spawner_close_all(sock);
    ph_signals_reset();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, SIG_IGN);      /* it ends with its worker */
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    prctl(PR_SET_NAME, "spawner/files");
    umask(0);                      /* modes are what the caller says */
    if (ph_spawner_become(p, j->r.uid, j->r.gid) < 0) {
        reply.what = SPAWNER_REFUSED;
        snprintf(reply.text, sizeof reply.text, "become user %u: %s", j->r.uid, strerror(errno));
    }
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_DUMPABLE, 0);     /* the user must not look into it */
    if (send(sock, &reply, sizeof reply, MSG_NOSIGNAL) != (ssize_t)sizeof reply || reply.what != SPAWNER_STARTED)
        _exit(1);
    while (serve_one(sock, p->below) == 0)
        ;
    _exit(0);
}
