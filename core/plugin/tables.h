/* tables: opening one table and asking it, for core and commands. */
#ifndef CORE_PLUGIN_TABLES_H
#define CORE_PLUGIN_TABLES_H

#include <posthorn/table.h>

/* What this process is, said once before any table is opened.  A command (nothing
 * said) opens every table itself; a client of the pool asks these services (to
 * read, to write; NULL: not declared) for what may block and what stands behind
 * proxy:; the pool opens here whatever it is asked for.  The strings stay. */
void ph_tables_by_pool(const char *reader, const char *writer);
void ph_tables_here(void);

/* For services: what cannot be opened is an error in the log, and then each
 * look-up fails with the cause; it is tried again while the cause may pass. */
struct ph_table *ph_table_open_soft(struct ph_conf *c, struct ph_scope *s, const char *what, ph_str type_name, uint32_t flags);
/* 1 when it sees whole keys only.  What another process opened may have to be asked. */
int ph_table_is_pattern(struct ph_table *t) PH_YIELDS;

/* remote.c: a table that the pool has, as one of this process: t is filled but for
 * self, and opened without asking anybody.  `proxied`: the administrator wrote proxy:. */
void ph_remote_open(struct ph_table *t, const char *service, int proxied);
int ph_remote_is(const struct ph_table *t);
/* Until it is known what kind of table it is.  Failure leaves it unknown. */
void ph_remote_learn(struct ph_table *t) PH_YIELDS;

/* 1, or 0 after a warning: a key that is no UTF-8 is asked of a table that takes any
 * bytes only. */
int ph_table_takes_key(const struct ph_table *t, ph_str key);
/* The same of a value: PH_FOUND, or PH_TEMP after a warning. */
int ph_table_takes_value(const struct ph_table *t, ph_str key, ph_str val);
/* A table's file in messages, on s: "x.db"; and the table: "hash:x.db". */
ph_str ph_table_file(struct ph_scope *s, const struct ph_table *t);
ph_str ph_table_shown(struct ph_scope *s, const struct ph_table *t);

#endif
