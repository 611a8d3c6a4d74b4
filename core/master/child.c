/* child: one worker. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "core/master/master.h"
#include "core/run/log.h"
#include "core/ipc/channel.h"

#define CRASHES_MAX 10             /* within CRASH_MS: then the service is throttled */
#define CRASH_MS 10000

void child_tell(struct child *c, char word)
{
    if (c->channel >= 0)
        (void)!send(c->channel, &word, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* A word with descriptors beside it (PH_SNAPSHOT_FILES at most). */
static void tell_with(struct child *c, char word, const int *fd, size_t count)
{
    union { struct cmsghdr head; char mem[CMSG_SPACE(PH_SNAPSHOT_FILES * sizeof *fd)]; } control = { .mem = { 0 } };
    struct iovec v = { .iov_base = &word, .iov_len = 1 };
    struct msghdr msg = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control.mem,
                          .msg_controllen = CMSG_SPACE(count * sizeof *fd) };
    struct cmsghdr *h = CMSG_FIRSTHDR(&msg);

    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(count * sizeof *fd);
    memcpy(CMSG_DATA(h), fd, count * sizeof *fd);
    if (sendmsg(c->channel, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        ph_log_warn("reload: cannot tell %s pid %d: %s", c->service->name, (int)c->pid, strerror(errno));
}

void child_tell_reload(struct child *c)
{
    tell_with(c, PH_MASTER_RELOAD, c->service->master->config->files.fd, PH_SNAPSHOT_FILES);
}

void child_tell_log(struct child *c, int fd)
{
    if (c->channel >= 0)
        tell_with(c, PH_MASTER_LOG, &fd, 1);
}

static void hear(struct ph_watch *w, int ready PH_UNUSED)
{
    struct child *c = w->arg;
    char word;
    ssize_t n = recv(c->channel, &word, 1, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {                  /* its end: the exit status follows by SIGCHLD */
        ph_watch_stop(&c->watch);
        return;
    }
    switch (word) {
    case PH_WORKER_READY:
        c->ready = 1;
        if (c->service->wake_owed)
            service_wake(c->service);
        break;
    case PH_WORKER_BUSY:  c->busy = 1; break;
    case PH_WORKER_FREE:  c->busy = 0; break;
    case PH_WORKER_DONE:  c->done = 1; break;
    default: break;
    }
    service_update(c->service);
    master_announce(c->service->master);
    ph_cond_broadcast(c->service->master->changed);
}

/* Put the descriptors where the worker expects them: channel, configuration
 * files, listeners.  All of them first go out of the way of the targets. */
static int arrange(const struct service *v, int channel)
{
    const struct ph_snapshot *files = &v->master->config->files;
    int from[PH_LISTEN_MAX + 1 + PH_SNAPSHOT_FILES], high[PH_LISTEN_MAX + 1 + PH_SNAPSHOT_FILES];
    unsigned n = 0;

    from[n++] = channel;
    for (unsigned i = 0; i < PH_SNAPSHOT_FILES; i++)
        from[n++] = files->fd[i];
    for (unsigned i = 0; i < v->listen_count; i++)
        from[n++] = v->listen_fd[i];
    for (unsigned i = 0; i < n; i++)
        if ((high[i] = fcntl(from[i], F_DUPFD_CLOEXEC, PH_WORKER_CHANNEL_FD + PH_LISTEN_MAX + 1 + PH_SNAPSHOT_FILES)) < 0)
            return -1;
    for (unsigned i = 0; i < n; i++)
        if (dup2(high[i], PH_WORKER_CHANNEL_FD + (int)i) < 0)
            return -1;
    return 0;
}

/* A small, known environment: what a worker does must not depend on who typed
 * `postfix start`. */
static char **environment(void)
{
    static const char *const keep[] = { "TZ", "LANG", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LD_LIBRARY_PATH", "LSAN_OPTIONS" };
    char **env = calloc(sizeof keep / sizeof *keep + 2, sizeof *env);
    size_t n = 0;

    if (!env)
        return NULL;
    env[n++] = "PATH=/usr/bin:/bin:/usr/sbin:/sbin";
    for (size_t i = 0; i < sizeof keep / sizeof *keep; i++) {
        const char *value = getenv(keep[i]);
        char *entry;

        if (value && asprintf(&entry, "%s=%s", keep[i], value) > 0)
            env[n++] = entry;
    }
    return env;
}

static void become_worker(const struct service *v, int channel, int words)
{
    const struct master *m = v->master;
    char count[16], identity[48];
    const char *argv[16];
    int n = 0, network = config_is_network(v->def);

    ph_signals_reset();
    snprintf(count, sizeof count, "%u", v->listen_count);
    argv[n++] = m->worker_path;
    argv[n++] = "-n";
    argv[n++] = v->name;
    argv[n++] = "-t";
    argv[n++] = v->type;
    argv[n++] = "-c";
    argv[n++] = m->config_dir;
    argv[n++] = "-l";
    argv[n++] = count;
    if (m->config->as_root) {
        const struct ph_accounts *a = &m->config->accounts;

        int n_id = snprintf(identity, sizeof identity, "%u:%u", network ? a->network_uid : a->mail_uid, network ? a->network_gid : a->mail_gid);
        if (network && a->two && config_reads_secrets(v->def))
            snprintf(identity + n_id, sizeof identity - (size_t)n_id, ":%u", a->mail_gid);
        argv[n++] = "-u";
        argv[n++] = identity;
        if (a->two) {
            argv[n++] = "-a";
            argv[n++] = network ? "net" : "mail";
        }
    }
    if (m->verbose)
        argv[n++] = "-v";
    argv[n] = NULL;
    if (dup2(words, STDERR_FILENO) == STDERR_FILENO && arrange(v, channel) == 0 && close_range(PH_WORKER_LISTEN_FD + v->listen_count, ~0u, 0) == 0)
        execve(m->worker_path, (char *const *)(uintptr_t)argv, environment());
    _exit(127);
}

int child_start(struct service *v)
{
    int pair[2], words[2];

    if (words_pipe(words) < 0)
        return PH_TEMP;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
        close(words[0]);
        close(words[1]);
        return ph_fail_errno(PH_TEMP, errno, "socketpair");
    }
    ph_log_flush();
    pid_t pid = fork();
    int err = errno;
    if (pid == 0)
        become_worker(v, pair[1], words[1]);
    close(pair[1]);
    close(words[1]);
    if (pid < 0) {
        close(pair[0]);
        close(words[0]);
        return ph_fail_errno(PH_TEMP, err, "fork");
    }
    struct child *c = calloc(1, sizeof *c);
    if (!c)
        ph_die("out of memory");
    *c = (struct child){ .service = v, .pid = pid, .channel = pair[0], .started_ms = ph_now_ms() };
    c->watch.fn = hear;
    c->watch.arg = c;
    ph_list_push(&v->children, &c->node);
    if (words_watch(c, words[0]) < 0)
        ph_log_warn("service %s: %s", v->name, ph_error());    /* it works without */
    return ph_watch_start(&c->watch, c->channel, PH_READ);
}

void child_free(struct child *c)
{
    ph_watch_stop(&c->watch);
    close(c->channel);
    words_end(c);
    ph_list_remove(&c->node);
    free(c);
}

static struct child *find_child(struct master *m, pid_t pid)
{
    for (struct ph_list *n = m->services.next; n != &m->services; n = n->next) {
        struct service *v = ph_list_of(n, struct service, node);

        for (struct ph_list *k = v->children.next; k != &v->children; k = k->next) {
            struct child *c = ph_list_of(k, struct child, node);

            if (c->pid == pid)
                return c;
        }
    }
    return NULL;
}

static void end_throttle(struct ph_timer *t)
{
    struct service *v = t->arg;

    v->throttled_until = 0;
    service_update(v);
}

static void throttle(struct service *v)
{
    int64_t s = v->def->throttle_s > 0 ? v->def->throttle_s : v->master->config->throttle_s;

    ph_log_warn("%s: bad command startup -- throttling for %lld s", v->name, (long long)s);
    v->throttled_until = ph_in_ms(s * 1000);
    v->throttle.fn = end_throttle;
    v->throttle.arg = v;
    ph_timer_set(&v->throttle, v->throttled_until);
}

/* A worker that gave up before it was ready would only do so again; one that was
 * ready, or was killed, met something that may have passed. */
static void note_crash(struct service *v, int may_pass)
{
    int64_t now = ph_now_ms();

    if (now - v->crash_since > CRASH_MS) {
        v->crash_since = now;
        v->crashes = 0;
    }
    if (!may_pass || ++v->crashes > CRASHES_MAX)
        throttle(v);
}

void child_reaped(struct master *m, pid_t pid, int status)
{
    struct child *c = find_child(m, pid);

    if (!c)
        return;                    /* as init we reap what is not ours */
    struct service *v = c->service;
    int was_ready = c->ready, bad = 0;

    words_say(c);                  /* why, before how */
    if (WIFSIGNALED(status)) {
        ph_log_warn("process %s (%s) pid %d killed by signal %d", m->worker_path, v->name, (int)pid, WTERMSIG(status));
        bad = 1;
    } else if (WEXITSTATUS(status) != 0) {
        ph_log_warn("process %s (%s) pid %d exit status %d", m->worker_path, v->name, (int)pid, WEXITSTATUS(status));
        bad = 1;
    }
    child_free(c);
    if (bad && v->def && !m->stopping)
        note_crash(v, was_ready || WIFSIGNALED(status));
    if (v->seen || !ph_list_is_empty(&v->children))
        service_update(v);
    else
        service_close(v);
    master_announce(m);
    ph_cond_broadcast(m->changed);
}
