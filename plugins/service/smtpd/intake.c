/* intake: the connection to cleanup.  One is kept after a message and serves
 * the next one, of whatever session. */
#include <posthorn/client.h>
#include <posthorn/error.h>
#include "smtpd.h"

#define IDLE_MAX 64u

static int take(struct session *s, struct intake **out)
{
    struct smtpd_conf *c = s->c;

    while (c->idle_intake) {
        struct intake *in = c->idle_intake;

        c->idle_intake = in->next;
        c->idle_count--;
        if (!ph_stream_is_stale(in->io)) {
            *out = in;
            return 0;
        }
        ph_scope_free(in->scope);
    }
    struct ph_scope *scope = ph_scope_new(c->scope);
    struct intake *in = ph_new(scope, struct intake);
    in->scope = scope;
    int rc = ph_service_dial(scope, "cleanup", &in->io);
    if (rc < 0) {
        ph_scope_free(scope);
        return rc;
    }
    *out = in;
    return 0;
}

void intake_release(struct session *s, int reusable)
{
    struct intake *in = s->t.intake;
    struct smtpd_conf *c = s->c;

    s->t.intake = NULL;
    if (!in)
        return;
    if (!reusable || in->broken || c->idle_count >= IDLE_MAX) {
        ph_scope_free(in->scope);
        return;
    }
    in->next = c->idle_intake;
    c->idle_intake = in;
    c->idle_count++;
}

static int broken(struct session *s, int rc)
{
    if (rc < 0 && s->t.intake)
        s->t.intake->broken = 1;
    return rc == PH_EOF || rc == PH_PERM ? PH_TEMP : rc;     /* a broken cleanup is no verdict */
}

static int is_ok(const struct ph_frame *f)
{
    return ph_str_eq(ph_frame_value(f, "status"), PH_STR("ok"));
}

/* What XFORWARD said is what the message is known by from here on. */
static void put_client(struct ph_frame *f, const struct session *s)
{
    const struct forward *x = s->t.forward;

    ph_frame_str(f, "client_name", x ? x->name : s->w.name);
    ph_frame_str(f, "client_address", x ? x->addr : s->w.addr);
    ph_frame_str(f, "client_port", x ? x->port : s->w.port);
    ph_frame_str(f, "client_helo", x ? x->helo : s->helo);
    if (x)
        ph_frame_str(f, "client_protocol", x->proto);
    else
        ph_frame_cstr(f, "client_protocol", s->esmtp ? "ESMTP" : "SMTP");
    if (s->w.sasl_user.n) {
        ph_frame_str(f, "sasl_method", s->w.sasl_method);
        ph_frame_str(f, "sasl_username", s->w.sasl_user);
    }
    if (s->t.args.auth.n)
        ph_frame_str(f, "sasl_sender", s->t.args.auth);
}

static struct ph_frame *begin_frame(struct session *s, struct ph_scope *t)
{
    struct ph_frame *f = ph_frame_new(t);
    const struct mail_args *a = &s->t.args;

    ph_frame_cstr(f, "op", "begin");
    ph_frame_cstr(f, "who", "net");
    ph_frame_cstr(f, "origin", "smtpd");
    ph_frame_cstr(f, "context", s->is_local || (s->t.forward && s->t.forward->is_local) ? "local" : "remote");
    ph_frame_cstr(f, "flags", s->c->cleanup_flags);
    ph_frame_str(f, "sender", s->t.sender);
    put_client(f, s);
    if (a->body)
        ph_frame_cstr(f, "body", a->body);
    if (a->utf8)
        ph_frame_cstr(f, "smtputf8", "1");
    if (a->ret)
        ph_frame_cstr(f, "dsn_ret", a->ret);
    if (a->envid.n)
        ph_frame_str(f, "envelope_id", a->envid);
    return f;
}

int intake_begin(struct session *s)
{
    PH_SCOPED(t, transaction_scope(s));
    struct ph_frame *answer;
    int rc = take(s, &s->t.intake);

    if (rc < 0)
        return rc;
    if ((rc = ph_frame_send(s->t.intake->io, begin_frame(s, t))) < 0 || (rc = ph_stream_flush(s->t.intake->io)) < 0 ||
        (rc = ph_frame_recv(s->t.intake->io, t, 0, &answer)) < 0)
        return broken(s, rc);
    if (!is_ok(answer))
        return ph_fail(PH_TEMP, "cleanup: %.*s", PH_FMT(ph_frame_value(answer, "reason")));
    s->t.queue_id = ph_str_dup(transaction_scope(s), ph_frame_value(answer, "queue_id"));
    return 0;
}

int intake_rcpt(struct session *s, ph_str address, ph_str original, const struct rcpt_args *a)
{
    PH_SCOPED(t, transaction_scope(s));
    struct ph_frame *f = ph_frame_new(t);

    ph_frame_cstr(f, "op", "rcpt");
    ph_frame_str(f, "address", address);
    ph_frame_str(f, "original", original);
    if (a->orcpt.n)
        ph_frame_str(f, "dsn_orcpt", a->orcpt);
    if (a->notify)
        ph_frame_cstr(f, "dsn_notify", a->notify);
    return broken(s, ph_frame_send(s->t.intake->io, f));
}

int intake_content(struct session *s, ph_str bytes, int apart)
{
    PH_SCOPED(t, transaction_scope(s));
    struct ph_frame *f = ph_frame_new(t);

    if (bytes.n == 0)
        return 0;
    ph_frame_cstr(f, "op", "content");
    ph_frame_u64(f, "bytes", bytes.n);
    if (apart)
        ph_frame_cstr(f, "apart", "1");
    int rc = ph_frame_send(s->t.intake->io, f);
    return broken(s, rc < 0 ? rc : ph_stream_str(s->t.intake->io, bytes));
}

/* Copies that access tables asked for (BCC). */
static int send_copies(struct session *s)
{
    static const struct rcpt_args silent = { .notify = "NEVER" };
    int rc = 0;

    for (const struct extra *e = s->t.bcc; rc == 0 && e; e = e->next)
        rc = intake_rcpt(s, e->address, e->address, &silent);
    return rc;
}

int intake_end(struct session *s, ph_str *answer)
{
    PH_SCOPED(t, transaction_scope(s));
    struct ph_frame *f = ph_frame_new(t), *got;
    int rc = send_copies(s);

    if (rc < 0)
        return rc;

    ph_frame_cstr(f, "op", "end");
    if (s->t.hold)
        ph_frame_cstr(f, "hold", "1");
    if (s->t.redirect.n)
        ph_frame_str(f, "redirect", s->t.redirect);
    if ((rc = ph_frame_send(s->t.intake->io, f)) < 0 || (rc = ph_stream_flush(s->t.intake->io)) < 0 ||
        (rc = ph_frame_recv(s->t.intake->io, t, 0, &got)) < 0)
        return broken(s, rc);
    *answer = ph_str_dup(transaction_scope(s), ph_frame_value(got, "reply"));
    /* Only an answer that says ok may sound like one, and it must. */
    if (answer->n < 4 || is_ok(got) != (answer->p[0] == '2'))
        *answer = PH_STR("451 4.3.0 Error: queue file write error");
    return 0;
}
