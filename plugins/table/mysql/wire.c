/* wire: connections to MySQL and MariaDB.  See mysql.h.
 *
 * The library waits itself, in whole seconds for each packet; between rows we look
 * at the deadline too. */
#include <errmsg.h>
#include <mysql.h>
#include <string.h>
#include <sys/socket.h>
#include "mysql.h"

/* The server says these before it hangs up: shutdown, killed, idle for too long. */
enum { SHUTDOWN = 1053, KILLED = 1927, IDLE = 4031 };

static void limit(MYSQL *m, int64_t deadline)
{
    int64_t left = (deadline - sql_now_ms() + 999) / 1000;
    unsigned seconds = left > 1 ? (unsigned)left : 1;

    mysql_options(m, MYSQL_OPT_CONNECT_TIMEOUT, &seconds);
    mysql_options(m, MYSQL_OPT_READ_TIMEOUT, &seconds);
    mysql_options(m, MYSQL_OPT_WRITE_TIMEOUT, &seconds);
}

static int failed(MYSQL *m, int64_t deadline)
{
    unsigned code = mysql_errno(m);
    int is_gone = (code >= CR_MIN_ERROR && code <= CR_MAX_ERROR) || code >= CER_MIN_ERROR || code == SHUTDOWN || code == KILLED || code == IDLE;

    if (is_gone && sql_now_ms() >= deadline)
        return ph_fail(PH_TIMEOUT, "the server does not answer: %s", mysql_error(m));
    return sql_fail(is_gone ? PH_EOF : PH_TEMP, mysql_error(m));
}

static void set_text(MYSQL *m, enum mysql_option option, const char *value)
{
    if (value)
        mysql_options(m, option, value);
}

/* Any setting of TLS asks for TLS. */
static int wants_tls(const struct mysql *self)
{
    return self->key || self->cert || self->ca_file || self->ca_path || self->ciphers || self->verify_cert;
}

static void set_tls(MYSQL *m, const struct mysql *self)
{
    my_bool yes = 1;

    set_text(m, MYSQL_OPT_SSL_KEY, self->key);
    set_text(m, MYSQL_OPT_SSL_CERT, self->cert);
    set_text(m, MYSQL_OPT_SSL_CA, self->ca_file);
    set_text(m, MYSQL_OPT_SSL_CAPATH, self->ca_path);
    set_text(m, MYSQL_OPT_SSL_CIPHER, self->ciphers);
    if (self->verify_cert)
        mysql_options(m, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &yes);
    if (wants_tls(self))
        mysql_options(m, MYSQL_OPT_SSL_ENFORCE, &yes);
}

static int mysql_wire_connect(struct sql *s, struct sql_host *h, int64_t deadline)
{
    const struct mysql *self = (const struct mysql *)(const void *)s;
    MYSQL *m = mysql_init(NULL);
    unsigned no = 0;
    int rc = 0;

    if (!m)
        return ph_fail(PH_EOF, "out of memory");
    limit(m, deadline);
    mysql_options(m, MYSQL_OPT_LOCAL_INFILE, &no);         /* a server must not read our files */
    set_text(m, MYSQL_READ_DEFAULT_FILE, self->option_file);
    set_text(m, MYSQL_READ_DEFAULT_GROUP, self->option_group);
    set_text(m, MYSQL_SET_CHARSET_NAME, self->charset);
    set_tls(m, self);
    if (!mysql_real_connect(m, h->kind == SQL_UNIX ? "localhost" : h->address, self->user, self->password, self->dbname, h->port, h->kind == SQL_UNIX ? h->address : NULL, CLIENT_MULTI_RESULTS)) {
        rc = failed(m, deadline);
        mysql_close(m);
        return rc == PH_TIMEOUT ? rc : PH_EOF;
    }
    h->link = m;
    /* The library goes on without TLS when the certificate is not looked at. */
    if (h->kind == SQL_INET && wants_tls(self) && !mysql_get_ssl_cipher(m))
        return ph_fail(PH_EOF, "the server has no TLS");
    return 0;
}

static void mysql_wire_disconnect(struct sql_host *h)
{
    mysql_close(h->link);
}

/* "..." is a string or a name (ANSI_QUOTES), for which the library does not quote:
 * in both a quote is doubled. */
static int quote_double(ph_str in, int backslash, struct ph_buf *out)
{
    if (ph_str_find(in, '\\') >= 0 && !ph_str_is_ascii(in))
        return 0;                  /* it may be half a character */
    for (size_t i = 0; i < in.n; i++) {
        if (in.p[i] == '"' || (in.p[i] == '\\' && backslash))
            ph_buf_putc(out, in.p[i]);
        ph_buf_putc(out, in.p[i]);
    }
    return !out->full;
}

/* A client_quote.  A key that is no UTF-8 is in no column that is. */
static int quote(void *arg, ph_str in, struct ph_buf *out)
{
    MYSQL *m = arg;
    int backslash = !(m->server_status & SERVER_STATUS_NO_BACKSLASH_ESCAPES);
    char open = sql_place(ph_buf_view(out), SQL_MYSQL | (backslash ? SQL_BACKSLASH : 0));

    if (ph_str_starts(ph_cstr(mysql_character_set_name(m)), PH_STR("utf8")) && !ph_str_is_utf8(in))
        return 0;
    if (open == '"')
        return quote_double(in, backslash, out);
    if (open != '\'')
        return sql_quote(open, in, out);
    char *room = ph_buf_room(out, 2 * in.n + 1);
    if (!room)
        return 0;
    unsigned long n = mysql_real_escape_string(m, room, in.p, in.n);
    if (n <= 2 * in.n)             /* else the error */
        ph_buf_added(out, n);
    return n <= 2 * in.n;
}

static int add_row(const struct sql *s, MYSQL_RES *r, MYSQL_ROW row, ph_str key, struct ph_buf *answer, int64_t *count)
{
    const unsigned long *lengths = mysql_fetch_lengths(r);
    unsigned n = mysql_num_fields(r);
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < n; i++)
        rc = client_add(&s->client, key, (ph_str){ row[i], row[i] ? lengths[i] : 0 }, answer, count);
    return rc;
}

/* Row by row: a query without bounds must not fill the memory. */
static int read_rows(struct sql *s, MYSQL *m, MYSQL_RES *r, ph_str key, struct ph_buf *answer, int64_t *count, int64_t deadline)
{
    MYSQL_ROW row;
    int rc = 0;

    while (rc == 0 && (row = mysql_fetch_row(r)))
        rc = sql_now_ms() > deadline ? ph_fail(PH_TIMEOUT, "the answer takes too long") : add_row(s, r, row, key, answer, count);
    if (rc == 0 && mysql_errno(m))
        rc = failed(m, deadline);
    return rc;
}

/* A result set is freed by reading what is left of it: not when nobody wants it. */
static int give_up(struct sql *s, struct sql_host *h, MYSQL_RES *r, int rc)
{
    shutdown(mysql_get_socket(h->link), SHUT_RDWR);
    if (r)
        mysql_free_result(r);
    sql_disconnect(s, h);
    return rc;
}

/* One result set and any number of statuses: a procedure has one behind. */
static int read_answer(struct sql *s, struct sql_host *h, ph_str key, struct ph_buf *answer, int64_t *count, int64_t deadline)
{
    const struct mysql *self = (const struct mysql *)(const void *)s;
    MYSQL *m = h->link;
    int rc, more, sets = 0;

    do {
        MYSQL_RES *r = mysql_use_result(m);

        if (!r && mysql_field_count(m))
            return failed(m, deadline);
        if (r) {
            rc = ++sets > 1 ? ph_fail(PH_TEMP, "the query gives several result sets") : read_rows(s, m, r, key, answer, count, deadline);
            if (rc < 0)
                return give_up(s, h, r, rc);
            mysql_free_result(r);
        }
    } while ((more = mysql_next_result(m)) == 0);
    if (more > 0)
        return failed(m, deadline);
    return sets == 0 && self->needs_set ? ph_fail(PH_TEMP, "the query gives no result set: require_result_set") : 0;
}

static int mysql_wire_ask(struct sql *s, struct sql_host *h, ph_str key, struct ph_buf *answer, int64_t *count, int64_t deadline)
{
    struct ph_buf sql;

    ph_buf_init(&sql, answer->scope, CLIENT_ANSWER_MAX);
    if (!client_expand(s->query, key, quote, h->link, &sql))
        return sql.full ? ph_fail(PH_TEMP, "the query has more than %u bytes", CLIENT_ANSWER_MAX) : PH_NONE;
    limit(h->link, deadline);
    if (mysql_real_query(h->link, sql.p, sql.n))
        return failed(h->link, deadline);
    return read_answer(s, h, key, answer, count, deadline);
}

const struct sql_library mysql_library = { .connect = mysql_wire_connect, .ask = mysql_wire_ask, .disconnect = mysql_wire_disconnect };
