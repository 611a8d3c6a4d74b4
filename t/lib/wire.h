/* wire.h: what the C clients and servers of the tests share: a clock, sockets on
 * loopback, the end of an SMTP reply. */
#ifndef T_LIB_WIRE_H
#define T_LIB_WIRE_H

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

/* Microseconds of a clock that does not jump; all programs of the machine share it. */
int64_t clock_us(void);
/* User and system time of this process so far, in microseconds. */
int64_t cpu_us(void);
/* A connection to the port on loopback; dies with the reason. */
int dial(int port, int blocking);
/* As many descriptors as the hard limit allows. */
void raise_limits(void);
/* End the program: its name, what it did, errno's text. */
_Noreturn void die(const char *what);

#endif
