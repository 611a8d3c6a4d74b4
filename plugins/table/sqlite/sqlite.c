/* table/sqlite: SQLite databases, `sqlite:/etc/postfix/x.cf`.
 * Reference: sqlite_table(5). */
#include <errno.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include "plugins/table/common/sql.h"

#define BUSY_MS 1000               /* to wait for a writer */

struct sqlite {
    struct client client;
    sqlite3 *db;
    const char *path;
    struct stat st;
    ph_str query;
};

static void sqlite_close(void *arg)
{
    struct sqlite *self = arg;

    sqlite3_close(self->db);
}

static int failed(const struct sqlite *self, const char *what)
{
    return ph_fail(PH_TEMP, "%s %s: %s", what, self->path, self->db ? sqlite3_errmsg(self->db) : "out of memory");
}

static int32_t sqlite_open(struct ph_table *t, ph_str spec)
{
    struct sqlite *self = ph_new(t->scope, struct sqlite);
    int rc = client_open(t, spec, &self->client);
    ph_str path;

    t->self = self;
    if (rc < 0 || (rc = client_get_query(&self->client, &self->query)) < 0)
        return rc;
    if ((path = client_get(&self->client, "dbpath", "")).n == 0)
        return ph_fail(PH_CONF, "%.*s: dbpath is not set", PH_FMT(spec));
    self->path = ph_cstr_dup(t->scope, path);
    ph_reopen_later(self->path);
    if (stat(self->path, &self->st) < 0)
        return ph_fail_errno(PH_TEMP, errno, "open database %s", self->path);
    ph_defer(t->scope, sqlite_close, self);
    if (sqlite3_open_v2(self->path, &self->db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK)
        return failed(self, "open database");
    sqlite3_busy_timeout(self->db, BUSY_MS);
    return 0;
}

/* Each row's first column. */
static int read_rows(const struct sqlite *self, sqlite3_stmt *st, ph_str key, struct ph_buf *answer, int64_t *count)
{
    int rc = 0, err;

    while (rc == 0 && (err = sqlite3_step(st)) != SQLITE_DONE) {
        if (err != SQLITE_ROW)
            return failed(self, "query");
        const char *p = (const char *)sqlite3_column_text(st, 0);
        ph_str value = { p, p ? (size_t)sqlite3_column_bytes(st, 0) : 0 };

        rc = client_add(&self->client, key, value, answer, count);
    }
    return rc;
}

static int run(const struct sqlite *self, ph_str sql, ph_str key, struct ph_buf *answer, int64_t *count)
{
    sqlite3_stmt *st;

    if (sql.n > INT32_MAX || sqlite3_prepare_v2(self->db, sql.p, (int)sql.n, &st, NULL) != SQLITE_OK)
        return failed(self, "query");
    int rc = st ? read_rows(self, st, key, answer, count) : ph_fail(PH_CONF, "the query is empty");
    sqlite3_finalize(st);
    return rc;
}

static int quote(void *arg PH_UNUSED, ph_str in, struct ph_buf *out)
{
    return sql_quote(sql_place(ph_buf_view(out), SQL_SQLITE), in, out);
}

static int32_t sqlite_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    const struct sqlite *self = t->self;
    struct ph_buf sql, answer;
    int64_t count = 0;
    int rc = client_wants(&self->client, key);

    if (rc != PH_FOUND)
        return rc;
    ph_buf_init(&sql, out, CLIENT_ANSWER_MAX);
    ph_buf_init(&answer, out, CLIENT_ANSWER_MAX);
    if (!client_expand(self->query, key, quote, NULL, &sql))
        return PH_NONE;
    if ((rc = run(self, ph_buf_view(&sql), key, &answer, &count)) < 0)
        return rc;
    return client_answer(&answer, val);
}

/* Another file has the name. */
static int32_t sqlite_changed(struct ph_table *t)
{
    const struct sqlite *self = t->self;
    struct stat now;

    return stat(self->path, &now) < 0 || now.st_ino != self->st.st_ino || now.st_dev != self->st.st_dev ? PH_FOUND : PH_NONE;
}

PH_PLUGIN_TABLE(sqlite, PH_IS(.summary = "SQLite database", .exec = PH_BLOCKING, .concurrency = PH_ONE_CALL),
    .open = sqlite_open,
    .lookup = sqlite_lookup,
    .changed = sqlite_changed);
