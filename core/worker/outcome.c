/* outcome: what a transport plugin calls to say how it went (transport.h):
 * keeps the outcome for qmgr and writes the log line. */
#include <string.h>
#include <posthorn/clock.h>
#include <posthorn/dsn.h>
#include <posthorn/log.h>
#include "core/ipc/delivery_line.h"
#include "core/worker/agent_priv.h"

#define LINE_MAX_BYTES 4000u       /* the log cuts it at 2000 */

static const struct { const char *name; char class; const char *dsn; } statuses[] = {
    [PH_RCPT_SENT] = { "sent", '2', "2.0.0" },
    [PH_RCPT_BOUNCED] = { "bounced", '5', "5.0.0" },
    [PH_RCPT_DEFERRED] = { "deferred", '4', "4.0.0" },
};

/* The code with the class that the status demands. */
static ph_str fit_dsn(struct ph_scope *s, ph_str dsn, uint32_t status)
{
    ph_str code, rest;

    if (!ph_dsn_parse(dsn, &code, &rest))
        return ph_cstr(statuses[status].dsn);
    if (code.p[0] == statuses[status].class)
        return ph_str_dup(s, code);
    return ph_str_printf(s, "%c%.*s", statuses[status].class, PH_FMT(ph_str_from(code, 1)));
}

/* One line, and not without end. */
static ph_str one_line(struct ph_scope *s, ph_str text)
{
    ph_str out = ph_str_dup(s, ph_str_first(text, 4096));

    for (size_t i = 0; i < out.n; i++)
        if ((unsigned char)out.p[i] < 0x20 || out.p[i] == 0x7f)
            ((char *)(uintptr_t)out.p)[i] = '?';
    return out;
}

/* A copy that lives as long as the delivery. */
static void keep(struct delivery *v, struct ph_outcome *to, const struct ph_outcome *from)
{
    uint32_t size = from->size && from->size < sizeof *to ? from->size : (uint32_t)sizeof *to;
    struct ph_scope *s = v->scope;

    memset(to, 0, sizeof *to);
    memcpy(to, from, size);
    to->size = sizeof *to;
    to->dsn = fit_dsn(s, to->dsn, to->status);
    to->text = one_line(s, to->text);
    to->relay = one_line(s, to->relay);
    to->action = one_line(s, to->action);
    to->diagnostic_type = one_line(s, to->diagnostic_type);
    to->diagnostic = one_line(s, to->diagnostic);
    to->remote_mta_type = one_line(s, to->remote_mta_type);
    to->remote_mta = one_line(s, to->remote_mta);
    to->recipient = to->original = PH_STR("");
    to->also = NULL;
}

static void write_line(struct delivery *v, const struct ph_recipient *r, const struct ph_outcome *o, const char *status)
{
    PH_SCOPED(s, NULL);
    struct ph_buf line;
    int64_t now = ph_wall_us(), done = o->done_us ? o->done_us : now;
    int64_t connected = o->connected_us ? o->connected_us : done;

    ph_buf_init(&line, s, LINE_MAX_BYTES * 4);
    ph_delivery_line_format(s, &line, &(struct ph_delivery_line){
        .queue_id = v->message->queue_id, .to = r->address, .original = r->original,
        .relay = o->relay, .dsn = o->dsn, .status = ph_cstr(status),
        .text = ph_str_first(o->text, LINE_MAX_BYTES),
        .conn_use = o->conn_use, .arrival_us = v->message->arrival_us, .active_us = v->d.active_us,
        .setup_us = o->setup_us ? o->setup_us : connected, .connected_us = connected, .done_us = done,
        .decimals = v->agent->p.decimals });
    ph_log("%s", line.p);
}

/* Keep what was said, soft_bounce applied; the word for the log. */
static const char *take(struct delivery *v, struct ph_outcome *o, const struct ph_outcome *from)
{
    ph_assert(from->status >= PH_RCPT_SENT && from->status <= PH_RCPT_DEFERRED);
    keep(v, o, from);
    if (v->d.probe)
        return o->status == PH_RCPT_SENT ? "deliverable" : "undeliverable";
    if (o->status != PH_RCPT_BOUNCED || !v->agent->p.soft_bounce)
        return statuses[o->status].name;
    o->status = PH_RCPT_DEFERRED;
    o->dsn = fit_dsn(v->scope, o->dsn, o->status);
    return "SOFTBOUNCE";
}

static int is_open(struct delivery *v, uint32_t i)
{
    ph_assert(i < v->d.rcpt_count);
    if (v->d.rcpt[i].state == PH_RCPT_OPEN)
        return 1;
    ph_log_warn("%.*s: second outcome for recipient %u ignored", PH_FMT(v->message->queue_id), v->d.rcpt[i].index);
    return 0;
}

void ph_delivered(struct ph_delivery *d, uint32_t i, const struct ph_outcome *from)
{
    struct delivery *v = d->host;

    if (!is_open(v, i))
        return;
    const char *status = take(v, &v->outcome[i], from);
    d->rcpt[i].state = v->outcome[i].status;
    write_line(v, &d->rcpt[i], &v->outcome[i], status);
}

/* What a notice or the next attempt says first: a deferral keeps the recipient. */
static int gravity(uint32_t status)
{
    return status == PH_RCPT_DEFERRED ? 2 : status == PH_RCPT_BOUNCED;
}

/* The worst one is the recipient's own; failures of its class hang on it, and
 * all others when the sender wants to know of each (sendmail -v, -bv). */
static void add_member(struct delivery *v, uint32_t i, struct ph_outcome *o, const struct ph_recipient *member)
{
    struct ph_outcome *worst = &v->outcome[i];

    o->recipient = ph_str_dup(v->scope, member->address);
    o->original = ph_str_dup(v->scope, member->original);
    int tell_all = v->message->trace_flags.n > 0;

    if (worst->status == PH_RCPT_OPEN || gravity(o->status) > gravity(worst->status)) {
        if (worst->status != PH_RCPT_OPEN && tell_all) {
            o->also = ph_new(v->scope, struct ph_outcome);
            memcpy((struct ph_outcome *)(uintptr_t)o->also, worst, sizeof *worst);
        }
        *worst = *o;
    } else if (tell_all || (o->status == worst->status && o->status != PH_RCPT_SENT)) {
        o->also = worst->also;
        worst->also = o;
    }
}

void ph_delivered_member(struct ph_delivery *d, uint32_t i, const struct ph_recipient *member, const struct ph_outcome *from)
{
    struct delivery *v = d->host;
    struct ph_outcome *o = ph_new(v->scope, struct ph_outcome);

    if (!is_open(v, i))
        return;
    write_line(v, member, o, take(v, o, from));
    add_member(v, i, o, member);
}

void ph_agent_passed(struct ph_delivery *d, uint32_t i, const struct ph_recipient *member, const struct ph_outcome *from)
{
    struct delivery *v = d->host;
    struct ph_outcome *o = ph_new(v->scope, struct ph_outcome);

    if (!is_open(v, i))
        return;
    keep(v, o, from);
    add_member(v, i, o, member);
}

/* The alias was expanded, whatever became of its members: a success notice says
 * so, beside the notice of failure. */
static void add_expansion(struct delivery *v, struct ph_outcome *o, const char *action, const char *text)
{
    struct ph_outcome *said = ph_new(v->scope, struct ph_outcome);

    keep(v, said, &(struct ph_outcome){ .size = sizeof *said, .status = PH_RCPT_SENT, .dsn = PH_STR("2.0.0"),
                                        .action = ph_cstr(action), .text = ph_cstr(text),
                                        .relay = ph_cstr(v->d.transport->service) });
    said->also = o->also;
    o->also = said;
}

void ph_delivered_members(struct ph_delivery *d, uint32_t i, const char *action, const char *text)
{
    struct delivery *v = d->host;
    struct ph_outcome *o = &v->outcome[i];

    if (!is_open(v, i))
        return;
    if (o->status == PH_RCPT_OPEN)
        keep(v, o, &(struct ph_outcome){ .size = sizeof *o, .status = PH_RCPT_SENT, .dsn = PH_STR("2.0.0"),
                                         .relay = ph_cstr(d->transport->service), .text = PH_STR("no recipients") });
    if (o->status == PH_RCPT_SENT && !v->message->trace_flags.n) {
        o->recipient = o->original = PH_STR("");
        if (*action)
            o->action = ph_str_dup(v->scope, ph_cstr(action));
        if (*text)
            o->text = ph_str_dup(v->scope, ph_cstr(text));
    } else if (o->status == PH_RCPT_BOUNCED && *text && !v->message->trace_flags.n) {
        add_expansion(v, o, action, text);
    }
    d->rcpt[i].state = o->status;
}

void ph_delivered_all(struct ph_delivery *d, const struct ph_outcome *o)
{
    for (uint32_t i = 0; i < d->rcpt_count; i++)
        if (d->rcpt[i].state == PH_RCPT_OPEN)
            ph_delivered(d, i, o);
}

void ph_delivered_text(struct ph_delivery *d, uint32_t i, uint32_t status, const char *dsn,
                       const char *relay, const char *fmt, ...)
{
    struct ph_outcome o = { .size = sizeof o, .status = status, .dsn = ph_cstr(dsn), .relay = ph_cstr(relay) };
    va_list ap;

    va_start(ap, fmt);
    o.text = ph_str_vprintf(d->scope, fmt, ap);
    va_end(ap);
    ph_delivered(d, i, &o);
}
