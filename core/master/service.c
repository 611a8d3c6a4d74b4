/* service: when a worker is wanted, and waking it. */
#include <stdlib.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "core/master/master.h"
#include "core/ipc/channel.h"

#define FULL_SAY_MS 60000

unsigned service_live(const struct service *v)
{
    unsigned n = 0;

    for (struct ph_list *k = v->children.next; k != &v->children; k = k->next) {
        const struct child *c = ph_list_of(k, struct child, node);

        n += !c->old && !c->done;
    }
    return n;
}

/* One that has room, or soon will. */
static int has_room(const struct service *v)
{
    for (struct ph_list *k = v->children.next; k != &v->children; k = k->next) {
        const struct child *c = ph_list_of(k, struct child, node);

        if (!c->old && !c->done && !c->busy)
            return 1;
    }
    return 0;
}

static unsigned limit_of(const struct service *v)
{
    if (v->is_qmgr)
        return 1;
    if (v->def->processes > 0)
        return (unsigned)v->def->processes;
    /* Workers hold many sessions each, so one is the rule; a full one gets company. */
    int64_t n = v->def->processes == PH_DEF_UNLIMITED ? 1000 : v->master->config->process_limit;
    return n > 0 && n < 100000 ? (unsigned)n : 100;
}

/* What must run without a client asking: the queue has its own clock. */
static int is_eager(const struct service *v)
{
    return v->is_qmgr;
}

static void start_one(struct service *v)
{
    if (child_start(v) < 0) {
        ph_log_error("service %s: cannot start a worker: %s", v->name, ph_error());
        v->throttled_until = ph_in_ms(1000);
        v->throttle.arg = v;
        ph_timer_set(&v->throttle, v->throttled_until);
    }
}

static void client_waits(struct ph_watch *w, int ready PH_UNUSED)
{
    struct service *v = w->arg;

    start_one(v);
    service_update(v);
}

static void watch(struct service *v, int on)
{
    if (v->watching == on)
        return;
    v->watching = on;
    for (unsigned i = 0; i < v->listen_count; i++) {
        v->watch[i].fn = client_waits;
        v->watch[i].arg = v;
        if (!on)
            ph_watch_stop(&v->watch[i]);
        else if (ph_watch_start(&v->watch[i], v->listen_fd[i], PH_READ) < 0)
            ph_log_error("service %s: %s", v->name, ph_error());
    }
}

/* At its limit: whoever comes now waits in the listener's queue.  That is said
 * when it begins, not each time that one leaves and the next one comes. */
static void note_full(struct service *v, int full)
{
    int64_t now = ph_now_ms();

    if (full && !v->full && (v->full_told_ms == 0 || now - v->full_told_ms >= FULL_SAY_MS)) {
        const struct ph_listen_def *l = v->def->listen;

        ph_log_warn("service \"%s\" (%.*s) has reached its process limit \"%u\": new clients may experience noticeable delays", v->name,
                    PH_FMT(l->kind == PH_LISTEN_INET ? l->port : l->name), limit_of(v));
        ph_log_warn("to avoid this condition, increase processes or sessions in %s, or reduce the service time per client", v->master->config->def->file);
        v->full_told_ms = now;
    }
    v->full = full;
}

void service_update(struct service *v)
{
    struct master *m = v->master;
    int idle = m->stopping || !v->seen || v->throttled_until != 0;

    if (!idle && is_eager(v)) {
        /* The one before must have left the queue first. */
        if (ph_list_is_empty(&v->children))
            start_one(v);
        watch(v, 0);
        return;
    }
    int room = idle || has_room(v), may_start = !idle && service_live(v) < limit_of(v);

    watch(v, !room && may_start);
    note_full(v, !room && !may_start);
}

struct child *service_ready_child(struct service *v)
{
    for (struct ph_list *k = v->children.next; k != &v->children; k = k->next) {
        struct child *c = ph_list_of(k, struct child, node);

        if (!c->old && !c->done && c->ready)
            return c;
    }
    return NULL;
}

void service_wake(struct service *v)
{
    struct child *c = service_ready_child(v);

    v->wake_owed = c == NULL;      /* the next one that is ready gets it */
    if (c)
        child_tell(c, PH_MASTER_WAKE);
    else if (!v->master->stopping && v->seen && !v->throttled_until && service_live(v) == 0)
        start_one(v);
}

static void on_wakeup(struct ph_timer *t)
{
    struct service *v = t->arg;

    if (v->def && !v->master->stopping) {
        service_wake(v);
        ph_timer_set(t, ph_in_ms(ph_service_wakeup_s(v->def) * 1000));
    }
}

/* The first one at once; then at each interval. */
void service_set_wakeup(struct service *v)
{
    v->wakeup.fn = on_wakeup;
    v->wakeup.arg = v;
    if (!v->def || ph_service_wakeup_s(v->def) <= 0) {
        ph_timer_stop(&v->wakeup);
        return;
    }
    if (!v->def->wakeup_on_demand)
        service_wake(v);
    ph_timer_set(&v->wakeup, ph_in_ms(ph_service_wakeup_s(v->def) * 1000));
}

void service_close(struct service *v)
{
    watch(v, 0);
    ph_timer_stop(&v->wakeup);
    ph_timer_stop(&v->throttle);
    for (unsigned i = 0; i < v->listen_count; i++)
        close(v->listen_fd[i]);
    v->listen_count = 0;
    ph_list_remove(&v->node);
}
