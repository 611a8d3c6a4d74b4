/* task: what runs, what waits.  See posthorn/task.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "core/run/inside.h"

#define RUNS_PER_TURN 512u         /* then epoll is looked at, whoever else is ready */
#define SWEEP_MS      10000        /* a task that waits longer keeps only what it needs */

static _Thread_local __attribute__((tls_model("initial-exec"))) struct ph_context thread_context = { .deadline = PH_FOREVER };

struct ph_context *ph_context(void)
{
    struct ph_task *t = task_here();

    return t ? &t->ctx : &thread_context;
}

int ph_in_task(void)
{
    return task_here() != NULL;
}

int ph_in_foreign(void)
{
    return ph_loop_current && ph_loop_current->in_foreign;
}

int ph_cancelled(void)
{
    struct ph_task *t = task_here();

    return t ? t->cancelled : 0;
}

int64_t ph_deadline(void)
{
    return ph_context()->deadline;
}

int64_t ph_deadline_set(int64_t deadline)
{
    struct ph_context *c = ph_context();
    int64_t old = c->deadline;

    c->deadline = deadline;
    return old;
}

void ph_assert_may_wait(void)
{
    ph_assert(!ph_loop_current || (ph_loop_current->current && !ph_loop_current->in_foreign));
}

static void make_ready(struct ph_loop *l, struct ph_task *t, int rc)
{
    t->rc = rc;
    t->state = TASK_READY;
    ph_list_push(&l->ready, &t->run);
}

int ph_task_wake(struct ph_task *t, int rc)
{
    if (t->state != TASK_WAITING)
        return 0;
    make_ready(ph_loop_current, t, rc);
    return 1;
}

void ph_task_cancel(struct ph_task *t)
{
    t->cancelled = 1;
    if (!t->uncancellable)
        ph_task_wake(t, PH_CANCEL);
}

/* A task's timer stays in the heap when a wait ends early: most waits end long
 * before their deadline, and the next one has a later deadline.  So a timer
 * may fire before the wait it now stands for is over. */
static void timer_due(struct ph_timer *timer)
{
    struct ph_task *t = timer->arg;

    if (t->state != TASK_WAITING || t->wait_until == PH_FOREVER)
        return;
    if (t->wait_until > ph_loop_current->now)
        ph_timer_set(timer, t->wait_until);
    else
        ph_task_wake(t, PH_TIMEOUT);
}

static void switch_to_loop(struct ph_task *t)
{
    ph_switch_to(&t->sw, &ph_loop_current->sw, 0);
}

static int sleep_now(struct ph_task *t, const char *what, int fd)
{
    t->state = TASK_WAITING;
    t->what = what;
    t->what_fd = fd;
    t->since = ph_loop_current->now;
    t->trimmed = 0;
    t->burst = 0;
    switch_to_loop(t);
    while (ph_loop_current->peek) {
        ph_sight_unwind(ph_loop_current->peek);
        switch_to_loop(t);
    }
    return t->rc;
}

int ph_task_block(struct ph_task *t, const char *what, int fd, int64_t deadline)
{
    int rc;

    ph_assert_may_wait();
    if (t->ctx.deadline < deadline)
        deadline = t->ctx.deadline;
    if (t->cancelled)
        return ph_fail(PH_CANCEL, "cancelled");
    t->wait_until = deadline;
    if (deadline != PH_FOREVER && (!t->timer.index || t->timer.when > deadline))
        ph_timer_set(&t->timer, deadline);
    rc = sleep_now(t, what, fd);
    if (rc == PH_CANCEL)
        return ph_fail(PH_CANCEL, "cancelled");
    if (rc == PH_TIMEOUT)
        return ph_fail(PH_TIMEOUT, "timeout");
    return rc;
}

int ph_task_block_fully(struct ph_task *t, const char *what)
{
    ph_assert_may_wait();
    t->wait_until = PH_FOREVER;
    t->uncancellable = 1;
    int rc = sleep_now(t, what, -1);
    t->uncancellable = 0;
    return rc;
}

static void task_entry(void)
{
    struct ph_loop *l = ph_loop_current;
    struct ph_task *t = l->current;

    ph_switch_arrived(&l->sw);
    t->fn(t->arg);
    t->state = TASK_ENDED;
    ph_switch_to(&t->sw, &l->sw, 1);
    ph_assert(t->state != TASK_ENDED);   /* nobody continues an ended task */
}

int ph_task_start(struct ph_loop *l, struct ph_group *g, const char *name, void (*fn)(void *), void *arg, size_t size)
{
    if (l->task_count >= l->task_limit)
        return ph_fail(PH_TEMP, "too many tasks (%zu)", l->task_count);
    struct ph_stack *s = ph_stack_take(l, size);
    if (!s)
        return PH_TEMP;
    struct ph_task *t = &s->task;
    const struct ph_context *from = ph_context();
    memset(t, 0, sizeof *t);
    t->stack = s;
    t->group = g;
    t->fn = fn;
    t->arg = arg;
    t->born = t->since = l->now;
    t->ctx.deadline = PH_FOREVER;
    t->ctx.log_service = from->log_service;
    t->ctx.verbosity = from->verbosity;
    t->ctx.why = from->why;
    t->timer.fn = timer_due;
    t->timer.arg = t;
    snprintf(t->name, sizeof t->name, "%s", name);
    ph_switch_prepare(&t->sw, s->base, s->size, task_entry);
    ph_list_push(&l->tasks, &t->all);
    ph_list_init(&t->member);
    l->task_count++;
    make_ready(l, t, 0);
    return 0;
}

static void task_end(struct ph_loop *l, struct ph_task *t)
{
    ph_list_remove(&t->all);
    l->task_count--;
    ph_timer_stop(&t->timer);
    ph_errtext_fini(&t->ctx.error);
    if (t->group)
        ph_group_task_ended(t->group, t);
    ph_switch_fini(&t->sw);
    ph_stack_give(l, t->stack);       /* t is void from here */
}

/* ph_foreign: the task asks, the loop's stack answers. */
static void serve_foreign(struct ph_loop *l, struct ph_task *t)
{
    while (l->foreign_fn) {
        int (*fn)(void *) = l->foreign_fn;

        l->foreign_fn = NULL;
        l->in_foreign = 1;
        t->rc = fn(l->foreign_arg);
        l->in_foreign = 0;
        ph_switch_to(&l->sw, &t->sw, 0);
    }
}

static void resume(struct ph_loop *l, struct ph_task *t)
{
    ph_stack_bring_back(t->stack);
    t->state = TASK_RUNNING;
    l->current = t;
    ph_errtext_current = &t->ctx.error;
    ph_switch_to(&l->sw, &t->sw, 0);
    serve_foreign(l, t);
    ph_errtext_current = NULL;
    l->current = NULL;
    ph_sight_after(l, t, NULL);
    if (t->state == TASK_ENDED)
        task_end(l, t);
}

void ph_task_run_ready(struct ph_loop *l)
{
    for (unsigned i = 0; i < RUNS_PER_TURN; i++) {
        struct ph_list *n = ph_list_shift(&l->ready);

        if (!n)
            break;
        resume(l, ph_list_of(n, struct ph_task, run));
    }
    if (l->task_count && !l->sweep.index)
        ph_task_sweep_arm(l);
}

int ph_foreign(int (*fn)(void *), void *arg)
{
    struct ph_task *t = task_here();
    struct ph_loop *l = ph_loop_current;

    if (!t || l->in_foreign)
        return fn(arg);
    l->foreign_fn = fn;
    l->foreign_arg = arg;
    switch_to_loop(t);
    return t->rc;
}

/* To the end of the line after the next look at epoll, or a task that yields
 * in a loop would keep everybody else from their events. */
int ph_yield(void)
{
    struct ph_task *t = task_here();

    if (!t)
        return 0;
    ph_assert_may_wait();
    if (t->cancelled)
        return ph_fail(PH_CANCEL, "cancelled");
    t->state = TASK_READY;
    t->rc = 0;
    t->burst = 0;
    ph_list_push(&ph_loop_current->next, &t->run);
    switch_to_loop(t);
    return t->cancelled ? ph_fail(PH_CANCEL, "cancelled") : 0;
}

int ph_yield_fair(void)
{
    struct ph_task *t = task_here();

    return t && ++t->burst >= 16 ? ph_yield() : 0;
}

static int sleep_plainly(int64_t when)
{
    int64_t own = ph_context()->deadline, end = own < when ? own : when;

    ph_assert_may_wait();
    for (int64_t ms; (ms = end - ph_clock_ms()) > 0;) {
        struct timespec ts = { .tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000 };

        nanosleep(&ts, NULL);
    }
    return own < when ? ph_fail(PH_TIMEOUT, "timeout") : 0;
}

int ph_sleep_until(int64_t when_ms)
{
    struct ph_task *t = task_here();

    if (!t)
        return sleep_plainly(when_ms);
    if (!t->cancelled && when_ms <= ph_loop_current->now)
        return ph_yield();
    int own_first = t->ctx.deadline < when_ms;
    int rc = ph_task_block(t, "time", -1, when_ms);
    return rc == PH_TIMEOUT && !own_first ? 0 : rc;
}

void ph_task_private(int is_private)
{
    struct ph_task *t = task_here();

    if (t)
        t->is_private = is_private;
}

/* Who waits for a condition or a group stands in its list, on his stack. */
void ph_task_shrink(struct ph_task *t PH_UNUSED)
{
#if !defined(WITH_ASAN) && (defined(__x86_64__) || defined(__aarch64__))
    if (t->is_private && t->what_fd >= 0)
        ph_stack_put_away(t->stack, t->sw.sp);
    else
        ph_stack_trim(t->stack, t->sw.sp);
#endif
}

/* Pages that a stack once touched and does not use now go back.  The sweep
 * comes again only while some task has not been looked at since it slept. */
static void sweep(struct ph_timer *timer)
{
    struct ph_loop *l = timer->arg;
    int again = 0;

    for (struct ph_list *n = l->tasks.next; n != &l->tasks; n = n->next) {
        struct ph_task *t = ph_list_of(n, struct ph_task, all);

        if (t->state != TASK_WAITING || t->trimmed)
            continue;
        if (l->now - t->since < SWEEP_MS / 2) {
            again = 1;
            continue;
        }
        ph_task_shrink(t);
        t->trimmed = 1;
    }
    if (again)
        ph_task_sweep_arm(l);
}

void ph_task_sweep_arm(struct ph_loop *l)
{
    if (ph_clock_is_simulated())
        return;                    /* or there would always be a timer to jump to */
    l->sweep.fn = sweep;
    l->sweep.arg = l;
    ph_timer_set(&l->sweep, l->now + SWEEP_MS);
}
