/* postsuper -s and -p: the directories of the queue.
 *
 * A name outside the pool is a message's name whatever its inode is, so nothing
 * is renamed here after a queue was restored from a copy: what -s mends is the
 * place.  deferred has one level of subdirectories chosen by the id, the logs of
 * bounce those of hash_queue_names and hash_queue_depth, the others none; a file
 * that stands elsewhere below its queue is moved, and directories that are empty
 * then are removed.  Nothing that exists is replaced.  -p removes files that no part of the system would have left: no
 * name of ours, not written for a week. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "core/cmd/postsuper.h"
#include "core/queue/id.h"

#define OLD_SECONDS (7 * 24 * 3600)
#define DEPTH_MAX   4                  /* below a queue; what is deeper is not ours */
#define PATH_BYTES  512

static const struct { const char *name; int is_log; } queues[] = {
    { "defer", 1 }, { "bounce", 1 }, { "trace", 1 }, { "maildrop", 0 }, { "incoming", 0 }, { "active", 0 },
    { "deferred", 0 }, { "hold", 0 }, { "flush", 0 },
};

struct tree {
    struct postsuper *p;
    const char *queue;
    int levels, purge, structure;
    uint64_t moved, purged;
};

static int log_levels(struct postsuper *p, const char *queue)
{
    ph_str names = ph_conf_value(p->conf, p->scope, "hash_queue_names"), name;
    int64_t depth = 0;

    if (ph_conf_get_i64(p->conf, "hash_queue_depth", &depth) < 0)
        return 0;
    while ((name = ph_str_token(&names, ", \t\r\n")).n)
        if (ph_str_eq(name, ph_cstr(queue)))
            return depth < 5 ? (int)depth : 5;
    return 0;
}

void postsuper_log_path(struct postsuper *p, const char *log, const char *id, char *path, size_t size)
{
    int levels = log_levels(p, log), n = snprintf(path, size, "%s/", log);
    char hash[6];

    ph_id_hash(ph_cstr(id), hash);
    for (int i = 0; i < levels; i++)
        n += snprintf(path + n, size - (size_t)n, "%c/", hash[i]);
    snprintf(path + n, size - (size_t)n, "%s", id);
}

/* Where what has that name belongs; the directories are made. */
static void right_place(const struct tree *t, const char *name, char path[PATH_BYTES])
{
    char hash[6];
    int n = snprintf(path, PATH_BYTES, "%s/", t->queue);

    ph_id_hash(ph_cstr(name), hash);
    for (int i = 0; i < t->levels; i++) {
        n += snprintf(path + n, PATH_BYTES - (size_t)n, "%c", hash[i]);
        if (mkdirat(t->p->queue_dir, path, 0700) < 0 && errno != EEXIST)
            ph_log_warn("make directory %s: %s", path, strerror(errno));
        n += snprintf(path + n, PATH_BYTES - (size_t)n, "/");
    }
    snprintf(path + n, PATH_BYTES - (size_t)n, "%s", name);
}

static void move(struct tree *t, const char *from, const char *name)
{
    char to[PATH_BYTES];

    right_place(t, name, to);
    if (strcmp(from, to) == 0)
        return;
    if (renameat2(t->p->queue_dir, from, t->p->queue_dir, to, RENAME_NOREPLACE) == 0) {
        ph_log("%s: moved to %s", from, to);
        t->moved++;
    } else if (errno != ENOENT)
        ph_log_warn("%s: cannot be moved to %s: %s", from, to, strerror(errno));
}

/* Made by nobody of us, or never finished. */
static int is_litter(const struct tree *t, const char *name, const struct stat *st)
{
    if (st->st_mtime > time(NULL) - OLD_SECONDS || !S_ISREG(st->st_mode))
        return 0;
    if (strcmp(t->queue, "maildrop") == 0)
        return name[0] == '.' || !(st->st_mode & S_IXUSR);
    return strcmp(t->queue, "flush") != 0 && !ph_id_is_name(ph_cstr(name));
}

static void look_at_file(struct tree *t, const char *path, const char *name, const struct stat *st)
{
    if (t->purge && is_litter(t, name, st)) {
        if (unlinkat(t->p->queue_dir, path, 0) == 0)
            t->purged++;
        else
            ph_log_warn("remove %s: %s", path, strerror(errno));
    } else if (t->structure && S_ISREG(st->st_mode) && ph_id_is_name(ph_cstr(name)) && strcmp(t->queue, "flush") != 0)
        move(t, path, name);
}

static void walk(struct tree *t, const char *path, int depth);

static void look_at(struct tree *t, const char *path, const char *name, int depth)
{
    struct stat st;

    if (fstatat(t->p->queue_dir, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    if (!S_ISDIR(st.st_mode)) {
        look_at_file(t, path, name, &st);
        return;
    }
    if (depth == DEPTH_MAX)
        return;
    walk(t, path, depth + 1);
    /* Only what is empty goes; those of the first level belong to the layout. */
    if (t->structure && !(depth < t->levels && name[0] && !name[1] && strchr("0123456789ABCDEF", name[0])))
        unlinkat(t->p->queue_dir, path, AT_REMOVEDIR);
}

static void walk(struct tree *t, const char *path, int depth)
{
    int fd = openat(t->p->queue_dir, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;
    char below[PATH_BYTES];

    if (fd >= 0 && !d)
        close(fd);
    if (!d) {
        if (errno != ENOENT)
            ph_log_warn("open directory %s: %s", path, strerror(errno));
        return;
    }
    while ((e = readdir(d)) != NULL)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
            snprintf(below, sizeof below, "%s/%s", path, e->d_name) < (int)sizeof below)
            look_at(t, below, e->d_name, depth);
    closedir(d);
}

/* Only what is safe in a signal handler. */
static void on_signal(int signo PH_UNUSED)
{
    static const char text[] = "postsuper: warning: OPERATION INCOMPLETE -- RERUN COMMAND TO FIX THE QUEUE FIRST\n";

    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(1);
}

static void handle_signals(void (*handler)(int))
{
    static const int signals[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM };
    struct sigaction old, new = { .sa_handler = handler };

    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(signals[i], &new, NULL);
}

static int is_wanted(const struct postsuper *p, const char *queue)
{
    for (size_t i = 0; i < p->queue_count; i++)
        if (ph_str_eq(p->queues[i], ph_cstr(queue)))
            return 1;
    return p->queue_count == 0;
}

void postsuper_tree(struct postsuper *p, int structure, int purge)
{
    handle_signals(on_signal);
    for (size_t i = 0; i < sizeof queues / sizeof *queues; i++) {
        struct tree t = { .p = p, .queue = queues[i].name, .purge = purge, .structure = structure };

        t.levels = queues[i].is_log ? log_levels(p, t.queue) : strcmp(t.queue, "deferred") == 0;

        if (is_wanted(p, t.queue))
            walk(&t, t.queue, 0);
        if (t.moved)
            ph_log("%s: %llu misplaced file%s moved", t.queue, (unsigned long long)t.moved, t.moved == 1 ? "" : "s");
        if (t.purged)
            ph_log("%s: %llu old file%s removed", t.queue, (unsigned long long)t.purged, t.purged == 1 ? "" : "s");
    }
    handle_signals(SIG_DFL);
}
