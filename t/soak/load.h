/* load.h: the other side of the soak tests: clients that do nothing, little, or
 * too much.
 *
 * load.c   options, blocking helpers      hold.c   sessions that idle or send a byte per tick
 * probe.c  whole messages, with the time of each reply
 * flood.c  one client that sends without end
 * Results are one line of JSON on standard output. */
#ifndef T_SOAK_LOAD_H
#define T_SOAK_LOAD_H

#include "t/lib/wire.h"

/* Send all of it (blocking): 1, or 0 when the peer left. */
int send_all(int fd, const char *p, size_t n);
/* One whole reply (blocking): its code, or 0 when the peer left. */
int await_reply(int fd, struct reply *r);

int hold_main(int argc, char **argv);
int probe_main(int argc, char **argv);
int flood_main(int argc, char **argv);

#endif
