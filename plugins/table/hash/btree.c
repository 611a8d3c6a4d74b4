/* table/btree: Berkeley DB btree files, `btree:/etc/postfix/x` reads x.db.
 * Reference: btree_table(5). */
#include "bdb.h"

static int32_t btree_open(struct ph_table *t, ph_str spec) { return bdb_open(t, spec, DB_BTREE); }

PH_PLUGIN_TABLE(btree, PH_IS(.summary = "Berkeley DB btree file", .exec = PH_PURE, .concurrency = PH_ONE_CALL),
    .is = PH_TABLE_INDEXED,
    .open = btree_open,
    .lookup = bdb_lookup,
    .update = bdb_update,
    .remove = bdb_remove,
    .sequence = bdb_sequence,
    .commit = bdb_commit,
    .changed = bdb_changed);
