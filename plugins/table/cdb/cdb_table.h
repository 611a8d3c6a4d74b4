/* cdb: between its files. */
#ifndef CDB_TABLE_H
#define CDB_TABLE_H

#include <cdb.h>
#include "plugins/table/common/rebuild.h"

/* making.c: the entries of a table that is being built: one behind the other, and
 * where each is by its hash.  (The library finds what it has written by going
 * through all of it.) */
struct making {
    struct ph_buf records;         /* struct record and its bytes */
    uint32_t *slot;                /* number of a record's unit + 1, or 0 */
    size_t slots, used;
};

void making_begin(struct making *m);
void making_end(struct making *m);
/* What the old table has: 0, PH_TEMP. */
int making_load(struct making *m, struct cdb *old);
/* PH_FOUND with *val on out, PH_NONE. */
int making_find(const struct making *m, ph_str key, struct ph_scope *out, ph_str *val);
/* PH_FOUND; PH_NONE: it is there and `keep`; PH_TEMP: larger than such a file can be. */
int making_put(struct making *m, ph_str key, ph_str val, uint32_t keep);
int making_remove(struct making *m, ph_str key);
/* The file: 0, PH_TEMP. */
int making_write(struct making *m, const char *path, uint32_t with_nul);

struct cdb_table {
    struct cdb cdb;
    struct rebuild file;
    struct making making;
    int is_making;
    unsigned with_nul;             /* what the last key found had behind it: the form to try first */
    unsigned at;                   /* of the walk */
};

#endif
