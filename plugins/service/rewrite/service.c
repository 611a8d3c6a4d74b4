/* service/rewrite: answers "rewrite", "resolve" and "verify" (the trivial-rewrite
 * of the classic architecture).  Reference: rewrite.8.
 *
 *   rewrite  context local or remote; addresses, in external form both ways:
 *            the internal form does not say which operators were in quotes
 *   resolve  sender, addresses in internal form; with a context they are
 *            completed first
 *   verify   the same for the probe of an address verification
 *
 * One request holds many addresses.  A table that fails makes the whole answer
 * status=temp: the caller tries again or says 451. */
#include <posthorn/frame.h>
#include <posthorn/service.h>
#include "rewrite.h"

#define ADDRESSES_MAX 10000u

static int rewrite_open(struct ph_service *v)
{
    struct rewriter *w = ph_new(v->scope, struct rewriter);

    v->self = w;
    return rewrite_setup(w, v->conf, v->scope);
}

static void add_resolved(struct ph_frame *out, const struct resolved *r)
{
    ph_frame_str(out, "transport", r->transport);
    ph_frame_str(out, "nexthop", r->nexthop);
    ph_frame_str(out, "recipient", r->recipient);
    ph_frame_cstr(out, "class", r->class_);
    if (r->error)
        ph_frame_cstr(out, "error", r->error);
    if (r->routed)
        ph_frame_cstr(out, "routed", "1");
}

/* local (the default) or remote. */
static const struct rewrite_context *context_of(const struct rewriter *w, const struct ph_frame *in)
{
    return ph_str_eq(ph_frame_value(in, "context"), PH_STR("remote")) ? &w->remote : &w->local;
}

static int add_route(struct rewriter *w, struct ph_scope *s, const struct ph_frame *in, ph_str op, ph_str address, struct ph_frame *out)
{
    struct question ask = {
        .sender = ph_frame_value(in, "sender"), .address = address, .probe = op.p[0] == 'v',
        .complete = ph_frame_value(in, "context").n ? context_of(w, in) : NULL,
    };
    struct resolved r;
    int rc = rewrite_resolve(w, s, &ask, &r);

    if (rc < 0)
        return rc == PH_PERM ? PH_TEMP : rc;       /* a table's trouble, not the client's */
    add_resolved(out, &r);
    return 0;
}

/* Fill out for each address of the request: 0, or negative with text. */
static int each_address(struct rewriter *w, struct ph_scope *s, const struct ph_frame *in, ph_str op, struct ph_frame *out)
{
    size_t at = 0, count = 0;
    ph_str name, value;
    int rc;

    while (ph_frame_next(in, &at, &name, &value)) {
        if (!ph_str_eq(name, PH_STR("address")))
            continue;
        if (++count > ADDRESSES_MAX)
            return ph_fail(PH_PERM, "more than %u addresses in one request", ADDRESSES_MAX);
        if (ph_str_eq(op, PH_STR("rewrite")))
            ph_frame_str(out, "address", rewrite_address(w, s, value, context_of(w, in)));
        else if ((rc = add_route(w, s, in, op, value, out)) < 0)
            return rc;
    }
    return 0;
}

static int is_operation(ph_str op)
{
    return ph_str_eq(op, PH_STR("rewrite")) || ph_str_eq(op, PH_STR("resolve")) || ph_str_eq(op, PH_STR("verify"));
}

static int answer(struct rewriter *w, struct ph_scope *s, struct ph_stream *io, const struct ph_frame *in)
{
    ph_str op = ph_frame_value(in, "op");
    struct ph_frame *out = ph_frame_new(s);

    if (!is_operation(op))
        return ph_fail(PH_PERM, "unknown request \"%.*s\"", PH_FMT(ph_str_first(op, 32)));
    ph_frame_cstr(out, "status", "ok");
    int rc = each_address(w, s, in, op, out);
    if (rc == PH_CANCEL || rc == PH_PERM)
        return rc;
    if (rc < 0) {
        ph_log_warn("%s", ph_error());
        out = ph_frame_new(s);
        ph_frame_cstr(out, "status", "temp");
        ph_frame_str(out, "reason", ph_str_dup(s, ph_cstr(ph_error())));
    }
    if ((rc = ph_frame_send(io, out)) < 0)
        return rc;
    /* Several requests may be there: one flush answers them. */
    return ph_stream_pending(io) ? 0 : ph_stream_flush(io);
}

static int rewrite_serve(struct ph_service *v, struct ph_scope *session, struct ph_stream *io,
                         const struct ph_peer *peer PH_UNUSED)
{
    struct ph_scope *step = ph_scope_new(session);
    struct ph_frame *in;
    int rc;

    while ((rc = ph_frame_recv(io, step, 0, &in)) > 0) {
        if ((rc = answer(v->self, step, io, in)) < 0)
            break;
        ph_scope_reset(step);
    }
    return rc == PH_EOF ? 0 : rc;
}

PH_PLUGIN_SERVICE(rewrite, PH_IS(.summary = "completes addresses and finds their transport and next hop", .exec = PH_COROUTINE,
                                 .concurrency = PH_MANY_CALLS, .params = rewrite_rows,
                                 .param_count = REWRITE_ROWS),
    .needs = "",
    .open = rewrite_open,
    .serve = rewrite_serve);
