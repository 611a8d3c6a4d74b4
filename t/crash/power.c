/* power: a model of stable storage, weaker than any journaled filesystem.
 *
 * A write is durable when its file is synced after it; until then each sector of
 * it may be there or not.  A new name is durable when its directory is synced.  A
 * rename is durable when the target's directory is synced, or not at all (it is
 * atomic); renames are lost in reverse order. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include "power.h"

#define SECTOR  512
#define ENTRIES 4096

enum kind { WRITE = 1, CREATE, RENAME };

struct entry {
    enum kind kind;
    uint64_t inode;                /* WRITE */
    int fd;                        /* WRITE: ours on that file */
    uint64_t offset;
    size_t n;
    char *old;
    char from[160], to[160];       /* CREATE: to; RENAME: both; whole paths */
};

struct power {
    char top[64];
    unsigned seed;
    int disorder, n;
    struct entry at[ENTRIES];
    struct entry now;              /* of the call under way */
    uint64_t synced;               /* inode of the file or directory it syncs */
    char synced_dir[160];
};

struct power *power_new(const char *top, unsigned seed)
{
    struct power *p = calloc(1, sizeof *p);

    if (!p)
        exit(99);
    snprintf(p->top, sizeof p->top, "%s", top);
    p->seed = seed;
    return p;
}

static int child_file(pid_t pid, uint64_t fd, int flags)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, (int)fd);
    return open(path, flags | O_CLOEXEC);
}

static void peek(pid_t pid, uint64_t from, void *to, size_t n)
{
    struct iovec here = { to, n }, there = { (void *)(uintptr_t)from, n };

    if (process_vm_readv(pid, &here, 1, &there, 1, 0) != (ssize_t)n)
        memset(to, 0, n);
}

/* A path argument, made whole: all of the queue's are below its directory. */
static void peek_path(const struct power *p, pid_t pid, uint64_t from, char out[160])
{
    char name[96] = "";

    for (size_t i = 0; i + 1 < sizeof name; i++) {
        peek(pid, from + i, name + i, 1);
        if (!name[i])
            break;
    }
    name[sizeof name - 1] = 0;
    if (name[0] == '/')
        snprintf(out, 160, "%s", name);
    else
        snprintf(out, 160, "%s/%s", p->top, name);
}

static void dir_of(const char *path, char out[160])
{
    snprintf(out, 160, "%.*s", (int)(strrchr(path, '/') - path), path);
}

static void begin_write(struct power *p, pid_t pid, uint64_t fd, size_t n, uint64_t offset)
{
    struct entry *e = &p->now;
    struct stat st;

    if (n == 0 || (e->fd = child_file(pid, fd, O_RDWR)) < 0)
        return;
    if (fstat(e->fd, &st) < 0 || !S_ISREG(st.st_mode) || !(e->old = calloc(1, n))) {
        close(e->fd);
        return;
    }
    if (pread(e->fd, e->old, n, (off_t)offset) < 0)
        exit(99);
    e->kind = WRITE;
    e->inode = st.st_ino;
    e->offset = offset;
    e->n = n;
}

static size_t iov_bytes(pid_t pid, uint64_t at, uint64_t count)
{
    size_t n = 0;

    for (uint64_t i = 0; i < count; i++) {
        struct iovec v;

        peek(pid, at + i * sizeof v, &v, sizeof v);
        n += v.iov_len;
    }
    return n;
}

static void begin_sync(struct power *p, pid_t pid, uint64_t fd)
{
    char link[64];
    struct stat st;
    ssize_t n;
    int ours = child_file(pid, fd, O_RDONLY);

    if (ours >= 0 && fstat(ours, &st) == 0) {
        p->synced = st.st_ino;
        snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)pid, (int)fd);
        n = readlink(link, p->synced_dir, sizeof p->synced_dir - 1);
        p->synced_dir[n > 0 && S_ISDIR(st.st_mode) ? n : 0] = 0;
    }
    if (ours >= 0)
        close(ours);
}

void power_enter(struct power *p, pid_t pid, uint64_t nr, const uint64_t a[6])
{
    memset(&p->now, 0, sizeof p->now);
    p->synced = 0;
    p->synced_dir[0] = 0;
    switch (nr) {
    case SYS_pwritev:
        begin_write(p, pid, a[0], iov_bytes(pid, a[1], a[2]), a[3]);
        break;
    case SYS_pwrite64:
        begin_write(p, pid, a[0], a[2], a[3]);
        break;
    case SYS_fsync: case SYS_fdatasync:
        begin_sync(p, pid, a[0]);
        break;
    case SYS_openat:
        if (a[2] & O_CREAT) {
            p->now.kind = CREATE;
            peek_path(p, pid, a[1], p->now.to);
        }
        break;
    case SYS_renameat2:
        p->now.kind = RENAME;
        peek_path(p, pid, a[1], p->now.from);
        peek_path(p, pid, a[3], p->now.to);
        break;
    }
}

static void forget(struct power *p, int i)
{
    if (p->at[i].kind == WRITE)
        close(p->at[i].fd);
    free(p->at[i].old);
    memmove(&p->at[i], &p->at[i + 1], (size_t)(--p->n - i) * sizeof p->at[0]);
}

/* A file or directory is synced: what it makes durable, and what it must not. */
static void settle(struct power *p)
{
    char dir[160];

    for (int i = 0; i < p->n;) {
        struct entry *e = &p->at[i];
        int done = e->kind == WRITE && e->inode == p->synced;

        if (e->kind != WRITE && p->synced_dir[0]) {
            dir_of(e->to, dir);
            done = strcmp(dir, p->synced_dir) == 0;
            if (!done && e->kind == RENAME) {
                dir_of(e->from, dir);
                p->disorder |= strcmp(dir, p->synced_dir) == 0 && strstr(dir, "/pool/") != NULL;
            }
        }
        if (done)
            forget(p, i);
        else
            i++;
    }
}

void power_leave(struct power *p, pid_t pid, int64_t result)
{
    (void)pid;
    if (p->now.kind && (result >= 0 || p->now.kind == WRITE)) {
        if (p->n == ENTRIES)
            exit(98);
        p->at[p->n++] = p->now;
    } else if (p->synced && result == 0) {
        settle(p);
    }
    memset(&p->now, 0, sizeof p->now);
    p->synced = 0;
}

/* The same chance for one sector whatever was written to it. */
static int is_lost(const struct power *p, uint64_t inode, uint64_t sector)
{
    uint64_t x = (inode * 0x9e3779b97f4a7c15u) ^ (sector + 1) * 0xbf58476d1ce4e5b9u ^ (uint64_t)p->seed << 32;

    x ^= x >> 29;
    x *= 0x94d049bb133111ebu;
    return (x >> 40) & 1;
}

static void take_back(struct power *p, const struct entry *e)
{
    for (size_t i = 0; i < e->n;) {
        uint64_t at = e->offset + i;
        size_t n = SECTOR - at % SECTOR;

        if (n > e->n - i)
            n = e->n - i;
        if (is_lost(p, e->inode, at / SECTOR) && pwrite(e->fd, e->old + i, n, (off_t)at) != (ssize_t)n)
            exit(97);
        i += n;
    }
}

int power_lose(struct power *p)
{
    int disorder = p->disorder, renames_hold = p->seed % 3 == 0;

    if (p->now.kind == WRITE)      /* the call that was under way: it may have begun */
        p->at[p->n++] = p->now;
    while (p->n > 0) {
        struct entry *e = &p->at[p->n - 1];

        if (e->kind == WRITE)
            take_back(p, e);
        else if (e->kind == CREATE)
            unlink(e->to);
        else if (!renames_hold && rename(e->to, e->from) == 0)
            renames_hold = is_lost(p, (uint64_t)p->n, 7);
        forget(p, p->n - 1);
    }
    free(p);
    return disorder;
}
