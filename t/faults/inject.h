/* t/faults/inject.h: what t/faults/Faults.pm and the preloaded library share: a
 * file mapped by both (POSTHORN_FAULTS), so that the test changes what fails
 * while the workers run sealed.  Faults.pm unpacks these layouts by offset. */
#ifndef T_FAULTS_INJECT_H
#define T_FAULTS_INJECT_H

#include <stdint.h>
#include <stddef.h>

#define INJECT_DEPTH 8             /* frames that tell call sites apart */
#define INJECT_SITES 8192
#define INJECT_MODULES 64
#define INJECT_NAME  16
#define INJECT_WHAT  64

/* Calls; Faults.pm has the same list in the same order. */
enum call {
    CALL_OPEN, CALL_READ, CALL_PREAD, CALL_WRITE, CALL_PWRITE, CALL_SEND, CALL_RECV, CALL_SYNC, CALL_RENAME, CALL_LINK,
    CALL_UNLINK, CALL_MKDIR, CALL_STAT, CALL_STATVFS, CALL_UTIME, CALL_CHMOD, CALL_TRUNCATE, CALL_LOCK, CALL_FCNTL, CALL_CLOSE,
    CALL_DIR, CALL_READDIR, CALL_ACCEPT, CALL_SOCKET, CALL_CONNECT, CALL_PAIR, CALL_POLL, CALL_EPOLL, CALL_MAP, CALL_FORK,
    CALL_DUP, CALL_ACCESS, CALL_FDS, CALL_COUNT
};

enum mode { MODE_CALM, MODE_RECORD, MODE_FAULT, MODE_COUNT_MEMORY, MODE_NO_MEMORY };
enum how { HOW_PASS, HOW_FAIL, HOW_SHORT, HOW_LOSE_FDS };

struct site {
    uint64_t hash;                 /* 0: free */
    uint32_t call, kind;           /* kind: f file, d directory, s socket, p pipe, c created, ? */
    uint32_t met, seen;            /* met: how often; seen: 1 when the rest stands */
    char service[INJECT_NAME];
    char what[INJECT_WHAT];        /* path or descriptor of the first call */
    uint32_t module[INJECT_DEPTH], offset[INJECT_DEPTH];   /* return addresses; module 0: end */
};

struct control {
    int32_t mode, how, err;
    int32_t skip, count, hits;     /* pass `skip` calls, then strike `count` */
    uint64_t site;                 /* 0: any */
    uint64_t calls;                /* bits of enum call; used when site is 0 */
    char service[INJECT_NAME];     /* "": any; with memory: whose */
    char struck[256];              /* who was struck: service[pid] call what */
    uint32_t struck_module[INJECT_DEPTH], struck_offset[INJECT_DEPTH];
    int64_t memory_skip;           /* allocations that pass */
    int64_t memory_count;          /* allocations that fail from then on */
    int64_t memory_met;            /* allocations seen */
    int32_t struck_pid, sites_lost;
};

struct shared {
    struct control control;
    char pad[4096 - sizeof(struct control)];
    char module[INJECT_MODULES][128];    /* paths; number 0 is not used */
    struct site site[INJECT_SITES];
};

struct frames {
    uint32_t module[INJECT_DEPTH], offset[INJECT_DEPTH];
};

extern struct shared *inject_shared;

/* Whether the call about to be made is one to be struck, with errno set: HOW_*.
 * `size`: bytes that it moves (SHORT needs two); path may be NULL.  Never fails,
 * never allocates, keeps errno when it passes. */
int inject_meets(enum call call, int fd, const char *path, size_t size);

/* Descriptors have come over fd (CALL_FDS): whether they are to be lost. */
int inject_loses_fds(int fd);

/* The name of this process's service. */
const char *inject_service(void);

/* Frames of ours above the caller, not those of the C library. */
uint64_t inject_frames(struct frames *f);

/* Note who was struck. */
void inject_struck(const char *call, const char *what, const struct frames *f);

/* Where the next definition of a function is. */
void *inject_next(const char *name);

/* Nonzero while the library itself makes calls. */
extern _Thread_local int inject_inside;

#endif
