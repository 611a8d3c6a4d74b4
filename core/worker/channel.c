/* channel: words from and to the master.  See channel.h. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "core/conf/snapshot.h"
#include "core/sched/qmgr.h"
#include "core/ipc/channel.h"
#include "core/run/log.h"
#include "core/worker/worker.h"

void ph_worker_tell(struct ph_worker *w, char word)
{
    if (w->channel >= 0 && send(w->channel, &word, 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN)
        w->channel = -1;
}

static void wake_task(void *arg)
{
    struct ph_worker *w = arg;

    w->waking = 1;
    while (w->wake_pending && !w->draining) {
        w->wake_pending = 0;
        int rc = w->service.ops->wakeup(&w->service);
        if (rc < 0 && rc != PH_CANCEL)
            ph_log_warn("wakeup: %s", ph_error());
    }
    w->waking = 0;
    w->idle_since = ph_now_ms();
    ph_cond_broadcast(w->changed);
}

static void wake(struct ph_worker *w)
{
    if (w->is_transport || !w->service.ops->wakeup)
        return;
    w->wake_pending = 1;
    if (!w->waking && ph_spawn(w->tasks, "wakeup", wake_task, w) < 0)
        ph_log_warn("wakeup: %s", ph_error());
}

/* qmgr keeps its place and takes the new parameters; a bad file changes nothing. */
static void reload(struct ph_worker *w, const struct ph_snapshot *files)
{
    struct ph_scope *s = ph_scope_new(w->scope);
    struct ph_conf *base, *conf;
    const struct ph_master_def *master;
    const struct ph_service_def *def;
    int rc;

    if (!w->is_builtin || files->fd[0] < 0)
        return;
    if ((rc = ph_snapshot_read(files, s, w->config_dir, &base, &master)) == 0) {
        def = ph_master_find_unix(master, ph_cstr(w->name));
        rc = def ? ph_conf_service(s, base, def->settings, def->settings_count, &conf) : ph_fail(PH_CONF, "service %s is no longer declared", w->name);
    }
    if (rc == 0) {
        ph_conf_identity(conf, "qmgr", w->name);
        rc = ph_qmgr_reload(&w->service, conf);
    }
    if (rc < 0) {
        ph_log_error("reload: %s: going on as before", ph_error());
        ph_scope_free(s);
    }
}

static void stop(struct ph_worker *w, int soon)
{
    w->draining = 1;
    w->stopping |= soon;
    ph_worker_tell(w, PH_WORKER_DONE);
    ph_cond_broadcast(w->changed);
}

/* One word, with the files that came beside it. */
static ssize_t hear(char *word, struct ph_snapshot *files)
{
    union { struct cmsghdr head; char mem[CMSG_SPACE(sizeof files->fd)]; } control = { .mem = { 0 } };
    struct iovec v = { .iov_base = word, .iov_len = 1 };
    struct msghdr msg = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control.mem, .msg_controllen = sizeof control.mem };
    ssize_t n = recvmsg(PH_WORKER_CHANNEL_FD, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    *files = (struct ph_snapshot){ { -1, -1 } };
    const struct cmsghdr *h = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
    if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS && h->cmsg_len <= CMSG_LEN(sizeof files->fd))
        memcpy(files->fd, CMSG_DATA(h), h->cmsg_len - CMSG_LEN(0));
    return n;
}

static void take_log(struct ph_snapshot *files)
{
    if (files->fd[0] >= 0)
        ph_log_adopt_fd(files->fd[0]);
    files->fd[0] = -1;
}

static void channel_task(void *arg)
{
    struct ph_worker *w = arg;
    struct ph_snapshot files;
    char word;

    for (;;) {
        int rc = ph_fd_wait(PH_WORKER_CHANNEL_FD, PH_READ, PH_FOREVER);
        if (rc < 0)
            return;
        ssize_t n = hear(&word, &files);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n <= 0) {
            /* The master is gone: what is under way ends well, nothing new begins. */
            w->channel = -1;
            stop(w, w->is_builtin || w->is_transport);
            return;
        }
        switch (word) {
        case PH_MASTER_WAKE:   wake(w); break;
        case PH_MASTER_RELOAD: reload(w, &files); break;
        case PH_MASTER_LOG:    take_log(&files); break;
        case PH_MASTER_DRAIN:  stop(w, 0); break;
        case PH_MASTER_STOP:   stop(w, 1); break;
        default:               ph_log_warn("unknown word %d from the master", word);
        }
        ph_snapshot_close(&files);
    }
}

int ph_worker_listen_to_master(struct ph_worker *w)
{
    return ph_spawn(w->tasks, "channel", channel_task, w);
}
