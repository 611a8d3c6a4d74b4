/* bdb: Berkeley DB files, for the hash and the btree table. */
#ifndef BDB_H
#define BDB_H

#include <db.h>
#include <posthorn/table.h>

int bdb_open(struct ph_table *t, ph_str spec, DBTYPE type);
int bdb_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val);
int bdb_update(struct ph_table *t, ph_str key, ph_str val);
int bdb_remove(struct ph_table *t, ph_str key);
int bdb_sequence(struct ph_table *t, int first, struct ph_scope *out, ph_str *key, ph_str *val);
int bdb_commit(struct ph_table *t);
int bdb_changed(struct ph_table *t);

#endif
