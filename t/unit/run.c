/* t/unit/run.c: loop, tasks, groups, conditions, descriptors, the disk pool.
 * Run alone: make t/unit/run.t && prove -v t/unit/run.t */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <posthorn/disk.h>
#include <posthorn/task.h>
#include "core/run/context.h"
#include "core/run/loop.h"
#include "tap.h"

static char trail[256];            /* what happened, in order */

static void mark(const char *s)
{
    strncat(trail, s, sizeof trail - strlen(trail) - 1);
}

static void say_twice(void *arg)
{
    mark(arg);
    ph_yield();
    mark(arg);
}

static int test_spawn(void *arg PH_UNUSED)
{
    PH_SCOPED(s, NULL);
    struct ph_group *g = ph_group_new(s);

    trail[0] = 0;
    ok(ph_in_task(), "the first function runs as a task");
    ph_spawn(g, "a", say_twice, "a");
    ph_spawn(g, "b", say_twice, "b");
    is_int(ph_group_count(g), 2, "two tasks alive");
    is_bytes(ph_cstr(trail), "", "spawned tasks run from the next turn on");
    is_int(ph_group_wait(g, PH_FOREVER), 0, "joined");
    is_bytes(ph_cstr(trail), "abab", "tasks take turns when they yield");
    is_int(ph_group_count(g), 0, "none alive");
    return 42;
}

static int stopped;
static struct ph_scope *survivor;     /* lives longer than its task */

static void sleeps_long(void *arg PH_UNUSED)
{
    int rc = ph_sleep_until(PH_FOREVER);

    stopped += rc == PH_CANCEL && ph_cancelled();
    stopped += ph_yield() == PH_CANCEL;
    stopped += ph_sleep_until(ph_in_ms(10000)) == PH_CANCEL;
}

static int test_cancel(void *arg PH_UNUSED)
{
    struct ph_scope *s = ph_scope_new(NULL);
    struct ph_group *g = ph_group_new(s);

    stopped = 0;
    ph_spawn(g, "sleeper", sleeps_long, NULL);
    ph_spawn(g, "sleeper", sleeps_long, NULL);
    is_int(ph_group_wait(g, ph_in_ms(5)), PH_TIMEOUT, "waiting for sleepers times out");
    ph_group_cancel(g);
    is_int(ph_group_wait(g, PH_FOREVER), 0, "cancelled sleepers end");
    is_int(stopped, 6, "each wait after cancel answers PH_CANCEL");
    stopped = 0;
    ph_spawn(g, "never ran", sleeps_long, NULL);
    ph_scope_free(s);
    is_int(stopped, 3, "ending the scope cancels and joins, even what had not run yet");
    stopped = 0;
    ph_spawn(ph_group_new(survivor = ph_scope_new(NULL)), "left", sleeps_long, NULL);
    return 0;
}

static int test_deadline(void *arg PH_UNUSED)
{
    int64_t start = ph_now_ms();
    int sv[2];

    is_int(ph_sleep_until(ph_in_ms(20)), 0, "slept");
    ok(ph_now_ms() - start >= 20, "for as long as was asked");
    is_int(ph_deadline_set(ph_in_ms(10)), PH_FOREVER, "no deadline before");
    is_int(ph_sleep_until(ph_in_ms(5000)), PH_TIMEOUT, "the task's own deadline cuts a sleep short");
    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv);
    is_int(ph_fd_wait(sv[0], PH_READ, PH_FOREVER), PH_TIMEOUT, "and a wait for a descriptor");
    is_bytes(ph_cstr(ph_error()), "timeout", "with a text");
    ph_deadline_set(PH_FOREVER);
    is_int(ph_fd_wait(sv[0], PH_READ, ph_in_ms(5)), PH_TIMEOUT, "the wait's own deadline");
    is_int(ph_fd_wait(sv[0], PH_WRITE, ph_in_ms(500)), PH_WRITE, "writable at once");
    ph_fd_forget(sv[0]);
    close(sv[0]);
    close(sv[1]);
    ok(ph_in_ms(INT64_MAX) == PH_FOREVER, "deadlines saturate");
    return 0;
}

struct waiter { struct ph_cond *c; const char *name; int64_t ms; int rc; };

static void wait_cond(void *arg)
{
    struct waiter *w = arg;

    w->rc = ph_cond_wait(w->c, w->ms ? ph_in_ms(w->ms) : PH_FOREVER);
    mark(w->name);
}

static int test_cond(void *arg PH_UNUSED)
{
    PH_SCOPED(s, NULL);
    struct ph_group *g = ph_group_new(s);
    struct ph_cond *c = ph_cond_new(s);
    struct waiter w[] = { { c, "1", 0, 9 }, { c, "2", 200, 9 }, { c, "3", 0, 9 }, { c, "4", 0, 9 } };

    trail[0] = 0;
    for (int i = 0; i < 4; i++)
        ph_spawn(g, "waiter", wait_cond, &w[i]);
    ph_yield();
    ph_cond_signal(c);
    ph_yield();
    is_bytes(ph_cstr(trail), "1", "signal wakes the first");
    while (w[1].rc == 9)
        ph_sleep_until(ph_in_ms(2));
    is_int(w[1].rc, PH_TIMEOUT, "one times out");
    ph_cond_signal(c);
    ph_yield();
    is_bytes(ph_cstr(trail), "123", "and is passed over");
    ph_cond_broadcast(c);
    ph_group_wait(g, PH_FOREVER);
    is_bytes(ph_cstr(trail), "1234", "broadcast wakes the rest");
    ok(w[0].rc == 0 && w[2].rc == 0 && w[3].rc == 0, "signalled waiters answer 0");
    ph_cond_signal(c);
    is_int(ph_cond_wait(c, ph_in_ms(1)), PH_TIMEOUT, "a signal without waiters is not kept");
    return 0;
}

static void echo(void *arg)
{
    int fd = *(int *)arg;
    char c[7];

    for (;;) {
        ssize_t n = read(fd, c, sizeof c);

        if (n == 0)
            break;
        if (n < 0 && ph_fd_wait_again(fd, PH_READ, PH_FOREVER) < 0)
            break;
        for (ssize_t at = 0; n > at;) {
            ssize_t m = write(fd, c + at, (size_t)(n - at));

            if (m > 0)
                at += m;
            else if (ph_fd_wait_again(fd, PH_WRITE, PH_FOREVER) < 0)
                return;
        }
    }
    ph_fd_forget(fd);
    close(fd);
}

static void pump(void *arg)
{
    int fd = *(int *)arg;
    char block[4096];

    memset(block, 'x', sizeof block);
    for (size_t left = 1 << 20; left;) {
        ssize_t n = write(fd, block, left < sizeof block ? left : sizeof block);

        if (n > 0)
            left -= (size_t)n;
        else if (ph_fd_wait(fd, PH_WRITE, PH_FOREVER) < 0)
            break;
    }
    shutdown(fd, SHUT_WR);
}

static int test_fd(void *arg PH_UNUSED)
{
    PH_SCOPED(s, NULL);
    struct ph_group *g = ph_group_new(s);
    int sv[2];
    size_t got = 0;
    char buf[1000];

    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv);
    ph_spawn(g, "echo", echo, &sv[1]);
    ph_spawn(g, "pump", pump, &sv[0]);
    for (;;) {                     /* wait first, then read a part only: edges must not be lost */
        int rc = ph_fd_wait(sv[0], PH_READ, ph_in_ms(20000));
        ssize_t n = rc > 0 ? read(sv[0], buf, sizeof buf) : -1;

        if (n > 0)
            got += (size_t)n;
        else if (n == 0 || rc < 0)
            break;
    }
    is_int(got, 1 << 20, "a megabyte went through an echo, both sides blocking often");
    is_int(ph_group_wait(g, ph_in_ms(5000)), 0, "end of file reached the echo");
    is_int(ph_fd_wait(sv[0], PH_READ, PH_FOREVER), PH_READ, "a hang-up is readable");
    ph_fd_forget(sv[0]);
    close(sv[0]);
    is_int(ph_fd_wait(sv[0], PH_READ, PH_FOREVER), PH_TEMP, "a closed descriptor is an error, not a hang");

    /* The same numbers again: nothing of their former life may show. */
    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv);
    is_int(ph_fd_wait(sv[0], PH_READ, ph_in_ms(5)), PH_TIMEOUT, "a new descriptor with an old number starts afresh");
    is_int(write(sv[1], "y", 1), 1, "written");
    is_int(ph_fd_wait(sv[0], PH_READ, ph_in_ms(5000)), PH_READ, "and is seen");
    is_int(ph_fd_wait(sv[0], PH_READ, ph_in_ms(5000)), PH_READ, "and seen again while unread");
    ph_fd_forget(sv[0]);
    close(sv[0]);
    close(sv[1]);
    return 0;
}

static int use_stack(int depth)
{
    volatile char block[1024];

    memset((char *)block, depth, sizeof block);
    return depth ? use_stack(depth - 1) + block[5] - block[6] : 7;
}

static void deep(void *arg)
{
    *(int *)arg = use_stack(40);   /* 40 KiB of the 64 */
}

static int big_frames(void *arg)
{
    return ph_in_task() ? use_stack(*(int *)arg) : -1;
}

static void borrow(void *arg)
{
    int depth = 1000;

    *(int *)arg = ph_foreign(big_frames, &depth);
    *(int *)arg += ph_foreign(big_frames, &depth);
}

static int test_stacks(void *arg PH_UNUSED)
{
    PH_SCOPED(s, NULL);
    struct ph_group *g = ph_group_new(s);
    int a = 0, b = 0;

    ph_spawn(g, "deep", deep, &a);
    ph_spawn(g, "borrower", borrow, &b);
    ph_group_wait(g, PH_FOREVER);
    is_int(a, 7, "a task uses most of its stack");
    is_int(b, 14, "foreign code gets a megabyte, twice, and still counts as the task");
    return 0;
}

#define MANY 10000
static int alive, most, finished;

static void one_of_many(void *arg)
{
    if (++alive > most)
        most = alive;
    ph_cond_wait(arg, PH_FOREVER);
    alive--;
    finished++;
}

static int test_many(void *arg PH_UNUSED)
{
    PH_SCOPED(s, NULL);
    struct ph_group *g = ph_group_new(s);
    struct ph_cond *c = ph_cond_new(s);
    int started = 0;

    while (started < MANY && ph_spawn(g, "many", one_of_many, c) == 0)
        started++;
    is_int(started, MANY, "ten thousand tasks start");
    while (alive < MANY)
        ph_yield();
    ph_cond_broadcast(c);
    ph_group_wait(g, PH_FOREVER);
    is_int(most, MANY, "all lived at once");
    is_int(finished, MANY, "all ended");
    return 0;
}

static int fails(void *arg)
{
    return ph_fail_errno(PH_TEMP, ENOSPC, "file %s", (const char *)arg);
}

static int not_here(void *arg PH_UNUSED)
{
    return ph_in_task() ? 1 : 5;
}

static void disk_user(void *arg)
{
    char want[64];

    snprintf(want, sizeof want, "file %s: No space left on device", (const char *)arg);
    if (ph_disk(fails, arg) == PH_TEMP && strcmp(ph_error(), want) == 0)
        mark("+");
}

static int test_disk(void *arg)
{
    PH_SCOPED(s, NULL);
    struct ph_group *g = ph_group_new(s);
    char dir[] = "/tmp/posthorn-run-XXXXXX", a[64], b[64], back[8] = "";
    struct iovec iov[3] = { { "one", 3 }, { "", 0 }, { "two", 3 } };
    unsigned threads = *(unsigned *)arg;

    is_int(ph_disk_start(threads), 0, "pool with %u threads", threads);
    is_int(ph_disk(not_here, NULL), threads ? 5 : 1, "%s", threads ? "work runs in the pool" : "work runs in place");
    trail[0] = 0;
    ph_spawn(g, "x", disk_user, "x");
    ph_spawn(g, "y", disk_user, "y");
    ph_spawn(g, "z", disk_user, "z");
    ph_group_wait(g, PH_FOREVER);
    is_bytes(ph_cstr(trail), "+++", "each task gets its own error text");
    if (!mkdtemp(dir))
        return 1;
    snprintf(a, sizeof a, "%s/a", dir);
    snprintf(b, sizeof b, "%s/b", dir);
    int fd = open(a, O_RDWR | O_CREAT, 0600);
    is_int(ph_pwritev_all(fd, iov, 3, 2), 0, "vector written");
    is_int(ph_pwritev_sync(fd, iov, 1, 0), 0, "written and synced");
    is_int(ph_fdatasync(fd), 0, "synced");
    is_int(ph_pread_all(fd, back, 8, 0), 8, "read back");
    is_bytes(((ph_str){ back, 8 }), "onenetwo", "what was written");
    is_int(ph_pread_all(fd, back, 8, 6), 2, "short only at the end of file");
    is_int(ph_fdatasync(-1), PH_TEMP, "a failing sync is PH_TEMP");
    is_bytes(ph_cstr(ph_error()), "sync: Bad file descriptor", "with words");
    close(open(b, O_CREAT | O_RDWR, 0600));
    is_int(ph_rename(a, b), PH_TEMP, "rename does not replace");
    is_int(ph_unlink(b), 0, "unlinked");
    is_int(ph_rename(a, b), 0, "renamed");
    is_int(ph_sync_parent(b), 0, "directory synced");
    is_int(ph_unlink(a), PH_TEMP, "unlink of nothing");
    ph_unlink(b);
    close(fd);
    rmdir(dir);
    return 0;
}

static void on_timer(struct ph_timer *t)
{
    mark(t->arg);
}

static void on_watch(struct ph_watch *w, int ready)
{
    char c;

    if ((ready & PH_READ) && read(w->fd, &c, 1) == 1)
        mark((char[]){ c, 0 });
    else
        ph_watch_stop(w);
}

static void on_signal(int signo PH_UNUSED, void *arg)
{
    mark(arg);
}

static void on_turn(void *arg)
{
    ++*(int *)arg;
}

static int test_callbacks(void *arg PH_UNUSED)
{
    struct ph_timer t1 = { .fn = on_timer, .arg = "2" }, t2 = { .fn = on_timer, .arg = "1" }, t3 = { .fn = on_timer, .arg = "-" };
    struct ph_watch w = { .fn = on_watch };
    int turns = 0, sv[2];
    struct ph_turn_hook h = { .fn = on_turn, .arg = &turns };

    trail[0] = 0;
    ph_turn_hook_add(&h);
    ph_timer_set(&t1, ph_in_ms(20));
    ph_timer_set(&t2, ph_in_ms(10));
    ph_timer_set(&t3, ph_in_ms(15));
    ph_timer_stop(&t3);
    while (strlen(trail) < 2)
        ph_sleep_until(ph_in_ms(5));
    is_bytes(ph_cstr(trail), "12", "timers fire in order, a stopped one does not");
    ok(turns > 0, "the hook ran each turn");
    ph_turn_hook_remove(&h);
    ph_signal_watch(SIGUSR1, on_signal, "s");
    kill(getpid(), SIGUSR1);
    while (strlen(trail) < 3)
        ph_yield();
    is_bytes(ph_cstr(trail), "12s", "a signal is a callback");
    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv);
    is_int(ph_watch_start(&w, sv[0], PH_READ), 0, "watching");
    is_int(write(sv[1], "xyz", 3), 3, "written");
    close(sv[1]);
    while (w.what)
        ph_yield();
    is_bytes(ph_cstr(trail), "12sxyz", "a watch is level triggered: called until all is read");
    close(sv[0]);
    return 0;
}

static const char *service_seen;

static void see_service(void *arg PH_UNUSED)
{
    service_seen = ph_context()->log_service;
}

static int test_context(void *arg PH_UNUSED)
{
    PH_SCOPED(s, NULL);
    struct ph_group *g = ph_group_new(s);

    ph_context()->log_service = "cleanup";
    ph_spawn(g, "child", see_service, NULL);
    ph_fail(PH_TEMP, "mine");
    ph_group_wait(g, PH_FOREVER);
    is_bytes(ph_cstr(service_seen), "cleanup", "a child logs as its parent");
    is_bytes(ph_cstr(ph_error()), "mine", "the error text is the task's own");
    return 0;
}

/* Two sleepers and a waiter who gives up, an hour in no time. */
static void sleeps(void *arg)
{
    ph_sleep_until(ph_in_ms(*(int *)arg));
    mark(*(int *)arg > 1000000 ? "late " : "early ");
}

static int test_simulated(void *arg PH_UNUSED)
{
    PH_SCOPED(s, NULL);
    struct ph_group *g = ph_group_new(s);
    struct ph_cond *never = ph_cond_new(s);
    int hour = 3600000, second = 1000;
    int64_t wall = ph_wall_us();

    trail[0] = 0;
    is_int(ph_now_ms(), 5000, "time is what was said");
    ph_spawn(g, "late", sleeps, &hour);
    ph_spawn(g, "early", sleeps, &second);
    is_int(ph_cond_wait(never, ph_in_ms(60000)), PH_TIMEOUT, "a wait that nobody ends times out");
    is_int(ph_now_ms(), 65000, "at its deadline");
    is_bytes(ph_cstr(trail), "early ", "who slept for less has gone on");
    ph_group_wait(g, PH_FOREVER);
    is_bytes(ph_cstr(trail), "early late ", "and then the other");
    is_int(ph_now_ms(), 5000 + hour, "an hour later");
    is_int(ph_wall_us() - wall, (int64_t)hour * 1000, "on the wall too");
    return 0;
}

static int waits_for_nobody(void *arg PH_UNUSED)
{
    PH_SCOPED(s, NULL);

    return ph_cond_wait(ph_cond_new(s), PH_FOREVER);
}

/* Where no timer is left the machine would sleep for ever. */
static void test_silence(void)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        close(2);
        ph_clock_simulate(1);
        ph_run_main(waits_for_nobody, NULL);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    is_int(status, 1 << 8, "a wait that can never end ends the process");
}

static void simulated(void)
{
    ph_clock_simulate(5000);
    ph_run_main(test_simulated, NULL);
    ph_clock_simulate(0);
    test_silence();
}

static void outside(void)
{
    int sv[2];

    ok(!ph_in_task() && !ph_cancelled(), "outside tasks");
    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv);
    is_int(ph_fd_wait(sv[0], PH_READ, ph_in_ms(5)), PH_TIMEOUT, "a wait outside tasks times out");
    is_int(write(sv[1], "y", 1), 1, "written");
    is_int(ph_fd_wait(sv[0], PH_READ, PH_FOREVER), PH_READ, "and sees data");
    close(sv[0]);
    close(sv[1]);
    is_int(ph_sleep_until(ph_in_ms(2)), 0, "sleeps");
    is_int(ph_disk(not_here, NULL), 5, "disk work in place");
    is_int(ph_yield(), 0, "yield does nothing");
}

int main(void)
{
    unsigned none = 0, two = 2;

    outside();
    is_int(ph_run_main(test_spawn, NULL), 42, "the answer of the first function");
    ph_run_main(test_cancel, NULL);
    ph_scope_free(survivor);
    is_int(stopped, 3, "the end of the loop cancels what still lives");
    ph_run_main(test_deadline, NULL);
    ph_run_main(test_cond, NULL);
    ph_run_main(test_fd, NULL);
    ph_run_main(test_stacks, NULL);
    ph_run_main(test_many, NULL);
    ph_run_main(test_disk, &none);
    ph_run_main(test_disk, &two);
    ph_run_main(test_callbacks, NULL);
    ph_run_main(test_context, NULL);
    simulated();
    ok(ph_loop_here() == NULL, "no loop is left");
    return done_testing();
}
