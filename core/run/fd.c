/* fd: descriptors on epoll, waited for by tasks or watched by callbacks.
 *
 * Tasks: edge triggered and kept registered, so that a wait costs no system
 * call.  An edge seen while nobody waited is remembered in `ready`.  Writability
 * is asked for at the first wait for it only, and dropped when it comes
 * unwanted: a UNIX socket reports it each time the peer reads.
 * Watches: level triggered, as foreign libraries expect.
 * A descriptor that was closed leaves epoll by itself; the generation in the
 * event tells late ones of the old file from those of a new one. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include "core/run/inside.h"

static struct fd_slot *slot(struct ph_loop *l, int fd)
{
    size_t want = (size_t)fd + 1;

    if (want > l->fd_count) {
        size_t count = l->fd_count ? l->fd_count : 64;

        while (count < want)
            count *= 2;
        if (!(l->fds = reallocarray(l->fds, count, sizeof *l->fds)))
            ph_die("out of memory");
        memset(l->fds + l->fd_count, 0, (count - l->fd_count) * sizeof *l->fds);
        l->fd_count = count;
    }
    return &l->fds[fd];
}

static uint32_t events_of(int what)
{
    return (what & PH_READ ? (uint32_t)EPOLLIN | EPOLLRDHUP : 0u) | (what & PH_WRITE ? (uint32_t)EPOLLOUT : 0u);
}

/* Ask epoll for `what`; the slot may be wrong about what it knows when the
 * number was closed or passed on without ph_fd_forget. */
static int ask(struct ph_loop *l, int fd, int what, uint32_t flags)
{
    struct fd_slot *s = slot(l, fd);
    struct epoll_event ev = { .events = events_of(what) | flags,
                              .data.u64 = (uint64_t)s->gen << 32 | (uint32_t)fd };
    int op = s->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    int rc = epoll_ctl(l->epoll_fd, op, fd, &ev);

    if (rc < 0 && errno == EEXIST)
        rc = epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, fd, &ev);
    else if (rc < 0 && errno == ENOENT)
        rc = epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &ev);
    if (rc < 0)
        return ph_fail_errno(PH_TEMP, errno, "epoll");
    s->registered = (uint8_t)what;
    return 0;
}

static int poll_one(int fd, int what, int timeout_ms)
{
    struct pollfd p = { .fd = fd, .events = (short)((what & PH_READ ? POLLIN | POLLRDHUP : 0) | (what & PH_WRITE ? POLLOUT : 0)) };
    int n = poll(&p, 1, timeout_ms), ready = 0;

    if (n <= 0)
        return n < 0 && errno != EINTR ? ph_fail_errno(PH_TEMP, errno, "poll") : 0;
    if (p.revents & (POLLIN | POLLRDHUP | POLLERR | POLLHUP | POLLNVAL))
        ready |= PH_READ;
    if (p.revents & (POLLOUT | POLLERR | POLLHUP | POLLNVAL))
        ready |= PH_WRITE;
    return ready & what;
}

/* Outside tasks: plain poll, the thread's own deadline counts too. */
static int wait_plainly(int fd, int what, int64_t deadline)
{
    int64_t own = ph_context()->deadline;

    ph_assert_may_wait();
    if (own < deadline)
        deadline = own;
    for (;;) {
        int64_t ms = deadline == PH_FOREVER ? -1 : deadline - ph_clock_ms();
        int rc = poll_one(fd, what, ms > 3600000 ? 3600000 : ms < 0 ? (deadline == PH_FOREVER ? -1 : 0) : (int)ms);

        if (rc)
            return rc;
        if (deadline != PH_FOREVER && ph_clock_ms() >= deadline)
            return ph_fail(PH_TIMEOUT, "timeout");
    }
}

static int take_ready(struct fd_slot *s, int what)
{
    int got = s->ready & what;

    s->ready &= (uint8_t)~got;
    return got;
}

int ph_fd_wait_again(int fd, int what, int64_t deadline)
{
    struct ph_task *t = task_here();
    struct ph_loop *l = ph_loop_current;
    int rc;

    if (!t)
        return wait_plainly(fd, what, deadline);
    ph_assert_may_wait();
    if (t->cancelled)
        return ph_fail(PH_CANCEL, "cancelled");
    struct fd_slot *s = slot(l, fd);
    ph_assert(!s->watch);
    if ((rc = take_ready(s, what)))
        return rc;
    if ((what & ~s->registered) && (rc = ask(l, fd, what | s->registered, EPOLLET)) < 0)
        return rc;
    for (int i = 0; i < 2; i++)
        if (what & (1 << i)) {
            ph_assert(!s->task[i]);
            s->task[i] = t;
        }
    rc = ph_task_block(t, what == PH_READ ? "readable" : what == PH_WRITE ? "writable" : "ready", fd, deadline);
    s = slot(l, fd);               /* the table may have moved */
    for (int i = 0; i < 2; i++)
        if (s->task[i] == t)
            s->task[i] = NULL;
    return rc;
}

/* The last edge said that the peer has ended, and there will be none after it. */
int ph_fd_wait_more(int fd, int64_t deadline)
{
    if (task_here() && !ph_cancelled() && slot(ph_loop_current, fd)->ended)
        return PH_READ;
    return ph_fd_wait_again(fd, PH_READ, deadline);
}

/* Who has not just seen EAGAIN may have missed the edge: look once.  The first
 * wait needs no look, since registering reports what is. */
int ph_fd_wait(int fd, int what, int64_t deadline)
{
    if (task_here() && !ph_cancelled() && !(what & ~slot(ph_loop_current, fd)->registered)) {
        int rc = poll_one(fd, what, 0);

        if (rc)
            return rc;
        take_ready(slot(ph_loop_current, fd), what);
    }
    return ph_fd_wait_again(fd, what, deadline);
}

/* A task still waiting would sleep forever: it is told the descriptor failed. */
void ph_fd_forget(int fd)
{
    struct ph_loop *l = ph_loop_current;

    if (!l || fd < 0 || (size_t)fd >= l->fd_count)
        return;
    struct fd_slot *s = &l->fds[fd];
    for (int i = 0; i < 2; i++)
        if (s->task[i]) {
            ph_task_wake(s->task[i], 1 << i);
            s->task[i] = NULL;
        }
    s->registered = 0;
    s->ready = 0;
    s->ended = 0;
    s->gen++;
}

void ph_fd_leave(int fd)
{
    struct ph_loop *l = ph_loop_current;

    if (!l || fd < 0 || (size_t)fd >= l->fd_count || !l->fds[fd].registered)
        return;
    epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    ph_fd_forget(fd);
}

static int watch_start(struct ph_watch *w, int fd, int what, uint32_t flags)
{
    struct ph_loop *l = ph_loop_current;
    int rc;

    ph_assert(l && what);
    if (w->what && w->fd != fd)
        ph_watch_stop(w);
    if ((rc = ask(l, fd, what, flags)) < 0)
        return rc;
    w->fd = fd;
    w->what = what;
    slot(l, fd)->watch = w;
    return 0;
}

int ph_watch_start(struct ph_watch *w, int fd, int what)
{
    return watch_start(w, fd, what, 0);
}

int ph_watch_start_edge(struct ph_watch *w, int fd)
{
    return watch_start(w, fd, PH_READ, EPOLLET);
}

void ph_watch_stop(struct ph_watch *w)
{
    struct ph_loop *l = ph_loop_current;

    if (!w->what || !l)
        return;
    slot(l, w->fd)->watch = NULL;
    ph_fd_leave(w->fd);
    w->what = 0;
}

static void wake_waiters(struct ph_loop *l, int fd, int ready, uint32_t events)
{
    struct fd_slot *s = &l->fds[fd];
    int unwanted = ready;

    for (int i = 0; i < 2; i++)
        if ((ready & (1 << i)) && s->task[i]) {
            struct ph_task *t = s->task[i];
            int both = (s->task[0] == t ? PH_READ : 0) | (s->task[1] == t ? PH_WRITE : 0);

            s->task[0] = both & PH_READ ? NULL : s->task[0];
            s->task[1] = both & PH_WRITE ? NULL : s->task[1];
            /* Who was woken by his deadline in this turn has not heard of it. */
            if (ph_task_wake(t, ready & both))
                unwanted &= ~(ready & both);
        }
    s->ready |= (uint8_t)unwanted;
    if (events == EPOLLOUT && (unwanted & PH_WRITE) && s->registered == (PH_READ | PH_WRITE)) {
        s->ready &= (uint8_t)~PH_WRITE;
        ask(l, fd, PH_READ, EPOLLET);
    }
}

static void one_event(struct ph_loop *l, const struct epoll_event *ev)
{
    int fd = (int)(uint32_t)ev->data.u64, ready = 0;

    if ((size_t)fd >= l->fd_count || l->fds[fd].gen != (uint32_t)(ev->data.u64 >> 32))
        return;
    if (ev->events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP))
        ready |= PH_READ;
    if (ev->events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
        ready |= PH_WRITE;
    struct ph_watch *w = l->fds[fd].watch;
    if (w) {
        void (*fn)(struct ph_watch *, int) = w->fn;

        fn(w, ready & w->what);
        ph_sight_after(l, NULL, (const void *)(uintptr_t)fn);
    } else {
        l->fds[fd].ended |= (ev->events & EPOLLRDHUP) != 0;
        wake_waiters(l, fd, ready, ev->events);
    }
}

void ph_fds_poll(struct ph_loop *l, int timeout_ms)
{
    struct epoll_event ev[128] PH_UNFILLED;
    int n = epoll_wait(l->epoll_fd, ev, 128, timeout_ms);

    l->now = ph_clock_ms();
    ph_sight_begin(l);
    for (int i = 0; i < n; i++)
        one_event(l, &ev[i]);
}

void ph_fds_fini(struct ph_loop *l)
{
    free(l->fds);
    l->fds = NULL;
    l->fd_count = 0;
}
