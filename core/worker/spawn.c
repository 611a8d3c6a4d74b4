/* spawn: the worker's side of its spawner: sending requests, and who is who. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <posthorn/disk.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "core/worker/spawner.h"

#define SEND_MS 10000              /* a spawner that takes nothing for so long is lost */
#define ACCOUNT_BUFFER 65536

/* One per process. */
static struct {
    int fd;
    int sending;                   /* one task at a time waits for room */
    struct ph_scope *scope;
    struct ph_cond *turn;
    void (*on_loss)(void *);
    void *arg;
} client = { .fd = -1 };

void ph_spawner_attach(int fd)
{
    client.fd = fd;
    client.scope = ph_scope_new(NULL);
    client.turn = ph_cond_new(client.scope);
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

/* ---- accounts ---- */

struct account {
    const char *user, *group;      /* names; user NULL: by uid */
    uid_t uid;
    gid_t gid;
    char *name;                    /* heap */
    char *mem;                     /* ACCOUNT_BUFFER bytes */
};

static int failed_lookup(int err, const char *what)
{
    return err == 0 || err == ENOENT || err == ESRCH ? PH_NONE : ph_fail_errno(PH_TEMP, err, "account database: %s", what);
}

static int find_user(struct account *a)
{
    struct passwd pw, *found = NULL;
    int err = a->user ? getpwnam_r(a->user, &pw, a->mem, ACCOUNT_BUFFER, &found) : getpwuid_r(a->uid, &pw, a->mem, ACCOUNT_BUFFER, &found);

    if (!found)
        return failed_lookup(err, "user");
    a->uid = pw.pw_uid;
    a->gid = pw.pw_gid;
    free(a->name);
    return (a->name = strdup(pw.pw_name)) ? PH_FOUND : ph_fail(PH_TEMP, "out of memory");
}

static int find_group(struct account *a)
{
    struct group gr, *found = NULL;
    int err = getgrnam_r(a->group, &gr, a->mem, ACCOUNT_BUFFER, &found);

    if (!found)
        return failed_lookup(err, "group");
    a->gid = gr.gr_gid;
    return PH_FOUND;
}

static int number(const char *s, uint32_t *id)
{
    uint64_t n;

    if (!ph_str_u64(ph_cstr(s), &n) || n >= UINT32_MAX)
        return 0;
    *id = (uint32_t)n;
    return 1;
}

/* In the disk pool: the databases may be far away. */
static int look_up(void *arg)
{
    struct account *a = arg;
    int rc = find_user(a);

    if (rc == PH_NONE && a->user && number(a->user, &a->uid)) {
        const char *text = a->user;

        a->user = NULL;
        rc = find_user(a);
        a->user = text;
        /* A number needs no account when the group is said. */
        if (rc == PH_NONE && a->group)
            rc = PH_FOUND;
    }
    if (rc != PH_FOUND || !a->group)
        return rc;
    rc = find_group(a);
    return rc == PH_NONE && number(a->group, &a->gid) ? PH_FOUND : rc;
}

static int identify(struct ph_scope *s, struct account *a, struct ph_identity *id)
{
    if (!(a->mem = malloc(ACCOUNT_BUFFER)))
        return ph_fail(PH_TEMP, "out of memory");
    int rc = ph_disk(look_up, a);
    if (rc == PH_FOUND)
        *id = (struct ph_identity){ .size = sizeof *id, .uid = a->uid, .gid = a->gid, .user = ph_str_dup(s, ph_cstr(a->name ? a->name : "")) };
    free(a->mem);
    free(a->name);
    return rc;
}

int ph_identity_parse(struct ph_scope *s, ph_str text, struct ph_identity *id)
{
    ph_str user = ph_str_cut(&text, ':');
    struct account a = { .user = ph_cstr_dup(s, user), .group = text.p && text.n ? ph_cstr_dup(s, text) : NULL };

    return user.n == 0 ? PH_NONE : identify(s, &a, id);
}

int ph_identity_of_uid(struct ph_scope *s, uint32_t uid, struct ph_identity *id)
{
    struct account a = { .uid = uid };

    return identify(s, &a, id);
}

int ph_identity_is_own(const struct ph_identity *id)
{
    return id->uid == geteuid() && id->gid == getegid();
}
