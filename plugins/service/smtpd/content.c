/* content: what DATA and BDAT bring, from the wire to cleanup, and the end of a
 * message, RFC 5321 4.1.1.4, 6.1: 250 means that it is on stable storage. */
#include <stdlib.h>
#include <string.h>
#include <posthorn/address.h>
#include <posthorn/error.h>
#include "smtpd.h"

ph_str only_rcpt(const struct session *s)
{
    return s->t.rcpt_count == 1 ? s->t.first_rcpt : PH_STR("");
}

int refuse_without_rcpt(struct session *s)
{
    return s->t.open ? reply(s, "554 5.5.1 Error: no valid recipients") : reply(s, "503 5.5.1 Error: need RCPT command");
}

static int to_cleanup(struct session *s, ph_str bytes, int apart)
{
    int rc = intake_content(s, bytes, apart);

    if (rc == PH_CANCEL || rc >= 0)
        return rc < 0 ? rc : 0;
    s->t.content->failed = 1;
    ph_log_warn("%.*s: %s", PH_FMT(s->t.queue_id), ph_error());
    return 0;
}

static void room_end(void *arg)
{
    struct content *x = arg;

    free(x->room);
    x->room = NULL;
}

char *content_room(struct content *x, size_t n)
{
    if (x->room && x->room_for >= n)
        return x->room;
    room_end(x);
    x->room_for = n;
    if (!(x->room = malloc(2 * n + 66)))
        ph_die("out of memory");
    return x->room;
}

void content_rest(struct session *s)
{
    if (!ph_stream_pending(s->io))
        room_end(s->t.content);
}

int content_begin(struct session *s)
{
    struct content *x = ph_new(transaction_scope(s), struct content);

    ph_defer(transaction_scope(s), room_end, x);
    ph_dot_decode_init(&x->dot, s->bare_mode);
    s->t.content = x;
    return to_cleanup(s, received_header(s), 1);
}

/* Counted and passed on; when that is no use any more, passed over. */
static int take(struct session *s, ph_str bytes)
{
    struct content *x = s->t.content;
    uint64_t limit = (uint64_t)s->c->p.size_limit;

    if (x->failed || x->too_big || bytes.n == 0)
        return 0;
    if (limit && (x->bytes > limit || bytes.n > limit - x->bytes)) {
        x->too_big = 1;
        ph_log_warn("%.*s: queue file size limit exceeded", PH_FMT(s->t.queue_id));
        return 0;
    }
    x->bytes += bytes.n;
    return to_cleanup(s, bytes, 0);
}

/* Is that the start of a line of a mailbox file?  1, 0, or -1: not known yet. */
static int is_mailbox_line(ph_str head)
{
    static const char *const mbox[] = { "From ", ">From " };

    for (int i = 0; i < 2; i++) {
        ph_str want = ph_cstr(mbox[i]);
        size_t n = head.n < want.n ? head.n : want.n;

        if (memcmp(head.p, want.p, n) == 0)
            return n == want.n ? 1 : -1;
    }
    return 0;
}

/* The start of a line, once it is known what it is: a line of a mailbox file becomes a header. */
static int begin_line(struct session *s, int mailbox)
{
    struct content *x = s->t.content;
    int rc = mailbox ? take(s, PH_STR("X-Mailbox-Line: ")) : 0;

    if (rc == 0)
        rc = take(s, (ph_str){ x->head, x->head_n });
    x->head_n = 0;
    x->in_mailbox_line = mailbox;
    x->started = !mailbox;
    return rc;
}

/* The rest of such a line, or what there is of it; *bytes is what follows. */
static int pass_mailbox_line(struct session *s, ph_str *bytes)
{
    struct content *x = s->t.content;
    size_t n = 0;

    while (n < bytes->n && x->in_mailbox_line) {
        x->in_mailbox_line = !(x->saw_cr && bytes->p[n] == '\n');
        x->saw_cr = bytes->p[n++] == '\r';
    }
    int rc = take(s, ph_str_first(*bytes, n));
    *bytes = ph_str_from(*bytes, n);
    return rc;
}

int content_add(struct session *s, ph_str bytes)
{
    struct content *x = s->t.content;

    while (!x->started && bytes.n) {
        int rc = 0;

        if (x->in_mailbox_line) {
            rc = pass_mailbox_line(s, &bytes);
        } else {
            x->head[x->head_n++] = bytes.p[0];
            bytes = ph_str_from(bytes, 1);
            int mailbox = is_mailbox_line((ph_str){ x->head, x->head_n });
            rc = mailbox < 0 ? 0 : begin_line(s, mailbox);
        }
        if (rc < 0)
            return rc;
    }
    return take(s, bytes);
}

int content_pass(struct session *s, ph_str bytes)
{
    int rc = content_add(s, bytes);

    ph_stream_skip(s->io, bytes.n);
    deadline_extend(s, bytes.n);
    return rc;
}

static int refuse_bare(struct session *s)
{
    long long code = s->c->p.bare_code;
    ph_str text = ph_str_printf(transaction_scope(s), "%lld %c.5.2 %.*s Error: bare <LF> received", code, code < 500 ? '4' : '5', PH_FMT(s->c->p.myhostname));

    return reject(s, "END-OF-MESSAGE", text, only_rcpt(s));
}

static ph_str queued_as(struct session *s, int chunked)
{
    if (!chunked)
        return ph_str_printf(transaction_scope(s), "250 2.0.0 Ok: queued as %.*s", PH_FMT(s->t.queue_id));
    return ph_str_printf(transaction_scope(s), "250 2.0.0 Ok: %llu bytes queued as %.*s", (unsigned long long)s->t.content->bytes, PH_FMT(s->t.queue_id));
}

/* A message that is accepted clears the client's record. */
static int accepted(struct session *s, int chunked)
{
    s->errors = s->junk = 0;
    return reply(s, "%.*s", PH_FMT(queued_as(s, chunked)));
}

static int commit(struct session *s, int chunked)
{
    ph_str text;
    int rc = intake_end(s, &text);

    if (rc == PH_CANCEL)
        return rc;
    if (rc < 0) {
        ph_log_warn("%.*s: %s", PH_FMT(s->t.queue_id), ph_error());
        return reply(s, "451 4.3.0 Error: queue file write error");
    }
    intake_release(s, 1);
    return text.p[0] == '2' ? accepted(s, chunked) : reply(s, "%.*s", PH_FMT(text));
}

/* The gravest trouble first. */
static int conclude(struct session *s, int chunked)
{
    struct content *x = s->t.content;
    ph_str text;

    if (s->bare_mode == PH_BARE_REJECT && (x->dot.saw_bare_lf || x->eol.saw_bare_lf))
        return refuse_bare(s);
    if (x->too_big)
        return reply(s, "552 5.3.4 Error: message file too big");
    if (x->failed)
        return reply(s, "451 4.3.0 Error: queue file write error");
    s->facts.message_bytes = x->bytes;
    int rc = restrict_stage(s, PH_STAGE_EOD, "END-OF-MESSAGE", only_rcpt(s), &text);
    if (rc == PH_FOUND)
        return reject(s, "END-OF-MESSAGE", text, only_rcpt(s));
    if (rc < 0)
        return rc;
    if (s->t.discard) {
        ph_log("%.*s: removed (discarded)", PH_FMT(s->t.queue_id));
        return accepted(s, chunked);
    }
    return commit(s, chunked);
}

int content_conclude(struct session *s, int chunked)
{
    struct content *x = s->t.content;
    int rc = 0;

    if (!x->started && x->head_n)
        rc = begin_line(s, 0);
    s->saw_bare_lf |= s->c->note_bare && s->bare_mode != PH_BARE_NO && (x->dot.saw_bare_lf || x->eol.saw_bare_lf);
    s->where = "END-OF-MESSAGE";
    if (rc >= 0)
        rc = conclude(s, chunked);
    transaction_reset(s);
    return rc;
}
