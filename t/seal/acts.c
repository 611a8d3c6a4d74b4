/* t/seal/acts.c: forbidden acts, and allowed ones of the same kind: each says what
 * became of it.  Raw system calls, where libc would be polite. */
#include "acts.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define RAW(...) (syscall(__VA_ARGS__) < 0 ? errno : 0)

static int closed(int fd) { return fd < 0 ? errno : (close(fd), 0); }
static pid_t pid_of(const char *arg) { return (pid_t)atoi(arg); }

/* ---- files ---- */

static int do_read(const char *arg)     { char c; int fd = open(arg, O_RDONLY | O_CLOEXEC), rc = fd < 0 || read(fd, &c, 1) < 0 ? errno : 0; if (fd >= 0) close(fd); return rc; }
static int do_write(const char *arg)    { return closed(open(arg, O_WRONLY | O_CLOEXEC)); }
static int do_create(const char *arg)   { return closed(open(arg, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)); }
static int do_list(const char *arg)     { return closed(open(arg, O_RDONLY | O_DIRECTORY | O_CLOEXEC)); }
static int do_unlink(const char *arg)   { return unlink(arg) < 0 ? errno : 0; }
static int do_rename(const char *arg)   { char to[4096]; snprintf(to, sizeof to, "%s.x", arg); return rename(arg, to) < 0 ? errno : 0; }
static int do_symlink(const char *arg)  { return RAW(SYS_symlinkat, "/etc/passwd", AT_FDCWD, arg); }
static int do_mknod(const char *arg)    { return RAW(SYS_mknodat, AT_FDCWD, arg, 0100600, 0); }
static int do_chmod(const char *arg)    { return chmod(arg, 0666) < 0 ? errno : 0; }
static int do_truncate(const char *arg) { return truncate(arg, 0) < 0 ? errno : 0; }

/* What is open for reading, opened again for writing. */
static int do_reopen(const char *arg)
{
    char path[64];
    int fd = open(arg, O_RDONLY | O_CLOEXEC), rc;

    if (fd < 0)
        return errno == EACCES ? EXDEV : errno;        /* it could not even be read: another matter */
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    rc = closed(open(path, O_WRONLY | O_CLOEXEC));
    close(fd);
    return rc;
}

/* ---- programs and processes ---- */

static int do_exec(const char *arg)     { char *const none[] = { NULL }; execve(arg, none, none); return errno; }
static int do_execveat(const char *arg) { char *const none[] = { NULL }; int fd = open(arg, O_RDONLY | O_CLOEXEC); syscall(SYS_execveat, fd, "", none, none, AT_EMPTY_PATH); int err = errno; if (fd >= 0) close(fd); return err; }
static int do_memfd(const char *arg PH_UNUSED) { return closed((int)syscall(SYS_memfd_create, "x", 0)); }

static int child_or_errno(long pid)
{
    if (pid == 0)
        _exit(0);
    return pid < 0 ? errno : 0;
}

static int do_fork(const char *arg PH_UNUSED)   { return child_or_errno(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)); }
static int do_clone3(const char *arg PH_UNUSED) { unsigned long long a[8] = { 0 }; a[4] = SIGCHLD; return child_or_errno(syscall(SYS_clone3, a, sizeof a)); }
static int do_newuser(const char *arg PH_UNUSED) { return child_or_errno(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)); }
static int do_kill(const char *arg)     { return RAW(SYS_kill, pid_of(arg), SIGCONT); }
static int do_tgkill(const char *arg)   { return RAW(SYS_tgkill, pid_of(arg), pid_of(arg), SIGCONT); }
static int do_queue(const char *arg)    { siginfo_t i = { .si_signo = SIGCONT, .si_code = -1 }; return RAW(SYS_rt_sigqueueinfo, pid_of(arg), SIGCONT, &i); }
static int do_raise(const char *arg PH_UNUSED) { signal(SIGUSR2, SIG_IGN); return raise(SIGUSR2) ? errno : 0; }
static int do_ptrace(const char *arg)   { return RAW(SYS_ptrace, 16 /* ATTACH */, pid_of(arg), 0, 0); }
static int do_seize(const char *arg)    { return RAW(SYS_ptrace, 0x4206, pid_of(arg), 0, 0); }
static int do_pidfd(const char *arg)    { return closed((int)syscall(SYS_pidfd_open, pid_of(arg), 0)); }
static int do_kcmp(const char *arg)     { return RAW(SYS_kcmp, pid_of(arg), getpid(), 0, 0, 0); }
static int do_setprio(const char *arg)  { return RAW(SYS_setpriority, 0, pid_of(arg), 19); }

static int do_vm_read(const char *arg)
{
    char c;
    struct iovec mine = { &c, 1 }, theirs = { (void *)&errno, 1 };

    return RAW(SYS_process_vm_readv, pid_of(arg), &mine, 1, &theirs, 1, 0);
}

static int do_mem(const char *arg)      { char p[64]; snprintf(p, sizeof p, "/proc/%d/mem", pid_of(arg)); return do_read(p); }
static int do_fds(const char *arg)      { char p[64]; snprintf(p, sizeof p, "/proc/%d/fd", pid_of(arg)); return do_list(p); }

/* Whose signals of a descriptor are: another way to kill. */
static int do_setown(const char *arg)
{
    int p[2], rc;

    if (pipe2(p, O_CLOEXEC) < 0)
        return -2;
    rc = fcntl(p[0], F_SETOWN, pid_of(arg)) < 0 ? errno : 0;
    close(p[0]);
    close(p[1]);
    return rc;
}

static int do_siospgrp(const char *arg)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), pid = pid_of(arg), rc = ioctl(fd, 0x8902 /* SIOCSPGRP */, &pid) < 0 ? errno : 0;

    close(fd);
    return rc;
}

static void *nothing(void *arg) { return arg; }
static int do_thread(const char *arg PH_UNUSED) { pthread_t t; int rc = pthread_create(&t, NULL, nothing, NULL); if (rc == 0) pthread_join(t, NULL); return rc; }

/* ---- identity and limits ---- */

static int do_setuid(const char *arg PH_UNUSED)    { return RAW(SYS_setuid, 0); }
static int do_setgid(const char *arg PH_UNUSED)    { return RAW(SYS_setgid, 0); }
static int do_setresuid(const char *arg PH_UNUSED) { return RAW(SYS_setresuid, 0, 0, 0); }
static int do_setgroups(const char *arg PH_UNUSED) { gid_t g = 0; return RAW(SYS_setgroups, 1, &g); }
static int do_capset(const char *arg PH_UNUSED)    { unsigned head[2] = { 0x20080522, 0 }, data[6] = { ~0u, ~0u, 0, 0, 0, 0 }; return RAW(SYS_capset, head, data); }

static int raise_limit(pid_t pid)
{
    struct rlimit up = { RLIM_INFINITY, RLIM_INFINITY };

    return RAW(SYS_prlimit64, pid, RLIMIT_NOFILE, &up, NULL);
}

static int do_rlimit(const char *arg PH_UNUSED)   { return raise_limit(0); }
static int do_rlimit_of(const char *arg)          { struct rlimit got; int rc = RAW(SYS_prlimit64, pid_of(arg), RLIMIT_NOFILE, NULL, &got); return rc ? rc : RAW(SYS_prlimit64, pid_of(arg), RLIMIT_NOFILE, &got, NULL); }
static int do_getlimit(const char *arg PH_UNUSED) { struct rlimit got; return getrlimit(RLIMIT_NOFILE, &got) < 0 ? errno : 0; }

/* ---- the system ---- */

static int do_mount(const char *arg)   { return RAW(SYS_mount, "none", arg, "tmpfs", 0, NULL); }
static int do_umount(const char *arg)  { return RAW(SYS_umount2, arg, 0); }
static int do_unshare(const char *arg PH_UNUSED) { return RAW(SYS_unshare, CLONE_NEWUSER); }
static int do_setns(const char *arg PH_UNUSED) { return RAW(SYS_setns, 0, 0); }
static int do_chroot(const char *arg)  { return RAW(SYS_chroot, arg); }
static int do_pivot(const char *arg)   { return RAW(SYS_pivot_root, arg, arg); }
static int do_bpf(const char *arg PH_UNUSED)     { char a[128] = { 0 }; return closed((int)syscall(SYS_bpf, 0, a, sizeof a)); }
static int do_perf(const char *arg PH_UNUSED)    { char a[128] = { 0 }; return closed((int)syscall(SYS_perf_event_open, a, 0, -1, -1, 0)); }
static int do_keyctl(const char *arg PH_UNUSED)  { return RAW(SYS_keyctl, 0, -3, 1); }
static int do_add_key(const char *arg PH_UNUSED) { return RAW(SYS_add_key, "user", "x", "y", 1, -3); }
static int do_io_uring(const char *arg PH_UNUSED) { char p[256] = { 0 }; return closed((int)syscall(SYS_io_uring_setup, 1, p)); }
static int do_uffd(const char *arg PH_UNUSED)    { return closed((int)syscall(SYS_userfaultfd, 1)); }
static int do_fanotify(const char *arg PH_UNUSED) { return closed((int)syscall(SYS_fanotify_init, 0, 0)); }
static int do_handle(const char *arg PH_UNUSED)  { return closed((int)syscall(SYS_open_by_handle_at, -1, "", 0)); }
static int do_reboot(const char *arg PH_UNUSED)  { return RAW(SYS_reboot, 0, 0, 0, NULL); }
static int do_module(const char *arg PH_UNUSED)  { return RAW(SYS_init_module, "", 0, ""); }
static int do_settime(const char *arg PH_UNUSED) { return RAW(SYS_clock_settime, 0, NULL); }
static int do_sethost(const char *arg PH_UNUSED) { return RAW(SYS_sethostname, "x", 1); }
static int do_swap(const char *arg)    { return RAW(SYS_swapon, arg, 0); }
static int do_quotactl(const char *arg) { return RAW(SYS_quotactl, 0, arg, 0, NULL); }
static int do_modify_ldt(const char *arg PH_UNUSED)
{
#ifdef SYS_modify_ldt
    char b[16];

    return RAW(SYS_modify_ldt, 0, b, sizeof b);
#else
    return ENOSYS;
#endif
}

/* ---- the network ---- */

static int to_port(const char *port, int (*fn)(int, const struct sockaddr *, socklen_t))
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), rc = fd < 0 || fn(fd, (const struct sockaddr *)&to, sizeof to) < 0 ? errno : 0;

    if (fd >= 0)
        close(fd);
    return rc;
}

static int to_unix(const char *path, int abstract, int (*fn)(int, const struct sockaddr *, socklen_t))
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

    snprintf(to.sun_path + abstract, sizeof to.sun_path - 1, "%s", path);
    rc = fn(fd, (const struct sockaddr *)&to, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)abstract + strlen(path))) < 0 ? errno : 0;
    close(fd);
    return rc;
}

static int do_connect(const char *arg)  { return to_port(arg, connect); }
static int do_bind(const char *arg)     { return to_port(arg, bind); }
static int do_unix(const char *arg)     { return to_unix(arg, 0, connect); }
static int do_abstract(const char *arg) { return to_unix(arg, 1, connect); }
static int do_bind_unix(const char *arg) { return to_unix(arg, 0, bind); }
static int do_raw(const char *arg PH_UNUSED)     { return closed(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, 1)); }
static int do_packet(const char *arg PH_UNUSED)  { return closed(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)); }
static int do_netlink(const char *arg PH_UNUSED) { return closed(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER)); }
static int do_vsock(const char *arg PH_UNUSED)   { return closed(socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0)); }
static int do_alg(const char *arg PH_UNUSED)     { return closed(socket(AF_ALG, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)); }
static int do_tcp(const char *arg PH_UNUSED)     { return closed(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0)); }
static int do_udp(const char *arg PH_UNUSED)     { return closed(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)); }
static int do_linger(const char *arg PH_UNUSED)
{
    const struct linger v = { 1, 3600 };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), rc = setsockopt(fd, SOL_SOCKET, SO_LINGER, &v, sizeof v) < 0 ? errno : 0;

    close(fd);
    return rc;
}

/* Words that no worker says, to the master. */
static int do_babble(const char *arg PH_UNUSED)
{
    static const char words[] = "?????";
    static char huge[65536];
    int bad = 0;

    for (size_t i = 0; i < sizeof words - 1; i++)
        bad |= send(3, words + i, 1, MSG_NOSIGNAL) < 0;
    bad |= send(3, huge, sizeof huge, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN && errno != EMSGSIZE;
    return bad ? errno : 0;
}

#define A(name) { #name, do_##name }

static const struct { const char *name; int (*fn)(const char *); } acts[] = {
    A(read), A(write), A(create), A(list), A(unlink), A(rename), A(symlink), A(mknod), A(chmod), A(truncate), A(reopen), A(exec), A(execveat), A(memfd),
    A(fork), A(clone3), A(newuser), A(kill), A(tgkill), A(queue), A(raise), A(ptrace), A(seize), A(pidfd), A(kcmp), A(setprio), A(vm_read), A(mem), A(fds),
    A(setown), A(siospgrp), A(thread), A(setuid), A(setgid), A(setresuid), A(setgroups), A(capset), A(rlimit), A(rlimit_of), A(getlimit), A(mount), A(umount),
    A(unshare), A(setns), A(chroot), A(pivot), A(bpf), A(perf), A(keyctl), A(add_key), A(io_uring), A(uffd), A(fanotify), A(handle), A(reboot), A(module),
    A(settime), A(sethost), A(swap), A(quotactl), A(modify_ldt), A(connect), A(bind), A(unix), A(abstract), A(bind_unix), A(raw), A(packet), A(netlink), A(vsock),
    A(alg), A(tcp), A(udp), A(linger), A(babble),
};

int act_try(ph_str name, const char *arg)
{
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
        if (ph_str_eq(name, ph_cstr(acts[i].name)))
            return acts[i].fn(arg);
    return -1;
}
