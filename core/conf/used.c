/* used: which names the values of a configuration refer to.
 *
 * A name is used when a value refers to it as $name, when it is a class of restrictions, or
 * when it is a setting of a table that keeps its settings in main.cf ("mysql:users":
 * users_hosts).  What is set by a service is used there, all else in what it stands on.
 * Tables that keep them in a file of their own ("mysql:/etc/x.cf") are looked at, too. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "core/conf/internal.h"

/* Types of tables and what can be set of each: their own manual pages, and Postfix's. */
#define SQL_SETTINGS "query result_format domain expansion_limit table select_field where_field additional_conditions "
#define SERVER_SETTINGS SQL_SETTINGS "hosts user password dbname timeout idle_interval retry_interval "

static const struct table_type {
    const char *name, *settings;
} table_types[] = {
    { "ldap", "server_host server_port search_base query_filter result_attribute special_result_attribute leaf_result_attribute "
              "terminal_result_attribute result_filter result_format domain scope bind bind_dn bind_pw cache cache_expiry cache_size "
              "recursion_limit size_limit expansion_limit dereference chase_referrals version debuglevel start_tls tls_ca_cert_file "
              "tls_ca_cert_dir tls_cert tls_key tls_require_cert tls_random_file tls_cipher_suite sasl_mechs sasl_realm sasl_authz_id "
              "sasl_minssf timeout" },
    { "memcache", "memcache backup flags ttl key_format line_size_limit data_size_limit max_try retry_pause timeout domain" },
    { "mysql", SERVER_SETTINGS "charset option_file option_group require_result_set tls_cert_file tls_key_file tls_CAfile tls_CApath "
               "tls_ciphers tls_verify_cert" },
    { "pgsql", SERVER_SETTINGS "encoding select_function" },
    { "redis", "hosts query result_format expansion_limit domain user password db timeout retry_interval idle_interval" },
    { "sqlite", SQL_SETTINGS "dbpath" },
};

static void use_name(struct ph_conf *c, ph_str name)
{
    struct ph_conf *where = c->base && !ph_map_get(c->entries, name) ? c->base : c;

    /* What neither sets is not that of another service. */
    if (name.n == 0 || (where != c && !ph_map_get(where->entries, name)))
        return;
    if (!where->used)
        where->used = ph_map_new(where->scope);
    ph_map_set(where->used, name, where);
}

/* Names behind '$', '${', '$('; "$$" and "${{text} == ..." refer to none. */
static void use_references(struct ph_conf *c, ph_str value)
{
    while (ph_str_find(value, '$') >= 0) {
        size_t n = 0;

        ph_str_cut(&value, '$');
        if (value.n && value.p[0] == '$') {
            value = ph_str_from(value, 1);
            continue;
        }
        if (value.n && strchr("{(", value.p[0]))
            for (value = ph_str_from(value, 1); value.n && ph_is_space(value.p[0]); )
                value = ph_str_from(value, 1);
        while (n < value.n && (ph_is_alnum(value.p[n]) || value.p[n] == '_'))
            n++;
        use_name(c, ph_str_first(value, n));
    }
}

static int is_raw(ph_str name)
{
    const struct ph_known *k = ph_known_find(name);
    const struct ph_param *row = ph_registered_find(name);

    return (k && k->type == PH_TYPE_RAW) || (row && row->type == PH_TYPE_RAW);
}

static struct ph_map *use_classes(struct ph_conf *c, struct ph_scope *step)
{
    struct ph_map *classes = ph_map_new(step);
    ph_str list, word;

    if (ph_conf_get(c, step, "smtpd_restriction_classes", &list) == PH_FOUND)
        while ((word = ph_str_token(&list, ", \t\r\n")).n) {
            ph_map_set(classes, word, classes);
            use_name(c, word);
        }
    return classes;
}

typedef int table_fn(struct ph_conf *c, const struct table_type *type, ph_str name);

/* What each "type:name" in a value, however nested, asks of fn. */
static int tables_in(struct ph_conf *c, ph_str value, table_fn *fn)
{
    ph_str token;
    int rc = 0;

    while (rc == 0 && (token = ph_str_token(&value, "{}, \t\r\n")).n) {
        while (ph_str_starts(token, PH_STR("proxy:")))
            token = ph_str_from(token, 6);
        if (ph_str_find(token, ':') < 0)
            continue;
        ph_str name = token, type = ph_str_cut(&name, ':');

        for (size_t i = 0; rc == 0 && i < sizeof table_types / sizeof *table_types; i++)
            if (ph_str_eq(type, ph_cstr(table_types[i].name)))
                rc = fn(c, &table_types[i], name);
    }
    return rc;
}

/* All tables of what c itself sets of the parameters that can name some: not what users call
 * their own, unless it is a class of restrictions; their values count where they are referred to. */
static int each_table(struct ph_conf *c, const struct ph_map *classes, table_fn *fn)
{
    PH_SCOPED(step, NULL);
    size_t at = 0;
    ph_str key, value;
    void *entry;
    int rc = 0;

    while (rc == 0 && ph_map_next(c->entries, &at, &key, &entry)) {
        const struct entry *e = entry;
        int kind = ph_conf_name_kind(c, key);

        if (is_raw(key) || (kind == PH_NAME_USER && !ph_map_get(classes, key)))
            continue;
        if (ph_conf_expand_as(c, step, key, e->value, &value) == 0)
            rc = tables_in(c, value, fn);
    }
    return rc;
}

static int use_settings(struct ph_conf *c, const struct table_type *type, ph_str name)
{
    PH_SCOPED(step, NULL);
    ph_str rest = ph_cstr(type->settings), word;

    if (name.n && strchr("/.", name.p[0]))
        return 0;
    while ((word = ph_str_word(&rest)).n)
        use_name(c, ph_str_printf(step, "%.*s_%.*s", PH_FMT(name), PH_FMT(word)));
    return 0;
}

void ph_conf_note_uses(struct ph_conf *c)
{
    PH_SCOPED(step, NULL);
    size_t at = 0;
    ph_str key;
    void *entry;

    while (ph_map_next(c->entries, &at, &key, &entry))
        if (!is_raw(key))
            use_references(c, ((const struct entry *)entry)->value);
    each_table(c, use_classes(c, step), use_settings);
}

static int is_word_of(ph_str list, ph_str wanted)
{
    ph_str word;

    while ((word = ph_str_word(&list)).n)
        if (ph_str_eq(word, wanted))
            return 1;
    return 0;
}

/* The file of a table, as a configuration of its own: 1, 0 when it was told not to be there, or negative. */
static int open_table_file(struct ph_conf *c, struct ph_scope *step, const struct table_type *type, const char *path, struct ph_conf **file)
{
    ph_str text;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc;

    if (fd < 0) {
        ph_conf_warn(c, "open \"%s\" configuration \"%s\": %s", type->name, path, strerror(errno));
        return 0;
    }
    rc = ph_conf_read_fd(step, fd, path, PH_CONF_FILE_MAX, &text);
    close(fd);
    if (rc == 0)
        rc = ph_conf_parse(step, "", path, text, file);
    return rc < 0 ? rc : 1;
}

static int check_file(struct ph_conf *c, const struct table_type *type, ph_str name)
{
    PH_SCOPED(step, NULL);
    struct ph_conf *file;
    size_t at = 0, count;
    ph_str *names, text;
    int rc;

    if (!ph_str_starts(name, PH_STR("/")))
        return 0;
    if ((rc = open_table_file(c, step, type, ph_cstr_dup(step, name), &file)) <= 0)
        return rc;
    while (ph_conf_warning(file, &at, &text))
        ph_conf_warn(c, "%.*s", PH_FMT(text));
    count = ph_conf_names(file, step, 1, &names);
    for (size_t i = 0; i < count; i++)
        if (!is_word_of(ph_cstr(type->settings), names[i]))
            ph_conf_warn(c, "%s:%.*s: unused parameter: %.*s=%.*s", type->name, PH_FMT(name), PH_FMT(names[i]), PH_FMT(ph_conf_find(file, names[i])->value));
    return 0;
}

int ph_conf_check_table_files(struct ph_conf *c)
{
    PH_SCOPED(step, NULL);

    return each_table(c, use_classes(c, step), check_file);
}
