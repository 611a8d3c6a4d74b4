/* loop: turns.  One turn: run what is ready, run the hooks, sleep in epoll
 * until something happens, run callbacks (which mostly make tasks ready).
 *
 * Files: loop.c turns and posts; task.c tasks; group.c cond.c what tasks wait
 * for; fd.c timer.c signal.c sources of events; stack.c switch.c their stacks;
 * disk.c diskio.c the pool; clock.c time; sight.c who is there. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "core/base/errtext.h"
#include "core/run/inside.h"

#define MAIN_STACK (1u << 20)

_Thread_local struct ph_loop *ph_loop_current;

struct ph_loop *ph_loop_here(void)
{
    return ph_loop_current;
}

/* Each stack is two mappings (itself and its guard); half of the kernel's limit
 * is left for everything else. */
static size_t limit_of_tasks(void)
{
    static _Thread_local size_t maps;      /* asked once: tests make loops by the thousand */
    FILE *f = maps ? NULL : fopen("/proc/sys/vm/max_map_count", "re");

    if (!maps)
        maps = 65530;
    if (f) {
        if (fscanf(f, "%zu", &maps) != 1)
            maps = 65530;
        fclose(f);
    }
    return maps / 4 < 64 ? 64 : maps / 4;
}

static void run_posts(struct ph_loop *l)
{
    struct ph_post *p = __atomic_exchange_n(&l->posts, NULL, __ATOMIC_ACQUIRE), *inverse = NULL;

    while (p) {                    /* newest first: turn them round */
        struct ph_post *next = p->next;

        p->next = inverse;
        inverse = p;
        p = next;
    }
    while (inverse) {
        struct ph_post *next = inverse->next;   /* fn may free its post */

        void (*fn)(struct ph_post *) = inverse->fn;

        fn(inverse);
        ph_sight_after(ph_loop_current, NULL, (const void *)(uintptr_t)fn);
        inverse = next;
    }
}

/* Edge triggered: each write is an edge, so the counter is never read. */
static void on_wake(struct ph_watch *w PH_UNUSED, int ready PH_UNUSED)
{
    run_posts(ph_loop_current);
}

void ph_post(struct ph_loop *l, struct ph_post *p)
{
    uint64_t one = 1;
    struct ph_post *old = __atomic_load_n(&l->posts, __ATOMIC_RELAXED);
    int fd = l->wake_fd;           /* once p is in, the loop may run it and end */

    do
        p->next = old;
    while (!__atomic_compare_exchange_n(&l->posts, &old, p, 1, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
    if (!old && write(fd, &one, sizeof one) < 0)
        ph_die("eventfd: %s", strerror(errno));
}

void ph_turn_hook_add(struct ph_turn_hook *h)
{
    ph_list_push(&ph_loop_current->hooks, &h->node);
}

void ph_turn_hook_remove(struct ph_turn_hook *h)
{
    if (h->node.next)
        ph_list_remove(&h->node);
}

static void run_hooks(struct ph_loop *l)
{
    for (struct ph_list *n = l->hooks.next, *next; n != &l->hooks; n = next) {
        struct ph_turn_hook *h = ph_list_of(n, struct ph_turn_hook, node);

        void (*fn)(void *) = h->fn;

        next = n->next;
        fn(h->arg);
        ph_sight_after(l, NULL, (const void *)(uintptr_t)fn);
    }
}

static int is_busy(const struct ph_loop *l)
{
    return !ph_list_is_empty(&l->ready) || !ph_list_is_empty(&l->next);
}

static void die_of_silence(void)
{
    PH_SCOPED(s, NULL);
    struct ph_buf b;

    ph_buf_init(&b, s, 16384);
    ph_tasks_dump(&b, 0);
    ph_die("nobody can go on:\n%s", ph_buf_view(&b).p);
}

/* Simulated time goes where the next timer is. */
static void jump(struct ph_loop *l)
{
    const struct ph_timer *t = ph_heap_top(&l->timers);

    if (!t || t->when == PH_FOREVER)
        die_of_silence();
    if (t->when > l->now)
        ph_clock_simulate(l->now = t->when);
}

/* Callbacks and what they made ready; sleeps when nobody is. */
static void look_around(struct ph_loop *l)
{
    int at_once = is_busy(l) || ph_clock_is_simulated();

    ph_fds_poll(l, at_once ? 0 : ph_timers_sleep_ms(l));
    if (ph_clock_is_simulated() && !is_busy(l))
        jump(l);
    ph_timers_run(l);
    while (!ph_list_is_empty(&l->next))
        ph_list_push(&l->ready, ph_list_shift(&l->next));
}

static int loop_init(struct ph_loop *l)
{
    memset(l, 0, sizeof *l);
    l->signal_fd = -1;
    l->now = ph_clock_ms();
    ph_sight_begin(l);
    l->task_limit = limit_of_tasks();
    ph_list_init(&l->ready);
    ph_list_init(&l->next);
    ph_list_init(&l->tasks);
    ph_list_init(&l->hooks);
    ph_timers_init(l);
    sigemptyset(&l->signals);
    sigprocmask(SIG_BLOCK, NULL, &l->old_mask);
    if ((l->epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0)
        return ph_fail_errno(PH_TEMP, errno, "epoll_create");
    if ((l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) {
        int err = errno;

        close(l->epoll_fd);
        return ph_fail_errno(PH_TEMP, err, "eventfd");
    }
    ph_loop_current = l;
    l->wake_watch.fn = on_wake;
    return ph_watch_start_edge(&l->wake_watch, l->wake_fd);
}

static void loop_fini(struct ph_loop *l)
{
    ph_disk_stop(l);
    run_hooks(l);                  /* last words of the log */
    while (ph_list_shift(&l->hooks)) {
        /* whoever hooked in sees that it is in no loop any more */
    }
    ph_signals_fini(l);
    ph_timer_stop(&l->sweep);
    ph_watch_stop(&l->wake_watch);
    close(l->wake_fd);
    close(l->epoll_fd);
    ph_heap_fini(&l->timers);
    ph_fds_fini(l);
    ph_stack_fini(l);
    ph_loop_current = NULL;
}

struct first {
    int (*fn)(void *);
    void *arg;
    int rc, done;
    char *words;               /* of a failure: they outlive the task */
};

static void run_first(void *arg)
{
    struct first *f = arg;

    f->rc = f->fn(f->arg);
    if (f->rc < 0)
        f->words = strdup(ph_error());
    f->done = 1;
}

static void cancel_all(struct ph_loop *l)
{
    for (struct ph_list *n = l->tasks.next, *next; n != &l->tasks; n = next) {
        next = n->next;
        ph_task_cancel(ph_list_of(n, struct ph_task, all));
    }
}

/* When the first task has ended the others are cancelled, each turn again since
 * the cancelled may still start some. */
static void turn(struct ph_loop *l, const struct first *first)
{
    for (;;) {
        ph_task_run_ready(l);
        run_hooks(l);
        if (first->done) {
            if (!l->task_count)
                return;
            cancel_all(l);
        }
        look_around(l);
    }
}

int ph_run_main(int (*fn)(void *), void *arg)
{
    struct ph_loop l;
    struct first first = { .fn = fn, .arg = arg };
    int rc;

    ph_assert(!ph_loop_current);
    if ((rc = loop_init(&l)) < 0)
        return rc;
    if ((rc = ph_task_start(&l, NULL, "main", run_first, &first, MAIN_STACK)) == 0) {
        turn(&l, &first);
        rc = first.rc;
    }
    loop_fini(&l);
    if (first.words) {
        ph_errtext_set(first.words);
        free(first.words);
    }
    return rc;
}
