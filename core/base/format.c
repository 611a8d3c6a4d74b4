/* format: printf for the conversions that logs, replies and headers are made of,
 * some times as fast as the C library's (a quarter of the instructions of a
 * received message were spent there).  Whatever else a format holds is left to
 * vsnprintf, so all of them may be used.  See posthorn/str.h. */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <posthorn/str.h>

/* What was written so far, and what would have been. */
struct text {
    char *p;
    size_t n, size;                /* size: without the NUL */
};

struct args {
    va_list ap;
};

struct conversion {
    int zeros;                     /* pad with them */
    size_t width;                  /* of numbers */
    int precision;                 /* of strings; -1: none */
    char size;                     /* 'i'nt, 'l'ong, 'L'ong long, 'z' or 'j' */
};

static void put(struct text *t, const char *s, size_t n)
{
    if (t->n < t->size) {
        size_t room = t->size - t->n;

        memcpy(t->p + t->n, s, n < room ? n : room);
    }
    t->n += n;
}

static void pad(struct text *t, char c, size_t n)
{
    for (; n; n--)
        put(t, &c, 1);
}

static void put_number(struct text *t, const struct conversion *c, uint64_t v, int negative, unsigned base)
{
    char digits[24], *end = digits + sizeof digits, *p = end;

    do
        *--p = "0123456789abcdef"[v % base];
    while (v /= base);
    size_t n = (size_t)(end - p), all = n + (size_t)negative, fill = c->width > all ? c->width - all : 0;

    pad(t, ' ', c->zeros ? 0 : fill);
    put(t, "-", (size_t)negative);
    pad(t, '0', c->zeros ? fill : 0);
    put(t, p, n);
}

static uint64_t take_unsigned(struct args *a, char size)
{
    switch (size) {
    case 'l': return va_arg(a->ap, unsigned long);
    case 'L': return va_arg(a->ap, unsigned long long);
    case 'z': return va_arg(a->ap, size_t);
    case 'j': return va_arg(a->ap, uintmax_t);
    default: return va_arg(a->ap, unsigned);
    }
}

static int64_t take_signed(struct args *a, char size)
{
    switch (size) {
    case 'l': return va_arg(a->ap, long);
    case 'L': return va_arg(a->ap, long long);
    case 'z': return va_arg(a->ap, ssize_t);
    case 'j': return va_arg(a->ap, intmax_t);
    default: return va_arg(a->ap, int);
    }
}

static void put_signed(struct text *t, const struct conversion *c, int64_t v)
{
    put_number(t, c, v < 0 ? -(uint64_t)v : (uint64_t)v, v < 0, 10);
}

/* 0: a NULL, about which opinions differ. */
static int put_string(struct text *t, const struct conversion *c, const char *s)
{
    if (!s)
        return 0;
    put(t, s, c->precision < 0 ? strlen(s) : strnlen(s, (size_t)c->precision));
    return 1;
}

/* Digits of a width or a precision; what is absurd is not ours. */
static int read_count(const char **f, size_t *n)
{
    for (*n = 0; ph_is_digit(**f); ++*f)
        if ((*n = *n * 10 + (size_t)(**f - '0')) > 1000)
            return 0;
    return 1;
}

/* What stands between the '%' and the letter: 1, or 0 when we do not know it. */
static int read_conversion(const char **f, struct args *a, struct conversion *c)
{
    size_t n;

    *c = (struct conversion){ .precision = -1, .size = 'i' };
    c->zeros = **f == '0';
    if (!read_count(f, &c->width))
        return 0;
    if (**f == '.' && (*f)[1] == '*') {
        c->precision = va_arg(a->ap, int);
        *f += 2;
    } else if (**f == '.') {
        ++*f;
        if (!read_count(f, &n))
            return 0;
        c->precision = (int)n;
    }
    if (**f == 'l' || **f == 'z' || **f == 'j')
        c->size = *(*f)++;
    if (c->size == 'l' && **f == 'l') {
        c->size = 'L';
        ++*f;
    }
    return 1;
}

/* One conversion: 1, or 0 when it is not among ours. */
static int convert(struct text *t, const char **f, struct args *a)
{
    struct conversion c;
    char byte;

    if (!read_conversion(f, a, &c))
        return 0;
    char letter = *(*f)++;
    int is_plain = c.precision < 0, is_bare = is_plain && c.width == 0 && !c.zeros && c.size == 'i';

    if (letter == 's' && c.width == 0 && !c.zeros && c.size == 'i')
        return put_string(t, &c, va_arg(a->ap, const char *));
    if ((letter == 'd' || letter == 'i') && is_plain)
        put_signed(t, &c, take_signed(a, c.size));
    else if ((letter == 'u' || letter == 'x') && is_plain)
        put_number(t, &c, take_unsigned(a, c.size), 0, letter == 'x' ? 16 : 10);
    else if (letter == 'c' && is_bare)
        put(t, (byte = (char)va_arg(a->ap, int), &byte), 1);
    else if (letter == '%' && is_bare)
        put(t, "%", 1);
    else
        return 0;
    return 1;
}

static int format(struct text *t, const char *f, struct args *a)
{
    while (*f) {
        const char *at = strchrnul(f, '%');

        put(t, f, (size_t)(at - f));
        f = at;
        if (*f && (f++, !convert(t, &f, a)))
            return 0;
    }
    return 1;
}

int ph_vformat(char *to, size_t size, const char *fmt, va_list ap)
{
    struct text t = { to, 0, size ? size - 1 : 0 };
    struct args a;

    va_copy(a.ap, ap);
    int known = format(&t, fmt, &a);
    va_end(a.ap);
    if (!known || t.n > INT_MAX)
        return vsnprintf(to, size, fmt, ap);
    if (size)
        to[t.n < t.size ? t.n : t.size] = 0;
    return (int)t.n;
}
