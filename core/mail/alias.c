/* alias: see posthorn/alias.h.  Grammar: RFC 822 quoting and comments around the items; an
 * item that begins with a bar, a slash or :include: is no address. */
#include <posthorn/address.h>
#include <posthorn/buf.h>
#include <posthorn/error.h>
#include <posthorn/alias.h>

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

/* The first address of the item; *rest, where others begin: no comma need stand between. */
static int address(struct ph_scope *s, ph_str item, struct ph_alias_item *d, ph_str *rest)
{
    uint32_t kind = item.p[0] == '\\' ? PH_ALIAS_MAILBOX : PH_ALIAS_ADDRESS;
    ph_str first;

    if (kind == PH_ALIAS_MAILBOX)
        item = ph_str_from(item, 1);
    int rc = ph_address_first(s, item, &first, rest);
    if (rc < 0)
        return rc;
    if (rc == 0 || first.n == 0)
        return kind == PH_ALIAS_MAILBOX ? set(d, kind, PH_STR("")) : 0;
    if (!ph_address_plain(s, first, &first))
        return ph_fail(PH_PERM, "bad address syntax");
    return set(d, kind, first);
}

int ph_alias_next(struct ph_scope *s, ph_str list, size_t *at, struct ph_alias_item *d)
{
    ph_str item, inside;
    int rc = 0;

    while (rc == 0 && (skip_blanks(list, at), *at < list.n)) {
        if (!take_item(list, at, &item))
            return ph_fail(PH_PERM, "a quote or a comment is not closed");
        if (item.n == 0)
            continue;
        rc = special(s, is_one_string(item, &inside) ? ph_str_trim(inside) : item, d);
        if (rc != 0)
            break;
        ph_str rest = { "", 0 };
        rc = address(s, item, d, &rest);
        if (rc > 0 && ph_str_trim(rest).n)
            *at = (size_t)(rest.p - list.p);
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
