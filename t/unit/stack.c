/* t/unit/stack.c: a task that waits for long gives its stack's pages back, and goes on with what was on them. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/run/inside.h"
#include "tap.h"

struct sleeper {
    int fd, is_private, use_cond;
    struct ph_cond *cond;
    int woke, intact;
};

static struct ph_task *find(const char *name)
{
    for (struct ph_list *n = ph_loop_current->tasks.next; n != &ph_loop_current->tasks; n = n->next)
        if (strcmp(ph_list_of(n, struct ph_task, all)->name, name) == 0)
            return ph_list_of(n, struct ph_task, all);
    return NULL;
}

/* Pages of its stack that are in memory. */
static int pages(const struct ph_task *t)
{
    unsigned char in[256];
    size_t page = (size_t)sysconf(_SC_PAGESIZE), count = t->stack->size / page;
    int sum = 0;

    if (count > sizeof in || mincore(t->stack->base, t->stack->size, in) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        sum += in[i] & 1;
    return sum;
}

/* Eight pages were in use before, and some words are in use now. */
static int use_pages(void)
{
    volatile char much[32768];

    for (size_t i = 0; i < sizeof much; i += 512)
        much[i] = (char)i;
    return much[512];
}

static void sleeper(void *arg)
{
    struct sleeper *x = arg;
    volatile uint64_t words[8];

    use_pages();
    for (size_t i = 0; i < 8; i++)
        words[i] = 0x9e3779b97f4a7c15u * (i + 1);
    ph_task_private(x->is_private);
    x->woke = x->use_cond ? ph_cond_wait(x->cond, PH_FOREVER) : ph_fd_wait(x->fd, PH_READ, PH_FOREVER);
    ph_task_private(0);
    x->intact = 1;
    for (size_t i = 0; i < 8; i++)
        x->intact &= words[i] == 0x9e3779b97f4a7c15u * (i + 1);
}

static struct ph_buf listing;

static void list(struct ph_post *p PH_UNUSED)
{
    ph_tasks_dump(&listing, 1);
}

/* One sleeper; after the shrinking it has `left` pages, is listed when that is asked for, wakes, and is whole. */
static void one(struct sleeper x, int left, int is_listed, const char *what)
{
    PH_SCOPED(s, NULL);
    struct ph_group *g = ph_group_new(s);
    struct ph_post post = { .fn = list };
    int fd[2];

    ok(pipe(fd) == 0, "%s", what);
    x.fd = fd[0];
    x.cond = ph_cond_new(s);
    ph_spawn(g, "sleeper", sleeper, &x);
    ph_yield();
    struct ph_task *t = find("sleeper");
    ok(t && t->state == TASK_WAITING && pages(t) >= 8, "it waits, with pages from before");
    if (!t)
        return;
    ph_task_shrink(t);
    is_int(pages(t), left, "pages that it has when it waited for long");
    if (is_listed) {
        ph_buf_init(&listing, s, 65536);
        ph_post(ph_loop_current, &post);
        ph_sleep_until(ph_in_ms(20));
        ok(strstr(listing.p, "task sleeper") && strstr(listing.p, "stack.t+0x"), "its calls can be shown");
        ph_task_shrink(t);
        is_int(pages(t), left, "and the pages go again");
    }
    ok(write(fd[1], "x", 1) == 1, "it is woken");
    ph_cond_broadcast(x.cond);
    ph_group_wait(g, PH_FOREVER);
    is_int(x.woke, x.use_cond ? 0 : PH_READ, "by what it waited for");
    ok(x.intact, "and finds its locals as they were");
    ph_fd_forget(fd[0]);
    close(fd[0]);
    close(fd[1]);
}

/* Cancelled while its stack is away. */
static void cancelled(void)
{
    PH_SCOPED(s, NULL);
    struct ph_group *g = ph_group_new(s);
    struct sleeper x = { .is_private = 1 };
    int fd[2];

    ok(pipe(fd) == 0, "cancelled while it sleeps");
    x.fd = fd[0];
    ph_spawn(g, "sleeper", sleeper, &x);
    ph_yield();
    ph_task_shrink(find("sleeper"));
    ph_group_cancel(g);
    ph_group_wait(g, PH_FOREVER);
    ok(x.woke == PH_CANCEL && x.intact, "it ends, with its locals");
    ph_fd_forget(fd[0]);
    close(fd[0]);
    close(fd[1]);
}

static PH_UNUSED int test(void *arg PH_UNUSED)
{
    ph_sight_start(1);
    one((struct sleeper){ .is_private = 1 }, 0, 0, "a private one that waits for a descriptor");
    one((struct sleeper){ .is_private = 1 }, 0, 1, "the same, listed with its calls meanwhile");
    one((struct sleeper){ .is_private = 0 }, 1, 0, "one that others may look at");
    one((struct sleeper){ .is_private = 1, .use_cond = 1 }, 1, 0, "one that stands in the list of a condition");
    cancelled();
    return 0;
}

int main(void)
{
#if defined(WITH_ASAN) || !(defined(__x86_64__) || defined(__aarch64__))
    puts("1..0 # SKIP stacks keep their pages here");
    return 0;
#else
    ph_run_main(test, NULL);
    return done_testing();
#endif
}
