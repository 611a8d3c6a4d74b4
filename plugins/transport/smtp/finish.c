/* finish: the message after 354 (or in one BDAT chunk), and what is said to it: one
 * reply, RFC 5321 4.1.1.4, RFC 3030 2, or with LMTP one per accepted recipient,
 * RFC 2033 4.2. */
#include "smtp.h"

static const char end_stage[] = "sending end of data -- message may be sent more than once";

static const char *end_of_data(const struct smtp_transaction *t)
{
    return t->bdat ? "BDAT" : "end of DATA";
}

/* Sending failed.  The peer may have said why before it hung up. */
static int content_failed(struct smtp_transaction *t, int rc)
{
    if (rc != PH_CANCEL && smtp_reply_read(t->s, 1, 0) == 0 && t->s->reply.code >= 400) {
        t->s->broken = 1;
        smtp_fail_rest(t, smtp_said(t->j, t->s, end_of_data(t)));
        return 0;
    }
    return smtp_transaction_lost(t, rc, "sending message body");
}

static int content_unreadable(struct smtp_transaction *t)
{
    struct smtp_verdict *v = smtp_verdict(t->j, PH_RCPT_DEFERRED, "4.3.0", "cannot read the message: %s", ph_error());

    t->s->broken = 1;              /* no final dot: the peer must not take what it has */
    t->j->no_more = 1;
    smtp_fail_rest(t, v);
    return 0;
}

/* One reply for all. */
static int take_one(struct smtp_transaction *t)
{
    if (t->s->reply.code / 100 != 2) {
        smtp_fail_rest(t, smtp_command_said(t, end_of_data(t)));
        return 0;
    }
    for (uint32_t k = 0; k < t->count; k++)
        if (t->fate[k] == SMTP_ACCEPTED)
            smtp_sent(t->j, t->s, t->to[k]);
    return 0;
}

/* One reply for each, in the order of RCPT; the first was read. */
static int take_each(struct smtp_transaction *t)
{
    int read = 1, rc;

    for (uint32_t k = 0; k < t->count; k++) {
        if (t->fate[k] != SMTP_ACCEPTED)
            continue;
        if (!read && (rc = smtp_reply_read(t->s, t->s->agent->p.data_done_timeout, 0)) < 0)
            return smtp_transaction_lost(t, rc, end_stage);
        read = 0;
        t->fate[k] = SMTP_REFUSED; /* settled */
        if (t->s->reply.code / 100 == 2)
            smtp_sent(t->j, t->s, t->to[k]);
        else
            smtp_fail(t->j, t->to[k], smtp_command_said(t, end_of_data(t)));
        if (t->s->reply.code == 421) {
            t->s->broken = 1;
            smtp_fail_rest(t, smtp_said(t->j, t->s, end_of_data(t)));
        }
    }
    return 0;
}

int smtp_send_message(struct smtp_transaction *t)
{
    int early = 0, local = 0, rc = smtp_send_content(t->j, t->s, t->bdat, &early, &local);
    int whole = rc == 0;

    if (local)
        return rc == PH_CANCEL ? rc : content_unreadable(t);
    if (rc < 0)
        return content_failed(t, rc);
    if ((rc = smtp_reply_read(t->s, t->s->agent->p.data_done_timeout, 0)) < 0)
        return smtp_transaction_lost(t, rc, end_stage);
    /* What looked like a refusal was none: the rest of the message did not leave. */
    if (!whole && t->s->reply.code < 400)
        return smtp_transaction_lost(t, PH_EOF, "sending message body");
    /* A peer that had hung up before the end of the message left cannot have taken it. */
    if (t->s->reply.code < 400 && (rc = ph_stream_flush(t->s->io)) < 0)
        return smtp_transaction_lost(t, rc, end_stage);
    if (early || t->s->reply.code == 421 || (t->bdat && t->s->reply.code >= 500))
        t->s->broken = 1;          /* it does not listen, or stops to, or knows no BDAT and reads content as commands */
    else                           /* RFC 3030: what a chunk that failed leaves there is not known */
        t->s->needs_reset = t->bdat && t->s->reply.code / 100 != 2;
    return t->s->agent->lmtp && whole ? take_each(t) : take_one(t);
}

int smtp_send_nothing(struct smtp_transaction *t)
{
    ph_stream_str(t->s->io, PH_STR(".\r\n"));
    if (t->s->agent->lmtp) {       /* no recipient, no reply: what we would read next is anybody's guess */
        ph_stream_flush(t->s->io);
        t->s->broken = 1;
    } else if (smtp_reply_read(t->s, t->s->agent->p.data_done_timeout, 0) < 0 || t->s->reply.code == 421) {
        t->s->broken = 1;
    }
    return 0;
}
