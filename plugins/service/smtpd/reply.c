/* reply: what goes to the client, and the lines of the log that say why. */
#include <stdarg.h>
#include <stdio.h>
#include <posthorn/address.h>
#include <posthorn/error.h>
#include "smtpd.h"

#define TEXT_MAX 510u              /* RFC 5321 4.5.3.1.5, without CRLF */

ph_str clean_helo(struct ph_scope *s, ph_str text)
{
    char *p = ph_cstr_dup(s, ph_str_first(text, 255));
    size_t n = text.n < 255 ? text.n : 255;

    for (size_t i = 0; i < n; i++)
        if (!ph_is_print(p[i]) || ph_str_find(PH_STR(" <>()\\\";@"), p[i]) >= 0)
            p[i] = '?';
    return (ph_str){ p, n };
}

/* Slow down who makes errors (the reply is late, not lost). */
static int tarpit(struct session *s)
{
    if (s->errors < s->c->p.soft_limit || s->c->p.sleep_time == 0)
        return 0;
    int rc = ph_stream_flush(s->io);
    return rc < 0 ? rc : ph_sleep_until(ph_in_ms(s->c->p.sleep_time * 1000));
}

/* 5xx to 4xx, in the code and in the enhanced code. */
static void soften(char *text, size_t n)
{
    if (n < 4 || text[0] != '5')
        return;
    text[0] = '4';
    if (n > 5 && text[4] == '5' && text[5] == '.')
        text[4] = '4';
}

static int send_text(struct session *s, ph_str text)
{
    char line[TEXT_MAX + 1];
    size_t n = text.n < TEXT_MAX ? text.n : TEXT_MAX;
    int rc;

    for (size_t i = 0; i < n; i++)
        line[i] = (unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7f ? ' ' : text.p[i];
    if (s->c->p.soft_bounce)
        soften(line, n);
    int bad = n && (line[0] == '4' || line[0] == '5');
    if (bad)
        s->errors++;
    if (n >= 3 && (line[0] == '4' || line[0] == '5') && line[1] == '2' && line[2] == '1')
        s->quit = 1;
    if (bad && (rc = tarpit(s)) < 0)
        return rc;
    ph_stream_deadline(s->io, ph_in_ms(s->c->p.timeout * 1000));
    if ((rc = ph_stream_write(s->io, line, n)) < 0)
        return rc;
    return ph_stream_write(s->io, "\r\n", 2);
}

int reply(struct session *s, const char *fmt, ...)
{
    char text[2048];
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return send_text(s, (ph_str){ text, n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1 });
}

void log_decision(struct session *s, const char *keyword, const char *where, ph_str text, ph_str rcpt)
{
    PH_SCOPED(t, s->scope);
    struct ph_buf b;

    ph_buf_init(&b, t, 4096);
    ph_buf_printf(&b, "%.*s: %s: %s from %.*s: %.*s;", PH_FMT(s->t.queue_id.n ? s->t.queue_id : PH_STR("NOQUEUE")), keyword, where,
                  PH_FMT(s->name_addr), PH_FMT(ph_str_first(text, TEXT_MAX)));
    if (s->t.open)
        ph_buf_printf(&b, " from=<%.*s>", PH_FMT(s->t.sender_shown));
    if (rcpt.n)
        ph_buf_printf(&b, " to=<%.*s>", PH_FMT(ph_address_external(t, rcpt)));
    ph_buf_printf(&b, " proto=%s", s->esmtp ? "ESMTP" : "SMTP");
    if (s->helo.n)
        ph_buf_printf(&b, " helo=<%.*s>", PH_FMT(s->helo));
    ph_log("%.*s", PH_FMT(ph_buf_view(&b)));
}

int reject(struct session *s, const char *where, ph_str text, ph_str rcpt)
{
    PH_SCOPED(t, s->scope);
    char *p = ph_cstr_dup(t, text);

    if (s->c->p.soft_bounce)
        soften(p, text.n);
    log_decision(s, "reject", where, (ph_str){ p, text.n }, rcpt);
    return send_text(s, text);
}
