/* loop: one epoll loop per thread, and its callbacks for what is no task:
 * descriptors of foreign libraries, timers, signals, words from other threads,
 * work at the end of each turn.
 *
 * Callbacks run on the loop's own large stack, outside tasks: they must not
 * call anything marked PH_YIELDS (asserted), only wake tasks, spawn them, or do
 * bounded work.  Except ph_post nothing here may be called from another thread. */
#ifndef CORE_RUN_LOOP_H
#define CORE_RUN_LOOP_H

#include <signal.h>
#include <posthorn/buf.h>
#include <posthorn/task.h>
#include "core/base/list.h"

struct ph_loop;

/* Make this thread's loop, run fn(arg) as its first task (1 MiB of stack, named
 * "main"), turn until it returns; then cancel the tasks that still live, turn
 * until they ended, end the disk pool, take everything down and return fn's
 * answer.  PH_TEMP with text when there is no epoll descriptor.  One loop per
 * thread at a time. */
int ph_run_main(int (*fn)(void *), void *arg);
/* 1 while ph_foreign runs something for the current task: nothing may wait there. */
int ph_in_foreign(void);
/* This thread's loop, or NULL. */
struct ph_loop *ph_loop_here(void);

/* Descriptor callbacks, level triggered: fn runs on each turn while fd is ready
 * for one of `what` (PH_READ, PH_WRITE; errors and hang-ups count as both).
 * Memory is the caller's, zeroed before first use.  A descriptor that is
 * watched must not be waited for by a task.  start on a started watch changes
 * it; stop before the descriptor is closed; stop is idempotent. */
struct ph_watch {
    void (*fn)(struct ph_watch *w, int ready);
    void *arg;
    int fd, what;              /* what is 0 when stopped */
};
/* 0, or PH_TEMP (not a descriptor epoll can watch). */
int ph_watch_start(struct ph_watch *w, int fd, int what);
void ph_watch_stop(struct ph_watch *w);

/* Timers: fn runs once, at `when` of the monotonic clock or soon after.  Memory
 * is the caller's, zeroed before first use; set on a running timer moves it. */
struct ph_timer {
    void (*fn)(struct ph_timer *t);
    void *arg;
    int64_t when;
    size_t index;              /* 0 when not running */
};
void ph_timer_set(struct ph_timer *t, int64_t when_ms);
void ph_timer_stop(struct ph_timer *t);

/* For tests: time stands still at ms (> 0), on the wall too, and where the loop
 * would sleep it jumps to the next timer: waits take no time, and a run repeats.
 * Nothing outside the process may be waited for: when no timer is left either,
 * nobody can ever go on, and the process ends with a list of tasks.  0: the machine's
 * clock again.  Not while a loop runs, except to move time forward. */
void ph_clock_simulate(int64_t ms);

/* fn(arg) at the end of each turn, before the loop may sleep.  Memory is the
 * caller's and stays until removed. */
struct ph_turn_hook {
    void (*fn)(void *arg);
    void *arg;
    struct ph_list node;
};
void ph_turn_hook_add(struct ph_turn_hook *h);
void ph_turn_hook_remove(struct ph_turn_hook *h);

/* fn(signo, arg) when the signal comes: it is blocked and read through a
 * signalfd.  fn NULL: no longer (it stays blocked until the loop ends). */
void ph_signal_watch(int signo, void (*fn)(int signo, void *arg), void *arg);
/* In a forked child before exec: default actions and an empty mask. */
void ph_signals_reset(void);

/* From any thread: have the loop run fn(post) soon.  Memory is the caller's
 * until fn runs.  Many posts make one wake-up. */
struct ph_post {
    void (*fn)(struct ph_post *p);
    void *arg;
    struct ph_post *next;
};
void ph_post(struct ph_loop *l, struct ph_post *p);

/* Like ph_fd_wait, for callers who have just seen EAGAIN in that direction
 * (streams): costs no system call once the descriptor is known.  Without the
 * EAGAIN it may sleep on data that is there. */
int ph_fd_wait_again(int fd, int what, int64_t deadline) PH_YIELDS;
/* The same for reading, for callers to whom a TCP socket gave less than they asked
 * for: there is nothing left in it, but the end may be. */
int ph_fd_wait_more(int fd, int64_t deadline) PH_YIELDS;
/* Nobody here waits for fd any more, though it stays open and others may (a
 * listener): it does not wake us until somebody waits for it again. */
void ph_fd_leave(int fd);
/* Yields on each 16th call since the task last waited: for loops that a peer
 * can keep busy without a wait.  0, or PH_CANCEL. */
int ph_yield_fair(void) PH_YIELDS;

/* One task waits until a callback or another task says that what it asked for has
 * happened; neither cancel nor a deadline cuts that short, so the latch may stand on
 * its stack.  Zeroed before use; set once. */
struct ph_latch {
    struct ph_task *task;
    int is_set;
};
void ph_latch_wait(struct ph_latch *l, const char *what) PH_YIELDS;
void ph_latch_set(struct ph_latch *l);

/* Start the disk pool of this loop; after the seal, since threads are born
 * with their creator's.  0 threads: work stays in place.  0, or PH_TEMP. */
int ph_disk_start(unsigned threads);

/* Append one line per live task: name, whom it serves, age, what it waits for and
 * since when.  With stacks (in callbacks only) the calls of each waiting task follow,
 * innermost first, each as FILE+0xOFFSET(SYMBOL), where (SYMBOL) may be missing. */
void ph_tasks_dump(struct ph_buf *out, int stacks);
/* For servers: from now on stacks can be shown and, with warnings, a task or callback that
 * holds the loop over 100 ms is said.  Before the seal: the unwinder loads a library. */
void ph_sight_start(int with_warnings);
size_t ph_tasks_count(void);
/* How many there may be: each stack costs two of vm.max_map_count. */
size_t ph_tasks_limit(void);

#endif
