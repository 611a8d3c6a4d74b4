/* report: the text of a notice, RFC 3462 and RFC 3464: a header and three
 * parts: words for people, fields for programs, the message or its header. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <posthorn/address.h>
#include <posthorn/date.h>
#include <posthorn/header.h>
#include "bounce.h"

#define FOLD 79

/* One row per kind of notice. */
static const struct kind {
    const char *subject, *action, *returned, *returned_header, *words;
} kinds[] = {
    [NOTICE_FAILURE] = {
        "Undelivered Mail Returned to Sender", "failed", "Undelivered Message", "Undelivered Message Headers",
        "Your message could not be delivered to one or more recipients. It is\r\n"
        "returned below, and nothing more will be tried.\r\n"
        "\r\n"
        "If you ask your postmaster for help, please include this report. You may\r\n"
        "leave out your own text of the returned message.\r\n" },
    [NOTICE_DELAY] = {
        "Delayed Mail (still being retried)", "delayed", "Undelivered Message", "Undelivered Message Headers",
        "####################################################################\r\n"
        "# THIS IS A WARNING ONLY.  YOU DO NOT NEED TO SEND YOUR MESSAGE AGAIN. #\r\n"
        "####################################################################\r\n"
        "\r\n"
        "Your message could not be delivered yet. Delivery will be tried again\r\n"
        "until the message is too old.\r\n" },
    [NOTICE_SUCCESS] = {
        "Successful Mail Delivery Report", "delivered", "Message", "Message Headers",
        "Your message was delivered to the recipients below. You asked for this\r\n"
        "report.\r\n" },
};

static int is_utf8(const struct report *r)
{
    return (r->m->facts & PH_FACT_SMTPUTF8) != 0;
}

/* Text of logs is ASCII unless the message may be UTF-8. */
static ph_str clean(const struct report *r, ph_str v)
{
    char *p = ph_alloc(r->s, v.n + 1);

    for (size_t i = 0; i < v.n; i++) {
        unsigned char c = (unsigned char)v.p[i];

        p[i] = c < 0x20 || c == 0x7f || (c >= 0x80 && !is_utf8(r)) ? '?' : (char)c;
    }
    return (ph_str){ p, v.n };
}

static ph_str external(const struct report *r, ph_str address)
{
    return clean(r, ph_address_external(r->s, address));
}

/* Append words, folded at FOLD columns; later lines begin with `indent`.  The
 * column of the first is where `out` stands now.  A word longer than the line
 * stays whole, within the 998 bytes of RFC 5322 2.1.1. */
static void put_folded(struct ph_buf *out, ph_str text, const char *indent)
{
    ptrdiff_t eol = ph_str_rfind(ph_buf_view(out), '\n');
    size_t column = out->n - (size_t)(eol + 1), fresh = column;

    for (ph_str w; (w = ph_str_word(&text)).n; ) {
        while (w.n > 900) {
            ph_buf_str(out, ph_str_first(w, 900));
            w = ph_str_from(w, 900);
            ph_buf_printf(out, "\r\n%s", indent);
        }
        if (column > fresh && column + w.n + 1 > FOLD) {
            ph_buf_printf(out, "\r\n%s", indent);
            column = fresh = strlen(indent);
        }
        if (column > fresh) {
            ph_buf_putc(out, ' ');
            column++;
        }
        ph_buf_str(out, w);
        column += w.n;
    }
    ph_buf_puts(out, "\r\n");
}

/* ---- header ---- */

static void put_from(struct report *r, struct ph_buf *out)
{
    ph_str origin = r->b->p.myorigin;

    if (ph_str_eq(r->b->p.from_format, PH_STR("obsolete")))
        ph_buf_printf(out, "From: MAILER-DAEMON@%.*s (Mail Delivery System)\r\n", PH_FMT(origin));
    else
        ph_buf_printf(out, "From: Mail Delivery System <MAILER-DAEMON@%.*s>\r\n", PH_FMT(origin));
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

static void put_header(struct report *r, struct ph_buf *out)
{
    ph_str date = ph_date_format(r->s, r->now, 1), host = r->b->p.myhostname;

    ph_buf_printf(out, "Received: by %.*s (%.*s)\r\n\tid %.*s; %.*s\r\n", PH_FMT(host), PH_FMT(r->b->p.mail_name),
                  PH_FMT(r->id), PH_FMT(date));
    ph_buf_printf(out, "Date: %.*s\r\n", PH_FMT(date));
    put_from(r, out);
    ph_buf_printf(out, "Subject: %s%s\r\n", r->postmaster ? "Postmaster Copy: " : "",
                  r->postmaster && r->kind == NOTICE_FAILURE ? "Undelivered Mail" : kinds[r->kind].subject);
    ph_buf_printf(out, "To: %.*s\r\n", PH_FMT(external(r, r->to)));
    put_thread(r, out);
    ph_buf_puts(out, "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n");
    ph_buf_printf(out, "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%.*s\"\r\n",
                  PH_FMT(r->boundary));
    if (r->b->p.smtputf8)
        ph_buf_puts(out, "Content-Transfer-Encoding: 8bit\r\n");
    put_message_id(r, out);
    ph_buf_puts(out, "\r\nThis is a MIME-encapsulated message.\r\n\r\n");
}

/* ---- part 1: words ---- */

static ph_str text_of(const struct report *r, const struct log_record *x)
{
    if (r->kind != NOTICE_SUCCESS || !x->f[LOG_RELAY].n || ph_str_eq(x->f[LOG_RELAY], PH_STR("none")))
        return clean(r, x->f[LOG_TEXT]);
    return ph_str_printf(r->s, "delivery via %.*s: %.*s", PH_FMT(clean(r, x->f[LOG_RELAY])),
                         PH_FMT(clean(r, x->f[LOG_TEXT])));
}

static int has_original(const struct log_record *x)
{
    return x->f[LOG_ORIGINAL].n && !ph_str_eq_nocase(x->f[LOG_ORIGINAL], x->f[LOG_RECIPIENT]);
}

static void put_words(struct report *r, struct ph_buf *out)
{
    ph_buf_printf(out, "--%.*s\r\nContent-Description: Notification\r\n", PH_FMT(r->boundary));
    ph_buf_puts(out, r->b->p.smtputf8 ? "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
                                      : "Content-Type: text/plain; charset=us-ascii\r\n\r\n");
    ph_buf_printf(out, "This is the mail system at host %.*s.\r\n\r\n%s", PH_FMT(r->b->p.myhostname), kinds[r->kind].words);
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

static const char *address_type(const struct report *r, ph_str address)
{
    return is_utf8(r) && !ph_str_is_ascii(address) ? "utf-8" : "rfc822";
}

static void put_address(struct report *r, struct ph_buf *out, const char *field, ph_str address)
{
    ph_buf_printf(out, "%s: %s; %.*s\r\n", field, address_type(r, address), PH_FMT(external(r, address)));
}

static void put_message_fields(struct report *r, struct ph_buf *out)
{
    ph_buf_printf(out, "Reporting-MTA: dns; %.*s\r\n", PH_FMT(r->b->p.myhostname));
    if (r->m->envelope_id.n)
        ph_buf_printf(out, "Original-Envelope-Id: %.*s\r\n", PH_FMT(clean(r, r->m->envelope_id)));
    ph_buf_printf(out, "X-Posthorn-Queue-ID: %.*s\r\n", PH_FMT(r->m->queue_id));
    if (r->m->sender.n)
        put_address(r, out, "X-Posthorn-Sender", r->m->sender);
    ph_buf_printf(out, "Arrival-Date: %.*s\r\n", PH_FMT(ph_date_format(r->s, r->m->arrival_us / 1000000, 1)));
}

static void put_diagnostic(struct report *r, struct ph_buf *out, const struct log_record *x)
{
    ph_str type = x->f[LOG_DIAGNOSTIC_TYPE], text = x->f[LOG_DIAGNOSTIC];

    if (r->kind == NOTICE_SUCCESS && !text.n)
        return;
    if (!text.n) {
        type = PH_STR("X-Posthorn");
        text = x->f[LOG_TEXT];
    }
    ph_buf_printf(out, "Diagnostic-Code: %.*s; ", PH_FMT(clean(r, type)));
    put_folded(out, clean(r, text), "    ");
}

static void put_recipient_fields(struct report *r, struct ph_buf *out, const struct log_record *x)
{
    ph_str original = x->f[LOG_ORIGINAL].n ? x->f[LOG_ORIGINAL] : x->f[LOG_RECIPIENT];
    ph_str action = r->kind == NOTICE_SUCCESS ? x->f[LOG_ACTION] : (ph_str){ NULL, 0 };

    ph_buf_puts(out, "\r\n");
    put_address(r, out, "Final-Recipient", x->f[LOG_RECIPIENT]);
    if (x->f[LOG_ORCPT].n)
        ph_buf_printf(out, "Original-Recipient: %.*s\r\n", PH_FMT(clean(r, x->f[LOG_ORCPT])));
    else
        ph_buf_printf(out, "Original-Recipient: %s;%.*s\r\n", address_type(r, original), PH_FMT(external(r, original)));
    ph_buf_printf(out, "Action: %.*s\r\n", PH_FMT(action.n ? clean(r, action) : ph_cstr(kinds[r->kind].action)));
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
                  PH_FMT(r->boundary), is_utf8(r) ? "global-" : "",
                  is_utf8(r) ? "Content-Transfer-Encoding: 8bit\r\n" : "");
    put_message_fields(r, out);
    for (size_t i = 0; i < r->n; i++)
        put_recipient_fields(r, out, &r->list[i]);
    ph_buf_puts(out, "\r\n");
}

/* ---- part 3: the message ---- */

static void put_original(struct report *r, struct ph_buf *out)
{
    const char *type = is_utf8(r) ? (r->original_is_full ? "message/global" : "message/global-headers")
                                  : (r->original_is_full ? "message/rfc822" : "text/rfc822-headers");

    ph_buf_printf(out, "--%.*s\r\nContent-Description: %s\r\nContent-Type: %s\r\n%s\r\n", PH_FMT(r->boundary),
                  r->original_is_full ? kinds[r->kind].returned : kinds[r->kind].returned_header, type,
                  r->b->p.smtputf8 ? "Content-Transfer-Encoding: 8bit\r\n" : "");
    ph_buf_printf(out, "Return-Path: <%.*s>\r\n", PH_FMT(external(r, r->m->sender)));
    ph_buf_str(out, r->original);
    if (!ph_str_ends(r->original, PH_STR("\r\n")))
        ph_buf_puts(out, "\r\n");
    ph_buf_printf(out, "\r\n--%.*s--\r\n", PH_FMT(r->boundary));
}

/* QID.SECONDS/HOST; made longer should the message contain it. */
static void choose_boundary(struct report *r)
{
    r->boundary = ph_str_printf(r->s, "%.*s.%lld/%.*s", PH_FMT(r->m->queue_id), (long long)r->now,
                                PH_FMT(ph_str_first(r->b->p.myhostname, 40)));
    while (ph_str_search(r->original, r->boundary) >= 0 && r->boundary.n < 200)
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
