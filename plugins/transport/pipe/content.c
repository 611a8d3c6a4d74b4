/* content: the message as the command reads it. */
#include <string.h>
#include <time.h>
#include <posthorn/address.h>
#include "pipe.h"

static void put_eol(struct ph_buf *out, const struct pipe_attr *a)
{
    ph_buf_str(out, a->eol);
}

/* "From sender  Thu Nov 26 01:02:03 2026": two blanks, local time. */
static void put_from(struct ph_scope *s, const struct pipe_attr *a, ph_str sender, int64_t now_s, struct ph_buf *out)
{
    char when[64];
    time_t t = (time_t)now_s;
    struct tm tm;

    strftime(when, sizeof when, "%a %b %e %H:%M:%S %Y", localtime_r(&t, &tm));
    ph_buf_printf(out, "From %.*s  %s", PH_FMT(sender.n ? ph_address_external(s, sender) : PH_STR("MAILER-DAEMON")), when);
    put_eol(out, a);
}

void pipe_prefix(struct ph_scope *s, const struct pipe_attr *a, const struct ph_delivery *d, const struct ph_recipient *r,
                 int64_t now_s, struct ph_buf *out)
{
    ph_str sender = pipe_sender(a, d);

    if (a->flags & PIPE_FROM)
        put_from(s, a, sender, now_s, out);
    if (a->flags & PIPE_RETURN) {
        ph_buf_printf(out, "Return-Path: <%.*s>", PH_FMT(sender.n ? ph_address_external(s, sender) : sender));
        put_eol(out, a);
    }
    if (a->flags & PIPE_ORIGINAL) {
        ph_buf_printf(out, "X-Original-To: %.*s", PH_FMT(ph_address_external(s, r->original.n ? r->original : r->address)));
        put_eol(out, a);
    }
    if (a->flags & PIPE_DELIVERED) {
        ph_buf_printf(out, "Delivered-To: %.*s", PH_FMT(ph_address_external(s, r->address)));
        put_eol(out, a);
    }
}

#define FROM "From "

/* What goes before a line that begins with in: 1 when that is known, 0 when more
 * bytes are needed. */
static int begin_line(const struct pipe_content *c, ph_str in, int last, struct ph_buf *out)
{
    size_t n = in.n < sizeof FROM - 1 ? in.n : sizeof FROM - 1;

    if (c->flags & PIPE_DOT && in.p[0] == '.')
        ph_buf_putc(out, '.');
    if (!(c->flags & PIPE_GREATER) || memcmp(in.p, FROM, n) != 0)
        return 1;
    if (n < sizeof FROM - 1)
        return last;
    ph_buf_putc(out, '>');
    return 1;
}

size_t pipe_content_feed(struct pipe_content *c, ph_str in, int last, struct ph_buf *out)
{
    size_t at = 0;

    while (at < in.n) {
        ph_str rest = ph_str_from(in, at);

        if (!c->in_line && !begin_line(c, rest, last, out))
            break;
        ptrdiff_t eol = ph_str_find(rest, '\n');
        size_t end = eol < 0 ? rest.n : (size_t)eol, used = eol < 0 ? end : end + 1;

        /* A CR at the end may belong to a line end that comes later. */
        if (eol < 0 && !last && rest.p[end - 1] == '\r')
            end = --used;
        else if (eol > 0 && rest.p[end - 1] == '\r')
            end--;
        ph_buf_put(out, rest.p, end);
        if (eol >= 0)
            ph_buf_str(out, c->eol);
        if (used)
            c->in_line = eol < 0;
        at += used;
        if (eol < 0)
            break;
    }
    return at;
}
