/* table/ldap: LDAP servers, `ldap:/etc/postfix/x.cf`.
 * Reference: ldap_table(5); filters: RFC 4515, names: RFC 4514. */
#include <signal.h>
#include <string.h>
#include <time.h>
#include "ldap_table.h"

/* A list of names, ended by NULL. */
static char **read_names(struct client *c, const char *setting, const char *def)
{
    ph_str list = client_get(c, setting, def), name;
    char **names = ph_alloc_array(c->table->scope, list.n / 2 + 2, sizeof *names);
    size_t n = 0;

    while ((name = ph_str_list(&list)).n)
        names[n++] = ph_cstr_dup(c->table->scope, name);
    return names;
}

static size_t count_names(char **names)
{
    size_t n = 0;

    while (names[n])
        n++;
    return n;
}

static void read_attributes(struct client *c, struct attributes *a)
{
    char **kind[] = { read_names(c, "result_attribute", "maildrop"), read_names(c, "leaf_result_attribute", ""), read_names(c, "terminal_result_attribute", ""),
                      read_names(c, "special_result_attribute", "") };
    size_t n = 0;

    *a = (struct attributes){ .result = kind[0], .leaf = kind[1], .terminal = kind[2], .special = kind[3] };
    for (size_t i = 0; i < 4; i++)
        n += count_names(kind[i]);
    a->all = ph_alloc_array(c->table->scope, n + 2, sizeof *a->all);
    n = 0;
    for (size_t i = 0; i < 4; i++)
        for (char **name = kind[i]; *name; name++)
            a->all[n++] = *name;
    if (n == 0)                        /* none, and not "all" */
        a->all[0] = ph_cstr_dup(c->table->scope, PH_STR(LDAP_NO_ATTRS));
}

static int read_yes(struct client *c, const char *name, int def, int *out)
{
    static const char *const words[] = { "no", "yes", "0", "1", "false", "true" };
    ph_str text = client_get(c, name, def ? "yes" : "no");

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (ph_str_eq_nocase(text, ph_cstr(words[i]))) {
            *out = (int)(i & 1);
            return 0;
        }
    return ph_fail(PH_CONF, "%s: \"%.*s\" is neither yes nor no", name, PH_FMT(text));
}

static const char *get_file(struct client *c, const char *name)
{
    ph_str text = client_get(c, name, "");

    return text.n ? ph_cstr_dup(c->table->scope, text) : NULL;
}

/* EXTERNAL: as whom the server knows us by our uid (ldapi://) or our certificate.  The
 * other mechanisms need the Cyrus library, and its questions answered. */
static int read_sasl(struct client *c, struct session *s)
{
    ph_str mechs = client_get(c, "sasl_mechs", "");

    if (!ph_str_eq_nocase(mechs, PH_STR("EXTERNAL")))
        return ph_fail(PH_CONF, "bind = sasl: sasl_mechs is \"%.*s\", and only EXTERNAL is implemented yet", PH_FMT(mechs));
    if (s->version < 3)
        return ph_fail(PH_CONF, "bind = sasl needs version = 3");
    s->binds = s->is_external = 1;
    s->authz_id = ph_cstr_dup(c->table->scope, client_get(c, "sasl_authz_id", ""));
    return 0;
}

static int read_bind(struct client *c, struct session *s)
{
    ph_str how = client_get(c, "bind", "yes");

    if (ph_str_eq_nocase(how, PH_STR("sasl")))
        return read_sasl(c, s);
    s->bind_dn = ph_cstr_dup(c->table->scope, client_get(c, "bind_dn", ""));
    s->bind_pw = ph_cstr_dup(c->table->scope, client_get(c, "bind_pw", ""));
    s->binds = ph_str_eq_nocase(how, PH_STR("simple"));
    int rc = s->binds || ph_str_eq_nocase(how, PH_STR("none")) ? 0 : read_yes(c, "bind", 1, &s->binds);
    /* A name without a password would be bound as nobody, and nobody may see less. */
    return rc == 0 && s->binds && *s->bind_dn && !*s->bind_pw ? ph_fail(PH_CONF, "bind_dn is set and bind_pw is not") : rc;
}

static int read_tls(struct client *c, struct session *s)
{
    int rc;

    if ((rc = read_yes(c, "start_tls", 0, &s->starts_tls)) < 0 || (rc = read_yes(c, "tls_require_cert", 0, &s->checks_cert)) < 0)
        return rc;
    s->ca_file = get_file(c, "tls_ca_cert_file");
    s->ca_dir = get_file(c, "tls_ca_cert_dir");
    s->cert = get_file(c, "tls_cert");
    s->key = get_file(c, "tls_key");
    s->ciphers = get_file(c, "tls_cipher_suite");
    client_opens_later(c, s->ca_file, s->ca_dir);
    client_opens_later(c, s->cert, NULL);
    client_opens_later(c, s->key, NULL);
    return s->starts_tls && s->version < 3 ? ph_fail(PH_CONF, "start_tls needs version = 3") : 0;
}

/* URLs stay, hosts become some. */
static int read_uris(struct client *c, struct session *s)
{
    ph_str list = client_get(c, "server_host", "localhost"), host;
    struct ph_buf b;
    int64_t port;
    int rc = client_get_i64(c, "server_port", 389, 1, 65535, &port);

    ph_buf_init(&b, c->table->scope, 65536);
    while (rc == 0 && (host = ph_str_list(&list)).n)
        if (ph_str_search(host, PH_STR("://")) >= 0)
            ph_buf_printf(&b, "%s%.*s", b.n ? " " : "", PH_FMT(host));
        else
            ph_buf_printf(&b, ph_str_find(ph_str_from(host, (size_t)(ph_str_rfind(host, ']') + 1)), ':') < 0 ? "%sldap://%.*s:%lld" : "%sldap://%.*s", b.n ? " " : "", PH_FMT(host), (long long)port);
    s->uris = b.p;
    return rc < 0 ? rc : b.n && !b.full ? 0 : ph_fail(PH_CONF, "server_host names no server");
}

static int read_session(struct client *c, struct session *s)
{
    int rc;

    if ((rc = client_get_i64(c, "timeout", 10, 1, 3600, &s->timeout_s)) < 0 || (rc = client_get_i64(c, "size_limit", c->expansion_limit, 0, INT32_MAX, &s->size_limit)) < 0 ||
        (rc = client_get_i64(c, "dereference", 0, 0, 3, &s->deref)) < 0 || (rc = client_get_i64(c, "version", 2, 2, 3, &s->version)) < 0 || (rc = read_yes(c, "chase_referrals", 0, &s->chases)) < 0 ||
        (rc = read_bind(c, s)) < 0 || (rc = read_tls(c, s)) < 0)
        return rc;
    return read_uris(c, s);
}

static int read_scope(struct client *c, int *scope)
{
    static const struct { const char *name; int scope; } known[] = { { "sub", LDAP_SCOPE_SUBTREE }, { "base", LDAP_SCOPE_BASE }, { "one", LDAP_SCOPE_ONELEVEL } };
    ph_str text = client_get(c, "scope", "sub");

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (ph_str_eq_nocase(text, ph_cstr(known[i].name))) {
            *scope = known[i].scope;
            return 0;
        }
    return ph_fail(PH_CONF, "scope: \"%.*s\" is none of sub, base, one", PH_FMT(text));
}

static int read_search(struct ldap_table *self)
{
    struct client *c = &self->client;
    int rc;

    self->base = client_get(c, "search_base", "");
    self->filter = client_get(c, "query_filter", "mailacceptinggeneralid=%s");
    if (!self->base.n)
        return ph_fail(PH_CONF, "%.*s: search_base is not set", PH_FMT(c->name));
    self->base_is_fixed = ph_str_find(self->base, '%') < 0;
    if (client_get(c, "result_format", "").n == 0 && client_get(c, "result_filter", "").n)     /* its name in older days */
        c->result_format = client_get(c, "result_filter", "");
    if ((rc = client_check_template("search_base", self->base)) < 0 || (rc = client_check_template("query_filter", self->filter)) < 0 ||
        (rc = client_check_template("result_filter", c->result_format)) < 0 || (rc = client_get_i64(c, "recursion_limit", 1000, 1, INT32_MAX, &self->recursion_limit)) < 0)
        return rc;
    read_attributes(c, &self->attr);
    return read_scope(c, &self->scope);
}

static void ldap_close(void *arg)
{
    session_close(arg);
}

static int32_t ldap_open_table(struct ph_table *t, ph_str spec)
{
    struct ldap_table *self = ph_new(t->scope, struct ldap_table);
    int rc;

    t->self = self;
    if ((rc = client_open(t, spec, &self->client)) < 0 || (rc = read_search(self)) < 0 || (rc = read_session(&self->client, &self->session)) < 0)
        return rc;
    ph_defer(t->scope, ldap_close, &self->session);
    return 0;
}

/* RFC 4515 3. */
static int quote_filter(void *arg PH_UNUSED, ph_str in, struct ph_buf *out)
{
    for (size_t i = 0; i < in.n; i++)
        if (in.p[i] == 0 || strchr("*()\\", in.p[i]))
            ph_buf_printf(out, "\\%02X", (unsigned)(unsigned char)in.p[i]);
        else
            ph_buf_putc(out, in.p[i]);
    return !out->full;
}

/* RFC 4514 2.4: as hexadecimal digits whatever has, or could have, a meaning. */
static int quote_name(void *arg PH_UNUSED, ph_str in, struct ph_buf *out)
{
    for (size_t i = 0; i < in.n; i++)
        if ((unsigned char)in.p[i] <= 0x20 || in.p[i] == 0x7f || strchr(",+\"\\<>;=#", in.p[i]))
            ph_buf_printf(out, "\\%02X", (unsigned)(unsigned char)in.p[i]);
        else
            ph_buf_putc(out, in.p[i]);
    return !out->full;
}

static int walk(struct walk *w, const char *base, const char *filter)
{
    struct session *s = &w->table->session;
    int was_open = s->ld != NULL, rc;

    ph_buf_reset(&w->answer);
    w->count = 0;
    w->searches = 0;
    w->is_lost = 0;
    if ((rc = session_open(s)) == 0 && (rc = walk_search(w, base, filter)) < 0)
        session_close(s);
    return rc < 0 && was_open && w->is_lost ? walk(w, base, filter) : rc;      /* once: it is not open now */
}

/* The library writes to connections that the server may have closed, and not every
 * program that holds us ignores SIGPIPE. */
static int walk_quietly(struct walk *w, const char *base, const char *filter)
{
    sigset_t pipe, old, waiting;

    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    sigpending(&waiting);
    pthread_sigmask(SIG_BLOCK, &pipe, &old);
    int rc = walk(w, base, filter);
    if (!sigismember(&waiting, SIGPIPE))
        (void)sigtimedwait(&pipe, NULL, &(struct timespec){ 0 });
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

static int32_t ldap_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    struct ldap_table *self = t->self;
    struct walk w = { .table = self, .key = key, .out = out };
    struct ph_buf base, filter;
    int rc = client_wants(&self->client, key);

    if (rc != PH_FOUND)
        return rc;
    ph_buf_init(&base, out, CLIENT_ANSWER_MAX);
    ph_buf_init(&filter, out, CLIENT_ANSWER_MAX);
    ph_buf_init(&w.answer, out, CLIENT_ANSWER_MAX);
    if (!client_expand(self->base, key, quote_name, NULL, &base) || !client_expand(self->filter, key, quote_filter, NULL, &filter))
        return base.full || filter.full ? ph_fail(PH_TEMP, "the key is too long") : PH_NONE;
    if ((rc = walk_quietly(&w, base.p, filter.p)) < 0)
        return rc;
    return client_answer(&w.answer, val);
}

PH_PLUGIN_TABLE(ldap, PH_IS(.summary = "LDAP servers", .exec = PH_BLOCKING, .concurrency = PH_ONE_CALL),
    .open = ldap_open_table,
    .lookup = ldap_lookup);
