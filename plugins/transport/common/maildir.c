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
#include <posthorn/disk.h>
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

/* A delivery under way. */
struct maildir {
    struct mailbox_job *job;
    const char *host, *tmp;        /* our name; the file's name while it is written */
    int32_t fd;
    struct stat st;
};

/* A new file in tmp: 0. */
static int tmp_open(struct maildir *m, struct ph_scope *s)
{
    struct mailbox_job *job = m->job;
    struct timeval now;
    int32_t err = 0;
    int rc;

    gettimeofday(&now, NULL);
    /* The address of the job keeps parallel deliveries of one process apart. */
    m->tmp = ph_str_printf(s, "%stmp/%lld.P%dJ%lxM%ld.%s", job->path, (long long)now.tv_sec, (int)getpid(),
                           (unsigned long)(uintptr_t)job, (long)now.tv_usec, m->host).p;
    for (int made = 0; ; made = 1) {
        rc = ph_files_fd(job->files, m->tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, &m->fd, &err);
        if (rc == 0 || err != ENOENT || made)
            break;
        if ((rc = make_maildir(job)) < 0)
            return rc;
    }
    return rc < 0 ? mailbox_files_failed(job, rc, err, "create maildir file %s", m->tmp) : 0;
}

/* The whole file, on disk: 0.  It is closed in any case, and here: what a close has
 * to say counts before the file has its name, not after.  In the disk pool. */
static int write_file(void *arg)
{
    struct maildir *m = arg;
    int rc = mailbox_copy(m->job, m->fd, 0);

    if (rc == 0 && (fsync(m->fd) < 0 || fstat(m->fd, &m->st) < 0))
        rc = mailbox_write_failed(m->job, errno);
    if (close(m->fd) < 0 && errno != EINTR && rc == 0) /* EINTR: closed, and synced before */
        rc = mailbox_write_failed(m->job, errno);
    return rc;
}

/* Give it its final name and make that name stable. */
static int publish(struct maildir *m, struct ph_scope *s)
{
    struct mailbox_job *job = m->job;
    struct timeval now;

    gettimeofday(&now, NULL);
    const char *final = ph_str_printf(s, "%snew/%lld.V%llxI%llxM%ld.%s", job->path, (long long)now.tv_sec, (unsigned long long)m->st.st_dev,
                                      (unsigned long long)m->st.st_ino, (long)now.tv_usec, m->host).p;
    int32_t err = 0;
    int rc = ph_files_rename(job->files, m->tmp, final, PH_FILES_NOREPLACE | PH_FILES_SYNC, &err);
    /* A maildir of somebody else's making may have tmp alone, for a moment or for good. */
    if (rc < 0 && err == ENOENT) {
        if ((rc = make_maildir(job)) < 0)
            return rc;
        rc = ph_files_rename(job->files, m->tmp, final, PH_FILES_NOREPLACE | PH_FILES_SYNC, &err);
    }
    /* The name is part of the promise.  After a failed sync the message may
     * still be there: a later try can duplicate it, which is allowed. */
    return rc < 0 ? mailbox_files_failed(job, rc, err, "rename %s to %s", m->tmp, final) : 0;
}

/* The steps are the task's, not one function in the disk pool: a thread is held for
 * the sync of the file only, and deliveries that make their names at the same time
 * share the sync of the directory. */
int maildir_deliver(struct mailbox_job *job)
{
    PH_SCOPED(s, NULL);
    struct maildir m = { .job = job };
    struct ph_buf host;
    int rc;

    if (job->limit && ph_message_bytes(job->message) > job->limit) {
        job->dsn = "5.2.2";
        return ph_fail(PH_PERM, "error writing message: File too large");
    }
    ph_buf_init(&host, s, 1100);
    host_name(&host);
    m.host = host.p;
    if ((rc = tmp_open(&m, s)) < 0)
        return rc;
    if ((rc = ph_disk(write_file, &m)) == 0)
        rc = publish(&m, s);
    if (rc != 0)
        mailbox_unlink(job, m.tmp);
    return rc;
}
