/* dsn: enhanced status codes, reply lines, xtext.  See posthorn/dsn.h. */
#include <posthorn/buf.h>
#include <posthorn/dsn.h>

/* Digits at the front, one to three; 0 when there are none or too many. */
static size_t digits(ph_str s)
{
    size_t n = 0;

    while (n < s.n && ph_is_digit(s.p[n]))
        n++;
    return n <= 3 ? n : 0;
}

int ph_dsn_parse(ph_str s, ph_str *code, ph_str *text)
{
    if (s.n < 5 || (s.p[0] != '2' && s.p[0] != '4' && s.p[0] != '5') || s.p[1] != '.')
        return 0;
    size_t subject = digits(ph_str_from(s, 2)), at = 2 + subject;

    if (subject == 0 || at >= s.n || s.p[at] != '.')
        return 0;
    size_t detail = digits(ph_str_from(s, at + 1)), end = at + 1 + detail;
    if (detail == 0 || (end < s.n && !ph_is_space(s.p[end])))
        return 0;
    *code = ph_str_first(s, end);
    *text = ph_str_from(s, end);
    while (text->n && ph_is_space(text->p[0]))
        *text = ph_str_from(*text, 1);
    return 1;
}

const char *ph_dsn_address_type(ph_str address)
{
    return !ph_str_is_ascii(address) && ph_str_is_utf8(address) ? "utf-8" : "rfc822";
}

ph_str ph_dsn_of_address(struct ph_scope *s, ph_str code, int sender)
{
    const ph_str all = PH_STR("012345678"), map = sender ? PH_STR("078770778") : PH_STR("012345632");
    ph_str detail = ph_str_from(code, 4);

    if (!ph_str_starts(ph_str_from(code, 1), PH_STR(".1.")))
        return code;
    if (sender < 0)
        return ph_str_printf(s, "%c.0.0", code.p[0]);
    ptrdiff_t known = detail.n == 1 ? ph_str_find(all, detail.p[0]) : -1;
    return ph_str_printf(s, "%c.1.%c", code.p[0], known >= 0 ? map.p[known] : '0');
}

char ph_dsn_class(ph_str code)
{
    return code.n && (code.p[0] == '2' || code.p[0] == '4' || code.p[0] == '5') ? code.p[0] : 0;
}

uint32_t ph_notify_flags(ph_str notify)
{
    static const struct { const char *word; uint32_t flag; } known[] = {
        { "FAILURE", PH_NOTIFY_FAILURE }, { "DELAY", PH_NOTIFY_DELAY }, { "SUCCESS", PH_NOTIFY_SUCCESS },
    };
    uint32_t flags = 0;

    if (!notify.n)
        return PH_NOTIFY_FAILURE | PH_NOTIFY_DELAY;
    for (ph_str w; (w = ph_str_list(&notify)).n; )
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (ph_str_eq_nocase(w, ph_cstr(known[i].word)))
                flags |= known[i].flag;
    return flags;
}

ph_str ph_notify_rest(struct ph_scope *s, ph_str notify)
{
    struct ph_buf b;
    int any = 0;

    ph_buf_init(&b, s, notify.n + 8);
    for (ph_str w; (w = ph_str_list(&notify)).n; any = 1)
        if (!ph_str_eq_nocase(w, PH_STR("SUCCESS")))
            ph_buf_printf(&b, "%s%.*s", b.n ? "," : "", PH_FMT(w));
    return any && b.n == 0 ? PH_STR("NEVER") : ph_buf_view(&b);
}

int ph_reply_parse(ph_str line, unsigned *code, int *more, ph_str *text)
{
    if (line.n < 3 || line.p[0] < '1' || line.p[0] > '5' || !ph_is_digit(line.p[1]) || !ph_is_digit(line.p[2]) ||
        (line.n > 3 && line.p[3] != ' ' && line.p[3] != '-'))
        return 0;
    *code = (unsigned)((line.p[0] - '0') * 100 + (line.p[1] - '0') * 10 + (line.p[2] - '0'));
    *more = line.n > 3 && line.p[3] == '-';
    *text = ph_str_from(line, 4);
    return 1;
}

static int hex(char c)
{
    return ph_is_digit(c) ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int ph_xtext_decode(struct ph_scope *s, ph_str in, ph_str *out)
{
    char *p = ph_cstr_dup(s, in);
    size_t n = 0;

    for (size_t i = 0; i < in.n; i++) {
        unsigned char c = (unsigned char)in.p[i];

        if (c == '+') {
            if (i + 2 >= in.n || hex(in.p[i + 1]) < 0 || hex(in.p[i + 2]) < 0)
                return 0;
            c = (unsigned char)(hex(in.p[i + 1]) * 16 + hex(in.p[i + 2]));
            i += 2;
        } else if (c <= ' ' || c > '~' || c == '=') {
            return 0;
        }
        p[n++] = (char)c;
    }
    p[n] = 0;
    *out = (ph_str){ p, n };
    return 1;
}

ph_str ph_xtext_encode(struct ph_scope *s, ph_str in)
{
    static const char digit[] = "0123456789ABCDEF";
    char *p = ph_alloc(s, in.n * 3 + 1);
    size_t n = 0;

    for (size_t i = 0; i < in.n; i++) {
        unsigned char c = (unsigned char)in.p[i];

        if (c > ' ' && c <= '~' && c != '+' && c != '=') {
            p[n++] = (char)c;
        } else {
            p[n++] = '+';
            p[n++] = digit[c >> 4];
            p[n++] = digit[c & 15];
        }
    }
    return (ph_str){ p, n };
}
