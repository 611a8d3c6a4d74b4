/* inside: what the files of core/run share.  Nobody else includes this (but t/unit/stack.c). */
#ifndef CORE_RUN_INSIDE_H
#define CORE_RUN_INSIDE_H

#include <posthorn/error.h>
#include "core/base/heap.h"
#include "core/run/context.h"
#include "core/run/loop.h"
#include "core/run/switch.h"

#define TASK_NAME_MAX 32

enum task_state { TASK_READY, TASK_RUNNING, TASK_WAITING, TASK_ENDED };

struct ph_task {
    struct ph_switch sw;
    enum task_state state;
    int cancelled;
    int uncancellable;             /* this wait ends only by its wake */
    int rc;                        /* what the wait answers */
    int trimmed;                   /* the unused part of its stack was given back */
    int is_private;                /* nobody else looks at its stack: ph_task_private */
    unsigned burst;                /* for ph_yield_fair */
    struct ph_context ctx;
    struct ph_timer timer;         /* may run early: see timer_due in task.c */
    int64_t wait_until;            /* true end of the current wait */
    int64_t born, since;           /* ms: started; waits */
    const char *what;              /* what it waits for */
    int what_fd;
    struct ph_list run;            /* in loop->ready or loop->next */
    struct ph_list all;            /* in loop->tasks */
    struct ph_list member;         /* in group->tasks */
    struct ph_group *group;
    void (*fn)(void *);
    void *arg;
    struct ph_stack *stack;
    ph_str about;                  /* whom or what it serves: its owner's memory */
    char name[TASK_NAME_MAX];
};

struct ph_peek;

struct fd_slot {
    struct ph_task *task[2];       /* waiting for PH_READ, PH_WRITE */
    struct ph_watch *watch;
    uint32_t gen;                  /* events of an earlier life of the number are stale */
    uint8_t registered;            /* PH_READ|PH_WRITE epoll was asked for; 0: unknown to it */
    uint8_t ready;                 /* edges seen while nobody waited */
    uint8_t ended;                 /* the peer has said that no more will come */
};

struct ph_loop {
    int epoll_fd, wake_fd, signal_fd;
    int64_t now;                   /* monotonic ms of this turn */
    struct ph_task *current;       /* NULL in callbacks */
    int in_foreign;
    struct ph_switch sw;           /* the loop's own stack */
    int (*foreign_fn)(void *);
    void *foreign_arg;
    struct ph_list ready, next;    /* now; after the next look at epoll */
    struct ph_list tasks, hooks;
    size_t task_count, task_limit;
    struct ph_heap timers;
    struct fd_slot *fds;
    size_t fd_count;
    struct ph_stack *free_stacks;
    size_t free_count;
    struct ph_timer sweep;         /* gives idle stacks back */
    struct ph_post *posts;         /* atomic; from other threads */
    struct ph_watch wake_watch, signal_watch;
    sigset_t signals, old_mask;
    struct signal_slot { void (*fn)(int, void *); void *arg; } on_signal[65];
    struct disk_pool *pool;
    struct ph_peek *peek;          /* set: who is switched to shows its stack and switches back */
    int64_t mark;                  /* of ph_sight_clock: since then one callback or task has run */
    int64_t slow_said;             /* when the last warning of a slow one was logged; 0: never */
    unsigned slow_unsaid;
};

/* libposthorn is there when a program starts, so its place is known: no call to find it. */
extern _Thread_local struct ph_loop *ph_loop_current __attribute__((tls_model("initial-exec")));

/* The running task; NULL outside tasks. */
static inline struct ph_task *task_here(void)
{
    return ph_loop_current ? ph_loop_current->current : NULL;
}
/* clock.c */
int64_t ph_clock_ms(void);
int ph_clock_is_simulated(void);

/* task.c.  Sleep until ph_task_wake or the deadline: what wake said, PH_TIMEOUT or
 * PH_CANCEL.  Whoever put the task where its waker finds it removes it after. */
int ph_task_block(struct ph_task *t, const char *what, int fd, int64_t deadline);
/* The same, but neither cancel nor deadline cuts it short. */
int ph_task_block_fully(struct ph_task *t, const char *what);
/* 1 when it was waiting and now will run, answering rc. */
int ph_task_wake(struct ph_task *t, int rc);
void ph_task_cancel(struct ph_task *t);
void ph_task_run_ready(struct ph_loop *l);
int ph_task_start(struct ph_loop *l, struct ph_group *g, const char *name, void (*fn)(void *), void *arg, size_t stack);
void ph_task_sweep_arm(struct ph_loop *l);
/* Memory of the stack of a task that waits, as far as it can do without. */
void ph_task_shrink(struct ph_task *t);
/* Waiting where no task runs but a loop does would stop everybody. */
void ph_assert_may_wait(void);

/* group.c */
void ph_group_task_ended(struct ph_group *g, struct ph_task *t);
/* timer.c */
void ph_timers_init(struct ph_loop *l);
void ph_timers_run(struct ph_loop *l);
int ph_timers_sleep_ms(const struct ph_loop *l);
/* fd.c */
void ph_fds_poll(struct ph_loop *l, int timeout_ms);
void ph_fds_fini(struct ph_loop *l);
/* As ph_watch_start for reading, but told of each change only once. */
int ph_watch_start_edge(struct ph_watch *w, int fd);
/* signal.c */
void ph_signals_fini(struct ph_loop *l);
/* sight.c.  After each task's run and each callback: a warning when it took long.  t or
 * the callback's function names it. */
#define PH_SLOW_MS 100
int64_t ph_sight_clock(void);
void ph_sight_slow(struct ph_loop *l, const struct ph_task *t, const void *fn, int64_t ms);
static inline void ph_sight_begin(struct ph_loop *l)
{
    l->mark = ph_sight_clock();
}
static inline void ph_sight_after(struct ph_loop *l, const struct ph_task *t, const void *fn)
{
    int64_t before = l->mark;

    ph_sight_begin(l);
    if (l->mark - before > PH_SLOW_MS)
        ph_sight_slow(l, t, fn, l->mark - before);
}
/* In a task that was switched to while `peek` is set: write its frames there. */
void ph_sight_unwind(struct ph_peek *p);

/* disk.c */
void ph_disk_stop(struct ph_loop *l);

/* stack.c: memory of tasks.  size in bytes, 0: the usual. */
struct ph_stack {
    struct ph_task task;
    struct ph_stack *next;         /* when free */
    char *base;                    /* lowest usable byte; the guard lies below */
    size_t size;                   /* usable bytes */
    char *away;                    /* what its top has to hold when the task goes on; NULL: it is there */
    size_t away_n;
    unsigned valgrind_id;
};
struct ph_stack *ph_stack_take(struct ph_loop *l, size_t size);
void ph_stack_give(struct ph_loop *l, struct ph_stack *s);
void ph_stack_fini(struct ph_loop *l);
/* Give the pages below sp back to the kernel. */
void ph_stack_trim(struct ph_stack *s, const void *sp);
/* Give all pages back and keep what lies above sp apart; before the task goes on, or
 * anybody looks at its stack, it is brought back (nothing, when it is there). */
void ph_stack_put_away(struct ph_stack *s, const void *sp);
void ph_stack_bring_back(struct ph_stack *s);

#endif
