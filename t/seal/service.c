/* t/seal/service.c: a service that does what it is asked to, {act, arg} -> {said}.
 * NAME and NEEDS are given by the build: its descriptor says what it is allowed. */
#include <posthorn/frame.h>
#include <posthorn/service.h>
#include "acts.h"

static int32_t act_serve(struct ph_service *v PH_UNUSED, struct ph_scope *session, struct ph_stream *io, const struct ph_peer *peer PH_UNUSED)
{
    int rc = 0;

    while (rc >= 0) {
        PH_SCOPED(s, session);
        struct ph_frame *f, *reply = ph_frame_new(s);

        if ((rc = ph_frame_recv(io, s, 0, &f)) < 0)
            break;
        ph_frame_i64(reply, "said", act_try(ph_frame_value(f, "act"), ph_cstr_dup(s, ph_frame_value(f, "arg"))));
        if ((rc = ph_frame_send(io, reply)) >= 0)
            rc = ph_stream_flush(io);
    }
    return rc == PH_EOF ? 0 : rc;
}

#define SERVICE(name, ...) PH_PLUGIN_SERVICE(name, __VA_ARGS__)

SERVICE(NAME,
    PH_IS(.summary = "attempts what it is told to", .exec = PH_COROUTINE, .concurrency = PH_MANY_CALLS),
    .needs = NEEDS,
    .serve = act_serve);
