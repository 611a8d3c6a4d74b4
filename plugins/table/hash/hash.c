/* table/hash: Berkeley DB hash files, `hash:/etc/postfix/x` reads x.db.
 * Reference: hash_table(5). */
#include "bdb.h"

static int32_t hash_open(struct ph_table *t, ph_str spec) { return bdb_open(t, spec, DB_HASH); }

PH_PLUGIN_TABLE(hash, PH_IS(.summary = "Berkeley DB hash file", .exec = PH_PURE, .concurrency = PH_ONE_CALL),
    .is = PH_TABLE_INDEXED,
    .open = hash_open,
    .lookup = bdb_lookup,
    .update = bdb_update,
    .remove = bdb_remove,
    .sequence = bdb_sequence,
    .commit = bdb_commit,
    .changed = bdb_changed);
