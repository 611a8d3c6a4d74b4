/* postdrop_file: the file in maildrop/.
 *
 * It is written under a name that begins with a dot (pickup passes those), then
 * made executable by its owner, the old mark of a ready file, synced, and given
 * its name.  The name must be durable too: the directory is synced when we may
 * open it; a set-gid postdrop may not (mode 730), so it syncs the file a second
 * time: the rename changed its inode, and on journaled filesystems its sync
 * takes the rename along. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/cmd/postdrop.h"

#define FILE_BYTES (64u << 10)         /* gathered before a write */
#define NAME_BYTES 64

static int directory = -1, file = -1;
static char temporary[NAME_BYTES];     /* "" when there is nothing to remove */
static char final[NAME_BYTES];
static struct ph_buf out;
static const char *const caught_file = temporary;

/* Only what is safe in a signal handler. */
static void on_signal(int signo)
{
    if (caught_file[0])
        unlinkat(directory, caught_file, 0);
    _exit(128 + signo);
}

static void catch_signals(void)
{
    static const int signals[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM };
    struct sigaction old, new = { .sa_handler = on_signal };

    sigfillset(&new.sa_mask);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(signals[i], &new, NULL);
}

void postdrop_file_remove(void)
{
    if (temporary[0])
        unlinkat(directory, temporary, 0);
    temporary[0] = 0;
}

static int flush(void)
{
    for (size_t done = 0; done < out.n; ) {
        ssize_t n = write(file, out.p + done, out.n - done);

        if (n < 0 && errno != EINTR)
            return ph_fail_errno(PH_TEMP, errno, "write to maildrop");
        done += n > 0 ? (size_t)n : 0;
    }
    ph_buf_reset(&out);
    return 0;
}

static int open_directory(struct ph_conf *c)
{
    PH_SCOPED(step, NULL);
    ph_str queue;
    int rc = ph_conf_get(c, step, "queue_directory", &queue);

    if (rc < 0)
        return rc;
    const char *path = ph_str_printf(step, "%.*s/maildrop", PH_FMT(queue)).p;

    /* O_PATH: search permission is all that the group has. */
    if ((directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0)
        return ph_fail_errno(PH_TEMP, errno, "open directory %s", path);
    return 0;
}

/* The file and its name for the signal handler: no signal comes in between. */
static int open_named(const char name[NAME_BYTES])
{
    sigset_t all, old;

    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &old);
    file = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    int err = errno;

    if (file >= 0)
        memcpy(temporary, name, NAME_BYTES);
    sigprocmask(SIG_SETMASK, &old, NULL);
    errno = err;
    return file;
}

static int create(void)
{
    char name[NAME_BYTES] = "";
    uint64_t random;

    for (int tries = 0; tries < 100; tries++) {
        if (getrandom(&random, sizeof random, 0) != sizeof random)
            return ph_fail_errno(PH_TEMP, errno, "getrandom");
        snprintf(name, sizeof name, ".%ld.%016llx", (long)getpid(), (unsigned long long)random);
        if (open_named(name) >= 0)
            return 0;
        if (errno != EEXIST)
            return ph_fail_errno(PH_TEMP, errno, "create file maildrop/%s", name);
    }
    return ph_fail(PH_TEMP, "create file in maildrop: no free name");
}

int postdrop_file_create(struct ph_conf *c, const struct ph_maildrop *m)
{
    struct ph_maildrop ours = *m;
    int rc;

    ours.time_s = (int64_t)time(NULL);
    /* The envelope may be large; content is written in pieces of FILE_BYTES. */
    ph_buf_init(&out, NULL, (size_t)64 << 20);
    if ((rc = open_directory(c)) < 0)
        return rc;
    catch_signals();
    if ((rc = create()) < 0 || (rc = ph_maildrop_put(&out, &ours)) < 0)
        return rc;
    return flush();
}

int postdrop_file_content(ph_str bytes)
{
    while (bytes.n) {
        ph_str piece = ph_str_first(bytes, PH_MAILDROP_CHUNK);
        int rc;

        ph_maildrop_put_chunk(&out, piece.n);
        ph_buf_str(&out, piece);
        if (out.n >= FILE_BYTES && (rc = flush()) < 0)
            return rc;
        bytes = ph_str_from(bytes, piece.n);
    }
    return 0;
}

/* Give the file its name: microseconds and inode, so that no two are equal. */
static int publish(void)
{
    struct timespec now;
    struct stat st;

    clock_gettime(CLOCK_REALTIME, &now);
    if (fstat(file, &st) < 0)
        return ph_fail_errno(PH_TEMP, errno, "fstat");
    snprintf(final, sizeof final, "%llX%05lX%llX", (unsigned long long)now.tv_sec, now.tv_nsec / 1000,
             (unsigned long long)st.st_ino);
    if (renameat2(directory, temporary, directory, final, RENAME_NOREPLACE) < 0)
        return ph_fail_errno(PH_TEMP, errno, "rename maildrop/%s to %s", temporary, final);
    /* From here on a signal must not remove it, and we must not claim failure. */
    temporary[0] = 0;
    return 0;
}

static int sync_name(void)
{
    int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

    if (fd < 0)
        return fsync(file);
    rc = fsync(fd);
    close(fd);
    return rc;
}

const char *postdrop_file_commit(void)
{
    sigset_t all, old;
    int rc;

    ph_maildrop_put_end(&out);
    if (flush() < 0)
        return NULL;
    if (fchmod(file, 0744) < 0 || fsync(file) < 0) {
        ph_fail_errno(PH_TEMP, errno, "sync maildrop/%s", temporary);
        return NULL;
    }
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &old);
    rc = publish();
    if (rc == 0 && sync_name() < 0) {
        /* It may be durable or not, and pickup may have it already.  The caller will
         * try again: a copy is better than none, and none is made if it is still there. */
        rc = ph_fail_errno(PH_TEMP, errno, "sync the name maildrop/%s", final);
        unlinkat(directory, final, 0);
    }
    sigprocmask(SIG_SETMASK, &old, NULL);
    ph_buf_fini(&out);
    return rc == 0 ? final : NULL;
}

/* Connecting is the message; pickup reads nothing from it. */
void postdrop_wake(struct ph_conf *c)
{
    PH_SCOPED(step, NULL);
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    ph_str queue = ph_conf_value(c, step, "queue_directory"), service = ph_conf_value(c, step, "pickup_service_name");
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int n = snprintf(to.sun_path, sizeof to.sun_path, "%.*s/public/%.*s", PH_FMT(queue), PH_FMT(service));

    if (fd < 0)
        return;
    /* Too long a path or nobody there: the next scan of pickup finds the file. */
    if (n > 0 && (size_t)n < sizeof to.sun_path && connect(fd, (const struct sockaddr *)&to, sizeof to) == 0)
        (void)!write(fd, "w", 1);
    close(fd);
}
