/* data: DATA, RFC 5321 4.1.1.4, and what follows it: from the wire to cleanup. */
#include <posthorn/address.h>
#include <posthorn/date.h>
#include <posthorn/error.h>
#include <posthorn/message.h>
#include "smtpd.h"

#define PIECE 16384u

/* A transfer under way. */
struct transfer {
    struct ph_dot_decoder dot;
    char *out;                     /* room for what one piece can become */
    size_t n;                      /* bytes in out that wait */
    uint64_t bytes;                /* of content */
    int failed, too_big, started;
};

/* Names of clients come from DNS and from themselves: they must not end a
 * comment or a header. */
static ph_str comment(struct ph_scope *s, ph_str text)
{
    char *p = ph_cstr_dup(s, text);

    for (size_t i = 0; i < text.n; i++)
        if (!ph_is_print(p[i]) || ph_str_find(PH_STR("()\\\"<>"), p[i]) >= 0)
            p[i] = '?';
    return (ph_str){ p, text.n };
}

/* RFC 5321 4.4. */
static ph_str received(struct session *s)
{
    struct ph_scope *t = s->t.scope;
    ph_str date = ph_date_format(t, ph_wall_us() / 1000000, 1), helo = s->helo.n ? s->helo : s->name;
    int v6 = ph_str_find(s->peer->address, ':') >= 0;
    struct ph_buf b;

    ph_buf_init(&b, t, 8192);
    ph_buf_printf(&b, "%.*sReceived: from %.*s (%.*s [%s%.*s])\r\n\tby %.*s (%.*s) with %s id %.*s", PH_FMT(s->t.prepend), PH_FMT(comment(t, helo)),
                  PH_FMT(comment(t, s->name)), v6 ? "IPv6:" : "", PH_FMT(s->peer->address), PH_FMT(s->c->p.myhostname), PH_FMT(s->c->p.mail_name),
                  s->esmtp ? "ESMTP" : "SMTP", PH_FMT(s->t.queue_id));
    if (s->t.rcpt_count == 1)
        ph_buf_printf(&b, "\r\n\tfor <%.*s>; %.*s\r\n", PH_FMT(ph_address_external(t, s->t.first_rcpt)), PH_FMT(date));
    else
        ph_buf_printf(&b, ";\r\n\t%.*s\r\n", PH_FMT(date));
    return ph_buf_view(&b);
}

static int pass_on(struct session *s, struct transfer *x, ph_str bytes)
{
    if (x->failed || x->too_big || bytes.n == 0)
        return 0;
    x->bytes += bytes.n;
    if (s->c->p.size_limit && x->bytes > (uint64_t)s->c->p.size_limit) {
        x->too_big = 1;
        ph_log_warn("%.*s: queue file size limit exceeded", PH_FMT(s->t.queue_id));
        return 0;
    }
    int rc = intake_content(s, bytes);
    if (rc == PH_CANCEL)
        return rc;
    if (rc < 0) {
        x->failed = 1;
        ph_log_warn("%.*s: %s", PH_FMT(s->t.queue_id), ph_error());
    }
    return 0;
}

/* Content that starts with a blank would be folded into our Received: line. */
static int first_bytes(struct session *s, struct transfer *x, ph_str bytes)
{
    x->started = 1;
    return bytes.p[0] == ' ' || bytes.p[0] == '\t' ? pass_on(s, x, PH_STR("\r\n")) : 0;
}

/* Read to the end of data, also when the message has already failed: client
 * and server must stay in step.  0, or negative: the client is lost. */
static int transfer_content(struct session *s, struct transfer *x)
{
    ph_str view;
    int rc;

    while (!x->dot.done) {
        ph_stream_deadline(s->io, ph_in_ms(s->c->p.timeout * 1000));
        if ((rc = ph_stream_peek(s->io, &view)) < 0)
            return rc;
        view = ph_str_first(view, PIECE);
        size_t written, used = ph_dot_decode(&x->dot, view, x->out, &written);
        ph_stream_skip(s->io, used);
        if (written && !x->started && (rc = first_bytes(s, x, (ph_str){ x->out, written })) < 0)
            return rc;
        if ((rc = pass_on(s, x, (ph_str){ x->out, written })) < 0)
            return rc;
    }
    return 0;
}

static int answer_bare(struct session *s)
{
    ph_str text = ph_str_printf(s->t.scope, "%lld 5.5.2 %.*s Error: bare <LF> received", (long long)s->c->p.bare_code, PH_FMT(s->c->p.myhostname));

    if (text.p[0] == '4')
        ((char *)(uintptr_t)text.p)[4] = '4';
    return reject(s, "END-OF-MESSAGE", text, s->t.rcpt_count == 1 ? s->t.first_rcpt : PH_STR(""));
}

/* What the transfer came to: the reply; the transaction ends in any case. */
static int conclude(struct session *s, struct transfer *x)
{
    ph_str text;
    int rc;

    if (x->dot.bare == PH_BARE_REJECT && x->dot.saw_bare_lf)
        return answer_bare(s);
    if (x->too_big)
        return reply(s, "552 5.3.4 Error: message file too big");
    if (x->failed)
        return reply(s, "451 4.3.0 Error: queue file write error");
    s->facts.message_bytes = x->bytes;
    rc = restrict_stage(s, PH_STAGE_EOD, "END-OF-MESSAGE", s->t.rcpt_count == 1 ? s->t.first_rcpt : PH_STR(""), &text);
    if (rc == PH_FOUND)
        return reject(s, "END-OF-MESSAGE", text, s->t.rcpt_count == 1 ? s->t.first_rcpt : PH_STR(""));
    if (rc < 0)
        return rc;
    if (s->t.discard) {
        ph_log("%.*s: removed (discarded)", PH_FMT(s->t.queue_id));
        s->errors = s->junk = 0;
        return reply(s, "250 2.0.0 Ok: queued as %.*s", PH_FMT(s->t.queue_id));
    }
    rc = intake_end(s, s->t.body_8bit ? PH_FACT_BODY_8BIT : 0, &text);
    if (rc == PH_CANCEL)
        return rc;
    if (rc < 0) {
        ph_log_warn("%.*s: %s", PH_FMT(s->t.queue_id), ph_error());
        return reply(s, "451 4.3.0 Error: queue file write error");
    }
    intake_release(s, 1);
    if (text.p[0] == '2')
        s->errors = s->junk = 0;
    return reply(s, "%.*s", PH_FMT(text));
}

static int refuse_data(struct session *s)
{
    return s->t.open && s->t.rcpt_refused ? reply(s, "554 5.5.1 Error: no valid recipients") : reply(s, "503 5.5.1 Error: need RCPT command");
}

int do_data(struct session *s, ph_str args)
{
    struct transfer x = { .n = 0 };
    ph_str text;
    int rc;

    if (!s->t.intake || s->t.rcpt_count == 0)
        return refuse_data(s);
    if (args.n)
        return reply(s, "501 5.5.4 Syntax: DATA");
    ph_str only = s->t.rcpt_count == 1 ? s->t.first_rcpt : PH_STR("");
    rc = restrict_stage(s, PH_STAGE_DATA, "DATA", only, &text);
    if (rc == PH_FOUND)
        return reject(s, "DATA", text, only);
    if (rc < 0)
        return rc;
    if ((rc = reply(s, "354 End data with <CR><LF>.<CR><LF>")) < 0 || (rc = ph_stream_flush(s->io)) < 0)
        return rc;
    x.out = ph_alloc(s->t.scope, 2 * PIECE + 2);
    ph_dot_decode_init(&x.dot, s->bare_mode);
    ph_str trace = received(s);
    if ((rc = intake_content(s, trace)) < 0) {
        if (rc == PH_CANCEL)
            return rc;
        x.failed = 1;
    }
    if ((rc = transfer_content(s, &x)) < 0) {
        s->where = ph_str_printf(s->scope, "DATA (%llu bytes)", (unsigned long long)x.bytes).p;
        return rc;
    }
    s->where = "END-OF-MESSAGE";
    rc = conclude(s, &x);
    transaction_reset(s);
    return rc;
}
