/* header: one logical header after another.  See posthorn/header.h. */
#include <posthorn/buf.h>
#include <posthorn/error.h>
#include <posthorn/header.h>

/* Length of the name in front of the colon, blanks before it left out; 0: none. */
static size_t name_length(ph_str line)
{
    ptrdiff_t colon = ph_str_find(line, ':');
    size_t n = colon > 0 ? (size_t)colon : 0;

    while (n && (line.p[n - 1] == ' ' || line.p[n - 1] == '\t'))
        n--;
    for (size_t i = 0; i < n; i++)
        if (line.p[i] <= ' ' || line.p[i] > '~')
            return 0;
    return n;
}

/* End of the line that starts at `at`, its LF included. */
static size_t line_end(ph_str b, size_t at)
{
    ptrdiff_t lf = ph_str_find(ph_str_from(b, at), '\n');

    return lf < 0 ? b.n : at + (size_t)lf + 1;
}

int ph_header_next(ph_str block, size_t *at, struct ph_header *h)
{
    size_t start = *at, end = line_end(block, start);
    ph_str line = ph_str_first(ph_str_from(block, start), end - start);

    if (line.n == 0 || line.p[0] == '\n' || (line.n >= 2 && line.p[0] == '\r' && line.p[1] == '\n'))
        return 0;
    size_t name = name_length(line);
    if (name == 0)
        return ph_fail(PH_PERM, "line is no header");
    while (end < block.n && (block.p[end] == ' ' || block.p[end] == '\t'))
        end = line_end(block, end);
    h->raw = ph_str_first(ph_str_from(block, start), end - start);
    h->name = ph_str_first(h->raw, name);
    ph_str v = ph_str_from(h->raw, (size_t)ph_str_find(h->raw, ':') + 1);
    if (v.n && v.p[v.n - 1] == '\n')
        v.n--;
    if (v.n && v.p[v.n - 1] == '\r')
        v.n--;
    if (v.n && (v.p[0] == ' ' || v.p[0] == '\t'))
        v = ph_str_from(v, 1);
    h->value = v;
    *at = end;
    return 1;
}

int ph_header_find(ph_str block, ph_str name, struct ph_header *h)
{
    struct ph_header one;

    for (size_t at = 0; ph_header_next(block, &at, &one) > 0; )
        if (ph_str_eq_nocase(one.name, name)) {
            *h = one;
            return 1;
        }
    return 0;
}

ph_str ph_header_unfold(struct ph_scope *s, ph_str value)
{
    if (ph_str_find(value, '\n') < 0 && ph_str_find(value, '\r') < 0)
        return ph_str_dup(s, value);
    char *p = ph_cstr_dup(s, value);
    size_t n = 0;

    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] != '\n' && value.p[i] != '\r')
            p[n++] = value.p[i];
    p[n] = 0;
    return (ph_str){ p, n };
}

uint32_t ph_header_addresses(ph_str name)
{
    static const struct { ph_str name; uint32_t what; } known[] = {
        { PH_STR_INIT("From"), PH_HEADER_SENDER }, { PH_STR_INIT("To"), PH_HEADER_RECIPIENT }, { PH_STR_INIT("Cc"), PH_HEADER_RECIPIENT },
        { PH_STR_INIT("Bcc"), PH_HEADER_RECIPIENT }, { PH_STR_INIT("Sender"), PH_HEADER_SENDER }, { PH_STR_INIT("Reply-To"), PH_HEADER_SENDER },
        { PH_STR_INIT("Errors-To"), PH_HEADER_SENDER }, { PH_STR_INIT("Return-Receipt-To"), PH_HEADER_SENDER },
        { PH_STR_INIT("Return-Path"), PH_HEADER_SENDER }, { PH_STR_INIT("Mail-Followup-To"), PH_HEADER_SENDER },
        { PH_STR_INIT("Disposition-Notification-To"), PH_HEADER_SENDER }, { PH_STR_INIT("Apparently-To"), PH_HEADER_RECIPIENT },
        { PH_STR_INIT("Resent-From"), PH_HEADER_SENDER }, { PH_STR_INIT("Resent-Sender"), PH_HEADER_SENDER },
        { PH_STR_INIT("Resent-To"), PH_HEADER_RECIPIENT }, { PH_STR_INIT("Resent-Cc"), PH_HEADER_RECIPIENT },
        { PH_STR_INIT("Resent-Bcc"), PH_HEADER_RECIPIENT }, { PH_STR_INIT("Resent-Reply-To"), PH_HEADER_RECIPIENT },
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (name.n == known[i].name.n && ph_str_eq_nocase(name, known[i].name))
            return known[i].what;
    return 0;
}
