/* address_list: the addresses of a header, RFC 5322 3.4.  See ph_address_next. */
#include <posthorn/address.h>
#include <posthorn/buf.h>
#include <posthorn/error.h>
#include "address_domain.h"

/* Where an address stands in the value, what is around it left out. */
struct span {
    size_t from, to;
};

/* Comments nest; 1 and *at behind it, or 0 when it does not end. */
static int skip_comment(ph_str v, size_t *at)
{
    size_t depth = 0;

    for (; *at < v.n; (*at)++) {
        char c = v.p[*at];

        if (c == '\\' && *at + 1 < v.n)
            (*at)++;
        else if (c == '(')
            depth++;
        else if (c == ')' && --depth == 0) {
            (*at)++;
            return 1;
        }
    }
    return 0;
}

/* Blanks and comments: 1, or 0 for an unended comment.  *any when there were some. */
static int skip_cfws(ph_str v, size_t *at, int *any)
{
    for (; *at < v.n; ) {
        if (ph_is_space(v.p[*at])) {
            (*at)++;
        } else if (v.p[*at] == '(') {
            if (!skip_comment(v, at))
                return 0;
        } else {
            break;
        }
        *any = 1;
    }
    return 1;
}

static int take_quoted(struct ph_buf *out, ph_str v, size_t *at)
{
    for ((*at)++; *at < v.n; (*at)++) {
        char c = v.p[*at];

        if (c == '"') {
            (*at)++;
            return 1;
        }
        if (c == '\\' && *at + 1 < v.n)
            c = v.p[++*at];
        if (c == 0)                /* no address has one (RFC 5322 3.2.4, 4.1 aside) */
            return 0;
        if (c != '\r' && c != '\n')
            ph_buf_putc(out, c);
    }
    return 0;
}

/* "[...]" right behind "@", RFC 5322 3.4.1: its colons and commas end nothing. */
static int take_literal(struct ph_buf *out, ph_str v, size_t *at)
{
    ptrdiff_t end = ph_str_find(ph_str_from(v, *at), ']');

    if (end < 0)
        return 0;
    for (size_t last = *at + (size_t)end; *at <= last; (*at)++) {
        char c = v.p[*at];

        if (((unsigned char)c < 0x20 || c == 0x7f) && !ph_is_space(c))
            return 0;
        if (!ph_is_space(c))
            ph_buf_putc(out, c);
    }
    return 1;
}

/* A quoted string, a literal or one byte; 0 for a syntax error. */
static int take_piece(struct ph_buf *out, ph_str v, size_t *at)
{
    char c = v.p[*at];

    if (c == '"')
        return take_quoted(out, v, at);
    if (c == '[' && out->n && out->p[out->n - 1] == '@')
        return take_literal(out, v, at);
    if (c == '\\' && *at + 1 < v.n)
        c = v.p[++*at];
    if ((unsigned char)c < 0x20 || c == 0x7f || c == '>' || c == ')')
        return 0;
    ph_buf_putc(out, c);
    (*at)++;
    return 1;
}

/* Words, dots and "@" up to one of the stop bytes; blanks inside vanish.
 * 1, *stop (0 at the end) and *where, or 0 for a syntax error. */
static int take_spec(struct ph_buf *out, ph_str v, size_t *at, const char *stops, char *stop, struct span *where)
{
    int any = 0;

    for (*where = (struct span){ 0, 0 };;) {
        if (!skip_cfws(v, at, &any))
            return 0;
        *stop = *at < v.n ? v.p[*at] : 0;
        if (*at == v.n || (*stop && ph_str_find(ph_cstr(stops), *stop) >= 0))
            return 1;
        if (!where->to)
            where->from = *at;
        if (!take_piece(out, v, at))
            return 0;
        where->to = *at;
    }
}

/* Behind '<': route dropped, the address up to '>'. */
static int take_angle(struct ph_buf *out, ph_str v, size_t *at, struct span *where)
{
    char stop;
    int any = 0;

    if (!skip_cfws(v, at, &any))
        return 0;
    if (*at < v.n && v.p[*at] == '@') {
        if (!take_spec(out, v, at, ">:", &stop, where) || stop != ':')
            return 0;
        (*at)++;
        ph_buf_reset(out);
    }
    if (!take_spec(out, v, at, ">", &stop, where) || stop != '>')
        return 0;
    (*at)++;
    return 1;
}

/* One member of the list: 1 with an address in out, 2 without (an empty
 * member, the start or end of a group), 0 for a syntax error. */
static int take_member(struct ph_buf *out, ph_str v, size_t *at, struct span *where)
{
    char stop;

    ph_buf_reset(out);
    if (!take_spec(out, v, at, "<,;:", &stop, where))
        return 0;
    if (stop == ':') {             /* group name */
        (*at)++;
        return 2;
    }
    if (stop == '<') {
        struct ph_buf rest;
        struct span behind;
        char mem[1024];

        (*at)++;
        ph_buf_reset(out);
        ph_buf_fixed(&rest, mem, sizeof mem);
        if (!take_angle(out, v, at, where) || !take_spec(&rest, v, at, ",;", &stop, &behind))
            return 0;
    } else if (!out->n) {
        *at += stop != 0;
        return 2;
    }
    *at += stop != 0;
    return ph_address_domain_fits(ph_buf_view(out)); /* <> too: the empty address */
}

int ph_address_next_at(struct ph_scope *s, ph_str header_value, size_t *at, ph_str *address, size_t *from, size_t *to)
{
    struct ph_buf out;
    struct span where;

    ph_buf_init(&out, s, header_value.n + 1);
    while (*at < header_value.n) {
        int rc = take_member(&out, header_value, at, &where);

        if (rc == 0)
            return ph_fail(PH_PERM, "bad address syntax at byte %zu", *at);
        if (rc == 1) {
            *address = ph_str_dup(s, ph_buf_view(&out));
            *from = where.from;
            *to = where.to;
            return 1;
        }
    }
    return 0;
}

int ph_address_next(struct ph_scope *s, ph_str header_value, size_t *at, ph_str *address)
{
    size_t from, to;

    return ph_address_next_at(s, header_value, at, address, &from, &to);
}
