/* pass: a recipient is given to another transport of this system, which works
 * with the message that we hold open, as if qmgr had asked it. */
#include <posthorn/client.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "core/worker/agent_priv.h"

static int greet(struct ph_stream *io, struct ph_scope *s)
{
    struct ph_frame *hello = ph_frame_new(s), *reply;
    int rc;

    ph_frame_cstr(hello, "op", "hello");
    if ((rc = ph_frame_send(io, hello)) < 0 || (rc = ph_stream_flush(io)) < 0 || (rc = ph_frame_recv(io, s, 4096, &reply)) < 0)
        return rc;
    return ph_str_eq(ph_frame_value(reply, "status"), PH_STR("ok")) ? 0 : ph_fail(PH_TEMP, "unexpected answer");
}

static int ask(struct ph_stream *io, struct ph_scope *s, const struct delivery *v, const struct ph_recipient *r, ph_str nexthop)
{
    struct ph_frame *f = ph_frame_new(s);
    int rc;

    ph_frame_cstr(f, "op", "deliver");
    ph_frame_u64(f, "number", 0);
    ph_frame_str(f, "nexthop", nexthop);
    ph_frame_i64(f, "active", v->d.active_us);
    ph_frame_u64(f, "reuse", 0);
    ph_message_put(f, v->message);
    ph_recipient_put(f, r);
    rc = ph_frame_send(io, f);
    return rc < 0 ? rc : ph_stream_flush(io);
}

/* Its outcome: 0 and *o.  A "bye" says only that the agent takes no more. */
static int hear(struct ph_stream *io, struct ph_scope *s, struct ph_outcome **o)
{
    struct ph_frame *f;
    uint32_t *index, n;
    int rc;

    do {
        if ((rc = ph_frame_recv(io, s, PH_DELIVERY_MAX, &f)) < 0)
            return rc;
    } while (ph_str_eq(ph_frame_value(f, "op"), PH_STR("bye")));
    if ((rc = ph_outcomes_get(s, f, o, &index, &n)) < 0)
        return rc;
    return n == 1 ? 0 : ph_fail(PH_TEMP, "answer for %u recipients", n);
}

int ph_delivery_pass(struct ph_delivery *d, uint32_t i, const struct ph_recipient *member, const char *transport, ph_str nexthop)
{
    struct delivery *v = d->host;
    PH_SCOPED(s, v->scope);
    struct ph_recipient r = *member;
    struct ph_stream *io;
    struct ph_outcome *o;
    int rc = ph_service_dial(s, transport, &io);

    if (rc < 0)
        return rc;
    r.index = d->rcpt[i].index;    /* what it could not tell us it tells qmgr */
    if ((rc = greet(io, s)) < 0 || (rc = ask(io, s, v, &r, nexthop)) < 0 || (rc = hear(io, s, &o)) < 0)
        return rc == PH_CANCEL ? rc : ph_wrap(PH_TEMP, "transport %s", transport);
    ph_agent_passed(d, i, member, o);
    return 0;
}
