/* generic: smtp_generic_maps: addresses as the outside is to see them, in the
 * envelope and in the headers.  Looked up once per delivery, before a server is
 * chosen; a table that cannot say defers the mail. */
#include <posthorn/address.h>
#include <posthorn/header.h>
#include "smtp.h"

#define HEADERS_MAX (1u << 20)     /* longer blocks go as they are */

/* 1 and *out another address, 0 and *out the same, or negative. */
static int map(struct smtp_job *j, ph_str address, ph_str *out)
{
    int rc = ph_address_map_one(j->agent->generic, j->scope, address, out);

    if (rc < 0)
        return ph_wrap(rc, "generic maps");
    if (rc == PH_NONE)
        *out = address;
    return !ph_str_eq(*out, address);
}

/* The value with its addresses mapped into out: 1 when one changed, 0 (out is
 * void), or negative. */
static int map_value(struct smtp_job *j, ph_str v, struct ph_buf *out)
{
    struct ph_address_place *list;
    size_t n;
    int rc;

    ph_buf_reset(out);
    if (ph_address_places(j->scope, v, (size_t)j->agent->header_tokens, &list, &n) < 0)
        return 0;                  /* what cannot be read stays */
    for (size_t i = 0; i < n; i++)
        if ((rc = map(j, list[i].address, &list[i].other)) < 0)
            return rc;
    return ph_address_replace(v, list, n, j->scope, out) && !out->full;
}

static int map_headers(struct smtp_job *j, ph_str block)
{
    struct ph_buf out, value;
    struct ph_header h;
    size_t at = 0;
    int rc = 0, changed = 0;

    ph_buf_init(&out, j->scope, 4 * HEADERS_MAX);
    ph_buf_init(&value, j->scope, 2 * HEADERS_MAX);
    while (rc >= 0 && ph_header_next(block, &at, &h) == 1) {
        if (!ph_header_addresses(h.name) || (rc = map_value(j, h.value, &value)) <= 0) {
            ph_buf_str(&out, h.raw);
            continue;
        }
        ph_buf_put(&out, h.raw.p, (size_t)(h.value.p - h.raw.p));
        ph_buf_str(&out, ph_buf_view(&value));
        ph_buf_puts(&out, "\r\n");
        changed = 1;
    }
    if (rc < 0)
        return rc;
    ph_buf_str(&out, ph_str_from(block, at));
    if (changed && !out.full)
        j->headers = ph_buf_view(&out);
    return 0;
}

int smtp_generic(struct smtp_job *j)
{
    struct ph_delivery *d = j->d;
    ph_str block;
    int rc = 0;

    j->sender = d->message->sender;
    if (!j->agent->generic)
        return 0;
    j->rcpt_to = ph_alloc_array(j->scope, d->rcpt_count, sizeof *j->rcpt_to);
    rc = map(j, j->sender, &j->sender);
    for (uint32_t i = 0; rc >= 0 && i < d->rcpt_count; i++)
        rc = map(j, d->rcpt[i].address, &j->rcpt_to[i]);
    if (rc < 0 || d->message->header_bytes > HEADERS_MAX)
        return rc < 0 ? rc : 0;
    return (rc = smtp_read_headers(j, &block)) < 0 ? rc : map_headers(j, block);
}

uint64_t smtp_content_bytes(const struct smtp_job *j)
{
    uint64_t bytes = ph_message_bytes(j->d->message) + j->prefix.n;

    return j->headers.p ? bytes - j->d->message->header_bytes + j->headers.n : bytes;
}
