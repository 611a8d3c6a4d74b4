/* items: "{a, b, {c d}}", for tables whose name is a list. */
#ifndef ITEMS_H
#define ITEMS_H

#include <posthorn/table.h>

/* The items, on t's scope: 0 (at least one), or PH_CONF naming what is needed.  Braces
 * around an item stay. */
int items_parse(struct ph_table *t, ph_str spec, const char *need, ph_str **item, size_t *count);
/* The same, each opened as a table: 0, or as ph_table_inner.  The table sees whole
 * keys only when all of these do, and its keys are
 * folded for all unless the first is a pattern table: the order of the items says it. */
int items_open(struct ph_table *t, ph_str spec, struct ph_table ***inner, size_t *count);

#endif
