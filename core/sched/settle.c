/* settle: an outcome becomes durable.  The order makes the rule (core/queue,
 * Outcomes): words to the log first, then the state byte, which decides.  When
 * the log cannot be written the recipient stays pending. */
#include "core/ipc/delivery_line.h"
#include "core/sched/qmgr_priv.h"

/* DSN reports of success (NOTIFY=SUCCESS, RFC 3461) are not made yet: what was
 * sent needs its mark only. */
int ph_settle_is_quick(const struct ph_outcome *o, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (o[i].status != PH_RCPT_SENT)
            return 0;
    return 1;
}

static void mark(struct mail *mail, uint32_t rcpt, char state)
{
    if (mail->m->rcpt[rcpt].state != PH_STATE_PENDING)
        return;
    if (ph_queue_mark(mail->q->queue, mail->m, rcpt, state) < 0)
        ph_log_warn("%s: recipient %u: %s", mail->m->id, rcpt, ph_error());
}

/* A recipient that stands for several has a record for each that failed. */
static uint32_t count_records(const struct ph_outcome *o, uint32_t n)
{
    uint32_t count = n;

    for (uint32_t i = 0; i < n; i++)
        for (const struct ph_outcome *each = o[i].also; each; each = each->also)
            count++;
    return count;
}

/* Log those that have this status: their number, in `which` the recipient of each
 * record; 0 when the log failed. */
static uint32_t log_those(struct mail *mail, struct ph_scope *s, uint32_t status, const struct ph_outcome *o,
                          const uint32_t *rcpt, uint32_t n, uint32_t *which)
{
    uint32_t count = 0, total = count_records(o, n);
    const struct ph_outcome **said = ph_alloc_array(s, total, sizeof *said);

    for (uint32_t i = 0; i < n; i++)
        if (o[i].status == status && mail->m->rcpt[rcpt[i]].state == PH_STATE_PENDING)
            for (const struct ph_outcome *each = &o[i]; each; each = each->also) {
                said[count] = each;
                which[count++] = rcpt[i];
            }
    if (!count)
        return 0;
    mail->has_log = 1;
    if (ph_bouncer_append(mail, status == PH_RCPT_BOUNCED ? "bounce" : "defer", said, which, count) >= 0)
        return count;
    ph_log_warn("%s: %s", mail->m->id, ph_error());
    return 0;
}

void ph_settle(struct mail *mail, const struct ph_outcome *o, const uint32_t *rcpt, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (o[i].status == PH_RCPT_SENT)
            mark(mail, rcpt[i], PH_STATE_DELIVERED);
    if (ph_settle_is_quick(o, n))
        return;
    PH_SCOPED(s, NULL);
    uint32_t *which = ph_alloc_array(s, count_records(o, n), sizeof *which);
    uint32_t bounced = log_those(mail, s, PH_RCPT_BOUNCED, o, rcpt, n, which);

    for (uint32_t i = 0; i < bounced; i++)
        mark(mail, which[i], PH_STATE_FAILED);
    log_those(mail, s, PH_RCPT_DEFERRED, o, rcpt, n, which);
}

/* ---- outcomes that we say ourselves, as the retry and error services would ---- */

static void write_line(struct mail *mail, struct ph_scope *s, uint32_t rcpt, const struct ph_outcome *o,
                       const char *status)
{
    const struct ph_qmsg *m = mail->m;
    struct ph_buf line;
    int64_t now = ph_wall_us();

    ph_buf_init(&line, s, 16384);
    ph_delivery_line_format(s, &line, &(struct ph_delivery_line){
        .queue_id = ph_cstr(m->id), .to = m->rcpt[rcpt].address, .original = m->rcpt[rcpt].original,
        .dsn = o->dsn, .status = ph_cstr(status),
        .text = ph_str_first(o->text, 4000), .arrival_us = m->message.arrival_us, .active_us = mail->active_us,
        .setup_us = now, .connected_us = now, .done_us = now, .decimals = mail->q->p.decimals });
    ph_log("%s", line.p);
}

void ph_settle_ourselves(struct mail *mail, const uint32_t *rcpt, uint32_t n, uint32_t status, ph_str dsn, ph_str text)
{
    PH_SCOPED(s, NULL);
    struct ph_outcome *list = ph_alloc_array(s, n, sizeof *list);
    const char *service = ph_log_service("error"), *word = status == PH_RCPT_BOUNCED ? "bounced" : "deferred";

    if (status == PH_RCPT_BOUNCED && mail->q->p.soft_bounce) {
        word = "SOFTBOUNCE";
        status = PH_RCPT_DEFERRED;
        dsn = ph_str_printf(s, "4%.*s", PH_FMT(ph_str_from(dsn, 1)));
    }

    for (uint32_t i = 0; i < n; i++) {
        PH_SCOPED(line, s);

        list[i] = (struct ph_outcome){ .size = sizeof *list, .status = status, .dsn = dsn, .text = text };
        write_line(mail, line, rcpt[i], &list[i], word);
    }
    ph_log_service(service);
    ph_settle(mail, list, rcpt, n);
}
