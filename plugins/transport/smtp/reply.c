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

static int is_discarded(const struct smtp *agent, ph_str word)
{
    ph_str list = agent->p.discard_keywords;

    for (ph_str w; (w = ph_str_list(&list)).n;)
        if (ph_str_eq_nocase(w, word))
            return 1;
    return 0;
}

/* One line of an EHLO reply after the first, RFC 5321 4.1.1.1. */
static void note_keyword(struct smtp_session *s, ph_str text)
{
    ph_str word = ph_str_word(&text);

    if (is_discarded(s->agent, word))
        return;
    if (ph_str_eq_nocase(word, PH_STR("PIPELINING")))
        s->features |= SMTP_HAS_PIPELINING;
    else if (ph_str_eq_nocase(word, PH_STR("8BITMIME")))
        s->features |= SMTP_HAS_8BITMIME;
    else if (ph_str_eq_nocase(word, PH_STR("DSN")))
        s->features |= SMTP_HAS_DSN;
    else if (ph_str_eq_nocase(word, PH_STR("SMTPUTF8")))
        s->features |= SMTP_HAS_SMTPUTF8;
    else if (ph_str_eq_nocase(word, PH_STR("SIZE"))) {
        s->features |= SMTP_HAS_SIZE;
        if (!ph_str_u64(ph_str_trim(text), &s->size_limit))
            s->size_limit = 0;
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

int smtp_reply_read(struct smtp_session *s, int64_t seconds, int ehlo)
{
    ph_str line, text;
    int more = 1, rc;

    ph_stream_deadline(s->io, ph_in_ms(seconds * 1000));
    int sent = ph_stream_flush(s->io);   /* a peer that hung up may have said why */
    ph_buf_reset(&s->text);
    for (unsigned lines = 0, kept = 0; more; lines++) {
        if (lines == MAX_LINES)
            return ph_fail(PH_EOF, "endless reply");
        if ((rc = ph_stream_line(s->io, 0, &line)) < 0)
            return sent < 0 ? sent : rc;
        if (!is_reply(line, &s->reply.code, &more, &text)) {
            more = 1;
            continue;
        }
        if (kept++)
            ph_buf_putc(&s->text, ' ');
        put_clean(&s->text, line);
        if (ehlo && kept > 1)
            note_keyword(s, text);
    }
    note_dsn(&s->reply, text);
    s->reply.text = ph_buf_view(&s->text);
    return 0;
}
