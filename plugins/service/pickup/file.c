/* file: one file of maildrop.  Users make these files, so nothing about them is
 * believed: a link, a device or a file with a second name is not opened or not
 * used, and what is malformed is put aside where it can be looked at. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/disk.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "pickup.h"

#define MAGIC "posthorn-maildrop "

/* Out of the way: to corrupt/, else hidden under another name. */
static void put_aside(struct pickup *k, const char *name, const char *why)
{
    char hidden[NAME_BYTES + 8];

    if (k->corrupt >= 0 && renameat2(k->maildrop, name, k->corrupt, name, RENAME_NOREPLACE) == 0) {
        ph_log_warn("maildrop/%s: %s; moved to corrupt", name, why);
        return;
    }
    snprintf(hidden, sizeof hidden, ".bad-%s", name);
    if (renameat(k->maildrop, name, k->maildrop, hidden) == 0)
        ph_log_warn("maildrop/%s: %s; renamed to %s", name, why, hidden);
    else
        ph_log_warn("maildrop/%s: %s; it cannot be moved: %s", name, why, strerror(errno));
}

/* A file that is in the queue but could not be removed must not be sent again. */
static ph_str identity(struct ph_scope *s, const struct stat *st, const char *name)
{
    return ph_str_printf(s, "%llu %s", (unsigned long long)st->st_ino, name);
}

static void remove_file(struct pickup *k, struct ph_scope *step, const struct stat *st, const char *name)
{
    ph_str key = identity(step, st, name);

    if (unlinkat(k->maildrop, name, 0) == 0 || errno == ENOENT) {
        ph_map_del(k->taken, key);
        return;
    }
    ph_log_warn("maildrop/%s is in the queue, but cannot be removed: %s", name, strerror(errno));
    ph_map_set(k->taken, key, k);
}

/* After a reload the pickup of before may still work here: who has the lock has the
 * file, until it is closed.  1; 0: the other has it, or has removed it meanwhile. */
static int claim(int fd)
{
    struct stat st;

    return flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 && st.st_nlink > 0;
}

/* Why it cannot be used, or NULL. */
static const char *objection(const struct stat *st)
{
    if (!S_ISREG(st->st_mode))
        return "not a regular file";
    if (st->st_nlink > 1)
        return "it has another name (hard link)";
    return NULL;
}

static int submit(struct pickup *k, struct feed *f, struct ph_scope *step, int fd, const struct origin *o)
{
    char start[sizeof MAGIC - 1] = "";
    int64_t n = ph_pread_all(fd, start, sizeof start, 0);

    if (n < 0)
        return ph_wrap((int)n, "maildrop/%s", o->name);
    if (n == (int64_t)sizeof start && !memcmp(start, MAGIC, sizeof start))
        return submit_maildrop(k, f, step, fd, o);
    return submit_requeued(k, f, step, fd, o);
}

int pickup_file(struct pickup *k, struct feed *f, struct ph_scope *step, const char *name)
{
    /* O_NONBLOCK: opening a FIFO must not wait for its writer. */
    int fd = openat(k->maildrop, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC), rc;
    struct stat st;

    if (fd < 0) {
        if (errno == ELOOP || errno == ENXIO || errno == EISDIR)
            put_aside(k, name, errno == ELOOP ? "a symbolic link" : "not a regular file");
        else if (errno != ENOENT)
            ph_log_warn("open maildrop/%s: %s", name, strerror(errno));
        return 0;
    }
    ph_defer_close(step, fd);
    if (fstat(fd, &st) < 0)
        return ph_fail_errno(PH_TEMP, errno, "maildrop/%s", name);
    if (objection(&st)) {
        put_aside(k, name, objection(&st));
        return 0;
    }
    if (!(st.st_mode & S_IXUSR))           /* not ready yet */
        return 0;
    if (ph_map_get(k->taken, identity(step, &st, name))) {
        remove_file(k, step, &st, name);
        return 0;
    }
    if (!claim(fd))
        return 0;
    f->own = 0;
    rc = submit(k, f, step, fd, &(struct origin){ st.st_uid, name });
    if (rc == 0)
        remove_file(k, step, &st, name);
    else if (rc == PH_TEMP && f->own) {
        ph_log_warn("maildrop/%s waits: %s", name, ph_error());
        rc = 0;
    }
    else if (rc == PH_PERM || rc == PH_CONF || rc == PH_EOF) {
        PH_SCOPED(words, NULL);
        ph_str why = ph_str_dup(words, ph_cstr(rc == PH_EOF ? "cut short" : ph_error()));

        put_aside(k, name, why.p);
        rc = 0;
    }
    return rc;
}
