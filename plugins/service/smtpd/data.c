/* data: DATA, RFC 5321 4.1.1.4. */
#include <posthorn/error.h>
#include "smtpd.h"

/* Read to the end of data, also when the message has already failed: client
 * and server must stay in step.  0, or negative: the client is lost. */
static int transfer(struct session *s)
{
    struct content *x = s->t.content;
    ph_str view;
    int rc;

    deadline_begin(s);
    while (!x->dot.done) {
        content_rest(s);
        if ((rc = ph_stream_peek(s->io, &view)) < 0)
            return rc;
        size_t plain = ph_dot_pass(&x->dot, view, CONTENT_RUN);
        if (plain) {
            if ((rc = content_pass(s, ph_str_first(view, plain))) < 0)
                return rc;
            continue;
        }
        view = ph_str_first(view, CONTENT_PIECE);
        char *out = content_room(x, view.n);
        size_t written, used = ph_dot_decode(&x->dot, view, out, &written);
        ph_stream_skip(s->io, used);
        deadline_extend(s, used);
        if ((rc = content_add(s, (ph_str){ out, written })) < 0)
            return rc;
    }
    deadline_end(s);
    return 0;
}

int do_data(struct session *s, ph_str args)
{
    ph_str text;
    int rc;

    if (s->chunks != CHUNKS_NONE)
        return reply(s, "503 5.5.1 Error: DATA after BDAT");
    if (!s->t.intake || s->t.rcpt_count == 0)
        return refuse_without_rcpt(s);
    if (args.n)
        return reply(s, "501 5.5.4 Syntax: DATA");
    rc = restrict_stage(s, PH_STAGE_DATA, "DATA", only_rcpt(s), &text);
    if (rc == PH_FOUND)
        return reject(s, "DATA", text, only_rcpt(s));
    if (rc < 0)
        return rc;
    if ((rc = reply(s, "354 End data with <CR><LF>.<CR><LF>")) < 0 || (rc = ph_stream_flush(s->io)) < 0 || (rc = content_begin(s)) < 0)
        return rc;
    if ((rc = transfer(s)) < 0) {
        s->where = ph_str_printf(s->scope, "DATA (%llu bytes)", (unsigned long long)s->t.content->bytes).p;
        return rc;
    }
    return content_conclude(s, 0);
}
