/* session: from connect to a session ready for MAIL, RFC 5321 3.1, 4.1.1.1;
 * and its end. */
#include <string.h>
#include "smtp.h"

#define REPLY_BYTES 8192u

static struct smtp_session *session_new(struct smtp *agent, const struct smtp_host *h)
{
    struct ph_scope *scope = ph_scope_new(agent->scope);
    struct smtp_session *s = ph_new(scope, struct smtp_session);

    s->scope = scope;
    s->agent = agent;
    s->host = *h;
    s->host.name = ph_str_dup(scope, h->name);
    ph_str ip = ph_ip_format(scope, &h->ip);
    s->peer = ph_str_printf(scope, "%.*s[%.*s]", PH_FMT(h->name), PH_FMT(ip));
    s->relay = ph_str_printf(scope, "%.*s:%u", PH_FMT(s->peer), h->port);
    s->born = ph_now_ms();
    ph_buf_init(&s->text, scope, REPLY_BYTES);
    return s;
}

void smtp_session_drop(struct smtp_session *s)
{
    ph_stream_close(s->io);
    ph_scope_free(s->scope);
}

/* RFC 5321 4.1.1.10.  Nobody waits for the mail any more: errors mean nothing. */
void smtp_session_end(struct smtp_session *s)
{
    if (!s->broken && !ph_cancelled() && ph_stream_str(s->io, PH_STR("QUIT\r\n")) == 0) {
        ph_stream_deadline(s->io, ph_in_ms(s->agent->p.quit_timeout * 1000));
        if (ph_stream_flush(s->io) == 0 && !s->agent->p.skip_quit)
            smtp_reply_read(s, s->agent->p.quit_timeout, 0);
    }
    smtp_session_drop(s);
}

static int dial(struct smtp_session *s)
{
    const struct smtp *a = s->agent;
    const struct ph_ip *bind = s->host.ip.family == 6 ? &a->bind6 : &a->bind4;
    int64_t deadline = a->p.connect_timeout ? ph_in_ms(a->p.connect_timeout * 1000) : PH_FOREVER;

    return ph_dial_ip(s->scope, &s->host.ip, s->host.port, bind->family ? bind : NULL, deadline, &s->io);
}

static struct smtp_verdict *connect_failed(struct smtp_job *j, const struct smtp_session *s, int rc)
{
    struct smtp_verdict *v = smtp_verdict(j, PH_RCPT_DEFERRED, "4.4.1", "connect to %.*s: %s", PH_FMT(s->relay),
                                          rc == PH_TIMEOUT ? "Connection timed out" : ph_error());

    v->dead_site = 1;
    v->logged = 1;
    ph_log("%.*s", PH_FMT(v->text));
    return v;
}

/* The greeting: NULL, or why not. */
static struct smtp_verdict *greet(struct smtp_job *j, struct smtp_session *s)
{
    const struct smtp_params *p = &s->agent->p;
    int rc = smtp_reply_read(s, p->helo_timeout, 0);

    if (rc < 0)
        return smtp_lost(j, s, rc, "receiving the initial server greeting");
    if (s->reply.code / 100 == 2)
        return NULL;
    if (s->reply.code / 100 == 5 && p->skip_5xx) {
        s->reply.dsn[0] = '4';
        struct smtp_verdict *v = smtp_refused(j, s);
        v->status = PH_RCPT_DEFERRED;
        v->dead_site = 1;
        return v;
    }
    return smtp_refused(j, s);
}

static int says_esmtp(ph_str greeting)
{
    for (ph_str w; (w = ph_str_word(&greeting)).n;)
        if (ph_str_eq_nocase(w, PH_STR("ESMTP")))
            return 1;
    return 0;
}

/* EHLO, and HELO when that is refused.  421 ends the session in either case. */
static struct smtp_verdict *introduce(struct smtp_job *j, struct smtp_session *s)
{
    const struct smtp_params *p = &s->agent->p;
    static const char stage[] = "performing the EHLO handshake";
    int rc;

    if (!p->never_ehlo && (p->always_ehlo || says_esmtp(s->reply.text))) {
        ph_stream_printf(s->io, "EHLO %.*s\r\n", PH_FMT(p->helo_name));
        if ((rc = smtp_reply_read(s, p->helo_timeout, 1)) < 0)
            return smtp_lost(j, s, rc, stage);
        if (s->reply.code / 100 == 2)
            return NULL;
        if (s->reply.code == 421)
            return smtp_refused(j, s);
        s->features = 0;
        s->size_limit = 0;
    }
    ph_stream_printf(s->io, "HELO %.*s\r\n", PH_FMT(p->helo_name));
    if ((rc = smtp_reply_read(s, p->helo_timeout, 0)) < 0)
        return smtp_lost(j, s, rc, stage);
    return s->reply.code / 100 == 2 ? NULL : smtp_refused(j, s);
}

struct smtp_session *smtp_session_open(struct smtp_job *j, const struct smtp_host *h, struct smtp_verdict **why)
{
    struct smtp_session *s = session_new(j->agent, h);
    int rc = dial(s);

    *why = NULL;
    if (rc < 0)
        *why = rc == PH_CANCEL ? NULL : connect_failed(j, s, rc);
    else if (!(*why = greet(j, s)) && !(*why = introduce(j, s)))
        return s;
    if (rc < 0)
        ph_scope_free(s->scope);
    else
        smtp_session_end(s);
    return NULL;
}
