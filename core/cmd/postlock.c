/* postlock: runs a command while a mailbox is locked, with the locks that the
 * delivery agents take.
 *
 *     postlock [-v] [-c config_dir] [-l lock_style] file command [argument ...]
 *
 * The exit status is that of the command, 1 when it cannot be executed or a
 * signal ended it; 75 when it was not run for want of the lock. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/cmd/cmd.h"

struct postlock {
    const char *path;
    int use_fcntl, use_flock, use_dotlock;
    int64_t attempts, delay_s, stale_s;
    int fd;                        /* the file, locked */
};

/* The lock file that exists because of us; a signal handler removes it. */
static const char *dotlock_file;
static volatile sig_atomic_t child;

static void usage(void) PH_NORETURN;
static void usage(void)
{
    ph_cmd_fatal("usage: postlock [-c config_dir] [-l lock_style] [-v] folder command...");
}

/* Only what is safe in a signal handler.  The command gets the signal too (from
 * the terminal, or from us), and the lock is ours to give up. */
static void on_signal(int signo)
{
    if (child > 0) {
        kill((pid_t)child, signo);
        return;                    /* its end is our end */
    }
    if (dotlock_file)
        unlink(dotlock_file);
    _exit(EX_TEMPFAIL);
}

static void catch_signals(void)
{
    static const int signals[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM };
    struct sigaction old, new = { .sa_handler = on_signal };

    sigfillset(&new.sa_mask);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(signals[i], &new, NULL);
}

static void parse_style(struct postlock *p, ph_str list, const char *from)
{
    ph_str word;

    while ((word = ph_str_list(&list)).n)
        if (ph_str_eq(word, PH_STR("fcntl")))
            p->use_fcntl = 1;
        else if (ph_str_eq(word, PH_STR("flock")))
            p->use_flock = 1;
        else if (ph_str_eq(word, PH_STR("dotlock")))
            p->use_dotlock = 1;
        else
            ph_cmd_fatal("%s: unknown lock method \"%.*s\"; use fcntl, flock or dotlock", from, PH_FMT(word));
    if (!p->use_fcntl && !p->use_flock && !p->use_dotlock)
        ph_cmd_fatal("%s: no lock method", from);
}

/* FILE.lock: 0, or -1 with errno.  An old one is taken for forgotten. */
static int make_dotlock(const struct postlock *p, const char *lock)
{
    struct stat st;
    int fd = open(lock, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0 && errno == EEXIST) {
        if (stat(lock, &st) == 0 && time(NULL) - st.st_mtime > p->stale_s)
            unlink(lock);
        errno = EAGAIN;
        return -1;
    }
    if (fd < 0)
        return -1;
    close(fd);
    dotlock_file = lock;
    return 0;
}

/* The descriptor's locks, as the agents take them; they end with it. */
static int lock_descriptor(const struct postlock *p, int fd)
{
    struct flock lk = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

    if (p->use_fcntl && fcntl(fd, F_OFD_SETLK, &lk) < 0)
        return -1;
    return p->use_flock ? flock(fd, LOCK_EX | LOCK_NB) : 0;
}

/* Another program may have replaced the file before we had its lock. */
static int is_still_there(const struct postlock *p, int fd)
{
    struct stat ours, now;

    if (fstat(fd, &ours) == 0 && stat(p->path, &now) == 0 && ours.st_ino == now.st_ino && ours.st_dev == now.st_dev)
        return 1;
    errno = EAGAIN;
    return 0;
}

/* All locks, or none and errno. */
static int try_lock(struct postlock *p, const char *lock)
{
    if (p->use_dotlock && make_dotlock(p, lock) < 0)
        return -1;
    p->fd = open(p->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (p->fd >= 0 && lock_descriptor(p, p->fd) == 0 && is_still_there(p, p->fd))
        return 0;
    int err = errno;

    if (p->fd >= 0)
        close(p->fd);
    if (dotlock_file)
        unlink(dotlock_file);
    dotlock_file = NULL;
    errno = err;
    return -1;
}

static void take_locks(struct postlock *p, struct ph_scope *s)
{
    const char *lock = ph_str_printf(s, "%s.lock", p->path).p;

    for (int64_t tries = 1; try_lock(p, lock) < 0; tries++) {
        int busy = errno == EAGAIN || errno == EACCES || errno == EWOULDBLOCK;

        if (!busy || tries >= p->attempts)
            ph_cmd_fatal("unable to lock %s: %s", p->path, busy ? "it is in use" : strerror(errno));
        poll(NULL, 0, (int)p->delay_s * 1000);
    }
}

static void release(struct postlock *p)
{
    if (dotlock_file && unlink(dotlock_file) < 0)
        ph_cmd_warn("remove %s: %s", dotlock_file, strerror(errno));
    dotlock_file = NULL;
    close(p->fd);
}

static int run_command(struct postlock *p, char **argv)
{
    int status = 0;
    sigset_t all, old;
    pid_t pid;

    /* No signal between the child's birth and our knowing its number. */
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &old);
    child = pid = fork();
    if (pid == 0)
        dotlock_file = NULL;       /* the parent's */
    sigprocmask(SIG_SETMASK, &old, NULL);
    if (pid < 0) {
        status = errno;
        release(p);
        ph_cmd_fatal("fork: %s", strerror(status));
    }
    if (pid == 0) {
        execvp(argv[0], argv);
        ph_cmd_fatal_status(1);
        ph_cmd_fatal("execute %s: %s", argv[0], strerror(errno));
    }
    /* Our own child: nothing but a signal makes this fail. */
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    release(p);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static void read_parameters(struct postlock *p, struct ph_conf *c, const char *style, struct ph_scope *s)
{
    if (style)
        parse_style(p, ph_cstr(style), "-l");
    else
        parse_style(p, ph_conf_value(c, s, "mailbox_delivery_lock"), "mailbox_delivery_lock");
    if (ph_conf_get_i64(c, "deliver_lock_attempts", &p->attempts) < 0 ||
        ph_conf_get_time(c, "deliver_lock_delay", 's', &p->delay_s) < 0 ||
        ph_conf_get_time(c, "stale_lock_time", 's', &p->stale_s) < 0)
        ph_cmd_fatal("%s", ph_error());
}

int main(int argc, char **argv)
{
    struct ph_scope *scope = ph_scope_new(NULL);
    struct postlock p = { .fd = -1 };
    const char *dir = NULL, *style = NULL;
    int option;

    ph_cmd_start(argv[0]);
    ph_cmd_fatal_status(EX_TEMPFAIL);
    while ((option = getopt(argc, argv, "+c:l:v")) > 0)
        switch (option) {
        case 'c': dir = optarg; break;
        case 'l': style = optarg; break;
        case 'v': break;
        default: usage();
        }
    if (argc - optind < 2)
        usage();
    struct ph_conf *conf = ph_cmd_conf(scope, dir);

    ph_cmd_log_open(conf);
    read_parameters(&p, conf, style, scope);
    p.path = argv[optind];
    catch_signals();
    take_locks(&p, scope);
    option = run_command(&p, argv + optind + 1);
    ph_scope_free(scope);
    return option;
}
