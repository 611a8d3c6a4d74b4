/* path: may we load what stands there?  Each directory on the way decides too:
 * who may write one of them may put another file in its place. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/plugin/internal.h"

static int check_one(const char *path, int is_last)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return ph_fail_errno(PH_CONF, errno, "%s", path);
    if (st.st_uid != 0 && st.st_uid != geteuid() && st.st_uid != getuid())
        return ph_fail(PH_CONF, "%s: owned by uid %u, neither root nor us: not loaded; change its owner", path, (unsigned)st.st_uid);
    /* A sticky directory (/tmp) lets nobody replace what is another's. */
    int sticky_dir = S_ISDIR(st.st_mode) && st.st_mode & S_ISVTX;
    if (st.st_mode & (S_IWGRP | S_IWOTH) && !sticky_dir)
        return ph_fail(PH_CONF, "%s: writable by %s: not loaded; run chmod go-w", path, st.st_mode & S_IWOTH ? "everybody" : "its group");
    if (is_last && !S_ISREG(st.st_mode))
        return ph_fail(PH_CONF, "%s: not a regular file", path);
    return 0;
}

int ph_path_check(const char *path)
{
    char real[PATH_MAX];

    if (path[0] != '/')
        return ph_fail(PH_CONF, "%s: not an absolute path", path);
    if (!realpath(path, real))
        return ph_fail_errno(PH_CONF, errno, "%s", path);
    for (char *at = real + 1; (at = strchr(at, '/')); at++) {
        *at = 0;
        int rc = check_one(real, 0);

        *at = '/';
        if (rc < 0)
            return rc;
    }
    return check_one(real, 1);
}
