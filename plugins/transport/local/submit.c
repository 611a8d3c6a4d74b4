/* submit: the new message of forwarded addresses, through cleanup like any other
 * mail.  It is on stable storage before its recipient counts as delivered: a crash
 * between may forward twice, never lose. */
#include <posthorn/address.h>
#include <posthorn/client.h>
#include <posthorn/date.h>
#include <posthorn/dsn.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "local.h"

#define PIECE 16384u
#define RECIPIENTS_MAX 50000u      /* of one message */

struct target {
    struct target *next;
    ph_str address, original;
};

/* The addresses of one new message. */
struct local_forward {
    struct local_forward *next;
    ph_str sender;
    uint32_t owned;                /* by an owner- alias: members stand for themselves */
    uint32_t count;
    struct target *first, **tail;
    ph_str id;
};

static struct local_forward *forward_of(struct local_job *j, const struct local_step *s)
{
    struct local_forward **at = &j->forwards;

    for (; *at; at = &(*at)->next)
        if (ph_str_eq((*at)->sender, s->sender) && (*at)->owned == s->owned && (*at)->count < RECIPIENTS_MAX)
            return *at;
    *at = ph_new(j->scope, struct local_forward);
    **at = (struct local_forward){ .sender = s->sender, .owned = s->owned };
    (*at)->tail = &(*at)->first;
    return *at;
}

void local_forward_to(struct local_job *j, const struct local_step *s, ph_str address)
{
    struct ph_scope *scope = j->scope;
    ph_str local, domain;

    ph_address_split(address, &local, &domain);
    if (local_is_duplicate(j, "address %.*s@%.*s", PH_FMT(local), PH_FMT(ph_str_lower(scope, domain))))
        return;
    struct local_forward *f = forward_of(j, s);
    struct target *t = ph_new(scope, struct target);

    t->address = address;
    t->original = s->owned ? address : j->rcpt->original.n ? j->rcpt->original : j->rcpt->address;
    *f->tail = t;
    f->tail = &t->next;
    f->count++;
    j->expanded = 1;
}

/* ---- the protocol of cleanup ---- */

static int answer(struct ph_stream *io, struct ph_scope *s, struct ph_frame **f)
{
    int rc = ph_stream_flush(io);

    if (rc < 0 || (rc = ph_frame_recv(io, s, 0, f)) < 0)
        return rc == PH_CANCEL ? rc : ph_fail(PH_TEMP, "lost connection with cleanup");
    ph_str status = ph_frame_value(*f, "status"), why = ph_frame_value(*f, "reason");
    if (ph_str_eq(status, PH_STR("ok")))
        return 0;
    if (!why.n)
        why = ph_frame_value(*f, "reply");
    return ph_fail(ph_str_eq(status, PH_STR("perm")) ? PH_PERM : PH_TEMP, "%.*s", PH_FMT(why));
}

static void put_optional(struct ph_frame *f, const char *name, ph_str value)
{
    if (value.n)
        ph_frame_str(f, name, value);
}

/* What is known of the original goes with its copy: where it came from, what its
 * sender asked for. */
static struct ph_frame *begin_frame(struct ph_scope *s, const struct ph_message *m, ph_str sender)
{
    struct ph_frame *b = ph_frame_new(s);
    const struct { const char *name; ph_str value; } kept[] = {
        { "context", m->rewrite_context }, { "full_name", m->full_name }, { "envelope_id", m->envelope_id }, { "dsn_ret", m->dsn_ret },
        { "client_name", m->client_name }, { "client_address", m->client_address }, { "client_port", m->client_port },
        { "client_helo", m->client_helo }, { "client_protocol", m->client_protocol }, { "sasl_method", m->sasl_method },
        { "sasl_username", m->sasl_username }, { "sasl_sender", m->sasl_sender },
    };

    ph_frame_cstr(b, "op", "begin");
    ph_frame_cstr(b, "who", "local");
    ph_frame_cstr(b, "origin", "forward");
    ph_frame_cstr(b, "flags", "bounce map");
    ph_frame_str(b, "sender", sender);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        put_optional(b, kept[i].name, kept[i].value);
    if (m->facts & PH_FACT_BODY_8BIT)
        ph_frame_cstr(b, "body", "8BITMIME");
    ph_frame_u64(b, "smtputf8", (m->facts & PH_FACT_SMTPUTF8) != 0);
    return b;
}

static int begin(struct local_job *j, struct ph_scope *s, struct local_forward *f, struct ph_stream *io)
{
    struct ph_frame *reply;
    int rc = ph_frame_send(io, begin_frame(s, j->d->message, f->sender));

    if (rc < 0 || (rc = answer(io, s, &reply)) < 0)
        return rc;
    f->id = ph_str_dup(j->scope, ph_frame_value(reply, "queue_id"));
    return f->id.n ? 0 : ph_fail(PH_TEMP, "cleanup gave no queue id");
}

static int send_rcpts(struct local_job *j, struct ph_scope *s, const struct local_forward *f, struct ph_stream *io)
{
    ph_str notify = ph_notify_rest(s, j->rcpt->dsn_notify);
    int rc = 0;

    for (const struct target *t = f->first; t && rc >= 0; t = t->next) {
        PH_SCOPED(step, s);
        struct ph_frame *r = ph_frame_new(step);

        ph_frame_cstr(r, "op", "rcpt");
        ph_frame_str(r, "address", t->address);
        ph_frame_str(r, "original", t->original);
        put_optional(r, "dsn_notify", notify);
        if (!f->owned)
            put_optional(r, "dsn_orcpt", j->rcpt->dsn_orcpt);
        rc = ph_frame_send(io, r);
    }
    return rc;
}

static int send_content(struct ph_scope *s, struct ph_stream *io, ph_str bytes)
{
    PH_SCOPED(step, s);
    struct ph_frame *c = ph_frame_new(step);
    int rc;

    ph_frame_cstr(c, "op", "content");
    ph_frame_u64(c, "bytes", bytes.n);
    rc = ph_frame_send(io, c);
    return rc < 0 ? rc : ph_stream_str(io, bytes);
}

/* RFC 5321 4.4 for a copy made here, and what stops it from going round. */
static ph_str trace(struct local_job *j, struct ph_scope *s, const struct local_forward *f)
{
    const struct local_params *p = &j->agent->p;
    struct ph_buf b;

    ph_buf_init(&b, s, 16384);
    ph_buf_printf(&b, "Received: by %.*s (%.*s)\r\n\tid %.*s; %.*s\r\n", PH_FMT(p->myhostname), PH_FMT(p->mail_name), PH_FMT(f->id),
                  PH_FMT(ph_date_format(s, ph_wall_us() / 1000000, 1)));
    if (j->agent->delivered_in & LOCAL_IN_FORWARD)
        ph_buf_printf(&b, "Delivered-To: %.*s\r\n", PH_FMT(ph_address_external(s, j->delivered_to)));
    return ph_buf_view(&b);
}

static int send_message(struct local_job *j, struct ph_scope *s, struct ph_stream *io, ph_str head)
{
    char *piece = ph_alloc(s, PIECE);
    int64_t got = 1;
    int rc = send_content(s, io, head);

    for (uint64_t at = 0; rc >= 0 && got > 0; at += (uint64_t)got) {
        if ((got = ph_message_read(j->d->message, at, piece, PIECE)) > 0)
            rc = send_content(s, io, (ph_str){ piece, (size_t)got });
    }
    return got < 0 ? (int)got : rc;
}

static int finish(struct ph_scope *s, struct ph_stream *io)
{
    struct ph_frame *e = ph_frame_new(s), *reply;
    int rc;

    ph_frame_cstr(e, "op", "end");
    ph_frame_u64(e, "facts", 0);
    rc = ph_frame_send(io, e);
    return rc < 0 ? rc : answer(io, s, &reply);
}

/* 0: cleanup has it on stable storage. */
static int submit(struct local_job *j, struct local_forward *f)
{
    PH_SCOPED(s, j->scope);
    struct ph_stream *io;
    int rc = ph_service_dial(s, "cleanup", &io);

    if (rc < 0)
        return rc;
    if ((rc = begin(j, s, f, io)) < 0 || (rc = send_rcpts(j, s, f, io)) < 0 || (rc = send_message(j, s, io, trace(j, s, f))) < 0)
        return rc;
    return finish(s, io);
}

/* A probe: what would be sent to whom. */
static void tell(struct local_job *j, const struct local_forward *f)
{
    for (const struct target *t = f->first; t; t = t->next)
        local_sent(j, NULL, "forwards to %.*s", PH_FMT(ph_address_external(j->scope, t->address)));
}

int local_forward_all(struct local_job *j)
{
    for (struct local_forward *f = j->forwards; f; f = f->next) {
        if (j->d->probe) {
            tell(j, f);
            continue;
        }
        int rc = submit(j, f);

        if (rc == PH_CANCEL)
            return rc;
        if (rc == 0)
            local_sent(j, NULL, "forwarded as %.*s", PH_FMT(f->id));
        else if (rc == PH_PERM)
            local_bounced(j, NULL, "5.3.0", "forwarding failed: %s", ph_error());
        else
            local_deferred(j, NULL, "4.3.0", "forwarding failed: %s", ph_error());
    }
    return 0;
}
