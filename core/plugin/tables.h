/* tables: opening one table and asking it, for core and commands. */
#ifndef CORE_PLUGIN_TABLES_H
#define CORE_PLUGIN_TABLES_H

#include <posthorn/table.h>

/* Open "type:name" (without type: $default_database_type).  0 and *t on s;
 * PH_CONF, PH_TEMP. */
int ph_table_open(struct ph_conf *c, struct ph_scope *s, ph_str type_name, uint32_t flags, struct ph_table **t);
/* For services: what cannot be opened is an error in the log, and then each
 * look-up fails with the cause; it is tried again while the cause may pass. */
struct ph_table *ph_table_open_soft(struct ph_conf *c, struct ph_scope *s, const char *what, ph_str type_name, uint32_t flags);
/* Fold as the table wants and ask: PH_FOUND with *val on out, PH_NONE, negative
 * with the table named in the text.  A plugin's broken answer reads as failure.
 * Once a second it looks whether the table was rebuilt, and then reads the new one. */
int ph_table_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val) PH_YIELDS;
int ph_table_is_pattern(const struct ph_table *t);

/* For tables opened with PH_TABLE_WRITE or PH_TABLE_CREATE, and walks; answers
 * as in posthorn/table.h.  PH_CONF: this type cannot do that. */
int ph_table_update(struct ph_table *t, ph_str key, ph_str val) PH_YIELDS;
int ph_table_remove(struct ph_table *t, ph_str key) PH_YIELDS;
int ph_table_next(struct ph_table *t, int first, struct ph_scope *out, ph_str *key, ph_str *val) PH_YIELDS;
int ph_table_commit(struct ph_table *t) PH_YIELDS;

#endif
