/* orphans: deliveries that ended after their connection: kept, with their
 * reader's lock, until the next qmgr has taken their outcomes. */
#include <unistd.h>
#include <posthorn/client.h>
#include <posthorn/clock.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "core/worker/agent_priv.h"

#define ORPHANS_MAX 1000
#define RETRY_MS    1000
#define REFUSED_MAX 10u

static int tell(struct ph_stream *io, struct delivery *v)
{
    PH_SCOPED(s, NULL);
    struct ph_frame *reply;
    int rc = ph_agent_put_outcomes(io, v, 1);

    if (rc >= 0 && (rc = ph_stream_flush(io)) >= 0)
        rc = ph_frame_recv(io, s, 4096, &reply);
    if (rc >= 0 && ph_str_eq(ph_frame_value(reply, "status"), PH_STR("temp")))
        return ph_fail(PH_TEMP, "qmgr: %.*s", PH_FMT(ph_frame_value(reply, "reason")));
    if (rc < 0 && rc != PH_CANCEL)
        v->refused++;
    /* Who was told that he lies is heard no more on this connection. */
    return rc >= 0 && ph_str_eq(ph_frame_value(reply, "status"), PH_STR("perm")) ? PH_NONE : rc;
}

static void over(struct delivery *v)
{
    ph_list_remove(&v->node);
    v->agent->orphan_count--;
    ph_agent_drop_reader(v);
    ph_agent_delivery_free(v);
}

/* What qmgr hangs up on, again and again, must not keep the others waiting. */
static void put_back(struct ph_agent *a, struct delivery *v)
{
    if (v->refused < REFUSED_MAX) {
        ph_list_remove(&v->node);
        ph_list_push(&a->orphans, &v->node);
        return;
    }
    ph_log_warn("%.*s: qmgr does not take the result, dropped (the message may be delivered again)", PH_FMT(v->message->queue_id));
    over(v);
}

static int dial_qmgr(struct ph_agent *a, struct ph_scope *s, struct ph_stream **io)
{
    struct ph_frame *f = ph_frame_new(s);
    int rc = ph_service_dial(s, "qmgr", io);

    ph_frame_cstr(f, "op", "hello");
    ph_frame_cstr(f, "role", "agent");
    ph_frame_cstr(f, "service", a->transport->service);
    ph_frame_u64(f, "pid", (uint64_t)getpid());
    return rc < 0 ? rc : ph_frame_send(*io, f);
}

/* Tell all of them on one connection. */
static int tell_all(struct ph_agent *a)
{
    PH_SCOPED(s, NULL);
    struct ph_stream *io;
    int rc = dial_qmgr(a, s, &io);

    while (rc >= 0 && rc != PH_NONE && !ph_list_is_empty(&a->orphans)) {
        struct delivery *v = ph_list_of(a->orphans.next, struct delivery, node);

        if ((rc = tell(io, v)) >= 0)
            over(v);
        else if (rc != PH_CANCEL)
            put_back(a, v);
    }
    return rc;
}

static void orphans_task(void *arg)
{
    struct ph_agent *a = arg;
    int rc = 0;

    while (rc != PH_CANCEL && !ph_list_is_empty(&a->orphans))
        if ((rc = tell_all(a)) < 0 && rc != PH_CANCEL)
            rc = ph_sleep_until(ph_in_ms(RETRY_MS));
    a->telling = 0;
}

void ph_agent_orphan(struct delivery *v)
{
    struct ph_agent *a = v->agent;

    if (a->orphan_count >= ORPHANS_MAX) {
        ph_log_warn("%.*s: qmgr is away, result dropped (the message may be delivered again)",
                    PH_FMT(v->message->queue_id));
        ph_agent_drop_reader(v);
        ph_agent_delivery_free(v);
        return;
    }
    ph_list_push(&a->orphans, &v->node);
    a->orphan_count++;
    if (!a->telling)
        a->telling = ph_spawn(a->group, "survivors", orphans_task, a) >= 0;
}
