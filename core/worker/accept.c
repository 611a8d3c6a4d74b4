/* accept: clients become sessions, one task and one scope each. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "core/net/sockaddr.h"
#include "core/sched/qmgr.h"
#include "core/ipc/channel.h"
#include "core/run/loop.h"
#include "core/run/stream_in.h"
#include "core/worker/worker.h"

#define STREAM_BYTES 16384u
#define STOP_MS 3000               /* sessions have this long to end by themselves on a stop */

struct listener {
    struct ph_worker *w;
    int fd, family;
    ph_str address, port;          /* its own, when it has one: who comes through it came there */
};

struct session {
    struct ph_worker *w;
    struct ph_scope *scope;
    struct ph_stream *io;
    struct ph_peer peer;
};

static ph_str port_text(struct ph_scope *s, unsigned port)
{
    return ph_str_printf(s, "%u", port);
}

/* Where the client came to. */
static void describe_server(struct session *x, const struct listener *l, int fd)
{
    struct sockaddr_storage sa;
    socklen_t n = sizeof sa;
    struct ph_ip ip;
    unsigned port;

    x->peer.server_address = l->address;
    x->peer.server_port = l->port;
    if (l->address.n || l->family == AF_UNIX || getsockname(fd, (struct sockaddr *)&sa, &n) < 0 ||
        !ph_sockaddr_to_ip((const struct sockaddr *)&sa, &ip, &port))
        return;
    x->peer.server_address = ph_ip_format(x->scope, &ip);
    x->peer.server_port = port_text(x->scope, port);
}

static void describe(struct session *x, const struct listener *l, int fd, const struct sockaddr_storage *from)
{
    struct ph_ip ip;
    unsigned port;

    x->peer.size = sizeof x->peer;
    x->peer.address = PH_STR("unix");
    if (ph_sockaddr_to_ip((const struct sockaddr *)from, &ip, &port)) {
        x->peer.address = ph_ip_format(x->scope, &ip);
        x->peer.port = port_text(x->scope, port);
    }
    describe_server(x, l, fd);
}

static void session_task(void *arg)
{
    struct session *x = arg;
    struct ph_worker *w = x->w;

    ph_task_about(x->peer.address);
    int rc = w->is_transport ? ph_agent_serve(w->agent, x->scope, x->io)
                             : w->service.ops->serve(&w->service, x->scope, x->io, &x->peer);

    if (rc == PH_PERM || rc == PH_CONF || rc == PH_TEMP)
        ph_log_warn("session with %.*s ended: %s", PH_FMT(x->peer.address), ph_error());
    ph_task_about(PH_STR(""));
    ph_scope_free(x->scope);       /* holds x */
    if (w->session_count-- == w->session_max)
        ph_worker_tell(w, PH_WORKER_FREE);
    w->idle_since = ph_now_ms();
    ph_cond_broadcast(w->changed);
}

static void start_session(const struct listener *l, int fd, const struct sockaddr_storage *from)
{
    struct ph_worker *w = l->w;
    struct ph_scope *s = ph_scope_new(NULL);
    struct session *x = ph_new(s, struct session);

    *x = (struct session){ .w = w, .scope = s };
    describe(x, l, fd, from);
    x->io = ph_stream_socket(s, fd, l->family, STREAM_BYTES);
    if (ph_spawn(w->sessions, w->name, session_task, x) < 0) {
        ph_log_warn("session with %.*s not started: %s", PH_FMT(x->peer.address), ph_error());
        ph_scope_free(s);
        return;
    }
    if (++w->session_count == w->session_max)
        ph_worker_tell(w, PH_WORKER_BUSY);
}

/* 0, or when none came: PH_NONE; PH_TEMP when descriptors or memory ended. */
static int accept_one(struct listener *l)
{
    struct sockaddr_storage from = { .ss_family = AF_UNSPEC };
    socklen_t n = sizeof from;
    int fd = accept4(l->fd, (struct sockaddr *)&from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd >= 0) {
        start_session(l, fd, &from);
        return 0;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return PH_NONE;
    if (errno == ECONNABORTED || errno == EINTR || errno == EPROTO)
        return 0;
    return ph_fail_errno(PH_TEMP, errno, "accept a client");
}

/* Until there is room for a session: 0, or negative.  Meanwhile clients are for
 * the other workers, and shall not wake this one. */
static int wait_room(struct listener *l)
{
    struct ph_worker *w = l->w;
    int rc = 0;

    if (w->session_count >= w->session_max)
        ph_fd_leave(l->fd);
    while (rc >= 0 && w->session_count >= w->session_max && !w->draining)
        rc = ph_cond_wait(w->changed, PH_FOREVER);
    return rc;
}

/* The next client, or the wait for one: 0, or negative. */
static int listen_once(struct listener *l)
{
    int rc = accept_one(l);

    if (rc == 0)
        return ph_yield_fair();    /* who has a session is served while many come */
    if (rc == PH_NONE && (rc = ph_fd_wait_again(l->fd, PH_READ, PH_FOREVER)) >= 0)
        return 0;
    if (rc == PH_CANCEL)
        return rc;
    /* Trouble of accept or of epoll passes, and a listener never ends by it:
     * clients wait in the backlog meanwhile. */
    ph_log_warn("%s", ph_error());
    return ph_sleep_until(ph_in_ms(200));
}

static void listen_task(void *arg)
{
    struct listener *l = arg;
    struct ph_worker *w = l->w;
    int rc = 0;

    while (rc >= 0 && !w->draining)
        if ((rc = wait_room(l)) >= 0 && !w->draining)
            rc = listen_once(l);
    ph_fd_leave(l->fd);
}

/* What all its clients have in common is asked and set once: they inherit
 * TCP_NODELAY.  A listener for all addresses knows its own only by client. */
static void learn(struct listener *l)
{
    struct sockaddr_storage sa = { .ss_family = AF_UNSPEC };
    const struct ph_ip any = { 0 };
    socklen_t n = sizeof sa;
    struct ph_ip ip = { 0 };
    unsigned port;
    int one = 1;

    if (getsockname(l->fd, (struct sockaddr *)&sa, &n) < 0)
        sa.ss_family = AF_UNIX;    /* cannot be; then at least nothing is assumed of TCP */
    l->family = sa.ss_family;
    if (l->family == AF_UNIX || !ph_sockaddr_to_ip((const struct sockaddr *)&sa, &ip, &port))
        return;
    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (memcmp(ip.bytes, any.bytes, sizeof ip.bytes) == 0)
        return;
    l->address = ph_ip_format(l->w->scope, &ip);
    l->port = port_text(l->w->scope, port);
}

int ph_worker_accept(struct ph_worker *w)
{
    int rc = 0;

    for (int i = 0; rc == 0 && i < w->listen_count; i++) {
        struct listener *l = ph_new(w->scope, struct listener);

        *l = (struct listener){ .w = w, .fd = PH_WORKER_LISTEN_FD + i };
        learn(l);
        rc = ph_spawn(w->tasks, "listen", listen_task, l);
    }
    return rc;
}

static int is_busy(const struct ph_worker *w)
{
    return w->session_count > 0 || w->waking || (w->agent && ph_agent_busy(w->agent) > 0);
}

/* Wait for the end of what is under way; on a stop not for ever. */
static void drain(struct ph_worker *w)
{
    int64_t deadline = PH_FOREVER;

    if (w->agent)
        ph_agent_stop(w->agent);   /* qmgr ends its connections when their answers are there */
    while (is_busy(w)) {
        if (w->stopping && deadline == PH_FOREVER)
            deadline = ph_in_ms(STOP_MS);
        /* qmgr's own connections do not end by themselves. */
        int last = w->stopping && (ph_now_ms() >= deadline || (w->is_builtin && !ph_qmgr_is_busy(&w->service)) ||
                                   (w->is_transport && ph_agent_busy(w->agent) == 0));
        if (last)
            break;
        int64_t until = ph_in_ms(200);
        if (ph_cond_wait(w->changed, until < deadline ? until : deadline) == PH_CANCEL)
            break;
    }
    ph_group_cancel(w->sessions);
    ph_group_wait(w->sessions, ph_in_ms(2000));
}

int ph_worker_wait(struct ph_worker *w)
{
    while (!w->draining) {
        int idle = w->max_idle_ms > 0 && !is_busy(w);
        int64_t until = idle ? w->idle_since + w->max_idle_ms : ph_in_ms(1000);
        int rc = ph_cond_wait(w->changed, until);

        if (rc == PH_CANCEL)
            return rc;
        if (idle && !is_busy(w) && ph_now_ms() >= w->idle_since + w->max_idle_ms) {
            w->draining = 1;
            ph_worker_tell(w, PH_WORKER_DONE);
        }
    }
    ph_cond_broadcast(w->changed);
    drain(w);
    return 0;
}
