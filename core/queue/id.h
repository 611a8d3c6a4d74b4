/* id: queue ids.  Long: seconds (6 or more) and microseconds (4) in base 52,
 * the letter z, the file's inode in base 51: never used twice.  Short: five hex
 * digits of the microseconds and the inode in hex. */
#ifndef CORE_QUEUE_ID_H
#define CORE_QUEUE_ID_H

#include <posthorn/str.h>

#define PH_ID_MAX 31

/* Write the id of a file born at wall_us with that inode; returns its length. */
size_t ph_id_format(char out[PH_ID_MAX + 1], int64_t wall_us, uint64_t inode, int is_long);
/* 1 when the syntax is that of an id of ours, with *inode set; else 0. */
int ph_id_parse(ph_str id, uint64_t *inode);
/* What ph_id_format made it of: 1 when that would write this very id again; else 0.
 * Of a short id *wall_us is only the part below a second. */
int ph_id_split(ph_str id, int64_t *wall_us, uint64_t *inode, int *is_long);
/* 1 when it may be an id at all (letters and digits, not too long): what
 * commands ask before they look. */
int ph_id_is_name(ph_str id);
int ph_id_is_long(ph_str id);
/* The hex digits that choose its subdirectories ("A3F12": five digits). */
void ph_id_hash(ph_str id, char out[6]);

#endif
