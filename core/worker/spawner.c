/* spawner: one thread, one socket, no mail.  See spawner.h. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/run/loop.h"
#include "core/worker/spawner.h"

/* A child.  pid 0: a free place. */
struct child {
    pid_t pid;
    int is_files;
    int lifeline;                  /* -1: the worker gave it up, or owns it alone (files) */
    int input;                     /* the pipe's end that keeps a command from seeing a false end; -1 */
    int64_t deadline;              /* monotonic ms; 0: none */
    int timed_out;
    int given_up;                  /* nothing more is heard on the lifeline */
};

struct spawner {
    struct spawner_policy policy;
    int sock, sigchld;
    struct child child[SPAWNER_PLACES + SPAWNER_FILES];
    char *request;                 /* SPAWNER_REQUEST_MAX bytes */
};

#define CHILDREN (SPAWNER_PLACES + SPAWNER_FILES)

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* The answer to one request; who does not take it has given up. */
static void answer(int lifeline, const struct spawner_reply *r)
{
    (void)!send(lifeline, r, sizeof *r, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void refuse(int lifeline, int temporary, const char *why)
{
    struct spawner_reply r = { .what = SPAWNER_REFUSED, .status = temporary };

    snprintf(r.text, sizeof r.text, "%s", why);
    answer(lifeline, &r);
}

/* Before its setsid a command is no group yet. */
static void kill_command(const struct child *c)
{
    if (kill(-c->pid, SIGKILL) < 0)
        kill(c->pid, SIGKILL);
}

/* ---- requests ---- */

static struct child *free_place(struct spawner *s, int is_files)
{
    struct child *place = NULL;
    uint32_t n = 0;

    for (size_t i = 0; i < CHILDREN; i++) {
        struct child *c = &s->child[i];

        if (c->pid == 0)
            place = c;
        else
            n += c->is_files == is_files;
    }
    return n < (is_files ? SPAWNER_FILES : SPAWNER_PLACES) ? place : NULL;
}

/* Its descriptors are ours to close after this, except those that c keeps. */
static void start(struct spawner *s, struct spawner_job *j, struct child *c)
{
    int is_files = j->r.op == SPAWNER_OP_FILES;
    struct spawner_reply started = { .what = SPAWNER_STARTED };

    j->spawner = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        if (is_files)
            ph_spawner_files(&s->policy, j);
        ph_spawner_exec(&s->policy, j);
    }
    if (pid < 0) {
        refuse(j->fd[0], 1, "fork: no more processes");
        return;
    }
    *c = (struct child){ .pid = pid, .is_files = is_files, .lifeline = -1, .input = -1 };
    if (is_files)
        return;                    /* it answers for itself */
    c->lifeline = j->fd[0];
    j->fd[0] = -1;
    if (j->r.flags & SPAWNER_HAS_INPUT) {
        c->input = j->fd[3];
        j->fd[3] = -1;
    }
    if (j->r.time_limit_ms)
        c->deadline = now_ms() + j->r.time_limit_ms;
    answer(c->lifeline, &started);
}

static void obey(struct spawner *s, struct spawner_job *j, size_t n)
{
    char why[160];
    int temporary = 0;
    struct child *c = NULL;

    if (ph_spawner_decode(j, s->request, n, why, sizeof why) == 0 &&
        ph_spawner_judge(&s->policy, j->r.uid, j->r.gid, why, sizeof why) == 0 &&
        ph_spawner_judge_job(&s->policy, j, why, sizeof why) == 0) {
        c = free_place(s, j->r.op == SPAWNER_OP_FILES);
        temporary = !c;
    }
    if (c)
        start(s, j, c);
    else
        refuse(j->fd[0], temporary, temporary ? "too many children at once" : why);
    ph_spawner_job_free(j);
}

static void take_fds(struct msghdr *msg, struct spawner_job *j)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (j->fds < SPAWNER_FDS_MAX)
                j->fd[j->fds++] = fd;
            else
                close(fd);
        }
    }
}

static int is_limit(const struct spawner *s, size_t n)
{
    uint32_t op;

    return n >= sizeof op && (memcpy(&op, s->request, sizeof op), op == SPAWNER_OP_LIMIT);
}

/* One datagram: 0, or -1 when the worker is gone. */
static int serve_worker(struct spawner *s)
{
    union { struct cmsghdr align; char space[CMSG_SPACE(SPAWNER_FDS_MAX * sizeof(int))]; } control;
    struct iovec iov = { s->request, SPAWNER_REQUEST_MAX };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    struct spawner_job j = { .fds = 0 };
    ssize_t n = recvmsg(s->sock, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    take_fds(&msg, &j);
    if (n == 0 && j.fds == 0)
        return -1;
    if (j.fds == 0)
        return is_limit(s, (size_t)n) ? ph_spawner_take_limits(&s->policy, s->request, (size_t)n) : 0;
    if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
        refuse(j.fd[0], 0, "the request is too large");
    else
        obey(s, &j, (size_t)n);
    for (uint32_t i = 0; i < j.fds; i++)
        close_fd(&j.fd[i]);
    return 0;
}

/* ---- children ---- */

static void ended(struct child *c, int status)
{
    struct spawner_reply r = { .what = SPAWNER_ENDED, .status = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
                               .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0, .timed_out = (uint32_t)c->timed_out };

    if (c->lifeline >= 0)
        answer(c->lifeline, &r);
    close_fd(&c->lifeline);
    close_fd(&c->input);
    c->pid = 0;
}

static void reap(struct spawner *s)
{
    struct signalfd_siginfo info;
    int status;
    pid_t pid;

    while (read(s->sigchld, &info, sizeof info) > 0)
        ;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (size_t i = 0; i < CHILDREN; i++)
            if (s->child[i].pid == pid)
                ended(&s->child[i], status);
}

/* A word of the worker on a lifeline, or its end. */
static void hear(struct child *c)
{
    char word;
    ssize_t n = recv(c->lifeline, &word, 1, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n == 1 && word == SPAWNER_INPUT_DONE) {
        close_fd(&c->input);
        return;
    }
    /* First the command, then (when it has ended) its input: it must not take
     * this for the end of the message.  The worker may still want to hear of it. */
    kill_command(c);
    c->given_up = 1;
}

static void enforce_limits(struct spawner *s)
{
    int64_t now = now_ms();

    for (size_t i = 0; i < CHILDREN; i++) {
        struct child *c = &s->child[i];

        if (c->pid == 0 || c->deadline == 0 || c->deadline > now)
            continue;
        c->timed_out = 1;
        c->deadline = 0;
        kill_command(c);
    }
}

static int sleep_ms(const struct spawner *s)
{
    int64_t next = INT64_MAX, now = now_ms();

    for (size_t i = 0; i < CHILDREN; i++)
        if (s->child[i].pid && s->child[i].deadline && s->child[i].deadline < next)
            next = s->child[i].deadline;
    if (next == INT64_MAX)
        return -1;
    return next <= now ? 0 : next - now > 3600000 ? 3600000 : (int)(next - now) + 1;
}

/* One wait and what it brings: 0, or -1 when the worker is gone. */
static int turn(struct spawner *s)
{
    struct pollfd p[CHILDREN + 2];
    struct child *of[CHILDREN + 2];
    nfds_t n = 2;
    int rc = 0;

    p[0] = (struct pollfd){ .fd = s->sock, .events = POLLIN };
    p[1] = (struct pollfd){ .fd = s->sigchld, .events = POLLIN };
    for (size_t i = 0; i < CHILDREN; i++)
        if (s->child[i].pid && s->child[i].lifeline >= 0 && !s->child[i].given_up) {
            of[n] = &s->child[i];
            p[n++] = (struct pollfd){ .fd = s->child[i].lifeline, .events = POLLIN };
        }
    if (poll(p, n, sleep_ms(s)) < 0)
        return errno == EINTR ? 0 : -1;
    for (nfds_t i = 2; i < n; i++)
        if (p[i].revents)
            hear(of[i]);
    enforce_limits(s);
    if (p[1].revents)
        reap(s);
    if (p[0].revents)
        rc = serve_worker(s);
    return rc;
}

/* The worker is gone: nobody would hear how a command ended. */
static void end(struct spawner *s)
{
    for (size_t i = 0; i < CHILDREN; i++)
        if (s->child[i].pid && !s->child[i].is_files)
            kill_command(&s->child[i]);
    _exit(0);
}

static void name_us(const struct spawner_options *o)
{
    char name[64];

    snprintf(name, sizeof name, "spawner: %s", o->name ? o->name : "");
    if (o->title && o->title_size > 1) {
        memset(o->title, 0, o->title_size);
        memcpy(o->title, name, strlen(name) < o->title_size ? strlen(name) : o->title_size - 1);
    }
    prctl(PR_SET_NAME, "spawner");
}

static void run(const struct spawner_options *o, int sock) PH_NORETURN;
static void run(const struct spawner_options *o, int sock)
{
    struct spawner *s = calloc(1, sizeof *s);
    sigset_t set;

    ph_spawner_close_all(sock);
    ph_signals_reset();
    /* It ends with its worker, not with a key typed at the terminal or a stop
     * meant for the worker, who still has deliveries to finish. */
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    if (!s || !(s->request = malloc(SPAWNER_REQUEST_MAX)) || (s->sigchld = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC)) < 0)
        _exit(1);
    s->policy = o->policy;
    s->sock = sock;
    name_us(o);
    while (turn(s) == 0)
        ;
    end(s);
    _exit(0);
}

int ph_spawner_start(const struct spawner_options *o)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return ph_fail_errno(PH_TEMP, errno, "spawner: socketpair");
    pid_t pid = fork();
    if (pid == 0)
        run(o, pair[1]);
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
        return ph_fail_errno(PH_TEMP, errno, "spawner: fork");
    }
    ph_spawner_attach(pair[0], &o->policy);
    return 0;
}
