/* sql_place: where the end of an SQL text stands.  See sql.h.
 *
 * A key is quoted for its place; a template with an apostrophe in a comment, or a
 * backslash in a string, must not make a bare place look like a quoted one. */
#include "sql.h"

static char at(ph_str t, size_t i)
{
    return i < t.n ? t.p[i] : 0;
}

static int is_word(char c)
{
    return ph_is_alnum(c) || c == '_' || (unsigned char)c >= 0x80;
}

/* The tag of $tag$ that begins at i, with both dollars; empty: none does. */
static ph_str dollar_tag(ph_str t, size_t i)
{
    size_t end = i + 1;

    if ((i > 0 && (is_word(t.p[i - 1]) || t.p[i - 1] == '$')) || ph_is_digit(at(t, end)))
        return PH_STR("");
    while (is_word(at(t, end)))
        end++;
    return at(t, end) == '$' ? ph_str_first(ph_str_from(t, i), end + 1 - i) : PH_STR("");
}

/* What opens at *i, which moves behind it; 0: nothing does. */
static char opens(ph_str t, size_t *i, unsigned dialect)
{
    size_t start = (*i)++;
    char c = t.p[start], next = at(t, start + 1);
    int is_pg = (dialect & SQL_PGSQL) != 0, is_my = (dialect & SQL_MYSQL) != 0, is_lite = (dialect & SQL_SQLITE) != 0;

    if (c == '\'')
        return is_pg && start > 0 && ph_lower(t.p[start - 1]) == 'e' && (start < 2 || !is_word(t.p[start - 2])) ? 'E' : c;
    if (c == '"' || (c == '`' && (is_my || is_lite)) || (c == '[' && is_lite) || (c == '#' && is_my))
        return c;
    /* MySQL executes what stands in its third form of comment. */
    if ((c == '-' && next == '-' && (!is_my || (unsigned char)at(t, start + 2) <= ' ')) || (c == '/' && next == '*' && !(is_my && (at(t, start + 2) == '!' || at(t, start + 2) == 'M')))) {
        ++*i;
        return next;
    }
    if (c == '$' && is_pg && dollar_tag(t, start).n) {
        *i = start;
        return c;
    }
    return 0;
}

/* Behind the end of a string or name whose inside begins at i, or 0. */
static size_t quoted_end(ph_str t, size_t i, char quote, int backslash)
{
    for (; i < t.n; i++) {
        if (t.p[i] == '\\' && backslash)
            i++;
        else if (t.p[i] == quote && at(t, i + 1) == quote)
            i++;
        else if (t.p[i] == quote)
            return i + 1;
    }
    return 0;
}

/* PostgreSQL's comments nest. */
static size_t comment_end(ph_str t, size_t i, int nests)
{
    for (int depth = 1; i < t.n; i++) {
        if (t.p[i] == '/' && at(t, i + 1) == '*' && nests) {
            depth++;
            i++;
        } else if (t.p[i] == '*' && at(t, i + 1) == '/') {
            i++;
            if (--depth == 0)
                return i + 1;
        }
    }
    return 0;
}

static size_t found_end(ph_str t, size_t i, ph_str what)
{
    ptrdiff_t found = ph_str_search(ph_str_from(t, i), what);

    return found < 0 ? 0 : i + (size_t)found + what.n;
}

static size_t end_of(ph_str t, size_t i, char open, unsigned dialect)
{
    int backslash = (dialect & SQL_BACKSLASH) != 0;

    switch (open) {
    case '\'': return quoted_end(t, i, open, backslash);
    case 'E': return quoted_end(t, i, '\'', 1);
    case '"': return quoted_end(t, i, open, backslash && dialect & SQL_MYSQL);
    case '`': return quoted_end(t, i, open, 0);
    case '[': return found_end(t, i, PH_STR("]"));
    case '*': return comment_end(t, i, (dialect & SQL_PGSQL) != 0);
    case '$': {
        ph_str tag = dollar_tag(t, i);

        return found_end(t, i + tag.n, tag);
    }
    default: return found_end(t, i, PH_STR("\n"));
    }
}

char sql_place(ph_str text, unsigned dialect)
{
    for (size_t i = 0; i < text.n; ) {
        char open = opens(text, &i, dialect);

        if (open && (i = end_of(text, i, open, dialect)) == 0)
            return open;
    }
    return 0;
}

int sql_quote(char place, ph_str in, struct ph_buf *out)
{
    int is_quoted = place == '\'' || place == '"';

    for (size_t i = 0; i < in.n; i++) {
        char c = in.p[i];

        if (c == 0 || (place == '"' && (c == '"' || c == '\\' || (unsigned char)c < 0x20)) || (!is_quoted && !ph_is_alnum(c) && c != '_' && c != '.'))
            return 0;
        if (place == '\'' && c == '\'')
            ph_buf_putc(out, c);
        ph_buf_putc(out, c);
    }
    return !out->full;
}
