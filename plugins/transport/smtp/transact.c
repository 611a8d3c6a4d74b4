/* transact: one mail transaction, RFC 5321 3.3, with PIPELINING, RFC 2920.
 *
 * Commands go out in windows of unanswered ones: all of them when they are few,
 * one without PIPELINING.  A window bounds what both sides may have to buffer,
 * so that neither waits for the other for ever.  Replies are taken in order. */
#include <posthorn/address.h>
#include <posthorn/dsn.h>
#include "smtp.h"

#define WINDOW_BYTES 3500u

enum command { RSET, MAIL, RCPT, DATA };

/* The answer to a recipient in this transaction. */
enum fate { UNANSWERED, ACCEPTED, REFUSED };

struct transaction {
    struct smtp_job *j;
    struct smtp_session *s;
    uint32_t *to;                  /* recipients offered */
    uint8_t *fate;
    uint32_t count, accepted;
    uint32_t sent, answered, total, before_mail;
    size_t window;                 /* bytes sent and not answered */
    int mail_refused, go;          /* go: DATA was answered by 354 */
};

static enum command command_at(const struct transaction *t, uint32_t i)
{
    return i < t->before_mail ? RSET : i == t->before_mail ? MAIL : i + 1 < t->before_mail + 2 + t->count ? RCPT : DATA;
}

static const char *stage_of(enum command c)
{
    static const char *const stages[] = { "sending RSET", "sending MAIL FROM", "sending RCPT TO", "sending DATA command" };

    return stages[c];
}

static int64_t seconds_of(const struct transaction *t, enum command c)
{
    const struct smtp_params *p = &t->s->agent->p;
    int64_t s = c == RSET ? p->rset_timeout : c == MAIL ? p->mail_timeout : c == RCPT ? p->rcpt_timeout : p->data_init_timeout;

    /* A cached session that does not answer soon is dead. */
    return t->s->uses > 1 && t->answered == 0 && p->rset_timeout < s ? p->rset_timeout : s;
}

static int needs_smtputf8(const struct smtp_job *j)
{
    const struct ph_message *m = j->d->message;

    if (!(m->facts & PH_FACT_SMTPUTF8))
        return 0;
    if ((m->facts & PH_FACT_UTF8_HEADER) || !ph_str_is_ascii(m->sender))
        return 1;
    for (uint32_t i = 0; i < j->d->rcpt_count; i++)
        if (smtp_is_open(j, i) && !ph_str_is_ascii(j->d->rcpt[i].address))
            return 1;
    return 0;
}

static ph_str path_of(const struct transaction *t, ph_str address)
{
    return t->s->agent->p.quote_envelope ? ph_address_external(t->j->scope, address) : address;
}

/* RFC 1870, 6152, 6531, 3461. */
static int send_mail(struct transaction *t)
{
    const struct ph_message *m = t->j->d->message;
    struct ph_stream *io = t->s->io;
    uint32_t has = t->s->features;

    ph_stream_printf(io, "MAIL FROM:<%.*s>", PH_FMT(path_of(t, m->sender)));
    if ((has & SMTP_HAS_SIZE) && !smtp_must_downgrade(t->j, t->s))
        ph_stream_printf(io, " SIZE=%llu", (unsigned long long)ph_message_bytes(m));
    if ((has & SMTP_HAS_8BITMIME) && (m->facts & PH_FACT_BODY_8BIT))
        ph_stream_str(io, PH_STR(" BODY=8BITMIME"));
    if ((has & SMTP_HAS_SMTPUTF8) && needs_smtputf8(t->j))
        ph_stream_str(io, PH_STR(" SMTPUTF8"));
    if ((has & SMTP_HAS_DSN) && m->envelope_id.n)
        ph_stream_printf(io, " ENVID=%.*s", PH_FMT(ph_xtext_encode(t->j->scope, m->envelope_id)));
    if ((has & SMTP_HAS_DSN) && m->dsn_ret.n)
        ph_stream_printf(io, " RET=%.*s", PH_FMT(m->dsn_ret));
    return ph_stream_str(io, PH_STR("\r\n"));
}

static ph_str orcpt_of(const struct transaction *t, const struct ph_recipient *r)
{
    ph_str given = r->dsn_orcpt, type = ph_str_cut(&given, ';');

    if (!r->dsn_orcpt.n || !given.n) {
        type = PH_STR("rfc822");
        given = r->original.n ? r->original : r->address;
    }
    return ph_str_printf(t->j->scope, "%.*s;%.*s", PH_FMT(type), PH_FMT(ph_xtext_encode(t->j->scope, given)));
}

static int send_rcpt(struct transaction *t, const struct ph_recipient *r)
{
    struct ph_stream *io = t->s->io;

    ph_stream_printf(io, "RCPT TO:<%.*s>", PH_FMT(path_of(t, r->address)));
    if (t->s->features & SMTP_HAS_DSN) {
        ph_stream_printf(io, " ORCPT=%.*s", PH_FMT(orcpt_of(t, r)));
        if (r->dsn_notify.n)
            ph_stream_printf(io, " NOTIFY=%.*s", PH_FMT(r->dsn_notify));
    }
    return ph_stream_str(io, PH_STR("\r\n"));
}

/* Write errors stay with the stream; the reader of replies meets them. */
static void send_command(struct transaction *t)
{
    uint32_t i = t->sent++;

    t->window += 64;
    switch (command_at(t, i)) {
    case RSET:
        ph_stream_str(t->s->io, PH_STR("RSET\r\n"));
        break;
    case MAIL:
        t->window += t->j->d->message->sender.n;
        send_mail(t);
        break;
    case RCPT: {
        const struct ph_recipient *r = &t->j->d->rcpt[t->to[i - t->before_mail - 1]];

        t->window += 2 * r->address.n + 2 * r->dsn_orcpt.n;
        send_rcpt(t, r);
        break;
    }
    case DATA:
        ph_stream_str(t->s->io, PH_STR("DATA\r\n"));
        break;
    }
}

/* Fill the window once it is empty.  Nothing is sent that is known to fail. */
static void send_window(struct transaction *t)
{
    int pipelining = (t->s->features & SMTP_HAS_PIPELINING) != 0;

    if (t->sent > t->answered)
        return;
    t->window = 0;
    while (t->sent < t->total && t->window < WINDOW_BYTES) {
        int all_known = t->answered == t->total - 1;

        if (t->mail_refused || (all_known && t->accepted == 0)) {
            t->total = t->sent;
            break;
        }
        send_command(t);
        if (!pipelining)
            break;
    }
}

/* Those not refused by themselves. */
static void fail_rest(struct transaction *t, struct smtp_verdict *v)
{
    for (uint32_t k = 0; k < t->count; k++)
        if (t->fate[k] != REFUSED) {
            t->fate[k] = REFUSED;
            smtp_fail(t->j, t->to[k], v);
        }
    t->accepted = 0;
}

static struct smtp_verdict *said(struct transaction *t, const char *command)
{
    unsigned class = t->s->reply.code / 100;

    if (class != 4 && class != 5)
        t->s->last_use = 1;        /* we no longer speak the same protocol */
    return smtp_said(t->j, t->s, command);
}

static void take_mail(struct transaction *t)
{
    if (t->s->reply.code / 100 == 2)
        return;
    t->mail_refused = 1;
    fail_rest(t, said(t, "MAIL FROM"));
}

static void take_rcpt(struct transaction *t, uint32_t k)
{
    if (t->mail_refused)
        return;
    if (t->s->reply.code / 100 == 2) {
        t->fate[k] = ACCEPTED;
        t->accepted++;
        return;
    }
    t->fate[k] = REFUSED;
    smtp_fail(t->j, t->to[k], said(t, "RCPT TO"));
}

static void take_data(struct transaction *t)
{
    if (t->s->reply.code / 100 == 3)
        t->go = 1;
    else if (t->accepted)
        fail_rest(t, said(t, "DATA"));
}

static void take_reply(struct transaction *t)
{
    uint32_t i = t->answered++;
    enum command c = command_at(t, i);

    if (c == MAIL)
        take_mail(t);
    else if (c == RCPT)
        take_rcpt(t, i - t->before_mail - 1);
    else if (c == DATA)
        take_data(t);
}

/* The stream failed at `stage`: 0, or what ends the delivery. */
static int lost(struct transaction *t, int rc, const char *stage)
{
    t->s->broken = 1;
    if (rc == PH_CANCEL)
        return rc;
    fail_rest(t, smtp_lost(t->j, t->s, rc, stage));
    return 0;
}

/* 421 ends the session whatever it answers, RFC 5321 3.8. */
static void closing(struct transaction *t, enum command c)
{
    static const char *const names[] = { "RSET", "MAIL FROM", "RCPT TO", "DATA" };

    t->s->broken = 1;
    fail_rest(t, smtp_said(t->j, t->s, names[c]));
}

/* Commands up to DATA.  0; 1: the cached session was dead; PH_CANCEL. */
static int talk(struct transaction *t)
{
    for (;;) {
        send_window(t);
        if (t->answered == t->total)
            return 0;
        enum command c = command_at(t, t->answered);
        int cached = t->s->uses > 1 && t->answered == 0;
        int rc = smtp_reply_read(t->s, seconds_of(t, c), 0);

        if (cached && ((rc < 0 && rc != PH_CANCEL) || (rc == 0 && (t->s->reply.code == 421 || c == RSET) && t->s->reply.code / 100 != 2))) {
            t->s->broken = 1;
            return 1;
        }
        if (rc < 0)
            return lost(t, rc, stage_of(c));
        if (t->s->reply.code == 421) {
            closing(t, c);
            return 0;
        }
        take_reply(t);
    }
}

static void deliver_accepted(struct transaction *t)
{
    for (uint32_t k = 0; k < t->count; k++)
        if (t->fate[k] == ACCEPTED)
            smtp_sent(t->j, t->s, t->to[k]);
}

/* Sending failed.  The peer may have said why before it hung up. */
static int content_failed(struct transaction *t, int rc)
{
    if (rc != PH_CANCEL && smtp_reply_read(t->s, 1, 0) == 0 && t->s->reply.code >= 400) {
        t->s->broken = 1;
        fail_rest(t, smtp_said(t->j, t->s, "end of DATA"));
        return 0;
    }
    return lost(t, rc, "sending message body");
}

static int content_unreadable(struct transaction *t)
{
    struct smtp_verdict *v = smtp_verdict(t->j, PH_RCPT_DEFERRED, "4.3.0", "cannot read the message: %s", ph_error());

    t->s->broken = 1;              /* no final dot: the peer must not take what it has */
    t->j->no_more = 1;
    fail_rest(t, v);
    return 0;
}

static int send_message(struct transaction *t)
{
    int early = 0, local = 0, rc = smtp_send_content(t->j, t->s, &early, &local);

    if (local)
        return rc == PH_CANCEL ? rc : content_unreadable(t);
    if (rc < 0)
        return content_failed(t, rc);
    if ((rc = smtp_reply_read(t->s, t->s->agent->p.data_done_timeout, 0)) < 0)
        return lost(t, rc, "sending end of data -- message may be sent more than once");
    if (early || t->s->reply.code == 421)
        t->s->broken = 1;          /* it does not listen, or stops to */
    else
        t->s->needs_reset = 0;
    if (t->s->reply.code / 100 == 2)
        deliver_accepted(t);
    else
        fail_rest(t, said(t, "end of DATA"));
    return 0;
}

/* DATA was sent before all recipients were refused, and the peer went along:
 * an empty message, whose fate nobody asks, RFC 2920 3.1. */
static int send_nothing(struct transaction *t)
{
    ph_stream_str(t->s->io, PH_STR(".\r\n"));
    if (smtp_reply_read(t->s, t->s->agent->p.data_done_timeout, 0) < 0)
        t->s->broken = 1;
    return 0;
}

static int has_controls(ph_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return 1;
    return 0;
}

/* What this server can not be sent at all: 1 when nothing is left to do. */
static int refuse_ourselves(struct smtp_job *j, const struct smtp_session *s)
{
    const struct ph_message *m = j->d->message;
    struct smtp_verdict *v = NULL;

    if (s->size_limit && ph_message_bytes(m) > s->size_limit)
        v = smtp_verdict(j, PH_RCPT_BOUNCED, "5.3.4", "message size %llu exceeds size limit %llu of server %.*s",
                         (unsigned long long)ph_message_bytes(m), (unsigned long long)s->size_limit, PH_FMT(s->peer));
    else if (needs_smtputf8(j) && !(s->features & SMTP_HAS_SMTPUTF8)) {
        v = smtp_verdict(j, PH_RCPT_BOUNCED, "5.6.7", "SMTPUTF8 is required, but was not offered by host %.*s", PH_FMT(s->peer));
        v->keep = 1;
    } else if (has_controls(m->sender))
        v = smtp_verdict(j, PH_RCPT_BOUNCED, "5.1.7", "bad sender address syntax");
    for (uint32_t i = 0; i < j->d->rcpt_count; i++)
        if (has_controls(j->d->rcpt[i].address))
            smtp_fail(j, i, smtp_verdict(j, PH_RCPT_BOUNCED, "5.1.3", "bad address syntax"));
    if (v) {
        v->relay = ph_str_dup(j->scope, s->relay);
        smtp_fail_all(j, v);
    }
    return v || smtp_open_count(j) == 0;
}

static void collect(struct transaction *t)
{
    struct ph_delivery *d = t->j->d;

    t->to = ph_alloc_array(t->j->scope, d->rcpt_count, sizeof *t->to);
    t->fate = ph_alloc(t->j->scope, d->rcpt_count);
    for (uint32_t i = 0; i < d->rcpt_count; i++)
        if (smtp_is_open(t->j, i))
            t->to[t->count++] = i;
}

int smtp_transact(struct smtp_job *j, struct smtp_session *s)
{
    struct transaction t = { .j = j, .s = s, .before_mail = s->needs_reset ? 1 : 0 };
    int rc;

    if (refuse_ourselves(j, s))
        return 0;
    s->uses++;
    collect(&t);
    t.total = t.before_mail + 1 + t.count + 1;
    s->needs_reset = 1;
    if ((rc = talk(&t)) != 0 || s->broken || !t.go)
        return rc;
    return t.accepted ? send_message(&t) : send_nothing(&t);
}
