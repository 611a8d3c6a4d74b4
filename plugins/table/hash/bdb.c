/* bdb: NAME.db, keys and values with a NUL behind them, as postmap has always
 * written them; files without it are read too. */
#include <string.h>
#include <sys/stat.h>
#include <posthorn/why.h>
#include "bdb.h"
#include "plugins/table/common/rebuild.h"

#define CREATE_MAX ((int64_t)256 << 20)    /* of memory while a table is built */

struct bdb {
    DB *db;
    DBC *cursor;
    struct rebuild file;
};

/* The file that changes go to. */
static const char *written(const struct bdb *b)
{
    return b->file.tmp ? b->file.tmp : b->file.path;
}

static void bdb_close(void *arg)
{
    struct bdb *b = arg;

    if (b->cursor && b->db)
        b->cursor->close(b->cursor);
    if (b->db)
        b->db->close(b->db, 0);
}

/* Our own words say what failed; the library's would go to stderr. */
static void quiet(const DB_ENV *env PH_UNUSED, const char *prefix PH_UNUSED, const char *text PH_UNUSED)
{
}

static int open_db(struct bdb *b, const char *file, DBTYPE type, uint32_t flags, int64_t cache)
{
    int err = db_create(&b->db, NULL, 0);

    if (err == 0) {
        b->db->set_errcall(b->db, quiet);
        if (cache)
            err = b->db->set_cachesize(b->db, 0, (uint32_t)cache, 1);
    }
    if (err == 0)
        err = b->db->open(b->db, NULL, file, NULL, type, flags, 0644);
    if (err != 0)
        return ph_fail(PH_TEMP, "open database %s: %s", b->file.path, db_strerror(err));
    return 0;
}

/* The type stands in the file; asking for another is said as such. */
static int check_type(struct bdb *b, DBTYPE want)
{
    DBTYPE got;

    if (b->db->get_type(b->db, &got) == 0 && got != want)
        return ph_fail(PH_TEMP, "%s is a %s file, wanted %s: rebuild it with postmap", b->file.path,
                       got == DB_HASH ? "hash" : "btree", want == DB_HASH ? "hash" : "btree");
    return 0;
}

/* Keys come in no order: what is not in memory is written and read again and again.
 * So all of it is, up to a bound: berkeley_db_create_buffer_size, or twice the source. */
static int64_t create_bytes(const struct ph_table *t)
{
    PH_SCOPED(s, t->scope);
    int64_t bytes = 16 << 20;
    struct stat src;

    if (t->conf && ph_conf_get_i64(t->conf, "berkeley_db_create_buffer_size", &bytes) != PH_FOUND)
        bytes = 16 << 20;
    if (stat(ph_cstr_dup(s, t->name), &src) == 0 && src.st_size * 2 > bytes)
        bytes = src.st_size * 2;
    return bytes < CREATE_MAX ? bytes : CREATE_MAX;
}

/* A new table beside the old one. */
static int open_new(struct ph_table *t, struct bdb *b, DBTYPE type)
{
    int64_t cache = create_bytes(t);
    int rc = rebuild_begin(t, &b->file);

    if (rc < 0)
        return rc;
    int empty = b->file.locked_fd >= 0 && b->file.st.st_size == 0;
    if (empty)
        ph_log_warn("removing zero-length database file: %s", b->file.path);
    if (!(t->flags & PH_TABLE_WRITE) || b->file.locked_fd < 0 || empty)
        return open_db(b, b->file.tmp, type, DB_CREATE | DB_EXCL, cache);
    rc = rebuild_copy_old(&b->file);
    return rc < 0 || (rc = open_db(b, b->file.tmp, DB_UNKNOWN, 0, cache)) < 0 ? rc : check_type(b, type);
}

int32_t bdb_open(struct ph_table *t, ph_str spec, DBTYPE type)
{
    struct bdb *b = ph_new(t->scope, struct bdb);
    int rc = rebuild_init(t, &b->file, spec, ".db");

    if (rc < 0)
        return rc;
    ph_defer(t->scope, bdb_close, b);
    t->self = b;
    if (t->flags & PH_TABLE_CREATE)
        return open_new(t, b, type);
    if ((t->flags & PH_TABLE_WRITE && (rc = rebuild_lock(&b->file)) < 0) || (rc = rebuild_look(t, &b->file, spec)) < 0)
        return rc;
    rc = open_db(b, b->file.path, DB_UNKNOWN, t->flags & PH_TABLE_WRITE ? 0 : DB_RDONLY, 0);
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

int32_t bdb_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    struct bdb *b = t->self;
    ph_str k = ph_str_dup(out, key);           /* a NUL stands behind it */

    for (int with_nul = 1; with_nul >= 0; with_nul--) {
        DBT dk = dbt_of(k, with_nul), dv;

        if (!rebuild_takes(t, with_nul))
            continue;
        memset(&dv, 0, sizeof dv);
        int err = b->db->get(b->db, NULL, &dk, &dv, 0);
        if (err == 0) {
            *val = view_of(&dv, out);
            ph_why_index(b->file.path);
            return PH_FOUND;
        }
        if (err != DB_NOTFOUND)
            return ph_fail(PH_TEMP, "read %s: %s", b->file.path, db_strerror(err));
    }
    return PH_NONE;
}

/* What is changed in place is on stable storage when the call returns. */
static int changed_in_place(const struct bdb *b, int err)
{
    return err == 0 && !b->file.tmp ? b->db->sync(b->db, 0) : err;
}

int32_t bdb_update(struct ph_table *t, ph_str key, ph_str val)
{
    struct bdb *b = t->self;
    PH_SCOPED(s, t->scope);
    int with_nul = !(t->flags & PH_TABLE_NO_NUL);
    DBT dk = dbt_of(ph_str_dup(s, key), with_nul), dv = dbt_of(ph_str_dup(s, val), with_nul);
    int err = changed_in_place(b, b->db->put(b->db, NULL, &dk, &dv, t->flags & PH_TABLE_KEEP ? DB_NOOVERWRITE : 0));

    return err == 0 ? PH_FOUND : err == DB_KEYEXIST ? PH_NONE : ph_fail(PH_TEMP, "write %s: %s", written(b), db_strerror(err));
}

int32_t bdb_remove(struct ph_table *t, ph_str key)
{
    struct bdb *b = t->self;
    PH_SCOPED(s, t->scope);
    ph_str k = ph_str_dup(s, key);

    for (int with_nul = 1; with_nul >= 0; with_nul--) {
        DBT dk = dbt_of(k, with_nul);

        if (!rebuild_takes(t, with_nul))
            continue;
        int err = changed_in_place(b, b->db->del(b->db, NULL, &dk, 0));

        if (err == 0)
            return PH_FOUND;
        if (err != DB_NOTFOUND)
            return ph_fail(PH_TEMP, "write %s: %s", b->file.path, db_strerror(err));
    }
    return PH_NONE;
}

int32_t bdb_sequence(struct ph_table *t, int32_t first, struct ph_scope *out, ph_str *key, ph_str *val)
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
        return ph_fail(PH_TEMP, "read %s: %s", b->file.path, db_strerror(err));
    *key = view_of(&dk, out);
    *val = view_of(&dv, out);
    return PH_FOUND;
}

int32_t bdb_commit(struct ph_table *t)
{
    struct bdb *b = t->self;

    if (b->cursor)
        b->cursor->close(b->cursor);
    b->cursor = NULL;
    int err = b->db->close(b->db, 0);
    b->db = NULL;
    if (err != 0)
        return ph_fail(PH_TEMP, "write %s: %s", written(b), db_strerror(err));
    if (!b->file.tmp)
        return 0;
    int rc = rebuild_like_old(t, &b->file);
    return rc < 0 ? rc : rebuild_commit(&b->file);
}

int32_t bdb_changed(struct ph_table *t)
{
    return rebuild_changed(&((struct bdb *)t->self)->file);
}
