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

    if (b->cursor)
        b->cursor->close(b->cursor);
    if (b->db)
        b->db->close(b->db, 0);
    if (b->tmp)
        unlink(b->tmp);
    if (b->locked_fd >= 0)
        close(b->locked_fd);
}

/* Writers exclude each other through a lock on the table's own file. */
static int lock_file(struct bdb *b)
{
    struct flock lk = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

    b->locked_fd = open(b->path, O_RDWR | O_CLOEXEC);
    if (b->locked_fd < 0)
        return errno == ENOENT ? 0 : ph_fail_errno(PH_TEMP, errno, "open %s", b->path);
    if (fcntl(b->locked_fd, F_OFD_SETLKW, &lk) < 0)
        return ph_fail_errno(PH_TEMP, errno, "lock %s", b->path);
    return 0;
}

static int open_db(struct bdb *b, const char *file, DBTYPE type, uint32_t flags, int cache_mib)
{
    int err = db_create(&b->db, NULL, 0);

    if (err == 0 && cache_mib)
        err = b->db->set_cachesize(b->db, 0, (uint32_t)cache_mib << 20, 1);
    if (err == 0)
        err = b->db->open(b->db, NULL, file, NULL, type, flags, 0644);
    if (err != 0)
        return ph_fail(PH_TEMP, "open database %s: %s", file, db_strerror(err));
    return 0;
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
    if (t->flags & PH_TABLE_CREATE) {
        b->tmp = ph_str_printf(t->scope, "%s.tmp.%d", b->path, (int)getpid()).p;
        unlink(b->tmp);
        rc = lock_file(b);
        return rc < 0 ? rc : open_db(b, b->tmp, type, DB_CREATE | DB_EXCL, 32);
    }
    if (stat(b->path, &b->st) < 0)
        return ph_fail_errno(PH_TEMP, errno, "open database %s", b->path);
    if (t->flags & PH_TABLE_WRITE && (rc = lock_file(b)) < 0)
        return rc;
    /* The type stands in the file; asking for another is said as such. */
    rc = open_db(b, b->path, DB_UNKNOWN, t->flags & PH_TABLE_WRITE ? 0 : DB_RDONLY, 0);
    DBTYPE got;
    if (rc == 0 && b->db->get_type(b->db, &got) == 0 && got != type)
        return ph_fail(PH_TEMP, "%s is a %s file, wanted %s: rebuild it with postmap", b->path, got == DB_HASH ? "hash" : "btree", type == DB_HASH ? "hash" : "btree");
    return rc;
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
    DBT dk = dbt_of(ph_str_dup(s, key), 1), dv = dbt_of(ph_str_dup(s, val), 1);
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

static int sync_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc = fd < 0 ? -1 : fsync(fd);

    if (fd >= 0)
        close(fd);
    return rc;
}

int bdb_commit(struct ph_table *t)
{
    struct bdb *b = t->self;
    int err = b->db->close(b->db, 0);

    b->db = NULL;
    if (err != 0)
        return ph_fail(PH_TEMP, "write %s: %s", b->tmp ? b->tmp : b->path, db_strerror(err));
    if (!b->tmp)
        return 0;
    if (sync_file(b->tmp) < 0 || rename(b->tmp, b->path) < 0)
        return ph_fail_errno(PH_TEMP, errno, "replace %s", b->path);
    b->tmp = NULL;
    return 0;
}

int bdb_changed(struct ph_table *t)
{
    struct bdb *b = t->self;
    struct stat now;

    return stat(b->path, &now) < 0 || now.st_ino != b->st.st_ino || now.st_mtime != b->st.st_mtime ? PH_FOUND : PH_NONE;
}
