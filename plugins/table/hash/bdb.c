/* bdb: NAME.db, keys and values with a NUL behind them, as postmap has always
 * written them; files without it are read too.
 *
 * A new table is built beside the old one and takes its name when it is whole
 * and on stable storage: readers see the old one or the new one. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/clock.h>
#include "bdb.h"

struct bdb {
    DB *db;
    DBC *cursor;
    const char *path, *tmp;        /* tmp: what is being built */
    struct stat st;
    int locked_fd;
};

static void bdb_close(void *arg)
{
    struct bdb *b = arg;

    if (b->cursor && b->db)
        b->cursor->close(b->cursor);
    if (b->db)
        b->db->close(b->db, 0);
    if (b->tmp)
        unlink(b->tmp);
    if (b->locked_fd >= 0)
        close(b->locked_fd);
}

/* Our own words say what failed; the library's would go to stderr. */
static void quiet(const DB_ENV *env PH_UNUSED, const char *prefix PH_UNUSED, const char *text PH_UNUSED)
{
}

/* Writers exclude each other through a lock on the table's own file.  Who had to
 * wait may hold the lock of a file that was replaced meanwhile: again then. */
static int lock_file(struct bdb *b)
{
    for (int tries = 0; tries < 100; tries++) {
        struct flock lk = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        struct stat now;
        int fd = open(b->path, O_RDWR | O_CLOEXEC);

        if (fd < 0)
            return errno == ENOENT ? 0 : ph_fail_errno(PH_TEMP, errno, "open database %s", b->path);
        b->locked_fd = fd;
        if (fcntl(fd, F_OFD_SETLKW, &lk) < 0 || fstat(fd, &b->st) < 0)
            return ph_fail_errno(PH_TEMP, errno, "lock %s", b->path);
        if (stat(b->path, &now) == 0 && now.st_ino == b->st.st_ino && now.st_dev == b->st.st_dev)
            return 0;
        close(fd);
        b->locked_fd = -1;
    }
    return ph_fail(PH_TEMP, "lock %s: it is replaced again and again", b->path);
}

static int open_db(struct bdb *b, const char *file, DBTYPE type, uint32_t flags, int cache_mib)
{
    int err = db_create(&b->db, NULL, 0);

    if (err == 0) {
        b->db->set_errcall(b->db, quiet);
        if (cache_mib)
            err = b->db->set_cachesize(b->db, 0, (uint32_t)cache_mib << 20, 1);
    }
    if (err == 0)
        err = b->db->open(b->db, NULL, file, NULL, type, flags, 0644);
    if (err != 0)
        return ph_fail(PH_TEMP, "open database %s: %s", b->path, db_strerror(err));
    return 0;
}

/* The type stands in the file; asking for another is said as such. */
static int check_type(struct bdb *b, DBTYPE want)
{
    DBTYPE got;

    if (b->db->get_type(b->db, &got) == 0 && got != want)
        return ph_fail(PH_TEMP, "%s is a %s file, wanted %s: rebuild it with postmap", b->path,
                       got == DB_HASH ? "hash" : "btree", want == DB_HASH ? "hash" : "btree");
    return 0;
}

/* The old table's bytes become the start of the new one. */
static int copy_old(struct bdb *b)
{
    char piece[65536];
    ssize_t got;
    int rc = 0, to = open(b->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

    if (to < 0)
        return ph_fail_errno(PH_TEMP, errno, "create %s", b->tmp);
    if (fchmod(to, b->st.st_mode & 07777) < 0)
        rc = ph_fail_errno(PH_TEMP, errno, "create %s", b->tmp);
    for (off_t at = 0; rc == 0 && (got = pread(b->locked_fd, piece, sizeof piece, at)) != 0; at += got)
        if (got < 0 || write(to, piece, (size_t)got) != got)
            rc = ph_fail_errno(PH_TEMP, got < 0 ? errno : ENOSPC, "copy %s", b->path);
    close(to);
    return rc;
}

/* A new table beside the old one. */
static int open_new(struct ph_table *t, struct bdb *b, DBTYPE type)
{
    b->tmp = ph_str_printf(t->scope, "%s.tmp.%d", b->path, (int)getpid()).p;
    unlink(b->tmp);
    int rc = lock_file(b);
    if (rc < 0)
        return rc;
    if (!(t->flags & PH_TABLE_WRITE) || b->locked_fd < 0)
        return open_db(b, b->tmp, type, DB_CREATE | DB_EXCL, 16);
    rc = copy_old(b);
    return rc < 0 || (rc = open_db(b, b->tmp, DB_UNKNOWN, 0, 16)) < 0 ? rc : check_type(b, type);
}

/* Somebody edited the source and forgot postmap.  A source that was touched just
 * now may be on its way to us. */
static void warn_if_old(const struct bdb *b, ph_str spec, struct ph_scope *s)
{
    struct stat src;

    if (stat(ph_cstr_dup(s, spec), &src) == 0 && src.st_mtime > b->st.st_mtime && src.st_mtime + 100 < ph_wall_us() / 1000000)
        ph_log_warn("database %s is older than source file %.*s", b->path, PH_FMT(spec));
}

int bdb_open(struct ph_table *t, ph_str spec, DBTYPE type)
{
    struct bdb *b = ph_new(t->scope, struct bdb);
    int rc;

    if (spec.n == 0)
        return ph_fail(PH_CONF, "a file name must follow the colon");
    b->locked_fd = -1;
    b->path = ph_str_printf(t->scope, "%.*s.db", PH_FMT(spec)).p;
    ph_defer(t->scope, bdb_close, b);
    t->self = b;
    if (t->flags & PH_TABLE_CREATE)
        return open_new(t, b, type);
    if (t->flags & PH_TABLE_WRITE && (rc = lock_file(b)) < 0)
        return rc;
    if (stat(b->path, &b->st) < 0)
        return ph_fail_errno(PH_TEMP, errno, "open database %s", b->path);
    warn_if_old(b, spec, t->scope);
    rc = open_db(b, b->path, DB_UNKNOWN, t->flags & PH_TABLE_WRITE ? 0 : DB_RDONLY, 0);
    return rc < 0 ? rc : check_type(b, type);
}

static DBT dbt_of(ph_str s, int with_nul)
{
    DBT d;

    memset(&d, 0, sizeof d);
    d.data = (void *)(uintptr_t)s.p;
    d.size = (uint32_t)s.n + (with_nul ? 1u : 0u);
    return d;
}

/* The bytes without the NUL behind them. */
static ph_str view_of(const DBT *d, struct ph_scope *out)
{
    ph_str v = { d->data, d->size };

    if (v.n && v.p[v.n - 1] == 0)
        v.n--;
    return ph_str_dup(out, v);
}

int bdb_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    struct bdb *b = t->self;
    ph_str k = ph_str_dup(out, key);           /* a NUL stands behind it */

    for (int with_nul = 1; with_nul >= 0; with_nul--) {
        DBT dk = dbt_of(k, with_nul), dv;

        memset(&dv, 0, sizeof dv);
        int err = b->db->get(b->db, NULL, &dk, &dv, 0);
        if (err == 0) {
            *val = view_of(&dv, out);
            return PH_FOUND;
        }
        if (err != DB_NOTFOUND)
            return ph_fail(PH_TEMP, "read %s: %s", b->path, db_strerror(err));
    }
    return PH_NONE;
}

int bdb_update(struct ph_table *t, ph_str key, ph_str val)
{
    struct bdb *b = t->self;
    PH_SCOPED(s, t->scope);
    int with_nul = !(t->flags & PH_TABLE_NO_NUL);
    DBT dk = dbt_of(ph_str_dup(s, key), with_nul), dv = dbt_of(ph_str_dup(s, val), with_nul);
    int err = b->db->put(b->db, NULL, &dk, &dv, 0);

    return err == 0 ? PH_FOUND : ph_fail(PH_TEMP, "write %s: %s", b->tmp ? b->tmp : b->path, db_strerror(err));
}

int bdb_remove(struct ph_table *t, ph_str key)
{
    struct bdb *b = t->self;
    PH_SCOPED(s, t->scope);
    ph_str k = ph_str_dup(s, key);

    for (int with_nul = 1; with_nul >= 0; with_nul--) {
        DBT dk = dbt_of(k, with_nul);
        int err = b->db->del(b->db, NULL, &dk, 0);

        if (err == 0)
            return PH_FOUND;
        if (err != DB_NOTFOUND)
            return ph_fail(PH_TEMP, "write %s: %s", b->path, db_strerror(err));
    }
    return PH_NONE;
}

int bdb_sequence(struct ph_table *t, int first, struct ph_scope *out, ph_str *key, ph_str *val)
{
    struct bdb *b = t->self;
    DBT dk, dv;
    int err = 0;

    memset(&dk, 0, sizeof dk);
    memset(&dv, 0, sizeof dv);
    if (!b->cursor)
        err = b->db->cursor(b->db, NULL, &b->cursor, 0);
    if (err == 0)
        err = b->cursor->get(b->cursor, &dk, &dv, first ? DB_FIRST : DB_NEXT);
    if (err == DB_NOTFOUND)
        return PH_NONE;
    if (err != 0)
        return ph_fail(PH_TEMP, "read %s: %s", b->path, db_strerror(err));
    *key = view_of(&dk, out);
    *val = view_of(&dv, out);
    return PH_FOUND;
}

static int sync_path(const char *path, int flags)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | flags), rc = fd < 0 ? -1 : fsync(fd);

    if (fd >= 0)
        close(fd);
    return rc;
}

/* The name is on disk too when this answers. */
static int sync_parent(struct ph_scope *s, const char *path)
{
    char *dir = ph_cstr_dup(s, ph_cstr(path)), *slash = strrchr(dir, '/');

    if (slash)
        slash[slash == dir] = 0;
    return sync_path(slash ? dir : ".", O_DIRECTORY);
}

int bdb_commit(struct ph_table *t)
{
    struct bdb *b = t->self;

    if (b->cursor)
        b->cursor->close(b->cursor);
    b->cursor = NULL;
    int err = b->db->close(b->db, 0);
    b->db = NULL;
    if (err != 0)
        return ph_fail(PH_TEMP, "write %s: %s", b->tmp ? b->tmp : b->path, db_strerror(err));
    if (!b->tmp)
        return 0;
    if (sync_path(b->tmp, 0) < 0 || rename(b->tmp, b->path) < 0)
        return ph_fail_errno(PH_TEMP, errno, "replace %s", b->path);
    b->tmp = NULL;
    return sync_parent(t->scope, b->path) < 0 ? ph_fail_errno(PH_TEMP, errno, "replace %s", b->path) : 0;
}

int bdb_changed(struct ph_table *t)
{
    struct bdb *b = t->self;
    struct stat now;

    return stat(b->path, &now) < 0 || now.st_ino != b->st.st_ino || now.st_dev != b->st.st_dev ||
                   now.st_mtim.tv_sec != b->st.st_mtim.tv_sec || now.st_mtim.tv_nsec != b->st.st_mtim.tv_nsec ? PH_FOUND : PH_NONE;
}
