/* spawn: the worker's side of its spawner: sending requests, hearing answers. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "core/worker/spawner.h"

#define SEND_MS 10000              /* a spawner that takes nothing for so long is lost */

/* One per process. */
static struct {
    int fd;
    struct spawner_policy policy;
    int limited;
    int sending;                   /* one task at a time waits for room */
    struct ph_scope *scope;
    struct ph_cond *turn;
    void (*on_loss)(void *);
    void *arg;
} client = { .fd = -1 };

void ph_spawner_attach(int fd, const struct spawner_policy *p)
{
    client.fd = fd;
    client.policy = *p;
    client.limited = 0;
    client.scope = ph_scope_new(NULL);
    client.turn = ph_cond_new(client.scope);
}

const struct spawner_policy *ph_spawner_policy(void)
{
    return client.fd >= 0 ? &client.policy : NULL;
}

int ph_spawner_exists(void)
{
    return client.fd >= 0;
}

int ph_spawner_fd(void)
{
    return client.fd;
}

void ph_spawner_on_loss(void (*fn)(void *), void *arg)
{
    client.on_loss = fn;
    client.arg = arg;
}

void ph_spawner_lost(void)
{
    if (client.fd < 0)
        return;
    ph_log_error("the spawner is gone");
    ph_fd_forget(client.fd);
    close(client.fd);
    client.fd = -1;
    ph_cond_broadcast(client.turn);
    if (client.on_loss)
        client.on_loss(client.arg);
}

static int no_spawner(void)
{
    return ph_fail(PH_TEMP, "there is no helper that works with the rights of others");
}

static int try_send(const struct spawner_request *r, const char *strings, size_t n, const int *fd, uint32_t fds)
{
    union { struct cmsghdr align; char space[CMSG_SPACE(SPAWNER_FDS_MAX * sizeof(int))]; } control;
    struct iovec iov[2] = { { (void *)(uintptr_t)r, sizeof *r }, { (void *)(uintptr_t)strings, n } };
    struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n ? 2 : 1, .msg_control = &control, .msg_controllen = CMSG_SPACE(fds * sizeof(int)) };

    memset(&control, 0, sizeof control);
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fds * sizeof(int));
    memcpy(CMSG_DATA(c), fd, fds * sizeof(int));
    return sendmsg(client.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? errno : 0;
}

/* Until it took the datagram: 0, or negative. */
static int send_all(const struct spawner_request *r, const char *strings, size_t n, const int *fd, uint32_t fds)
{
    int64_t until = ph_in_ms(SEND_MS);

    while (client.fd >= 0) {
        int err = try_send(r, strings, n, fd, fds);

        if (err == 0)
            return 0;
        if (err == EINTR)
            continue;
        int rc = err == EAGAIN || err == ENOBUFS ? ph_fd_wait(client.fd, PH_WRITE, until) : PH_EOF;
        if (rc == PH_CANCEL)
            return rc;
        if (rc < 0)
            ph_spawner_lost();
    }
    return no_spawner();
}

int ph_spawner_send(const struct spawner_request *r, const char *strings, size_t n, const int *fd, uint32_t fds)
{
    int rc = 0;

    while (rc >= 0 && client.sending && client.fd >= 0)
        rc = ph_cond_wait(client.turn, PH_FOREVER);
    if (rc < 0)
        return rc;
    if (client.fd < 0)
        return no_spawner();
    client.sending = 1;
    rc = send_all(r, strings, n, fd, fds);
    client.sending = 0;
    ph_cond_signal(client.turn);
    return rc;
}

int ph_spawn_limit(const struct ph_spawn_limits *l)
{
    const char *command = l->command ? l->command : "", *below = l->below ? l->below : "";
    struct spawner_limits r = {
        .op = SPAWNER_OP_LIMIT, .flags = (l->files ? SPAWNER_LIMIT_FILES : 0) | (l->commands ? SPAWNER_LIMIT_COMMANDS : 0),
        .uid = l->uid, .gid = l->gid, .least_uid = l->least_uid,
    };
    struct iovec iov[3] = { { &r, sizeof r }, { (void *)(uintptr_t)command, strlen(command) + 1 }, { (void *)(uintptr_t)below, strlen(below) + 1 } };
    struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 3 };

    if (client.fd < 0)
        return no_spawner();
    if (client.limited)
        return 0;
    if (strlen(command) >= SPAWNER_PATH_MAX || strlen(below) >= SPAWNER_PATH_MAX)
        return ph_fail(PH_CONF, "a path of %u bytes or more", SPAWNER_PATH_MAX);
    if (sendmsg(client.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        return ph_fail_errno(PH_TEMP, errno, "limits of the spawner");
    client.limited = 1;
    return 0;
}

ssize_t ph_spawner_recv(int fd, void *p, size_t n, int *got, int flags)
{
    union { struct cmsghdr align; char space[CMSG_SPACE(sizeof(int))]; } control;
    struct iovec iov = { p, n };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    ssize_t rc;

    /* A peer that closed without reading our last word resets the connection:
     * that is said once, before what it had sent. */
    while ((rc = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | flags)) < 0 && errno == ECONNRESET)
        ;
    *got = -1;
    if (rc <= 0)
        return rc;
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(got, CMSG_DATA(c), sizeof *got);
    return rc;
}

int ph_spawner_reply(int lifeline, struct spawner_reply *r, int64_t deadline)
{
    for (;;) {
        int none;
        ssize_t n = ph_spawner_recv(lifeline, r, sizeof *r, &none, MSG_DONTWAIT);

        if (none >= 0)
            close(none);
        if (n == (ssize_t)sizeof *r) {
            r->text[sizeof r->text - 1] = 0;
            return 0;
        }
        if (n >= 0 || (errno != EAGAIN && errno != EINTR))
            return ph_fail(PH_TEMP, "the helper that works with the rights of others ended");
        int rc = ph_fd_wait(lifeline, PH_READ, deadline);
        if (rc < 0)
            return rc;
    }
}

int ph_spawner_refused(const struct spawner_reply *r, const char *what)
{
    return ph_fail(r->status ? PH_TEMP : PH_CONF, "%s: %s", what, r->text);
}
