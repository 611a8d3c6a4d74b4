/* lmdb_write: tables that are written in place, and those that are built.  See lmdb.h. */
#include <errno.h>
#include <fcntl.h>
#include "lmdb.h"

#define BUILD_MAP ((size_t)1 << 40)    /* address space for a new table; the file is as large as what is in it */

static int begin_write(struct lmdb *m)
{
    int rc = lmdb_lock(m, F_WRLCK), err;

    if (rc < 0)
        return rc;
    while ((err = mdb_txn_begin(m->env, NULL, 0, &m->write)) == MDB_MAP_RESIZED)
        if ((err = mdb_env_set_mapsize(m->env, 0)) != 0)
            break;
    if (err == 0)
        return 0;
    m->write = NULL;
    lmdb_unlock(m);
    return lmdb_failed(m, "write", err);
}

/* `key` and `val` (NULL: remove it) as they are stored.  These answer in LMDB's codes,
 * or in ours, whose text is set. */
static int change(struct lmdb *m, MDB_val *key, MDB_val *val, unsigned how)
{
    return val ? mdb_put(m->write, m->dbi, key, val, how) : mdb_del(m->write, m->dbi, key, NULL);
}

/* A transaction of its own, again in twice the room when the file is full. */
static int change_in_place(struct lmdb *m, MDB_val *key, MDB_val *val, unsigned how)
{
    MDB_envinfo info;
    int err = MDB_MAP_FULL, rc;

    while (err == MDB_MAP_FULL) {
        if ((rc = begin_write(m)) < 0)
            return rc;
        if ((err = change(m, key, val, how)) == 0)
            err = mdb_txn_commit(m->write);
        else
            mdb_txn_abort(m->write);
        m->write = NULL;
        if (err == MDB_MAP_FULL && mdb_env_info(m->env, &info) == 0 && info.me_mapsize <= SIZE_MAX / 2)
            err = mdb_env_set_mapsize(m->env, info.me_mapsize * 2) ? ENOSPC : MDB_MAP_FULL;
        lmdb_unlock(m);
    }
    return err;
}

static int write_one(struct lmdb *m, MDB_val *key, MDB_val *val, unsigned how)
{
    return m->file.tmp ? change(m, key, val, how) : change_in_place(m, key, val, how);
}

/* LMDB's codes are far below ours, and those of the system above. */
static int is_ours(int err)
{
    return err < 0 && err > -1000;
}

static int answer(const struct lmdb *m, int err)
{
    if (err == MDB_KEYEXIST || err == MDB_NOTFOUND)
        return PH_NONE;
    return err == 0 ? PH_FOUND : is_ours(err) ? err : lmdb_failed(m, "write", err);
}

int32_t lmdb_update(struct ph_table *t, ph_str key, ph_str val)
{
    struct lmdb *m = t->self;
    PH_SCOPED(s, t->scope);
    unsigned nul = !(t->flags & PH_TABLE_NO_NUL);
    MDB_val k = lmdb_val(ph_str_dup(s, key), nul), v = lmdb_val(ph_str_dup(s, val), nul);

    return answer(m, write_one(m, &k, &v, t->flags & PH_TABLE_KEEP ? MDB_NOOVERWRITE : 0));
}

int32_t lmdb_remove(struct ph_table *t, ph_str key)
{
    struct lmdb *m = t->self;
    PH_SCOPED(s, t->scope);
    ph_str stored = ph_str_dup(s, key);
    int rc = PH_NONE;

    for (int nul = 1; nul >= 0 && rc == PH_NONE; nul--) {
        MDB_val k = lmdb_val(stored, (unsigned)nul);

        if (rebuild_takes(t, nul) && k.mv_size > 0 && k.mv_size <= LMDB_KEY_MAX)
            rc = answer(m, write_one(m, &k, NULL, 0));
    }
    return rc;
}

/* In as much address space as there is. */
static int open_large(struct lmdb *m)
{
    for (size_t map = BUILD_MAP; ; map /= 4) {
        int rc = lmdb_open_env(m, m->file.tmp, MDB_NOSYNC, map);

        if (rc == 0 || map / 4 < (size_t)m->map_size)
            return rc;
        mdb_env_close(m->env);
        m->env = NULL;
    }
}

/* All of it is one transaction. */
int lmdb_open_new(struct ph_table *t, struct lmdb *m)
{
    int rc = rebuild_begin(t, &m->file), err;

    if (rc == 0)
        rc = t->flags & PH_TABLE_WRITE && m->file.locked_fd >= 0 ? rebuild_copy_old(&m->file) : rebuild_create(&m->file);
    if (rc == 0)
        rc = open_large(m);
    if (rc < 0 || (rc = begin_write(m)) < 0)
        return rc;
    return (err = mdb_dbi_open(m->write, NULL, 0, &m->dbi)) ? lmdb_failed(m, "write", err) : 0;
}

/* The size that stands in the file is what others map: not our address space. */
static int set_size(struct lmdb *m)
{
    MDB_envinfo info;
    MDB_stat st;
    MDB_txn *txn;
    size_t size = (size_t)m->map_size;
    int err = mdb_env_info(m->env, &info);

    if (err == 0)
        err = mdb_env_stat(m->env, &st);
    while (err == 0 && size < (info.me_last_pgno + 16) * st.ms_psize * 2)
        size *= 2;
    if (err == 0)
        err = mdb_env_set_mapsize(m->env, size);
    if (err == 0 && (err = mdb_txn_begin(m->env, NULL, 0, &txn)) == 0) {
        MDB_val k = { 1, (void *)(uintptr_t)"" }, v = { 0, NULL };

        /* Only a transaction that changes something writes it. */
        if ((err = mdb_put(txn, m->dbi, &k, &v, MDB_NOOVERWRITE)) == 0)
            err = mdb_del(txn, m->dbi, &k, NULL);
        if (err == 0 || err == MDB_KEYEXIST)
            err = mdb_txn_commit(txn);
        else
            mdb_txn_abort(txn);
    }
    return err;
}

int32_t lmdb_commit(struct ph_table *t)
{
    struct lmdb *m = t->self;
    int err;

    if (!m->file.tmp)
        return 0;
    if (m->cursor)
        lmdb_end_walk(m);
    err = mdb_txn_commit(m->write);
    m->write = NULL;
    if (err == 0)
        err = set_size(m);
    if (err)
        return lmdb_failed(m, "write", err);
    mdb_env_close(m->env);
    m->env = NULL;
    int rc = rebuild_like_old(t, &m->file);
    return rc < 0 ? rc : rebuild_commit(&m->file);
}
