/* bdb: Berkeley DB files, for the hash and the btree table. */
#ifndef BDB_H
#define BDB_H

#include <db.h>
#include <posthorn/table.h>

/* Bodies of open; the others are the plugin's calls themselves. */
int32_t bdb_open(struct ph_table *t, ph_str spec, DBTYPE type);
int32_t bdb_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val);
int32_t bdb_update(struct ph_table *t, ph_str key, ph_str val);
int32_t bdb_remove(struct ph_table *t, ph_str key);
int32_t bdb_sequence(struct ph_table *t, int32_t first, struct ph_scope *out, ph_str *key, ph_str *val);
int32_t bdb_commit(struct ph_table *t);
int32_t bdb_changed(struct ph_table *t);

#endif
