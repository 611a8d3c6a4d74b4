/* sweep: a log whose message is gone was left by a crash between removing the
 * one and the other.  qmgr knows which messages there are; a log younger than
 * an hour is left alone, its message may be on its way.
 *
 * A large backlog has as many logs, which all are of messages that exist: a sweep asks
 * about some twenty thousand and begins at any directory, so that in time it comes to each. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <posthorn/client.h>
#include <posthorn/clock.h>
#include <posthorn/disk.h>
#include "bounce.h"

#define YOUNG_S 3600
#define LISTED_MAX 100000u         /* names of one directory */
#define ENOUGH     20000u          /* logs asked about: the next directory is for another sweep */
#define AT_ONCE    100u            /* questions under way */
#define DIRS       17u             /* of each kind: itself, and those of the first level below */

struct listing {
    int dir_fd;
    const char *path;
    int depth;                     /* levels of subdirectories below */
    struct ph_buf *names;          /* ids, each with LF */
    unsigned n;
};

static void list_dir(struct listing *l, const char *path, int depth);

static void list_entry(struct listing *l, DIR *d, const char *path, const char *name, int depth)
{
    struct stat st;
    char sub[512];

    if (name[0] == '.' || l->n >= LISTED_MAX || fstatat(dirfd(d), name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    if (S_ISDIR(st.st_mode) && depth > 0) {
        int n = snprintf(sub, sizeof sub, "%s/%s", path, name);

        if (n > 0 && (size_t)n < sizeof sub)
            list_dir(l, sub, depth - 1);
    } else if (S_ISREG(st.st_mode) && st.st_mtime < time(NULL) - YOUNG_S && log_id_is_valid(ph_cstr(name))) {
        if (ph_buf_printf(l->names, "%s\n", name))
            l->n++;
    }
}

static void list_dir(struct listing *l, const char *path, int depth)
{
    int fd = openat(l->dir_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);

    if (!d) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (const struct dirent *e; l->n < LISTED_MAX && (e = readdir(d)); )
        list_entry(l, d, path, e->d_name, depth);
    closedir(d);
}

static int list_job(void *arg)
{
    struct listing *l = arg;

    list_dir(l, l->path, l->depth);
    return 0;
}

static int greet(struct ph_stream *io, struct ph_scope *s)
{
    struct ph_frame *f = ph_frame_new(s);

    ph_frame_cstr(f, "op", "hello");
    ph_frame_cstr(f, "role", "control");
    ph_frame_cstr(f, "service", "bounce");
    ph_frame_u64(f, "pid", (uint64_t)getpid());
    return ph_frame_send(io, f);
}

static int ask(struct ph_stream *io, struct ph_scope *s, ph_str id)
{
    struct ph_frame *f = ph_frame_new(s);

    ph_frame_cstr(f, "op", "exists");
    ph_frame_str(f, "queue_id", id);
    return ph_frame_send(io, f);
}

/* 1 known to qmgr, 0 not; negative: cannot know. */
static int hear(struct ph_stream *io, struct ph_scope *s, ph_str id)
{
    struct ph_frame *reply;
    uint64_t found = 1;
    int rc = ph_frame_recv(io, s, 0, &reply);

    if (rc < 0)
        return rc;
    if (!ph_str_eq(ph_frame_value(reply, "status"), PH_STR("ok")) ||
        ph_frame_get_u64(reply, "found", &found) != PH_FOUND)
        return ph_fail(PH_TEMP, "qmgr does not say whether %.*s exists", PH_FMT(id));
    return found != 0;
}

/* Some names off the list: those that qmgr does not know go. */
static int sweep_some(struct bounce *b, struct ph_stream *io, ph_str kind, ph_str *names)
{
    PH_SCOPED(s, NULL);
    ph_str *id = ph_alloc_array(s, AT_ONCE, sizeof *id);
    unsigned n = 0;
    int rc = 0;

    for (; rc >= 0 && n < AT_ONCE && names->n; n++)
        rc = ask(io, s, id[n] = ph_str_cut(names, '\n'));
    if (rc >= 0)
        rc = ph_stream_flush(io);
    for (unsigned i = 0; rc >= 0 && i < n; i++)
        if ((rc = hear(io, s, id[i])) == 0) {
            ph_log("%.*s: removing the %.*s log of a message that is gone", PH_FMT(id[i]), PH_FMT(kind));
            rc = log_remove_many(b, s, &kind, 1, &id[i], 1);
        }
    return rc;
}

/* Directory 0 is the kind's own, without those below.  Asked about: so many, or negative. */
static int sweep_dir(struct bounce *b, struct ph_stream *io, ph_str kind, unsigned dir)
{
    struct ph_buf names;
    char path[32];
    struct listing l = { b->service->queue_dir_fd, path, dir ? (int)b->p.hash_depth - 1 : 0, &names, 0 };
    int rc = 0;

    if (dir > 0 && b->p.hash_depth < 1)
        return 0;
    if (dir > 0)
        snprintf(path, sizeof path, "%s/%X", kind.p, dir - 1);
    else
        snprintf(path, sizeof path, "%s", kind.p);
    ph_buf_init(&names, NULL, LISTED_MAX * 80);     /* grown in a pool thread: not on a scope */
    ph_disk(list_job, &l);
    for (ph_str left = ph_buf_view(&names); rc >= 0 && left.n; )
        rc = sweep_some(b, io, kind, &left);
    ph_buf_fini(&names);
    return rc < 0 ? rc : (int)l.n;
}

int sweep(struct bounce *b)
{
    static const ph_str kinds[] = { PH_STR_INIT("bounce"), PH_STR_INIT("defer"), PH_STR_INIT("trace") };
    PH_SCOPED(s, NULL);
    unsigned first = (unsigned)(ph_wall_us() % DIRS), asked = 0;
    struct ph_stream *io;
    int rc = ph_service_dial(s, "qmgr", &io);

    if (rc >= 0)
        rc = greet(io, s);
    for (unsigned i = 0; rc >= 0 && i < DIRS && asked < ENOUGH; i++)
        for (int k = 0; rc >= 0 && k < 3; k++)
            if ((rc = sweep_dir(b, io, kinds[k], (first + i) % DIRS)) > 0)
                asked += (unsigned)rc;
    return rc < 0 ? rc : 0;
}
