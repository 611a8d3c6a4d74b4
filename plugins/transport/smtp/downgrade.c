/* downgrade: a message for a server without 8BITMIME, RFC 6152 3.
 *
 * Each leaf labelled 8bit or binary becomes quoted-printable, RFC 2045 6.7;
 * structure and all other headers stay.  Leaves labelled otherwise go as they
 * are, whatever bytes they hold: their label is their sender's word.
 * Incremental: a header block and the start of a line are all that is kept. */
#include <string.h>
#include <posthorn/header.h>
#include "smtp.h"

#define HEAD_BYTES     131072u     /* a longer block is passed on, and all behind it */
#define BOUNDARY_BYTES 8192u       /* more is not kept of a line to look for one */
#define QP_LINE        75u         /* and "=" */

/* --- quoted-printable --- */

static void qp_room(struct smtp_mime *m, size_t n, struct ph_buf *out)
{
    if (m->column + n > QP_LINE) {
        ph_buf_puts(out, "=\r\n");
        m->column = 0;
    }
    m->column += n;
}

static void qp_hex(struct smtp_mime *m, char c, struct ph_buf *out)
{
    qp_room(m, 3, out);
    ph_buf_printf(out, "=%02X", (unsigned char)c);
}

/* A blank is literal only when something stands behind it on its line. */
static void qp_blank(struct smtp_mime *m, int at_end, struct ph_buf *out)
{
    char c = m->blank;

    m->blank = 0;
    if (c && at_end)
        qp_hex(m, c, out);
    else if (c) {
        qp_room(m, 1, out);
        ph_buf_putc(out, c);
    }
}

static void qp_char(struct smtp_mime *m, char c, struct ph_buf *out)
{
    if (m->cr && c == '\n') {
        m->cr = 0;
        qp_blank(m, 1, out);
        ph_buf_puts(out, "\r\n");
        m->column = 0;
        return;
    }
    if (m->cr) {
        m->cr = 0;
        qp_blank(m, 0, out);
        qp_hex(m, '\r', out);
    }
    if (c == '\r') {
        m->cr = 1;
        return;
    }
    qp_blank(m, 0, out);
    if (c == ' ' || c == '\t')
        m->blank = c;
    else if (c == '=' || !ph_is_print(c) || (c == '-' && m->column == QP_LINE))
        qp_hex(m, c, out);         /* a dash behind a soft break could begin a delimiter */
    else {
        qp_room(m, 1, out);
        ph_buf_putc(out, c);
    }
}

static void qp_end(struct smtp_mime *m, struct ph_buf *out)
{
    qp_blank(m, 1, out);
    if (m->cr)
        qp_hex(m, '\r', out);
    m->cr = 0;
    m->column = 0;
}

static void put_body(struct smtp_mime *m, const char *p, size_t n, struct ph_buf *out)
{
    if (!m->encode)
        ph_buf_put(out, p, n);
    else
        for (size_t i = 0; i < n; i++)
            qp_char(m, p[i], out);
}

/* --- structure --- */

/* A value without its comments, RFC 5322 3.2.2, in one line. */
static ph_str without_comments(struct ph_scope *s, ph_str value)
{
    char *out = ph_alloc(s, value.n + 1);
    size_t n = 0, depth = 0;
    int quoted = 0;

    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        int pair = c == '\\' && i + 1 < value.n && (quoted || depth);

        if (c == '"' && !depth)
            quoted = !quoted;
        if (c == '(' && !quoted && depth++ == 0)
            out[n++] = ' ';
        if (!depth)
            out[n++] = c;
        if (c == ')' && !quoted && depth)
            depth--;
        if (pair && !depth)
            out[n++] = value.p[i + 1];
        i += (size_t)pair;
    }
    return (ph_str){ out, n };
}

/* A parameter of Content-Type, quotes removed; empty when there is none. */
static ph_str parameter(struct ph_scope *s, ph_str value, const char *name)
{
    ph_str_cut(&value, ';');
    while (value.n) {
        value = ph_str_trim(value);
        ph_str key = ph_str_trim(ph_str_cut(&value, '='));
        value = ph_str_trim(value);
        char *v = ph_alloc(s, value.n + 1);
        size_t n = 0, i = 0;
        int quoted = value.n && value.p[0] == '"';

        for (i = (size_t)quoted; i < value.n && (quoted ? value.p[i] != '"' : value.p[i] != ';'); i++) {
            if (quoted && value.p[i] == '\\' && i + 1 < value.n)
                i++;
            v[n++] = value.p[i];
        }
        if (ph_str_eq_nocase(key, ph_cstr(name)))
            return quoted ? (ph_str){ v, n } : ph_str_trim((ph_str){ v, n });
        value = ph_str_from(value, i);
        ph_str_cut(&value, ';');
    }
    return PH_STR("");
}

/* Of the last header of that name, as others read it. */
static ph_str value_of(struct ph_scope *s, struct smtp_mime *m, const char *name)
{
    ph_str block = ph_buf_view(&m->head), value = PH_STR("");
    struct ph_header h;

    for (size_t at = 0; ph_header_next(block, &at, &h) == 1;)
        if (ph_str_eq_nocase(h.name, ph_cstr(name)))
            value = h.value;
    return ph_str_trim(without_comments(s, ph_header_unfold(s, value)));
}

static int is_8bit(ph_str cte)
{
    cte = ph_str_word(&cte);
    return ph_str_eq_nocase(cte, PH_STR("8bit")) || ph_str_eq_nocase(cte, PH_STR("binary"));
}

/* The block with another encoding, which moves to its end. */
static void put_head(struct smtp_mime *m, const char *encoding, struct ph_buf *out)
{
    ph_str block = ph_buf_view(&m->head);
    struct ph_header h;
    size_t at = 0;

    while (ph_header_next(block, &at, &h) == 1)
        if (!ph_str_eq_nocase(h.name, PH_STR("Content-Transfer-Encoding")))
            ph_buf_str(out, h.raw);
    ph_buf_printf(out, "Content-Transfer-Encoding: %s\r\n", encoding);
    ph_buf_str(out, ph_str_from(block, at));
}

static int is_well_formed(ph_str block)
{
    struct ph_header h;
    size_t at = 0;
    int rc;

    while ((rc = ph_header_next(block, &at, &h)) == 1)
        ;
    return rc == 0;
}

static void start_head(struct smtp_mime *m, int digest)
{
    m->in_head = 1;
    m->digest = digest;
    m->encode = 0;
    ph_buf_reset(&m->head);
}

static void give_up(struct smtp_mime *m, struct ph_buf *out)
{
    ph_buf_str(out, ph_buf_view(&m->head));
    ph_buf_reset(&m->head);
    m->in_head = m->encode = 0;
    m->passes = 1;
}

static void enter_multipart(struct ph_scope *s, struct smtp_mime *m, ph_str type_value, ph_str type)
{
    ph_str boundary = parameter(s, type_value, "boundary");

    if (!boundary.n || boundary.n > m->max_boundary)
        return;                    /* nothing in it can be found: one opaque body */
    m->level[m->depth].boundary = ph_str_dup(m->scope, boundary);
    m->level[m->depth++].digest = ph_str_eq_nocase(type, PH_STR("multipart/digest"));
}

/* The empty line was read: decide what the body is. */
static void end_head(struct smtp_mime *m, struct ph_buf *out)
{
    PH_SCOPED(s, NULL);            /* a message may have a million parts */
    ph_str value = value_of(s, m, "Content-Type"), rest = value;
    ph_str type = ph_str_trim(ph_str_cut(&rest, ';'));
    int labelled = is_8bit(value_of(s, m, "Content-Transfer-Encoding")) && is_well_formed(ph_buf_view(&m->head));
    int multipart = ph_str_starts_nocase(type, PH_STR("multipart/"));
    int rfc822 = ph_str_eq_nocase(type, PH_STR("message/rfc822")) || (!type.n && m->digest);

    if ((multipart || rfc822) && m->depth == m->max_depth) {
        give_up(m, out);
        return;
    }
    m->in_head = 0;
    m->encode = labelled && !multipart && !ph_str_starts_nocase(type, PH_STR("message/")) && !rfc822;
    if (m->encode)
        put_head(m, "quoted-printable", out);
    else if (labelled && (multipart || rfc822))
        put_head(m, "7bit", out);
    else
        ph_buf_str(out, ph_buf_view(&m->head));
    if (multipart)
        enter_multipart(s, m, value, type);
    ph_buf_reset(&m->head);
    if (rfc822) {
        m->nested++;
        start_head(m, 0);
    }
    if (m->nested > m->max_depth)
        give_up(m, out);
}

/* Does the line delimit level k?  2 when it is the last of it.  Exactly, or, as
 * RFC 2046 5.1.1 has it, when it only begins so. */
static int delimits(const struct smtp_mime *m, ph_str line, size_t k, int exactly)
{
    if (!ph_str_starts(line, m->level[k].boundary))
        return 0;
    ph_str rest = ph_str_from(line, m->level[k].boundary.n);
    int last = ph_str_starts(rest, PH_STR("--"));

    if (exactly && ph_str_trim(last ? ph_str_from(rest, 2) : rest).n)
        return 0;
    return last ? 2 : 1;
}

/* A delimiter line of an open level: it ends all inside. */
static int is_boundary(struct smtp_mime *m, ph_str line)
{
    if (!ph_str_starts(line, PH_STR("--")))
        return 0;
    line = ph_str_from(line, 2);
    for (int exactly = 1; exactly >= 0; exactly--)
        for (size_t k = m->depth; k-- > 0;) {
            int kind = delimits(m, line, k, exactly);

            if (kind) {
                m->depth = kind == 2 ? k : k + 1;
                return kind;
            }
        }
    return 0;
}

/* A delimiter: the part before it ends, the next may begin. */
static void delimit(struct smtp_mime *m, ph_str line, int kind, struct ph_buf *out)
{
    if (m->encode)
        qp_end(m, out);
    m->encode = 0;
    ph_buf_str(out, line);
    if (kind == 1)
        start_head(m, m->level[m->depth - 1].digest);
    else
        m->in_head = 0;
}

static void head_line(struct smtp_mime *m, ph_str line, int begins, struct ph_buf *out)
{
    int kind = begins ? is_boundary(m, line) : 0;

    if (kind) {                    /* a part without body */
        ph_buf_str(out, ph_buf_view(&m->head));
        ph_buf_reset(&m->head);
        delimit(m, line, kind, out);
    } else if (!ph_buf_str(&m->head, line)) {
        give_up(m, out);
        ph_buf_str(out, line);
    } else if (ph_str_eq(line, PH_STR("\r\n"))) {
        end_head(m, out);
    }
}

/* A line, or the start of one too long to be a delimiter.  A bare LF ends a line
 * here, but no delimiter begins behind it: encoded, it is no line end any more. */
static void take_line(struct smtp_mime *m, struct ph_buf *out)
{
    ph_str line = ph_buf_view(&m->line);
    int kind, begins = !m->goes_on;

    m->goes_on = !ph_str_ends(line, PH_STR("\r\n"));
    m->last = line.n ? line.p[line.n - 1] : 0;
    if (m->passes)
        ph_buf_str(out, line);
    else if (m->in_head)
        head_line(m, line, begins, out);
    else if (begins && (kind = is_boundary(m, line)))
        delimit(m, line, kind, out);
    else
        put_body(m, line.p, line.n, out);
    ph_buf_reset(&m->line);
}

void smtp_mime_init(struct smtp_mime *m, struct ph_scope *s)
{
    memset(m, 0, sizeof *m);
    m->scope = s;
    m->max_depth = SMTP_MIME_DEPTH;
    m->max_boundary = BOUNDARY_BYTES;
    ph_buf_init(&m->head, s, HEAD_BYTES);
    ph_buf_init(&m->line, s, HEAD_BYTES);
    start_head(m, 0);
}

void smtp_mime_convert(struct smtp_mime *m, const char *in, size_t n, int last, struct ph_buf *out)
{
    for (size_t at = 0; at < n;) {
        const char *eol = memchr(in + at, '\n', n - at);
        size_t end = eol ? (size_t)(eol - in) + 1 : n, most = m->in_head ? HEAD_BYTES : BOUNDARY_BYTES + 8;

        if (m->rest_of_line) {     /* known to be no delimiter */
            put_body(m, in + at, end - at, out);
            m->rest_of_line = !eol;
            m->goes_on = !eol || (end - at > 1 ? in[end - 2] : m->last) != '\r';
            m->last = in[end - 1];
            at = end;
            continue;
        }
        if (end - at > most - m->line.n) {
            end = at + most - m->line.n;
            eol = NULL;
        }
        ph_buf_put(&m->line, in + at, end - at);
        at = end;
        if (eol) {
            take_line(m, out);
        } else if (m->line.n == most) {
            if (m->in_head)
                give_up(m, out);
            take_line(m, out);
            m->rest_of_line = 1;
        }
    }
    if (last) {
        take_line(m, out);
        if (m->in_head)
            ph_buf_str(out, ph_buf_view(&m->head));
        if (m->encode)
            qp_end(m, out);
    }
}
