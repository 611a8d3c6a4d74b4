/* dns_event: libunbound's pluggable event base over our watches and timers.
 *
 * Its callbacks run on the loop's stack, where foreign code belongs.  A
 * callback may free its own event, so nothing is touched after it. */
#include <stdlib.h>
#include <sys/time.h>
#include <unbound.h>
#include <unbound-event.h>
#include <posthorn/clock.h>
#include <posthorn/error.h>
#include "core/net/dns.h"
#include "core/run/loop.h"

struct event {
    struct ub_event ub;            /* first: libunbound sees only this */
    struct ph_watch watch;
    struct ph_timer timer;
    int fd;
    short bits;
    void (*cb)(int fd, short bits, void *arg);
    void *arg;
    int64_t timeout_ms;            /* < 0: none */
};

static struct event *event_of(struct ub_event *e)
{
    return (struct event *)(void *)e;
}

static void disarm(struct event *e)
{
    ph_watch_stop(&e->watch);
    ph_timer_stop(&e->timer);
}

static int arm(struct event *e)
{
    int what = (e->bits & UB_EV_READ ? PH_READ : 0) | (e->bits & UB_EV_WRITE ? PH_WRITE : 0);

    if (what && e->fd >= 0 && ph_watch_start(&e->watch, e->fd, what) < 0)
        return -1;
    if (e->timeout_ms >= 0)
        ph_timer_set(&e->timer, ph_in_ms(e->timeout_ms));
    return 0;
}

static void on_ready(struct ph_watch *w, int ready)
{
    struct event *e = w->arg;
    short got = (short)((ready & PH_READ ? UB_EV_READ : 0) | (ready & PH_WRITE ? UB_EV_WRITE : 0));

    got = (short)(got & e->bits);
    if (!got)                      /* an error shows as both directions; it asked for one */
        return;
    if (!(e->bits & UB_EV_PERSIST))
        disarm(e);
    else if (e->timeout_ms >= 0)   /* a persistent event starts its time anew */
        ph_timer_set(&e->timer, ph_in_ms(e->timeout_ms));
    e->cb(e->fd, got, e->arg);
}

static void on_time(struct ph_timer *t)
{
    struct event *e = t->arg;

    if (!(e->bits & UB_EV_PERSIST))
        disarm(e);
    else
        ph_timer_set(t, ph_in_ms(e->timeout_ms));
    e->cb(e->fd, UB_EV_TIMEOUT, e->arg);
}

static void add_bits(struct ub_event *u, short bits)
{
    event_of(u)->bits = (short)(event_of(u)->bits | bits);
}

static void del_bits(struct ub_event *u, short bits)
{
    event_of(u)->bits = (short)(event_of(u)->bits & ~bits);
}

static void set_fd(struct ub_event *u, int fd)
{
    disarm(event_of(u));
    event_of(u)->fd = fd;
}

static int add(struct ub_event *u, struct timeval *tv)
{
    struct event *e = event_of(u);

    disarm(e);
    e->timeout_ms = tv ? (int64_t)tv->tv_sec * 1000 + (tv->tv_usec + 999) / 1000 : -1;
    return arm(e);
}

static int del(struct ub_event *u)
{
    disarm(event_of(u));
    return 0;
}

static void event_free(struct ub_event *u)
{
    disarm(event_of(u));
    free(event_of(u));
}

static int add_timer(struct ub_event *u, struct ub_event_base *base PH_UNUSED, void (*cb)(int, short, void *), void *arg,
                     struct timeval *tv)
{
    struct event *e = event_of(u);

    e->cb = cb;
    e->arg = arg;
    e->bits = (short)(e->bits | UB_EV_TIMEOUT);
    return add(u, tv);
}

/* Signals are not ours to give: libunbound asks for none. */
static int no_signal(struct ub_event *u PH_UNUSED)
{
    return -1;
}

static int no_signal_add(struct ub_event *u PH_UNUSED, struct timeval *tv PH_UNUSED)
{
    return -1;
}

static struct ub_event_vmt event_vmt = {
    .add_bits = add_bits, .del_bits = del_bits, .set_fd = set_fd, .free = event_free, .add = add, .del = del,
    .add_timer = add_timer, .del_timer = del, .add_signal = no_signal_add, .del_signal = no_signal,
};

static struct ub_event *new_event(struct ub_event_base *base PH_UNUSED, int fd, short bits, void (*cb)(int, short, void *), void *arg)
{
    struct event *e = calloc(1, sizeof *e);

    if (!e)
        ph_die("out of memory");
    e->ub = (struct ub_event){ .magic = UB_EVENT_MAGIC, .vmt = &event_vmt };
    e->watch.fn = on_ready;
    e->watch.arg = e;
    e->timer.fn = on_time;
    e->timer.arg = e;
    e->fd = fd;
    e->bits = bits;
    e->cb = cb;
    e->arg = arg;
    e->timeout_ms = -1;
    return &e->ub;
}

static void base_free(struct ub_event_base *base PH_UNUSED)
{
}

static int base_dispatch(struct ub_event_base *base PH_UNUSED)
{
    return -1;
}

static int base_exit(struct ub_event_base *base PH_UNUSED, struct timeval *tv PH_UNUSED)
{
    return 0;
}

static struct ub_event *base_signal(struct ub_event_base *base PH_UNUSED, int fd PH_UNUSED, void (*cb)(int, short, void *) PH_UNUSED,
                                    void *arg PH_UNUSED)
{
    return NULL;
}

static struct ub_event_base_vmt base_vmt = {
    .free = base_free, .dispatch = base_dispatch, .loopexit = base_exit, .new_event = new_event, .new_signal = base_signal,
};

struct ub_event_base *ph_dns_event_base(void)
{
    /* No state of its own: watches and timers find this thread's loop. */
    static struct ub_event_base base = { .magic = UB_EVENT_MAGIC, .vmt = &base_vmt };

    return &base;
}
