/* table/pgsql: PostgreSQL databases, `pgsql:/etc/postfix/x.cf`.
 *
 * pgsql.c  settings   wire.c  connecting and asking, by libpq's calls that do not wait
 * Reference: pgsql_table(5). */
#include <string.h>
#include "pgsql.h"

static int is_set(const PQconninfoOption *o, const char *keyword)
{
    for (; o->keyword; o++)
        if (strcmp(o->keyword, keyword) == 0)
            return o->val != NULL;
    return 0;
}

static void add(struct login *l, const char *keyword, const char *value)
{
    if (!value)
        return;
    l->keywords[l->n] = keyword;
    l->values[l->n++] = value;
}

/* The files that a URI names are read at every connection. */
static void announce_files(const struct sql *s, const PQconninfoOption *o)
{
    static const char *const files[] = { "sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile" };

    for (; o->keyword; o++) {
        if (!o->val)
            continue;
        if (strcmp(o->keyword, "sslcrldir") == 0)
            client_opens_later(&s->client, NULL, o->val);
        for (size_t i = 0; i < sizeof files / sizeof *files; i++)
            if (strcmp(o->keyword, files[i]) == 0)
                client_opens_later(&s->client, o->val, NULL);
    }
}

/* What the settings say counts where the URI is silent. */
static int login_by_uri(struct sql *s, struct sql_host *h, struct login *l)
{
    static const char *const names[] = { "user", "password", "dbname" };
    char *why = NULL;
    PQconninfoOption *uri = PQconninfoParse(h->address, &why);

    if (!uri) {
        int rc = sql_fail(PH_CONF, why ? why : "out of memory");

        PQfreemem(why);
        return ph_wrap(rc, "hosts");
    }
    add(l, "dbname", h->address);  /* the first is the one that may be a URI */
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!is_set(uri, names[i]))
            add(l, names[i], sql_setting(s, names[i], ""));
    announce_files(s, uri);
    PQconninfoFree(uri);
    return 0;
}

/* libpq is told the directory of a socket; its name .s.PGSQL.5432 says the port. */
static void add_socket(struct ph_scope *scope, struct login *l, ph_str path)
{
    ptrdiff_t slash = ph_str_rfind(path, '/');
    ph_str name = ph_str_from(path, (size_t)slash + 1);

    if (ph_str_starts(name, PH_STR(".s.PGSQL."))) {
        add(l, "port", ph_cstr_dup(scope, ph_str_from(name, 9)));
        path = ph_str_first(path, slash > 0 ? (size_t)slash : 1);
    }
    add(l, "host", ph_cstr_dup(scope, path));
}

static int plan_login(struct sql *s, struct ph_scope *scope, struct sql_host *h)
{
    struct login *l = ph_new(scope, struct login);
    int rc = 0;

    h->data = l;
    if (h->kind == SQL_URI) {
        rc = login_by_uri(s, h, l);
    } else {
        const char *dbname = sql_setting(s, "dbname", "");

        if (!dbname)
            return ph_fail(PH_CONF, "%.*s: dbname is not set", PH_FMT(s->client.name));
        if (h->kind == SQL_UNIX)
            add_socket(scope, l, ph_cstr(h->address));
        else
            add(l, "host", h->address);
        if (h->port)
            add(l, "port", ph_str_printf(scope, "%u", h->port).p);
        add(l, "user", sql_setting(s, "user", ""));
        add(l, "password", sql_setting(s, "password", ""));
        add(l, "dbname", dbname);
    }
    add(l, "client_encoding", sql_setting(s, "encoding", "UTF8"));
    add(l, "fallback_application_name", "posthorn");
    return rc;
}

/* select_function, from older days, stands behind query and before table. */
static int read_query(struct sql *s, struct ph_scope *scope)
{
    ph_str function = client_get(&s->client, "select_function", "");

    if (client_get(&s->client, "query", "").n || function.n == 0)
        return client_get_query(&s->client, &s->query);
    s->query = ph_str_printf(scope, "SELECT %.*s('%%s')", PH_FMT(function));
    return client_check_template("select_function", s->query);
}

static int32_t pgsql_open(struct ph_table *t, ph_str spec)
{
    struct sql *s = ph_new(t->scope, struct sql);
    int rc = sql_open(t, spec, s, &pgsql_library);

    t->self = s;
    for (size_t i = 0; rc == 0 && i < s->count; i++)
        rc = plan_login(s, t->scope, &s->hosts[i]);
    return rc < 0 ? rc : read_query(s, t->scope);
}

static int32_t pgsql_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    return sql_lookup(t->self, key, out, val);
}

PH_PLUGIN_TABLE(pgsql, PH_IS(.summary = "PostgreSQL database", .exec = PH_BLOCKING, .concurrency = PH_ONE_CALL),
    .open = pgsql_open,
    .lookup = pgsql_lookup);
