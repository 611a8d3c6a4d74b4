/* t/crash/trace.c: see trace.h. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tape.h"
#include "trace.h"

/* Calls that write: where injected errors matter. */
static int is_write(uint64_t nr)
{
    switch (nr) {
    case SYS_pwritev: case SYS_pwrite64: case SYS_fdatasync: case SYS_fsync: case SYS_renameat2:
    case SYS_openat: case SYS_unlinkat: case SYS_utimensat:
        return 1;
    default:
        return 0;
    }
}

#ifdef __x86_64__
static void make_fail(pid_t pid, int err, int *state)
{
    struct user_regs_struct r;

    if (ptrace(PTRACE_GETREGS, pid, 0, &r) < 0)
        exit(99);
    if (*state == 0) {
        r.orig_rax = (unsigned long long)-1;       /* no such call: the kernel does nothing */
        *state = 1;
    } else {
        r.rax = (unsigned long long)-(long long)err;
        *state = 2;
    }
    if (ptrace(PTRACE_SETREGS, pid, 0, &r) < 0)
        exit(99);
}
#else
static void make_fail(pid_t pid, int err, int *state) { (void)pid; (void)err; *state = 2; }
#endif

struct run {
    struct trace *t;
    pid_t pid;
    struct __ptrace_syscall_info call;     /* under way: how it began */
    long count;
    int entering, state;           /* state: 0 nothing failed, 1 the call under way fails, 2 it has */
};

static void enter(struct run *r)
{
    struct __ptrace_syscall_info info = { 0 };
    struct trace *t = r->t;

    ptrace(PTRACE_GET_SYSCALL_INFO, r->pid, sizeof info, &info);
    r->count += t->what == TRACE_FAIL ? is_write(info.entry.nr) : 1;
    r->call = info;
    if (t->tape)
        tape_enter(t->tape, r->pid, info.entry.nr, (const uint64_t *)info.entry.args);
    if (t->tape && t->tape->broken && info.entry.nr == SYS_fdatasync) {
        t->tape->broken = 0;
        r->state = 0;
        make_fail(r->pid, EIO, &r->state);
    }
    if (r->count == t->at && t->what != TRACE_FAIL)
        kill(r->pid, SIGKILL);
    else if (r->count == t->at && r->state == 0 && is_write(info.entry.nr))
        make_fail(r->pid, t->err, &r->state);
    r->entering = 0;
}

static void leave(struct run *r)
{
    struct __ptrace_syscall_info info = { 0 };

    r->entering = 1;
    if (r->state == 1) {
        make_fail(r->pid, r->t->tape ? EIO : r->t->err, &r->state);
        return;
    }
    if (!r->t->tape)
        return;
    ptrace(PTRACE_GET_SYSCALL_INFO, r->pid, sizeof info, &info);
    tape_leave(r->t->tape, r->pid, r->call.entry.nr, (const uint64_t *)r->call.entry.args, info.exit.rval);
}

long trace_run(pid_t pid, struct trace *t)
{
    struct run r = { .t = t, .pid = pid, .entering = 1 };
    int status;

    waitpid(pid, &status, 0);
    ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
    ptrace(PTRACE_SYSCALL, pid, 0, 0);
    while (waitpid(pid, &status, 0) == pid && !WIFEXITED(status) && !WIFSIGNALED(status)) {
        int sig = 0;

        if (WSTOPSIG(status) != (SIGTRAP | 0x80))
            sig = WSTOPSIG(status);
        else if (r.entering)
            enter(&r);
        else
            leave(&r);
        ptrace(PTRACE_SYSCALL, pid, 0, sig);
    }
    return r.count;
}
