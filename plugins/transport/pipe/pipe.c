/* transport/pipe: delivery to a command.  Reference: pipe(8). */
#include <string.h>
#include <posthorn/address.h>
#include <posthorn/error.h>
#include <posthorn/header.h>
#include <posthorn/log.h>
#include "pipe.h"
#include "plugins/transport/common/exit.h"
#include "plugins/transport/common/status.h"

#define PIECE       16384u
#define OUTPUT_MAX  4096u
#define ARGV_BYTES  (64u << 10)    /* more recipients than fit are given to several commands */
#define HEADERS_MAX (1u << 20)     /* looked through for Delivered-To */

/* ---- outcomes ---- */

static void report(const struct pipe_agent *self, struct ph_scope *s, struct ph_delivery *d, uint32_t first, uint32_t count, struct ph_outcome *o)
{
    o->size = sizeof *o;
    o->relay = ph_cstr(d->transport->service);
    transport_filter(self->filter, "pipe_delivery_status_filter", s, o);
    for (uint32_t i = first; i < first + count; i++)
        ph_delivered(d, i, o);
}

/* ---- the message to the command ---- */

static int write_buf(struct ph_command *c, struct ph_buf *b)
{
    int rc = ph_command_write(c, b->p, b->n);

    ph_buf_reset(b);
    return rc;
}

static int write_content(struct ph_scope *s, const struct pipe_attr *a, const struct ph_message *m, struct ph_command *c, struct ph_buf *out)
{
    struct pipe_content conv = { .flags = a->flags, .eol = a->eol };
    uint64_t at = 0, total = ph_message_bytes(m);
    char *in = ph_alloc(s, PIECE);
    size_t kept = 0;

    while (at < total || kept) {
        size_t want = PIECE - kept < total - at ? PIECE - kept : (size_t)(total - at);
        int64_t got = want ? ph_message_read(m, at, in + kept, want) : 0;

        if (got < 0 || (want && got == 0))
            return got < 0 ? (int)got : ph_fail(PH_TEMP, "queue file is shorter than its record");
        at += (uint64_t)got;
        kept += (size_t)got;
        size_t used = pipe_content_feed(&conv, (ph_str){ in, kept }, at == total, out);
        int rc = write_buf(c, out);
        if (rc < 0)
            return rc;
        kept -= used;
        memmove(in, in + used, kept);
    }
    return 0;
}

static int write_message(struct ph_scope *s, const struct pipe_attr *a, const struct ph_delivery *d, const struct ph_recipient *r,
                         struct ph_command *c)
{
    struct ph_buf out;
    int rc;

    ph_buf_init(&out, s, (PIECE + 16384u) * 65u);
    pipe_prefix(s, a, d, r, ph_wall_us() / 1000000, &out);
    if ((rc = write_buf(c, &out)) < 0 || (rc = write_content(s, a, d->message, c, &out)) < 0)
        return rc;
    if (a->flags & PIPE_BLANK)
        ph_buf_str(&out, a->eol);
    return write_buf(c, &out);
}

/* ---- the command ---- */

/* 0 and *r on s.  A command that does not read all of the message is no failure;
 * one that cannot be given all of it never sees its end: it is killed. */
static int run(const struct pipe_agent *self, struct ph_scope *s, const struct ph_delivery *d, uint32_t first,
               const char *const *argv, struct ph_command_result *r)
{
    PH_SCOPED(step, s);
    struct ph_command_spec spec = {
        .size = sizeof spec, .identity = &self->who, .argv = argv, .env = self->env, .chroot = self->attr.chroot,
        .directory = self->attr.directory ? self->attr.directory : self->attr.chroot ? "/" : self->p.queue_directory.p,
        .time_limit_ms = self->time_limit_s * 1000, .output_max = OUTPUT_MAX,
    };
    struct ph_command *c;
    int rc = ph_command_start(step, &spec, &c);

    if (rc < 0)
        return rc;
    rc = write_message(step, &self->attr, d, &d->rcpt[first], c);
    if (rc < 0 && rc != PH_EOF)
        return rc;
    if ((rc = ph_command_wait(c, r)) == 0)
        r->output = ph_str_dup(s, r->output);
    return rc;
}

static void judge(const struct pipe_agent *self, struct ph_scope *s, const struct ph_delivery *d, const char *command,
                  const struct ph_command_result *r, struct ph_outcome *o)
{
    transport_exit(s, r, ph_cstr(command), o);
    if (o->status != PH_RCPT_SENT)
        return;
    ph_str output = ph_str_trim(transport_output(s, r->output));
    o->action = self->attr.flags & PIPE_FINAL ? PH_STR("delivered") : PH_STR("relayed");
    o->text = output.n ? ph_str_printf(s, "delivered via %s service (%.*s)", d->transport->service, PH_FMT(output))
                       : ph_str_printf(s, "delivered via %s service", d->transport->service);
}

/* What could not be run, or not be waited for. */
static void no_result(struct ph_scope *s, const struct ph_delivery *d, int rc, struct ph_outcome *o)
{
    ph_log_warn("%.*s: service %s: %s", PH_FMT(d->message->queue_id), d->transport->service, ph_error());
    o->status = PH_RCPT_DEFERRED;
    o->dsn = rc == PH_CONF ? PH_STR("4.3.5") : PH_STR("4.3.0");
    o->text = rc == PH_CONF ? PH_STR("mail system configuration error") : ph_str_dup(s, ph_cstr(ph_error()));
}

/* One command for these recipients; two when their arguments do not fit. */
static int deliver_range(const struct pipe_agent *self, struct ph_delivery *d, uint32_t first, uint32_t count)
{
    PH_SCOPED(s, d->scope);
    struct ph_command_result r = { .size = sizeof r };
    struct ph_outcome o = { .size = sizeof o };
    const char **argv;
    size_t bytes;
    int rc = pipe_argv_expand(s, &self->attr, self->p.delimiters, d, first, count, &argv, &bytes);

    if (rc == 0 && bytes > ARGV_BYTES && count > 1) {
        rc = deliver_range(self, d, first, count / 2);
        return rc < 0 ? rc : deliver_range(self, d, first + count / 2, count - count / 2);
    }
    if (rc == 0 && !d->probe)
        rc = run(self, s, d, first, argv, &r);
    if (rc == PH_CANCEL)
        return rc;                 /* left open: core defers them */
    if (rc < 0)
        no_result(s, d, rc, &o);
    else if (d->probe)
        o = (struct ph_outcome){ .status = PH_RCPT_SENT, .dsn = PH_STR("2.0.0"), .text = ph_str_printf(s, "delivers to command: %s", argv[0]) };
    else
        judge(self, s, d, argv[0], &r, &o);
    report(self, s, d, first, count, &o);
    return 0;
}

/* ---- before the command ---- */

static int same_address(struct ph_scope *s, ph_str value, ph_str want)
{
    ph_str v = ph_str_trim(ph_header_unfold(s, value));

    if (v.n >= 2 && v.p[0] == '<' && v.p[v.n - 1] == '>')
        v = ph_str_first(ph_str_from(v, 1), v.n - 2);
    return ph_str_eq_nocase(v, want);
}

/* 1 when the message was delivered to this recipient before, 0, or negative. */
static int is_loop(struct ph_delivery *d, const struct ph_recipient *r)
{
    PH_SCOPED(s, d->scope);
    size_t want = d->message->header_bytes < HEADERS_MAX ? (size_t)d->message->header_bytes : HEADERS_MAX, at = 0;
    char *mem = ph_alloc(s, want + 1);
    int64_t n = ph_message_read(d->message, 0, mem, want);
    ph_str to = ph_address_external(s, r->address);
    struct ph_header h;

    if (n < 0)
        return (int)n;
    ph_str block = { mem, (size_t)n };
    for (int rc; (rc = ph_header_next(block, &at, &h)) != 0; ) {
        if (rc > 0 && ph_str_eq_nocase(h.name, PH_STR("Delivered-To")) && same_address(s, h.value, to))
            return 1;
        if (rc < 0) {              /* no header: the next line may be one */
            ptrdiff_t eol = ph_str_find(ph_str_from(block, at), '\n');

            if (eol < 0)
                return 0;
            at += (size_t)eol + 1;
        }
    }
    return 0;
}

static void check_loop(const struct pipe_agent *self, struct ph_delivery *d, uint32_t i)
{
    PH_SCOPED(s, d->scope);
    struct ph_outcome o = { .status = PH_RCPT_BOUNCED, .dsn = PH_STR("5.4.6") };
    int rc = is_loop(d, &d->rcpt[i]);

    if (rc == 0 || rc == PH_CANCEL)
        return;
    if (rc < 0)
        no_result(s, d, rc, &o);
    else
        o.text = ph_str_printf(s, "mail forwarding loop for %.*s", PH_FMT(ph_address_external(s, d->rcpt[i].address)));
    report(self, s, d, i, 1, &o);
}

static int pipe_deliver(struct ph_transport *t, struct ph_delivery *d)
{
    const struct pipe_agent *self = t->self;
    int rc = 0;

    if (self->attr.has_size && ph_message_bytes(d->message) > self->attr.size) {
        struct ph_outcome o = { .status = PH_RCPT_BOUNCED, .dsn = PH_STR("5.2.3"), .text = PH_STR("message too large") };

        report(self, d->scope, d, 0, d->rcpt_count, &o);
        return 0;
    }
    for (uint32_t i = 0; self->attr.flags & PIPE_DELIVERED && i < d->rcpt_count; i++)
        check_loop(self, d, i);
    /* Runs of recipients that are still open. */
    for (uint32_t i = 0, n; rc == 0 && i < d->rcpt_count; i += n) {
        n = 0;
        while (i + n < d->rcpt_count && d->rcpt[i + n].state == PH_RCPT_OPEN)
            n++;
        if (n)
            rc = deliver_range(self, d, i, n);
        else
            n = 1;
    }
    return rc;
}

PH_PLUGIN_TRANSPORT(pipe, PH_IS(.summary = "delivery to a command", .exec = PH_COROUTINE, .concurrency = PH_MANY_CALLS,
                                .params = pipe_rows, .param_count = PIPE_ROWS),
    .needs = "spawn",
    .open = pipe_open,
    .deliver = pipe_deliver,
    .probes = 1);
