/* t/crash/attach.c: a running process under ptrace, killed at a chosen point.
 *
 *     attach PID                  watch only
 *     attach PID N entry|exit     SIGKILL at that point
 *
 * The calls of PID are numbered from the first one after it was seen waiting for
 * work; call 0 is that wait.  So that a number means the same call in each run,
 * what depends on how fast others are is numbered beside: a wait, a read that found
 * nothing yet, a write to the log behind call 7 is 7.1, the next 7.2.  A wait that
 * ends without anything to do has no number: timers.
 *
 * Says "ready" when PID waits; at the end the calls, one a line: number, name,
 * what it was about, whether it returned and what; "unread SOCKET" for each in which
 * something waited for the dead; then "killed N entry|exit NAME" or "end".  SIGTERM ends it, when PID waits again: PID goes on untouched. */
#include <dirent.h>
#include <errno.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALLS 20000
#define QUIET_MS 10
#define SOCKETS 256
#define ABOUT 256

struct call {
    long number, beside;
    char name[24], about[ABOUT];
    int returned;
    int64_t result;
};

static struct call calls[CALLS];
static volatile sig_atomic_t asked_to_end;
static pid_t victim;

struct run {
    pid_t pid;
    int pidfd;
    long count;                    /* calls so far; -1: it was not seen waiting */
    long at, at_beside;            /* the point; -1: none */
    int at_exit, waiting, ready;
};

/* A victim that waits stops at once; one that works is left at its next wait. */
static void on_term(int sig)
{
    (void)sig;
    asked_to_end = 1;
    ptrace(PTRACE_INTERRUPT, victim, 0, 0);
}

static int is_wait(uint64_t nr)
{
#ifdef SYS_epoll_wait
    return nr == SYS_epoll_pwait || nr == SYS_epoll_wait;
#else
    return nr == SYS_epoll_pwait;
#endif
}

/* ---- what a call is about ---- */

static void peek_text(pid_t pid, uint64_t from, char *out, size_t size)
{
    struct iovec here = { out, size - 1 }, there = { (void *)(uintptr_t)from, size - 1 };
    ssize_t n = from ? process_vm_readv(pid, &here, 1, &there, 1, 0) : 0;

    for (; n <= 0 && from && there.iov_len > 1; ) {        /* the page ends before */
        here.iov_len = there.iov_len /= 2;
        n = process_vm_readv(pid, &here, 1, &there, 1, 0);
    }
    out[n > 0 ? n : 0] = 0;
}

/* inet, or unix and the name of the socket at this end or the other. */
static void about_socket(const struct run *r, int fd, char *out, size_t size)
{
    int ours = (int)syscall(SYS_pidfd_getfd, r->pidfd, fd, 0), family = 0;
    struct sockaddr_un a = { .sun_family = 0 };
    socklen_t n = sizeof family, len = sizeof a - 1;

    snprintf(out, size, "socket");
    if (ours < 0)
        return;
    if (getsockopt(ours, SOL_SOCKET, SO_DOMAIN, &family, &n) == 0 && family != AF_UNIX) {
        snprintf(out, size, "inet");
    } else {
        if (getpeername(ours, (struct sockaddr *)&a, &len) < 0 || len <= sizeof a.sun_family)
            len = sizeof a - 1, getsockname(ours, (struct sockaddr *)&a, &len);
        snprintf(out, size, "unix:%s", len > sizeof a.sun_family ? a.sun_path : "");
    }
    close(ours);
}

static void about_fd(const struct run *r, int fd, char *out, size_t size)
{
    char link[64];
    ssize_t n;

    snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)r->pid, fd);
    n = readlink(link, out, size - 1);
    out[n > 0 ? n : 0] = 0;
    if (strncmp(out, "socket:", 7) == 0)
        about_socket(r, fd, out, size);
}

static void about_paths(const struct run *r, char *out, uint64_t one, uint64_t two)
{
    char a[ABOUT / 2 - 1] = "", b[ABOUT / 2 - 1] = "";

    peek_text(r->pid, one, a, sizeof a);
    if (two)
        peek_text(r->pid, two, b, sizeof b);
    snprintf(out, ABOUT, two ? "%s %s" : "%s", a, b);
}

static void describe(const struct run *r, uint64_t nr, const uint64_t *a, char *out)
{
    switch (nr) {
    case SYS_openat: case SYS_unlinkat: case SYS_mkdirat: case SYS_newfstatat: case SYS_utimensat: case SYS_fchmodat:
    case SYS_faccessat:
        about_paths(r, out, a[1], 0);
        return;
    case SYS_renameat: case SYS_renameat2: case SYS_linkat:
        about_paths(r, out, a[1], a[3]);
        return;
#ifdef SYS_rename
    case SYS_rename: case SYS_link:
        about_paths(r, out, a[0], a[1]);
        return;
    case SYS_open: case SYS_unlink: case SYS_mkdir: case SYS_stat: case SYS_lstat:
        about_paths(r, out, a[0], 0);
        return;
    case SYS_epoll_wait:
#endif
    case SYS_epoll_pwait: case SYS_mmap: case SYS_munmap: case SYS_brk: case SYS_rt_sigprocmask: case SYS_socket:
    case SYS_mprotect: case SYS_madvise: case SYS_ppoll:
        return;
    case SYS_epoll_ctl:
        about_fd(r, (int)a[2], out, ABOUT);
        return;
    case SYS_pwrite64: case SYS_write: {
        char what[ABOUT - 32];

        about_fd(r, (int)a[0], what, sizeof what);
        snprintf(out, ABOUT, "%s %llu bytes", what, (unsigned long long)a[2]);
        return;
    }
    default:
        about_fd(r, (int)a[0], out, ABOUT);
    }
}

/* ---- the run ---- */

static struct call *last(const struct run *r)
{
    return &calls[r->count - 1];
}

static void finish(struct run *r, int killed)
{
    for (struct call *c = calls; c < calls + r->count; c++)
        printf("%ld.%ld\t%s\t%s\t%d\t%lld\n", c->number, c->beside, c->name, c->about, c->returned, (long long)c->result);
    if (killed)
        printf("killed %ld.%ld %s %s\n", last(r)->number, last(r)->beside, r->at_exit ? "exit" : "entry", last(r)->name);
    else
        printf("end\n");
    fflush(stdout);
}

struct kept {
    int fd;
    char name[ABOUT];
};

/* Nobody else listens to it: not one that the master gave to others as well. */
static int is_own(int fd)
{
    int listens = 1, type = 0;
    socklen_t a = sizeof listens, b = sizeof type;

    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &a) == 0 && !listens &&
           getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &b) == 0 && type == SOCK_STREAM;
}

/* Its sockets, shared with us, so that what lies in them can be seen when it is dead. */
static int keep_sockets(const struct run *r, struct kept kept[SOCKETS])
{
    char path[64];
    int n = 0;

    snprintf(path, sizeof path, "/proc/%d/fd", (int)r->pid);
    DIR *d = opendir(path);
    for (const struct dirent *e; d && n < SOCKETS && (e = readdir(d)); ) {
        about_fd(r, atoi(e->d_name), kept[n].name, ABOUT);
        if (e->d_name[0] == '.' || strncmp(kept[n].name, "unix:", 5) != 0 ||
            (kept[n].fd = (int)syscall(SYS_pidfd_getfd, r->pidfd, atoi(e->d_name), 0)) < 0)
            continue;
        if (is_own(kept[n].fd))
            n++;
        else
            close(kept[n].fd);
    }
    if (d)
        closedir(d);
    return n;
}

/* From the shutdown on nobody believes that he was heard. */
static void tell_unread(struct kept *kept, int n)
{
    for (int i = 0, bytes; i < n; i++) {
        shutdown(kept[i].fd, SHUT_RD);
        if (ioctl(kept[i].fd, FIONREAD, &bytes) == 0 && bytes > 0)
            printf("unread %s\n", kept[i].name);
    }
}

static void kill_it(struct run *r)
{
    static struct kept kept[SOCKETS];
    int status, n = keep_sockets(r, kept);

    kill(r->pid, SIGKILL);
    while (waitpid(r->pid, &status, __WALL) == r->pid && !WIFSIGNALED(status) && !WIFEXITED(status))
        ptrace(PTRACE_CONT, r->pid, 0, 0);
    tell_unread(kept, n);
    finish(r, 1);
    exit(0);
}

static int is_point(const struct run *r, int at_exit)
{
    return last(r)->number == r->at && last(r)->beside == r->at_beside && r->at_exit == at_exit;
}

/* Lines of the log leave when a turn of the loop ends. */
static int is_soft(uint64_t nr, const char *about)
{
    return is_wait(nr) || nr == SYS_epoll_ctl || (nr == SYS_write && strstr(about, "/log/"));
}

/* The number of a call that begins, or turns out to be a soft one. */
static void number(struct run *r, int soft)
{
    struct call *c = last(r), *before = c - 1;

    if (r->count == 1)
        return;                    /* the wait at the start: 0.0 */
    c->number = before->number + !soft;
    c->beside = soft ? before->beside + 1 : 0;
}

static void enter(struct run *r, const struct __ptrace_syscall_info *info)
{
    char *name;

    r->waiting = is_wait(info->entry.nr);
    if (r->count <= 0 && !r->waiting)
        return;                    /* what it was about before, or a timer's work */
    if (r->count < 0)
        r->count = 0;
    if (r->count == CALLS)
        exit(98);
    r->count++;
    memset(last(r), 0, sizeof *last(r));
    name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, (int)info->entry.nr);
    snprintf(last(r)->name, sizeof last(r)->name, "%s", name ? name : "?");
    free(name);
    describe(r, info->entry.nr, (const uint64_t *)info->entry.args, last(r)->about);
    number(r, is_soft(info->entry.nr, last(r)->about));
    if (r->count > 1 && is_point(r, 0))
        kill_it(r);
}

static void leave(struct run *r, const struct __ptrace_syscall_info *info)
{
    int was_waiting = r->waiting;

    r->waiting = 0;
    if (r->count < 0)
        return;
    if (was_waiting && (info->exit.rval <= 0 || !r->ready)) {      /* in vain: as if it had not been */
        r->count--;
        return;
    }
    last(r)->returned = 1;
    last(r)->result = info->exit.rval;
    if (info->exit.rval == -EAGAIN)
        number(r, 1);
    if (is_point(r, 1))
        kill_it(r);
}

static void end_quietly(struct run *r)
{
    finish(r, 0);
    ptrace(PTRACE_DETACH, r->pid, 0, 0);
    exit(0);
}

/* One stop: the signal to deliver. */
static int stopped(struct run *r, int status)
{
    struct __ptrace_syscall_info info = { .op = 0 };
    int sig = WSTOPSIG(status);

    if (status >> 16 == PTRACE_EVENT_STOP) {
        if (asked_to_end && (r->waiting || r->count < 0))
            end_quietly(r);
        return 0;
    }
    if (sig != (SIGTRAP | 0x80))
        return sig;
    ptrace(PTRACE_GET_SYSCALL_INFO, r->pid, sizeof info, &info);
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
        enter(r, &info);
    else if (info.op == PTRACE_SYSCALL_INFO_EXIT)
        leave(r, &info);
    if (asked_to_end && r->waiting)
        end_quietly(r);
    return 0;
}

/* The next stop.  A victim that waits for QUIET_MS has ended what it was about:
 * then we are ready. */
static pid_t next_stop(struct run *r, int *status)
{
    for (int ms = 0; !r->ready && r->waiting && ms < QUIET_MS; ms++) {
        pid_t got = waitpid(r->pid, status, __WALL | WNOHANG);

        if (got != 0)
            return got;
        usleep(1000);
    }
    if (!r->ready && r->waiting) {
        r->ready = 1;
        printf("ready\n");
        fflush(stdout);
    }
    return waitpid(r->pid, status, __WALL);
}

static void drive(struct run *r)
{
    int status;

    for (;;) {
        pid_t got = next_stop(r, &status);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 || WIFEXITED(status) || WIFSIGNALED(status)) {
            finish(r, 0);
            return;
        }
        ptrace(PTRACE_SYSCALL, r->pid, 0, stopped(r, status));
    }
}

int main(int argc, char **argv)
{
    struct sigaction sa = { .sa_handler = on_term };
    struct run r = { .count = -1, .at = -1 };

    if (argc != 2 && argc != 4) {
        fprintf(stderr, "usage: attach PID [N entry|exit]\n");
        return 2;
    }
    r.pid = victim = (pid_t)atol(argv[1]);
    if (argc == 4) {
        sscanf(argv[2], "%ld.%ld", &r.at, &r.at_beside);
        r.at_exit = strcmp(argv[3], "exit") == 0;
    }
    sigaction(SIGTERM, &sa, NULL);
    r.pidfd = (int)syscall(SYS_pidfd_open, r.pid, 0);
    if (r.pidfd < 0 || ptrace(PTRACE_SEIZE, r.pid, 0, PTRACE_O_TRACESYSGOOD) < 0 || ptrace(PTRACE_INTERRUPT, r.pid, 0, 0) < 0) {
        printf("refused: %s\n", strerror(errno));
        return 1;
    }
    drive(&r);
    return 0;
}
