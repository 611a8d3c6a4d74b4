/* postwhy: a session with the configuration's own smtpd over a memory stream, and what
 * stands in the place of cleanup behind it, so that nothing reaches the queue.  See
 * postwhy.h. */
#include <string.h>
#include <posthorn/address.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include <posthorn/service.h>
#include "core/cmd/postwhy.h"

#define STREAM_BYTES 16384u
#define REPLY_MAX 8192u

struct served {
    struct why_session *x;
    struct ph_scope *scope;
    struct ph_stream *io;
};

static void serve(void *arg)
{
    struct served *c = arg;
    const struct postwhy *o = c->x->o;
    struct ph_service *v = c->x->smtpd;
    struct ph_peer peer = { .size = sizeof peer, .address = ph_cstr(o->client), .port = PH_STR("0"),
                            .name = ph_cstr(o->client_name ? o->client_name : "") };

    ph_log_service(v->name);
    if (v->ops->serve(v, c->scope, c->io, &peer) < 0)
        ph_log_warn("session ended: %s", ph_error());
    ph_scope_free(c->scope);       /* holds c */
}

/* A whole reply, lines with \n between: its code into x; 0, or negative. */
static int hear(struct why_session *x, struct ph_stream *io)
{
    struct ph_buf b;
    ph_str line;
    int rc;

    ph_buf_init(&b, x->scope, REPLY_MAX);
    do {
        if ((rc = ph_stream_line(io, 0, &line)) < 0)
            return rc;
        if (b.n)
            ph_buf_putc(&b, '\n');
        ph_buf_str(&b, line);
    } while (line.n > 3 && line.p[3] == '-');
    uint64_t code = 0;
    ph_str_u64(ph_str_first(ph_buf_view(&b), 3), &code);
    x->code = (int)code;
    x->reply = ph_buf_view(&b);
    return 0;
}

/* One command and its reply: 1 it was taken, 0 it was refused, negative. */
static int say(struct why_session *x, struct ph_stream *io, ph_str line)
{
    int rc = ph_stream_str(io, line);

    if (rc < 0 || (rc = ph_stream_str(io, PH_STR("\r\n"))) < 0 || (rc = ph_stream_flush(io)) < 0 || (rc = hear(x, io)) < 0)
        return rc;
    return x->code >= 200 && x->code < 400;
}

static ph_str helo_of(const struct why_session *x)
{
    const struct postwhy *o = x->o;

    if (o->helo)
        return ph_cstr(o->helo);
    if (o->client_name && strcmp(o->client_name, "unknown") != 0 && ph_hostname_valid(ph_cstr(o->client_name)))
        return ph_cstr(o->client_name);
    int v6 = ph_str_find(ph_cstr(o->client), ':') >= 0;
    return ph_str_printf(x->scope, "[%s%s]", v6 ? "IPv6:" : "", o->client);
}

static int has_line_end(ph_str s)
{
    return ph_str_find(s, '\n') >= 0 || ph_str_find(s, '\r') >= 0 || ph_str_find(s, 0) >= 0;
}

/* As a client would, RFC 5321 3.3; DATA too, since it may be refused there, and what
 * access tables did to the envelope is known at the end only. */
static int converse(struct why_session *x, struct ph_stream *io)
{
    int rc = hear(x, io);

    if (rc < 0 || x->code >= 400)
        return rc;
    if ((rc = say(x, io, ph_str_printf(x->scope, "EHLO %.*s", PH_FMT(helo_of(x))))) <= 0)
        return rc;
    int utf8 = ph_str_search(x->reply, PH_STR("SMTPUTF8")) >= 0 && !(ph_str_is_ascii(x->address) && ph_str_is_ascii(x->sender));
    const ph_str mail = ph_str_printf(x->scope, "MAIL FROM:<%.*s>%s", PH_FMT(x->sender), utf8 ? " SMTPUTF8" : "");
    if ((rc = say(x, io, mail)) <= 0 || (rc = say(x, io, ph_str_printf(x->scope, "RCPT TO:<%.*s>", PH_FMT(x->address)))) <= 0)
        return rc;
    ph_str accepted = x->reply;
    if ((rc = say(x, io, PH_STR("DATA"))) <= 0 || (rc = say(x, io, PH_STR("\r\n."))) <= 0)
        return rc;
    x->reply = accepted;           /* what the last one says of the queue is not true here */
    return 0;
}

int why_session_run(struct why_session *x)
{
    PH_SCOPED(s, x->scope);
    struct ph_scope *theirs = ph_scope_new(NULL);
    struct ph_group *g = ph_group_new(s);
    struct served *c = ph_new(theirs, struct served);
    struct ph_stream *io;

    x->rcpts_last = &x->rcpts;
    if (has_line_end(x->address) || has_line_end(x->sender) || has_line_end(helo_of(x))) {
        x->code = 501;
        x->reply = PH_STR("501 5.5.4 A line end has no place in an SMTP command");
        ph_scope_free(theirs);
        return 0;
    }
    *c = (struct served){ .x = x, .scope = theirs };
    ph_stream_pair(s, theirs, STREAM_BYTES, &io, &c->io);
    int rc = ph_spawn(g, "smtpd", serve, c);
    if (rc < 0) {
        ph_scope_free(theirs);
        return rc;
    }
    rc = converse(x, io);
    x->is_over = 1;                /* what comes now (a notice to the postmaster) is no part of it */
    struct why_session last = *x;
    if (rc >= 0)
        say(&last, io, PH_STR("QUIT"));
    ph_stream_close(io);
    ph_group_wait(g, PH_FOREVER);
    return rc < 0 ? rc : 0;
}

/* ---- in place of cleanup ---- */

static int pass_over(struct ph_stream *io, uint64_t left)
{
    while (left) {
        ph_str view;
        int rc = ph_stream_peek(io, &view);

        if (rc < 0)
            return rc;
        size_t n = view.n < left ? view.n : (size_t)left;
        ph_stream_skip(io, n);
        left -= n;
    }
    return 0;
}

static void add_rcpt(struct why_session *x, ph_str address)
{
    struct why_rcpt *r = ph_new(x->scope, struct why_rcpt);

    r->address = ph_str_dup(x->scope, address);
    *x->rcpts_last = r;
    x->rcpts_last = &r->next;
}

static int answer(struct ph_scope *s, struct ph_stream *io)
{
    struct ph_frame *f = ph_frame_new(s);

    ph_frame_cstr(f, "status", "ok");
    ph_frame_cstr(f, "queue_id", "NOQUEUE");
    ph_frame_cstr(f, "reply", "250 2.0.0 Ok");
    int rc = ph_frame_send(io, f);
    return rc < 0 ? rc : ph_stream_flush(io);
}

/* x: the session of now; NULL: there is none. */
static int take_frame(struct why_session *x, struct ph_scope *s, struct ph_stream *io, const struct ph_frame *in)
{
    ph_str op = ph_frame_value(in, "op");
    uint64_t bytes = 0;

    if (ph_str_eq(op, PH_STR("begin"))) {
        if (x)
            x->flags = ph_str_dup(x->scope, ph_frame_value(in, "flags"));
        return answer(s, io);
    }
    if (ph_str_eq(op, PH_STR("rcpt")) && x)
        add_rcpt(x, ph_frame_value(in, "address"));
    if (ph_str_eq(op, PH_STR("content")) && ph_frame_get_u64(in, "bytes", &bytes) == PH_FOUND)
        return pass_over(io, bytes);
    if (!ph_str_eq(op, PH_STR("end")))
        return 0;
    if (x) {
        x->redirect = ph_str_dup(x->scope, ph_frame_value(in, "redirect"));
        x->hold = ph_frame_value(in, "hold").n > 0;
        x->has_message = 1;
    }
    return answer(s, io);
}

int why_take_message(void *arg, struct ph_scope *session, struct ph_stream *io)
{
    struct why_session **now = arg;
    struct ph_scope *step = ph_scope_new(session);
    struct ph_frame *in;
    int rc;

    while ((rc = ph_frame_recv(io, step, 0, &in)) > 0) {
        if ((rc = take_frame(*now && !(*now)->is_over ? *now : NULL, step, io, in)) < 0)
            break;
        ph_scope_reset(step);
    }
    return rc == PH_EOF ? 0 : rc;
}
