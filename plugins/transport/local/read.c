/* read: .forward and :include: files, opened with the rights of whom they belong
 * to, bounded, and not when everybody could have written them. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <posthorn/disk.h>
#include <posthorn/error.h>
#include "local.h"

/* What the errno of an open means to us. */
static int open_failed(const char *path, int err)
{
    switch (err) {
    case ENOENT: case ENOTDIR: case ENAMETOOLONG:
        return PH_NONE;
    case ELOOP:
        return ph_fail(PH_PERM, "%s: is a symbolic link", path);
    case EACCES: case EPERM:
        return ph_fail_errno(PH_PERM, err, "%s", path);
    default:
        return err ? ph_fail_errno(PH_TEMP, err, "%s", path) : ph_wrap(PH_TEMP, "%s", path);
    }
}

static int check(const struct stat *st, uint64_t limit, struct local_file *f)
{
    f->owner = st->st_uid;
    f->mode = st->st_mode;
    if (!S_ISREG(st->st_mode))
        return ph_fail(PH_PERM, "%s: not a regular file", f->path);
    if (st->st_mode & S_IWOTH)
        return ph_fail(PH_PERM, "%s: everybody may write to it", f->path);
    if ((uint64_t)st->st_size > limit)
        return ph_fail(PH_TEMP, "%s: larger than %llu bytes", f->path, (unsigned long long)limit);
    return 0;
}

int local_file_read(struct local_job *j, const struct local_rights *r, uint32_t flags, uint64_t limit, struct local_file *f)
{
    PH_SCOPED(s, j->scope);
    struct ph_files *files;
    struct stat st;
    int32_t fd = -1, err = 0;
    int rc;

    if ((rc = ph_files_open(s, &r->id, &files)) < 0)
        return rc;
    if ((rc = ph_files_fd(files, f->path, (int32_t)(O_RDONLY | flags), 0, &fd, &err)) < 0)
        return rc == PH_CANCEL ? rc : open_failed(f->path, err);
    ph_defer_close(s, fd);
    if (fstat(fd, &st) < 0)
        return ph_fail_errno(PH_TEMP, errno, "%s", f->path);
    if ((rc = check(&st, limit, f)) < 0)
        return rc;
    char *p = ph_alloc(j->scope, (size_t)st.st_size + 1);
    int64_t got = ph_pread_all(fd, p, (size_t)st.st_size, 0);
    f->text = (ph_str){ p, got > 0 ? (size_t)got : 0 };
    return got < 0 ? ph_wrap((int)got, "%s", f->path) : PH_FOUND;
}
