/* t/crash/trace.h: a child under ptrace, stopped at a chosen system call. */
#ifndef T_CRASH_TRACE_H
#define T_CRASH_TRACE_H

#include <sys/types.h>

struct tape;

enum { TRACE_KILL, TRACE_FAIL };

#ifdef __x86_64__
#define TRACE_CAN_FAIL 1
#else
#define TRACE_CAN_FAIL 0
#endif

struct trace {
    int what;                      /* TRACE_* */
    long at;                       /* the call; -1: none, run to the end */
    int err;                       /* FAIL: errno */
    struct tape *tape;             /* what records it, or NULL */
};

/* Drive pid (which has asked to be traced and stopped itself) to its end: at
 * its `at`th call (FAIL: writing call) it is killed, or that call fails.  Number
 * of calls (FAIL: writing calls). */
long trace_run(pid_t pid, struct trace *t);

#endif
