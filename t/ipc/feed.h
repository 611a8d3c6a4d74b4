/* t/ipc/feed.h: the hostile client of t/system/ipc_hostile.t.
 *
 * talk.c     conversations, connections        shapes.c   frames that are wrong in every way
 * fds.c      descriptors that nobody asked for   peers.c    peers that are slow, deaf, or half there
 * feed.c     the program */
#ifndef T_IPC_FEED_H
#define T_IPC_FEED_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PARTS_MAX 16
#define PART_FDS  253
#define LODGERS   16u

/* What is sent at once, with descriptors. */
struct part {
    unsigned char *p;
    size_t n;
    int fd[PART_FDS];
    unsigned fds;
};

/* A recorded conversation: what a well-behaved client says, frame by frame. */
struct talk {
    struct part part[PARTS_MAX];
    unsigned n;
};

struct feed {
    const char *path;
    pid_t pid;                     /* who serves the socket */
    int64_t wait_ms;               /* a connection must end this long after its peer's end */
    uint64_t seed, random_state;
    unsigned rounds;               /* random ones */
    unsigned lodgers;              /* up to LODGERS connections that say half a frame */
    unsigned every, turn;          /* of the frames by rule only one in `every` is sent */
    int shown_fd;                  /* passed where the conversation passes one */
    unsigned long cases, open;     /* sent; still open after wait_ms */
    const char *what;              /* the family under way, for messages */
    /* A connection opened before all others: must go on being served. */
    int old;
    struct part *question;
    const char *answer;
    unsigned long asked;
};

/* talk.c */
int64_t now_ms(void);
uint32_t pick(struct feed *f, uint32_t below);
void talk_read(struct talk *t, const char *file);
int dial(const struct feed *f);
/* Send it all or until the peer has enough of it, reading (and forgetting) what it
 * says: 0, or -1 when the connection ended. */
int say(int fd, const struct part *p, int64_t deadline);
/* One connection: the first `n` parts of t, then `last` (or NULL), then the end of
 * it; its server must end it too, and live. */
void hostile(struct feed *f, const struct talk *t, unsigned n, const struct part *last);
/* 1: this one is not sent in a short run. */
int is_left_out(struct feed *f);
/* It lives, and answers on the connection of old; else the program ends. */
void check_server(struct feed *f);
void die(const struct feed *f, const char *text);

/* The wire form of frames (posthorn/frame.h). */
uint32_t get32(const unsigned char *p);
void put32(unsigned char *p, uint32_t v);

void feed_shapes(struct feed *f, const struct talk *t);
void feed_values(struct feed *f, const struct talk *t);
void feed_orders(struct feed *f, const struct talk *t);
void feed_random(struct feed *f, const struct talk *t);
void feed_fds(struct feed *f, const struct talk *t);
void feed_peers(struct feed *f, const struct talk *t);
/* Slow and half-open peers that stay: made before the rest, ended after it. */
struct lodgers;
struct lodgers *lodgers_in(struct feed *f, const struct talk *t);
void lodgers_turn(struct lodgers *l);
void lodgers_out(struct lodgers *l);

#endif
