/* postmap -b -h -m with -q -: standard input is a message, and each of its
 * logical headers (-h), each line of its body (-b) is a key.  Without -m the
 * first line that is no header begins the body; with -m the parts of a MIME
 * message have headers too, as header_checks and body_checks see them (RFC 2046). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <posthorn/buf.h>
#include "core/cmd/postmap.h"

#define DEPTH_MAX  1000                /* multiparts in each other; deeper ones are text */
#define HEADER_MAX ((size_t)1 << 20)

struct level { ph_str boundary; int is_digest; };

struct parts {
    struct postmap *p;
    int (*ask)(struct postmap *p, ph_str key);
    int any;
    struct ph_buf header;              /* the logical header under way */
    size_t header_limit;               /* header_size_limit: what is longer is not continued */
    size_t boundary_limit;             /* mime_boundary_length_limit: what counts of one */
    int in_headers, past_first;        /* past_first: behind the message's own headers */
    int holds_message;                 /* what Content-Type of these headers says */
    struct level stack[DEPTH_MAX];
    int depth, depth_limit;            /* mime_nesting_limit */
};

static void ask(struct parts *m, int wanted, ph_str key)
{
    if (wanted)
        m->any |= m->ask(m->p, key);
}

/* ---- Content-Type (RFC 2045 5.1) ---- */

struct token { char kind; ph_str text; };      /* kind: 'a' a word, 'q' one in quotes, 0 none, or the special itself */

static int is_special(char c)
{
    return c && strchr("()<>@,;:\\\"/[]?=", c) != NULL;
}

/* Blanks, and comments with those in them. */
static ph_str skip_comments(ph_str s)
{
    int depth = 0;

    for (; s.n && (depth || s.p[0] == '(' || ph_is_space(s.p[0])); s = ph_str_from(s, 1)) {
        if (s.p[0] == '(')
            depth++;
        else if (s.p[0] == ')')
            depth--;
        else if (s.p[0] == '\\' && s.n > 1)
            s = ph_str_from(s, 1);
    }
    return s;
}

/* Up to the quote that closes it; a line end in it was put there by folding. */
static struct token quoted(struct ph_scope *s, ph_str *rest)
{
    size_t n = 0, i = 1, end = 1;

    while (end < rest->n && rest->p[end] != '"')
        end += rest->p[end] == '\\' ? 2 : 1;
    char *out = ph_alloc(s, end);      /* not what follows: there may be thousands */
    for (; i < rest->n && rest->p[i] != '"'; i++) {
        if (rest->p[i] == '\\' && ++i == rest->n)
            break;
        if (rest->p[i] != '\n')
            out[n++] = rest->p[i];
    }
    *rest = ph_str_from(*rest, i + 1);
    return (struct token){ 'q', { out, n } };
}

static struct token next_token(struct ph_scope *s, ph_str *rest)
{
    size_t n = 0;

    *rest = skip_comments(*rest);
    if (rest->n == 0)
        return (struct token){ 0, PH_STR("") };
    if (rest->p[0] == '"')
        return quoted(s, rest);
    while (n < rest->n && !is_special(rest->p[n]) && (unsigned char)rest->p[n] > ' ' && rest->p[n] != 0x7f)
        n++;
    struct token t = { n ? 'a' : rest->p[0], ph_str_first(*rest, n ? n : 1) };
    *rest = ph_str_from(*rest, t.text.n);
    return t;
}

static int says(struct token t, const char *word)
{
    return t.kind == 'a' && ph_str_eq_nocase(t.text, ph_cstr(word));
}

/* The first boundary among the parameters, on s; no bytes: there is none. */
static ph_str find_boundary(struct ph_scope *s, ph_str rest)
{
    struct token last[4] = { { 0 } };  /* ; boundary = value */

    do {
        memmove(last, last + 1, 3 * sizeof *last);
        last[3] = next_token(s, &rest);
    } while (last[3].kind && !(last[0].kind == ';' && says(last[1], "boundary") && last[2].kind == '='));
    return last[3].text;
}

static void read_content_type(struct parts *m, ph_str rest)
{
    PH_SCOPED(s, m->p->scope);
    struct token type = next_token(s, &rest);
    ph_str after = rest;
    int has_sub = next_token(s, &after).kind == '/';
    struct token sub = has_sub ? next_token(s, &after) : (struct token){ 0, PH_STR("") };

    m->holds_message = says(type, "message") && (says(sub, "rfc822") || says(sub, "global"));
    if (!says(type, "multipart") || m->depth == m->depth_limit)
        return;
    ph_str boundary = ph_str_first(find_boundary(s, rest), m->boundary_limit);
    if (boundary.n)
        m->stack[m->depth++] = (struct level){ ph_str_dup(m->p->scope, boundary), says(sub, "digest") };
}

/* ---- headers ---- */

/* The parts of a digest are messages if they do not say otherwise (RFC 2046 5.1.5). */
static void begin_headers(struct parts *m, int in_digest)
{
    m->in_headers = 1;
    m->holds_message = in_digest;
}

static void end_header(struct parts *m)
{
    ph_str value = ph_buf_view(&m->header), name;

    if (m->header.n == 0)
        return;
    ask(m, m->p->headers, value);
    name = ph_str_trim(ph_str_cut(&value, ':'));
    if (m->p->mime && ph_str_eq_nocase(name, PH_STR("content-type")))
        read_content_type(m, value);
    ph_buf_reset(&m->header);
}

/* The length of the name that the line begins with; 0: it is no header.  Blanks may
 * stand between the name and its colon. */
static size_t header_name(ph_str line)
{
    size_t n = 0, i;

    while (n < line.n && line.p[n] > ' ' && line.p[n] < 0x7f && line.p[n] != ':')
        n++;
    for (i = n; i < line.n && (line.p[i] == ' ' || line.p[i] == '\t'); i++)
        ;
    return i < line.n && line.p[i] == ':' ? n : 0;
}

/* 1 when the line was one of the headers. */
static int header_line(struct parts *m, ph_str line)
{
    if (m->header.n && line.n && (line.p[0] == ' ' || line.p[0] == '\t')) {
        if (m->header.n < m->header_limit) {
            ph_buf_putc(&m->header, '\n');
            ph_buf_str(&m->header, line);
        }
        return 1;
    }
    end_header(m);
    size_t n = header_name(line);
    if (n == 0)
        return 0;
    ph_buf_str(&m->header, ph_str_first(line, n));     /* without the blanks before the colon */
    ph_buf_str(&m->header, ph_str_from(line, (size_t)ph_str_find(line, ':')));
    return 1;
}

/* ---- body ---- */

/* The level whose boundary this line is (its parts begin anew, or end), or -1. */
static int boundary_level(const struct parts *m, ph_str line)
{
    if (!ph_str_starts(line, PH_STR("--")))
        return -1;
    for (int i = m->depth - 1; i >= 0; i--)
        if (ph_str_starts(ph_str_from(line, 2), m->stack[i].boundary))
            return i;
    return -1;
}

static void body_line(struct parts *m, ph_str line)
{
    int level = boundary_level(m, line);

    ask(m, m->p->body, line);
    if (level < 0)
        return;
    if (ph_str_starts(ph_str_from(line, 2 + m->stack[level].boundary.n), PH_STR("--"))) {
        m->depth = level;
    } else {
        m->depth = level + 1;
        begin_headers(m, m->stack[level].is_digest);
    }
}

static void line_of_message(struct parts *m, ph_str line)
{
    if (m->in_headers && header_line(m, line))
        return;
    if (!m->in_headers) {
        body_line(m, line);
        return;
    }
    int nested = m->holds_message && line.n == 0;

    m->in_headers = 0;
    /* The first headers are ended by an empty line, also where there is none. */
    if (line.n && !m->past_first)
        ask(m, m->p->body, PH_STR(""));
    m->past_first = 1;
    body_line(m, line);
    if (nested)
        begin_headers(m, 0);
}

/* That parameter, at most `most`. */
static size_t limit(const struct postmap *p, const char *name, size_t most)
{
    int64_t n = 0;

    if (ph_conf_get_i64(p->conf, name, &n) < 0)
        ph_cmd_fatal("%s", ph_error());
    return n < 0 ? 0 : (size_t)n < most ? (size_t)n : most;
}

int postmap_message(struct postmap *p, int (*fn)(struct postmap *p, ph_str key))
{
    struct parts *m = ph_new(p->scope, struct parts);
    char *line = NULL;
    size_t size = 0;
    ssize_t n;


    m->p = p;
    m->ask = fn;
    m->header_limit = limit(p, "header_size_limit", HEADER_MAX);
    m->boundary_limit = limit(p, "mime_boundary_length_limit", HEADER_MAX);
    m->depth_limit = 2 + (int)limit(p, "mime_nesting_limit", DEPTH_MAX - 2);   /* as it was always counted */
    ph_buf_init(&m->header, p->scope, HEADER_MAX);
    begin_headers(m, 0);
    while ((n = getline(&line, &size, stdin)) >= 0) {
        if (n > 0 && line[n - 1] == '\n')
            line[n - 1] = 0;
        line_of_message(m, ph_cstr(line));     /* nothing stands behind a NUL */
        if (!p->mime && !m->in_headers && !p->body)
            break;
    }
    end_header(m);
    free(line);
    return m->any;
}
