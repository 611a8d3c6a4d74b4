/* rows: which row of a table has a name.  Attributes mostly come in the order of
 * the table that they were put from, so the row behind the last one is looked at
 * first. */
#ifndef CORE_BASE_ROWS_H
#define CORE_BASE_ROWS_H

#include <string.h>
#include <posthorn/str.h>

struct ph_row {
    ph_str name;
    size_t offset;                 /* of the member that it stands for */
};

#define PH_ROW(type, m) { PH_STR_INIT(#m), offsetof(type, m) }

/* Its index, or n; *next begins as 0 and moves. */
static inline size_t ph_row_find(const struct ph_row *rows, size_t n, size_t *next, ph_str name)
{
    for (size_t k = 0, i = *next; k < n; k++, i++) {
        if (i >= n)
            i = 0;
        if (rows[i].name.n == name.n && memcmp(rows[i].name.p, name.p, name.n) == 0) {
            *next = i + 1;
            return i;
        }
    }
    return n;
}

#endif
