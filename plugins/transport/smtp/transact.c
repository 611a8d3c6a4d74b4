/* transact: one mail transaction, RFC 5321 3.3, with PIPELINING, RFC 2920.
 *
 * Commands go out in windows of unanswered ones: all of them when they are few,
 * one without PIPELINING.  A window bounds what both sides may have to buffer,
 * so that neither waits for the other for ever.  Replies are taken in order. */
#include "smtp.h"

#define WINDOW_BYTES 8000u         /* less than any socket buffer; 50 recipients fit */

/* Fill the window once it is empty.  Nothing is sent that is known to fail. */
static void send_window(struct smtp_transaction *t)
{
    int pipelining = (t->s->features & SMTP_HAS_PIPELINING) != 0;

    if (t->sent > t->answered)
        return;
    t->window = 0;
    while (t->sent < t->total && t->window < WINDOW_BYTES) {
        int all_known = t->answered == t->resets + t->forwards + 1 + t->count;

        if (t->mail_refused || (all_known && t->accepted == 0)) {
            t->total = t->sent;
            break;
        }
        smtp_command_send(t, t->sent++);
        if (!pipelining)
            break;
    }
}

void smtp_fail_rest(struct smtp_transaction *t, struct smtp_verdict *v)
{
    for (uint32_t k = 0; k < t->count; k++)
        if (t->fate[k] != SMTP_REFUSED) {
            t->fate[k] = SMTP_REFUSED;
            smtp_fail(t->j, t->to[k], v);
        }
    t->accepted = 0;
}

struct smtp_verdict *smtp_command_said(struct smtp_transaction *t, const char *command)
{
    unsigned class = t->s->reply.code / 100;

    if (class != 4 && class != 5)
        t->s->last_use = 1;        /* we no longer speak the same protocol */
    return smtp_said(t->j, t->s, command);
}

static void take_mail(struct smtp_transaction *t)
{
    if (t->s->reply.code / 100 == 2)
        return;
    t->mail_refused = 1;
    smtp_fail_rest(t, smtp_command_said(t, smtp_command_name(SMTP_MAIL)));
}

static int probes_data(const struct smtp_transaction *t)
{
    return ph_str_eq_nocase(t->s->agent->p.verify_target, PH_STR("data"));
}

static void take_rcpt(struct smtp_transaction *t, uint32_t k)
{
    if (t->mail_refused)
        return;
    if (t->s->reply.code / 100 == 2) {
        t->fate[k] = SMTP_ACCEPTED;
        t->accepted++;
        if (t->j->d->probe && !probes_data(t))
            smtp_sent(t->j, t->s, t->to[k]);
        return;
    }
    t->fate[k] = SMTP_REFUSED;
    smtp_fail(t->j, t->to[k], smtp_command_said(t, smtp_command_name(SMTP_RCPT)));
}

static void take_data(struct smtp_transaction *t)
{
    if (t->s->reply.code / 100 == 3)
        t->go = 1;
    else if (t->accepted)
        smtp_fail_rest(t, smtp_command_said(t, smtp_command_name(SMTP_DATA)));
}

/* A filter that takes no XFORWARD now gets the mail without it. */
static void take_forward(const struct smtp_transaction *t, uint32_t line)
{
    if (t->s->reply.code / 100 != 2)
        ph_log_warn("host %.*s said: %.*s (in reply to XFORWARD %s command)", PH_FMT(t->s->relay), PH_FMT(t->s->reply.text),
                    line == 0 ? "name/address" : "helo/protocol");
}

static void take_reply(struct smtp_transaction *t)
{
    uint32_t i = t->answered++;
    enum smtp_command c = smtp_command_at(t, i);

    if (c == SMTP_XFORWARD)
        take_forward(t, i - t->resets);
    else if (c == SMTP_MAIL)
        take_mail(t);
    else if (c == SMTP_RCPT)
        take_rcpt(t, i - t->resets - t->forwards - 1);
    else if (c == SMTP_DATA)
        take_data(t);
}

int smtp_transaction_lost(struct smtp_transaction *t, int rc, const char *stage)
{
    t->s->broken = 1;
    if (rc == PH_CANCEL)
        return rc;
    smtp_fail_rest(t, smtp_lost(t->j, t->s, rc, stage));
    return 0;
}

/* A session that was idle is often gone, or half gone: its first answer says.
 * Nobody is to blame for that. */
static int was_dead(const struct smtp_transaction *t, int rc, enum smtp_command c)
{
    unsigned code = t->s->reply.code;

    if (t->s->uses < 2 || t->answered || rc == PH_CANCEL)
        return 0;
    return rc < 0 || code == 421 || (c == SMTP_RSET && code / 100 != 2);
}

/* Commands up to DATA.  0; 1: the cached session was dead; PH_CANCEL. */
static int talk(struct smtp_transaction *t)
{
    for (;;) {
        send_window(t);
        if (t->answered == t->total)
            return 0;
        enum smtp_command c = smtp_command_at(t, t->answered);
        int rc = smtp_reply_read(t->s, smtp_command_seconds(t, c), 0);

        if (was_dead(t, rc, c)) {
            t->s->broken = 1;
            return 1;
        }
        if (rc < 0)
            return smtp_transaction_lost(t, rc, smtp_command_stage(c));
        if (t->s->reply.code == 421) {   /* ends the session whatever it answers, RFC 5321 3.8 */
            t->s->broken = 1;
            smtp_fail_rest(t, smtp_said(t->j, t->s, smtp_command_name(c)));
            return 0;
        }
        take_reply(t);
    }
}

/* A probe ends here.  After 354 there is no way back but to leave: what would
 * be sent next is the message. */
static int end_probe(struct smtp_transaction *t)
{
    if (t->go) {
        for (uint32_t k = 0; k < t->count; k++)
            if (t->fate[k] == SMTP_ACCEPTED)
                smtp_sent(t->j, t->s, t->to[k]);
        t->s->broken = 1;
        return 0;
    }
    ph_stream_str(t->s->io, PH_STR("RSET\r\n"));
    if (smtp_reply_read(t->s, smtp_command_seconds(t, SMTP_RSET), 0) < 0 || t->s->reply.code / 100 != 2)
        t->s->broken = 1;
    else
        t->s->needs_reset = 0;
    return 0;
}

static int has_controls(ph_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return 1;
    return 0;
}

static struct smtp_verdict *not_for_this_server(struct smtp_job *j, const struct smtp_session *s)
{
    uint64_t bytes = smtp_content_bytes(j);
    struct smtp_verdict *v = NULL;

    if (s->size_limit && bytes > s->size_limit)
        return smtp_verdict(j, PH_RCPT_BOUNCED, "5.3.4", "message size %llu exceeds size limit %llu of server %.*s",
                            (unsigned long long)bytes, (unsigned long long)s->size_limit, PH_FMT(s->peer));
    if (smtp_needs_smtputf8(j) && !(s->features & SMTP_HAS_SMTPUTF8)) {
        v = smtp_verdict(j, PH_RCPT_BOUNCED, "5.6.7", "SMTPUTF8 is required, but was not offered by host %.*s", PH_FMT(s->peer));
        v->keep = 1;
    } else if (has_controls(j->sender)) {
        v = smtp_verdict(j, PH_RCPT_BOUNCED, "5.1.7", "bad sender address syntax");
    }
    return v;
}

/* What this server can not be sent at all: 1 when nothing is left to do. */
static int refuse_ourselves(struct smtp_job *j, const struct smtp_session *s)
{
    struct smtp_verdict *v = not_for_this_server(j, s);

    for (uint32_t i = 0; i < j->d->rcpt_count; i++)
        if (has_controls(j->d->rcpt[i].address) || (j->rcpt_to && has_controls(j->rcpt_to[i])))
            smtp_fail(j, i, smtp_verdict(j, PH_RCPT_BOUNCED, "5.1.3", "bad address syntax"));
    if (v) {
        v->relay = ph_str_dup(j->scope, s->relay);
        smtp_fail_all(j, v);
    }
    return v || smtp_open_count(j) == 0;
}

static void collect(struct smtp_transaction *t)
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
    struct smtp_transaction t = { .j = j, .s = s, .resets = s->needs_reset ? 1 : 0 };
    int rc;

    if (refuse_ourselves(j, s))
        return 0;
    s->uses++;
    collect(&t);
    t.forwards = smtp_xforward_prepare(&t);
    t.bdat = !j->d->probe && smtp_can_bdat(j, s);
    t.total = t.resets + t.forwards + 1 + t.count + (t.bdat || (j->d->probe && !probes_data(&t)) ? 0 : 1);
    s->needs_reset = 1;
    if ((rc = talk(&t)) == 0 && j->d->probe && !s->broken)
        return end_probe(&t);
    if (t.bdat)
        t.go = t.accepted > 0;
    if (rc != 0 || s->broken || !t.go)
        return rc;
    return t.accepted ? smtp_send_message(&t) : smtp_send_nothing(&t);
}
