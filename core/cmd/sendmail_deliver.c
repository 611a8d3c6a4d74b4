/* sendmail_deliver: a message from stdin to postdrop.
 *
 * With -t the headers are kept until their end, since the recipients stand in
 * them; the body never is. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/header.h>
#include "core/cmd/cmd.h"
#include "core/cmd/sendmail.h"

#define HEADERS_MAX ((size_t)16 << 20)

/* stdin in pieces: a line, or part of a long one. */
struct reader {
    char buf[8192];
    size_t start, end;
    int at_line_start;             /* the next piece begins a line */
    int dots, done;
};

static int fill(struct reader *r)
{
    ssize_t n;

    if (r->start > 0) {
        memmove(r->buf, r->buf + r->start, r->end - r->start);
        r->end -= r->start;
        r->start = 0;
    }
    do
        n = read(STDIN_FILENO, r->buf + r->end, sizeof r->buf - r->end);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        ph_cmd_fatal("read standard input: %s", strerror(errno));
    r->end += (size_t)n;
    return n > 0;
}

static int is_end(ph_str line)
{
    return ph_str_eq(line, PH_STR(".\n")) || ph_str_eq(line, PH_STR(".\r\n"));
}

/* 1 and the next piece with its line end, if it has it; 0 at the end. */
static int next_piece(struct reader *r, ph_str *piece, int *starts_line)
{
    ptrdiff_t lf = -1;

    while (!r->done) {
        ph_str have = { r->buf + r->start, r->end - r->start };

        lf = ph_str_find(have, '\n');
        if (lf >= 0 || have.n == sizeof r->buf)
            break;
        if (!fill(r)) {
            r->done = 1;
            break;
        }
    }
    *piece = (ph_str){ r->buf + r->start, lf >= 0 ? (size_t)lf + 1 : r->end - r->start };
    *starts_line = r->at_line_start;
    if (r->at_line_start && r->dots && (is_end(*piece) || (r->done && ph_str_eq(*piece, PH_STR("."))))) {
        r->done = 1;
        r->start = r->end = 0;
        return 0;
    }
    r->start += piece->n;
    r->at_line_start = lf >= 0;
    return piece->n > 0;
}

/* "Name:" or a folded line; the end of the headers is an empty or other line. */
static int is_header_line(ph_str line, int first)
{
    size_t n = 0;

    if (line.n && (line.p[0] == ' ' || line.p[0] == '\t'))
        return !first && ph_str_trim(line).n > 0;
    while (n < line.n && line.p[n] > 0x20 && line.p[n] < 0x7f && line.p[n] != ':')
        n++;
    while (n > 0 && n < line.n && (line.p[n] == ' ' || line.p[n] == '\t'))
        n++;
    return n > 0 && n < line.n && line.p[n] == ':';
}

/* The line of a mailbox file that stands before a message, quoted or not: it says whom it
 * came from, and is no part of it. */
static int is_mailbox_line(ph_str line)
{
    while (line.n && line.p[0] == '>')
        line = ph_str_from(line, 1);
    return ph_str_starts(line, PH_STR("From "));
}

/* The headers, up to the first line that is none: that piece is in *rest (empty
 * at the end of the input). */
static void read_headers(struct reader *r, struct ph_buf *headers, ph_str *rest)
{
    int first = 1, starts, mailbox = 0;

    *rest = (ph_str){ "", 0 };
    while (next_piece(r, rest, &starts)) {
        if (starts)
            mailbox = first && is_mailbox_line(*rest);
        if (starts && !mailbox && !is_header_line(*rest, first))
            return;
        if (!mailbox && !ph_buf_str(headers, *rest))
            ph_cmd_fatal("the headers are larger than %zu bytes", HEADERS_MAX);
        first = first && mailbox;
        *rest = (ph_str){ "", 0 };
    }
}

/* RFC 5322 3.6.3 and 3.6.6: with Resent- fields they alone count. */
static void rcpts_of_headers(struct sendmail *m, ph_str headers)
{
    static const char *const names[] = { "to", "cc", "bcc" };
    static const char *const resent_names[] = { "resent-to", "resent-cc", "resent-bcc" };
    const char *const *list = names;
    struct ph_header h;
    size_t at = 0;

    for (size_t i = 0; i < 3; i++)
        if (ph_header_find(headers, ph_cstr(resent_names[i]), &h) == 1)
            list = resent_names;
    while (ph_header_next(headers, &at, &h) == 1)
        for (size_t i = 0; i < 3; i++)
            if (ph_str_eq_nocase(h.name, ph_cstr(list[i])))
                sendmail_add_rcpts(m, ph_header_unfold(m->scope, h.value));
}

static void check_rcpts(const struct sendmail *m)
{
    if (m->envelope.rcpt_count)
        return;
    if (m->from_headers)
        ph_cmd_fatal("No recipient addresses found in message header");
    ph_cmd_fatal("Recipient addresses must be specified on the command line or via the -t option");
}

/* sendmail_fix_line_endings: CR LF and LF are both line ends to pickup; what is
 * no line end by this parameter keeps its place as a blank. */
enum line_ends { ENDS_ALWAYS, ENDS_STRICT, ENDS_NEVER };

static enum line_ends line_ends(const struct sendmail *m)
{
    static const char *const names[] = { "always", "strict", "never" };
    ph_str value = ph_conf_value(m->conf, m->scope, "sendmail_fix_line_endings");

    for (int i = ENDS_ALWAYS; i <= ENDS_NEVER; i++)
        if (ph_str_eq(value, ph_cstr(names[i])))
            return (enum line_ends)i;
    ph_cmd_fatal("bad sendmail_fix_line_endings value: %.*s", PH_FMT(value));
}

struct copy {
    struct submit to;
    int keep_cr, looked;               /* looked: the first line end decided (strict) */
    enum line_ends ends;
};

static void copy_line(struct copy *c, ph_str piece)
{
    int crlf = ph_str_ends(piece, PH_STR("\r\n"));

    if (!c->looked && piece.n && piece.p[piece.n - 1] == '\n') {
        c->keep_cr = c->ends == ENDS_NEVER || (c->ends == ENDS_STRICT && !crlf);
        c->looked = 1;
    }
    if (crlf && c->keep_cr) {
        submit_content(&c->to, ph_str_first(piece, piece.n - 2));
        piece = PH_STR(" \n");
    }
    submit_content(&c->to, piece);
}

static void copy_message(struct copy *c, struct reader *r, ph_str headers, ph_str piece)
{
    int starts;

    while (headers.n) {
        ptrdiff_t lf = ph_str_find(headers, '\n');
        size_t n = lf < 0 ? headers.n : (size_t)lf + 1;

        copy_line(c, ph_str_first(headers, n));
        headers = ph_str_from(headers, n);
    }
    copy_line(c, piece);
    while (next_piece(r, &piece, &starts))
        copy_line(c, piece);
}

/* -bv: there is no message, only recipients to ask about. */
static void read_message_start(struct sendmail *m, struct reader *r, struct ph_buf *headers, ph_str *piece)
{
    *piece = PH_STR("");
    ph_buf_init(headers, m->scope, HEADERS_MAX);
    if (m->mode == 'v')
        return;
    read_headers(r, headers, piece);
    if (m->from_headers)
        rcpts_of_headers(m, ph_buf_view(headers));
}

int sendmail_deliver(struct sendmail *m)
{
    static struct reader r;             /* 8 KiB, and there is one stdin */
    struct copy c = { .ends = line_ends(m) };
    struct ph_buf headers;
    ph_str piece;

    r.at_line_start = 1;
    r.dots = m->dots;
    if (!m->from_headers)
        check_rcpts(m);
    read_message_start(m, &r, &headers, &piece);
    check_rcpts(m);
    if (submit_begin(&c.to, m->scope, m->conf, &m->envelope) < 0)
        ph_cmd_fatal("%s", ph_error());
    if (m->mode != 'v')
        copy_message(&c, &r, ph_buf_view(&headers), piece);
    if (submit_end(&c.to) != 0)
        ph_cmd_fatal("%s", ph_error());
    if (m->envelope.trace.n)
        printf("Mail Delivery Status Report will be mailed to <%.*s>.\n", PH_FMT(m->envelope.sender));
    return 0;
}
