/* t/crash/scenario.c: the child of the crash tests: a story in which something of
 * everything happens to MESSAGES letters; and the next life, told on the pipe. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "life.h"
#include "scenario.h"

/* What qmgr does with message i.  "ending" is said before an end begins: from
 * there on the message may be there or not. */
static void treat(int i, struct ph_qmsg *m)
{
    int fd;

    switch (i % 6) {
    case 0:                            /* delivered */
        if ((fd = ph_queue_open_reader(world_queue, m)) > 2)
            close(fd);
        say("ending %d", i);
        if (ph_queue_mark(world_queue, m, 0, PH_STATE_DELIVERED) == 0 && ph_queue_mark(world_queue, m, 1, PH_STATE_DELIVERED) == 0)
            ph_queue_remove(world_queue, m);
        return;
    case 1:                            /* one of two delivered, deferred, tried again, put off */
        say("marking %d", i);
        if (ph_queue_mark(world_queue, m, 0, PH_STATE_DELIVERED) == 0)
            say("marked %d", i);
        ph_queue_defer(world_queue, m, ph_wall_us() + 1000000);
        ph_queue_defer(world_queue, m, ph_wall_us() + 9000000);
        return;
    case 2:                            /* held, released */
        if (ph_queue_hold(world_queue, m) == 0)
            ph_queue_release(world_queue, m);
        return;
    case 3:                            /* bounced: the notice would go out between */
        say("marking %d", i);
        if (ph_queue_mark(world_queue, m, 0, PH_STATE_FAILED) == 0 && ph_queue_sync(world_queue, m) == 0) {
            say("synced %d", i);
            ph_queue_mark(world_queue, m, 0, PH_STATE_TOLD);
        }
        ph_queue_sync(world_queue, m);
        return;
    case 4:                            /* deferred, then done */
        if (ph_queue_defer(world_queue, m, ph_wall_us()) < 0)
            return;
        say("ending %d", i);
        ph_queue_mark(world_queue, m, 0, PH_STATE_DELIVERED);
        ph_queue_mark(world_queue, m, 1, PH_STATE_DELIVERED);
        ph_queue_remove(world_queue, m);
        return;
    default:                           /* the administrator deletes it */
        say("ending %d", i);
        ph_queue_remove(world_queue, m);
    }
}

int crash_scenario(void *arg PH_UNUSED)
{
    /* A failure injected here ends it: nothing was promised. */
    if (world_open() < 0)
        return 0;
    for (int i = 0; i < MESSAGES; i++) {
        /* Every fourth is larger than memory, and is written in pieces. */
        struct letter l = { .n = (unsigned)i, .lines = i % 4 == 3 ? 2700 : 30, .words = (unsigned)i };
        struct ph_qmsg *m = letter_submit(&l);

        if (m)
            treat(i, m);
    }
    say("end -");
    _exit(0);
}

/* The next qmgr: what is there. */
int crash_survey(void *arg PH_UNUSED)
{
    struct ph_scope *s = ph_scope_new(NULL);
    struct life l;

    life_live(s, &l);
    for (unsigned i = 0; i < l.n; i++) {
        const struct life_found *f = &l.found[i];
        int pending = (f->state[0] == PH_STATE_PENDING) + (f->state[1] == PH_STATE_PENDING);

        if (f->whole)
            say("found %u %d %c", f->letter.n, pending, f->state[0]);
        else
            say("bad %s", f->id);
    }
    for (unsigned i = 0; i < l.corrupts; i++)
        say("corrupt -");
    if (l.trouble[0])
        say("bad %s", l.trouble);
    say("end -");
    _exit(0);
}
