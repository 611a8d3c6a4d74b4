/* sql: what tables with an SQL server behind them have in common: their hosts,
 * which of them is asked, when a connection is made anew, and where in a query a
 * key stands.
 *
 *     hosts = unix:/run/x, inet:db1.test:3306, db2.test, scheme://...
 *
 * Connected ones come first, then UNIX sockets, then the others, in random order.
 * One that cannot be reached, or stays silent, is set aside for retry_interval when
 * there are others.  A kept connection that turns out to be gone is made anew, once.
 * For BLOCKING plugins: the calls wait, for at most `timeout` seconds per connection
 * and per question, and never beyond the caller's deadline. */
#ifndef TABLE_SQL_H
#define TABLE_SQL_H

#include "plugins/table/common/client.h"

#define SQL_HOSTS_MAX 64

struct sql_host {
    const char *name;              /* as it was written, for messages */
    const char *address;           /* host, path, or the whole URI */
    unsigned port;                 /* 0: the usual one */
    enum { SQL_INET, SQL_UNIX, SQL_URI } kind;
    void *data;                    /* the type's own */
    void *link;                    /* the library's connection, or NULL */
    int64_t used_ms, aside_ms;     /* aside_ms: not asked before then */
    uint32_t order;
    char why[200];                 /* it was set aside */
};

struct sql;

/* What a library does.  PH_EOF: the server cannot be reached, or its connection is
 * gone; PH_TIMEOUT: the deadline came; the connection is closed then. */
struct sql_library {
    /* 0 and h->link, PH_EOF, PH_TIMEOUT. */
    int (*connect)(struct sql *s, struct sql_host *h, int64_t deadline);
    /* Each value to client_add: 0; PH_NONE: the key is not asked for; PH_TEMP: no
     * answer, but the connection can be used (or is closed already); PH_CONF. */
    int (*ask)(struct sql *s, struct sql_host *h, ph_str key, struct ph_buf *answer, int64_t *count, int64_t deadline);
    /* Close h->link, which is not NULL. */
    void (*disconnect)(struct sql_host *h);
};

struct sql {
    struct client client;
    const struct sql_library *library;
    ph_str query;
    struct sql_host *hosts;
    size_t count;
    int64_t timeout_ms, idle_ms, retry_ms;
};

/* The settings that all have; connects to nobody: 0, PH_CONF, PH_TEMP.  Connections
 * are closed when t's scope ends.  s->query is left to the caller. */
int sql_open(struct ph_table *t, ph_str spec, struct sql *s, const struct sql_library *library);
/* A table's lookup. */
int sql_lookup(struct sql *s, ph_str key, struct ph_scope *out, ph_str *val);
/* A setting as a C string, NULL when it is not set or empty. */
const char *sql_setting(struct sql *s, const char *name, const char *def);
void sql_disconnect(struct sql *s, struct sql_host *h);
/* The monotonic clock; ph_now_ms may stand still while a library waits. */
int64_t sql_now_ms(void);
/* ph_fail with a library's words, on one line. */
int sql_fail(int code, const char *words);

/* Where the next byte of an SQL text stands: 0 bare, ' in a string, E in a string
 * of PostgreSQL's form E'...', " or ` in a quoted name (MySQL: " may be a string),
 * $ between dollars, - # * in a comment. */
#define SQL_BACKSLASH 1u           /* it escapes in '...' (and in "..." of MySQL) */
#define SQL_PGSQL     2u
#define SQL_MYSQL     4u
#define SQL_SQLITE    8u           /* [ too: in a name */
char sql_place(ph_str text, unsigned dialect);
/* Appends `in` for that place: in ' with ' doubled; in " what holds no ", \ or control;
 * elsewhere only letters, digits, "_" and ".": 1, or 0: it cannot stand there. */
int sql_quote(char place, ph_str in, struct ph_buf *out);

#endif
