/* generic: smtp_generic_maps: addresses as the outside is to see them, in the
 * envelope and in the headers.  Looked up once per delivery, before a server is
 * chosen; a table that cannot say defers the mail. */
#include <string.h>
#include <posthorn/address.h>
#include <posthorn/header.h>
#include "smtp.h"

#define HEADERS_MAX (1u << 20)     /* longer blocks go as they are */

/* Is a bare user name a key for that domain?  1, 0, or negative. */
static int is_local(const struct smtp *a, ph_str domain)
{
    if (!domain.n || ph_str_eq_nocase(domain, a->origin))
        return 1;
    int rc = ph_match(a->local_domains, domain, PH_STR(""));
    return rc < 0 ? rc : rc == PH_FOUND;
}

/* "user@domain", "@domain" (the user stays), "user" (of ours). */
static ph_str result_of(struct smtp_job *j, ph_str value, ph_str local, ph_str ext)
{
    const struct smtp *a = j->agent;
    ph_str internal, user, domain;

    value = ph_str_trim(value);
    if (!ph_address_internal(j->scope, value, &internal))
        internal = value;
    if (ph_str_starts(internal, PH_STR("@")))
        return ph_str_printf(j->scope, "%.*s%.*s", PH_FMT(local), PH_FMT(internal));
    ph_address_split(internal, &user, &domain);
    return ph_str_printf(j->scope, "%.*s%.*s@%.*s", PH_FMT(user), PH_FMT(a->generic_keeps_ext ? ext : PH_STR("")),
                         PH_FMT(domain.n ? domain : a->origin));
}

/* 1 and *out another address, 0 and *out the same, or negative. */
static int map(struct smtp_job *j, ph_str address, ph_str *out)
{
    const struct smtp *a = j->agent;
    ph_str local, domain, value, ext;
    int rc;

    *out = address;
    if (!address.n)
        return 0;
    ph_address_split(address, &local, &domain);
    int ours = is_local(a, domain);
    if (ours < 0)
        return ph_wrap(ours, "generic maps");
    if ((rc = ph_maps_find_address(a->generic, address, a->delimiters, ours, j->scope, &value, &ext)) < 0)
        return ph_wrap(rc, "generic maps");
    if (rc == PH_NONE)
        return 0;
    *out = result_of(j, value, local, ext);
    return !ph_str_eq(*out, address);
}

/* The value with its addresses mapped into out: 1 when one changed, 0 (out is
 * void), or negative. */
static int map_value(struct smtp_job *j, ph_str v, struct ph_buf *out)
{
    size_t at = 0, done = 0, start, end;
    ph_str address, other;
    int rc, changed = 0;

    ph_buf_reset(out);
    while ((rc = ph_address_next_at(j->scope, v, &at, &address, &start, &end)) == 1) {
        if ((rc = map(j, address, &other)) < 0)
            return rc;
        if (rc == 0)
            continue;
        ph_buf_put(out, v.p + done, start - done);
        ph_buf_str(out, ph_address_external(j->scope, other));
        done = end;
        changed = 1;
    }
    if (rc < 0)
        return 0;                  /* what cannot be read stays */
    ph_buf_put(out, v.p + done, v.n - done);
    return changed && !out->full;
}

static int has_addresses(ph_str name)
{
    static const char *const names[] = { "From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Errors-To", "Return-Receipt-To", "Disposition-Notification-To" };

    if (ph_str_starts_nocase(name, PH_STR("Resent-")))
        name = ph_str_from(name, 7);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (ph_str_eq_nocase(name, ph_cstr(names[i])))
            return 1;
    return 0;
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
        if (!has_addresses(h.name) || (rc = map_value(j, h.value, &value)) <= 0) {
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
