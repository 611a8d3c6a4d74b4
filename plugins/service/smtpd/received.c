/* received: the trace that we put in front, RFC 5321 4.4. */
#include <posthorn/address.h>
#include <posthorn/date.h>
#include "smtpd.h"

/* Names of clients come from DNS and from themselves: they must not end a
 * comment or a header. */
static ph_str comment(struct ph_scope *s, ph_str text)
{
    char *p = ph_cstr_dup(s, text);

    for (size_t i = 0; i < text.n; i++)
        if (!ph_is_print(p[i]) || ph_str_find(PH_STR("()\\\"<>"), p[i]) >= 0)
            p[i] = '?';
    return (ph_str){ p, text.n };
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
    struct ph_scope *t = s->t.scope;
    int v6 = ph_str_find(s->w.addr, ':') >= 0;

    ph_buf_printf(b, "Received: from %.*s (%.*s [%s%.*s])\r\n\tby %.*s (%.*s) with %s id %.*s", PH_FMT(comment(t, s->helo.n ? s->helo : s->w.name)),
                  PH_FMT(comment(t, s->w.name)), v6 ? "IPv6:" : "", PH_FMT(s->w.addr), PH_FMT(s->c->p.myhostname), PH_FMT(s->c->p.mail_name), protocol(s),
                  PH_FMT(s->t.queue_id));
}

/* smtpd_hide_client_session: for submission; a server on port 25 owes the world its trace. */
static int is_hidden(const struct session *s)
{
    return s->c->p.hide_client && !ph_str_eq(s->w.server_port, PH_STR("25"));
}

ph_str received_header(struct session *s)
{
    struct ph_scope *t = s->t.scope;
    ph_str date = ph_date_format(t, ph_wall_us() / 1000000, 1);
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
