/* prefix: the headers that a service's flags= ask for, in front of the message;
 * and the loop that Delivered-To shows.  Reference: smtp(8), flags=. */
#include <posthorn/address.h>
#include <posthorn/header.h>
#include "smtp.h"

#define HEADERS_MAX (1u << 20)     /* what is looked at for a loop */

int smtp_read_headers(struct smtp_job *j, ph_str *block)
{
    const struct ph_message *m = j->d->message;
    uint64_t n = m->header_bytes < HEADERS_MAX ? m->header_bytes : HEADERS_MAX;
    char *p = ph_alloc(j->scope, (size_t)n + 1);

    for (uint64_t at = 0; at < n;) {
        int64_t got = ph_message_read(m, at, p + at, (size_t)(n - at));

        if (got <= 0)
            return got < 0 ? (int)got : ph_fail(PH_TEMP, "queue file is cut short");
        at += (uint64_t)got;
    }
    *block = (ph_str){ p, (size_t)n };
    return 0;
}

static int was_delivered_to(struct smtp_job *j, ph_str block, ph_str address)
{
    struct ph_header h;

    for (size_t at = 0; ph_header_next(block, &at, &h) == 1;)
        if (ph_str_eq_nocase(h.name, PH_STR("Delivered-To")) &&
            ph_str_eq_nocase(ph_str_trim(ph_header_unfold(j->scope, h.value)), ph_address_external(j->scope, address)))
            return 1;
    return 0;
}

static int return_loops(struct smtp_job *j)
{
    ph_str block;
    int rc = smtp_read_headers(j, &block);

    for (uint32_t i = 0; rc == 0 && i < j->d->rcpt_count; i++)
        if (was_delivered_to(j, block, j->d->rcpt[i].address)) {
            struct smtp_verdict *v = smtp_verdict(j, PH_RCPT_BOUNCED, "5.4.6", "mail forwarding loop for %.*s", PH_FMT(j->d->rcpt[i].address));

            v->relay = ph_cstr(j->d->transport->service);
            smtp_fail(j, i, v);
        }
    return rc;
}

/* A line end in an address would end the header. */
static void put(struct ph_buf *b, struct smtp_job *j, const char *before, ph_str address, const char *after)
{
    ph_str external = ph_address_external(j->scope, address);

    for (size_t i = 0; i < external.n; i++)
        if ((unsigned char)external.p[i] < 0x20)
            return;
    ph_buf_printf(b, "%s%.*s%s\r\n", before, PH_FMT(external), after);
}

int smtp_prefix(struct smtp_job *j)
{
    const struct ph_recipient *r = &j->d->rcpt[0];
    uint32_t flags = j->agent->flags;
    struct ph_buf b;
    int rc;

    if (!(flags & (SMTP_FLAG_DELIVERED_TO | SMTP_FLAG_ORIGINAL_TO | SMTP_FLAG_RETURN_PATH)))
        return 0;
    if ((flags & SMTP_FLAG_DELIVERED_TO) && (rc = return_loops(j)) < 0)
        return rc;
    ph_buf_init(&b, j->scope, 65536);
    if (flags & SMTP_FLAG_RETURN_PATH)
        put(&b, j, "Return-Path: <", j->d->message->sender, ">");
    if (flags & SMTP_FLAG_ORIGINAL_TO)
        put(&b, j, "X-Original-To: ", r->original.n ? r->original : r->address, "");
    if (flags & SMTP_FLAG_DELIVERED_TO)
        put(&b, j, "Delivered-To: ", r->address, "");
    j->prefix = ph_buf_view(&b);
    return 0;
}
