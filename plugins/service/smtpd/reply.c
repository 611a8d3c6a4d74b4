/* reply: what goes to the client, and the lines of the log that say why. */
#include <stdarg.h>
#include <posthorn/address.h>
#include <posthorn/error.h>
#include "smtpd.h"

#define TEXT_MAX 510u              /* RFC 5321 4.5.3.1.5, without CRLF */

ph_str clean_helo(struct ph_scope *s, ph_str text)
{
    char *p = ph_cstr_dup(s, ph_str_first(text, HELO_MAX));
    size_t n = text.n < HELO_MAX ? text.n : HELO_MAX;

    for (size_t i = 0; i < n; i++)
        if (!ph_is_print(p[i]) || ph_str_find(PH_STR(" <>()\\\";@"), p[i]) >= 0)
            p[i] = '?';
    return (ph_str){ p, n };
}

ph_str escaped(struct ph_scope *s, ph_str text, size_t n)
{
    struct ph_buf b;

    ph_buf_init(&b, s, 4 * n);
    text = ph_str_first(text, n);
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];

        if (c == '\r' || c == '\n' || c == '\t' || c == '\\')
            ph_buf_printf(&b, "\\%c", c == '\r' ? 'r' : c == '\n' ? 'n' : c == '\t' ? 't' : c);
        else if (ph_is_print(c))
            ph_buf_putc(&b, c);
        else
            ph_buf_printf(&b, "\\%03o", (unsigned)(unsigned char)c);
    }
    return ph_buf_view(&b);
}

ph_str log_id(const struct session *s)
{
    return s->t.queue_id.n ? s->t.queue_id : PH_STR("NOQUEUE");
}

/* Slow down who has made many errors (replies are late, not lost). */
static int tarpit(struct session *s)
{
    if (s->errors < s->c->p.soft_limit || s->c->p.sleep_time == 0)
        return 0;
    int rc = ph_stream_flush(s->io);
    return rc < 0 ? rc : ph_sleep_until(ph_in_ms(s->c->p.sleep_time * 1000));
}

/* How long the client may take to take a reply. */
static int reply_begin(struct session *s)
{
    int rc = tarpit(s);

    if (rc < 0)
        return rc;
    ph_stream_deadline(s->io, ph_in_ms(s->c->p.per_request ? s->left_ms : s->c->p.timeout * 1000));
    return 0;
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

static int send_with_footer(struct session *s, ph_str text)
{
    PH_SCOPED(t, s->scope);
    ph_str lines;
    int rc = footer_add(s, t, text, &lines);

    if (rc < 0)
        return rc;
    if (rc == PH_NONE)
        lines = ph_str_printf(t, "%.*s\r\n", PH_FMT(text));
    return ph_stream_str(s->io, lines);
}

/* What a refusal is about, by who said it and its enhanced code, RFC 3463 3.4: the mail
 * system's resources (x.3.1 full, 4.3.0 a write that failed), its working, or the protocol. */
static uint32_t error_class(const struct session *s, ph_str line)
{
    ph_str status = ph_str_first(ph_str_from(line, 4), 5);

    if (s->by_policy || ph_str_eq(status, PH_STR("5.3.4")))
        return PH_ERROR_POLICY;
    if (status.n < 5 || status.p[2] != '3')
        return PH_ERROR_PROTOCOL;
    return status.p[4] == '1' || ph_str_starts(line, PH_STR("451 4.3.0")) ? PH_ERROR_RESOURCE : PH_ERROR_SOFTWARE;
}

static void note_error(struct session *s, ph_str line)
{
    ph_transcript_out(s->transcript, line);
    if (s->transcript && line.n > 4 && (line.p[0] == '4' || line.p[0] == '5'))
        ph_transcript_error(s->transcript, error_class(s, line));
}

static int send_text(struct session *s, ph_str text)
{
    char line[TEXT_MAX + 2] PH_UNFILLED;
    size_t n = text.n < TEXT_MAX ? text.n : TEXT_MAX;
    int rc;

    for (size_t i = 0; i < n; i++)
        line[i] = (unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7f ? ' ' : text.p[i];
    if (n >= 3 && (line[0] == '4' || line[0] == '5') && line[1] == '2' && line[2] == '1')
        s->quit = 1;
    if (s->c->p.soft_bounce)
        soften(line, n);
    s->bad |= n && (line[0] == '4' || line[0] == '5');
    note_error(s, (ph_str){ line, n });
    if ((rc = reply_begin(s)) < 0)
        return rc;
    if (s->bad && (s->c->p.footer.n || s->c->footer_maps))
        return send_with_footer(s, (ph_str){ line, n });
    line[n] = '\r';
    line[n + 1] = '\n';
    return ph_stream_write(s->io, line, n + 2);
}

int reply_lines(struct session *s, ph_str lines)
{
    int rc = reply_begin(s);

    ph_transcript_out(s->transcript, lines);
    return rc < 0 ? rc : ph_stream_str(s->io, lines);
}

int reply(struct session *s, const char *fmt, ...)
{
    char text[TEXT_MAX + 1] PH_UNFILLED;       /* more would be cut anyway; stacks are small */
    va_list ap;

    va_start(ap, fmt);
    int n = ph_vformat(text, sizeof text, fmt, ap);
    va_end(ap);
    return send_text(s, (ph_str){ text, n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1 });
}

/* What is known of the login, as the transaction lines show it. */
static void put_login(struct ph_buf *b, const struct session *s)
{
    const struct { const char *name; ph_str value; } known[] = {
        { "sasl_method", s->w.sasl_method }, { "sasl_username", s->w.sasl_user }, { "sasl_sender", s->t.args.auth },
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].value.n)
            ph_buf_printf(b, " %s=%.*s", known[i].name, PH_FMT(ph_str_first(known[i].value, 200)));
}

void log_decision(struct session *s, const char *keyword, const char *where, ph_str text, ph_str rcpt)
{
    PH_SCOPED(t, s->scope);
    struct ph_buf b;

    ph_buf_init(&b, t, 4096);
    ph_buf_printf(&b, "%.*s: %s: %s from %.*s: %.*s;", PH_FMT(log_id(s)), keyword, where, PH_FMT(s->name_addr), PH_FMT(ph_str_first(text, TEXT_MAX)));
    if (s->t.open)
        ph_buf_printf(&b, " from=<%.*s>", PH_FMT(s->t.sender_shown));
    if (rcpt.n)
        ph_buf_printf(&b, " to=<%.*s>", PH_FMT(ph_address_external(t, rcpt)));
    ph_buf_printf(&b, " proto=%s", s->esmtp ? "ESMTP" : "SMTP");
    if (s->helo.n)
        ph_buf_printf(&b, " helo=<%.*s>", PH_FMT(s->helo));
    put_login(&b, s);
    ph_log("%.*s", PH_FMT(ph_buf_view(&b)));
}

int reject(struct session *s, const char *where, ph_str text, ph_str rcpt)
{
    PH_SCOPED(t, s->scope);
    char *p = ph_cstr_dup(t, text);

    if (s->c->p.soft_bounce)
        soften(p, text.n);
    log_decision(s, "reject", where, (ph_str){ p, text.n }, rcpt);
    s->by_policy = 1;
    return send_text(s, text);
}
