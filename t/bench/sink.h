/* sink.h: the server end of the benchmark; see load.h and sink.c. */
#ifndef T_BENCH_SINK_H
#define T_BENCH_SINK_H

#include "load.h"

#define HEAD_MAX 8192u             /* so much of a message is looked through for its number */

struct conn {
    int fd;                        /* -1: free */
    uint32_t gen;                  /* of the descriptor: events of an older one are stale */
    uint32_t slot;                 /* index in the table */
    int in_content, quitting;
    unsigned end_seen;             /* letters of CR LF . CR LF so far */
    uint64_t size;                 /* of the content so far */
    char line[1024], out[1024];    /* an unfinished command; replies not yet sent */
    size_t line_size, out_size, head_size;
    int64_t due_us;                /* replies are held until then; 0: not held */
    struct conn *later;            /* held ones, oldest first; free ones */
    char head[HEAD_MAX];
};

struct sink {
    int port, listener, epoll;
    const char *run;               /* whose messages count */
    uint32_t messages;             /* how many there are */
    int64_t slow_us;               /* before the reply to the end of data */
    unsigned tempfail, close_early; /* percent of the messages, at their first try */
    int hang_up;                   /* close after each message, without waiting for QUIT */
    uint8_t *seen, *tried;         /* by number: how often accepted; refused or dropped once */
    uint32_t distinct, late;       /* late: accepted after it was refused or dropped */
    uint64_t duplicates, foreign, tempfailed, dropped, connections, bytes;
    int64_t first_us, last_us;     /* of what was accepted, when new */
    struct conn **conn, *free, *held, **held_end;
    uint32_t conns;
};

/* A connection was accepted. */
void conn_start(struct sink *s, int fd);
/* Its descriptor can be read. */
void conn_ready(struct sink *s, struct conn *c);
/* Send the replies whose time has come; milliseconds to the next, -1: none. */
int conns_release(struct sink *s);

#endif
