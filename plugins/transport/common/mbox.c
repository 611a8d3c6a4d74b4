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

/* Another holds it: worth another try. */
static int busy(struct mailbox_job *job, int rc)
{
    job->busy = 1;
    job->dsn = "4.2.0";
    return rc;
}

/* FILE.lock, made with O_EXCL before the mailbox is opened.  0, or negative;
 * *held tells whether there is one to remove. */
static int dotlock(struct mailbox_job *job, const char *lock, int *held)
{
    struct ph_file_stat st = { .size = sizeof st };
    int32_t err = 0, fd;
    int rc = ph_files_fd(job->files, lock, O_WRONLY | O_CREAT | O_EXCL, 0600, &fd, &err);

    if (rc == 0) {
        close(fd);
        *held = 1;
        return 0;
    }
    if (err == EEXIST) {
        if (ph_files_stat(job->files, lock, 0, &st, NULL) == 0 && time(NULL) - st.mtime_s > job->locks->stale_s)
            mailbox_unlink(job, lock);
        return busy(job, ph_fail(PH_TEMP, "unable to create lock file %s: File exists", lock));
    }
    if (job->is_file && err) {     /* somebody's file, perhaps in a directory that is not his */
        job->no_lock_file = 1;
        return 0;
    }
    rc = mailbox_files_failed(job, rc, err, "unable to create lock file %s", lock);
    job->dsn = err ? "4.2.0" : job->dsn;
    return rc == PH_PERM ? PH_TEMP : rc;
}

/* The fcntl lock is the descriptor's, not the process's (F_OFD_SETLK): another
 * delivery of this very process must be kept out too, and must not end it. */
static int kernel_lock(struct mailbox_job *job, int fd)
{
    struct flock lk = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

    if ((job->locks->use_fcntl && fcntl(fd, F_OFD_SETLK, &lk) < 0) || (job->locks->use_flock && flock(fd, LOCK_EX | LOCK_NB) < 0)) {
        if (errno == EAGAIN || errno == EACCES || errno == EWOULDBLOCK)
            return busy(job, ph_fail(PH_TEMP, "unable to lock for exclusive access: Resource temporarily unavailable"));
        job->dsn = "4.2.0";
        return ph_fail_errno(PH_TEMP, errno, "unable to lock for exclusive access");
    }
    return 0;
}

/* Is the file at the path still the one that was opened and locked? */
static int is_replaced(struct mailbox_job *job, const struct stat *st)
{
    struct ph_file_stat now = { .size = sizeof now };

    return st->st_nlink == 0 || ph_files_stat(job->files, job->path, 0, &now, NULL) < 0 ||
           now.inode != st->st_ino || now.device != st->st_dev;
}

/* What was opened must be the mailbox itself, and still be there. */
static int check_file(struct mailbox_job *job, const struct stat *st)
{
    job->dsn = "5.2.0";
    if (!S_ISREG(st->st_mode))
        return ph_fail(PH_PERM, "destination %s is not a regular file", job->path);
    if (st->st_nlink > 1)
        return ph_fail(PH_PERM, "file has %u hard links", (unsigned)st->st_nlink);
    job->dsn = "4.2.0";
    if (is_replaced(job, st))      /* a POP server did */
        return busy(job, ph_fail(PH_TEMP, "mailbox was replaced while it was being locked"));
    if (st->st_uid != job->uid && !job->any_owner)
        return ph_fail(PH_TEMP, "destination %s is not owned by recipient", job->path);
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

/* /dev/null, a terminal, a pipe: written to, and that is all. */
static int to_device(struct mailbox_job *job, int fd)
{
    int rc = mailbox_copy(job, fd, 1);

    if (rc == 0 && write(fd, "\n", 1) != 1)
        rc = mailbox_write_failed(job, errno);
    return rc;
}

static int to_file(struct mailbox_job *job, int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return mailbox_write_failed(job, errno);
    if (job->is_file && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return to_device(job, fd);
    int rc = S_ISREG(st.st_mode) ? kernel_lock(job, fd) : 0;
    /* What another wrote before we had the lock counts. */
    if (rc == 0 && fstat(fd, &st) < 0)
        rc = mailbox_write_failed(job, errno);
    if (rc == 0)
        rc = check_file(job, &st);
    return rc == 0 ? append(job, fd, &st) : rc;
}

/* Never a permanent failure: the message is in the file, and must not be returned too. */
static int sync_parent(struct mailbox_job *job)
{
    char dir[4096];

    snprintf(dir, sizeof dir, "%s", job->path);
    *strrchr(dir, '/') = 0;
    int rc = ph_files_sync_dir(job->files, dir[0] ? dir : "/", NULL);
    job->dsn = rc < 0 ? "4.3.0" : job->dsn;
    return rc;
}

static int deliver_locked(struct mailbox_job *job)
{
    int32_t err = 0, fd;
    int fresh = ph_files_access(job->files, job->path, F_OK, NULL) < 0;
    int rc = ph_files_fd(job->files, job->path, O_WRONLY | O_CREAT | O_APPEND | (job->is_file ? 0 : O_NOFOLLOW), 0600, &fd, &err);

    if (rc < 0) {
        rc = mailbox_files_failed(job, rc, err, fresh ? "cannot create file exclusively" : "cannot open file");
        if (!job->is_file || err != ENOENT)
            return rc;
        job->dsn = "5.2.0";
        return PH_PERM;
    }
    rc = to_file(job, fd);
    if (close(fd) < 0 && errno != EINTR && rc == 0)
        rc = mailbox_write_failed(job, errno);
    return rc == 0 && fresh ? sync_parent(job) : rc;
}

/* A device has no lock file beside it. */
static int is_device(struct mailbox_job *job)
{
    struct ph_file_stat st = { .size = sizeof st };

    return job->is_file && ph_files_stat(job->files, job->path, 0, &st, NULL) == 0 && !S_ISREG(st.mode) && !S_ISDIR(st.mode);
}

int mbox_deliver(void *arg)
{
    struct mailbox_job *job = arg;
    char lock[4096];
    int held = 0, rc = 0;

    job->busy = job->no_lock_file = 0;
    if ((size_t)snprintf(lock, sizeof lock, "%s.lock", job->path) >= sizeof lock) {
        job->dsn = "5.2.0";
        return ph_fail(PH_PERM, "mailbox name is too long");
    }
    if (job->locks->use_dotlock && !is_device(job))
        rc = dotlock(job, lock, &held);
    if (rc == 0)
        rc = deliver_locked(job);
    if (held)
        mailbox_unlink(job, lock);
    return rc;
}
