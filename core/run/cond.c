/* cond: waiters wake in the order they came (posthorn/task.h); latch: one waits to the end (loop.h). */
#include "core/run/inside.h"

struct ph_cond {
    struct ph_list waiters;
};

struct waiter {
    struct ph_list node;           /* in no list once signalled */
    struct ph_task *task;
};

struct ph_cond *ph_cond_new(struct ph_scope *s)
{
    struct ph_cond *c = ph_new(s, struct ph_cond);

    ph_list_init(&c->waiters);
    return c;
}

/* Outside tasks nobody can signal while we wait: only the deadline ends it. */
int ph_cond_wait(struct ph_cond *c, int64_t deadline)
{
    struct waiter w = { .task = task_here() };

    if (!w.task) {
        int rc = ph_sleep_until(deadline);
        return rc < 0 ? rc : ph_fail(PH_TIMEOUT, "timeout");
    }
    ph_list_push(&c->waiters, &w.node);
    int rc = ph_task_block(w.task, "condition", -1, deadline);
    ph_list_remove(&w.node);
    return rc;
}

/* A waiter that timed out or was cancelled in this very turn has not run yet
 * and is still in the list: the signal belongs to the next one. */
void ph_cond_signal(struct ph_cond *c)
{
    struct ph_list *n;

    while ((n = ph_list_shift(&c->waiters)))
        if (ph_task_wake(ph_list_of(n, struct waiter, node)->task, 0))
            return;
}

void ph_cond_broadcast(struct ph_cond *c)
{
    struct ph_list *n;

    while ((n = ph_list_shift(&c->waiters)))
        ph_task_wake(ph_list_of(n, struct waiter, node)->task, 0);
}

void ph_latch_wait(struct ph_latch *l, const char *what)
{
    l->task = task_here();
    ph_assert(l->task);
    while (!l->is_set)
        ph_task_block_fully(l->task, what);
}

void ph_latch_set(struct ph_latch *l)
{
    l->is_set = 1;
    if (l->task)
        ph_task_wake(l->task, 0);
}
