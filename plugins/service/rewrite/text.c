/* text: see text.h. */
#include <string.h>
#include <posthorn/address.h>
#include <posthorn/buf.h>
#include "text.h"

#define QUOTED 0x100u

static void put(struct text *t, char c, int quoted)
{
    t->c[t->n++] = (uint16_t)((unsigned char)c | (quoted ? QUOTED : 0u));
}

static void start(struct text *t, struct ph_scope *s, size_t n, size_t room)
{
    *t = (struct text){ .s = s, .c = ph_alloc_array(s, n + room + 1, sizeof *t->c), .room = n + room };
}

/* A literal that is closed hides operators, but not "@": where an address is
 * split must not depend on brackets. */
static int hidden(int literal, char c)
{
    return literal && c != '@';
}

void text_of_external(struct text *t, struct ph_scope *s, ph_str a, size_t room)
{
    ptrdiff_t last = ph_str_rfind(a, ']');
    int quotes = 0, literal = 0;

    start(t, s, a.n, room);
    for (size_t i = 0; i < a.n; i++) {
        char c = a.p[i];

        if (c == '"' && !literal) {
            quotes = !quotes;
        } else if (c == '\\' && i + 1 < a.n) {
            put(t, a.p[++i], 1);
        } else {
            literal = literal ? c != ']' : !quotes && c == '[' && (ptrdiff_t)i < last;
            put(t, c, quotes || hidden(literal, c));
        }
    }
}

void text_of_internal(struct text *t, struct ph_scope *s, ph_str a, int dequoted, size_t room)
{
    if (!dequoted) {
        text_of_external(t, s, ph_address_external(s, a), room);
        return;
    }
    ptrdiff_t last = ph_str_rfind(a, ']');
    int literal = 0;

    start(t, s, a.n, room);
    for (size_t i = 0; i < a.n; i++) {
        literal = literal ? a.p[i] != ']' : a.p[i] == '[' && (ptrdiff_t)i < last;
        put(t, a.p[i], hidden(literal, a.p[i]));
    }
}

ptrdiff_t text_find(const struct text *t, char c)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->c[i] == (unsigned char)c)
            return (ptrdiff_t)i;
    return -1;
}

ptrdiff_t text_rfind(const struct text *t, char c)
{
    for (size_t i = t->n; i-- > 0; )
        if (t->c[i] == (unsigned char)c)
            return (ptrdiff_t)i;
    return -1;
}

char text_at(const struct text *t, size_t i)
{
    return i < t->n && !(t->c[i] & QUOTED) ? (char)t->c[i] : 0;
}

char text_byte(const struct text *t, size_t i)
{
    return (char)(t->c[i] & 0xffu);
}

void text_drop_first(struct text *t, size_t n)
{
    t->c += n;
    t->n -= n;
    t->room -= n;
}

int text_drop_dot(struct text *t)
{
    if (t->n < 2 || text_at(t, t->n - 1) != '.' || text_at(t, t->n - 2) == '.' || text_at(t, t->n - 2) == '@')
        return 0;
    t->n--;
    return 1;
}

void text_append(struct text *t, ph_str more)
{
    if (more.n > t->room - t->n) {
        struct text bigger;

        start(&bigger, t->s, t->n, more.n);
        memcpy(bigger.c, t->c, t->n * sizeof *t->c);
        bigger.n = t->n;
        *t = bigger;
    }
    for (size_t i = 0; i < more.n; i++)
        put(t, more.p[i], 0);
}

static void reverse(uint16_t *c, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        uint16_t other = c[n - 1 - i];

        c[n - 1 - i] = c[i];
        c[i] = other;
    }
}

/* In place: an address of operators is as many turns. */
void text_turn_bang(struct text *t, size_t at)
{
    size_t user = t->n - at - 1;

    reverse(t->c, t->n);
    reverse(t->c, user);
    t->c[user] = '@';
    reverse(t->c + user + 1, at);
}

void text_turn_percent(struct text *t, size_t at)
{
    t->c[at] = '@';
}

ph_str text_bytes(const struct text *t, size_t from, size_t to)
{
    char *p = ph_alloc(t->s, to - from + 1);

    for (size_t i = from; i < to; i++)
        p[i - from] = (char)t->c[i];
    return (ph_str){ p, to - from };
}

/* "a!b" without a domain: bare, it would be another address. */
static int hides_operator(const struct text *t)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->c[i] & QUOTED && memchr("!%", (char)t->c[i], 2))
            return 1;
    return 0;
}

ph_str text_external(const struct text *t)
{
    ptrdiff_t at = text_rfind(t, '@');
    struct ph_buf b;

    if (t->n == 0)
        return PH_STR("");
    /* No domain has one, quoted or not. */
    for (size_t i = (size_t)(at + 1); at >= 0 && i < t->n; i++)
        at = text_byte(t, i) == '@' ? (ptrdiff_t)i : at;
    size_t local = at < 0 ? t->n : (size_t)at;
    /* A domain behind it tells ph_address_external where the local part ends. */
    ph_buf_init(&b, t->s, 2 * t->n + 6);
    ph_buf_str(&b, text_bytes(t, 0, local));
    ph_buf_putc(&b, '@');
    ph_str quoted = ph_address_external(t->s, ph_buf_view(&b));
    quoted.n--;
    int bare = at < 0 && quoted.p[0] != '"' && hides_operator(t);
    ph_buf_init(&b, t->s, 2 * t->n + 6);
    ph_buf_puts(&b, bare ? "\"" : "");
    ph_buf_str(&b, quoted);
    ph_buf_puts(&b, bare ? "\"" : "");
    ph_buf_str(&b, text_bytes(t, local, t->n));
    return ph_buf_view(&b);
}
