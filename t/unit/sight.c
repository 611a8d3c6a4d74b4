/* t/unit/sight.c: the listing of tasks, their stacks, and who held the loop. */
#include "tap.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <posthorn/task.h>
#include "core/run/log.h"
#include "core/run/loop.h"

static char log_path[] = "/tmp/ph-sight-XXXXXX";

/* What was logged since the last call. */
static const char *logged(struct ph_scope *s)
{
    static off_t seen;
    char *text = ph_alloc(s, 1 << 16);
    int fd = open(log_path, O_RDONLY | O_CLOEXEC);

    ph_log_flush();
    ssize_t n = pread(fd, text, (1 << 16) - 1, seen);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    seen += n > 0 ? n : 0;
    return text;
}

static void waits_for_fd(void *arg)
{
    ph_task_about(PH_STR("192.0.2.7"));
    ph_fd_wait(*(int *)arg, PH_READ, PH_FOREVER);
}

static int test_listing(void *arg PH_UNUSED)
{
    struct ph_scope *s = ph_scope_new(NULL);
    struct ph_group *g = ph_group_new(s);
    struct ph_buf out;
    int sv[2];
    char want[64];

    ph_buf_init(&out, s, 4096);
    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv);
    ph_spawn(g, "reader", waits_for_fd, &sv[0]);
    ph_yield();
    ph_spawn(g, "fresh", waits_for_fd, &sv[1]);
    ph_tasks_dump(&out, 0);
    snprintf(want, sizeof want, "s for descriptor %d readable\n", sv[0]);
    ok(strstr(out.p, "task main: age 0.0 s, runs\n") != NULL, "the listing has the running task");
    ok(strstr(out.p, "task reader (192.0.2.7): age ") && strstr(out.p, want), "and what the other waits for, and whom it serves");
    ok(strstr(out.p, "task fresh: age 0.0 s, ready\n") != NULL, "and one that has not run yet");
    ph_scope_free(s);
    ph_fd_forget(sv[0]);
    close(sv[0]);
    close(sv[1]);
    return 0;
}

/* ---- stacks ---- */

static struct ph_cond *gate;
static struct ph_buf stacks;
static int listed, woken;

static void list_now(int signo PH_UNUSED, void *arg PH_UNUSED)
{
    ph_tasks_dump(&stacks, 1);
    listed = 1;
}

/* Exported by no version script: what the listing has is the program and an offset. */
static int __attribute__((noinline)) inner(int depth)
{
    int rc = depth ? inner(depth - 1) : ph_cond_wait(gate, PH_FOREVER);

    woken++;
    return rc;
}

static void deep(void *arg)
{
    inner(*(int *)arg);
}

static size_t frames(const char *line)
{
    size_t n = 0;
    const char *end = strchr(line, '\n');

    for (const char *p = strstr(line, ", stack"); p && p < end; p = strchr(p + 1, ' '))
        n += strstr(p, "+0x") && strstr(p, "+0x") < end;
    return n;
}

static int test_stacks(void *arg PH_UNUSED)
{
    struct ph_scope *s = ph_scope_new(NULL);
    struct ph_group *g = ph_group_new(s);
    int two = 2, six = 6;

    gate = ph_cond_new(s);
    ph_buf_init(&stacks, s, 1 << 16);
    ph_signal_watch(SIGUSR2, list_now, NULL);
    ph_spawn(g, "two", deep, &two);
    ph_spawn(g, "six", deep, &six);
    ph_yield();
    kill(getpid(), SIGUSR2);
    while (!listed)
        ph_yield();
    const char *a = strstr(stacks.p, "task two"), *b = strstr(stacks.p, "task six");
    ok(a && b && strstr(a, "ph_cond_wait") && strstr(a, "sight.t+0x"), "a stack names library and program");
    is_int(a && b ? frames(b) - frames(a) : 0, 4, "each call has its frame");
    is_int(woken, 0, "who was asked sleeps on");
    ph_cond_broadcast(gate);
    ph_group_wait(g, PH_FOREVER);
    is_int(woken, 3 + 7, "and goes on when it is woken");
    ph_signal_watch(SIGUSR2, NULL, NULL);
    ph_scope_free(s);
    return 0;
}

/* ---- who held the loop ---- */

static void burn(int ms)
{
    struct timespec ts;
    int64_t end = ph_in_ms(ms);

    do
        clock_gettime(CLOCK_MONOTONIC, &ts);
    while ((int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000 < end);
}

static void hog(void *arg)
{
    ph_task_about(PH_STR("198.51.100.9"));
    burn(*(int *)arg);
}

static void hog_timer(struct ph_timer *t)
{
    burn(150);
    t->arg = NULL;
}

static int slow_task(void *arg)
{
    PH_SCOPED(s, NULL);
    struct ph_group *g = ph_group_new(s);

    ph_log_join_loop();
    ph_spawn(g, "hog", hog, arg);
    ph_group_wait(g, PH_FOREVER);
    return 0;
}

static int slow_timer(void *arg PH_UNUSED)
{
    struct ph_timer t = { .fn = hog_timer, .arg = &t };

    ph_log_join_loop();
    ph_timer_set(&t, ph_in_ms(1));
    while (t.arg)
        ph_yield();
    return 0;
}

/* Twice within the quiet time: one line. */
static int slow_twice(void *arg)
{
    slow_task(arg);
    return slow_task(arg);
}

/* Run it until its line has the words: on a busy machine another may have held
 * the loop before, and then this one is only counted. */
static const char *until(struct ph_scope *s, int (*fn)(void *), void *arg, const char *words)
{
    const char *text = NULL;

    for (int i = 0; i < 20 && !text; i++) {
        ph_run_main(fn, arg);
        text = strstr(logged(s), words);
    }
    return text;
}

int main(void)
{
    PH_SCOPED(s, NULL);
    struct ph_log_options o = { .service = "test", .file = log_path };
    int long_time = 150, short_time = 1;
    const char *text;

    close(mkstemp(log_path));
    ph_log_open(&o);
    ph_run_main(test_listing, NULL);
    ph_sight_start(1);
    ph_run_main(test_stacks, NULL);
    logged(s);                     /* whatever a busy machine added */
    ok(until(s, slow_task, &long_time, "warning: task hog (198.51.100.9) held the loop for ") != NULL, "a slow task is named");
    text = until(s, slow_timer, NULL, "warning: callback ");
    ok(text && strstr(text, "sight.t+0x") && strstr(text, "held the loop for"), "a slow callback too");
    ph_run_main(slow_twice, &long_time);
    text = strstr(logged(s), "held the loop");
    ok(text && !strstr(text + 1, "held the loop"), "not each of many in a short time");
    /* A busy machine may take the processor away for long. */
    for (int i = 0; i < 10 && text; i++) {
        ph_run_main(slow_task, &short_time);
        text = strstr(logged(s), "task hog");
    }
    ok(!text, "who is quick is not");
    unlink(log_path);
    return done_testing();
}
