/* hands: the calls on names that a delivery makes: through the helper that has
 * the owner's rights, or, when the owner is this very process, by itself. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "plugins/transport/common/mailbox.h"

/* Answer of a plain call: 0, or PH_TEMP and *err. */
static int done(int rc, int32_t *err)
{
    if (rc >= 0)
        return 0;
    if (err)
        *err = errno;
    return PH_TEMP;
}

int mailbox_fd(struct mailbox_job *job, const char *path, int flags, unsigned mode, int32_t *fd, int32_t *err)
{
    if (job->files)
        return ph_files_fd(job->files, path, flags, mode, fd, err);
    *fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, mode);
    return done(*fd, err);
}

int mailbox_stat(struct mailbox_job *job, const char *path, struct ph_file_stat *out)
{
    struct stat st;

    *out = (struct ph_file_stat){ .size = sizeof *out };
    if (job->files)
        return ph_files_stat(job->files, path, 0, out, NULL);
    if (stat(path, &st) < 0)
        return PH_TEMP;
    out->mode = st.st_mode;
    out->uid = st.st_uid;
    out->gid = st.st_gid;
    out->device = st.st_dev;
    out->inode = st.st_ino;
    out->nlink = st.st_nlink;
    out->bytes = st.st_size;
    out->mtime_s = st.st_mtime;
    return 0;
}

int mailbox_access(struct mailbox_job *job, const char *path, int mode, int32_t *err)
{
    return job->files ? ph_files_access(job->files, path, (uint32_t)mode, err) : done(access(path, mode), err);
}

int mailbox_mkdir(struct mailbox_job *job, const char *path, unsigned mode, int32_t *err)
{
    return job->files ? ph_files_mkdir(job->files, path, mode, err) : done(mkdir(path, mode), err);
}

int mailbox_rename(struct mailbox_job *job, const char *from, const char *to, int32_t *err)
{
    return job->files ? ph_files_rename(job->files, from, to, PH_FILES_NOREPLACE, err)
                      : done(renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE), err);
}

void mailbox_unlink(struct mailbox_job *job, const char *path)
{
    if (job->files)
        ph_files_unlink(job->files, path, NULL);
    else
        unlink(path);
}

int mailbox_sync_dir(struct mailbox_job *job, const char *path, int32_t *err)
{
    if (job->files)
        return ph_files_sync_dir(job->files, path, err);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = fd < 0 ? -1 : fsync(fd), keep = errno;

    if (fd >= 0)
        close(fd);
    errno = keep;
    return done(rc, err);
}
