/* seal: the last step before clients: no new rights, only the files a service
 * needs, only the system calls that any service needs.  An unlisted call
 * answers ENOSYS, so that an update of libc finds its fallback. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <posthorn/buf.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "config.h"
#include "core/worker/worker.h"

/* The sanitizers' own calls would be refused. */
#ifdef PH_SANITIZERS
static const int sanitized = 1;
#else
static const int sanitized = 0;
#endif

int ph_needs(const char *needs, const char *word)
{
    ph_str list = ph_cstr(needs), w;

    while ((w = ph_str_word(&list)).n)
        if (ph_str_eq(w, ph_cstr(word)))
            return 1;
    return 0;
}

const char *ph_needs_of(struct ph_scope *s, ph_str needs, const char *name)
{
    struct ph_buf b;

    ph_buf_init(&b, s, needs.n + 1);
    for (ph_str w; (w = ph_str_word(&needs)).n; ) {
        ph_str word = ph_str_cut(&w, '@');

        if (w.n == 0 || ph_str_eq(w, ph_cstr(name)))
            ph_buf_printf(&b, "%s%.*s", b.n ? " " : "", PH_FMT(word));
    }
    return b.p;
}

/* Threads are born with their creator's seal; one that is already there would
 * stay outside. */
static int count_threads(void)
{
    DIR *d = opendir("/proc/self/task");
    int n = 0;

    if (!d)
        return 1;
    for (struct dirent *e; (e = readdir(d)); )
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static const char *const calls[] = {
    "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2", "recvfrom", "recvmsg", "recvmmsg",
    "sendto", "sendmsg", "sendmmsg", "connect", "accept", "accept4", "getsockname", "getpeername", "getsockopt", "bind",
    "listen", "shutdown", "socketpair", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd2", "signalfd4",
    "timerfd_create", "timerfd_settime", "alarm", "setitimer", "poll", "ppoll", "select", "pselect6", "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep",
    "gettimeofday", "time", "open", "openat", "openat2", "close", "close_range", "stat", "lstat", "fstat", "newfstatat", "statx", "lseek",
    "flock", "dup", "dup2", "dup3", "pipe2", "fsync", "fdatasync", "sync_file_range", "ftruncate", "truncate", "fallocate", "fadvise64", "rename",
    "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "chmod", "fchmod", "fchmodat", "fchown", "utimensat",
    "utime", "utimes", "futimesat", "getdents64", "getcwd", "statfs", "fstatfs", "mmap", "munmap", "mprotect", "mremap", "madvise", "brk", "futex",
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigtimedwait", "sigaltstack", "set_robust_list", "set_tid_address", "rseq",
    "exit", "exit_group", "getpid", "gettid", "getppid", "getuid", "geteuid", "getgid", "getegid", "getgroups", "getrandom", "uname", "sysinfo",
    "getrlimit", "getrusage", "times", "sched_yield", "sched_getaffinity", "restart_syscall", "membarrier", "access",
    "faccessat", "faccessat2", "readlink", "readlinkat", "umask", "arch_prctl", "prctl",
};

/* The kernel looks at 32 bits of these arguments, whatever stands above. */
#define LOW 0xffffffffu

/* Allowed unless argument `arg` is `value` in the bits of `mask`: one rule for each
 * bit that may differ. */
static int allow_unless(scmp_filter_ctx c, int nr, unsigned arg, uint32_t value, uint32_t mask)
{
    for (unsigned b = 0; b < 32; b++) {
        uint32_t bit = 1u << b;

        if (mask & bit && seccomp_rule_add(c, SCMP_ACT_ALLOW, nr, 1, SCMP_CMP(arg, SCMP_CMP_MASKED_EQ, bit, ~value & bit)) < 0)
            return -1;
    }
    return 0;
}

/* Sockets of the kinds that we talk over; of netlink what libc asks for addresses. */
static int add_sockets(scmp_filter_ctx c)
{
    static const uint32_t families[] = { AF_UNIX, AF_INET, AF_INET6 };

    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, LOW, families[i])) < 0)
            return -1;
    if (seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2, SCMP_A0(SCMP_CMP_MASKED_EQ, LOW, AF_NETLINK),
                         SCMP_A2(SCMP_CMP_MASKED_EQ, LOW, NETLINK_ROUTE)) < 0)
        return -1;
    /* A socket that lingers blocks whoever closes it last: passed on beside a
     * frame, a worker that serves everybody. */
    return allow_unless(c, SCMP_SYS(setsockopt), 2, SO_LINGER, LOW);
}

/* Not: whom a descriptor's signals go to (F_SETOWN and the like, SIOCSPGRP), which is
 * another way to kill; limits are one's own. */
static int add_fcntl(scmp_filter_ctx c)
{
    static const uint32_t commands[] = { F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETLK, F_SETLK, F_SETLKW, F_OFD_GETLK, F_OFD_SETLK,
                                         F_OFD_SETLKW, F_DUPFD_CLOEXEC, F_GETPIPE_SZ, F_SETPIPE_SZ, F_ADD_SEALS, F_GET_SEALS };

    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1, SCMP_A1(SCMP_CMP_MASKED_EQ, LOW, commands[i])) < 0)
            return -1;
    if (seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, LOW, 0)) < 0)
        return -1;
    return allow_unless(c, SCMP_SYS(ioctl), 1, FIOSETOWN, ~3u);    /* 0x8901, 0x8902 */
}

static int add_calls(scmp_filter_ctx c)
{
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        int nr = seccomp_syscall_resolve_name(calls[i]);

        if (nr == __NR_SCMP_ERROR)
            continue;              /* this machine has no such call */
        int rc = seccomp_rule_add(c, SCMP_ACT_ALLOW, nr, 0);
        if (rc < 0 && rc != -EDOM)
            return ph_fail_errno(PH_CONF, -rc, "seccomp: %s", calls[i]);
    }
    if (add_sockets(c) < 0 || add_fcntl(c) < 0)
        return ph_fail(PH_CONF, "seccomp: calls with arguments");
    /* Signals to ourselves (abort, raise), not to others of our uid. */
    if (seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0)) < 0)
        return ph_fail(PH_CONF, "seccomp: tgkill");
    /* Threads, not processes. */
    int rc = seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    return rc < 0 ? ph_fail_errno(PH_CONF, -rc, "seccomp: clone") : 0;
}

static int filter(void)
{
    scmp_filter_ctx c = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));

    if (!c)
        return ph_fail(PH_CONF, "seccomp: out of memory");
    int rc = add_calls(c);
    if (rc == 0) {
        int err = seccomp_load(c);

        if (err < 0)
            rc = ph_fail_errno(PH_CONF, -err, "seccomp");
    }
    seccomp_release(c);
    return rc;
}

int ph_seal(const struct ph_seal *s)
{
    int threads = count_threads();

    if (threads != 1)
        return ph_fail(PH_CONF, "%d threads run before the seal: a plugin must not start any in open or warmup", threads);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return ph_fail_errno(PH_CONF, errno, "no_new_privs");
    if (sanitized)
        return 0;
    int rc = ph_landlock(s);
    return rc < 0 ? rc : filter();
}
