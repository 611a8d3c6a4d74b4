/* maildir: tmp, sync, link to new, sync new.  A message is in new/ whole or not
 * at all, and on stable storage before we say so. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>
#include <posthorn/buf.h>
#include <posthorn/error.h>
#include "plugins/transport/common/mailbox.h"

/* Host part of the name: as the kernel gives it, with '/' and ':' written so
 * that maildir readers do not take them for their own. */
static void host_name(struct ph_buf *out)
{
    char host[256];

    if (gethostname(host, sizeof host) != 0)
        snprintf(host, sizeof host, "localhost");
    host[sizeof host - 1] = 0;
    for (const char *p = host; *p; p++)
        if (*p == '/' || *p == ':')
            ph_buf_printf(out, "\\%03o", (unsigned)*p);
        else
            ph_buf_putc(out, *p);
}

/* One directory of the path, mode 0700, its name on stable storage.  What we may
 * not make (or not look at) above the base is there already. */
static int make_dir(struct mailbox_job *job, char *path, int32_t *err)
{
    int rc = ph_files_mkdir(job->files, path, 0700, err);

    if (rc < 0)
        return *err == EEXIST || *err == EACCES || *err == EROFS ? 0 : rc;
    char *slash = strrchr(path, '/');
    *slash = 0;
    rc = ph_files_sync_dir(job->files, path[0] ? path : "/", err);
    *slash = '/';
    return rc;
}

/* mkdir -p below an existing base. */
static int make_dirs(struct mailbox_job *job, char *path, int32_t *err)
{
    int rc = 0;

    for (char *at = path + 1; rc == 0 && (at = strchr(at, '/')); at++) {
        *at = 0;
        rc = make_dir(job, path, err);
        *at = '/';
    }
    if (rc == 0)
        rc = make_dir(job, path, err);
    return rc < 0 ? rc : ph_files_access(job->files, path, X_OK, err);
}

/* The three directories, made when missing; tmp last: who finds it (another
 * thread, another process) finds the others too. */
static int make_maildir(struct mailbox_job *job)
{
    static const char *const subs[] = { "cur", "new", "tmp" };
    char path[4096];

    for (size_t i = 0; i < sizeof subs / sizeof *subs; i++) {
        int32_t err = ENAMETOOLONG;
        int rc = PH_TEMP;

        if ((size_t)snprintf(path, sizeof path, "%s%s", job->path, subs[i]) < sizeof path)
            rc = make_dirs(job, path, &err);
        if (rc < 0)
            return mailbox_files_failed(job, rc, err, "create maildir %s%s", job->path, subs[i]);
    }
    return 0;
}

/* 0 and *fd, the name in tmp. */
static int tmp_open(struct mailbox_job *job, const char *host, char *tmp, size_t size, int32_t *fd)
{
    struct timeval now;
    int32_t err = 0;
    int rc;

    gettimeofday(&now, NULL);
    /* The address of the job keeps parallel deliveries of one process apart. */
    snprintf(tmp, size, "%stmp/%lld.P%dJ%lxM%ld.%s", job->path, (long long)now.tv_sec, (int)getpid(),
             (unsigned long)(uintptr_t)job, (long)now.tv_usec, host);
    for (int made = 0; ; made = 1) {
        rc = ph_files_fd(job->files, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, fd, &err);
        if (rc == 0 || err != ENOENT || made)
            break;
        if ((rc = make_maildir(job)) < 0)
            return rc;
    }
    return rc < 0 ? mailbox_files_failed(job, rc, err, "create maildir file %s", tmp) : 0;
}

/* The written file is on disk: 0.  It is closed in any case, and here: what a
 * close has to say counts before the file has its name, not after. */
static int finish_file(struct mailbox_job *job, int fd, int rc, struct stat *st)
{
    if (rc == 0 && (fsync(fd) < 0 || fstat(fd, st) < 0))
        rc = mailbox_write_failed(job, errno);
    if (close(fd) < 0 && errno != EINTR && rc == 0)    /* EINTR: closed, and synced before */
        rc = mailbox_write_failed(job, errno);
    return rc;
}

/* Give it its final name and make that name stable. */
static int publish(struct mailbox_job *job, const struct stat *st, const char *host, const char *tmp)
{
    struct timeval now;
    char final[4096];

    gettimeofday(&now, NULL);
    if ((size_t)snprintf(final, sizeof final, "%snew/%lld.V%llxI%llxM%ld.%s", job->path, (long long)now.tv_sec,
                         (unsigned long long)st->st_dev, (unsigned long long)st->st_ino, (long)now.tv_usec, host) >= sizeof final) {
        job->dsn = "4.2.0";
        return ph_fail(PH_TEMP, "maildir name is too long");
    }
    int32_t err = 0;
    int rc = ph_files_rename(job->files, tmp, final, PH_FILES_NOREPLACE | PH_FILES_SYNC, &err);
    /* A maildir of somebody else's making may have tmp alone, for a moment or for good. */
    if (rc < 0 && err == ENOENT) {
        if ((rc = make_maildir(job)) < 0)
            return rc;
        rc = ph_files_rename(job->files, tmp, final, PH_FILES_NOREPLACE | PH_FILES_SYNC, &err);
    }
    /* The name is part of the promise.  After a failed sync the message may
     * still be there: a later try can duplicate it, which is allowed. */
    return rc < 0 ? mailbox_files_failed(job, rc, err, "rename %s to %s", tmp, final) : 0;
}

int maildir_deliver(void *arg)
{
    struct mailbox_job *job = arg;
    char tmp[4096], host_mem[1100];
    struct ph_buf host;
    struct stat st;
    int32_t fd;
    int rc;

    if (job->limit && ph_message_bytes(job->message) > job->limit) {
        job->dsn = "5.2.2";
        return ph_fail(PH_PERM, "error writing message: File too large");
    }
    ph_buf_fixed(&host, host_mem, sizeof host_mem);
    host_name(&host);
    if ((rc = tmp_open(job, host.p, tmp, sizeof tmp, &fd)) < 0)
        return rc;
    rc = mailbox_copy(job, fd, 0);
    if ((rc = finish_file(job, fd, rc, &st)) == 0)
        rc = publish(job, &st, host.p, tmp);
    if (rc != 0)
        mailbox_unlink(job, tmp);
    return rc;
}
