/* walk.h: a walk through a directory, shared by walk.c and glance.c. */
#ifndef CORE_QUEUE_WALK_H
#define CORE_QUEUE_WALK_H

#include <dirent.h>
#include "core/queue/store.h"

#define WALK_CHUNK 256
#define WALK_NAMES 4096                /* read of a directory at a time */

struct found {
    char name[PH_ID_MAX + 1], slot[PH_SLOT_NAME];
    uint64_t inode;                    /* of a slot */
    int64_t next_us;
    int is_gone;
};

struct name {
    uint64_t inode;
    char name[PH_ID_MAX + 1];
};

struct ph_walk {
    struct ph_queue *queue;
    struct ph_scope *scope;
    unsigned place, next_dir;          /* subdirectory to open next */
    int (*is_known)(void *arg, ph_str id);
    void *arg;
    DIR *dir;
    int dir_over;                      /* 1: it was read to its end */
    int is_over;                       /* 1: all of them were */
    unsigned name_count, name_at;      /* read of this directory, and taken into a chunk */
    unsigned count, looked, at;        /* of the chunk: there, looked at, and given */
    struct name name[WALK_NAMES];      /* not of slots */
    struct found found[WALK_CHUNK];
    struct glances *glances;           /* glance.c's */
};

/* The next name, once `look` (which may yield, and moves w->looked by at least one) has
 * looked at it.  Valid until the next call. */
int ph_walk_found(struct ph_walk *w, int (*look)(void *walk), const struct found **f) PH_YIELDS;

#endif
