/* verdict: what a failure means, in words, and for whom. */
#include <string.h>
#include <posthorn/dsn.h>
#include "smtp.h"

static struct smtp_verdict *make(struct smtp_job *j, uint32_t status, const char *dsn, ph_str text)
{
    struct smtp_verdict *v = ph_new(j->scope, struct smtp_verdict);

    v->status = status;
    v->dsn = ph_str_dup(j->scope, ph_cstr(dsn));
    v->text = text;
    v->relay = PH_STR("none");
    return v;
}

struct smtp_verdict *smtp_verdict(struct smtp_job *j, uint32_t status, const char *dsn, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    ph_str text = ph_str_vprintf(j->scope, fmt, ap);
    va_end(ap);
    return make(j, status, dsn, text);
}

static struct smtp_verdict *at_session(struct smtp_job *j, const struct smtp_session *s, struct smtp_verdict *v)
{
    v->relay = ph_str_dup(j->scope, s->relay);
    v->remote_mta = ph_str_dup(j->scope, s->host.name);
    v->conn_use = s->uses;
    return v;
}

static struct smtp_verdict *with_reply(struct smtp_job *j, const struct smtp_session *s, struct smtp_verdict *v)
{
    v->diagnostic = ph_str_dup(j->scope, s->reply.text);
    return at_session(j, s, v);
}

struct smtp_verdict *smtp_said(struct smtp_job *j, const struct smtp_session *s, const char *command)
{
    unsigned class = s->reply.code / 100;
    int odd = class != 4 && class != 5;

    return with_reply(j, s, smtp_verdict(j, class == 4 ? PH_RCPT_DEFERRED : PH_RCPT_BOUNCED, odd ? "5.5.0" : s->reply.dsn,
                                         "%shost %.*s said: %.*s (in reply to %s command)", odd ? "Protocol error: " : "",
                                         PH_FMT(s->peer), PH_FMT(s->reply.text), command));
}

/* Before MAIL the host as a whole refuses. */
struct smtp_verdict *smtp_refused(struct smtp_job *j, const struct smtp_session *s)
{
    unsigned class = s->reply.code / 100;
    struct smtp_verdict *v = smtp_verdict(j, class == 4 ? PH_RCPT_DEFERRED : PH_RCPT_BOUNCED,
                                          class == 4 || class == 5 ? s->reply.dsn : "5.5.0",
                                          "host %.*s refused to talk to me: %.*s", PH_FMT(s->peer), PH_FMT(s->reply.text));

    v->dead_site = class == 4;
    return with_reply(j, s, v);
}

struct smtp_verdict *smtp_lost(struct smtp_job *j, struct smtp_session *s, int rc, const char *stage)
{
    struct smtp_verdict *v;

    s->broken = 1;
    if (rc == PH_TEMP)             /* not the peer's doing: memory or descriptors ended, a disk failed */
        ph_log_warn("session with %.*s: %s", PH_FMT(s->peer), ph_error());
    if (rc == PH_TIMEOUT)
        v = smtp_verdict(j, PH_RCPT_DEFERRED, "4.4.2", "conversation with %.*s timed out while %s", PH_FMT(s->peer), stage);
    else
        v = smtp_verdict(j, PH_RCPT_DEFERRED, "4.4.2", "lost connection with %.*s while %s", PH_FMT(s->peer), stage);
    v->dead_site = 1;
    return at_session(j, s, v);
}

/* smtp_delivery_status_filter, once per outcome: what a table cannot say, or
 * says wrong, stays as it was. */
static void filter(struct smtp_job *j, struct ph_outcome *o)
{
    struct ph_maps *m = j->agent->status_filter;
    ph_str key, found, code, text;

    if (!m)
        return;
    key = ph_str_printf(j->scope, "%.*s %.*s", PH_FMT(o->dsn), PH_FMT(o->text));
    int rc = ph_maps_find(m, key, j->scope, &found);
    if (rc == PH_NONE)
        return;
    if (rc < 0 || !ph_dsn_parse(found, &code, &text) || !text.n || (ph_dsn_class(code) == '2') != (o->status == PH_RCPT_SENT)) {
        ph_log_warn("delivery status filter: \"%.*s\" for \"%.*s\" cannot be used", PH_FMT(rc < 0 ? ph_cstr(ph_error()) : found), PH_FMT(key));
        return;
    }
    o->dsn = code;
    o->text = text;
    if (o->status != PH_RCPT_SENT)
        o->status = ph_dsn_class(code) == '5' ? PH_RCPT_BOUNCED : PH_RCPT_DEFERRED;
}

static void report(struct smtp_job *j, uint32_t i, const struct smtp_verdict *v)
{
    struct ph_outcome o = { .size = sizeof o, .status = v->status, .dsn = v->dsn, .text = v->text, .relay = v->relay,
                            .setup_us = j->setup_us, .connected_us = j->connected_us,
                            .conn_use = v->conn_use, .dead_site = v->dead_site && !j->worked };

    if (v->diagnostic.n) {
        o.diagnostic_type = PH_STR("smtp");
        o.diagnostic = v->diagnostic;
    }
    if (v->remote_mta.n) {
        o.remote_mta_type = PH_STR("dns");
        o.remote_mta = v->remote_mta;
    }
    filter(j, &o);
    ph_delivered(j->d, i, &o);
    j->d->rcpt[i].state = o.status;
}

int smtp_is_open(const struct smtp_job *j, uint32_t i)
{
    return j->d->rcpt[i].state == PH_RCPT_OPEN;
}

size_t smtp_open_count(const struct smtp_job *j)
{
    size_t n = 0;

    for (uint32_t i = 0; i < j->d->rcpt_count; i++)
        n += (size_t)smtp_is_open(j, i);
    return n;
}

static void remember_to_log(struct smtp_job *j, struct smtp_verdict *v)
{
    if (v->logged)
        return;
    struct smtp_verdict **at = &j->unlogged;
    while (*at && *at != v)
        at = &(*at)->next;
    *at = v;
}

void smtp_fail(struct smtp_job *j, uint32_t i, struct smtp_verdict *v)
{
    if (!smtp_is_open(j, i))
        return;
    if (v->status == PH_RCPT_BOUNCED && !v->keep && !j->agent->p.soft_bounce) {
        report(j, i, v);
        return;
    }
    j->why[i] = v;
    remember_to_log(j, v);
}

void smtp_fail_all(struct smtp_job *j, struct smtp_verdict *v)
{
    for (uint32_t i = 0; i < j->d->rcpt_count; i++)
        smtp_fail(j, i, v);
}

/* A server with DSN tells the sender itself; one without has the mail from now
 * on, which a success notice calls "relayed". */
void smtp_sent(struct smtp_job *j, const struct smtp_session *s, uint32_t i)
{
    struct ph_outcome o = { .size = sizeof o, .status = PH_RCPT_SENT, .dsn = ph_cstr(s->reply.dsn), .text = s->reply.text,
                            .relay = s->relay, .diagnostic_type = PH_STR("smtp"), .diagnostic = s->reply.text,
                            .remote_mta_type = PH_STR("dns"), .remote_mta = s->host.name,
                            .setup_us = j->setup_us, .connected_us = j->connected_us, .conn_use = s->uses };

    if (!(j->agent->lmtp && j->agent->flags & SMTP_FLAG_FINAL))
        o.action = PH_STR("relayed");
    o.next_reports = (s->features & SMTP_HAS_DSN) != 0;
    filter(j, &o);
    ph_delivered(j->d, i, &o);
    j->d->rcpt[i].state = PH_RCPT_SENT;
}

void smtp_log_before_next(struct smtp_job *j)
{
    while (j->unlogged) {
        struct smtp_verdict *v = j->unlogged;

        j->unlogged = v->next;
        v->next = NULL;
        v->logged = 1;
        ph_log("%.*s: %.*s", PH_FMT(j->d->message->queue_id), PH_FMT(v->text));
    }
}

void smtp_finish(struct smtp_job *j)
{
    for (uint32_t i = 0; i < j->d->rcpt_count; i++)
        if (smtp_is_open(j, i) && j->why[i])
            report(j, i, j->why[i]);
}
