/* table/lmdb: LMDB files, `lmdb:/etc/postfix/x` reads x.lmdb.
 *
 * One file, without LMDB's own lock file: locks on the file instead, shared around
 * each read, exclusive and on the whole file around each write in place, as others do
 * who use it.
 * Reference: lmdb_table(5). */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <posthorn/task.h>
#include <posthorn/why.h>
#include "lmdb.h"

#define MODE (MDB_NOSUBDIR | MDB_NOLOCK)
#define LOCK_TRIES 20
#define LOCK_PAUSE_MS 5

struct params { int64_t map_size; };
static const struct ph_param rows[] = {
    PH_P_INT(struct params, map_size, "lmdb_map_size", "16777216", 1, 0, "Bytes that an lmdb file may grow to at first; doubled when they are used up."),
};

int lmdb_failed(const struct lmdb *m, const char *what, int err)
{
    return ph_fail(PH_TEMP, "%s %s: %s", what, m->file.path, mdb_strerror(err));
}

static void lmdb_close(void *arg)
{
    struct lmdb *m = arg;

    if (m->cursor)
        mdb_cursor_close(m->cursor);
    if (m->read)
        mdb_txn_abort(m->read);
    if (m->write)
        mdb_txn_abort(m->write);
    if (m->env)
        mdb_env_close(m->env);
}

int lmdb_open_env(struct lmdb *m, const char *path, unsigned flags, size_t map)
{
    int err = mdb_env_create(&m->env);

    if (err == 0 && map)
        err = mdb_env_set_mapsize(m->env, map);
    if (err == 0)
        err = mdb_env_open(m->env, path, MODE | flags, 0644);
    return err ? ph_fail(PH_TEMP, "open database %s: %s", m->file.path, mdb_strerror(err)) : 0;
}

/* Who reads locks one byte: who builds another table beside this one is not in his way.
 * A worker must not stand still for a writer's sake: it tries for a tenth of a second,
 * and then the look-up is for later. */
int lmdb_lock(struct lmdb *m, short type)
{
    struct flock lk = { .l_type = type, .l_whence = SEEK_SET, .l_len = type == F_RDLCK };
    mdb_filehandle_t fd;

    mdb_env_get_fd(m->env, &fd);
    for (int i = 0; fcntl(fd, ph_in_task() && type != F_UNLCK ? F_OFD_SETLK : F_OFD_SETLKW, &lk) < 0; i++) {
        if (errno != EINTR && (i == LOCK_TRIES || (errno != EAGAIN && errno != EACCES)))
            return ph_fail_errno(PH_TEMP, errno, "lock %s", m->file.path);
        nanosleep(&(struct timespec){ .tv_nsec = LOCK_PAUSE_MS * 1000000 }, NULL);
    }
    return 0;
}

void lmdb_unlock(struct lmdb *m)
{
    if (!m->cursor)                /* a walk goes on */
        lmdb_lock(m, F_UNLCK);
}

/* A view of what is committed now.  A file that grew is mapped anew. */
static int begin_read(struct lmdb *m)
{
    int rc = lmdb_lock(m, F_RDLCK), err;

    if (rc < 0)
        return rc;
    while ((err = m->read ? mdb_txn_renew(m->read) : mdb_txn_begin(m->env, NULL, MDB_RDONLY, &m->read)) == MDB_MAP_RESIZED)
        if ((err = mdb_env_set_mapsize(m->env, 0)) != 0)
            break;
    if (err == 0)
        return 0;
    lmdb_unlock(m);
    return lmdb_failed(m, "read", err);
}

static void end_read(struct lmdb *m)
{
    mdb_txn_reset(m->read);
    lmdb_unlock(m);
}

/* What is there.  The handle is opened once, in a read that is committed, and stays. */
static int open_old(struct lmdb *m, unsigned flags)
{
    int rc = lmdb_open_env(m, m->file.path, flags, 0), err;

    if (rc < 0 || (rc = begin_read(m)) < 0)
        return rc;
    if ((err = mdb_dbi_open(m->read, NULL, 0, &m->dbi)) == 0)
        err = mdb_txn_commit(m->read);
    else
        mdb_txn_abort(m->read);
    m->read = NULL;
    lmdb_unlock(m);
    return err ? lmdb_failed(m, "open database", err) : 0;
}

MDB_val lmdb_val(ph_str s, unsigned nul)
{
    return (MDB_val){ s.n + nul, (void *)(uintptr_t)(s.p ? s.p : "") };
}

static ph_str view_of(const MDB_val *v)
{
    ph_str s = { v->mv_data, v->mv_size };

    s.n -= s.n > 0 && s.p[s.n - 1] == 0;
    return s;
}

/* A key that no table can have is not there. */
static int find(const struct ph_table *t, MDB_txn *txn, ph_str key, struct ph_scope *out, ph_str *val)
{
    struct lmdb *m = t->self;
    ph_str k = ph_str_dup(out, key);           /* a NUL stands behind it */

    for (unsigned i = 0; i < 2; i++) {
        unsigned nul = i == m->without_nul;
        MDB_val mk = lmdb_val(k, nul), mv;
        int err = !rebuild_takes(t, (int)nul) || k.n + nul == 0 || k.n + nul > LMDB_KEY_MAX ? MDB_NOTFOUND : mdb_get(txn, m->dbi, &mk, &mv);

        if (err == MDB_NOTFOUND)
            continue;
        if (err)
            return lmdb_failed(m, "read", err);
        m->without_nul = !nul;
        *val = ph_str_dup(out, view_of(&mv));
        ph_why_index(m->file.path);
        return PH_FOUND;
    }
    return PH_NONE;
}

static int32_t lmdb_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    struct lmdb *m = t->self;
    int rc;

    if (m->file.tmp)
        return find(t, m->write, key, out, val);
    if ((rc = begin_read(m)) < 0)
        return rc;
    rc = find(t, m->read, key, out, val);
    end_read(m);
    return rc;
}

void lmdb_end_walk(struct lmdb *m)
{
    mdb_cursor_close(m->cursor);
    m->cursor = NULL;
    if (!m->file.tmp)
        end_read(m);
}

static int32_t lmdb_sequence(struct ph_table *t, int32_t first, struct ph_scope *out, ph_str *key, ph_str *val)
{
    struct lmdb *m = t->self;
    MDB_val k, v;
    int err = 0, rc;

    if (first && m->cursor)
        lmdb_end_walk(m);
    if (!m->cursor && !first)
        return PH_NONE;
    if (!m->cursor && !m->file.tmp && (rc = begin_read(m)) < 0)
        return rc;
    if (!m->cursor)
        err = mdb_cursor_open(m->file.tmp ? m->write : m->read, m->dbi, &m->cursor);
    if (err == 0)
        err = mdb_cursor_get(m->cursor, &k, &v, first ? MDB_FIRST : MDB_NEXT);
    if (err == 0) {
        *key = ph_str_dup(out, view_of(&k));
        *val = ph_str_dup(out, view_of(&v));
        return PH_FOUND;
    }
    if (m->cursor)
        lmdb_end_walk(m);
    return err == MDB_NOTFOUND ? PH_NONE : lmdb_failed(m, "read", err);
}

static int32_t lmdb_open(struct ph_table *t, ph_str spec)
{
    struct lmdb *m = ph_new(t->scope, struct lmdb);
    struct params p = { .map_size = 16777216 };
    int rc = rebuild_init(t, &m->file, spec, ".lmdb");

    if (rc == 0 && t->conf)
        rc = ph_params_load(t->conf, t->scope, rows, sizeof rows / sizeof *rows, sizeof *rows, &p);
    if (rc < 0)
        return rc;
    m->map_size = p.map_size < 65536 ? 65536 : p.map_size;
    ph_defer(t->scope, lmdb_close, m);
    t->self = m;
    if (t->flags & PH_TABLE_CREATE)
        return lmdb_open_new(t, m);
    if ((rc = rebuild_look(t, &m->file, spec)) < 0)
        return rc;
    return open_old(m, t->flags & PH_TABLE_WRITE ? 0 : MDB_RDONLY);
}

/* Who writes in place changes no file: a read sees what is there at its time. */
static int32_t lmdb_changed(struct ph_table *t)
{
    const struct lmdb *m = t->self;
    struct stat now;

    return stat(m->file.path, &now) < 0 || now.st_ino != m->file.st.st_ino || now.st_dev != m->file.st.st_dev ? PH_FOUND : PH_NONE;
}

PH_PLUGIN_TABLE(lmdb, PH_IS(.summary = "LMDB file", .exec = PH_PURE, .concurrency = PH_ONE_CALL, .params = rows,
                            .param_count = sizeof rows / sizeof *rows),
    .is = PH_TABLE_INDEXED,
    .open = lmdb_open,
    .lookup = lmdb_lookup,
    .update = lmdb_update,
    .remove = lmdb_remove,
    .sequence = lmdb_sequence,
    .commit = lmdb_commit,
    .changed = lmdb_changed);
