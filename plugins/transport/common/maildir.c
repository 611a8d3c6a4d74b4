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

static int sync_path(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return -1;
    int rc = fsync(fd);

    close(fd);
    return rc;
}

/* One directory of the path, mode 0700, its name on stable storage.  What we may
 * not make (or not look at) above the base is there already. */
static int make_dir(char *path)
{
    if (mkdir(path, 0700) < 0)
        return errno == EEXIST || errno == EACCES || errno == EROFS ? 0 : -1;
    char *slash = strrchr(path, '/');
    *slash = 0;
    int rc = sync_path(path[0] ? path : "/");

    *slash = '/';
    return rc;
}

/* mkdir -p below an existing base. */
static int make_dirs(char *path)
{
    for (char *at = path + 1; (at = strchr(at, '/')); at++) {
        *at = 0;
        int rc = make_dir(path);

        *at = '/';
        if (rc < 0)
            return -1;
    }
    return make_dir(path) < 0 || access(path, X_OK) < 0 ? -1 : 0;
}

/* The three directories, made when missing; tmp last: who finds it (another
 * thread, another process) finds the others too. */
static int make_maildir(struct mailbox_job *job)
{
    static const char *const subs[] = { "cur", "new", "tmp" };
    char path[4096];

    for (size_t i = 0; i < sizeof subs / sizeof *subs; i++) {
        if ((size_t)snprintf(path, sizeof path, "%s%s", job->path, subs[i]) >= sizeof path || make_dirs(path) < 0) {
            job->dsn = "4.2.0";
            return ph_fail_errno(PH_TEMP, errno, "create maildir %s%s", job->path, subs[i]);
        }
    }
    return 0;
}

static int sync_new(const char *maildir)
{
    char path[4096];

    snprintf(path, sizeof path, "%snew", maildir);
    return sync_path(path);
}

static int tmp_open(struct mailbox_job *job, const char *host, char *tmp, size_t size, int *made)
{
    struct timeval now;

    gettimeofday(&now, NULL);
    /* The address of the job keeps parallel deliveries of one process apart. */
    snprintf(tmp, size, "%stmp/%lld.P%dJ%lxM%ld.%s", job->path, (long long)now.tv_sec, (int)getpid(),
             (unsigned long)(uintptr_t)job, (long)now.tv_usec, host);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0 && errno == ENOENT && !*made) {
        *made = 1;
        if (make_maildir(job) < 0)
            return -1;
        return tmp_open(job, host, tmp, size, made);
    }
    if (fd < 0) {
        job->dsn = "4.2.0";
        ph_fail_errno(PH_TEMP, errno, "create maildir file %s", tmp);
        return -1;
    }
    return fd;
}

/* Give the written file its final name and make that name stable. */
static int publish(struct mailbox_job *job, int fd, const char *host, const char *tmp)
{
    struct stat st;
    struct timeval now;
    char final[4096];

    if (fsync(fd) < 0 || fstat(fd, &st) < 0)
        return mailbox_write_failed(job, errno);
    gettimeofday(&now, NULL);
    if ((size_t)snprintf(final, sizeof final, "%snew/%lld.V%llxI%llxM%ld.%s", job->path, (long long)now.tv_sec,
                         (unsigned long long)st.st_dev, (unsigned long long)st.st_ino, (long)now.tv_usec, host) >= sizeof final) {
        job->dsn = "4.2.0";
        return ph_fail(PH_TEMP, "maildir name is too long");
    }
    int err = renameat2(AT_FDCWD, tmp, AT_FDCWD, final, RENAME_NOREPLACE) < 0 ? errno : 0;
    /* A maildir of somebody else's making may have tmp alone, for a moment or for good. */
    if (err == ENOENT) {
        int rc = make_maildir(job);

        if (rc < 0)
            return rc;
        err = renameat2(AT_FDCWD, tmp, AT_FDCWD, final, RENAME_NOREPLACE) < 0 ? errno : 0;
    }
    if (err) {
        job->dsn = "4.2.0";
        return ph_fail_errno(PH_TEMP, err, "rename %s to %s", tmp, final);
    }
    /* The name is part of the promise.  After a failed sync the message may
     * still be there: a later try can duplicate it, which is allowed. */
    if (sync_new(job->path) < 0)
        return mailbox_write_failed(job, errno);
    return 0;
}

int maildir_deliver(void *arg)
{
    struct mailbox_job *job = arg;
    char tmp[4096], host_mem[1100];
    struct ph_buf host;
    int made = 0;

    if (job->limit && ph_message_bytes(job->message) > job->limit) {
        job->dsn = "5.2.2";
        return ph_fail(PH_PERM, "error writing message: File too large");
    }
    ph_buf_fixed(&host, host_mem, sizeof host_mem);
    host_name(&host);
    int fd = tmp_open(job, host.p, tmp, sizeof tmp, &made);
    if (fd < 0)
        return PH_TEMP;
    int rc = mailbox_copy(job, fd, 0);

    if (rc == 0)
        rc = publish(job, fd, host.p, tmp);
    if (close(fd) < 0 && rc == 0)
        rc = mailbox_write_failed(job, errno);
    if (rc != 0)
        unlink(tmp);
    return rc;
}
