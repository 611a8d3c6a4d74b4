/* sendmail_deliver: a message from stdin to postdrop.
 *
 * With -t the headers are kept until their end, since the recipients stand in
 * them; the body never is. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
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

/* The headers, up to the first line that is none: that piece is in *rest (empty
 * at the end of the input). */
static void read_headers(struct reader *r, struct ph_buf *headers, ph_str *rest)
{
    int first = 1, starts, inside = 0;

    *rest = (ph_str){ "", 0 };
    while (next_piece(r, rest, &starts)) {
        /* The envelope line of mailbox files is not a header; keep it as one. */
        if (starts && first && (ph_str_starts(*rest, PH_STR("From ")) || ph_str_starts(*rest, PH_STR(">From "))))
            ph_buf_puts(headers, "X-Mailbox-Line: ");
        else if (starts && !is_header_line(*rest, first))
            return;
        else if (!starts && !inside)
            return;
        inside = 1;
        first = 0;
        if (!ph_buf_str(headers, *rest)) {
            ph_cmd_fatal_status(EX_DATAERR);
            ph_cmd_fatal("the headers are larger than %zu bytes", HEADERS_MAX);
        }
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
    ph_cmd_fatal_status(EX_USAGE);
    if (m->from_headers)
        ph_cmd_fatal("No recipient addresses found in message header");
    ph_cmd_fatal("Recipient addresses must be specified on the command line or via the -t option");
}

int sendmail_deliver(struct sendmail *m)
{
    static struct reader r;             /* 8 KiB, and there is one stdin */
    struct ph_buf headers;
    struct submit u;
    ph_str piece;
    int starts, status;

    if (m->mode == 'v') {
        ph_cmd_fatal_status(EX_UNAVAILABLE);
        ph_cmd_fatal("-bv: address verification is not in this release yet");
    }
    if (m->verbose)
        ph_cmd_warn("-v: delivery reports are not in this release yet; the message is sent without one");
    r.at_line_start = 1;
    r.dots = m->dots;
    if (!m->from_headers)
        check_rcpts(m);
    ph_buf_init(&headers, m->scope, HEADERS_MAX);
    read_headers(&r, &headers, &piece);
    if (m->from_headers)
        rcpts_of_headers(m, ph_buf_view(&headers));
    check_rcpts(m);
    if (submit_begin(&u, m->scope, m->conf, &m->envelope) < 0)
        ph_cmd_fatal("%s", ph_error());
    submit_content(&u, ph_buf_view(&headers));
    submit_content(&u, piece);
    while (next_piece(&r, &piece, &starts))
        submit_content(&u, piece);
    if ((status = submit_end(&u)) != 0) {
        ph_cmd_fatal_status(status);
        ph_cmd_fatal("%s", ph_error());
    }
    return 0;
}
