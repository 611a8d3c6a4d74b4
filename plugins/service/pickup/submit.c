/* submit: one message through cleanup.  The connection is kept for the next one;
 * whatever goes wrong closes it, and then the message never existed. */
#include <string.h>
#include <posthorn/date.h>
#include <posthorn/disk.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include <posthorn/message.h>
#include "pickup.h"

#define DAY_SECONDS 86400

static void hang_up(struct feed *f)
{
    f->io = NULL;
    ph_scope_reset(f->scope);          /* closes it */
}

/* cleanup is gone: temporary, whatever the way it went. */
static int lost(struct feed *f, int rc)
{
    if (rc == PH_CANCEL)
        return rc;
    hang_up(f);
    return ph_fail(PH_TEMP, "lost connection with cleanup");
}

static int dial(struct feed *f)
{
    int rc;

    if (f->io && ph_stream_is_stale(f->io))
        hang_up(f);
    if (f->io)
        return 0;
    if ((rc = ph_service_dial(f->scope, "cleanup", &f->io)) < 0) {
        f->io = NULL;
        return rc == PH_CANCEL ? rc : ph_wrap(PH_TEMP, "cleanup");
    }
    return 0;
}

/* cleanup's answer: 0 and *reply; PH_PERM, PH_TEMP with its reason. */
static int answer(struct feed *f, struct ph_scope *step, struct ph_frame **reply)
{
    int rc;

    if ((rc = ph_stream_flush(f->io)) < 0 || (rc = ph_frame_recv(f->io, step, 0, reply)) < 0)
        return lost(f, rc);
    ph_str status = ph_frame_value(*reply, "status"), reason = ph_frame_value(*reply, "reason");

    if (ph_str_eq(status, PH_STR("ok")))
        return 0;
    if (reason.n == 0)
        reason = ph_frame_value(*reply, "reply");
    f->own = ph_frame_value(*reply, "own").n > 0;
    return ph_fail(ph_str_eq(status, PH_STR("perm")) ? PH_PERM : PH_TEMP, "cleanup: %.*s", PH_FMT(reason));
}

static int send_frame(struct feed *f, const struct ph_frame *frame)
{
    int rc = ph_frame_send(f->io, frame);

    return rc < 0 ? lost(f, rc) : 0;
}

static struct ph_frame *begin_frame(const struct pickup *k, struct ph_scope *step, ph_str sender)
{
    struct ph_frame *b = ph_frame_new(step);

    ph_frame_cstr(b, "op", "begin");
    ph_frame_cstr(b, "who", "local");
    ph_frame_str(b, "flags", ph_str_printf(step, "%s bounce", k->cleanup_flags));
    ph_frame_str(b, "sender", sender);
    return b;
}

static void put_optional(struct ph_frame *f, const char *name, ph_str value)
{
    if (value.n)
        ph_frame_str(f, name, value);
}

/* Begin the message: its queue id, and the line that names it in the log. */
static int begin(struct feed *f, struct ph_scope *step, const struct ph_frame *b, ph_str sender,
                 const struct origin *o, int requeued, ph_str *id)
{
    struct ph_frame *reply;
    int rc;

    if ((rc = dial(f)) < 0 || (rc = send_frame(f, b)) < 0 || (rc = answer(f, step, &reply)) < 0)
        return rc;
    *id = ph_frame_value(reply, "queue_id");
    if (requeued)
        ph_log("%.*s: uid=%ld from=<%.*s> orig_id=%s", PH_FMT(*id), (long)o->uid, PH_FMT(sender), o->name);
    else
        ph_log("%.*s: uid=%ld from=<%.*s>", PH_FMT(*id), (long)o->uid, PH_FMT(sender));
    return 0;
}

static int send_rcpt(struct feed *f, struct ph_scope *step, ph_str address, ph_str original, ph_str orcpt, ph_str notify, uint32_t expanded)
{
    struct ph_frame *r = ph_frame_new(step);

    ph_frame_cstr(r, "op", "rcpt");
    if (expanded)
        ph_frame_cstr(r, "expanded", "1");
    ph_frame_str(r, "address", address);
    put_optional(r, "original", original);
    put_optional(r, "dsn_orcpt", orcpt);
    put_optional(r, "dsn_notify", notify);
    return send_frame(f, r);
}

/* apart: what follows does not continue its last header. */
static int send_content(struct feed *f, ph_str bytes, int apart)
{
    PH_SCOPED(step, NULL);
    struct ph_frame *c = ph_frame_new(step);
    int rc;

    if (bytes.n == 0)
        return 0;
    ph_frame_cstr(c, "op", "content");
    ph_frame_u64(c, "bytes", bytes.n);
    if (apart)
        ph_frame_cstr(c, "apart", "1");
    if ((rc = send_frame(f, c)) < 0)
        return rc;
    rc = ph_stream_str(f->io, bytes);
    return rc < 0 ? lost(f, rc) : 0;
}

static int finish(struct feed *f, struct ph_scope *step, int no_final_eol)
{
    struct ph_frame *e = ph_frame_new(step), *reply;
    int rc;

    ph_frame_cstr(e, "op", "end");
    ph_frame_u64(e, "facts", no_final_eol ? PH_FACT_NO_FINAL_EOL : 0);
    if ((rc = send_frame(f, e)) < 0)
        return rc;
    return answer(f, step, &reply);
}

/* RFC 5321 4.4, the form for mail that came by no protocol. */
static int send_trace(struct pickup *k, struct feed *f, struct ph_scope *step, ph_str id, const struct ph_maildrop *m,
                      const struct origin *o)
{
    int64_t now = ph_wall_us() / 1000000, when = m->time_s > 0 && m->time_s < now ? m->time_s : now;
    ph_str date = ph_date_format(step, when, 1);

    if (now - when >= DAY_SECONDS)
        ph_log("%.*s: message has been queued for %lld days", PH_FMT(id), (long long)((now - when) / DAY_SECONDS));
    return send_content(f, ph_str_printf(step, "Received: by %.*s (%.*s, from userid %ld)\r\n\tid %.*s; %.*s\r\n",
                                         PH_FMT(k->p.myhostname), PH_FMT(k->p.mail_name), (long)o->uid,
                                         PH_FMT(id), PH_FMT(date)), 1);
}

struct file_input {
    int fd;
    int64_t offset;
};

static int64_t read_file(void *arg, char *p, size_t n)
{
    struct file_input *in = arg;
    int64_t got = ph_pread_all(in->fd, p, n, in->offset);

    in->offset += got > 0 ? got : 0;
    return got;
}

/* The user's lines as wire-ready content. */
static int copy_content(struct feed *f, struct ph_scope *step, struct ph_maildrop_source *source, int *no_final_eol)
{
    char *out = ph_alloc(step, 2 * PH_MAILDROP_CHUNK + 2), last[2];
    uint32_t state = 0;
    ph_str bytes;
    int rc, sent;

    while ((rc = ph_maildrop_content(source, &bytes)) == PH_FOUND)
        for (; bytes.n; bytes = ph_str_from(bytes, PH_MAILDROP_CHUNK)) {
            size_t n = ph_maildrop_wire(&state, ph_str_first(bytes, PH_MAILDROP_CHUNK), out);

            if ((sent = send_content(f, (ph_str){ out, n }, 0)) < 0)
                return sent;
        }
    if (rc < 0)
        return rc;
    size_t n = ph_maildrop_wire_finish(&state, last);

    *no_final_eol = n > 0;
    return send_content(f, (ph_str){ last, n }, 0);
}

static int send_maildrop(struct pickup *k, struct feed *f, struct ph_scope *step, struct ph_maildrop_source *source,
                         const struct ph_maildrop *m, const struct origin *o)
{
    struct ph_frame *b = begin_frame(k, step, m->sender);
    int rc, no_final_eol = 0;
    ph_str id;

    ph_frame_cstr(b, "origin", "sendmail");
    ph_frame_str(b, "context", m->context.n ? m->context : PH_STR("local"));
    put_optional(b, "full_name", m->full_name);
    put_optional(b, "body", m->body);
    put_optional(b, "envelope_id", m->envelope_id);
    put_optional(b, "dsn_ret", m->ret);
    put_optional(b, "trace_flags", m->trace);
    ph_frame_u64(b, "smtputf8", m->smtputf8 != 0);
    if ((rc = begin(f, step, b, m->sender, o, 0, &id)) < 0)
        return rc;
    for (uint32_t i = 0; i < m->rcpt_count && rc == 0; i++)
        rc = send_rcpt(f, step, m->rcpt[i].address, PH_STR(""), m->rcpt[i].orcpt, m->rcpt[i].notify, 0);
    if (rc < 0 || (rc = send_trace(k, f, step, id, m, o)) < 0 ||
        (rc = copy_content(f, step, source, &no_final_eol)) < 0)
        return rc;
    return finish(f, step, no_final_eol);
}

int submit_maildrop(struct pickup *k, struct feed *f, struct ph_scope *step, int fd, const struct origin *o)
{
    struct file_input in = { .fd = fd };
    struct ph_maildrop_source source;
    struct ph_maildrop m;
    int rc;

    ph_maildrop_source_init(&source, step, read_file, &in);
    if ((rc = ph_maildrop_envelope(&source, step, &m)) < 0)
        return rc;
    rc = send_maildrop(k, f, step, &source, &m, o);
    if (rc < 0 && f->io)
        hang_up(f);                    /* what cleanup has of it must never be */
    return rc;
}

static int copy_queued(struct feed *f, struct ph_scope *step, const struct ph_message *m)
{
    char *piece = ph_alloc(step, PH_MAILDROP_CHUNK);
    uint64_t at = 0;
    int64_t n;
    int rc = 0;

    while (rc == 0 && (n = ph_message_read(m, at, piece, PH_MAILDROP_CHUNK)) != 0) {
        if (n < 0)
            return (int)n;
        rc = send_content(f, (ph_str){ piece, (size_t)n }, 0);
        at += (uint64_t)n;
    }
    return rc;
}

static int send_queued(const struct pickup *k, struct feed *f, struct ph_scope *step, const struct ph_message *m, const struct origin *o)
{
    struct ph_frame *b = begin_frame(k, step, m->sender);
    int rc;
    ph_str id;

    ph_frame_str(b, "context", m->rewrite_context.n ? m->rewrite_context : PH_STR("local"));
    put_optional(b, "full_name", m->full_name);
    put_optional(b, "envelope_id", m->envelope_id);
    put_optional(b, "dsn_ret", m->dsn_ret);
    put_optional(b, "trace_flags", m->trace_flags);
    put_optional(b, "client_name", m->client_name);
    put_optional(b, "client_address", m->client_address);
    put_optional(b, "client_port", m->client_port);
    put_optional(b, "client_helo", m->client_helo);
    put_optional(b, "client_protocol", m->client_protocol);
    put_optional(b, "sasl_method", m->sasl_method);
    put_optional(b, "sasl_username", m->sasl_username);
    put_optional(b, "sasl_sender", m->sasl_sender);
    if (m->facts & PH_FACT_BODY_8BIT)
        ph_frame_cstr(b, "body", "8BITMIME");
    ph_frame_u64(b, "smtputf8", (m->facts & PH_FACT_SMTPUTF8) != 0);
    if ((rc = begin(f, step, b, m->sender, o, 1, &id)) < 0)
        return rc;
    for (uint32_t i = 0; i < m->rcpt_count && rc == 0; i++) {
        const struct ph_message_rcpt *r = &m->rcpt[i];

        if (r->state != PH_STATE_DELIVERED && r->state != PH_STATE_TOLD)
            rc = send_rcpt(f, step, r->address, r->original, r->dsn_orcpt, r->dsn_notify, r->expanded);
    }
    if (rc < 0 || (rc = copy_queued(f, step, m)) < 0)
        return rc;
    return finish(f, step, 0);
}

int submit_requeued(const struct pickup *k, struct feed *f, struct ph_scope *step, int fd, const struct origin *o)
{
    struct ph_message *m;
    int rc = ph_message_open(step, fd, (ph_str){ "", 0 }, &m);

    if (rc < 0)
        return rc;
    rc = send_queued(k, f, step, m, o);
    if (rc < 0 && f->io)
        hang_up(f);
    return rc;
}
