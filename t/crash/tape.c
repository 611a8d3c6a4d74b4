/* tape: see tape.h. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include "tape.h"

static void die(const char *what, const char *name)
{
    printf("Bail out! recording: %s: %s\n", what, name);
    exit(96);
}

/* Room for one more of an array on the scope. */
static void *more(struct ph_scope *s, void *old, int n, int *room, size_t size)
{
    void *now;

    if (n < *room)
        return old;
    *room = n ? n * 2 : 256;
    now = ph_alloc_array(s, (size_t)*room, size);
    if (n)
        memcpy(now, old, (size_t)n * size);
    return now;
}

/* ---- paths and files ---- */

int tape_find_path(const struct tape *t, const char *name)
{
    return (int)(intptr_t)ph_map_get(t->by_name, ph_cstr(name)) - 1;
}

static ph_str inode_key(char buf[24], ino_t inode)
{
    snprintf(buf, 24, "%llu", (unsigned long long)inode);
    return ph_cstr(buf);
}

int tape_find_file(const struct tape *t, ino_t inode)
{
    char buf[24];

    return (int)(intptr_t)ph_map_get(t->by_inode, inode_key(buf, inode)) - 1;
}

static int path_of(struct tape *t, const char *name)
{
    char dir[TAPE_PATH];
    int i = tape_find_path(t, name), parent;

    if (i >= 0)
        return i;
    if (strlen(name) >= TAPE_PATH)
        die("too long", name);
    snprintf(dir, sizeof dir, "%s", name);
    *(strrchr(dir, '/') ? strrchr(dir, '/') : dir) = 0;
    parent = name[0] ? path_of(t, dir) : -1;
    t->path = more(t->scope, t->path, t->paths, &t->path_room, sizeof *t->path);
    struct tape_path *p = &t->path[i = t->paths++];

    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "%s", name);
    p->parent = parent;
    p->first = p->now = TAPE_NONE;
    ph_map_set(t->by_name, ph_cstr(name), (void *)(intptr_t)(i + 1));
    return i;
}

static int file_new(struct tape *t, const struct stat *st)
{
    char buf[24];

    t->file = more(t->scope, t->file, t->files, &t->file_room, sizeof *t->file);
    t->file[t->files] = (struct tape_file){ .inode = st->st_ino, .mode = st->st_mode & 07777, .first_mode = st->st_mode & 07777 };
    ph_map_set(t->by_inode, inode_key(buf, st->st_ino), (void *)(intptr_t)(t->files + 1));
    return t->files++;
}

/* It is at this path now. */
static void bank(struct tape *t, int path)
{
    char from[200], to[100];
    int f = t->path[path].now;

    if (f < 0 || t->file[f].banked)
        return;
    snprintf(from, sizeof from, "%s/%s", t->top, t->path[path].name);
    snprintf(to, sizeof to, "%s/%d", t->bank, f);
    if (link(from, to) < 0)
        die("cannot be kept", from);
    t->file[f].banked = 1;
}

/* ---- what is there at the beginning ---- */

static void first_file(struct tape *t, int path, const char *whole)
{
    struct stat st;
    int fd = open(whole, O_RDONLY | O_CLOEXEC), f;

    if (fd < 0 || fstat(fd, &st) < 0)
        die("cannot be read", whole);
    f = file_new(t, &st);
    t->file[f].size = t->file[f].first_size = (uint64_t)st.st_size;
    t->file[f].first = ph_alloc(t->scope, (size_t)st.st_size + 1);
    if (read(fd, t->file[f].first, (size_t)st.st_size) != st.st_size)
        die("cannot be read", whole);
    t->path[path].first = t->path[path].now = f;
    close(fd);
}

static void first_dir(struct tape *t, const char *name)
{
    char whole[200], sub[TAPE_PATH];
    DIR *d;
    int path = path_of(t, name);

    t->path[path].first = t->path[path].now = TAPE_DIR;
    snprintf(whole, sizeof whole, "%s/%s", t->top, name);
    if (!(d = opendir(whole)))
        die("cannot be read", whole);
    for (const struct dirent *e; (e = readdir(d)); ) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(sub, sizeof sub, "%.40s%s%.50s", name, name[0] ? "/" : "", e->d_name);
        snprintf(whole, sizeof whole, "%s/%s", t->top, sub);
        if (e->d_type == DT_DIR)
            first_dir(t, sub);
        else
            first_file(t, path_of(t, sub), whole);
    }
    closedir(d);
}

struct tape *tape_new(struct ph_scope *s, const char *top, const char *bank_dir, int words)
{
    struct tape *t = ph_alloc(s, sizeof *t);
    struct stat st;

    memset(t, 0, sizeof *t);
    t->scope = s;
    t->by_name = ph_map_new(s);
    t->by_inode = ph_map_new(s);
    snprintf(t->top, sizeof t->top, "%s", top);
    snprintf(t->bank, sizeof t->bank, "%s", bank_dir);
    if (fstat(words, &st) < 0)
        die("no pipe", top);
    t->words = st.st_ino;
    first_dir(t, "");
    return t;
}

void tape_end(struct tape *t)
{
    for (int i = 0; i < t->paths; i++)
        bank(t, i);
}

/* ---- what the process means ---- */

static int stat_fd(pid_t pid, uint64_t fd, struct stat *st)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, (int)fd);
    return stat(path, st);
}

static void peek(pid_t pid, uint64_t from, void *to, size_t n)
{
    struct iovec here = { to, n }, there = { (void *)(uintptr_t)from, n };

    if (n && process_vm_readv(pid, &here, 1, &there, 1, 0) != (ssize_t)n)
        die("memory cannot be read", "process_vm_readv");
}

static void peek_text(pid_t pid, uint64_t from, char *out, size_t size)
{
    size_t i = 0;

    do
        peek(pid, from + i, out + i, 1);
    while (out[i] && ++i + 1 < size);
    out[i] = 0;
}

/* The whole path behind a descriptor: "" when there is none. */
static void path_of_fd(pid_t pid, uint64_t fd, char out[PATH_MAX])
{
    char link[64];
    ssize_t n;

    if ((int)fd == AT_FDCWD)
        snprintf(link, sizeof link, "/proc/%d/cwd", (int)pid);
    else
        snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)pid, (int)fd);
    n = readlink(link, out, PATH_MAX - 1);
    out[n > 0 ? n : 0] = 0;
}

/* Below the top: 1 and the rest of the name. */
static int is_ours(const struct tape *t, const char *whole, char name[TAPE_PATH])
{
    size_t n = strlen(t->top);

    if (strncmp(whole, t->top, n) != 0 || (whole[n] != '/' && whole[n]))
        return 0;
    whole += n + (whole[n] == '/');
    if (strlen(whole) >= TAPE_PATH)
        die("too long", whole);
    memcpy(name, whole, strlen(whole) + 1);
    return 1;
}

/* The path that (directory, name) in the arguments means: 1 and *path. */
static int arg_path(struct tape *t, pid_t pid, uint64_t dir, uint64_t at, int *path)
{
    char whole[PATH_MAX + 204], text[200], name[TAPE_PATH];

    peek_text(pid, at, text, sizeof text);
    if (text[0] == '/') {
        memcpy(whole, text, strlen(text) + 1);
    } else {
        path_of_fd(pid, dir, whole);
        strcat(strcat(whole, "/"), text);
    }
    if (!is_ours(t, whole, name))
        return 0;
    *path = path_of(t, name);
    return 1;
}

static struct tape_op *add(struct tape *t, enum tape_kind kind, int file)
{
    t->op = more(t->scope, t->op, t->ops, &t->op_room, sizeof *t->op);
    struct tape_op *op = &t->op[t->ops++];

    memset(op, 0, sizeof *op);
    op->kind = kind;
    op->file = file;
    op->path = -1;
    return op;
}

static void edit(struct tape *t, struct tape_op *op, int path, int holds)
{
    op->edit[op->edits++] = (struct tape_edit){ path, holds };
    t->path[path].now = holds;
}

static void record_write(struct tape *t, pid_t pid, const struct stat *st, struct iovec *v, uint64_t count, uint64_t offset,
                         uint64_t n)
{
    int f = tape_find_file(t, st->st_ino);
    struct tape_op *op = add(t, TAPE_WRITE, f);
    unsigned char *data = ph_alloc(t->scope, n + 1);
    uint64_t done = 0;

    if (f < 0)
        die("a write to a file that nobody made", "write");
    for (uint64_t i = 0; i < count && done < n; i++) {
        uint64_t part = v[i].iov_len < n - done ? v[i].iov_len : n - done;

        peek(pid, (uint64_t)(uintptr_t)v[i].iov_base, data + done, part);
        done += part;
    }
    op->offset = offset;
    op->n = n;
    op->data = data;
    if (offset + n <= t->file[f].size)
        return;
    t->file[f].size = offset + n;
    add(t, TAPE_SIZE, f)->n = offset + n;
}

static void record_word(struct tape *t, pid_t pid, uint64_t from, uint64_t n)
{
    struct tape_op *op = add(t, TAPE_WORD, -1);

    op->data = ph_alloc(t->scope, n + 1);
    peek(pid, from, op->data, n);
    op->data[n - (n > 0)] = 0;     /* its line end */
    t->broken |= strncmp((const char *)op->data, "breaking ", 9) == 0;
}

/* write(): at the end of a log; or a word; what goes elsewhere is not ours. */
static void leave_write(struct tape *t, pid_t pid, const uint64_t a[6], uint64_t n)
{
    struct iovec v = { (void *)(uintptr_t)a[1], a[2] };
    struct stat st;

    if (stat_fd(pid, a[0], &st) < 0)
        return;
    if (S_ISFIFO(st.st_mode) && st.st_ino == t->words)
        record_word(t, pid, a[1], n);
    else if (S_ISREG(st.st_mode) && tape_find_file(t, st.st_ino) >= 0)
        record_write(t, pid, &st, &v, 1, (uint64_t)st.st_size - n, n);
}

static void leave_pwrite(struct tape *t, pid_t pid, uint64_t nr, const uint64_t a[6], uint64_t n)
{
    struct iovec v[64] = { { (void *)(uintptr_t)a[1], a[2] } };
    struct stat st;

    if (stat_fd(pid, a[0], &st) < 0 || !S_ISREG(st.st_mode))
        return;
    if (nr == SYS_pwritev && a[2] <= sizeof v / sizeof *v)
        peek(pid, a[1], v, a[2] * sizeof *v);
    record_write(t, pid, &st, v, nr == SYS_pwritev ? a[2] : 1, a[3], n);
}

static void leave_sync(struct tape *t, pid_t pid, uint64_t fd, int all)
{
    char whole[PATH_MAX], name[TAPE_PATH];
    struct stat st;
    struct tape_op *op;

    if (stat_fd(pid, fd, &st) < 0)
        return;
    path_of_fd(pid, fd, whole);
    if (S_ISDIR(st.st_mode) && is_ours(t, whole, name)) {
        op = add(t, TAPE_SYNC, -1);
        op->path = path_of(t, name);
        op->all = 1;
    } else if (S_ISREG(st.st_mode) && tape_find_file(t, st.st_ino) >= 0) {
        add(t, TAPE_SYNC, tape_find_file(t, st.st_ino))->all = all;
    }
}

static void leave_open(struct tape *t, pid_t pid, const uint64_t a[6], uint64_t fd)
{
    struct stat st;
    int path;

    if (!(a[2] & O_CREAT) || !arg_path(t, pid, a[0], a[1], &path) || stat_fd(pid, fd, &st) < 0 ||
        tape_find_file(t, st.st_ino) >= 0)
        return;
    edit(t, add(t, TAPE_NAME, -1), path, file_new(t, &st));
}

static void leave_rename(struct tape *t, pid_t pid, const uint64_t a[6])
{
    int from, to, holds;
    struct tape_op *op;

    if (!arg_path(t, pid, a[0], a[1], &from) || !arg_path(t, pid, a[2], a[3], &to))
        return;
    holds = t->path[from].now;
    op = add(t, TAPE_NAME, -1);
    edit(t, op, from, TAPE_NONE);
    edit(t, op, to, holds);
}

static void leave_mode(struct tape *t, int f, uint64_t mode)
{
    if (f < 0)
        return;
    t->file[f].mode = (mode_t)mode;
    add(t, TAPE_MODE, f)->n = mode;
}

/* ---- calls ---- */

static void refuse(struct tape *t, pid_t pid, uint64_t nr, const uint64_t a[6])
{
    char number[24];
    struct stat st;
    int path;

    snprintf(number, sizeof number, "system call %d", (int)nr);
    switch (nr) {
    case SYS_writev: case SYS_pwritev2: case SYS_ftruncate: case SYS_fallocate: case SYS_sendfile: case SYS_copy_file_range:
        if (stat_fd(pid, nr == SYS_copy_file_range ? a[2] : a[0], &st) == 0 && S_ISREG(st.st_mode) &&
            tape_find_file(t, st.st_ino) >= 0)
            die("not modelled", number);
        break;
    case SYS_linkat: case SYS_symlinkat:
        if (arg_path(t, pid, nr == SYS_linkat ? a[2] : a[1], nr == SYS_linkat ? a[3] : a[2], &path))
            die("not modelled", number);
        break;
#ifdef SYS_rename
    case SYS_rename: case SYS_unlink: case SYS_mkdir: case SYS_creat: case SYS_truncate: case SYS_link:
        if (arg_path(t, pid, (uint64_t)AT_FDCWD, a[0], &path))
            die("not modelled", number);
        break;
#endif
    }
}

void tape_enter(struct tape *t, pid_t pid, uint64_t nr, const uint64_t a[6])
{
    int path;

    if (nr == SYS_unlinkat && arg_path(t, pid, a[0], a[1], &path))
        bank(t, path);
    else if ((nr == SYS_renameat2 || nr == SYS_renameat) && arg_path(t, pid, a[2], a[3], &path))
        bank(t, path);
    else
        refuse(t, pid, nr, a);
}

void tape_leave(struct tape *t, pid_t pid, uint64_t nr, const uint64_t a[6], int64_t result)
{
    int path;

    if (result < 0)
        return;
    switch (nr) {
    case SYS_write:
        leave_write(t, pid, a, (uint64_t)result);
        break;
    case SYS_pwritev: case SYS_pwrite64:
        leave_pwrite(t, pid, nr, a, (uint64_t)result);
        break;
    case SYS_fsync: case SYS_fdatasync:
        leave_sync(t, pid, a[0], nr == SYS_fsync);
        break;
    case SYS_openat:
        leave_open(t, pid, a, (uint64_t)result);
        break;
    case SYS_mkdirat:
        if (arg_path(t, pid, a[0], a[1], &path))
            edit(t, add(t, TAPE_NAME, -1), path, TAPE_DIR);
        break;
    case SYS_unlinkat:
        if (arg_path(t, pid, a[0], a[1], &path))
            edit(t, add(t, TAPE_NAME, -1), path, TAPE_NONE);
        break;
    case SYS_renameat2: case SYS_renameat:
        leave_rename(t, pid, a);
        break;
    case SYS_fchmodat:
        if (arg_path(t, pid, a[0], a[1], &path))
            leave_mode(t, t->path[path].now, a[2]);
        break;
    case SYS_fchmod: {
        struct stat st;

        leave_mode(t, stat_fd(pid, a[0], &st) == 0 ? tape_find_file(t, st.st_ino) : -1, a[1]);
        break;
    }
    }
}

void tape_describe(const struct tape *t, int i, char *out, size_t size)
{
    static const char *const names[] = { "write", "size", "mode", "name", "sync", "word" };
    const struct tape_op *op = &t->op[i];

    if (op->kind == TAPE_WORD)
        snprintf(out, size, "\"%s\"", (const char *)op->data);
    else if (op->kind == TAPE_NAME)
        snprintf(out, size, "name %s = %d%s%s", t->path[op->edit[op->edits - 1].path].name, op->edit[op->edits - 1].holds,
                 op->edits == 2 ? " from " : "", op->edits == 2 ? t->path[op->edit[0].path].name : "");
    else if (op->kind == TAPE_SYNC && op->file < 0)
        snprintf(out, size, "sync %s/", t->path[op->path].name);
    else
        snprintf(out, size, "%s file %d %llu+%llu", names[op->kind], op->file, (unsigned long long)op->offset,
                 (unsigned long long)op->n);
}
