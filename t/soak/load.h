/* load.h: the other side of the soak tests: clients that do nothing, little, or
 * too much.
 *
 * load.c   options, sockets, replies      hold.c   sessions that idle or send a byte per tick
 * probe.c  whole messages, with the time of each reply
 * flood.c  one client that sends without end
 * Results are one line of JSON on standard output. */
#ifndef T_SOAK_LOAD_H
#define T_SOAK_LOAD_H

#include <stddef.h>
#include <stdint.h>

/* The end of a reply, whatever the pieces it comes in. */
struct reply {
    int code;                      /* of the line under way */
    unsigned column;
    int more;                      /* "250-": lines follow */
};
/* Take bytes up to the end of one reply; *used says how many.  Its code, or 0
 * while it is not whole. */
int reply_take(struct reply *r, const char *p, size_t n, size_t *used);

/* Microseconds of a clock that does not jump. */
int64_t clock_us(void);
/* A connection to the port on loopback; dies with the reason. */
int dial(int port, int blocking);
/* Send all of it (blocking): 1, or 0 when the peer left. */
int send_all(int fd, const char *p, size_t n);
/* One whole reply (blocking): its code, or 0 when the peer left. */
int await_reply(int fd, struct reply *r);
_Noreturn void die(const char *what);

int hold_main(int argc, char **argv);
int probe_main(int argc, char **argv);
int flood_main(int argc, char **argv);

#endif
