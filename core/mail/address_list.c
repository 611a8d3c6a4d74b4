/* address_list: the addresses of a header, RFC 5322 3.4.  See ph_address_next. */
#include <string.h>
#include <posthorn/address.h>
#include <posthorn/buf.h>
#include <posthorn/error.h>
#include "address_domain.h"

/* Where an address stands in the value, what is around it left out. */
struct span {
    size_t from, to;
};

/* What is read of an address. */
struct taken {
    struct ph_scope *s;
    struct ph_buf b;
    int quoted;                    /* 1: quotes and backslashes are kept (external form) */
    int apart;                     /* 1: what stands behind ">" is another member */
    size_t domain;                 /* behind the last "@" that is not quoted; 0 without one */
};

/* What stands behind an "@" must be a domain.  In external form a quoted "@" is
 * none; in internal form none can tell. */
static int domain_fits(const struct taken *out)
{
    ph_str whole = ph_buf_view(&out->b);
    ph_str domain = ph_str_from(whole, out->domain ? out->domain : whole.n);

    if (out->quoted)
        return ph_domain_fits(ph_address_bare(out->s, domain));
    return ph_domain_fits(domain) && ph_address_domain_fits(whole);
}

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

static void reset(struct taken *out)
{
    ph_buf_reset(&out->b);
    out->domain = 0;
}

static void keep_quote(struct taken *out, char c)
{
    if (out->quoted)
        ph_buf_putc(&out->b, c);
}

static int take_quoted(struct taken *out, ph_str v, size_t *at)
{
    keep_quote(out, '"');
    for ((*at)++; *at < v.n; (*at)++) {
        char c = v.p[*at];

        if (c == '"') {
            (*at)++;
            keep_quote(out, '"');
            return 1;
        }
        if (c == '\\' && *at + 1 < v.n)
            c = v.p[++*at];
        if (c == 0)                /* no address has one (RFC 5322 3.2.4, 4.1 aside) */
            return 0;
        if (c == '"' || c == '\\')
            keep_quote(out, '\\');
        if (c != '\r' && c != '\n')
            ph_buf_putc(&out->b, c);
    }
    return 0;
}

/* "[...]" right behind "@", RFC 5322 3.4.1: its colons and commas end nothing. */
static int take_literal(struct taken *out, ph_str v, size_t *at)
{
    ptrdiff_t end = ph_str_find(ph_str_from(v, *at), ']');

    if (end < 0)
        return 0;
    for (size_t last = *at + (size_t)end; *at <= last; (*at)++) {
        char c = v.p[*at];

        if (((unsigned char)c < 0x20 || c == 0x7f) && !ph_is_space(c))
            return 0;
        if (!ph_is_space(c))
            ph_buf_putc(&out->b, c);
    }
    return 1;
}

/* A quoted string, a literal or one byte; 0 for a syntax error. */
static int take_piece(struct taken *out, ph_str v, size_t *at)
{
    char c = v.p[*at];
    int escaped = c == '\\' && *at + 1 < v.n;

    if (c == '"')
        return take_quoted(out, v, at);
    if (c == '[' && out->b.n && out->b.p[out->b.n - 1] == '@')
        return take_literal(out, v, at);
    if (escaped) {
        c = v.p[++*at];
        keep_quote(out, '\\');
    }
    if ((unsigned char)c < 0x20 || c == 0x7f || c == '>' || c == ')')
        return 0;
    ph_buf_putc(&out->b, c);
    if (c == '@' && !escaped)
        out->domain = out->b.n;
    (*at)++;
    return 1;
}

/* Words, dots and "@" up to one of the stop bytes; blanks inside vanish.
 * 1, *stop (0 at the end) and *where, or 0 for a syntax error. */
static int take_spec(struct taken *out, ph_str v, size_t *at, const char *stops, char *stop, struct span *where)
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
static int take_angle(struct taken *out, ph_str v, size_t *at, struct span *where)
{
    char stop;
    int any = 0;

    if (!skip_cfws(v, at, &any))
        return 0;
    if (*at < v.n && v.p[*at] == '@') {
        if (!take_spec(out, v, at, ">:", &stop, where) || stop != ':')
            return 0;
        (*at)++;
        reset(out);
    }
    if (!take_spec(out, v, at, ">", &stop, where) || stop != '>')
        return 0;
    (*at)++;
    return 1;
}

/* One member of the list: 1 with an address in out, 2 without (an empty
 * member, the start or end of a group), 0 for a syntax error. */
static int take_member(struct taken *out, ph_str v, size_t *at, struct span *where)
{
    char stop;

    reset(out);
    if (!take_spec(out, v, at, "<,;:", &stop, where))
        return 0;
    if (stop == ':') {             /* group name, or what stood before a route */
        (*at)++;
        return !out->domain || out->b.p[0] == '@' ? 2 : 0;
    }
    if (stop == '<') {
        struct taken rest = { .quoted = 0 };
        struct span behind;
        char mem[1024];

        (*at)++;
        reset(out);
        ph_buf_fixed(&rest.b, mem, sizeof mem);
        if (!take_angle(out, v, at, where))
            return 0;
        stop = 0;
        if (!out->apart && !take_spec(&rest, v, at, ",;<", &stop, &behind))
            return 0;
        if (stop == '<')           /* `<a> <b>`, `A <a> B <b>`: a comma was forgotten */
            return domain_fits(out);
    } else if (!out->b.n) {
        *at += stop != 0;
        return 2;
    }
    *at += stop != 0;
    return domain_fits(out); /* <> too: the empty address */
}

static int next(struct ph_scope *s, ph_str v, int quoted, int apart, size_t *at, ph_str *address, size_t *from, size_t *to)
{
    struct taken out = { .s = s, .quoted = quoted, .apart = apart };
    struct span where;

    ph_buf_init(&out.b, s, v.n + 1);
    while (*at < v.n) {
        int rc = take_member(&out, v, at, &where);

        if (rc == 0)
            return ph_fail(PH_PERM, "bad address syntax at byte %zu", *at);
        if (rc == 1) {
            *address = ph_str_dup(s, ph_buf_view(&out.b));
            *from = where.from;
            *to = where.to;
            return 1;
        }
    }
    return 0;
}

int ph_address_next_at(struct ph_scope *s, ph_str header_value, size_t *at, ph_str *address, size_t *from, size_t *to)
{
    return next(s, header_value, 0, 0, at, address, from, to);
}

int ph_address_next_external(struct ph_scope *s, ph_str header_value, size_t *at, ph_str *address, size_t *from, size_t *to)
{
    return next(s, header_value, 1, 0, at, address, from, to);
}

int ph_address_next(struct ph_scope *s, ph_str header_value, size_t *at, ph_str *address)
{
    size_t from, to;

    return next(s, header_value, 0, 0, at, address, &from, &to);
}

/* ---- lists that people write ---- */

struct list {
    struct ph_scope *s;
    ph_str *p;
    size_t n, room;
};

static void add(struct list *l, ph_str a)
{
    if (l->n == l->room) {
        ph_str *more = ph_alloc_array(l->s, l->room * 2 + 4, sizeof *more);

        if (l->n)
            memcpy(more, l->p, l->n * sizeof *more);
        l->p = more;
        l->room = l->room * 2 + 4;
    }
    l->p[l->n++] = a;
}

/* 1 when the address that ends at `to` stands in brackets: there all is one address. */
static int is_bracketed(ph_str v, size_t to)
{
    int any;

    return skip_cfws(v, &to, &any) && to < v.n && v.p[to] == '>';
}

/* The next word of the one that was read: 1, or PH_PERM. */
static int cut_word(struct ph_scope *s, ph_str value, struct ph_address_walk *w, ph_str *address)
{
    size_t at = 0, from, to;
    int any;

    skip_cfws(ph_str_first(value, w->to), &w->from, &any);
    ph_str text = ph_str_first(ph_str_from(value, w->from), w->to - w->from), word = ph_str_first(text, ph_address_word(text));
    w->from += word.n;
    if (word.n == text.n)
        w->from = w->to = 0;
    int rc = next(s, word, 1, 0, &at, address, &from, &to);
    return rc == 1 && at < word.n ? ph_fail(PH_PERM, "bad address syntax") : rc;
}

int ph_address_written(struct ph_scope *s, ph_str value, struct ph_address_walk *w, ph_str *address)
{
    PH_SCOPED(step, s);
    size_t from, to;
    int rc = 1;

    if (w->to) {
        rc = cut_word(step, value, w, address);
    } else {
        do
            rc = next(step, value, 1, 1, &w->at, address, &from, &to);
        while (rc == 1 && address->n == 0);
        if (rc == 1 && !is_bracketed(value, to)) {
            w->from = from;
            w->to = to;
            rc = cut_word(step, value, w, address);
        }
    }
    if (rc == 1)
        *address = ph_str_dup(s, *address);
    return rc;
}

int ph_address_plain(struct ph_scope *s, ph_str external, ph_str *internal)
{
    struct taken out = { .s = s, .quoted = 0 };
    ph_str v = ph_str_printf(s, "%.*s>", PH_FMT(external));
    struct span where;
    size_t at = 0;

    ph_buf_init(&out.b, s, v.n);
    if (!take_angle(&out, v, &at, &where) || at != v.n || !domain_fits(&out))
        return 0;
    *internal = ph_buf_view(&out.b);
    return 1;
}

int ph_address_all(struct ph_scope *s, ph_str value, ph_str **all, size_t *n)
{
    struct list l = { .s = s };
    struct ph_address_walk w = { 0 };
    ph_str a;
    int rc;

    while ((rc = ph_address_written(s, value, &w, &a)) == 1)
        add(&l, a);
    *all = l.p;
    *n = l.n;
    return rc;
}
