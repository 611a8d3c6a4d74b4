/* queue_client: see queue_client.h. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/cmd/queue_client.h"

#define LISTING_BYTES 32768        /* a listing has hundreds of bytes for each message */

int ph_queue_client_dial(struct ph_scope *s, struct ph_conf *c, const char *name, struct ph_stream **io)
{
    return ph_queue_client_dial_in(s, c, "public", name, io);
}

int ph_queue_client_dial_in(struct ph_scope *s, struct ph_conf *c, const char *directory, const char *name,
                            struct ph_stream **io)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    ph_str dir = ph_conf_value(c, s, "queue_directory");
    int n = snprintf(to.sun_path, sizeof to.sun_path, "%.*s/%s/%s", PH_FMT(dir), directory, name), fd;

    if (n < 0 || (size_t)n >= sizeof to.sun_path)
        return ph_fail(PH_PERM, "the path %.*s/%s/%s is too long for a socket", PH_FMT(dir), directory, name);
    if ((fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0)
        return ph_fail_errno(PH_TEMP, errno, "socket");
    /* On a UNIX socket this waits at most for room in the listener's queue. */
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) < 0) {
        int rc = ph_fail_errno(errno == EACCES || errno == EPERM ? PH_PERM : PH_TEMP, errno, "connect to %s",
                               to.sun_path);

        close(fd);
        return rc;
    }
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        int rc = ph_fail_errno(PH_TEMP, errno, "fcntl");

        close(fd);
        return rc;
    }
    *io = ph_stream_fd(s, fd, LISTING_BYTES);
    return 0;
}

int ph_queue_client_control(struct ph_scope *s, struct ph_conf *c, struct ph_stream **io)
{
    struct ph_frame *f = ph_frame_new(s);
    int rc = ph_queue_client_dial(s, c, "qmgr", io);

    if (rc < 0)
        return rc;
    ph_frame_cstr(f, "op", "hello");
    ph_frame_cstr(f, "role", "control");
    ph_frame_cstr(f, "service", ph_cmd_name());
    ph_frame_u64(f, "pid", (uint64_t)getpid());
    return ph_frame_send(*io, f);
}

int ph_queue_client_ask(struct ph_scope *s, struct ph_stream *io, const struct ph_frame *request,
                        struct ph_frame **reply)
{
    ph_str status;
    int rc;

    if ((rc = ph_frame_send(io, request)) < 0 || (rc = ph_stream_flush(io)) < 0 ||
        (rc = ph_frame_recv(io, s, 0, reply)) < 0)
        return rc == PH_CANCEL ? rc : ph_fail(PH_TEMP, "lost connection with the queue manager");
    status = ph_frame_value(*reply, "status");
    if (ph_str_eq(status, PH_STR("ok")))
        return 0;
    if (ph_str_eq(status, PH_STR("none")))
        return PH_NONE;
    return ph_fail(ph_str_eq(status, PH_STR("perm")) ? PH_PERM : PH_TEMP, "%.*s",
                   PH_FMT(ph_frame_value(*reply, "reason")));
}

static void pool_of(int queue_dir, struct stat *st)
{
    if (fstatat(queue_dir, "pool", st, AT_SYMLINK_NOFOLLOW) < 0 && fstat(queue_dir, st) < 0)
        memset(st, 0, sizeof *st);
}

uid_t ph_queue_owner(int queue_dir)
{
    struct stat st;

    pool_of(queue_dir, &st);
    return st.st_uid;
}

int ph_queue_become_owner(int queue_dir)
{
    struct stat st;

    if (geteuid() != 0)
        return 0;
    pool_of(queue_dir, &st);
    if (st.st_uid == 0)
        return ph_fail(PH_PERM, "the queue is root's: run \"postfix set-permissions\"");
    const struct passwd *pw = getpwuid(st.st_uid);
    gid_t gid = pw ? pw->pw_gid : st.st_gid;

    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(st.st_uid, st.st_uid, st.st_uid) < 0)
        return ph_fail_errno(PH_PERM, errno, "become uid %ld", (long)st.st_uid);
    return 0;
}
