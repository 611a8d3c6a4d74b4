/* control: signals: reload, stop, children. */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "core/master/master.h"
#include "core/run/log.h"
#include "core/ipc/channel.h"

#define DRAIN_MS 4000              /* sessions; then they are told to stop */
#define KILL_MS  8000              /* then SIGKILL */
#define WATCHDOG_S 1000            /* a loop that does not turn for so long is killed by SIGALRM */

static void for_each(struct master *m, void (*fn)(struct service *v, void *arg), void *arg)
{
    for (struct ph_list *n = m->services.next, *next; n != &m->services; n = next) {
        next = n->next;
        fn(ph_list_of(n, struct service, node), arg);
    }
}

static void replace_children(struct service *v, void *arg PH_UNUSED)
{
    for (struct ph_list *k = v->children.next; k != &v->children; k = k->next) {
        struct child *c = ph_list_of(k, struct child, node);

        if (v->is_qmgr && v->seen) {
            child_tell_reload(c);
        } else if (!c->old) {
            c->old = 1;
            child_tell(c, PH_MASTER_DRAIN);
        }
    }
}

/* Who does not see its sessions end for a while shall not write to a log file
 * that was put away meanwhile. */
static void pass_log(struct service *v, void *arg)
{
    for (struct ph_list *k = v->children.next; k != &v->children; k = k->next)
        child_tell_log(ph_list_of(k, struct child, node), *(int *)arg);
}

static void settle(struct service *v, void *arg PH_UNUSED)
{
    v->throttled_until = 0;
    v->crashes = 0;
    ph_timer_stop(&v->throttle);
    if (!v->seen && ph_list_is_empty(&v->children)) {
        service_close(v);
        return;
    }
    if (!v->seen) {
        ph_timer_stop(&v->wakeup);
        v->def = NULL;             /* belongs to the configuration that goes */
    }
    service_update(v);
    if (v->seen)
        service_set_wakeup(v);
}

static void count_accepting(struct service *v, void *arg)
{
    for (struct ph_list *k = v->children.next; k != &v->children; k = k->next) {
        const struct child *c = ph_list_of(k, struct child, node);

        *(unsigned *)arg += c->old && !c->done && c->ready;
    }
}

/* `postfix reload` waits for this: from here on no client meets the old settings. */
void master_announce(struct master *m)
{
    unsigned accepting = 0;

    if (!m->announce)
        return;
    for_each(m, count_accepting, &accepting);
    if (accepting)
        return;
    m->announce = 0;
    m->generation++;
    master_write_pid(m);
}

/* 0; negative: the running system is as it was. */
static int reload(struct master *m)
{
    struct config *fresh, *old = m->config;
    int rc = master_config_read(m->config_dir, &fresh), log;

    if (rc < 0)
        return rc;
    if ((rc = master_apply(m, fresh)) < 0) {
        master_config_free(fresh);
        return rc;
    }
    m->config = fresh;
    if (master_open_log(m) < 0)
        ph_log_warn("reload: %s: logging as before", ph_error());
    if ((log = ph_log_fd()) > STDERR_FILENO)
        for_each(m, pass_log, &log);
    for_each(m, replace_children, NULL);
    for_each(m, settle, NULL);
    master_config_free(old);
    m->announce = 1;
    master_announce(m);
    return 0;
}

static void on_hup(int signo PH_UNUSED, void *arg)
{
    struct master *m = arg;

    if (reload(m) < 0) {
        ph_log_error("reload: %s: going on with the configuration before", ph_error());
        m->refused++;
        master_write_pid(m);
    } else {
        ph_log("reload -- configuration %s", m->config_dir);
        config_tell_programs(m->config);
    }
}

static void on_term(int signo, void *arg)
{
    struct master *m = arg;

    if (!m->stopping)
        ph_log("terminating on signal %d", signo);
    m->stopping = 1;
    m->stop_signal = signo;
    ph_cond_broadcast(m->changed);
}

static void on_exit_time(struct ph_timer *t)
{
    struct master *m = t->arg;

    ph_log("master exit time has arrived");
    m->stopping = 1;
    ph_cond_broadcast(m->changed);
}

void master_end_after(struct master *m)
{
    m->exit_timer.fn = on_exit_time;
    m->exit_timer.arg = m;
    ph_timer_set(&m->exit_timer, ph_in_ms(m->exit_s * 1000));
}

/* Children do not inherit an alarm. */
static void on_watchdog(struct ph_timer *t)
{
    alarm(WATCHDOG_S);
    ph_timer_set(t, ph_in_ms(WATCHDOG_S * 1000 / 3));
}

static void on_child(int signo PH_UNUSED, void *arg)
{
    struct master *m = arg;
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        child_reaped(m, pid, status);
}

struct count { unsigned first, last; };

static void count_live(struct service *v, void *arg)
{
    struct count *n = arg;

    for (struct ph_list *k = v->children.next; k != &v->children; k = k->next)
        *(v->is_asked ? &n->last : &n->first) += 1;
}

struct order { char word; int signo, with_last; };

static void give_order(struct service *v, void *arg)
{
    const struct order *o = arg;

    service_update(v);
    if (v->is_asked && !o->with_last)
        return;
    for (struct ph_list *k = v->children.next; k != &v->children; k = k->next) {
        struct child *c = ph_list_of(k, struct child, node);

        if (o->signo)
            kill(c->pid, o->signo);
        else
            child_tell(c, o->word);
    }
}

/* Until nobody is left, or the time is over: 1 when nobody is. */
static int wait_gone(struct master *m, int with_last, int64_t ms)
{
    int64_t deadline = ph_in_ms(ms);

    for (;;) {
        struct count n = { 0, 0 };

        for_each(m, count_live, &n);
        if (n.first == 0 && (!with_last || n.last == 0))
            return 1;
        if (ph_now_ms() >= deadline || ph_cond_wait(m->changed, deadline) == PH_CANCEL)
            return 0;
    }
}

/* Receivers and agents first: what they report last, qmgr still takes down.  Whom
 * only other services ask (rewrite, bounce) goes with qmgr: its idle connections
 * to them end with it, and would hold them for their whole grace before. */
static void stop_all(struct master *m)
{
    struct order stop = { .word = PH_MASTER_STOP }, term = { .signo = SIGTERM }, kill9 = { .signo = SIGKILL, .with_last = 1 };

    for_each(m, give_order, &stop);
    if (!wait_gone(m, 0, DRAIN_MS + 2000)) {
        for_each(m, give_order, &term);
        wait_gone(m, 0, KILL_MS);
    }
    stop.with_last = 1;
    for_each(m, give_order, &stop);
    if (!wait_gone(m, 1, KILL_MS)) {
        for_each(m, give_order, &kill9);
        wait_gone(m, 1, KILL_MS);
    }
}

static int all_eager_ready(struct master *m)
{
    for (struct ph_list *n = m->services.next; n != &m->services; n = n->next) {
        struct service *v = ph_list_of(n, struct service, node);

        if (v->is_qmgr && !service_ready_child(v) && !v->throttled_until)
            return 0;
    }
    return 1;
}

/* Tell the starter how it went: 'R' running, 'F' the queue manager failed. */
static void tell_starter(struct master *m)
{
    char word = 'R';

    for (struct ph_list *n = m->services.next; n != &m->services; n = n->next) {
        struct service *v = ph_list_of(n, struct service, node);

        if (v->is_qmgr && !service_ready_child(v))
            word = 'F';
    }
    if (m->ready_fd >= 0) {
        (void)!write(m->ready_fd, &word, 1);
        close(m->ready_fd);
        m->ready_fd = -1;
        if (m->complaint_fd > STDERR_FILENO)
            close(m->complaint_fd);
        m->complaint_fd = STDERR_FILENO;
    }
}

static void start_service(struct service *v, void *arg PH_UNUSED)
{
    service_update(v);
    service_set_wakeup(v);
}

int master_run(struct master *m)
{
    ph_signal_watch(SIGHUP, on_hup, m);
    ph_signal_watch(SIGTERM, on_term, m);
    ph_signal_watch(SIGINT, on_term, m);
    ph_signal_watch(SIGQUIT, on_term, m);
    ph_signal_watch(SIGCHLD, on_child, m);
    on_child(SIGCHLD, m);          /* as init: orphans that ended before anybody listened */
    for_each(m, start_service, NULL);
    m->watchdog.fn = on_watchdog;
    on_watchdog(&m->watchdog);
    int64_t deadline = ph_in_ms(30000);
    while (!m->stopping && !all_eager_ready(m) && ph_now_ms() < deadline)
        if (ph_cond_wait(m->changed, deadline) == PH_CANCEL)
            return 0;
    tell_starter(m);
    while (!m->stopping)
        if (ph_cond_wait(m->changed, PH_FOREVER) == PH_CANCEL)
            break;
    stop_all(m);
    ph_log_flush();
    return 0;
}
