/* table/hash: Berkeley DB hash files, `hash:/etc/postfix/x` reads x.db.
 * Reference: hash_table(5). */
#include "bdb.h"

static int32_t hash_open(struct ph_table *t, ph_str spec) { return bdb_open(t, spec, DB_HASH); }

static int32_t hash_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    return bdb_lookup(t, key, out, val);
}

static int32_t hash_update(struct ph_table *t, ph_str key, ph_str val) { return bdb_update(t, key, val); }
static int32_t hash_remove(struct ph_table *t, ph_str key) { return bdb_remove(t, key); }

static int32_t hash_sequence(struct ph_table *t, int32_t first, struct ph_scope *out, ph_str *key, ph_str *val)
{
    return bdb_sequence(t, first, out, key, val);
}

static int32_t hash_commit(struct ph_table *t) { return bdb_commit(t); }
static int32_t hash_changed(struct ph_table *t) { return bdb_changed(t); }

PH_PLUGIN_TABLE(hash, PH_IS(.summary = "Berkeley DB hash file", .exec = PH_PURE, .concurrency = PH_ONE_CALL),
    .is = PH_TABLE_INDEXED,
    .open = hash_open,
    .lookup = hash_lookup,
    .update = hash_update,
    .remove = hash_remove,
    .sequence = hash_sequence,
    .commit = hash_commit,
    .changed = hash_changed);
