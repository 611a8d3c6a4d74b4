/* content: from the pieces that arrive to headers and body.
 *
 * Every split of the input gives the same result.  Memory is bounded by
 * header_size_limit; what is longer is cut (a header) or passed on (a body). */
#include <string.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include <posthorn/wire.h>
#include "cleanup.h"

void cleanup_fail(struct message *m, enum cleanup_error e, const char *reason)
{
    if (e <= m->error)
        return;
    m->error = e;
    m->reason = ph_str_dup(m->scope, ph_cstr(reason));
}

static void say(const struct message *m)
{
    if (m->id.n)
        ph_log_warn("%.*s: %s", PH_FMT(m->id), ph_error());
    else
        ph_log_warn("%s", ph_error());
}

int cleanup_refuse(struct message *m, int rc)
{
    if (rc == PH_CANCEL)
        return rc;
    if (m->error == CLEAN_OK)          /* the first says why; a client may send a million */
        say(m);
    cleanup_fail(m, CLEAN_DEFER, ph_error());
    return 0;
}

int cleanup_refuse_alias(struct message *m)
{
    if (m->error == CLEAN_OK)
        say(m);
    cleanup_fail(m, CLEAN_ALIAS, ph_error());
    return 0;
}

/* Turn the answer of the intake into the message's error; PH_CANCEL goes up. */
static int note(struct message *m, int rc)
{
    if (rc >= 0 || rc == PH_CANCEL)
        return rc < 0 ? rc : 0;
    if (rc == PH_PERM) {
        ph_log_warn("%.*s: queue file size limit exceeded", PH_FMT(m->id));
        cleanup_fail(m, CLEAN_SIZE, "message file too big");
    } else {
        ph_log_warn("%.*s: %s", PH_FMT(m->id), ph_error());
        cleanup_fail(m, CLEAN_WRITE, ph_error());
    }
    return 0;
}

/* One line end behind what is kept: two would end the header section here. */
static void end_cut_header(struct ph_buf *b)
{
    size_t n = b->max - 2 < b->n ? b->max - 2 : b->n;

    while (n && (b->p[n - 1] == '\r' || b->p[n - 1] == '\n'))
        n--;
    ph_buf_truncate(b, n);
    b->full = 0;
    ph_buf_puts(b, "\r\n");
}

static int flush_header(struct message *m)
{
    int rc = 0;

    if (m->header.n && m->error == CLEAN_OK) {
        if (m->header_cut)
            end_cut_header(&m->header);
        rc = cleanup_header(m, ph_buf_view(&m->header));
    }
    ph_buf_reset(&m->header);
    m->header_cut = 0;
    return note(m, rc);
}

static int end_headers(struct message *m)
{
    int rc = flush_header(m);

    m->part = IN_BODY;
    return rc < 0 || m->error != CLEAN_OK ? rc : note(m, cleanup_header_end(m));
}

static void header_append(struct message *m, ph_str bytes)
{
    if (m->header_cut)
        return;
    if (!ph_buf_put(&m->header, bytes.p, bytes.n)) {
        ph_buf_put(&m->header, bytes.p, m->header.max - m->header.n);
        m->header_cut = 1;
    }
}

static int body_add(struct message *m, ph_str bytes)
{
    if (bytes.n == 0 || m->error != CLEAN_OK)
        return 0;
    return note(m, ph_intake_write(m->intake, bytes));
}

/* One whole line (with its line end, or cut) of the header section. */
static int header_line(struct message *m, ph_str line)
{
    ph_str name;
    int rc;

    if (ph_str_eq(line, PH_STR("\r\n")) || ph_str_eq(line, PH_STR("\n")))
        return end_headers(m);
    if (line.n && (line.p[0] == ' ' || line.p[0] == '\t') && m->header.n) {
        header_append(m, line);
        return 0;
    }
    if (cleanup_is_header(line, &name)) {
        rc = flush_header(m);
        header_append(m, line);
        if (m->line_cut)
            m->header_cut = 1;
        return rc;
    }
    /* No header and no empty line: the body starts here, behind an empty line
     * that the intake puts in (non_empty_end_of_header_action). */
    if ((rc = end_headers(m)) < 0)
        return rc;
    return body_add(m, line);
}

/* Take bytes up to the next line end into m->line; returns how many. */
static size_t gather_line(struct message *m, ph_str bytes, int *whole)
{
    ptrdiff_t eol = ph_str_find(bytes, '\n');
    size_t n = eol < 0 ? bytes.n : (size_t)eol + 1;

    *whole = eol >= 0;
    if (!m->line_cut && !ph_buf_put(&m->line, bytes.p, n)) {
        ph_buf_put(&m->line, bytes.p, m->line.max - m->line.n);
        m->line_cut = 1;
    }
    return n;
}

/* A line beyond the limit: if it is a header the rest is dropped, else the
 * body has begun and everything is passed on. */
static int long_line(struct message *m, int *passed)
{
    ph_str line = ph_buf_view(&m->line), name;

    *passed = 0;
    if (cleanup_is_header(line, &name) || ((line.p[0] == ' ' || line.p[0] == '\t') && m->header.n))
        return 0;
    int rc = end_headers(m);
    if (rc == 0)
        rc = body_add(m, line);
    ph_buf_reset(&m->line);
    m->line_cut = 0;
    *passed = 1;
    return rc;
}

static int add_headers(struct message *m, ph_str *bytes)
{
    while (bytes->n && m->part == IN_HEADERS) {
        size_t kept = m->line.n;
        int whole, passed, rc = 0, was_cut = m->line_cut;
        size_t used = gather_line(m, *bytes, &whole);

        if (m->line_cut && !was_cut) {
            size_t taken = m->line.n - kept;

            if ((rc = long_line(m, &passed)) < 0)
                return rc;
            if (passed) {
                *bytes = ph_str_from(*bytes, taken);
                return 0;
            }
        }
        *bytes = ph_str_from(*bytes, used);
        if (whole) {
            rc = header_line(m, ph_buf_view(&m->line));
            ph_buf_reset(&m->line);
            m->line_cut = 0;
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int add_clean(struct message *m, ph_str bytes)
{
    int rc = add_headers(m, &bytes);

    return rc < 0 ? rc : body_add(m, bytes);
}

/* Pass on bytes, each stray CR or LF as a blank: nothing that leaves us can be
 * taken for a line end by one and not by another. */
int cleanup_content(struct message *m, ph_str bytes)
{
    int rc = 0;

    if (!m->p->replace_stray)
        return add_clean(m, bytes);
    if (m->carried_cr && bytes.n) {
        m->carried_cr = 0;
        if (bytes.p[0] == '\n') {
            rc = add_clean(m, PH_STR("\r\n"));
            bytes = ph_str_from(bytes, 1);
        } else {
            rc = add_clean(m, PH_STR(" "));
        }
    }
    if (rc == 0 && bytes.n && bytes.p[bytes.n - 1] == '\r') {
        m->carried_cr = 1;
        bytes.n--;
    }
    /* A body is mostly as it should be, which is seen by who looks at each byte anyway. */
    if (rc == 0 && bytes.n && m->part == IN_BODY && m->error == CLEAN_OK &&
        (rc = ph_intake_write_plain(m->intake, bytes)) != PH_NONE)
        return note(m, rc);
    rc = rc == PH_NONE ? 0 : rc;
    while (rc == 0 && bytes.n) {
        size_t n = ph_find_stray(bytes);

        rc = add_clean(m, ph_str_first(bytes, n));
        if (rc == 0 && n < bytes.n)
            rc = add_clean(m, PH_STR(" "));
        bytes = ph_str_from(bytes, n + 1);
    }
    return rc;
}

int cleanup_content_apart(struct message *m)
{
    return m->part == IN_HEADERS ? flush_header(m) : 0;
}

int cleanup_content_end(struct message *m)
{
    int rc = 0;

    if (m->carried_cr)
        rc = add_clean(m, PH_STR(" "));
    m->carried_cr = 0;
    if (rc == 0 && m->part == IN_HEADERS && m->line.n)
        rc = header_line(m, ph_buf_view(&m->line));
    if (rc == 0 && m->part == IN_HEADERS)
        rc = end_headers(m);
    return rc;
}
