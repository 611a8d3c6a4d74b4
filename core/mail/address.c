/* address: internal and external form, paths, parts.  See posthorn/address.h. */
#include <string.h>
#include <posthorn/address.h>
#include <posthorn/buf.h>
#include "address_domain.h"

/* RFC 5322 3.2.3 atext, and bytes above ASCII (RFC 6531). */
static int is_atext(char c)
{
    return ph_is_alnum(c) || (unsigned char)c >= 0x80 || (c && ph_str_find(PH_STR("!#$%&'*+-/=?^_`{|}~"), c) >= 0);
}

static int is_dot_atom(ph_str local)
{
    char last = '.';

    for (size_t i = 0; i < local.n; i++) {
        if (local.p[i] == '.' ? last == '.' : !is_atext(local.p[i]))
            return 0;
        last = local.p[i];
    }
    return local.n && last != '.';
}

void ph_address_split(ph_str internal, ph_str *local, ph_str *domain)
{
    ptrdiff_t at = ph_str_rfind(internal, '@');

    *local = at < 0 ? internal : ph_str_first(internal, (size_t)at);
    *domain = at < 0 ? ph_str_from(internal, internal.n) : ph_str_from(internal, (size_t)at + 1);
}

ph_str ph_address_external(struct ph_scope *s, ph_str internal)
{
    ph_str local, domain;
    struct ph_buf b;

    ph_address_split(internal, &local, &domain);
    if (internal.n == 0 || is_dot_atom(local))
        return internal;
    ph_buf_init(&b, s, internal.n * 2 + 4);
    ph_buf_putc(&b, '"');
    for (size_t i = 0; i < local.n; i++) {
        if (local.p[i] == '"' || local.p[i] == '\\')
            ph_buf_putc(&b, '\\');
        ph_buf_putc(&b, local.p[i]);
    }
    ph_buf_putc(&b, '"');
    ph_buf_str(&b, ph_str_from(internal, local.n));
    return ph_buf_view(&b);
}

/* A quoted string at text[*at] (behind its opening quote): 1 and *at behind the
 * closing one, or 0.  Control characters have no place in an address. */
static int take_quoted(struct ph_buf *out, ph_str text, size_t *at)
{
    for (; *at < text.n; (*at)++) {
        char c = text.p[*at];

        if (c == '"') {
            (*at)++;
            return 1;
        }
        if (c == '\\' && ++*at == text.n)
            return 0;
        c = text.p[*at];
        if ((unsigned char)c < 0x20 || c == 0x7f)   /* qtextSMTP, quoted-pairSMTP */
            return 0;
        ph_buf_putc(out, c);
    }
    return 0;
}

/* Inside a domain, or a domain literal. */
static int is_domain_byte(char c, int literal)
{
    if ((unsigned char)c <= ' ' || c == 0x7f || memchr("@\"\\<>(),;[]", c, 12))
        return 0;
    return literal || c != ':';
}

int ph_domain_fits(ph_str domain)
{
    int literal = domain.n && domain.p[0] == '[';
    if (literal) {
        if (domain.n < 2 || domain.p[domain.n - 1] != ']')
            return 0;
        domain = ph_str_first(ph_str_from(domain, 1), domain.n - 2);
    }
    for (size_t i = 0; i < domain.n; i++)
        if (!is_domain_byte(domain.p[i], literal))
            return 0;
    return 1;
}

int ph_address_domain_fits(ph_str internal)
{
    ph_str local, domain;

    ph_address_split(internal, &local, &domain);
    return ph_domain_fits(domain);
}

/* Domain: what stands before a blank or '>'. */
static void take_domain(struct ph_buf *out, ph_str text, size_t *at)
{
    for (; *at < text.n && text.p[*at] != '>' && !ph_is_space(text.p[*at]); (*at)++)
        ph_buf_putc(out, text.p[*at]);
}

/* local [ "@" domain ] from *at; stops at '>', a blank or the end.  A quoted
 * part may stand beside atoms unless strict (RFC 5321 4.1.2: one or the other). */
static int take_mailbox(struct ph_buf *out, ph_str text, size_t *at, int strict)
{
    size_t atoms = 0, quotes = 0;

    while (*at < text.n) {
        char c = text.p[*at];

        if (c == '>' || ph_is_space(c))
            break;
        (*at)++;
        if (c == '@') {
            if (strict && !atoms && !quotes)
                return 0;
            ph_buf_putc(out, '@');
            size_t domain = out->n;
            take_domain(out, text, at);
            if (memchr(out->p + domain, '@', out->n - domain))
                return 0;
            break;
        }
        if (c == '"') {
            quotes++;
            if (!take_quoted(out, text, at))
                return 0;
        } else if (is_atext(c) || c == '.') {
            atoms++;
            ph_buf_putc(out, c);
        } else if (c == '\\' && !strict && *at < text.n && ph_is_print(text.p[*at])) {
            ph_buf_putc(out, text.p[(*at)++]);
            atoms++;
        } else {
            return 0;
        }
        if (strict && (quotes > 1 || (quotes && atoms)))
            return 0;
    }
    /* A quoted "@" without a domain behind it reads as the domain's. */
    return ph_address_domain_fits(ph_buf_view(out));
}

/* "@a,@b:" in front of a mailbox (RFC 5321 4.1.2 A-d-l): skipped. */
static void skip_route(ph_str text, size_t *at)
{
    if (*at < text.n && text.p[*at] == '@') {
        ptrdiff_t colon = ph_str_find(ph_str_from(text, *at), ':'), end = ph_str_find(ph_str_from(text, *at), '>');

        if (colon > 0 && (end < 0 || colon < end))
            *at += (size_t)colon + 1;
    }
}

int ph_address_parse_path(struct ph_scope *s, ph_str text, int strict, ph_str *address, ph_str *rest)
{
    struct ph_buf out;
    size_t at = 0;

    while (!strict && at < text.n && ph_is_space(text.p[at]))
        at++;
    int bracket = at < text.n && text.p[at] == '<';
    if (!bracket && (strict || at == text.n))
        return 0;
    at += (size_t)bracket;
    ph_buf_init(&out, s, text.n + 1);
    while (bracket && !strict && at < text.n && ph_is_space(text.p[at]))
        at++;
    skip_route(text, &at);
    if (!take_mailbox(&out, text, &at, strict))
        return 0;
    while (bracket && !strict && at < text.n && ph_is_space(text.p[at]))
        at++;
    if (bracket && (at == text.n || text.p[at++] != '>'))
        return 0;
    if (at < text.n && !ph_is_space(text.p[at]))
        return 0;
    *address = ph_str_dup(s, ph_buf_view(&out));
    *rest = ph_str_from(text, at);
    while (rest->n && ph_is_space(rest->p[0]))
        *rest = ph_str_from(*rest, 1);
    return 1;
}

int ph_address_internal(struct ph_scope *s, ph_str external, ph_str *internal)
{
    struct ph_buf out;
    size_t at = 0;

    ph_buf_init(&out, s, external.n + 1);
    if (!take_mailbox(&out, external, &at, 0) || at != external.n)
        return 0;
    *internal = ph_str_dup(s, ph_buf_view(&out));
    return 1;
}

ph_str ph_address_bare(struct ph_scope *s, ph_str external)
{
    struct ph_buf b;

    if (ph_str_find(external, '"') < 0 && ph_str_find(external, '\\') < 0)
        return external;
    ph_buf_init(&b, s, external.n + 1);
    for (size_t i = 0; i < external.n; i++) {
        if (external.p[i] == '"')
            continue;
        if (external.p[i] == '\\' && i + 1 < external.n)
            i++;
        ph_buf_putc(&b, external.p[i]);
    }
    return ph_buf_view(&b);
}

/* Names that mean something whole. */
static int is_special(ph_str local, char delimiter)
{
    return ph_str_eq_nocase(local, PH_STR("postmaster")) || ph_str_eq_nocase(local, PH_STR("mailer-daemon")) ||
           ph_str_eq_nocase(local, PH_STR("double-bounce")) ||
           (delimiter == '-' && (ph_str_starts_nocase(local, PH_STR("owner-")) || ph_str_ends_nocase(local, PH_STR("-request"))));
}

void ph_address_extension(ph_str local, ph_str delimiters, ph_str *user, ph_str *ext, char *delimiter)
{
    *user = local;
    *ext = ph_str_from(local, local.n);
    *delimiter = 0;
    for (size_t i = 1; i < local.n; i++) {
        if (ph_str_find(delimiters, local.p[i]) < 0)
            continue;
        if (is_special(local, local.p[i]))
            return;
        *user = ph_str_first(local, i);
        *ext = ph_str_from(local, i + 1);
        *delimiter = local.p[i];
        return;
    }
}

int ph_hostname_valid(ph_str name)
{
    if (name.n == 0 || name.n > 255)
        return 0;
    while (name.n) {
        ptrdiff_t dot = ph_str_find(name, '.');
        ph_str label = dot < 0 ? name : ph_str_first(name, (size_t)dot);

        if (label.n == 0 || label.n > 63 || label.p[0] == '-' || label.p[label.n - 1] == '-')
            return 0;
        for (size_t i = 0; i < label.n; i++)
            if (!ph_is_alnum(label.p[i]) && label.p[i] != '-' && label.p[i] != '_')
                return 0;
        if (dot >= 0 && (size_t)dot + 1 == name.n)
            return 0;
        name = ph_str_from(name, label.n + (dot >= 0));
    }
    return 1;
}

static int is_v4(ph_str s)
{
    for (int part = 0; part < 4; part++) {
        ptrdiff_t dot = ph_str_find(s, '.');
        ph_str digits = part < 3 ? ph_str_cut(&s, '.') : s;
        uint64_t v;

        if ((part < 3 && dot < 0) || digits.n > 3 || !ph_str_u64(digits, &v) || v > 255)
            return 0;
    }
    return 1;
}

/* RFC 4291 2.2: up to eight groups of four hex digits, one "::", a dotted quad last. */
static int is_v6(ph_str s)
{
    int groups = 0, gap = 0;

    if (ph_str_starts(s, PH_STR("::"))) {
        gap = 1;
        s = ph_str_from(s, 2);
    }
    while (s.n) {
        ptrdiff_t colon = ph_str_find(s, ':');
        ph_str g = colon < 0 ? s : ph_str_first(s, (size_t)colon);

        if (colon < 0 && ph_str_find(g, '.') >= 0)
            return is_v4(g) && (gap ? groups <= 5 : groups == 6);
        if (g.n == 0 || g.n > 4 || ++groups > 8)
            return 0;
        for (size_t i = 0; i < g.n; i++)
            if (!ph_is_digit(g.p[i]) && (ph_lower(g.p[i]) < 'a' || ph_lower(g.p[i]) > 'f'))
                return 0;
        s = ph_str_from(s, g.n + (colon >= 0));
        if (colon >= 0 && s.n == 0)
            return 0;
        if (s.n && s.p[0] == ':') {
            if (gap++)
                return 0;
            s = ph_str_from(s, 1);
        }
    }
    return gap ? groups < 8 : groups == 8;
}

int ph_domain_literal_valid(ph_str name)
{
    if (name.n < 3 || name.p[0] != '[' || name.p[name.n - 1] != ']')
        return 0;
    ph_str in = ph_str_first(ph_str_from(name, 1), name.n - 2);

    if (ph_str_starts_nocase(in, PH_STR("IPv6:")))
        return is_v6(ph_str_from(in, 5));
    return is_v4(in) || (ph_str_find(in, ':') >= 0 && is_v6(in));
}
