/* str: views of bytes.  See posthorn/str.h. */
#include <string.h>
#include <posthorn/str.h>

ph_str ph_cstr(const char *s)
{
    return (ph_str){ s, s ? strlen(s) : 0 };
}

char ph_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }
char ph_upper(char c) { return c >= 'a' && c <= 'z' ? (char)(c - 32) : c; }
int ph_is_alpha(char c) { return ph_lower(c) >= 'a' && ph_lower(c) <= 'z'; }
int ph_is_digit(char c) { return c >= '0' && c <= '9'; }
int ph_is_alnum(char c) { return ph_is_alpha(c) || ph_is_digit(c); }
int ph_is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
int ph_is_print(char c) { return c >= 0x20 && c <= 0x7e; }

int ph_str_eq(ph_str a, ph_str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

int ph_str_eq_nocase(ph_str a, ph_str b)
{
    if (a.n != b.n)
        return 0;
    for (size_t i = 0; i < a.n; i++)
        if (ph_lower(a.p[i]) != ph_lower(b.p[i]))
            return 0;
    return 1;
}

int ph_str_cmp(ph_str a, ph_str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int d = n ? memcmp(a.p, b.p, n) : 0;

    return d ? d : (a.n > b.n) - (a.n < b.n);
}

int ph_str_starts(ph_str s, ph_str prefix)
{
    return s.n >= prefix.n && ph_str_eq(ph_str_first(s, prefix.n), prefix);
}

int ph_str_starts_nocase(ph_str s, ph_str prefix)
{
    return s.n >= prefix.n && ph_str_eq_nocase(ph_str_first(s, prefix.n), prefix);
}

int ph_str_ends(ph_str s, ph_str suffix)
{
    return s.n >= suffix.n && ph_str_eq(ph_str_from(s, s.n - suffix.n), suffix);
}

int ph_str_ends_nocase(ph_str s, ph_str suffix)
{
    return s.n >= suffix.n && ph_str_eq_nocase(ph_str_from(s, s.n - suffix.n), suffix);
}

ptrdiff_t ph_str_find(ph_str s, char c)
{
    const char *at = s.n ? memchr(s.p, c, s.n) : NULL;

    return at ? at - s.p : -1;
}

ptrdiff_t ph_str_rfind(ph_str s, char c)
{
    const char *at = s.n ? memrchr(s.p, c, s.n) : NULL;

    return at ? at - s.p : -1;
}

ptrdiff_t ph_str_search(ph_str s, ph_str needle)
{
    if (needle.n == 0)
        return 0;
    const char *at = s.n ? memmem(s.p, s.n, needle.p, needle.n) : NULL;

    return at ? at - s.p : -1;
}

ph_str ph_str_from(ph_str s, size_t start)
{
    if (start > s.n)
        start = s.n;
    return (ph_str){ s.p ? s.p + start : NULL, s.n - start };
}

ph_str ph_str_first(ph_str s, size_t n)
{
    return (ph_str){ s.p, n < s.n ? n : s.n };
}

ph_str ph_str_trim(ph_str s)
{
    while (s.n && ph_is_space(s.p[0]))
        s = ph_str_from(s, 1);
    while (s.n && ph_is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

ph_str ph_str_cut(ph_str *s, char c)
{
    ptrdiff_t at = ph_str_find(*s, c);
    ph_str head = *s;

    if (at < 0) {
        *s = ph_str_from(*s, s->n);
        return head;
    }
    head.n = (size_t)at;
    *s = ph_str_from(*s, (size_t)at + 1);
    return head;
}

static ph_str skip_any(ph_str s, const char *seps)
{
    while (s.n && s.p[0] && strchr(seps, s.p[0]))
        s = ph_str_from(s, 1);
    return s;
}

ph_str ph_str_token(ph_str *s, const char *seps)
{
    ph_str rest = skip_any(*s, seps), word = rest;
    size_t n = 0;

    while (n < rest.n && !(rest.p[n] && strchr(seps, rest.p[n])))
        n++;
    word.n = n;
    *s = skip_any(ph_str_from(rest, n), seps);
    return word;
}

ph_str ph_str_word(ph_str *s)
{
    return ph_str_token(s, " \t\r\n\v\f");
}

ph_str ph_str_list(ph_str *s)
{
    static const char seps[] = ", \t\r\n\v\f";
    ph_str rest = skip_any(*s, seps), item = rest;
    size_t n = 0, depth = 0;

    for (; n < rest.n; n++) {
        if (rest.p[n] == '{')
            depth++;
        else if (rest.p[n] == '}' && depth)
            depth--;
        else if (depth == 0 && rest.p[n] && strchr(seps, rest.p[n]))
            break;
    }
    item.n = n;
    *s = skip_any(ph_str_from(rest, n), seps);
    return item;
}

int ph_str_u64(ph_str s, uint64_t *v)
{
    uint64_t sum = 0;

    if (s.n == 0)
        return 0;
    for (size_t i = 0; i < s.n; i++) {
        if (!ph_is_digit(s.p[i]) ||
            __builtin_mul_overflow(sum, 10u, &sum) ||
            __builtin_add_overflow(sum, (uint64_t)(s.p[i] - '0'), &sum))
            return 0;
    }
    *v = sum;
    return 1;
}

int ph_str_i64(ph_str s, int64_t *v)
{
    int negative = s.n && s.p[0] == '-';
    uint64_t u;

    if (!ph_str_u64(ph_str_from(s, negative ? 1 : 0), &u))
        return 0;
    if (u > (uint64_t)INT64_MAX + (negative ? 1u : 0u))
        return 0;
    *v = negative ? (int64_t)(0 - u) : (int64_t)u;
    return 1;
}

uint64_t ph_str_hash(ph_str s)
{
    uint64_t h = 0xcbf29ce484222325u;   /* FNV-1a */

    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3u;
    return h;
}

int ph_str_is_ascii(ph_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] & 0x80)
            return 0;
    return 1;
}

/* Length of the valid UTF-8 sequence at p (n bytes left), or 0.  RFC 3629 4. */
static size_t utf8_step(const unsigned char *p, size_t n)
{
    size_t len = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;

    if (len == 0 || len > n)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return len;
}

/* Eight bytes, none above 127. */
static int is_ascii_word(const unsigned char *p)
{
    uint64_t word;

    memcpy(&word, p, sizeof word);
    return (word & UINT64_C(0x8080808080808080)) == 0;
}

int ph_str_is_utf8(ph_str s)
{
    const unsigned char *p = (const unsigned char *)s.p;

    for (size_t at = 0; at < s.n; ) {
        size_t step = s.n - at >= 8 && is_ascii_word(p + at) ? 8 : utf8_step(p + at, s.n - at);

        if (step == 0)
            return 0;
        at += step;
    }
    return 1;
}

/* Bytes of the UTF-8 character that begins there, or 0. */
static size_t character(const char *p, size_t left)
{
    unsigned char lead = (unsigned char)p[0];
    size_t n = lead < 0xc0 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;

    return n && n <= left && ph_str_is_utf8((ph_str){ p, n }) ? n : 0;
}

void ph_make_shown(char *p, size_t n)
{
    for (size_t i = 0, k; i < n; i += k) {
        k = ph_is_print(p[i]) ? 1 : character(p + i, n - i);
        if (!k) {
            p[i] = '?';
            k = 1;
        }
    }
}
