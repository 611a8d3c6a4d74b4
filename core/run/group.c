/* group: tasks that end as one.  See posthorn/task.h. */
#include "core/run/inside.h"

struct ph_group {
    struct ph_list tasks;
    size_t count;
    struct ph_list waiters;        /* struct waiter, on their tasks' stacks */
};

struct waiter {
    struct ph_list node;
    struct ph_task *task;
};

/* 0 when the group is empty; sleeps at most once per task that ends. */
static int wait_empty(struct ph_group *g, int64_t deadline, int fully)
{
    struct ph_task *t = task_here();

    while (g->count) {
        struct waiter w = { .task = t };

        ph_assert(t);
        ph_list_push(&g->waiters, &w.node);
        int rc = fully ? ph_task_block_fully(t, "group") : ph_task_block(t, "group", -1, deadline);
        ph_list_remove(&w.node);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void group_end(void *arg)
{
    ph_group_cancel(arg);
    wait_empty(arg, PH_FOREVER, 1);
}

struct ph_group *ph_group_new(struct ph_scope *s)
{
    struct ph_group *g = ph_new(s, struct ph_group);

    ph_list_init(&g->tasks);
    ph_list_init(&g->waiters);
    ph_defer(s, group_end, g);
    return g;
}

int ph_spawn(struct ph_group *g, const char *name, void (*fn)(void *), void *arg)
{
    struct ph_loop *l = ph_loop_current;
    int rc;

    ph_assert(l);
    if ((rc = ph_task_start(l, g, name, fn, arg, 0)) < 0)
        return rc;
    struct ph_task *t = ph_list_of(l->tasks.prev, struct ph_task, all);
    ph_list_push(&g->tasks, &t->member);
    g->count++;
    return 0;
}

size_t ph_group_count(const struct ph_group *g)
{
    return g->count;
}

void ph_group_cancel(struct ph_group *g)
{
    for (struct ph_list *n = g->tasks.next; n != &g->tasks; n = n->next)
        ph_task_cancel(ph_list_of(n, struct ph_task, member));
}

int ph_group_wait(struct ph_group *g, int64_t deadline)
{
    return wait_empty(g, deadline, 0);
}

void ph_group_task_ended(struct ph_group *g, struct ph_task *t)
{
    ph_list_remove(&t->member);
    if (--g->count)
        return;
    for (struct ph_list *n = g->waiters.next; n != &g->waiters; n = n->next)
        ph_task_wake(ph_list_of(n, struct waiter, node)->task, 0);
}
