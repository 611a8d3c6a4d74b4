/* table/cdb: constant databases (tinycdb), `cdb:/etc/postfix/x` reads x.cdb.
 * Such a file is written once: what changes one builds another beside it.
 * Reference: cdb_table(5). */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <posthorn/why.h>
#include "cdb_table.h"

static void cdb_close(void *arg)
{
    struct cdb_table *c = arg;

    if (c->cdb.cdb_fd >= 0) {
        int fd = c->cdb.cdb_fd;

        cdb_free(&c->cdb);
        close(fd);
    }
    making_end(&c->making);
}

static int open_file(struct cdb_table *c, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return ph_fail_errno(PH_TEMP, errno, "open database %s", path);
    if (cdb_init(&c->cdb, fd) < 0) {
        int err = errno;

        close(fd);
        c->cdb.cdb_fd = -1;
        return ph_fail_errno(PH_TEMP, err, "open database %s", path);
    }
    return 0;
}

static int open_new(struct ph_table *t, struct cdb_table *c)
{
    int rc = rebuild_begin(t, &c->file);

    making_begin(&c->making);
    c->is_making = 1;
    if (rc < 0 || !(t->flags & PH_TABLE_WRITE) || c->file.locked_fd < 0)
        return rc;
    return (rc = open_file(c, c->file.path)) < 0 ? rc : making_load(&c->making, &c->cdb);
}

static int32_t cdb_table_open(struct ph_table *t, ph_str spec)
{
    struct cdb_table *c = ph_new(t->scope, struct cdb_table);
    int rc = rebuild_init(t, &c->file, spec, ".cdb");

    if (rc < 0)
        return rc;
    c->cdb.cdb_fd = -1;
    ph_defer(t->scope, cdb_close, c);
    t->self = c;
    if (t->flags & PH_TABLE_CREATE)
        return open_new(t, c);
    if (t->flags & PH_TABLE_WRITE)
        return ph_fail(PH_CONF, "a cdb file cannot be written in place");
    return (rc = rebuild_look(t, &c->file, spec)) < 0 ? rc : open_file(c, c->file.path);
}

/* Keys and values have a NUL behind them, or not: mostly all in a file alike. */
static int32_t cdb_table_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    struct cdb_table *c = t->self;

    if (c->is_making)
        return making_find(&c->making, key, out, val);
    ph_str k = ph_str_dup(out, key);           /* a NUL stands behind it */
    for (unsigned i = 0; i < 2; i++) {
        unsigned nul = i != c->with_nul;
        int rc = rebuild_takes(t, (int)nul) ? cdb_find(&c->cdb, k.p, (unsigned)k.n + nul) : 0;
        const char *v = rc > 0 ? cdb_getdata(&c->cdb) : NULL;

        if (rc < 0 || (rc > 0 && !v))
            return ph_fail_errno(PH_TEMP, errno, "read %s", c->file.path);
        if (rc == 0)
            continue;
        c->with_nul = nul;
        *val = ph_str_dup(out, (ph_str){ v, cdb_datalen(&c->cdb) - (nul && cdb_datalen(&c->cdb) > 0) });
        ph_why_index(c->file.path);
        return PH_FOUND;
    }
    return PH_NONE;
}

static int32_t cdb_table_update(struct ph_table *t, ph_str key, ph_str val)
{
    struct cdb_table *c = t->self;

    return c->is_making ? making_put(&c->making, key, val, t->flags & PH_TABLE_KEEP) : ph_fail(PH_CONF, "a cdb file cannot be written in place");
}

static int32_t cdb_table_remove(struct ph_table *t, ph_str key)
{
    struct cdb_table *c = t->self;

    return c->is_making ? making_remove(&c->making, key) : ph_fail(PH_CONF, "a cdb file cannot be written in place");
}

static ph_str without_nul(const char *p, unsigned n)
{
    return (ph_str){ p, n - (n > 0 && p[n - 1] == 0) };
}

static int32_t cdb_table_sequence(struct ph_table *t, int32_t first, struct ph_scope *out, ph_str *key, ph_str *val)
{
    struct cdb_table *c = t->self;

    if (c->is_making)
        return ph_fail(PH_CONF, "what is being built cannot be listed");
    if (first)
        cdb_seqinit(&c->at, &c->cdb);
    int rc = cdb_seqnext(&c->at, &c->cdb);
    const char *k = rc > 0 ? cdb_getkey(&c->cdb) : NULL, *v = rc > 0 ? cdb_getdata(&c->cdb) : NULL;
    if (rc < 0 || (rc > 0 && (!k || !v)))
        return ph_fail_errno(PH_TEMP, errno, "read %s", c->file.path);
    if (rc == 0)
        return PH_NONE;
    *key = ph_str_dup(out, without_nul(k, cdb_keylen(&c->cdb)));
    *val = ph_str_dup(out, without_nul(v, cdb_datalen(&c->cdb)));
    return PH_FOUND;
}

static int32_t cdb_table_commit(struct ph_table *t)
{
    struct cdb_table *c = t->self;
    int rc = making_write(&c->making, c->file.tmp, t->flags & PH_TABLE_WITH_NUL);

    if (rc == 0 && t->flags & PH_TABLE_WRITE)  /* what was there, changed: a new table is as its source is */
        rc = rebuild_like_old(t, &c->file);
    return rc < 0 ? rc : rebuild_commit(&c->file);
}

static int32_t cdb_table_changed(struct ph_table *t)
{
    return rebuild_changed(&((struct cdb_table *)t->self)->file);
}

PH_PLUGIN_TABLE(cdb, PH_IS(.summary = "constant database file", .exec = PH_PURE, .concurrency = PH_ONE_CALL),
    .is = PH_TABLE_INDEXED,
    .open = cdb_table_open,
    .lookup = cdb_table_lookup,
    .update = cdb_table_update,
    .remove = cdb_table_remove,
    .sequence = cdb_table_sequence,
    .commit = cdb_table_commit,
    .changed = cdb_table_changed);
