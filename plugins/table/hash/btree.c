/* table/btree: Berkeley DB btree files, `btree:/etc/postfix/x` reads x.db.
 * Reference: btree_table(5). */
#include "bdb.h"

static int32_t btree_open(struct ph_table *t, ph_str spec) { return bdb_open(t, spec, DB_BTREE); }

static int32_t btree_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    return bdb_lookup(t, key, out, val);
}

static int32_t btree_update(struct ph_table *t, ph_str key, ph_str val) { return bdb_update(t, key, val); }
static int32_t btree_remove(struct ph_table *t, ph_str key) { return bdb_remove(t, key); }

static int32_t btree_sequence(struct ph_table *t, int32_t first, struct ph_scope *out, ph_str *key, ph_str *val)
{
    return bdb_sequence(t, first, out, key, val);
}

static int32_t btree_commit(struct ph_table *t) { return bdb_commit(t); }
static int32_t btree_changed(struct ph_table *t) { return bdb_changed(t); }

PH_PLUGIN_TABLE(btree, PH_IS(.summary = "Berkeley DB btree file", .exec = PH_PURE, .concurrency = PH_ONE_CALL),
    .is = PH_TABLE_INDEXED,
    .open = btree_open,
    .lookup = btree_lookup,
    .update = btree_update,
    .remove = btree_remove,
    .sequence = btree_sequence,
    .commit = btree_commit,
    .changed = btree_changed);
