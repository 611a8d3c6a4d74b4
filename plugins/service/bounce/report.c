/* report: the text of a notice, RFC 3462 and RFC 3464: a header and three
 * parts: words for people, fields for programs, the message or its header. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <posthorn/address.h>
#include <posthorn/dsn.h>
#include <posthorn/date.h>
#include <posthorn/header.h>
#include "bounce.h"

#define FOLD      79
#define LONG_WORD 900u

/* One row per kind of notice. */
static const struct kind {
    int template;
    const char *action;            /* NULL: the record says it */
    const char *returned, *returned_header;
} kinds[NOTICE_KINDS] = {
    [NOTICE_FAILURE] = { PH_TEMPLATE_FAILURE, "failed", "Undelivered Message", "Undelivered Message Headers" },
    [NOTICE_DELAY] = { PH_TEMPLATE_DELAY, "delayed", "Undelivered Message", "Undelivered Message Headers" },
    [NOTICE_SUCCESS] = { PH_TEMPLATE_SUCCESS, NULL, "Message", "Message Headers" },
    [NOTICE_VERIFY] = { PH_TEMPLATE_VERIFY, NULL, "Message", "Message Headers" },
};

static const struct ph_bounce_template *template_of(const struct report *r)
{
    return &r->b->template[kinds[r->kind].template];
}

/* Text of logs is ASCII unless the message may be UTF-8. */
static ph_str clean(const struct report *r, ph_str v)
{
    char *p = ph_alloc(r->s, v.n + 1);

    for (size_t i = 0; i < v.n; i++) {
        unsigned char c = (unsigned char)v.p[i];

        p[i] = c < 0x20 || c == 0x7f || (c >= 0x80 && !r->utf8) ? '?' : (char)c;
    }
    return (ph_str){ p, v.n };
}

static ph_str external(const struct report *r, ph_str address)
{
    return clean(r, ph_address_external(r->s, address));
}

/* Where a word longer than a line is cut: not within a character. */
static size_t cut_of(ph_str w)
{
    size_t n = LONG_WORD;

    while (n > LONG_WORD - 4 && ((unsigned char)w.p[n] & 0xc0) == 0x80)
        n--;
    return n;
}

static size_t put_word(struct ph_buf *out, ph_str w, size_t column, const char *indent)
{
    while (w.n > LONG_WORD) {      /* 998 bytes are a line at most, RFC 5322 2.1.1 */
        size_t n = cut_of(w);

        ph_buf_str(out, ph_str_first(w, n));
        ph_buf_printf(out, "\r\n%s", indent);
        w = ph_str_from(w, n);
        column = strlen(indent);
    }
    ph_buf_str(out, w);
    return column + w.n;
}

/* Append text, folded at blanks at FOLD columns; later lines begin with
 * `indent`.  The column of the first is where `out` stands now.  What is not
 * folded stays as it is, blank for blank. */
static void put_folded(struct ph_buf *out, ph_str text, const char *indent)
{
    ptrdiff_t eol = ph_str_rfind(ph_buf_view(out), '\n');
    size_t column = out->n - (size_t)(eol + 1), fresh = column;

    while (text.n) {
        size_t blanks = 0, end;

        while (blanks < text.n && text.p[blanks] == ' ')
            blanks++;
        for (end = blanks; end < text.n && text.p[end] != ' '; )
            end++;
        ph_str w = ph_str_from(ph_str_first(text, end), blanks);

        if (column > fresh && column + end > FOLD) {
            ph_buf_printf(out, "\r\n%s", indent);
            column = fresh = strlen(indent);
        } else if (w.n) {
            ph_buf_str(out, ph_str_first(text, blanks));
            column += blanks;
        }
        column = put_word(out, w, column, indent);
        text = ph_str_from(text, end);
    }
    ph_buf_puts(out, "\r\n");
}

/* ---- header ---- */

/* "Name <local>", or "local", gets our domain. */
static ph_str with_domain(struct report *r, ph_str from)
{
    ptrdiff_t end = ph_str_rfind(from, '>');

    if (ph_str_find(from, '@') >= 0 || (end < 0 && ph_str_find(from, ' ') >= 0))
        return from;
    size_t at = end < 0 ? from.n : (size_t)end;

    return ph_str_printf(r->s, "%.*s@%.*s%.*s", PH_FMT(ph_str_first(from, at)), PH_FMT(r->b->p.myorigin), PH_FMT(ph_str_from(from, at)));
}

static void put_from(struct report *r, struct ph_buf *out)
{
    ph_str origin = r->b->p.myorigin;

    if (template_of(r)->is_custom)
        ph_buf_printf(out, "From: %.*s\r\n", PH_FMT(with_domain(r, template_of(r)->from)));
    else if (ph_str_eq(r->b->p.from_format, PH_STR("obsolete")))
        ph_buf_printf(out, "From: MAILER-DAEMON@%.*s (Mail Delivery System)\r\n", PH_FMT(origin));
    else
        ph_buf_printf(out, "From: Mail Delivery System <MAILER-DAEMON@%.*s>\r\n", PH_FMT(origin));
}

static void put_subject(struct report *r, struct ph_buf *out)
{
    const struct ph_bounce_template *t = template_of(r);

    if (!r->postmaster)
        ph_buf_printf(out, "Subject: %.*s\r\n", PH_FMT(t->subject));
    else if (t->postmaster_subject.n)
        ph_buf_printf(out, "Subject: %.*s\r\n", PH_FMT(t->postmaster_subject));
    else
        ph_buf_printf(out, "Subject: Postmaster Copy: %.*s\r\n", PH_FMT(t->subject));
}

static void put_message_id(struct report *r, struct ph_buf *out)
{
    struct tm tm;
    time_t t = (time_t)r->now;
    char stamp[32];

    gmtime_r(&t, &tm);
    strftime(stamp, sizeof stamp, "%Y%m%d%H%M%S", &tm);
    ph_buf_printf(out, "Message-Id: <%s.%.*s@%.*s>\r\n", stamp, PH_FMT(r->id), PH_FMT(r->b->p.myhostname));
}

/* References: the message's own Message-ID. */
static void put_thread(struct report *r, struct ph_buf *out)
{
    struct ph_header h;

    if (!r->b->p.threaded || !ph_header_find(r->original, PH_STR("Message-ID"), &h))
        return;
    ph_str id = clean(r, ph_str_trim(ph_header_unfold(r->s, h.value)));

    if (id.n && id.n < 900)
        ph_buf_printf(out, "References: %.*s\r\nIn-Reply-To: %.*s\r\n", PH_FMT(id), PH_FMT(id));
}

/* RFC 8689 5: what the message asked for holds for reports about it too. */
static void put_tls_required(struct report *r, struct ph_buf *out)
{
    struct ph_header h;

    if (ph_header_find(r->original, PH_STR("TLS-Required"), &h) &&
        ph_str_eq_nocase(ph_str_trim(ph_header_unfold(r->s, h.value)), PH_STR("no")))
        ph_buf_puts(out, "TLS-Required: no\r\n");
}

static void put_header(struct report *r, struct ph_buf *out)
{
    ph_str date = ph_date_format(r->s, r->now, 1), host = r->b->p.myhostname;

    ph_buf_printf(out, "Received: by %.*s (%.*s)\r\n\tid %.*s; %.*s\r\n", PH_FMT(host), PH_FMT(r->b->p.mail_name),
                  PH_FMT(r->id), PH_FMT(date));
    ph_buf_printf(out, "Date: %.*s\r\n", PH_FMT(date));
    put_from(r, out);
    put_subject(r, out);
    ph_buf_printf(out, "To: %.*s\r\n", PH_FMT(external(r, r->to)));
    put_thread(r, out);
    put_tls_required(r, out);
    ph_buf_printf(out, "Auto-Submitted: auto-%s\r\nMIME-Version: 1.0\r\n", r->postmaster ? "generated" : "replied");
    ph_buf_printf(out, "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%.*s\"\r\n",
                  PH_FMT(r->boundary));
    if (r->b->p.smtputf8)
        ph_buf_puts(out, "Content-Transfer-Encoding: 8bit\r\n");
    put_message_id(r, out);
    ph_buf_puts(out, "\r\nThe parts of this report follow.\r\n\r\n");
}

/* ---- part 1: words ---- */

static ph_str text_of(const struct report *r, const struct log_record *x)
{
    if (!NOTICE_IS_TRACE(r->kind) || !x->f[LOG_RELAY].n || ph_str_eq(x->f[LOG_RELAY], PH_STR("none")))
        return clean(r, x->f[LOG_TEXT]);
    return ph_str_printf(r->s, "delivery via %.*s: %.*s", PH_FMT(clean(r, x->f[LOG_RELAY])),
                         PH_FMT(clean(r, x->f[LOG_TEXT])));
}

static int has_original(const struct log_record *x)
{
    return x->f[LOG_ORIGINAL].n && !ph_str_eq_nocase(x->f[LOG_ORIGINAL], x->f[LOG_RECIPIENT]);
}

/* A character set of the template's own stays; ASCII is UTF-8 too, and log
 * texts may be. */
static void put_text_type(struct report *r, struct ph_buf *out)
{
    ph_str charset = template_of(r)->charset;
    int plain = ph_str_eq_nocase(charset, PH_STR("us-ascii")) || ph_str_eq_nocase(charset, PH_STR("utf-8"));

    if (r->b->p.smtputf8 && plain)
        charset = PH_STR("utf-8");
    ph_buf_printf(out, "Content-Type: text/plain; charset=%.*s\r\n", PH_FMT(charset));
    if (r->b->p.smtputf8 || !ph_str_is_ascii(r->b->words[kinds[r->kind].template]))
        ph_buf_puts(out, "Content-Transfer-Encoding: 8bit\r\n");
}

static void put_lines(struct ph_buf *out, ph_str text)
{
    while (text.n) {
        ph_buf_str(out, ph_str_cut(&text, '\n'));
        ph_buf_puts(out, "\r\n");
    }
}

static void put_words(struct report *r, struct ph_buf *out)
{
    ph_buf_printf(out, "--%.*s\r\nContent-Description: Notification\r\n", PH_FMT(r->boundary));
    put_text_type(r, out);
    ph_buf_puts(out, "\r\n");
    if (!r->postmaster)
        put_lines(out, r->b->words[kinds[r->kind].template]);
    for (size_t i = 0; i < r->n; i++) {
        const struct log_record *x = &r->list[i];

        ph_buf_printf(out, "\r\n<%.*s>", PH_FMT(external(r, x->f[LOG_RECIPIENT])));
        if (has_original(x))
            ph_buf_printf(out, " (expanded from <%.*s>)", PH_FMT(external(r, x->f[LOG_ORIGINAL])));
        ph_buf_puts(out, ": ");
        put_folded(out, text_of(r, x), "    ");
    }
    ph_buf_puts(out, "\r\n");
}

/* ---- part 2: fields ---- */

static void put_address(struct report *r, struct ph_buf *out, const char *field, ph_str address)
{
    ph_str text = external(r, address);

    ph_buf_printf(out, "%s: %s; %.*s\r\n", field, ph_dsn_address_type(text), PH_FMT(text));
}

/* How the null sender is called where an address must stand. */
static ph_str sender_of(const struct report *r)
{
    return r->m->sender.n ? r->m->sender : ph_str_printf(r->s, "MAILER-DAEMON@%.*s", PH_FMT(r->b->p.myorigin));
}

static void put_message_fields(struct report *r, struct ph_buf *out)
{
    ph_buf_printf(out, "Reporting-MTA: dns; %.*s\r\n", PH_FMT(r->b->p.myhostname));
    if (r->m->envelope_id.n)
        ph_buf_printf(out, "Original-Envelope-Id: %.*s\r\n", PH_FMT(clean(r, r->m->envelope_id)));
    ph_buf_printf(out, "X-Posthorn-Queue-ID: %.*s\r\n", PH_FMT(r->m->queue_id));
    put_address(r, out, "X-Posthorn-Sender", sender_of(r));
    ph_buf_printf(out, "Arrival-Date: %.*s\r\n", PH_FMT(ph_date_format(r->s, r->m->arrival_us / 1000000, 1)));
}

static void put_diagnostic(struct report *r, struct ph_buf *out, const struct log_record *x)
{
    ph_str type = x->f[LOG_DIAGNOSTIC_TYPE], text = clean(r, x->f[LOG_DIAGNOSTIC]);

    if (!text.n) {
        type = PH_STR("X-Posthorn");
        text = text_of(r, x);
    }
    ph_buf_printf(out, "Diagnostic-Code: %.*s; ", PH_FMT(clean(r, type)));
    put_folded(out, text, "    ");
}

static ph_str action_of(const struct report *r, const struct log_record *x)
{
    if (kinds[r->kind].action)
        return ph_cstr(kinds[r->kind].action);
    return x->f[LOG_ACTION].n ? clean(r, x->f[LOG_ACTION]) : PH_STR("delivered");
}

static void put_original_recipient(struct report *r, struct ph_buf *out, const struct log_record *x)
{
    ph_str original = x->f[LOG_ORIGINAL].n ? x->f[LOG_ORIGINAL] : x->f[LOG_RECIPIENT], text = external(r, original);

    if (x->f[LOG_ORCPT].n)
        ph_buf_printf(out, "Original-Recipient: %.*s\r\n", PH_FMT(clean(r, x->f[LOG_ORCPT])));
    else
        ph_buf_printf(out, "Original-Recipient: %s;%.*s\r\n", ph_dsn_address_type(text), PH_FMT(text));
}

static void put_recipient_fields(struct report *r, struct ph_buf *out, const struct log_record *x)
{
    ph_buf_puts(out, "\r\n");
    put_address(r, out, "Final-Recipient", x->f[LOG_RECIPIENT]);
    put_original_recipient(r, out, x);
    ph_buf_printf(out, "Action: %.*s\r\n", PH_FMT(action_of(r, x)));
    ph_buf_printf(out, "Status: %.*s\r\n", PH_FMT(clean(r, x->f[LOG_DSN])));
    if (x->f[LOG_REMOTE_MTA].n)
        ph_buf_printf(out, "Remote-MTA: %.*s; %.*s\r\n", PH_FMT(clean(r, x->f[LOG_REMOTE_MTA_TYPE])),
                      PH_FMT(clean(r, x->f[LOG_REMOTE_MTA])));
    put_diagnostic(r, out, x);
    if (r->kind == NOTICE_DELAY)
        ph_buf_printf(out, "Will-Retry-Until: %.*s\r\n",
                      PH_FMT(ph_date_format(r->s, r->m->arrival_us / 1000000 + r->b->p.queue_lifetime, 1)));
}

static void put_fields(struct report *r, struct ph_buf *out)
{
    ph_buf_printf(out, "--%.*s\r\nContent-Description: Delivery report\r\nContent-Type: message/%sdelivery-status\r\n%s\r\n",
                  PH_FMT(r->boundary), r->utf8 ? "global-" : "",
                  r->utf8 ? "Content-Transfer-Encoding: 8bit\r\n" : "");
    put_message_fields(r, out);
    for (size_t i = 0; i < r->n; i++)
        put_recipient_fields(r, out, &r->list[i]);
    ph_buf_puts(out, "\r\n");
}

/* ---- part 3: the message ---- */

static void put_original(struct report *r, struct ph_buf *out)
{
    const char *type = r->utf8 ? (r->original_is_full ? "message/global" : "message/global-headers")
                               : (r->original_is_full ? "message/rfc822" : "text/rfc822-headers");

    ph_buf_printf(out, "--%.*s\r\nContent-Description: %s\r\nContent-Type: %s\r\n%s\r\n", PH_FMT(r->boundary),
                  r->original_is_full ? kinds[r->kind].returned : kinds[r->kind].returned_header, type,
                  r->b->p.smtputf8 ? "Content-Transfer-Encoding: 8bit\r\n" : "");
    ph_buf_printf(out, "Return-Path: <%.*s>\r\n", PH_FMT(external(r, sender_of(r))));
    ph_buf_str(out, r->original);
    if (r->original.n && !ph_str_ends(r->original, PH_STR("\r\n")))
        ph_buf_puts(out, "\r\n");
    ph_buf_printf(out, "\r\n--%.*s--\r\n", PH_FMT(r->boundary));
}

/* QID.SECONDS/HOST; made longer should the message contain it. */
static void choose_boundary(struct report *r)
{
    r->boundary = ph_str_printf(r->s, "%.*s.%lld/%.*s", PH_FMT(r->m->queue_id), (long long)r->now,
                                PH_FMT(ph_str_first(r->b->p.myhostname, 24)));
    while (ph_str_search(r->original, r->boundary) >= 0 && r->boundary.n < 70)
        r->boundary = ph_str_printf(r->s, "x%.*s", PH_FMT(r->boundary));
}

int report_format(struct report *r, struct ph_buf *out)
{
    choose_boundary(r);
    put_header(r, out);
    put_words(r, out);
    put_fields(r, out);
    put_original(r, out);
    return out->full ? ph_fail(PH_PERM, "notice too large") : 0;
}
