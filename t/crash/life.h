/* t/crash/life.h: the next life: the queue is opened as the next qmgr would, all
 * that is found is delivered, and what is left then is looked at. */
#ifndef T_CRASH_LIFE_H
#define T_CRASH_LIFE_H

#include <sys/types.h>
#include "world.h"

struct life_found {
    struct letter letter;
    int whole, where;              /* where: PH_PLACE_*, or LIFE_MAILDROP */
    char id[PH_ID_MAX + 1];
    char state[LETTER_RCPTS];      /* as found: PH_STATE_* */
    ino_t inode;
};
#define LIFE_MAILDROP PH_PLACES

struct life {
    struct ph_scope *scope;        /* of what stands below */
    struct life_found *found;
    unsigned n, room;
    ino_t *corrupt;                /* files of corrupt/ */
    unsigned corrupts, logs;       /* logs: files of bounce/, defer/ */
    char trouble[160];             /* "" or what must not be: it does not open, a file left behind ... */
};

/* Main function of ph_run_main, or called in it: one life in crash_top.  It writes
 * marks and moves files. */
void life_live(struct ph_scope *s, struct life *l);

#endif
