/* postmap -b -h -m with -q -: standard input is a message, and each of its
 * logical headers (-h), each line of its body (-b) is a key.  Without -m the
 * first line that is no header begins the body; with -m the parts of a MIME
 * message have headers too, as header_checks and body_checks see them (RFC 2046). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <posthorn/buf.h>
#include "core/cmd/postmap.h"

#define DEPTH_MAX    100               /* multiparts in each other; deeper ones are text */
#define BOUNDARY_MAX 70                /* RFC 2046 5.1.1 */
#define HEADER_MAX   ((size_t)1 << 20)

struct parts {
    struct postmap *p;
    int (*ask)(struct postmap *p, ph_str key);
    int any;
    struct ph_buf header;              /* the logical header under way */
    int in_headers, past_first;        /* past_first: behind the message's own headers */
    int holds_message, holds_parts;    /* what Content-Type of these headers says */
    char boundary[BOUNDARY_MAX + 1];   /* of it */
    char stack[DEPTH_MAX][BOUNDARY_MAX + 1];
    int depth;
};

static void ask(struct parts *m, int wanted, ph_str key)
{
    if (wanted)
        m->any |= m->ask(m->p, key);
}

/* ---- Content-Type ---- */

/* A word of it, or what stands in quotes; *rest begins behind it. */
static void take_value(ph_str *rest, char *out, size_t size)
{
    int quoted = rest->n && rest->p[0] == '"';
    size_t n = 0, i = (size_t)quoted;

    for (; i < rest->n; i++) {
        char c = rest->p[i];

        if (quoted ? c == '"' : ph_is_space(c) || c == ';' || c == '(')
            break;
        if (quoted && c == '\\' && i + 1 < rest->n)
            c = rest->p[++i];
        if (n + 1 < size)
            out[n++] = c;
    }
    out[n] = 0;
    *rest = ph_str_from(*rest, i + (size_t)quoted);
}

static void read_parameters(struct parts *m, ph_str rest)
{
    while (rest.n) {
        ph_str name = ph_str_trim(ph_str_cut(&rest, '='));
        ptrdiff_t semicolon = ph_str_rfind(name, ';');
        char value[BOUNDARY_MAX + 1];

        name = ph_str_trim(ph_str_from(name, (size_t)(semicolon + 1)));
        rest = ph_str_trim(rest);
        take_value(&rest, value, sizeof value);
        if (ph_str_eq_nocase(name, PH_STR("boundary")))
            memcpy(m->boundary, value, sizeof value);
    }
}

static void read_content_type(struct parts *m, ph_str value)
{
    ph_str rest = value, type = ph_str_trim(ph_str_cut(&rest, ';'));

    m->holds_message = ph_str_eq_nocase(type, PH_STR("message/rfc822")) || ph_str_eq_nocase(type, PH_STR("message/global"));
    m->holds_parts = ph_str_starts_nocase(type, PH_STR("multipart/"));
    m->boundary[0] = 0;
    read_parameters(m, rest);
}

/* ---- headers ---- */

static void begin_headers(struct parts *m)
{
    m->in_headers = 1;
    m->holds_message = m->holds_parts = 0;
    m->boundary[0] = 0;
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

static int is_header(ph_str line)
{
    ptrdiff_t colon = ph_str_find(line, ':');

    if (colon < 1)
        return 0;
    for (ptrdiff_t i = 0; i < colon; i++)
        if ((unsigned char)line.p[i] <= 0x20 || line.p[i] == 0x7f)
            return i > 0 && ph_str_trim(ph_str_first(ph_str_from(line, (size_t)i), (size_t)(colon - i))).n == 0;
    return 1;
}

/* 1 when the line was one of the headers. */
static int header_line(struct parts *m, ph_str line)
{
    if (m->header.n && line.n && (line.p[0] == ' ' || line.p[0] == '\t')) {
        ph_buf_putc(&m->header, '\n');
        ph_buf_str(&m->header, line);
        return 1;
    }
    end_header(m);
    if (!is_header(line))
        return 0;
    ph_buf_str(&m->header, line);
    return 1;
}

/* ---- body ---- */

static void end_headers(struct parts *m)
{
    m->in_headers = 0;
    if (m->holds_parts && m->boundary[0] && m->depth < DEPTH_MAX)
        memcpy(m->stack[m->depth++], m->boundary, sizeof m->boundary);
}

/* The level whose boundary this line is (its parts begin anew, or end), or -1. */
static int boundary_level(const struct parts *m, ph_str line)
{
    if (!ph_str_starts(line, PH_STR("--")))
        return -1;
    for (int i = m->depth - 1; i >= 0; i--)
        if (ph_str_starts(ph_str_from(line, 2), ph_cstr(m->stack[i])))
            return i;
    return -1;
}

static void body_line(struct parts *m, ph_str line)
{
    int level = boundary_level(m, line);

    ask(m, m->p->body, line);
    if (level < 0)
        return;
    if (ph_str_starts(ph_str_from(line, 2 + strlen(m->stack[level])), PH_STR("--"))) {
        m->depth = level;
    } else {
        m->depth = level + 1;
        begin_headers(m);
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

    end_headers(m);
    /* The first headers are ended by an empty line, also where there is none. */
    if (line.n && !m->past_first)
        ask(m, m->p->body, PH_STR(""));
    m->past_first = 1;
    body_line(m, line);
    if (nested)
        begin_headers(m);
}

int postmap_message(struct postmap *p, int (*fn)(struct postmap *p, ph_str key))
{
    struct parts *m = ph_new(p->scope, struct parts);
    char *line = NULL;
    size_t size = 0;
    ssize_t n;

    m->p = p;
    m->ask = fn;
    ph_buf_init(&m->header, p->scope, HEADER_MAX);
    begin_headers(m);
    while ((n = getline(&line, &size, stdin)) >= 0) {
        if (n > 0 && line[n - 1] == '\n')
            n--;
        if (n > 0 && line[n - 1] == '\r')
            n--;
        line_of_message(m, (ph_str){ line, (size_t)n });
        if (!p->mime && !m->in_headers && !p->body)
            break;
    }
    end_header(m);
    free(line);
    return m->any;
}
