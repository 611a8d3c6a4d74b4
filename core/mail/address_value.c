/* address_value: other addresses into a header's value, and not a byte besides: what
 * somebody signed stays signed where nothing had to change.  See posthorn/address.h. */
#include <string.h>
#include <posthorn/address.h>
#include <posthorn/error.h>

size_t ph_address_behind(ph_str v, size_t at)
{
    char start = v.p[at], end = start == '(' ? ')' : start == '[' ? ']' : start;
    size_t depth = 1;

    for (at++; at < v.n; at++)
        if (v.p[at] == '\\')
            at++;
        else if (v.p[at] == end && --depth == 0)
            return at + 1;
        else if (start == '(' && v.p[at] == '(')
            depth++;
    return v.n;
}

static int is_special(char c)
{
    return c && strchr("<>@,;:.", c) != NULL;
}

/* RFC 822 3.3: a word, a quoted string, a comment, a literal or one special. */
static size_t token_end(ph_str v, size_t at)
{
    switch (v.p[at]) {
    case '"':
    case '(':
    case '[': return ph_address_behind(v, at);
    case '\\': return at + 1 < v.n ? at + 2 : v.n;
    default: break;
    }
    if (is_special(v.p[at]))
        return at + 1;
    do
        at++;
    while (at < v.n && !ph_is_space(v.p[at]) && !is_special(v.p[at]) && !(v.p[at] && strchr("\"([\\", v.p[at])));
    return at;
}

/* The value up to the last comma within so many tokens; all of it when it has no more. */
static ph_str within(ph_str v, size_t tokens)
{
    size_t at = 0, comma = 0;

    if (v.n <= tokens)
        return v;
    for (size_t count = 0; at < v.n; ) {
        if (ph_is_space(v.p[at])) {
            at++;
            continue;
        }
        if (++count > tokens)
            return ph_str_first(v, comma);
        if (v.p[at] == ',')
            comma = at + 1;
        at = token_end(v, at);
    }
    return v;
}

static int joins(char c)
{
    return c == '.' || c == '@';
}

size_t ph_address_word(ph_str text)
{
    size_t blank = 0;                  /* where blanks began that lead here; 0: there are none */
    char last = '.';

    for (size_t at = 0, end; at < text.n; at = end) {
        char c = text.p[at];

        end = ph_is_space(c) ? at + 1 : token_end(text, at);
        if (ph_is_space(c) || c == '(') {
            blank = blank ? blank : at;
            continue;
        }
        if (blank && !joins(last) && !joins(c))
            return blank;
        blank = 0;
        last = c;
    }
    return text.n;
}

struct places {
    struct ph_address_place *list;
    size_t n, room;
};

static void add(struct ph_scope *s, struct places *p, ph_str external, size_t from, size_t to)
{
    if (p->n == p->room) {
        struct ph_address_place *more = ph_alloc_array(s, p->room * 2 + 4, sizeof *more);

        if (p->n)
            memcpy(more, p->list, p->n * sizeof *more);
        p->list = more;
        p->room = p->room * 2 + 4;
    }
    p->list[p->n++] = (struct ph_address_place){ .address = ph_address_bare(s, external), .external = external, .from = from, .to = to };
}

int ph_address_places(struct ph_scope *s, ph_str value, size_t tokens, struct ph_address_place **list, size_t *n)
{
    ph_str v = within(value, tokens), a;
    struct places p = { 0 };
    size_t at = 0, from, to;
    int rc;

    while ((rc = ph_address_next_external(s, v, &at, &a, &from, &to)) == 1)
        if (a.n && ph_address_word(ph_str_first(ph_str_from(v, from), to - from)) == to - from)
            add(s, &p, a, from, to);
    if (rc < 0 && v.n == value.n)
        return rc;
    *list = p.list;
    *n = p.n;
    return v.n < value.n;
}

int ph_address_replace(ph_str value, const struct ph_address_place *list, size_t n, struct ph_scope *s, struct ph_buf *out)
{
    size_t done = 0;
    int changed = 0;

    for (size_t i = 0; i < n; i++) {
        if (list[i].other.n == 0 || ph_str_eq(list[i].other, list[i].address))
            continue;
        ph_buf_put(out, value.p + done, list[i].from - done);
        ph_buf_str(out, ph_address_external(s, list[i].other));
        done = list[i].to;
        changed = 1;
    }
    if (changed)
        ph_buf_str(out, ph_str_from(value, done));
    return changed;
}
