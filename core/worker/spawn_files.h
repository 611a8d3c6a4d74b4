/* spawn_files.h: between spawn_files.c, which keeps a child for each identity, and
 * spawn_calls.c, which talks to it. */
#ifndef CORE_WORKER_SPAWN_FILES_H
#define CORE_WORKER_SPAWN_FILES_H

#include "core/run/loop.h"
#include "core/worker/spawner.h"

struct call;

struct calls {
    struct call *first, **last;
};

struct ph_files {
    struct ph_list node;           /* in kept, or in none once it is broken */
    uint32_t uid, gid;
    uint32_t users;
    int starting;
    int64_t idle_since;
    int fd;
    int broken;                    /* a late answer must not be taken for another's */
    struct calls waiting, asked;   /* not sent; sent and not answered */
    uint32_t asked_count;
    struct ph_loop *loop;
    struct ph_watch watch;
    struct ph_timer patience;      /* runs while something is asked */
};

/* The child has started: what is asked of it from now on is answered.  0, or PH_TEMP. */
int ph_files_attach(struct ph_files *f);
void ph_files_detach(struct ph_files *f);

#endif
