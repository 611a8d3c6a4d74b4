/* table/mysql: MySQL and MariaDB databases, `mysql:/etc/postfix/x.cf`.
 *
 * mysql.c  settings   wire.c  connecting and asking
 * Reference: mysql_table(5). */
#include "mysql.h"

static int get_bool(struct sql *s, const char *name, const char *def, int *out)
{
    ph_str v = client_get(&s->client, name, def);

    *out = ph_str_eq_nocase(v, PH_STR("yes"));
    return *out || ph_str_eq_nocase(v, PH_STR("no")) ? 0 : ph_fail(PH_CONF, "%s: \"%.*s\" is neither yes nor no", name, PH_FMT(v));
}

static int read_settings(struct mysql *self)
{
    struct sql *s = &self->sql;

    self->user = sql_setting(s, "user", "");
    self->password = sql_setting(s, "password", "");
    self->dbname = sql_setting(s, "dbname", "");
    self->charset = sql_setting(s, "charset", "utf8mb4");
    self->option_file = sql_setting(s, "option_file", "");
    self->option_group = sql_setting(s, "option_group", "client");
    self->key = sql_setting(s, "tls_key_file", "");
    self->cert = sql_setting(s, "tls_cert_file", "");
    self->ca_file = sql_setting(s, "tls_CAfile", "");
    self->ca_path = sql_setting(s, "tls_CApath", "");
    self->ciphers = sql_setting(s, "tls_ciphers", "");
    client_opens_later(&s->client, self->ca_file, self->ca_path);
    client_opens_later(&s->client, self->cert, NULL);
    client_opens_later(&s->client, self->key, NULL);
    client_opens_later(&s->client, self->option_file, NULL);
    if (!self->dbname)
        return ph_fail(PH_CONF, "%.*s: dbname is not set", PH_FMT(s->client.name));
    for (size_t i = 0; i < s->count; i++)
        if (s->hosts[i].kind == SQL_URI)
            return ph_fail(PH_CONF, "hosts: \"%s\" is not unix:/path, inet:host or inet:host:port", s->hosts[i].name);
    int rc = get_bool(s, "tls_verify_cert", "no", &self->verify_cert);
    return rc < 0 ? rc : get_bool(s, "require_result_set", "yes", &self->needs_set);
}

static int32_t mysql_open(struct ph_table *t, ph_str spec)
{
    struct mysql *self = ph_new(t->scope, struct mysql);
    int rc = sql_open(t, spec, &self->sql, &mysql_library);

    t->self = self;
    if (rc == 0)
        rc = read_settings(self);
    return rc < 0 ? rc : client_get_query(&self->sql.client, &self->sql.query);
}

static int32_t mysql_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    struct mysql *self = t->self;

    return sql_lookup(&self->sql, key, out, val);
}

PH_PLUGIN_TABLE(mysql, PH_IS(.summary = "MySQL or MariaDB database", .exec = PH_BLOCKING, .concurrency = PH_ONE_CALL),
    .open = mysql_open,
    .lookup = mysql_lookup);
