/* postfix check: directories, modes, and whether the filesystem keeps the
 * promise: a rename that survives power loss, a sync that is one. */
#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "core/cmd/cmd.h"
#include "core/cmd/postfix.h"

static const struct { const char *name; mode_t mode; } dirs[] = {
    { "pool", 0700 }, { "incoming", 0700 }, { "active", 0700 }, { "deferred", 0700 }, { "hold", 0700 }, { "corrupt", 0700 },
    { "bounce", 0700 }, { "defer", 0700 }, { "trace", 0700 }, { "flush", 0700 }, { "maildrop", 0700 }, { "private", 0700 },
    { "public", 0755 }, { "pid", 0755 },
};

int postfix_make_dirs(const char *queue, uid_t uid, gid_t gid)
{
    char path[1200];

    if (mkdir(queue, 0755) < 0 && errno != EEXIST)
        return -1;
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
        snprintf(path, sizeof path, "%s/%s", queue, dirs[i].name);
        if (mkdir(path, dirs[i].mode) < 0) {
            if (errno != EEXIST)
                return -1;
            continue;
        }
        /* Another mode only for what we made: an installation may have widened one. */
        if (chmod(path, dirs[i].mode) < 0 || (geteuid() == 0 && chown(path, uid, gid) < 0))
            return -1;
    }
    return 0;
}

#define BTRFS_MAGIC 0x9123683E
#define XFS_MAGIC   0x58465342
#define ZFS_MAGIC   0x2fc12fc1

static const struct { long magic; const char *name, *warning; } filesystems[] = {
    { EXT4_SUPER_MAGIC, "ext4", NULL }, { XFS_MAGIC, "xfs", NULL }, { BTRFS_MAGIC, "btrfs", NULL }, { ZFS_MAGIC, "zfs", NULL },
    { TMPFS_MAGIC, "tmpfs", "it lies in memory: a power loss or a reboot loses all mail in the queue" },
    { RAMFS_MAGIC, "ramfs", "it lies in memory: a power loss or a reboot loses all mail in the queue" },
    { OVERLAYFS_SUPER_MAGIC, "overlay", "a volatile overlay ignores sync and goes away with its container: mount a volume for the queue" },
    { NFS_SUPER_MAGIC, "nfs", "locks and renames are not what they are on a local disk: use a local filesystem" },
    { MSDOS_SUPER_MAGIC, "vfat", "it has no journal and a rename is not atomic across power loss" },
    { FUSE_SUPER_MAGIC, "fuse", "whether sync reaches the disk is up to the program behind it" },
};

static int check_filesystem(const char *queue)
{
    struct statfs fs;

    if (statfs(queue, &fs) < 0) {
        ph_cmd_warn("%s: %s", queue, strerror(errno));
        return 1;
    }
    for (size_t i = 0; i < sizeof filesystems / sizeof *filesystems; i++) {
        if ((long)fs.f_type != filesystems[i].magic)
            continue;
        printf("queue_directory %s is on %s\n", queue, filesystems[i].name);
        if (filesystems[i].warning)
            ph_cmd_warn("%s is on %s: %s", queue, filesystems[i].name, filesystems[i].warning);
        return 0;
    }
    printf("queue_directory %s is on a filesystem of type 0x%lx\n", queue, (unsigned long)fs.f_type);
    ph_cmd_warn("%s: nothing is known of this filesystem: see that a rename is atomic across power loss and that sync is not ignored", queue);
    return 0;
}

/* Others must not write where messages and sockets are. */
static int check_modes(const char *queue)
{
    int bad = 0;
    struct stat st;
    char path[1200];

    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
        snprintf(path, sizeof path, "%s/%s", queue, dirs[i].name);
        if (lstat(path, &st) < 0) {
            ph_cmd_warn("%s: %s", path, strerror(errno));
            bad = 1;
        } else if (!S_ISDIR(st.st_mode)) {
            ph_cmd_warn("%s is not a directory", path);
            bad = 1;
        } else if (st.st_mode & S_IWOTH && !(st.st_mode & S_ISVTX)) {
            ph_cmd_warn("%s is writable by everybody: chmod o-w", path);
            bad = 1;
        }
    }
    return bad;
}

int postfix_check(struct postfix *p)
{
    const char *queue = ph_cstr_dup(p->scope, p->queue_directory);
    struct stat st;

    if (stat(queue, &st) == 0 && postfix_make_dirs(queue, st.st_uid, st.st_gid) < 0)
        ph_cmd_warn("%s: %s", queue, strerror(errno));
    int bad = check_modes(queue);

    return check_filesystem(queue) || bad;
}
