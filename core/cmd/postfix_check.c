/* postfix check: directories, modes, and whether the filesystem keeps the
 * promise: a rename that survives power loss, a sync that is one. */
#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/cmd/cmd.h"
#include "core/cmd/layout.h"
#include "core/cmd/postfix.h"

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

static int quiet;

void postfix_check_quietly(void)
{
    quiet = 1;
}

/* The name of the filesystem, for who asked. */
static void say_filesystem(const char *queue, const char *name)
{
    if (!quiet)
        ph_cmd_info("queue_directory %s is on %s", queue, name);
}

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
        say_filesystem(queue, filesystems[i].name);
        if (filesystems[i].warning)
            ph_cmd_warn("%s is on %s: %s", queue, filesystems[i].name, filesystems[i].warning);
        return 0;
    }
    say_filesystem(queue, "a filesystem of an unknown type");
    ph_cmd_warn("%s: nothing is known of this filesystem: see that a rename is atomic across power loss and that sync is not ignored", queue);
    return 0;
}

/* Owners and modes are warnings: `set-permissions` repairs them. */
static void check_layout(struct postfix *p)
{
    struct layout l;

    if (layout_open(&l, p->scope, p->conf, "") < 0 || layout_make(&l) < 0) {
        ph_cmd_warn("%s", ph_error());
        return;
    }
    l.shallow = quiet;             /* a start must not wait for a million files */
    unsigned n = layout_check(&l);
    if (n)
        ph_cmd_warn("%u deviations; \"postfix set-permissions\" repairs owners and modes of its own files", n);
}

int postfix_check(struct postfix *p)
{
    check_layout(p);
    return check_filesystem(ph_cstr_dup(p->scope, p->queue_directory));
}
