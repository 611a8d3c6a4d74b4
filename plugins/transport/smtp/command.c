/* command: the text of the commands of a transaction, RFC 5321 4.1.1, and of
 * their parameters: RFC 1870 (SIZE), 6152 (BODY), 6531 (SMTPUTF8), 3461 (DSN),
 * 4954 (AUTH). */
#include <posthorn/address.h>
#include <posthorn/dsn.h>
#include "smtp.h"

#define XFORWARD_BYTES 510u        /* of a command, without CRLF */

static const struct { const char *name, *stage; } commands[] = {
    [SMTP_RSET] = { "RSET", "sending RSET" },
    [SMTP_XFORWARD] = { "XFORWARD", "sending XFORWARD" },
    [SMTP_MAIL] = { "MAIL FROM", "sending MAIL FROM" },
    [SMTP_RCPT] = { "RCPT TO", "sending RCPT TO" },
    [SMTP_DATA] = { "DATA", "sending DATA command" },
};

const char *smtp_command_name(enum smtp_command c)
{
    return commands[c].name;
}

const char *smtp_command_stage(enum smtp_command c)
{
    return commands[c].stage;
}

enum smtp_command smtp_command_at(const struct smtp_transaction *t, uint32_t i)
{
    uint32_t mail = t->resets + t->forwards;

    if (i < t->resets)
        return SMTP_RSET;
    if (i < mail)
        return SMTP_XFORWARD;
    return i == mail ? SMTP_MAIL : i <= mail + t->count ? SMTP_RCPT : SMTP_DATA;
}

int64_t smtp_command_seconds(const struct smtp_transaction *t, enum smtp_command c)
{
    const struct smtp_params *p = &t->s->agent->p;
    const int64_t limit[] = {
        [SMTP_RSET] = p->rset_timeout, [SMTP_XFORWARD] = p->xforward_timeout, [SMTP_MAIL] = p->mail_timeout,
        [SMTP_RCPT] = p->rcpt_timeout, [SMTP_DATA] = p->data_init_timeout,
    };

    /* A cached session that does not answer soon is dead. */
    return t->s->uses > 1 && t->answered == 0 && p->rset_timeout < limit[c] ? p->rset_timeout : limit[c];
}

/* --- XFORWARD --- */

/* xtext of an attribute; what is not known is said to be so. */
static ph_str forward_value(struct ph_scope *s, uint32_t k, const struct ph_message *m)
{
    int local = !m->client_address.n;
    ph_str v6 = ph_str_find(m->client_address, ':') >= 0 ? ph_str_printf(s, "IPV6:%.*s", PH_FMT(m->client_address)) : m->client_address;
    const ph_str values[SMTP_XFORWARD_COUNT] = {
        m->client_name, v6, m->client_port, m->client_protocol, m->client_helo, m->queue_id,
        local ? PH_STR("LOCAL") : ph_str_eq(m->rewrite_context, PH_STR("local")) ? PH_STR("LOCAL") : PH_STR("REMOTE"),
    };
    ph_str v = values[k];

    if (!v.n || ph_str_eq(v, PH_STR("unknown")))
        return PH_STR("[UNAVAILABLE]");
    return ph_xtext_encode(s, ph_str_first(v, 255));
}

uint32_t smtp_xforward_prepare(struct smtp_transaction *t)
{
    static const char *const names[] = SMTP_XFORWARD_NAMES;
    const struct ph_message *m = t->j->d->message;
    uint32_t lines = 0, want = m->client_address.n ? 0x7fu : 1u << 6;   /* sendmail's mail has no client: SOURCE=LOCAL */
    struct ph_buf b;

    if (!t->s->agent->p.send_xforward || !(t->s->features & SMTP_HAS_XFORWARD))
        return 0;
    ph_buf_init(&b, t->j->scope, XFORWARD_BYTES);
    for (uint32_t k = 0; k < SMTP_XFORWARD_COUNT; k++) {
        if (!(want & t->s->xforward & 1u << k))
            continue;
        ph_str item = ph_str_printf(t->j->scope, " %s=%.*s", names[k], PH_FMT(forward_value(t->j->scope, k, m)));
        if (b.n && b.n + item.n > XFORWARD_BYTES && lines < 2) {
            t->forward[lines++] = ph_str_dup(t->j->scope, ph_buf_view(&b));
            ph_buf_reset(&b);
        }
        if (!b.n)
            ph_buf_puts(&b, "XFORWARD");
        ph_buf_str(&b, item);
    }
    if (b.n && lines < 2)
        t->forward[lines++] = ph_buf_view(&b);
    return lines;
}

/* --- MAIL, RCPT --- */

int smtp_needs_smtputf8(const struct smtp_job *j)
{
    const struct ph_message *m = j->d->message;

    if (!(m->facts & PH_FACT_SMTPUTF8))
        return 0;
    if ((m->facts & PH_FACT_UTF8_HEADER) || !ph_str_is_ascii(m->sender))
        return 1;
    for (uint32_t i = 0; i < j->d->rcpt_count; i++)
        if (smtp_is_open(j, i) && !ph_str_is_ascii(j->d->rcpt[i].address))
            return 1;
    return 0;
}

static ph_str path_of(const struct smtp_transaction *t, ph_str address)
{
    return t->s->agent->p.quote_envelope ? ph_address_external(t->j->scope, address) : address;
}

static void send_mail(struct smtp_transaction *t)
{
    const struct ph_message *m = t->j->d->message;
    struct ph_stream *io = t->s->io;
    uint32_t has = t->s->features;
    ph_str from = path_of(t, t->j->sender);

    ph_stream_printf(io, "MAIL FROM:<%.*s>", PH_FMT(from));
    if ((has & SMTP_HAS_SIZE) && !smtp_must_downgrade(t->j, t->s))
        ph_stream_printf(io, " SIZE=%llu", (unsigned long long)smtp_content_bytes(t->j));
    if ((has & SMTP_HAS_8BITMIME) && (m->facts & PH_FACT_BODY_8BIT))
        ph_stream_str(io, PH_STR(" BODY=8BITMIME"));
    else if ((has & SMTP_HAS_8BITMIME) && (m->facts & PH_FACT_BODY_7BIT))
        ph_stream_str(io, PH_STR(" BODY=7BIT"));
    if ((has & SMTP_HAS_DSN) && m->envelope_id.n)
        ph_stream_printf(io, " ENVID=%.*s", PH_FMT(ph_xtext_encode(t->j->scope, m->envelope_id)));
    if ((has & SMTP_HAS_DSN) && m->dsn_ret.n)
        ph_stream_printf(io, " RET=%.*s", PH_FMT(m->dsn_ret));
    /* Asked for is passed on, though nothing here needs it: a mailing list behind may add what does. */
    if ((has & SMTP_HAS_SMTPUTF8) && (m->facts & PH_FACT_SMTPUTF8))
        ph_stream_str(io, PH_STR(" SMTPUTF8"));
    if ((has & SMTP_HAS_AUTH) && t->s->agent->p.dummy_auth)
        ph_stream_str(io, PH_STR(" AUTH=<>"));
    ph_stream_str(io, PH_STR("\r\n"));
}

/* The character that valid UTF-8 begins with, taken off. */
static uint32_t take_character(ph_str *utf8)
{
    unsigned char first = (unsigned char)utf8->p[0];
    size_t n = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    uint32_t c = n == 1 ? first : first & (0x7fu >> n);

    for (size_t i = 1; i < n; i++)
        c = c << 6 | ((unsigned char)utf8->p[i] & 0x3f);
    *utf8 = ph_str_from(*utf8, n);
    return c;
}

/* RFC 6533 3, utf-8-addr-xtext: any server takes it, and in a session without
 * SMTPUTF8 too. */
static ph_str utf8_address(struct ph_scope *s, ph_str given)
{
    struct ph_buf b;

    ph_buf_init(&b, s, 10 * given.n + 1);
    while (given.n) {
        uint32_t c = take_character(&given);

        if (c > ' ' && c < 0x7f && c != '+' && c != '=' && c != '\\')
            ph_buf_putc(&b, (char)c);
        else
            ph_buf_printf(&b, "\\x{%02X}", (unsigned)c);
    }
    return ph_buf_view(&b);
}

/* "type;address", the address in xtext. */
static ph_str orcpt_of(const struct smtp_transaction *t, const struct ph_recipient *r)
{
    struct ph_scope *s = t->j->scope;
    ph_str given = r->dsn_orcpt, type = ph_str_cut(&given, ';');

    if (!r->dsn_orcpt.n || !given.n) {
        given = r->original.n ? r->original : r->address;
        type = ph_cstr(ph_dsn_address_type(given));
    }
    int utf8 = ph_str_eq_nocase(type, PH_STR("utf-8")) && ph_str_is_utf8(given);
    return ph_str_printf(s, "%.*s;%.*s", PH_FMT(type), PH_FMT(utf8 ? utf8_address(s, given) : ph_xtext_encode(s, given)));
}

static void send_rcpt(struct smtp_transaction *t, uint32_t i)
{
    const struct ph_recipient *r = &t->j->d->rcpt[i];
    struct ph_stream *io = t->s->io;
    ph_str to = path_of(t, t->j->rcpt_to ? t->j->rcpt_to[i] : r->address);

    ph_stream_printf(io, "RCPT TO:<%.*s>", PH_FMT(to));
    if (t->s->features & SMTP_HAS_DSN) {
        ph_str orcpt = orcpt_of(t, r);

        ph_stream_printf(io, " ORCPT=%.*s", PH_FMT(orcpt));
        if (r->dsn_notify.n)
            ph_stream_printf(io, " NOTIFY=%.*s", PH_FMT(r->dsn_notify));
    }
    ph_stream_str(io, PH_STR("\r\n"));
}

void smtp_command_send(struct smtp_transaction *t, uint32_t i)
{
    enum smtp_command c = smtp_command_at(t, i);
    struct ph_stream *io = t->s->io;

    t->window += 64;
    if (c == SMTP_RSET) {
        ph_stream_str(io, PH_STR("RSET\r\n"));
    } else if (c == SMTP_XFORWARD) {
        ph_str line = t->forward[i - t->resets];

        t->window += line.n;
        ph_stream_printf(io, "%.*s\r\n", PH_FMT(line));
    } else if (c == SMTP_MAIL) {
        t->window += t->j->d->message->sender.n;
        send_mail(t);
    } else if (c == SMTP_RCPT) {
        uint32_t k = t->to[i - t->resets - t->forwards - 1];
        const struct ph_recipient *r = &t->j->d->rcpt[k];

        t->window += 2 * r->address.n + 2 * r->dsn_orcpt.n;
        send_rcpt(t, k);
    } else {
        ph_stream_str(io, PH_STR("DATA\r\n"));
    }
}
