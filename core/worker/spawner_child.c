/* spawner_child: a fresh child takes its identity, and becomes a command. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>
#include "core/run/loop.h"
#include "core/worker/spawner.h"

#define NOFILE_USUAL 1024u

void ph_spawner_close_all(int keep)
{
    if (keep > 3)
        close_range(3, (unsigned)keep - 1, 0);
    close_range(keep >= 3 ? (unsigned)keep + 1 : 3u, ~0u, 0);
}

/* A spawner that is killed takes its children along. */
static int die_with(pid_t spawner)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return -1;
    if (getppid() != spawner) {
        errno = ESRCH;
        return -1;
    }
    return 0;
}

int ph_spawner_become(const struct spawner_policy *p, uint32_t uid, uint32_t gid)
{
    char why[160];

    /* Judged again where it counts. */
    if (ph_spawner_judge(p, uid, gid, why, sizeof why) < 0) {
        errno = EPERM;
        return -1;
    }
    if (!p->own_only && (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0))
        return -1;
    if (getuid() != uid || geteuid() != uid || getgid() != gid || getegid() != gid || (uid != 0 && setuid(0) == 0)) {
        errno = EPERM;
        return -1;
    }
    return 0;
}

/* The master raised the number of descriptors; programs that select() know 1024. */
static void usual_limits(void)
{
    struct rlimit lim;

    if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur > NOFILE_USUAL) {
        lim.rlim_cur = NOFILE_USUAL;
        setrlimit(RLIMIT_NOFILE, &lim);
    }
    lim.rlim_cur = lim.rlim_max = 0;
    setrlimit(RLIMIT_CORE, &lim);
}

/* To the captured output, where the caller reads why. */
static void failed(const char *what, const char *which)
{
    dprintf(STDERR_FILENO, "fatal: %s %s: %s\n", what, which, strerror(errno));
    _exit(EX_TEMPFAIL);
}

/* stdin and stdout of the command to 0, 1 and 2; they may stand in each other's way. */
static int standard_fds(int in, int out)
{
    int hi = fcntl(in, F_DUPFD, 10), ho = fcntl(out, F_DUPFD, 10);

    return hi < 0 || ho < 0 || dup2(ho, 1) < 0 || dup2(ho, 2) < 0 || dup2(hi, 0) < 0 ? -1 : 0;
}

void ph_spawner_exec(const struct spawner_policy *p, const struct spawner_job *j)
{
    if (standard_fds(j->fd[1], j->fd[2]) < 0)
        _exit(EX_TEMPFAIL);
    ph_spawner_close_all(-1);
    setsid();
    ph_signals_reset();
    usual_limits();
    umask(j->r.umask ? j->r.umask : 077);
    if (j->chroot && (chroot(j->chroot) < 0 || chdir("/") < 0))
        failed("chroot", j->chroot);
    if (ph_spawner_become(p, j->r.uid, j->r.gid) < 0)
        failed("become the user of", j->argv[0]);
    if (die_with(j->spawner) < 0)     /* after the identity, which clears it */
        failed("start", j->argv[0]);
    if (chdir(j->directory ? j->directory : "/") < 0)
        failed("enter directory", j->directory ? j->directory : "/");
    /* The PATH to look in is the command's own. */
    clearenv();
    for (char **e = j->env; *e; e++)
        if (strncmp(*e, "PATH=", 5) == 0)
            putenv(*e);
    execvpe(j->argv[0], j->argv, j->env);
    failed("cannot execute", j->argv[0]);
    _exit(EX_TEMPFAIL);
}
