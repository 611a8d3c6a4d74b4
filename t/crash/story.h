/* t/crash/story.h: what is recorded: each story is one process that does a few
 * things to a queue, and says what it promises. */
#ifndef T_CRASH_STORY_H
#define T_CRASH_STORY_H

#include "world.h"

struct story {
    const char *name;
    void (*before)(void);          /* what is durable when the recording begins; or NULL */
    void (*run)(void);
    unsigned weight;               /* its share of the outcomes */
};
extern const struct story stories[];
extern const unsigned story_count;

/* drop.c: postdrop and pickup, by their own files; what stands between pickup and
 * the queue (cleanup) is left out. */
int drop_post(const struct letter *l);
void drop_pickup(void);

#endif
