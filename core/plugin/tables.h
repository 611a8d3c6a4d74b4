/* tables: opening one table and asking it, for core and commands. */
#ifndef CORE_PLUGIN_TABLES_H
#define CORE_PLUGIN_TABLES_H

#include <posthorn/table.h>

/* Open "type:name" (without type: $default_database_type).  0 and *t on s;
 * PH_CONF, PH_TEMP. */
int ph_table_open(struct ph_conf *c, struct ph_scope *s, ph_str type_name, uint32_t flags, struct ph_table **t);
/* Fold as the table wants and ask: PH_FOUND with *val on out, PH_NONE, negative
 * with the table named in the text.  A plugin's broken answer reads as failure. */
int ph_table_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val) PH_YIELDS;
int ph_table_is_pattern(const struct ph_table *t);

#endif
