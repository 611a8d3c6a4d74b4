/* load.h: the load of the benchmark: many SMTP sessions at once in one process.
 *
 * source.c   options, the epoll loop, the figures     sink.c     the other end: counts what arrives
 * session.c  the steps of one session                 sink_session.c  the steps of one of its sessions
 * message.c  what is sent: size, number, text         arrivals.c  counts what arrives in maildirs
 * syncs.c    what the disk can do without any MTA
 *
 * Every message has a number and names its run: X-Bench-Id: RUN-NUMBER.  So what
 * arrives is counted exactly, however often it comes. */
#ifndef T_BENCH_LOAD_H
#define T_BENCH_LOAD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include "t/lib/wire.h"

#define BENCH_ID "X-Bench-Id: "
#define RETRY_US 100000            /* until a message that was refused for now is tried again */
#define GREETING_US 10000000       /* until a connection without greeting is given up */

/* Every bit of the number decides: the same answer in each run. */
static inline uint64_t bench_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* ---- message.c ---- */

struct message_plan {
    const char *run, *from, *to;   /* a % in `to` becomes the recipient's number */
    unsigned recipients;           /* how many numbers, from 0 */
    size_t size;                   /* bytes of content, headers included; 0: the mix */
    uint64_t seed;                 /* of the mix */
    char *body;                    /* owned: lines of 78 letters, as many as the largest message needs */
    size_t body_size;
    char date[64], end[5];         /* end: CRLF . CRLF */
};

struct message {
    char head[768];
    struct iovec part[3];          /* head, body, end: the whole content as it goes over the wire */
    size_t size;
};

/* Allocates the body; the plan lives as long as its messages are sent. */
void plan_init(struct message_plan *p);
/* Write the recipient of message n, without <>. */
void plan_recipient(const struct message_plan *p, uint32_t n, char *out, size_t max);
void message_make(struct message_plan *p, uint32_t n, struct message *m);

/* ---- session.c ---- */

enum step { IDLE, GREETING, HELLO, MAIL, RCPT, DATA, CONTENT, QUIT };

struct session {
    int fd;                        /* -1: none */
    uint32_t gen;                  /* of the descriptor: events of an older one are stale */
    uint32_t number;               /* of the message under way; NO_MESSAGE: none */
    enum step step;
    int writing;                   /* waits for room to send */
    size_t sent;                   /* of the content */
    int64_t sent_us;               /* when its last byte was taken */
    int64_t again_us, dialled_us;  /* IDLE: not before this time; when it connected */
    struct reply reply;
    struct message message;
};
#define NO_MESSAGE UINT32_MAX

struct source {
    int port, epoll, persistent, pipeline;
    struct message_plan plan;
    struct session *session;
    unsigned sessions, live;       /* live: have a connection */
    uint32_t messages, next;       /* next: the first that was never tried */
    uint32_t *again, agains;       /* to be tried again */
    uint32_t *latency_us;          /* by order of acceptance */
    uint32_t accepted, rejected;   /* rejected: for good (5xx) */
    uint32_t retried, uncertain;   /* uncertain: the connection ended between end of data and its reply */
    uint64_t connections, bytes;
    int64_t start_us, last_us;     /* last_us: when something was accepted */
    char trouble[200];             /* the last reply that was not wanted */
};

/* Whether a message is there to be sent. */
int source_has_work(const struct source *s);
/* Connect an idle session, for a message that is there. */
void session_start(struct source *s, struct session *x);
/* Give up a connection on which no greeting has come. */
void session_check(struct source *s, struct session *x, int64_t now);
/* Its descriptor is ready (epoll events). */
void session_ready(struct source *s, struct session *x, uint32_t events);

#endif
