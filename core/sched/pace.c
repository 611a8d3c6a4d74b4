/* pace: what the scheduler wants done, and when: entries to the lanes, portions
 * of recipients, the warning of a destination that fills the active queue; and
 * the watchdog. */
#include <limits.h>
#include <unistd.h>
#include "core/sched/qmgr_priv.h"

static void warn_of_clog(struct qmgr *q, const struct ph_sched_clog *c)
{
    ph_log_warn("mail for %.*s is using up %u of %zu active queue entries", PH_FMT(c->nexthop), c->entries,
                q->active);
    if (!q->p.helpful_warnings)
        return;
    ph_log_warn("this may slow down other mail deliveries");
    ph_log_warn("you may need to increase %.*s_destination_concurrency_limit", PH_FMT(c->transport));
    ph_log_warn("you may need a separate transport of master.yaml for %.*s", PH_FMT(c->nexthop));
    ph_log_warn("please avoid flushing the whole queue when you have lots of deferred mail, that is bad for performance");
    ph_log_warn("to turn off these warnings specify: qmgr_clog_warn_time = 0");
}

void ph_pump(struct qmgr *q)
{
    struct ph_sched_clog clog;
    struct ph_sched_msg *m;
    void *mail;
    uint32_t n;

    for (struct ph_sched_entry *e; (e = ph_sched_next(q->sched, ph_now_ms())); )
        ph_lane_send(q, e);
    while (ph_sched_hungry(q->sched, ph_now_ms(), &m, &mail, &n))
        ph_resolve_more(mail, n);
    if (ph_sched_clogged(q->sched, ph_now_ms(), q->p.clog_warn_time * 1000, &clog))
        warn_of_clog(q, &clog);
    if (q->pace_wake && ph_sched_wake(q->sched) < q->pace_ms)
        ph_cond_signal(q->pace_wake);
}

/* SIGALRM ends a process whose loop does not turn any more; the master starts
 * another, and nothing is lost by that.  When to wind it up next. */
static int64_t wind_up(const struct qmgr *q)
{
    int64_t timeout_s = q->p.daemon_timeout < UINT_MAX ? q->p.daemon_timeout : UINT_MAX;

    alarm((unsigned)timeout_s);
    return ph_in_ms(timeout_s * 1000 / 3);
}

void ph_pace_task(void *arg)
{
    struct qmgr *q = arg;

    for (;;) {
        int64_t wind = wind_up(q), wake = ph_sched_wake(q->sched);

        q->pace_ms = wake < wind ? wake : wind;
        if (ph_cond_wait(q->pace_wake, q->pace_ms) == PH_CANCEL) {
            alarm(0);
            return;
        }
        ph_pump(q);
    }
}
