/* t/crash/rebuild.h: an outcome becomes a queue directory; only what differs from
 * the one before is written. */
#ifndef T_CRASH_REBUILD_H
#define T_CRASH_REBUILD_H

#include "disk.h"

struct rebuild;
struct rebuild *rebuild_new(struct ph_scope *s, const struct disk *d);
void rebuild_make(struct rebuild *r, const struct outcome *o);
/* Somebody wrote to that file. */
void rebuild_touched(struct rebuild *r, ino_t inode);

#endif
