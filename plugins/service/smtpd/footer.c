/* footer: what stands behind each refusal: smtpd_reject_footer, or what
 * smtpd_reject_footer_maps has for the reply.  "\n" ends a line, "\c" in front
 * goes on with the last line of the reply; $name is expanded, and of what the
 * client said only bytes of smtpd_expansion_filter are shown.  It is not logged. */
#include <time.h>
#include <posthorn/address.h>
#include <posthorn/dsn.h>
#include <posthorn/error.h>
#include "smtpd.h"

#define FOOTER_MAX 4096u

/* "\t\40!..." of main.cf to the bytes it stands for. */
static ph_str unescape(struct ph_scope *s, ph_str v)
{
    struct ph_buf b;

    ph_buf_init(&b, s, v.n + 1);
    for (size_t i = 0; i < v.n; i++) {
        char c = v.p[i];

        if (c == '\\' && i + 1 < v.n) {
            c = v.p[++i];
            if (c >= '0' && c <= '7') {
                unsigned code = 0;
                size_t end = i + 3 < v.n ? i + 3 : v.n;

                for (; i < end && v.p[i] >= '0' && v.p[i] <= '7'; i++)
                    code = code * 8 + (unsigned)(v.p[i] - '0');
                i--;
                c = (char)code;
            } else {
                c = c == 't' ? '\t' : c;
            }
        }
        ph_buf_putc(&b, c);
    }
    return ph_buf_view(&b);
}

int footer_open(struct smtpd_conf *c)
{
    c->shown_bytes = unescape(c->scope, c->p.expansion_filter);
    return c->p.footer_maps.n ? ph_maps_open(c->conf, c->scope, "smtpd_reject_footer_maps", c->p.footer_maps, 0, &c->footer_maps) : 0;
}

static ph_str local_time(struct ph_scope *s)
{
    time_t now = (time_t)(ph_wall_us() / 1000000);
    struct tm tm;
    char text[64] = "";

    if (localtime_r(&now, &tm))
        strftime(text, sizeof text, "%b %d %H:%M:%S", &tm);
    return ph_str_dup(s, ph_cstr(text));
}

static ph_str part_of(ph_str address, int want_domain)
{
    ph_str local, domain;

    ph_address_split(address, &local, &domain);
    return want_domain ? domain : local;
}

static ph_str value_of(struct session *s, struct ph_scope *t, ph_str name)
{
    ph_str from = s->t.open ? s->t.sender_shown : PH_STR(""), to = s->facts.recipient;
    const struct { const char *name; ph_str value; } known[] = {
        { "client", s->name_addr }, { "client_address", s->w.addr }, { "client_port", s->w.port }, { "client_name", s->w.name },
        { "reverse_client_name", s->w.reverse }, { "helo_name", s->helo }, { "server_name", s->c->p.myhostname }, { "sender", from },
        { "sender_name", part_of(from, 0) }, { "sender_domain", part_of(from, 1) }, { "recipient", to }, { "recipient_name", part_of(to, 0) },
        { "recipient_domain", part_of(to, 1) },
    };

    if (ph_str_eq(name, PH_STR("localtime")))
        return local_time(t);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (ph_str_eq(name, ph_cstr(known[i].name)))
            return known[i].value;
    ph_log_warn("smtpd_reject_footer: unknown attribute \"%.*s\"", PH_FMT(name));
    return PH_STR("");
}

/* The name behind a '$' at text[*at]: "x", "{x}", "(x)"; *at behind it. */
static ph_str take_name(ph_str text, size_t *at)
{
    char open = *at < text.n ? text.p[*at] : 0, close = open == '{' ? '}' : open == '(' ? ')' : 0;
    size_t start = *at + (close != 0), end = start;

    while (end < text.n && (ph_is_alnum(text.p[end]) || text.p[end] == '_'))
        end++;
    *at = end + (close && end < text.n && text.p[end] == close);
    return ph_str_first(ph_str_from(text, start), end - start);
}

static ph_str expand(struct session *s, struct ph_scope *t, ph_str text)
{
    struct ph_buf b;

    ph_buf_init(&b, t, FOOTER_MAX);
    for (size_t i = 0; i < text.n; ) {
        char c = text.p[i++];

        if (c != '$') {
            ph_buf_putc(&b, c);
        } else if (i < text.n && text.p[i] == '$') {
            ph_buf_putc(&b, text.p[i++]);
        } else {
            ph_str v = ph_str_first(value_of(s, t, take_name(text, &i)), 255);

            for (size_t k = 0; k < v.n; k++)
                ph_buf_putc(&b, ph_str_find(s->c->shown_bytes, v.p[k]) >= 0 ? v.p[k] : '_');
        }
    }
    return ph_buf_view(&b);
}

/* The lines of the reply with the footer's behind it: each begins with the
 * code and the enhanced code. */
static ph_str join(struct ph_scope *t, ph_str reply, ph_str footer)
{
    ph_str dsn = PH_STR(""), rest, text = ph_str_from(reply, 4);
    struct ph_buf b;
    size_t last = 0;
    int same_line = ph_str_starts(footer, PH_STR("\\c"));

    ph_dsn_parse(text, &dsn, &rest);
    ph_buf_init(&b, t, FOOTER_MAX * 2);
    ph_buf_str(&b, reply);
    if (same_line)
        footer = ph_str_from(footer, 2);
    while (footer.n || same_line) {
        ptrdiff_t end = ph_str_search(footer, PH_STR("\\n"));
        ph_str line = end < 0 ? footer : ph_str_first(footer, (size_t)end);

        if (!same_line) {
            b.p[last + 3] = '-';
            ph_buf_puts(&b, "\r\n");
            last = b.n;
            ph_buf_printf(&b, "%.*s %.*s%s", 3, reply.p, PH_FMT(dsn), dsn.n ? " " : "");
        }
        ph_buf_str(&b, line);
        same_line = 0;
        footer = end < 0 ? PH_STR("") : ph_str_from(footer, (size_t)end + 2);
    }
    ph_buf_puts(&b, "\r\n");
    return ph_buf_view(&b);
}

int footer_add(struct session *s, struct ph_scope *t, ph_str reply, ph_str *lines)
{
    ph_str footer = s->c->p.footer;
    int rc = s->c->footer_maps ? ph_maps_find(s->c->footer_maps, reply, t, &footer) : PH_NONE;

    if (rc == PH_CANCEL)
        return rc;
    if (rc < 0)
        ph_log_warn("%.*s: %s", PH_FMT(s->name_addr), ph_error());
    if (rc < 0 || reply.n < 4 || footer.n == 0)
        return PH_NONE;
    *lines = join(t, reply, expand(s, t, footer));
    return PH_FOUND;
}
