/* reference: what smtpd owes its client, on one page: RFC 5321 (4.1.4 order, 4.1.1.5
 * RSET), 1870, 2034, 2920, 3030.  Knows nothing of how smtpd does it. */
#include <stdio.h>
#include <string.h>
#include "t/model/model.h"

void model_start(struct model *m, const struct config *c)
{
    memset(m, 0, offsetof(struct model, content));
    m->c = c;
    m->to[0] = m->last_to[0] = m->last_sender[0] = 0;
}

/* The transaction never was: RSET, HELO, EHLO, the end of a message, a chunk that failed. */
static void reset(struct model *m)
{
    m->mail = m->intake = m->forward = m->bad_sender = m->picky = m->dead = m->no_disk = m->hops = 0;
    m->rcpts = m->over = 0;
    m->content_n = 0;
    m->chunks = CHUNKS_NONE;
    m->to[0] = 0;
}

/* Content, with line ends made whole: a CRLF may be split between two chunks. */
static void add(struct model *m, const char *p, size_t n)
{
    while (n) {
        const char *lf = memchr(p, '\n', n);
        size_t text = lf ? (size_t)(lf - p) : n;
        char *end = m->content + m->content_n;

        memcpy(end, p, text);
        end += text;
        if (lf && (end == m->content || end[-1] != '\r'))
            *end++ = '\r';
        if (lf)
            *end++ = '\n';
        m->content_n = (size_t)(end - m->content);
        p += text + (lf != NULL);
        n -= text + (lf != NULL);
    }
}

static void meet(struct model *m, const struct symbol *y)
{
    add(m, y->content, y->content_n);
    m->hops |= (y->is & IS_HOPS) != 0;
    m->no_disk |= (y->is & IS_DISK) != 0;
    m->dead |= y->is & IS_DEAD && !m->no_disk;     /* what is not written ends nobody */
}

/* What the queue should hold now: our trace, then the content; a CR that ends no line is a blank. */
static void commit(struct model *m)
{
    char *p = m->last_content, *body = p + snprintf(p, 500,
        "Received: from %s (unknown [192.0.2.9])\r\n\tby mx.test (Posthorn) with %s id @", m->helo ? m->helo : "unknown", m->esmtp ? "ESMTP" : "SMTP");

    body += m->rcpts == 1 ? snprintf(body, 500, "\r\n\tfor <%s>; ", m->first) : snprintf(body, 500, ";\r\n\t");
    body += snprintf(body, 500, "Thu, 01 Jan 1970 00:00:00 +0000 (UTC)\r\n");
    memcpy(body, m->content, m->content_n);
    body[m->content_n] = 0;
    for (char *q = body; (q = strchr(q, '\r')); q++)
        if (q[1] != '\n')
            *q = ' ';
    if (strncmp(body, "\r\n", 2) != 0 && !strstr(body, "\r\n\r\n"))
        strcat(body, "\r\n");                      /* headers only: the empty line is ours */
    m->last_n = (size_t)(body - p) + strlen(body);
    strcpy(m->last_to, m->to);
    strcpy(m->last_sender, m->sender);
    m->last_client = m->forward ? "192.0.2.77" : "192.0.2.9";
    m->commits++;
}

/* After the last byte: the gravest trouble first. */
static const char *conclude(struct model *m)
{
    const char *reply = "250 2.0.0";

    if (m->content_n && m->content[m->content_n - 1] != '\n')
        add(m, "\r\n", 2);
    if (m->content_n > SIZE_LIMIT)
        reply = "552 5.3.4";
    else if (m->dead)
        reply = "451 4.3.0";
    else if (m->content_n == EOD_BYTES)
        reply = "550 5.7.1";
    else if (m->hops)
        reply = "554 5.4.0";
    else if (m->no_disk)
        reply = "451 4.3.0";
    if (*reply == '2') {
        commit(m);
        m->errors = m->junk = 0;
    }
    reset(m);
    return reply;
}

/* RFC 3030: a chunk is refused, and with it the message; what follows up to LAST is passed over. */
static const char *fail(struct model *m, const struct symbol *y, const char *reply)
{
    reset(m);
    m->chunks = y->is & IS_LAST ? CHUNKS_NONE : CHUNKS_SKIP;
    return reply;
}

static const char *chunk(struct model *m, const struct symbol *y)
{
    if (y->is & IS_NULL)
        return fail(m, y, "551 5.7.1");
    if (m->chunks == CHUNKS_SKIP)
        return fail(m, y, "551 5.0.0");
    if (m->rcpts == 0)
        return fail(m, y, m->mail ? "554 5.5.1" : "503 5.5.1");
    if (m->content_n + y->content_n > SIZE_LIMIT)
        return fail(m, y, "552 5.3.4");
    if (m->picky)
        return fail(m, y, "550 5.7.1");
    m->chunks = CHUNKS_TAKEN;
    meet(m, y);
    if (y->is & IS_LAST)
        return conclude(m);
    if (m->content_n > SIZE_LIMIT || m->dead)
        return fail(m, y, m->dead ? "451 4.3.0" : "552 5.3.4");
    return "250 2.0.0";
}

static const char *rcpt(struct model *m, const struct symbol *y)
{
    int postmaster = y->who && strcmp(y->who, "Postmaster") == 0;   /* RFC 5321 4.5.1 */

    if (!m->mail || m->chunks)
        return "503 5.5.1";
    if (y->is & IS_EARLY)
        return y->reply;
    if (m->rcpts >= RCPT_LIMIT) {
        m->errors -= m->over++ < m->c->overshoot;  /* that one does not count */
        return "452 4.5.3";
    }
    if ((m->bad_helo || m->bad_sender) && !postmaster)
        return "550 5.7.1";
    if (y->reply)
        return y->reply;
    if (!m->intake && y->is & IS_NO_SLOT)
        return "451 4.3.0";
    m->intake = 1;
    if (m->rcpts++ == 0)
        strcpy(m->first, y->who);
    if (!strstr(m->to, y->who))
        strcat(strcat(m->to, y->who), " ");
    return "250 2.1.5";
}

static const char *command(struct model *m, const struct symbol *y)
{
    const struct config *c = m->c;

    switch (y->act) {
    case A_HELO:
    case A_EHLO:
        if (y->reply && !c->delay_reject)
            return y->reply;                       /* and nothing changes: RFC 5321 4.1.4 */
        reset(m);
        m->helo = y->who;
        m->bad_helo = y->reply != NULL;
        m->esmtp |= y->act == A_EHLO;
        return "250";
    case A_MAIL:
        if (m->mail || m->chunks || (c->helo_required && !m->helo))
            return "503 5.5.1";
        if (y->reply && !(y->is & IS_LATE && c->delay_reject))
            return y->reply;
        if (c->is_full)
            return "452 4.3.1";
        if (y->is & IS_NO_SLOT && !c->late_open)
            return "451 4.3.0";
        m->mail = 1;
        m->intake = !c->late_open;
        m->sender = y->who;
        m->bad_sender = y->reply != NULL;
        m->picky = (y->is & IS_PICKY) != 0;
        return "250 2.1.0";
    case A_RCPT:
        return rcpt(m, y);
    case A_DATA:
        if (m->chunks || m->rcpts == 0)
            return m->mail && !m->chunks ? "554 5.5.1" : "503 5.5.1";
        return y->reply ? y->reply : m->picky ? "550 5.7.1" : "354";
    case A_BDAT:
        return chunk(m, y);
    case A_RSET:
        reset(m);
        return "250 2.0.0";
    case A_VRFY:
        return (m->bad_helo || m->bad_sender) ? "550 5.7.1" : y->reply;
    case A_XCLIENT:
        if (!c->trusted || m->mail)
            return c->trusted ? "503 5.5.1" : "550 5.7.0";
        reset(m);                                  /* as after the connection, but for what it says */
        m->helo = y->who;
        m->bad_helo = m->esmtp = 0;
        return "220";
    case A_XFORWARD:
        if (!c->trusted || m->mail)
            return c->trusted ? "503 5.5.1" : "550 5.7.0";
        m->forward |= !y->reply;
        return y->reply ? y->reply : "250 2.0.0";
    case A_QUIT:
        return "221 2.0.0";
    case A_JUNK:
    case A_OTHER:
    case A_CLOSE:
        break;
    }
    return y->reply;
}

/* Errors are counted; too many end the session.  So do 421 and 521, whatever they are about. */
static const char *account(struct model *m, const char *reply)
{
    m->errors += *reply == '4' || *reply == '5';
    if (strncmp(reply + 1, "21 ", 3) == 0 && *reply != '2')
        m->closed = 1;
    if (!m->closed && m->errors >= m->c->hard_limit) {
        m->farewell = "421 4.7.0";
        m->closed = 1;
    }
    return reply;
}

const char *model_command(struct model *m, const struct symbol *y, int more)
{
    int junk = y->act == A_HELO || y->act == A_EHLO || y->act == A_RSET || y->act == A_VRFY || y->act == A_JUNK;

    m->closed = y->act == A_QUIT || y->act == A_CLOSE;
    if (m->c->enforce && more && !(y->is & IS_FREE) && (y->is & IS_MUST_END || !m->esmtp)) {
        m->closed = 1;
        return "554 5.5.0";
    }
    if (junk)
        m->errors += m->junk++ > m->c->junk_limit;
    if (y->act == A_BDAT && y->is & IS_LOST) {
        m->closed = 1;
        return NULL;
    }
    return account(m, command(m, y));
}

const char *model_content(struct model *m, const struct symbol *y)
{
    if (y->is & IS_LOST) {
        m->closed = 1;
        return NULL;
    }
    meet(m, y);
    return account(m, conclude(m));
}
