/* headers: what each header means to us, and the ones that are missing.
 *
 * A header that we do not drop goes out byte for byte as it came, but for a blank
 * before its colon and for addresses (rewrite.c): signatures of others cover it. */
#include <posthorn/address.h>
#include <posthorn/clock.h>
#include <posthorn/date.h>
#include <posthorn/error.h>
#include <posthorn/header.h>
#include <posthorn/log.h>
#include "cleanup.h"

#define NAMED(name, saw) { PH_STR_INIT(name), saw }
static const struct { ph_str name; uint32_t saw; } known[] = {
    NAMED("Message-Id", SAW_MESSAGE_ID), NAMED("Date", SAW_DATE), NAMED("From", SAW_FROM),
    NAMED("To", SAW_TO), NAMED("Cc", SAW_TO),
    NAMED("Resent-Message-Id", SAW_RESENT | SAW_RESENT_ID), NAMED("Resent-Date", SAW_RESENT | SAW_RESENT_DATE),
    NAMED("Resent-From", SAW_RESENT | SAW_RESENT_FROM), NAMED("Resent-To", SAW_RESENT | SAW_TO), NAMED("Resent-Cc", SAW_RESENT | SAW_TO),
    NAMED("Resent-Bcc", SAW_RESENT), NAMED("Resent-Sender", SAW_RESENT), NAMED("Resent-Reply-To", SAW_RESENT),
};

int cleanup_is_header(ph_str line, ph_str *name)
{
    ptrdiff_t colon = ph_str_find(line, ':');

    if (colon <= 0)
        return 0;
    ph_str n = ph_str_first(line, (size_t)colon);
    while (n.n && (n.p[n.n - 1] == ' ' || n.p[n.n - 1] == '\t'))
        n.n--;
    for (size_t i = 0; i < n.n; i++)
        if (n.p[i] <= ' ' || n.p[i] > '~')
            return 0;
    *name = n;
    return n.n > 0;
}

static uint32_t saw_of(ph_str name)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (name.n == known[i].name.n && ph_str_eq_nocase(name, known[i].name))
            return known[i].saw;
    return 0;
}

static int is_dropped(const struct message *m, ph_str name)
{
    for (size_t i = 0; i < m->p->dropped_count; i++)
        if (ph_str_eq_nocase(m->p->dropped[i], name))
            return 1;
    return 0;
}

#define VALUE_MAX 1000u            /* of a value that we look at or log */

/* The value behind the colon, unfolded; cut first, since a peer may send many
 * long ones. */
static ph_str value_of(struct ph_scope *s, ph_str raw)
{
    ptrdiff_t colon = ph_str_find(raw, ':');

    return ph_str_trim(ph_header_unfold(s, ph_str_first(ph_str_from(raw, (size_t)colon + 1), VALUE_MAX)));
}

static int is_8bit(ph_str raw)
{
    PH_SCOPED(s, NULL);
    ph_str how = value_of(s, raw);

    return ph_str_eq_nocase(how, PH_STR("8bit")) || ph_str_eq_nocase(how, PH_STR("binary"));
}

void cleanup_detect(struct message *m, ph_str text)
{
    if (m->detect_utf8 && !ph_str_is_ascii(text) && ph_str_is_utf8(text)) {
        m->facts |= PH_FACT_SMTPUTF8;
        m->detect_utf8 = 0;
    }
}

int cleanup_header(struct message *m, ph_str raw)
{
    ph_str name;

    if (!cleanup_is_header(raw, &name))
        return ph_fail(PH_PERM, "not a header");
    uint32_t saw = saw_of(name);

    m->saw |= saw;
    if (saw & SAW_MESSAGE_ID && m->message_id.n == 0)
        m->message_id = value_of(m->scope, raw);
    if (saw & SAW_RESENT_ID && m->resent_id.n == 0)
        m->resent_id = value_of(m->scope, raw);
    if (ph_str_eq_nocase(name, PH_STR("Received")) && ++m->hops > m->p->hop_limit)
        cleanup_fail(m, CLEAN_HOPS, "hopcount exceeded");
    if (m->p->detect_8bit && ph_str_eq_nocase(name, PH_STR("Content-Transfer-Encoding")) && is_8bit(raw))
        m->facts |= PH_FACT_BODY_8BIT;
    return is_dropped(m, name) ? 0 : cleanup_put_header(m, raw, name);
}

/* RFC 5322 3.2.3: a phrase of atoms and blanks needs no quoting. */
static int is_atom_byte(char c)
{
    return ph_is_alnum(c) || ph_str_find(PH_STR(" !#$%&'*+-/=?^_`{|}~"), c) >= 0;
}

/* Non-ASCII names as one RFC 2047 word in base64, split so that none is over
 * 75 characters and no UTF-8 sequence is cut. */
static void put_encoded(struct ph_buf *b, ph_str s)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    while (s.n) {
        size_t n = s.n < 42 ? s.n : 42, whole = n;

        while (whole < s.n && n - whole < 4 && ((unsigned char)s.p[whole] & 0xc0) == 0x80)
            whole--;
        if (n - whole < 4)         /* else it is no UTF-8, and the place does not matter */
            n = whole;
        ph_buf_puts(b, "=?utf-8?B?");
        for (size_t i = 0; i < n; i += 3) {
            uint32_t w = (uint32_t)(unsigned char)s.p[i] << 16 | (i + 1 < n ? (uint32_t)(unsigned char)s.p[i + 1] << 8 : 0) |
                         (i + 2 < n ? (uint32_t)(unsigned char)s.p[i + 2] : 0);

            ph_buf_putc(b, digits[w >> 18]);
            ph_buf_putc(b, digits[w >> 12 & 63]);
            ph_buf_putc(b, i + 1 < n ? digits[w >> 6 & 63] : '=');
            ph_buf_putc(b, i + 2 < n ? digits[w & 63] : '=');
        }
        ph_buf_puts(b, "?=");
        s = ph_str_from(s, n);
        if (s.n)
            ph_buf_puts(b, "\r\n\t");
    }
}

static void put_phrase(struct ph_buf *b, ph_str name)
{
    int plain = 1;

    for (size_t i = 0; i < name.n; i++)
        plain &= is_atom_byte(name.p[i]);
    if (!ph_str_is_ascii(name)) {
        put_encoded(b, name);
        return;
    }
    if (!plain)
        ph_buf_putc(b, '"');
    for (size_t i = 0; i < name.n; i++) {
        if (!ph_is_print(name.p[i]))
            continue;              /* no control byte becomes part of a header */
        if (!plain && (name.p[i] == '"' || name.p[i] == '\\'))
            ph_buf_putc(b, '\\');
        ph_buf_putc(b, name.p[i]);
    }
    if (!plain)
        ph_buf_putc(b, '"');
}

/* Inside a comment quotes mean nothing, but parentheses do. */
static void put_comment(struct ph_buf *b, ph_str name)
{
    if (!ph_str_is_ascii(name)) {
        put_encoded(b, name);
        return;
    }
    for (size_t i = 0; i < name.n; i++) {
        if (!ph_is_print(name.p[i]))
            continue;
        if (name.p[i] == '(' || name.p[i] == ')' || name.p[i] == '\\')
            ph_buf_putc(b, '\\');
        ph_buf_putc(b, name.p[i]);
    }
}

static ph_str make_from(struct message *m, const char *prefix)
{
    struct ph_buf b;
    ph_str who = m->sender.n ? ph_address_external(m->scope, m->sender) : PH_STR("MAILER-DAEMON");

    ph_buf_init(&b, m->scope, 256 + who.n + 4 * m->full_name.n);   /* no form of a name takes more */
    ph_buf_printf(&b, "%sFrom: ", prefix);
    if (m->sender.n == 0 || m->full_name.n == 0) {
        ph_buf_str(&b, who);
    } else if (ph_str_eq(m->p->from_format, PH_STR("obsolete"))) {
        ph_buf_printf(&b, "%.*s (", PH_FMT(who));
        put_comment(&b, m->full_name);
        ph_buf_putc(&b, ')');
    } else {
        put_phrase(&b, m->full_name);
        ph_buf_printf(&b, " <%.*s>", PH_FMT(who));
    }
    ph_buf_puts(&b, "\r\n");
    return ph_buf_view(&b);
}

static int add_missing(struct message *m)
{
    int resent = (m->saw & SAW_RESENT) != 0, rc = 0;
    const char *prefix = resent ? "Resent-" : "";
    uint32_t need_id = resent ? SAW_RESENT_ID : SAW_MESSAGE_ID, need_date = resent ? SAW_RESENT_DATE : SAW_DATE,
             need_from = resent ? SAW_RESENT_FROM : SAW_FROM;

    if (!(m->saw & need_id)) {
        ph_str id = ph_str_printf(m->scope, "<%.*s@%.*s>", PH_FMT(m->id), PH_FMT(m->p->myhostname));

        *(resent ? &m->resent_id : &m->message_id) = id;
        rc = ph_intake_write(m->intake, ph_str_printf(m->scope, "%sMessage-Id: %.*s\r\n", prefix, PH_FMT(id)));
    }
    if (rc == 0 && !(m->saw & need_date))
        rc = ph_intake_write(m->intake, ph_str_printf(m->scope, "%sDate: %.*s\r\n", prefix,
                                                      PH_FMT(ph_date_format(m->scope, ph_wall_us() / 1000000, 1))));
    if (rc == 0 && !(m->saw & need_from))
        rc = ph_intake_write(m->intake, make_from(m, prefix));
    if (rc == 0 && !(m->saw & SAW_TO) && m->p->undisclosed.n)
        rc = ph_intake_write(m->intake, ph_str_printf(m->scope, "%.*s\r\n", PH_FMT(m->p->undisclosed)));
    return rc;
}

int cleanup_header_end(struct message *m)
{
    int rc = cleanup_put_held(m);

    if (m->error != CLEAN_OK)
        return 0;
    if (rc == 0 && (m->local || m->p->rewrites_remote || m->p->add_missing))
        rc = add_missing(m);

    ph_log("%.*s: message-id=%.*s", PH_FMT(m->id), PH_FMT(m->message_id.n ? m->message_id : PH_STR("<>")));
    if (m->resent_id.n)
        ph_log("%.*s: resent-message-id=%.*s", PH_FMT(m->id), PH_FMT(m->resent_id));
    return rc < 0 ? rc : ph_intake_body(m->intake);
}
