/* reply: read one reply, RFC 5321 4.2.  Multi-line replies are joined; lines
 * that are none are skipped; lines, bytes and time are bounded. */
#include <stdio.h>
#include <string.h>
#include <posthorn/dsn.h>
#include "smtp.h"

#define MAX_LINES 500u

/* What goes into logs and notices: controls become '?', and so do bytes above
 * 127 unless the line is UTF-8. */
static void put_clean(struct ph_buf *b, ph_str line)
{
    int utf8 = ph_str_is_utf8(line);

    for (size_t i = 0; i < line.n; i++) {
        unsigned char c = (unsigned char)line.p[i];

        ph_buf_putc(b, c < 0x20 || c == 0x7f || (c >= 0x80 && !utf8) ? '?' : (char)c);
    }
}

/* The enhanced code counts only when it agrees with the reply's class. */
static void note_dsn(struct smtp_reply *r, ph_str text)
{
    ph_str code, rest;
    char class = (char)('0' + r->code / 100);

    if (ph_dsn_parse(text, &code, &rest) && ph_dsn_class(code) == class && code.n < sizeof r->dsn)
        snprintf(r->dsn, sizeof r->dsn, "%.*s", PH_FMT(code));
    else
        snprintf(r->dsn, sizeof r->dsn, "%c.0.0", class);
}

static int is_reply(ph_str line, unsigned *code, int *more, ph_str *text)
{
    return ph_reply_parse(line, code, more, text) && *code >= 200 && *code < 600;
}

/* smtp_reply_filter.  A line that no table knows, and one for which a table
 * fails, stays (with a warning): to lose a reply would be worse. */
static ph_str filter(const struct smtp_session *s, struct ph_scope *step, ph_str line)
{
    ph_str found;

    if (!s->agent->reply_filter)
        return line;
    line = ph_str_dup(step, line);
    int rc = ph_maps_find(s->agent->reply_filter, line, step, &found);
    if (rc < 0)
        ph_log_warn("%.*s: reply filter: %s", PH_FMT(s->relay), ph_error());
    return rc == PH_FOUND ? found : line;
}

/* Lines up to the last of the reply: 0, or negative. */
static int read_lines(struct smtp_session *s, struct ph_scope *step, int64_t seconds, int ehlo)
{
    ph_str line, text;
    int more = 1, rc;

    for (unsigned lines = 0, kept = 0; more; lines++) {
        if (lines == MAX_LINES)
            return ph_fail(PH_EOF, "endless reply");
        if (lines && !s->agent->p.per_request)
            ph_stream_deadline(s->io, ph_in_ms(seconds * 1000));
        if ((rc = ph_stream_line(s->io, 0, &line)) < 0)
            return rc;
        line = filter(s, step, line);
        if (!is_reply(line, &s->reply.code, &more, &text)) {
            more = 1;
            continue;
        }
        if (kept++)
            ph_buf_putc(&s->text, ' ');
        put_clean(&s->text, line);
        if (ehlo && kept > 1)
            smtp_ehlo_keyword(s, text);
    }
    note_dsn(&s->reply, text);
    return 0;
}

int smtp_reply_read(struct smtp_session *s, int64_t seconds, int ehlo)
{
    struct ph_scope *step = s->agent->reply_filter ? ph_scope_new(NULL) : NULL;

    ph_stream_deadline(s->io, ph_in_ms(seconds * 1000));
    int sent = ph_stream_flush(s->io);
    ph_buf_reset(&s->text);
    if (sent < 0) {                      /* a peer that hung up may have said why: that is here or never comes */
        seconds = 1;
        ph_stream_deadline(s->io, ph_in_ms(seconds * 1000));
    }
    int rc = read_lines(s, step, seconds, ehlo);
    s->reply.text = ph_buf_view(&s->text);
    ph_scope_free(step);
    return rc < 0 && sent < 0 ? sent : rc;
}
