/* received: the trace that we put in front, RFC 5321 4.4. */
#include <posthorn/address.h>
#include <posthorn/date.h>
#include "smtpd.h"

#define DATE_MAX 100u              /* a zone's name may be anything */

/* Names of clients come from DNS and from themselves: they must not end a
 * comment or a header. */
static ph_str comment(struct ph_scope *s, ph_str text)
{
    char *p = ph_cstr_dup(s, text);

    for (size_t i = 0; i < text.n; i++)
        switch (p[i]) {
        case '(': case ')': case '\\': case '"': case '<': case '>': p[i] = '?'; break;
        default: p[i] = p[i] >= ' ' && p[i] <= '~' ? p[i] : '?';
        }
    return (ph_str){ p, text.n };
}

/* The date of now: made once a second. */
static ph_str date_now(struct smtpd_conf *c)
{
    int64_t now = ph_wall_us() / 1000000;

    if (c->date.scope == NULL)
        ph_buf_init(&c->date, c->scope, DATE_MAX);
    if (c->date.n == 0 || now != c->date_second) {
        PH_SCOPED(t, NULL);

        ph_buf_reset(&c->date);
        ph_buf_str(&c->date, ph_str_first(ph_date_format(t, now, 1), DATE_MAX));
        c->date_second = now;
    }
    return ph_buf_view(&c->date);
}

/* RFC 3848, RFC 6531 3.7.3. */
static const char *protocol(const struct session *s)
{
    int login = s->w.sasl_user.n > 0;

    if (!s->esmtp)
        return "SMTP";
    if (s->t.args.utf8)
        return login ? "UTF8SMTPA" : "UTF8SMTP";
    return login ? "ESMTPA" : "ESMTP";
}

static void put_client(struct session *s, struct ph_buf *b)
{
    struct ph_scope *t = transaction_scope(s);
    int v6 = ph_str_find(s->w.addr, ':') >= 0;
    ph_str name = comment(t, s->w.name), helo = s->helo.n ? comment(t, s->helo) : name;

    ph_buf_printf(b, "Received: from %.*s (%.*s [%s%.*s])\r\n\tby %.*s (%.*s) with %s id %.*s", PH_FMT(helo),
                  PH_FMT(name), v6 ? "IPv6:" : "", PH_FMT(s->w.addr), PH_FMT(s->c->p.myhostname), PH_FMT(s->c->p.mail_name), protocol(s),
                  PH_FMT(s->t.queue_id));
}

/* smtpd_hide_client_session: for submission; a server on port 25 owes the world its trace. */
static int is_hidden(const struct session *s)
{
    return s->c->p.hide_client && !ph_str_eq(s->w.server_port, PH_STR("25"));
}

ph_str received_header(struct session *s)
{
    struct ph_scope *t = transaction_scope(s);
    ph_str date = date_now(s->c);
    struct ph_buf b;
    int hidden = is_hidden(s);

    ph_buf_init(&b, t, s->t.prepend.n + 8192);
    ph_buf_str(&b, s->t.prepend);
    if (hidden)
        ph_buf_printf(&b, "Received: by %.*s (%.*s) id %.*s", PH_FMT(s->c->p.myhostname), PH_FMT(s->c->p.mail_name), PH_FMT(s->t.queue_id));
    else
        put_client(s, &b);
    if (s->t.rcpt_count == 1)
        ph_buf_printf(&b, "\r\n\tfor <%.*s>; %.*s\r\n", PH_FMT(ph_address_external(t, s->t.first_rcpt)), PH_FMT(date));
    else
        ph_buf_printf(&b, ";\r\n\t%.*s\r\n", PH_FMT(date));
    return ph_buf_view(&b);
}
