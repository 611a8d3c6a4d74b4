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
int ph_table_is_pattern(const struct ph_table *t);

#endif
