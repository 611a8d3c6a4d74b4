/* lmdb: between its files.  lmdb.c opens, locks and reads; lmdb_write.c writes in place
 * and builds. */
#ifndef TABLE_LMDB_H
#define TABLE_LMDB_H

#include <lmdb.h>
#include "plugins/table/common/rebuild.h"

#define LMDB_KEY_MAX 511

struct lmdb {
    MDB_env *env;
    MDB_dbi dbi;
    MDB_txn *read, *write;         /* read: reset between reads; write: building: the one of all writes */
    MDB_cursor *cursor;
    struct rebuild file;
    int64_t map_size;              /* lmdb_map_size */
    unsigned without_nul;          /* what the last key found had behind it: the form to try first */
};

/* PH_TEMP with LMDB's words. */
int lmdb_failed(const struct lmdb *m, const char *what, int err);
/* 0, PH_TEMP; map 0: as large as the file says. */
int lmdb_open_env(struct lmdb *m, const char *path, unsigned flags, size_t map);
/* F_RDLCK, F_WRLCK: 0, PH_TEMP: another one holds it. */
int lmdb_lock(struct lmdb *m, short type);
void lmdb_unlock(struct lmdb *m);
void lmdb_end_walk(struct lmdb *m);
MDB_val lmdb_val(ph_str s, unsigned nul);

/* A table that is built: 0, PH_TEMP. */
int lmdb_open_new(struct ph_table *t, struct lmdb *m);
/* The plugin's calls. */
int32_t lmdb_update(struct ph_table *t, ph_str key, ph_str val);
int32_t lmdb_remove(struct ph_table *t, ph_str key);
int32_t lmdb_commit(struct ph_table *t);

#endif
