/* settle: an outcome becomes durable.  The order makes the rule (core/queue,
 * Outcomes): words to the log first, then the state byte, which decides.  When
 * the log cannot be written the recipient stays pending; but what was sent was
 * sent, and is never sent again for want of words.
 *
 * failure  -> bounce log, byte F      report of success (NOTIFY=SUCCESS, RFC 3461;
 * deferral -> defer log, note              confirm_delay_cleared; sendmail -v) -> trace log
 * success  -> byte D                  what is not delivered (sendmail -bv): trace log, byte D */
#include <posthorn/dsn.h>
#include "core/ipc/delivery_line.h"
#include "core/sched/qmgr_priv.h"

/* What the message itself asks for.  sendmail -v is told of the first round
 * only: what comes later is the business of notices. */
static uint32_t trace_of(const struct mail *mail)
{
    uint32_t flags = ph_trace_flags(mail->m->message.trace_flags);

    return mail->m->place == PH_PLACE_SLOT ? flags : flags & ~PH_TRACE_RECORD;
}

/* A success that the sender is to be told of. */
static int success_is_told(const struct mail *mail, const struct ph_outcome *o, uint32_t rcpt)
{
    uint32_t wants = o->status == PH_RCPT_SENT ? ph_notify_flags(ph_qmsg_rcpt(mail->m, rcpt)->dsn_notify) : 0;

    if (!mail->m->message.sender.n)
        return 0;
    return ((wants & PH_NOTIFY_SUCCESS) && !o->next_reports) ||
           (mail->m->warned && mail->q->p.confirm_delay_cleared && (wants & PH_NOTIFY_DELAY));
}

int ph_settle_is_quick(const struct mail *mail, const struct ph_outcome *o, const uint32_t *rcpt, uint32_t n)
{
    if (mail->m->message.trace_flags.n)
        return 0;
    for (uint32_t i = 0; i < n; i++)
        if (o[i].status != PH_RCPT_SENT || (rcpt[i] < mail->m->rcpt_count && success_is_told(mail, &o[i], rcpt[i])))
            return 0;
    return 1;
}

static void mark(struct mail *mail, uint32_t rcpt, char state)
{
    if (ph_qmsg_state(mail->m, rcpt) != PH_STATE_PENDING)
        return;
    if (ph_queue_mark(mail->q->queue, mail->m, rcpt, state) < 0)
        ph_log_warn("%s: recipient %u: %s", mail->m->id, rcpt, ph_error());
}

/* Outcomes under way, and those of them that go to one log. */
struct settling {
    struct mail *mail;
    const struct ph_outcome *o;
    const uint32_t *rcpt;
    uint32_t n, trace;
    struct ph_scope *s;
    const struct ph_outcome **said;
    uint32_t *which, count;
};

static int is_pending(const struct settling *t, uint32_t i)
{
    return ph_qmsg_state(t->mail->m, t->rcpt[i]) == PH_STATE_PENDING;
}

/* A recipient that stands for several (an alias) has a record for each of them. */
static uint32_t count_records(const struct ph_outcome *o, uint32_t n)
{
    uint32_t count = n;

    for (uint32_t i = 0; i < n; i++)
        for (const struct ph_outcome *each = o[i].also; each; each = each->also)
            count++;
    return count;
}

static void choose(struct settling *t, uint32_t i, const struct ph_outcome *o)
{
    t->said[t->count] = o;
    t->which[t->count++] = t->rcpt[i];
}

/* Write what was chosen: how many; 0 when the log failed (or none was). */
static uint32_t write_log(struct settling *t, const char *log)
{
    uint32_t count = t->count;

    t->count = 0;
    if (!count)
        return 0;
    t->mail->has_log = 1;
    if (ph_bouncer_append(t->mail, log, t->said, t->which, count) >= 0)
        return count;
    ph_log_warn("%s: %s", t->mail->m->id, ph_error());
    return 0;
}

/* ---- reports ---- */

/* RFC 3464 2.3.3; deliverable and undeliverable are ours. */
static ph_str action_of(const struct ph_outcome *o, int dry)
{
    if (dry)
        return o->status == PH_RCPT_SENT ? PH_STR("deliverable") : PH_STR("undeliverable");
    if (o->status == PH_RCPT_SENT)
        return o->action.n ? o->action : PH_STR("delivered");
    return o->status == PH_RCPT_BOUNCED ? PH_STR("failed") : PH_STR("delayed");
}

static uint32_t log_trace(struct settling *t)
{
    int all = (t->trace & (PH_TRACE_RECORD | PH_TRACE_VERIFY)) != 0;

    for (uint32_t i = 0; i < t->n; i++)
        for (const struct ph_outcome *each = &t->o[i]; each && is_pending(t, i); each = each->also)
            if (all || success_is_told(t->mail, each, t->rcpt[i])) {
                struct ph_outcome *copy = ph_new(t->s, struct ph_outcome);

                *copy = *each;
                copy->action = action_of(each, (t->trace & PH_TRACE_DRY) != 0);
                choose(t, i, copy);
            }
    uint32_t count = t->count, n = write_log(t, "trace");

    /* What was delivered will not be tried again: its report waits. */
    if (count && !n && !(t->trace & PH_TRACE_DRY))
        ph_bouncer_keep(t->mail, "trace", t->said, t->which, count);
    t->mail->has_trace |= count > 0;
    return n;
}

/* One answer for the verify service.  It asks again when it hears nothing. */
static void tell_verify(struct settling *t, uint32_t i)
{
    static const char *const words[] = { [PH_RCPT_SENT] = "ok", [PH_RCPT_BOUNCED] = "bounce", [PH_RCPT_DEFERRED] = "defer" };
    const struct ph_message_rcpt *r = ph_qmsg_rcpt(t->mail->m, t->rcpt[i]);
    PH_SCOPED(s, NULL);
    struct ph_frame *f = ph_frame_new(s), *reply;

    ph_frame_cstr(f, "op", "update");
    ph_frame_str(f, "address", r->original.n ? r->original : r->address);
    ph_frame_cstr(f, "status", words[t->o[i].status]);
    ph_frame_str(f, "dsn", t->o[i].dsn);
    ph_frame_str(f, "text", t->o[i].text);
    if (t->mail->q->call(s, "verify", f, &reply) < 0)
        ph_log_warn("%s: verify: %s", t->mail->m->id, ph_error());
}

/* Nothing was delivered, and nothing will be: every outcome is an answer. */
static void settle_dry(struct settling *t)
{
    int said = !(t->trace & PH_TRACE_VERIFY) || log_trace(t);

    for (uint32_t i = 0; i < t->n; i++) {
        if ((t->trace & PH_TRACE_PROBE) && is_pending(t, i))
            tell_verify(t, i);
        if (said)
            mark(t->mail, t->rcpt[i], PH_STATE_DELIVERED);
    }
}

/* ---- deliveries ---- */

static void choose_status(struct settling *t, uint32_t status)
{
    for (uint32_t i = 0; i < t->n; i++)
        if (t->o[i].status == status && is_pending(t, i))
            for (const struct ph_outcome *each = &t->o[i]; each; each = each->also)
                if (each->status == status)
                    choose(t, i, each);
}

/* The first `n` that were chosen were deferred: why, where a listing finds it. */
static void write_note(struct settling *t, uint32_t n)
{
    ph_str *why = ph_alloc_array(t->s, n, sizeof *why);

    for (uint32_t i = 0; i < n; i++)
        why[i] = t->said[i]->text;
    if (n && ph_queue_note(t->mail->q->queue, t->mail->m, t->which, why, n) < 0)
        ph_log_warn("%s: %s", t->mail->m->id, ph_error());
}

static void settle_delivery(struct settling *t)
{
    log_trace(t);
    for (uint32_t i = 0; i < t->n; i++)
        if (t->o[i].status == PH_RCPT_SENT)
            mark(t->mail, t->rcpt[i], PH_STATE_DELIVERED);
    choose_status(t, PH_RCPT_BOUNCED);
    for (uint32_t i = 0, bounced = write_log(t, "bounce"); i < bounced; i++)
        mark(t->mail, t->which[i], PH_STATE_FAILED);
    choose_status(t, PH_RCPT_DEFERRED);
    write_note(t, write_log(t, "defer"));
}

void ph_settle(struct mail *mail, const struct ph_outcome *o, const uint32_t *rcpt, uint32_t n)
{
    if (ph_settle_is_quick(mail, o, rcpt, n)) {
        for (uint32_t i = 0; i < n; i++)
            mark(mail, rcpt[i], PH_STATE_DELIVERED);
        return;
    }
    PH_SCOPED(s, NULL);
    uint32_t room = count_records(o, n);
    struct settling t = { .mail = mail, .o = o, .rcpt = rcpt, .n = n, .trace = trace_of(mail), .s = s,
                          .said = ph_alloc_array(s, room, sizeof *t.said), .which = ph_alloc_array(s, room, sizeof *t.which) };

    if (t.trace & PH_TRACE_DRY)
        settle_dry(&t);
    else
        settle_delivery(&t);
}

void ph_settle_expanded(struct mail *mail, uint32_t rcpt)
{
    static const struct ph_outcome done = { .size = sizeof done, .status = PH_RCPT_SENT, .dsn = PH_STR_INIT("2.0.0"),
                                            .action = PH_STR_INIT("expanded"), .text = PH_STR_INIT("alias expanded") };

    ph_settle(mail, &done, &rcpt, 1);
}

/* ---- outcomes that we say ourselves, as the retry and error services would ---- */

static void write_line(struct mail *mail, struct ph_scope *s, uint32_t rcpt, const struct ph_outcome *o,
                       const char *status)
{
    struct ph_qmsg *m = mail->m;
    const struct ph_message_rcpt *r = ph_qmsg_rcpt(m, rcpt);
    struct ph_buf line;
    int64_t now = ph_wall_us();

    ph_buf_init(&line, s, 16384);
    ph_delivery_line_format(s, &line, &(struct ph_delivery_line){
        .queue_id = ph_cstr(m->id), .to = r->address, .original = r->original,
        .dsn = o->dsn, .status = ph_cstr(status),
        .text = ph_str_first(o->text, 4000), .arrival_us = m->message.arrival_us, .active_us = mail->active_us,
        .setup_us = now, .connected_us = now, .done_us = now, .decimals = mail->q->p.decimals });
    ph_log("%s", line.p);
}

void ph_settle_ourselves(struct mail *mail, const uint32_t *rcpt, uint32_t n, uint32_t status, ph_str dsn, ph_str text)
{
    PH_SCOPED(s, NULL);
    struct ph_outcome *list = ph_alloc_array(s, n, sizeof *list);
    const char *word = status == PH_RCPT_BOUNCED ? "bounced" : status == PH_RCPT_SENT ? "sent" : "deferred", *service = NULL;

    if (status != PH_RCPT_SENT)
        service = ph_log_service("error");
    if (trace_of(mail) & PH_TRACE_DRY) {
        word = status == PH_RCPT_SENT ? "deliverable" : "undeliverable";
    } else if (status == PH_RCPT_BOUNCED && mail->q->p.soft_bounce) {
        word = "SOFTBOUNCE";
        status = PH_RCPT_DEFERRED;
        dsn = ph_str_printf(s, "4%.*s", PH_FMT(ph_str_from(dsn, 1)));
    }

    for (uint32_t i = 0; i < n; i++) {
        PH_SCOPED(line, s);

        list[i] = (struct ph_outcome){ .size = sizeof *list, .status = status, .dsn = dsn, .text = text };
        write_line(mail, line, rcpt[i], &list[i], word);
    }
    if (status != PH_RCPT_SENT)
        ph_log_service(service);
    ph_settle(mail, list, rcpt, n);
}
