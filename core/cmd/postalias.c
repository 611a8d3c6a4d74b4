/* postalias: `name: value, value` lines.  Name and value are read as RFC 822 tokens
 * and written anew: a comma and a blank between addresses, one blank between words. */
#include <string.h>
#include <posthorn/buf.h>
#include "core/cmd/postmap.h"

struct text {
    struct ph_buf b;
    int bare;                      /* a name: without quotes */
    int is_word;                   /* what stands last */
};

static int is_special(char c)
{
    return c && strchr("()<>@,;:\".[]\\%!|", c) != NULL;
}

static void put_special(struct text *t, char c)
{
    if (c == '<' && t->b.n && t->b.p[t->b.n - 1] != ' ')
        ph_buf_putc(&t->b, ' ');
    ph_buf_putc(&t->b, c);
    if (c == ',')
        ph_buf_putc(&t->b, ' ');
    t->is_word = 0;
}

static void begin_word(struct text *t)
{
    if (t->is_word)
        ph_buf_putc(&t->b, ' ');
    t->is_word = 1;
}

static void put_quoted(struct text *t, ph_str word)
{
    ph_buf_putc(&t->b, '"');
    for (size_t i = 0; i < word.n; i++) {
        if (word.p[i] == '"' || word.p[i] == '\\')
            ph_buf_putc(&t->b, '\\');
        ph_buf_putc(&t->b, word.p[i]);
    }
    ph_buf_putc(&t->b, '"');
}

/* Up to the closing character, with what a backslash protects; any blank is a space.
 * *rest begins behind it. */
static ph_str take_quoted(struct ph_scope *s, ph_str *rest, char close)
{
    char *p = ph_alloc(s, rest->n + 1);
    size_t n = 0, i = 0;

    for (; i < rest->n && rest->p[i] != close; i++) {
        if (rest->p[i] == '\\' && ++i == rest->n)
            break;
        p[n++] = ph_is_space(rest->p[i]) ? ' ' : rest->p[i];
    }
    *rest = ph_str_from(*rest, i + 1);
    return (ph_str){ p, n };
}

static ph_str take_atom(struct ph_scope *s, ph_str *rest)
{
    char *p = ph_alloc(s, rest->n + 1);
    size_t n = 0, i = 0;

    for (; i < rest->n && !ph_is_space(rest->p[i]); i++) {
        if (rest->p[i] == '\\') {
            if (++i == rest->n)
                break;
        } else if (is_special(rest->p[i])) {
            break;
        }
        p[n++] = ph_is_space(rest->p[i]) ? ' ' : rest->p[i];
    }
    *rest = ph_str_from(*rest, i);
    return (ph_str){ p, n };
}

/* A comment, with those in it, as it stands. */
static ph_str take_comment(ph_str *rest)
{
    size_t n = 0;
    int depth = 0;

    for (; n < rest->n; n++) {
        if (rest->p[n] == '\\')
            n++;
        else if (rest->p[n] == '(')
            depth++;
        else if (rest->p[n] == ')' && --depth == 0)
            break;
    }
    ph_str all = ph_str_first(*rest, n + 1);
    *rest = ph_str_from(*rest, n + 1);
    return all;
}

static void put_atom(struct text *t, ph_str atom)
{
    int plain = 1;

    for (size_t i = 0; i < atom.n; i++)
        plain &= (unsigned char)atom.p[i] > ' ' && atom.p[i] != 0x7f && !is_special(atom.p[i]);
    if (plain || t->bare)
        ph_buf_str(&t->b, atom);
    else
        put_quoted(t, atom);
}

/* The next token of *rest, which has one. */
static void token(struct text *t, struct ph_scope *s, ph_str *rest)
{
    char c = rest->p[0];
    ph_str word;

    if (c == '"' || c == '(' || c == '[' || c == '\\' || !is_special(c))
        begin_word(t);
    if (c == '"') {
        *rest = ph_str_from(*rest, 1);
        word = take_quoted(s, rest, '"');
        if (t->bare)
            ph_buf_str(&t->b, word);
        else
            put_quoted(t, word);
    } else if (c == '(') {
        ph_buf_str(&t->b, take_comment(rest));
    } else if (c == '[') {
        *rest = ph_str_from(*rest, 1);
        word = take_quoted(s, rest, ']');
        ph_buf_printf(&t->b, "[%.*s]", PH_FMT(word));
    } else if (c == '\\' || !is_special(c)) {
        put_atom(t, take_atom(s, rest));
    } else {
        put_special(t, c);
        *rest = ph_str_from(*rest, 1);
    }
}

/* Blanks at the end belong to what is not closed. */
static ph_str skip_blanks(ph_str s)
{
    while (s.n && ph_is_space(s.p[0]))
        s = ph_str_from(s, 1);
    return s;
}

int postalias_parse(struct ph_scope *s, ph_str line, ph_str *name, ph_str *value)
{
    struct text left = { .bare = 1 }, right = { .bare = 0 };
    int tokens = 0, has_domain = 0, has_comma = 0;
    ph_str rest = skip_blanks(line);

    ph_buf_init(&left.b, s, PH_SOURCE_MAX);
    ph_buf_init(&right.b, s, PH_SOURCE_MAX);
    for (; rest.n && rest.p[0] != ':'; rest = skip_blanks(rest), tokens++) {
        has_domain |= rest.p[0] == '@' || rest.p[0] == '%';
        has_comma |= rest.p[0] == ',';
        token(&left, s, &rest);
    }
    if (tokens == 0 || has_comma || rest.n == 0 || (rest = skip_blanks(ph_str_from(rest, 1))).n == 0)
        return POSTALIAS_NO_PAIR;
    if (has_domain)
        return POSTALIAS_NOT_LOCAL;
    for (; rest.n; rest = skip_blanks(rest))
        token(&right, s, &rest);
    *name = ph_buf_view(&left.b);
    *value = ph_buf_view(&right.b);
    return POSTALIAS_PAIR;
}
