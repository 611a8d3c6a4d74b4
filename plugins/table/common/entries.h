/* entries: the contents of a table in memory, in the order they were written. */
#ifndef TABLE_ENTRIES_H
#define TABLE_ENTRIES_H

#include <posthorn/map.h>
#include <posthorn/table.h>

struct entry { struct entry *next; ph_str key, value; uint32_t line, pad; };    /* line: 0 when there is no file */

struct entries {
    struct ph_scope *scope;        /* theirs */
    struct ph_map *map;
    struct entry *first, **last;
    const char *path;              /* of the file whose lines they are, or NULL */
    const struct entry *at;        /* of the walk */
};

void entries_init(struct entries *e, struct ph_scope *s);
/* The key as the table's flags want it, on s. */
ph_str entries_key(struct ph_scope *s, const struct ph_table *t, ph_str key);
/* The entry of that key, new (and empty) when *is_new says so. */
struct entry *entries_add(struct entries *e, ph_str key, int *is_new);
/* As the table plugin's calls: PH_FOUND, PH_NONE. */
int32_t entries_lookup(const struct entries *e, ph_str key, struct ph_scope *out, ph_str *val);
int32_t entries_next(struct entries *e, int first, struct ph_scope *out, ph_str *key, ph_str *val);

#endif
