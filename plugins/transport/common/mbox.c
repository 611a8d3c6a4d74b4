/* mbox: lock, append, sync; on any failure back to the old size. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "plugins/transport/common/mailbox.h"

/* FILE.lock, made with O_EXCL before the mailbox is opened.  0, MAILBOX_BUSY,
 * or negative; *held tells whether there is one to remove. */
static int dotlock(struct mailbox_job *job, const char *lock, int *held)
{
    struct stat st;
    int fd = open(lock, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd >= 0) {
        close(fd);
        *held = 1;
        return 0;
    }
    if (errno == EEXIST) {
        if (stat(lock, &st) == 0 && time(NULL) - st.st_mtime > job->locks->stale_s)
            unlink(lock);
        job->dsn = "4.2.0";
        ph_fail(PH_TEMP, "unable to create lock file %s: File exists", lock);
        return MAILBOX_BUSY;
    }
    job->dsn = "4.2.0";
    return ph_fail_errno(PH_TEMP, errno, "unable to create lock file %s", lock);
}

/* The fcntl lock is the descriptor's, not the process's (F_OFD_SETLK): another
 * delivery of this very process must be kept out too, and must not end it. */
static int kernel_lock(struct mailbox_job *job, int fd)
{
    struct flock lk = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

    if ((job->locks->use_fcntl && fcntl(fd, F_OFD_SETLK, &lk) < 0) || (job->locks->use_flock && flock(fd, LOCK_EX | LOCK_NB) < 0)) {
        job->dsn = "4.2.0";
        ph_fail(PH_TEMP, "unable to lock for exclusive access: Resource temporarily unavailable");
        return errno == EAGAIN || errno == EACCES || errno == EWOULDBLOCK ? MAILBOX_BUSY : PH_TEMP;
    }
    return 0;
}

/* What was opened must be the mailbox itself, and still be there. */
static int check_file(struct mailbox_job *job, int fd, struct stat *st)
{
    struct stat now;

    if (fstat(fd, st) < 0)
        return mailbox_write_failed(job, errno);
    job->dsn = "5.2.0";
    if (!S_ISREG(st->st_mode))
        return ph_fail(PH_PERM, "destination %s is not a regular file", job->path);
    if (st->st_nlink > 1)
        return ph_fail(PH_PERM, "file has %u hard links", (unsigned)st->st_nlink);
    if (st->st_nlink == 0 || stat(job->path, &now) < 0 || now.st_ino != st->st_ino || now.st_dev != st->st_dev) {
        job->dsn = "4.2.0";
        ph_fail(PH_TEMP, "mailbox was replaced while it was being locked");
        return MAILBOX_BUSY;       /* a POP server did: try again */
    }
    if (st->st_uid != geteuid()) {
        job->dsn = "4.2.0";
        return ph_fail(PH_TEMP, "destination %s is not owned by recipient", job->path);
    }
    return 0;
}

static int append(struct mailbox_job *job, int fd, const struct stat *st)
{
    uint64_t old = (uint64_t)st->st_size;

    if (job->limit && (old >= job->limit || ph_message_bytes(job->message) > job->limit - old)) {
        job->dsn = "5.2.2";
        return ph_fail(PH_PERM, "error writing message: File too large");
    }
    if (lseek(fd, (off_t)old, SEEK_SET) < 0)
        return mailbox_write_failed(job, errno);
    int rc = mailbox_copy(job, fd, 1);

    if (rc == 0 && write(fd, "\n", 1) != 1)
        rc = mailbox_write_failed(job, errno);
    if (rc == 0 && fsync(fd) < 0)
        rc = mailbox_write_failed(job, errno);
    if (rc != 0 && ftruncate(fd, (off_t)old) < 0)
        return rc;                 /* the first cause is the one to tell */
    return rc;
}

static int deliver_locked(struct mailbox_job *job)
{
    struct stat st;
    int fresh = access(job->path, F_OK) < 0;
    int fd = open(job->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);

    if (fd < 0) {
        /* What the recipient did to his mailbox is his to mend; the rest may pass. */
        int his = errno == EACCES || errno == EPERM || errno == ELOOP || errno == EISDIR || errno == ENXIO;

        job->dsn = his ? "5.2.0" : "4.2.0";
        return ph_fail_errno(his ? PH_PERM : PH_TEMP, errno, "cannot open file");
    }
    int rc = kernel_lock(job, fd);

    if (rc == 0)
        rc = check_file(job, fd, &st);
    if (rc == 0)
        rc = append(job, fd, &st);
    if (close(fd) < 0 && rc == 0)
        rc = mailbox_write_failed(job, errno);
    if (rc == 0 && fresh) {
        char dir[4096];

        snprintf(dir, sizeof dir, "%s", job->path);
        char *slash = strrchr(dir, '/');
        if (slash)
            slash[1] = 0;
        int dfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dfd < 0 || fsync(dfd) < 0)
            rc = mailbox_write_failed(job, errno);
        if (dfd >= 0)
            close(dfd);
    }
    return rc;
}

int mbox_deliver(void *arg)
{
    struct mailbox_job *job = arg;
    char lock[4096];
    int held = 0, rc = 0;

    if ((size_t)snprintf(lock, sizeof lock, "%s.lock", job->path) >= sizeof lock) {
        job->dsn = "5.2.0";
        return ph_fail(PH_PERM, "mailbox name is too long");
    }
    if (job->locks->use_dotlock)
        rc = dotlock(job, lock, &held);
    if (rc == 0)
        rc = deliver_locked(job);
    if (held)
        unlink(lock);
    return rc;
}
