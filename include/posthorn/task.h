/* posthorn/task.h: tasks (stackful coroutines on one loop), groups, waiting.
 *
 * One task per session; waiting is a plain call that yields.  Tasks never
 * change threads.  Task stacks are small (64 KiB of address space with a guard
 * page): big buffers live in a scope, foreign code runs through ph_foreign().
 *
 * Every wait obeys the task's deadline and its cancellation: after cancel each
 * wait returns PH_CANCEL at once, until the task ends. */
#ifndef POSTHORN_TASK_H
#define POSTHORN_TASK_H

#include <posthorn/clock.h>
#include <posthorn/scope.h>

PH_BEGIN

struct ph_task;
struct ph_group;
struct ph_cond;

/* A group of tasks that ends as one.  Ending the scope cancels and joins them
 * (that defer yields, so such a scope must end inside a task). */
struct ph_group *ph_group_new(struct ph_scope *s);
/* Start fn(arg) as a task; it runs from the next turn on.  `name` is shown in
 * listings and copied.  Never fails but by PH_TEMP when stacks or the task
 * limit end (then nothing was started). */
int ph_spawn(struct ph_group *g, const char *name, void (*fn)(void *), void *arg);
/* Tasks alive in the group. */
size_t ph_group_count(const struct ph_group *g);
/* Ask all of them to stop; does not wait. */
void ph_group_cancel(struct ph_group *g);
/* Until no task is left: 0; PH_TIMEOUT, PH_CANCEL.  Yields. */
int ph_group_wait(struct ph_group *g, int64_t deadline) PH_YIELDS;

/* 1 inside a task, 0 elsewhere (pool threads, single-task programs). */
int ph_in_task(void);
/* 1 when the current task was cancelled. */
int ph_cancelled(void);
/* Set the current task's deadline for all its waits; returns the old one. */
int64_t ph_deadline_set(int64_t deadline);
int64_t ph_deadline(void);

/* Whom or what the current task serves, for listings and warnings: the text is the
 * caller's and stays until it is replaced (an empty one: nobody) or the task ends. */
void ph_task_about(ph_str text);

/* 1: until it is set to 0 again, no other task and no callback holds a pointer into
 * the current task's stack (to a local of it, or of those who called it).  While it
 * then waits for a descriptor, and long, its stack is put away and costs no page.  For
 * sessions that wait for a peer who may say nothing for minutes. */
void ph_task_private(int is_private);

/* Let the others run once: 0, or PH_CANCEL.  Yields. */
int ph_yield(void) PH_YIELDS;
/* Until that time: 0, or PH_CANCEL, or PH_TIMEOUT when the task's own deadline
 * came first.  Yields. */
int ph_sleep_until(int64_t when_ms) PH_YIELDS;

/* Wait until fd is readable (PH_READ) or writable (PH_WRITE): > 0 what is
 * ready (errors and hang-ups count as both); PH_TIMEOUT, PH_CANCEL.  One task
 * per direction of a descriptor.  Before a descriptor waited for is closed,
 * call ph_fd_forget.  Yields. */
#define PH_READ  1
#define PH_WRITE 2
int ph_fd_wait(int fd, int what, int64_t deadline) PH_YIELDS;
void ph_fd_forget(int fd);

/* A condition: waiters wake in order.  State it guards is the caller's; test
 * it again after the wait. */
struct ph_cond *ph_cond_new(struct ph_scope *s);
/* 0 when signalled; PH_TIMEOUT, PH_CANCEL.  Yields. */
int ph_cond_wait(struct ph_cond *c, int64_t deadline) PH_YIELDS;
void ph_cond_signal(struct ph_cond *c);      /* wake the first waiter, if any */
void ph_cond_broadcast(struct ph_cond *c);

/* Run fn(arg) on the loop's own large stack and return its answer.  For code
 * that is not ours and does not yield: OpenSSL, PCRE, libdb, NSS, PURE
 * plugins.  fn must not call anything marked PH_YIELDS.  Outside tasks it is a
 * plain call.  Does not yield. */
int ph_foreign(int (*fn)(void *), void *arg);

PH_END
#endif
