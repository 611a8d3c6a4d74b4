/* client: settings of tables with a database behind them.  See client.h. */
#include <posthorn/source.h>
#include "client.h"

static int is_one_word(ph_str s)
{
    ph_str rest = s;

    return s.n > 0 && ph_str_word(&rest).n == s.n;
}

static int read_file(struct ph_table *t, struct client *c)
{
    struct ph_source src;
    uint32_t number;
    ph_str line;
    int rc = ph_table_source(t, c->name, &src);

    c->set = ph_map_new(t->scope);
    while (rc >= 0 && ph_source_next(&src, &line, &number)) {
        ph_str *value = ph_new(t->scope, ph_str), name;

        ph_str text = line;
        int has_value = ph_str_find(line, '=') > 0;

        name = ph_str_trim(ph_str_cut(&line, '='));
        if (!has_value || !is_one_word(name))
            return ph_fail(PH_CONF, "%s, line %u: expected name = value: \"%.*s\"", src.path, number, PH_FMT(ph_str_first(text, 100)));
        *value = ph_str_trim(line);
        if (ph_map_set(c->set, name, value))
            ph_log_warn("%s, line %u: %.*s is set again: this value counts", src.path, number, PH_FMT(name));
    }
    return rc;
}

ph_str client_get(struct client *c, const char *name, const char *def)
{
    struct ph_table *t = c->table;
    const ph_str *v = c->set ? ph_map_get(c->set, ph_cstr(name)) : NULL;
    ph_str found;

    if (v)
        return *v;
    if (!c->set && t->conf && ph_conf_get(t->conf, t->scope, ph_str_printf(t->scope, "%.*s_%s", PH_FMT(c->name), name).p, &found) == PH_FOUND)
        return found;
    return ph_cstr(def);
}

int client_get_i64(struct client *c, const char *name, int64_t def, int64_t min, int64_t max, int64_t *out)
{
    ph_str text = client_get(c, name, "");
    int64_t v = def;

    if (text.n && (!ph_str_i64(text, &v) || v < min || v > max))
        return ph_fail(PH_CONF, "%s: \"%.*s\" is no number from %lld to %lld", name, PH_FMT(text), (long long)min, (long long)max);
    *out = v;
    return 0;
}

int client_get_query(struct client *c, ph_str *query)
{
    ph_str q = client_get(c, "query", ""), table, select, where;

    if (q.n == 0) {
        table = client_get(c, "table", "");
        select = client_get(c, "select_field", "");
        where = client_get(c, "where_field", "");
        if (table.n == 0 || select.n == 0 || where.n == 0)
            return ph_fail(PH_CONF, "%.*s: query is not set", PH_FMT(c->name));
        q = ph_str_printf(c->table->scope, "SELECT %.*s FROM %.*s WHERE %.*s = '%%s' %.*s", PH_FMT(select), PH_FMT(table), PH_FMT(where),
                          PH_FMT(client_get(c, "additional_conditions", "")));
    }
    *query = q;
    return client_check_template("query", q);
}

static int read_common(struct ph_table *t, struct client *c)
{
    ph_str domains = client_get(c, "domain", "");
    int rc = client_get_i64(c, "expansion_limit", 0, 0, INT32_MAX, &c->expansion_limit);

    c->result_format = client_get(c, "result_format", "%s");
    if (rc == 0 && c->result_format.n == 0)
        rc = ph_fail(PH_CONF, "%.*s: bad string length 0 < 1: result_format = ", PH_FMT(c->name));
    if (rc == 0)
        rc = client_check_template("result_format", c->result_format);
    if (rc == 0 && domains.n)
        rc = ph_match_open(t->conf, t->scope, "domain", domains, PH_MATCH_STRING, &c->domains);
    return rc;
}

int client_open(struct ph_table *t, ph_str spec, struct client *c)
{
    int rc = 0;

    *c = (struct client){ .table = t, .name = ph_str_dup(t->scope, spec) };
    if (spec.n == 0)
        return ph_fail(PH_CONF, "the name of a file must follow the colon");
    if (spec.p[0] == '/' || spec.p[0] == '.')
        rc = read_file(t, c);
    return rc < 0 ? rc : read_common(t, c);
}

void client_opens_later(const struct client *c, const char *file, const char *directory)
{
    PH_SCOPED(s, c->table->scope);

    if (file)
        ph_reopen_later(file);
    if (directory)
        ph_reopen_later(ph_str_printf(s, "%s/any", directory).p);
}

int client_wants(const struct client *c, ph_str key)
{
    ptrdiff_t at = ph_str_rfind(key, '@');

    if (key.n == 0 || ph_str_find(key, 0) >= 0)
        return PH_NONE;
    if (!c->domains)
        return PH_FOUND;
    return at < 1 ? PH_NONE : ph_match(c->domains, ph_str_from(key, (size_t)at + 1), PH_STR(""));
}
