/* sight: who is there, what it waits for and where, and who held the loop.
 *
 * A waiting task's stack is read by the task itself: the loop switches to it, it
 * finds `peek` set where it sleeps, unwinds itself and switches back.  So no
 * frame pointers and no unwinder of our own are needed. */
#include <dlfcn.h>
#include <execinfo.h>
#include <stdint.h>
#include <time.h>
#include <posthorn/log.h>
#include "core/run/inside.h"

#define QUIET_MS  10000            /* one warning in that time; the others are counted */
#define FRAMES    24
#define OWN_FRAMES 2               /* ph_sight_unwind and the sleep that called it */

struct ph_peek {
    void *frame[FRAMES];
    int count;
};

void ph_task_about(ph_str text)
{
    struct ph_task *t = task_here();

    if (t)
        t->about = text;
}

static int warns;                  /* a command with one task is slow to nobody */

/* The first call of backtrace loads a library. */
void ph_sight_start(int with_warnings)
{
    void *frame[1];

    (void)backtrace(frame, 1);
    warns = with_warnings;
}

void ph_sight_unwind(struct ph_peek *p)
{
    p->count = backtrace(p->frame, FRAMES);
}

static void peek(struct ph_loop *l, struct ph_task *t, struct ph_peek *p)
{
    ph_stack_bring_back(t->stack);
    l->peek = p;
    l->current = t;
    ph_switch_to(&l->sw, &t->sw, 0);
    l->current = NULL;
    l->peek = NULL;
    t->trimmed = 0;                /* the unwinder used pages */
}

/* FILE+OFFSET is what addr2line reads; the name is there for exported functions only. */
static void put_place(struct ph_buf *out, const void *address)
{
    Dl_info info;

    if (!dladdr(address, &info) || !info.dli_fname) {
        ph_buf_printf(out, "%p", address);
        return;
    }
    ph_buf_printf(out, "%s+0x%jx", info.dli_fname, (uintmax_t)((const char *)address - (const char *)info.dli_fbase));
    if (info.dli_sname)
        ph_buf_printf(out, "(%s)", info.dli_sname);
}

static void put_stack(struct ph_loop *l, struct ph_task *t, struct ph_buf *out)
{
    struct ph_peek p = { .count = 0 };

    peek(l, t, &p);
    ph_buf_puts(out, ", stack");
    /* A return address may be the first of the next function: the call lies before it. */
    for (int i = OWN_FRAMES; i < p.count; i++) {
        ph_buf_putc(out, ' ');
        put_place(out, (const char *)p.frame[i] - 1);
    }
}

static void put_name(struct ph_buf *out, const struct ph_task *t)
{
    ph_buf_printf(out, "task %s", t->name);
    if (t->about.n)
        ph_buf_printf(out, " (%.*s)", PH_FMT(t->about));
}

static void put_state(struct ph_loop *l, struct ph_task *t, struct ph_buf *out)
{
    ph_buf_printf(out, ": age %.1f s", (double)(l->now - t->born) / 1000);
    if (t->cancelled)
        ph_buf_puts(out, ", cancelled");
    if (t->state != TASK_WAITING) {
        ph_buf_puts(out, t->state == TASK_RUNNING ? ", runs" : ", ready");
        return;
    }
    ph_buf_printf(out, ", waits %.1f s for ", (double)(l->now - t->since) / 1000);
    if (t->what_fd >= 0)
        ph_buf_printf(out, "descriptor %d %s", t->what_fd, t->what);
    else
        ph_buf_puts(out, t->what);
}

size_t ph_tasks_count(void)
{
    return ph_loop_current ? ph_loop_current->task_count : 0;
}

size_t ph_tasks_limit(void)
{
    return ph_loop_current ? ph_loop_current->task_limit : 0;
}

void ph_tasks_dump(struct ph_buf *out, int stacks)
{
    struct ph_loop *l = ph_loop_current;

    ph_assert(!stacks || !task_here());
    for (struct ph_list *n = l ? l->tasks.next : NULL; n && n != &l->tasks; n = n->next) {
        struct ph_task *t = ph_list_of(n, struct ph_task, all);

        put_name(out, t);
        put_state(l, t, out);
        if (stacks && t->state == TASK_WAITING)
            put_stack(l, t, out);
        ph_buf_putc(out, '\n');
    }
    if (stacks && l && l->task_count && !l->sweep.index)
        ph_task_sweep_arm(l);
}

/* Coarse: a look at it costs a few nanoseconds, and a tick of it is 1 to 10 ms. */
int64_t ph_sight_clock(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void ph_sight_slow(struct ph_loop *l, const struct ph_task *t, const void *fn, int64_t ms)
{
    int64_t now = ph_clock_ms();
    struct ph_buf who;

    if (!warns)
        return;
    if (l->slow_said && now - l->slow_said < QUIET_MS) {
        l->slow_unsaid++;
        return;
    }
    ph_buf_init(&who, NULL, 2000);
    if (t) {
        put_name(&who, t);
    } else {
        ph_buf_puts(&who, "callback ");
        put_place(&who, fn);
    }
    if (l->slow_unsaid)
        ph_log_warn("%.*s held the loop for %jd ms, nobody else was served (and %u times more in the last %jd s)", PH_FMT(ph_buf_view(&who)),
                    (intmax_t)ms, l->slow_unsaid, (intmax_t)((now - l->slow_said) / 1000));
    else
        ph_log_warn("%.*s held the loop for %jd ms, nobody else was served", PH_FMT(ph_buf_view(&who)), (intmax_t)ms);
    l->slow_said = now;
    l->slow_unsaid = 0;
    ph_buf_fini(&who);
}
