/* service/cleanup: the only way into the queue.  Reference: cleanup.8.
 *
 * One connection carries one message at a time:
 *   begin -> reply with the queue id; rcpt, content (no reply); end -> reply.
 * begin has flags: "map" (addresses are mapped), "bcc" (there are automatic copies),
 * "filter" and "bounce"; and an origin, a word of smtputf8_autodetect_classes, for what
 * is new.  A refusal with own=1 is about this message: the next may fare
 * better.  op=map, at any time: probe.c.
 * Content of the client's own (Received:) is "apart": a first line of the
 * message that begins with a blank is no part of it.
 * Without end the message never existed. */
#include <posthorn/service.h>
#include "cleanup.h"

#define LINE_END 2                 /* "\r\n" behind a header does not count for its limit */

static int cleanup_open(struct ph_service *v)
{
    struct cleanup_params *p = ph_new(v->scope, struct cleanup_params);

    v->self = p;
    return cleanup_setup(v->conf, v->scope, p);
}

/* What a reply says: SMTP text by error, RFC 3463 codes. */
ph_str cleanup_reply(struct message *m)
{
    switch (m->error) {
    case CLEAN_ALIAS:      return PH_STR("451 4.6.0 Alias expansion error");
    case CLEAN_DEFER:      return PH_STR("451 4.3.0 Error: queue file write error");
    case CLEAN_SIZE:       return PH_STR("552 5.3.4 Error: message file too big");
    case CLEAN_HOPS:       return PH_STR("554 5.4.0 Error: too many hops");
    case CLEAN_RECIPIENTS: return PH_STR("550 5.1.0 Error: no recipients");
    case CLEAN_CONTENT:    return PH_STR("550 5.7.1 Error: message content rejected");
    case CLEAN_WRITE:      return PH_STR("451 4.3.0 Error: queue file write error");
    case CLEAN_OK:         break;
    }
    return ph_str_printf(m->scope, "250 2.0.0 Ok: queued as %.*s", PH_FMT(m->id));
}

static const char *status_of(enum cleanup_error e)
{
    return e == CLEAN_OK ? "ok" : e == CLEAN_DEFER || e == CLEAN_ALIAS || e == CLEAN_WRITE ? "temp" : "perm";
}

static int send_reply(struct ph_stream *io, struct ph_frame *f)
{
    int rc = ph_frame_send(io, f);

    return rc < 0 ? rc : ph_stream_flush(io);
}

static int reply_failure(struct ph_scope *s, struct ph_stream *io, int code)
{
    struct ph_frame *f = ph_frame_new(s);

    ph_log_warn("%s", ph_error());
    ph_frame_cstr(f, "status", code == PH_PERM ? "perm" : "temp");
    ph_frame_cstr(f, "reply", "451 4.3.0 Error: queue file write error");
    ph_frame_str(f, "reason", ph_str_dup(s, ph_cstr(ph_error())));
    return send_reply(io, f);
}

/* Attributes that go into the envelope as they come. */
static const char *const kept[] = {
    "client_name", "client_address", "client_port", "client_helo", "client_protocol", "sasl_method", "sasl_username",
    "sasl_sender", "envelope_id", "dsn_ret", "full_name", "trace_flags",
};

static int keep_attributes(struct message *m, const struct ph_frame *in)
{
    int rc = ph_intake_attr(m->intake, "rewrite_context", m->local ? PH_STR("local") : PH_STR("remote"));

    for (size_t i = 0; rc == 0 && i < sizeof kept / sizeof *kept; i++) {
        ph_str v = ph_frame_value(in, kept[i]);

        if (v.n)
            rc = ph_intake_attr(m->intake, kept[i], v);
    }
    return rc;
}

/* What the client allows: words of "flags". */
static void read_flags(struct message *m, ph_str flags)
{
    for (ph_str w; (w = ph_str_word(&flags)).n; ) {
        m->auto_bcc |= ph_str_eq(w, PH_STR("bcc"));
        m->maps |= ph_str_eq(w, PH_STR("map"));
    }
}

/* smtputf8_autodetect_classes, for mail that comes from there. */
static int is_detected(const struct cleanup_params *p, ph_str origin)
{
    for (size_t i = 0; origin.n && i < p->utf8_count; i++)
        if (ph_str_eq_nocase(p->utf8_from[i], origin) || ph_str_eq_nocase(p->utf8_from[i], PH_STR("all")))
            return 1;
    return 0;
}

/* step: of the caller's, emptied behind each request. */
static struct message *message_new(struct ph_scope *s, struct ph_scope *step, const struct cleanup_params *p, const struct ph_frame *in)
{
    struct message *m = ph_new(s, struct message);

    m->scope = s;
    m->step = step;
    m->p = p;
    m->local = !ph_str_eq(ph_frame_value(in, "context"), PH_STR("remote"));
    read_flags(m, ph_frame_value(in, "flags"));
    m->dry = (ph_trace_flags(ph_frame_value(in, "trace_flags")) & PH_TRACE_DRY) != 0;
    m->rewrites = m->local || p->rewrites_remote;
    m->detect_utf8 = p->utf8 && is_detected(p, ph_frame_value(in, "origin"));
    m->full_name = ph_str_dup(s, ph_frame_value(in, "full_name"));
    m->seen = ph_map_new(s);
    ph_buf_init(&m->line, s, (size_t)p->header_limit + LINE_END);
    ph_buf_init(&m->header, s, (size_t)p->header_limit + LINE_END);
    if (ph_str_eq_nocase(ph_frame_value(in, "body"), PH_STR("8BITMIME")))
        m->facts |= PH_FACT_BODY_8BIT;
    if (ph_str_eq_nocase(ph_frame_value(in, "body"), PH_STR("7BIT")))
        m->facts |= PH_FACT_BODY_7BIT;
    if (ph_str_eq(ph_frame_value(in, "smtputf8"), PH_STR("1")))
        m->facts |= PH_FACT_SMTPUTF8;
    return m;
}

/* op=begin: 0 and *out, or negative. */
static int begin(struct ph_scope *s, struct ph_scope *step, const struct cleanup_params *p, const struct ph_frame *in, struct message **out)
{
    struct message *m = message_new(s, step, p, in);
    ph_str who = ph_frame_value(in, "who");
    uint32_t kind = ph_str_eq(who, PH_STR("notice")) ? PH_INTAKE_NOTICE : ph_str_eq(who, PH_STR("local")) ? PH_INTAKE_LOCAL : PH_INTAKE_NET;
    int rc = ph_intake_begin(s, kind, &m->intake);

    if (rc < 0)
        return rc;
    m->id = ph_intake_id(m->intake);
    if ((rc = cleanup_sender(m, ph_frame_value(in, "sender"))) < 0 || (rc = keep_attributes(m, in)) < 0)
        return ph_wrap(rc, "%.*s", PH_FMT(m->id));
    *out = m;
    return 0;
}

static int do_begin(struct ph_scope *s, struct ph_scope *step, const struct cleanup_params *p, struct ph_stream *io, const struct ph_frame *in,
                    struct message **out)
{
    int rc = begin(s, step, p, in, out);

    if (rc == PH_CANCEL)
        return rc;
    if (rc < 0)
        return reply_failure(s, io, rc);
    struct ph_frame *f = ph_frame_new(s);
    ph_frame_cstr(f, "status", "ok");
    ph_frame_str(f, "queue_id", (*out)->id);
    return send_reply(io, f);
}

/* A failure here is told at the end: rcpt has no reply of its own. */
static int do_rcpt(struct message *m, const struct ph_frame *in)
{
    int (*take)(struct message *, ph_str, ph_str, ph_str, ph_str) = ph_frame_value(in, "expanded").n ? cleanup_expanded : cleanup_recipient;
    int rc = take(m, ph_frame_value(in, "address"), ph_frame_value(in, "original"), ph_frame_value(in, "dsn_orcpt"), ph_frame_value(in, "dsn_notify"));

    return rc < 0 ? cleanup_refuse(m, rc) : 0;
}

/* The bytes follow the frame on the stream; they are read even when the
 * message has already failed, to stay in step. */
static int do_content(struct message *m, struct ph_stream *io, const struct ph_frame *in)
{
    uint64_t left;
    ph_str view;
    int rc;

    if (ph_frame_get_u64(in, "bytes", &left) != PH_FOUND)
        return ph_fail(PH_PERM, "content without its length");
    while (left) {
        if ((rc = ph_stream_peek(io, &view)) < 0)
            return rc;
        /* The view stays while the intake writes: nobody else reads from this stream. */
        size_t n = view.n < left ? view.n : (size_t)left;
        if ((rc = cleanup_content(m, ph_str_first(view, n))) < 0)
            return rc;
        ph_stream_skip(io, n);
        left -= n;
    }
    return ph_frame_value(in, "apart").n ? cleanup_content_apart(m) : 0;
}

/* The message is whole: commit it and tell what became of it. */
static int do_end(struct message *m, struct ph_stream *io, const struct ph_frame *in)
{
    uint64_t facts = 0;
    int rc = cleanup_content_end(m);

    if (rc == 0)
        rc = cleanup_redirect(m, ph_frame_value(in, "redirect"));
    if (rc == 0)
        rc = cleanup_envelope_end(m);
    if (rc < 0 && (rc = cleanup_refuse(m, rc)) < 0)
        return rc;
    if (ph_frame_get_u64(in, "facts", &facts) == PH_FOUND)
        m->facts |= (uint32_t)facts & (PH_FACT_SMTPUTF8 | PH_FACT_BODY_8BIT | PH_FACT_NO_FINAL_EOL);
    if (m->error == CLEAN_OK) {
        ph_intake_facts(m->intake, m->facts);
        if (ph_str_eq(ph_frame_value(in, "hold"), PH_STR("1")))
            ph_intake_hold(m->intake);
        if ((rc = ph_intake_commit(m->intake)) < 0) {
            if (rc == PH_CANCEL)
                return rc;
            ph_log_warn("%.*s: %s", PH_FMT(m->id), ph_error());
            cleanup_fail(m, rc == PH_PERM ? CLEAN_SIZE : CLEAN_WRITE, ph_error());
        }
    } else {
        ph_log_warn("%.*s: message rejected: %.*s", PH_FMT(m->id), PH_FMT(m->reason));
    }
    struct ph_frame *f = ph_frame_new(m->scope);
    ph_frame_cstr(f, "status", status_of(m->error));
    ph_frame_str(f, "reply", cleanup_reply(m));
    ph_frame_str(f, "queue_id", m->id);
    if (m->error != CLEAN_OK)
        ph_frame_str(f, "reason", m->reason);
    if (m->error == CLEAN_ALIAS || m->error == CLEAN_DEFER)
        ph_frame_cstr(f, "own", "1");
    return send_reply(io, f);
}

/* One message per turn; `s` is reset between two, which gives back the slot of
 * a message that was not committed. */
struct talk {
    const struct cleanup_params *p;
    struct ph_scope *s, *step;
    struct ph_stream *io;
    struct message *m;             /* NULL between messages */
};

static int do_map(struct talk *t, const struct ph_frame *in)
{
    struct ph_frame *answer;
    int rc = cleanup_probe(message_new(t->step, ph_scope_new(t->step), t->p, in), in, &answer);

    return rc < 0 ? rc : send_reply(t->io, answer);
}

static int handle(struct talk *t, const struct ph_frame *in)
{
    ph_str op = ph_frame_value(in, "op");
    int rc;

    if (ph_str_eq(op, PH_STR("begin"))) {
        t->m = NULL;
        ph_scope_reset(t->s);
        return do_begin(t->s, t->step, t->p, t->io, in, &t->m);
    }
    if (ph_str_eq(op, PH_STR("abort"))) {
        t->m = NULL;
        ph_scope_reset(t->s);
        return 0;
    }
    if (ph_str_eq(op, PH_STR("map")))
        return do_map(t, in);
    if (!t->m)
        return ph_fail(PH_PERM, "\"%.*s\" without a message", PH_FMT(op));
    if (ph_str_eq(op, PH_STR("rcpt")))
        return do_rcpt(t->m, in);
    if (ph_str_eq(op, PH_STR("content")))
        return do_content(t->m, t->io, in);
    if (!ph_str_eq(op, PH_STR("end")))
        return ph_fail(PH_PERM, "unknown request \"%.*s\"", PH_FMT(op));
    rc = do_end(t->m, t->io, in);
    t->m = NULL;
    ph_scope_reset(t->s);
    return rc;
}

static int cleanup_serve(struct ph_service *v, struct ph_scope *session, struct ph_stream *io,
                         const struct ph_peer *peer PH_UNUSED)
{
    struct talk t = { .p = v->self, .s = ph_scope_new(session), .step = ph_scope_new(session), .io = io };
    struct ph_frame *in;
    int rc;

    while ((rc = ph_frame_recv(io, t.step, 0, &in)) > 0) {
        if ((rc = handle(&t, in)) < 0)
            break;
        ph_scope_reset(t.step);
    }
    if (t.m)
        ph_log("%.*s: removed (canceled)", PH_FMT(t.m->id));
    return rc == PH_EOF ? 0 : rc;
}

PH_PLUGIN_SERVICE(cleanup, PH_IS(.summary = "completes a message and commits it to the queue", .exec = PH_COROUTINE,
                                 .concurrency = PH_MANY_CALLS, .params = cleanup_rows, .param_count = CLEANUP_ROWS),
    .needs = "queue private",
    .uses = "rewrite",
    .open = cleanup_open,
    .serve = cleanup_serve);
