/* wire: connections to PostgreSQL.  See pgsql.h. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include "pgsql.h"

/* Until one of the events, or the deadline: 0, PH_TIMEOUT, PH_EOF. */
static int wait_for(PGconn *conn, short events, int64_t deadline)
{
    struct pollfd p = { .fd = PQsocket(conn), .events = events };
    int64_t left;

    if (p.fd < 0)
        return ph_fail(PH_EOF, "the connection has no socket");
    while ((left = deadline - sql_now_ms()) > 0) {
        int n = poll(&p, 1, (int)(left < 60000 ? left : 60000));

        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return ph_fail_errno(PH_EOF, errno, "poll");
    }
    return ph_fail(PH_TIMEOUT, "the server does not answer");
}

static void say_nothing(void *arg PH_UNUSED, const char *text PH_UNUSED)
{
}

static int login(PGconn *conn, int64_t deadline)
{
    PostgresPollingStatusType step = PGRES_POLLING_WRITING;
    int rc = 0;

    while (PQstatus(conn) != CONNECTION_BAD && step != PGRES_POLLING_OK && step != PGRES_POLLING_FAILED) {
        if ((rc = wait_for(conn, step == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline)) < 0)
            return ph_wrap(rc, "connect");
        step = PQconnectPoll(conn);
    }
    if (PQstatus(conn) != CONNECTION_OK || PQsetnonblocking(conn, 1) < 0)
        return sql_fail(PH_EOF, PQerrorMessage(conn));
    return 0;
}

static int pgsql_connect(struct sql *s PH_UNUSED, struct sql_host *h, int64_t deadline)
{
    const struct login *l = h->data;
    PGconn *conn = PQconnectStartParams(l->keywords, l->values, h->kind == SQL_URI);

    if (!conn)
        return ph_fail(PH_EOF, "out of memory");
    PQsetNoticeProcessor(conn, say_nothing, NULL);         /* to standard error otherwise */
    int rc = login(conn, deadline);
    if (rc < 0)
        PQfinish(conn);
    else
        h->link = conn;
    return rc;
}

static void pgsql_disconnect(struct sql_host *h)
{
    PQfinish(h->link);
}

/* For E'...': libpq writes that form, with a blank before it, when there is a backslash. */
static int quote_escaped(PGconn *conn, ph_str in, struct ph_buf *out)
{
    char *literal = PQescapeLiteral(conn, in.p, in.n);
    ph_str text = ph_cstr(literal);
    ptrdiff_t start = ph_str_find(text, '\'');

    if (start >= 0 && text.n >= (size_t)start + 2)
        ph_buf_put(out, text.p + start + 1, text.n - (size_t)start - 2);
    PQfreemem(literal);
    return literal != NULL;
}

/* A client_quote.  A key that is no text in the connection's encoding is in no database. */
static int quote(void *arg, ph_str in, struct ph_buf *out)
{
    PGconn *conn = arg;
    const char *standard = PQparameterStatus(conn, "standard_conforming_strings");
    char open = sql_place(ph_buf_view(out), SQL_PGSQL | (standard && strcmp(standard, "on") == 0 ? 0 : SQL_BACKSLASH));
    int bad = 0;

    if (open == 'E')
        return quote_escaped(conn, in, out);
    if (open != '\'')
        return sql_quote(open, in, out);
    char *room = ph_buf_room(out, 2 * in.n + 1);
    if (!room)
        return 0;
    size_t n = PQescapeStringConn(conn, room, in.p, in.n, &bad);
    if (!bad)
        ph_buf_added(out, n);
    return !bad;
}

/* libpq says no: whatever it is, that connection is not used again. */
static int lost(PGconn *conn)
{
    return sql_fail(PH_EOF, PQerrorMessage(conn));
}

static int send_all(PGconn *conn, int64_t deadline)
{
    int left, rc;

    while ((left = PQflush(conn)) == 1) {
        if ((rc = wait_for(conn, POLLIN | POLLOUT, deadline)) < 0)
            return rc;
        if (!PQconsumeInput(conn))
            return lost(conn);
    }
    return left < 0 ? lost(conn) : 0;
}

static int next_result(PGconn *conn, int64_t deadline, PGresult **r)
{
    int rc;

    while (PQisBusy(conn)) {
        if ((rc = wait_for(conn, POLLIN, deadline)) < 0)
            return rc;
        if (!PQconsumeInput(conn))
            return lost(conn);
    }
    *r = PQgetResult(conn);
    return 0;
}

static int add_row(const struct sql *s, const PGresult *r, ph_str key, struct ph_buf *answer, int64_t *count)
{
    int rc = 0;

    for (int i = 0; rc == 0 && i < PQnfields(r); i++)
        if (!PQgetisnull(r, 0, i))
            rc = client_add(&s->client, key, (ph_str){ PQgetvalue(r, 0, i), (size_t)PQgetlength(r, 0, i) }, answer, count);
    return rc;
}

/* One of them: 0, or the failure. */
static int take(const struct sql *s, const PGresult *r, ph_str key, struct ph_buf *answer, int64_t *count)
{
    switch (PQresultStatus(r)) {
    case PGRES_SINGLE_TUPLE: return add_row(s, r, key, answer, count);
    case PGRES_TUPLES_OK: return 0;                        /* behind the last */
    case PGRES_EMPTY_QUERY: return ph_fail(PH_CONF, "the query is empty");
    case PGRES_BAD_RESPONSE:
    case PGRES_NONFATAL_ERROR:
    case PGRES_FATAL_ERROR: return sql_fail(PH_TEMP, PQresultErrorMessage(r));
    default: return ph_fail(PH_TEMP, "the query gives no rows");
    }
}

/* Row by row: a query without bounds must not fill the memory. */
static int read_answer(struct sql *s, struct sql_host *h, ph_str key, struct ph_buf *answer, int64_t *count, int64_t deadline)
{
    PGresult *r = NULL;
    int rc, failed = 0;

    while ((rc = next_result(h->link, deadline, &r)) == 0 && r) {
        ExecStatusType status = PQresultStatus(r);

        if (failed == 0)
            failed = take(s, r, key, answer, count);
        PQclear(r);
        if (failed && status != PGRES_FATAL_ERROR) {       /* what else there is would have to be read */
            sql_disconnect(s, h);
            return failed;
        }
    }
    if (rc < 0)
        return rc;
    return failed == PH_TEMP && PQstatus(h->link) == CONNECTION_BAD ? PH_EOF : failed;
}

/* The extended protocol: one statement and no second one. */
static int pgsql_ask(struct sql *s, struct sql_host *h, ph_str key, struct ph_buf *answer, int64_t *count, int64_t deadline)
{
    struct ph_buf sql;
    int rc;

    ph_buf_init(&sql, answer->scope, CLIENT_ANSWER_MAX);
    if (!client_expand(s->query, key, quote, h->link, &sql))
        return sql.full ? ph_fail(PH_TEMP, "the query has more than %u bytes", CLIENT_ANSWER_MAX) : PH_NONE;
    if (!PQsendQueryParams(h->link, sql.p, 0, NULL, NULL, NULL, NULL, 0))
        return lost(h->link);
    PQsetSingleRowMode(h->link);
    rc = send_all(h->link, deadline);
    return rc < 0 ? rc : read_answer(s, h, key, answer, count, deadline);
}

const struct sql_library pgsql_library = { .connect = pgsql_connect, .ask = pgsql_ask, .disconnect = pgsql_disconnect };
