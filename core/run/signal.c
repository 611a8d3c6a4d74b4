/* signal: signals as callbacks, through a signalfd.  See loop.h. */
#include <errno.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include "core/run/inside.h"

static void on_readable(struct ph_watch *w, int ready PH_UNUSED)
{
    struct ph_loop *l = ph_loop_current;
    struct signalfd_siginfo info[8];
    ssize_t n = read(w->fd, info, sizeof info);

    for (ssize_t i = 0; i < n / (ssize_t)sizeof *info; i++) {
        struct signal_slot *s = &l->on_signal[info[i].ssi_signo % 65];

        if (s->fn)
            s->fn((int)info[i].ssi_signo, s->arg);
    }
}

void ph_signal_watch(int signo, void (*fn)(int, void *), void *arg)
{
    struct ph_loop *l = ph_loop_current;

    ph_assert(l && signo > 0 && signo < 65);
    l->on_signal[signo] = (struct signal_slot){ fn, arg };
    if (!fn)
        return;
    sigaddset(&l->signals, signo);
    sigprocmask(SIG_BLOCK, &l->signals, NULL);
    int fd = signalfd(l->signal_fd, &l->signals, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        ph_die("signalfd: %s", strerror(errno));
    if (l->signal_fd < 0) {
        l->signal_fd = fd;
        l->signal_watch.fn = on_readable;
        if (ph_watch_start(&l->signal_watch, fd, PH_READ) < 0)
            ph_die("signalfd: %s", ph_error());
    }
}

void ph_signals_reset(void)
{
    sigset_t none;

    for (int i = 1; i < 65; i++)
        signal(i, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

void ph_signals_fini(struct ph_loop *l)
{
    if (l->signal_fd < 0)
        return;
    ph_watch_stop(&l->signal_watch);
    close(l->signal_fd);
    l->signal_fd = -1;
    sigprocmask(SIG_SETMASK, &l->old_mask, NULL);
}
