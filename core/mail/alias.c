/* alias: see posthorn/alias.h.  Grammar: RFC 822 quoting and comments around the items; an
 * item that begins with a bar, a slash or :include: is no address. */
#include <posthorn/buf.h>
#include <posthorn/error.h>
#include <posthorn/alias.h>

#define TANGLE ((size_t)1 << 20)   /* bytes that may be read again, besides some times the list */

static int is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

static void skip_blanks(ph_str list, size_t *at)
{
    while (*at < list.n && is_blank(list.p[*at]))
        (*at)++;
}

/* Take the bytes up to the comma that ends the item: commas inside quotes and,
 * but in a bare command, inside comments do not.  1, or 0 when something is not
 * closed (then all the rest is taken). */
static int take_item(ph_str list, size_t *at, ph_str *item)
{
    size_t start = *at, depth = 0;
    int quoted = 0, command = start < list.n && list.p[start] == '|';

    for (; *at < list.n; (*at)++) {
        char c = list.p[*at];

        if (c == '\\')
            (*at)++;
        else if (c == '"' && !depth)
            quoted = !quoted;
        else if (!quoted && !command && c == '(')
            depth++;
        else if (!quoted && !command && c == ')' && depth)
            depth--;
        else if (!quoted && !depth && c == ',')
            break;
    }
    if (*at > list.n)
        *at = list.n;
    *item = ph_str_trim(ph_str_first(ph_str_from(list, start), *at - start));
    *at += *at < list.n;
    return !quoted && !depth;
}

/* Quotes and backslashes resolved. */
static ph_str unquote(struct ph_scope *s, ph_str in)
{
    struct ph_buf out;

    ph_buf_init(&out, s, in.n + 1);
    for (size_t i = 0; i < in.n; i++) {
        if (in.p[i] == '\\' && i + 1 < in.n)
            ph_buf_putc(&out, in.p[++i]);
        else if (in.p[i] != '"')
            ph_buf_putc(&out, in.p[i]);
    }
    return ph_str_trim(ph_buf_view(&out));
}

/* The item when it is one quoted string, a comment behind it allowed: 1 and what
 * stands between the quotes; else 0. */
static int is_one_string(ph_str item, ph_str *inside)
{
    size_t i = 1;

    if (item.n < 2 || item.p[0] != '"')
        return 0;
    while (i < item.n && item.p[i] != '"')
        i += item.p[i] == '\\' ? 2 : 1;
    if (i >= item.n)
        return 0;
    ph_str rest = ph_str_trim(ph_str_from(item, i + 1));
    *inside = ph_str_first(ph_str_from(item, 1), i - 1);
    return rest.n == 0 || (rest.p[0] == '(' && rest.p[rest.n - 1] == ')');
}

/* A word that is no address, without its comment: `/file (why)`. */
static ph_str without_comment(ph_str item)
{
    ptrdiff_t paren = ph_str_find(item, '(');

    return item.n && item.p[item.n - 1] == ')' && paren > 0 && is_blank(item.p[paren - 1])
               ? ph_str_trim(ph_str_first(item, (size_t)paren)) : item;
}

static int set(struct ph_alias_item *d, uint32_t kind, ph_str text)
{
    if (text.n == 0)
        return ph_fail(PH_PERM, "nothing behind %s", kind == PH_ALIAS_COMMAND ? "the bar" : kind == PH_ALIAS_INCLUDE ? ":include:" : "the backslash");
    if (ph_str_find(text, 0) >= 0 || ph_str_find(text, '\n') >= 0)
        return ph_fail(PH_PERM, "a control character in a file name or command");
    *d = (struct ph_alias_item){ .kind = kind, .text = text };
    return 1;
}

/* 1 when the text is no address, 0 when it is one, PH_PERM. */
static int special(struct ph_scope *s, ph_str text, struct ph_alias_item *d)
{
    static const char include[] = ":include:";

    if (ph_str_starts(text, PH_STR("|")))
        return set(d, PH_ALIAS_COMMAND, ph_str_trim(unquote(s, ph_str_from(text, 1))));
    if (ph_str_starts(text, PH_STR("/")) || ph_str_starts(text, PH_STR("~/")))
        return set(d, PH_ALIAS_FILE, unquote(s, without_comment(text)));
    if (ph_str_starts_nocase(text, ph_cstr(include)))
        return set(d, PH_ALIAS_INCLUDE, unquote(s, without_comment(ph_str_from(text, sizeof include - 1))));
    return 0;
}

/* The item that begins at w->at: 1, or 0 when something in it is not closed.  w->end
 * and w->next are of it.  The end of one that was begun is known, but for a command,
 * in which parentheses are no comments. */
static int find_item(ph_str list, struct ph_alias_walk *w, ph_str *item)
{
    size_t next = w->at;

    if (w->end && list.p[w->at] != '|') {
        *item = ph_str_trim(ph_str_first(ph_str_from(list, w->at), w->end - w->at));
        return 1;
    }
    int closed = take_item(list, &next, item);
    w->words = (struct ph_address_walk){ 0 };
    w->read += next - w->at;
    w->next = next;
    w->end = (size_t)(item->p - list.p) + item->n;
    return closed;
}

/* Which is the same behind a backslash. */
static int is_letter(char c) { return ph_is_alnum(c) || (unsigned char)c >= 0x80; }

static int opens_something(ph_str text)
{
    return ph_str_find(text, '"') >= 0 || ph_str_find(text, '(') >= 0;
}

/* 1 when the end of the item is the end of what begins behind these bytes of it, too:
 * quotes and comments begin and end in them as in the addresses. */
static int is_in_step(ph_str done)
{
    if (done.p[0] == '\\' && (done.n < 2 || !is_letter(done.p[1])))
        return 0;
    if (!opens_something(done))
        return 1;
    for (ptrdiff_t open; (open = ph_str_find(done, '[')) >= 0; ) {
        done = ph_str_from(done, (size_t)open + 1);
        if (opens_something(ph_str_cut(&done, ']')))
            return 0;
    }
    return 1;
}

/* The words that were read stand for what begins at `start` unless a backslash stood
 * before it and it is not plainly one of theirs. */
static void go_on_at(ph_str list, struct ph_alias_walk *w, size_t start, uint32_t kind)
{
    int plain = kind != PH_ALIAS_MAILBOX || (start < w->words.to && is_letter(list.p[start]));

    if (w->words.to && plain)
        w->words.from = start;
    else
        w->words = (struct ph_address_walk){ .at = start };
}

/* The first address of the item that begins at `start`.  Others may follow in it, no comma need
 * stand between: then w->at is there, else behind the item. */
static int address(struct ph_scope *s, ph_str list, struct ph_alias_walk *w, size_t start, struct ph_alias_item *d)
{
    uint32_t kind = list.p[start] == '\\' ? PH_ALIAS_MAILBOX : PH_ALIAS_ADDRESS;
    PH_SCOPED(step, s);
    ph_str first;

    go_on_at(list, w, start + (kind == PH_ALIAS_MAILBOX), kind);
    size_t was = w->words.at;
    int rc = ph_address_written(step, ph_str_first(list, w->end), &w->words, &first);
    w->read += w->words.at - was;
    if (rc < 0)
        return rc;
    if (rc == 0 || first.n == 0)
        return kind == PH_ALIAS_MAILBOX ? set(d, kind, PH_STR("")) : 0;
    if (!ph_address_plain(step, first, &first))
        return ph_fail(PH_PERM, "bad address syntax");
    if ((rc = set(d, kind, ph_str_dup(s, first))) < 0)
        return rc;
    size_t rest = w->words.to ? w->words.from : w->words.at;
    if (rest < w->end) {
        w->at = rest;
        if (!is_in_step(ph_str_first(ph_str_from(list, start), rest - start)))
            w->next = 0;
    }
    return rc;
}

/* Ends of items that must be found anew inside of others, again and again: nobody writes
 * that, and a long list of it would take all the time there is. */
static int is_tangled(ph_str list, const struct ph_alias_walk *w)
{
    return w->read > 8 * list.n + TANGLE;
}

int ph_alias_next(struct ph_scope *s, ph_str list, struct ph_alias_walk *w, struct ph_alias_item *d)
{
    ph_str item, inside;
    int rc = 0;

    while (rc == 0 && (skip_blanks(list, &w->at), w->at < list.n)) {
        int closed = find_item(list, w, &item);
        size_t behind = w->at = w->next;
        if (!closed || is_tangled(list, w)) {
            w->at = list.n;
            return ph_fail(PH_PERM, closed ? "too much of it must be read again: commas are missing" : "a quote or a comment is not closed");
        }
        if (item.n)
            rc = special(s, is_one_string(item, &inside) ? ph_str_trim(inside) : item, d);
        if (rc == 0 && item.n)
            rc = address(s, list, w, (size_t)(item.p - list.p), d);
        if (w->at == behind || w->next == 0)       /* it is done, or not in step */
            w->end = 0;
    }
    return rc;
}

int ph_alias_line(ph_str file, size_t *at, ph_str *line)
{
    while (*at < file.n) {
        ph_str rest = ph_str_from(file, *at);
        ptrdiff_t end = ph_str_find(rest, '\n');

        *line = ph_str_trim(end < 0 ? rest : ph_str_first(rest, (size_t)end));
        *at += end < 0 ? rest.n : (size_t)end + 1;
        if (line->n && line->p[0] != '#')
            return 1;
    }
    return 0;
}
