/* sql: hosts of an SQL table, and asking them.  See sql.h. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <posthorn/task.h>
#include "sql.h"

int64_t sql_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int sql_fail(int code, const char *words)
{
    char line[400];
    size_t n = 0;

    for (; *words && n < sizeof line - 1; words++)
        line[n++] = (unsigned char)*words < ' ' ? ' ' : *words;
    ph_str text = ph_str_trim((ph_str){ line, n });
    return ph_fail(code, "%.*s", PH_FMT(text.n ? text : PH_STR("the client library does not say why")));
}

const char *sql_setting(struct sql *s, const char *name, const char *def)
{
    ph_str v = client_get(&s->client, name, def);

    return v.n ? ph_cstr_dup(s->client.table->scope, v) : NULL;
}

/* host, host:port, [address]:port. */
static int parse_inet(struct ph_scope *scope, ph_str text, struct sql_host *h)
{
    ph_str host = text, port = PH_STR("");
    ptrdiff_t end;
    uint64_t n = 0;

    if (text.n && text.p[0] == '[' && (end = ph_str_find(text, ']')) > 0) {
        host = ph_str_first(ph_str_from(text, 1), (size_t)end - 1);
        port = ph_str_from(text, (size_t)end + 1);
    } else if ((end = ph_str_find(text, ':')) >= 0 && end == ph_str_rfind(text, ':')) {
        host = ph_str_first(text, (size_t)end);
        port = ph_str_from(text, (size_t)end);
    }
    if (host.n == 0 || (port.n && (port.p[0] != ':' || !ph_str_u64(ph_str_from(port, 1), &n) || n < 1 || n > 65535)))
        return ph_fail(PH_CONF, "hosts: \"%s\" is not unix:/path, inet:host or inet:host:port", h->name);
    h->address = ph_cstr_dup(scope, host);
    h->port = (unsigned)n;
    return 0;
}

static int parse_host(struct ph_scope *scope, ph_str text, struct sql_host *h)
{
    if (text.n > 1 && text.p[0] == '{')            /* a URI with commas */
        text = ph_str_trim(ph_str_first(ph_str_from(text, 1), text.n - 2));
    h->name = h->address = ph_cstr_dup(scope, text);
    if (ph_str_search(text, PH_STR("://")) >= 0) {
        h->kind = SQL_URI;
        /* Passwords stay out of the log. */
        ph_str shown = ph_str_cut(&text, '?');
        shown = ph_str_from(shown, (size_t)(ph_str_rfind(shown, ph_str_find(shown, '@') < 0 ? '/' : '@') + 1));
        h->name = shown.n ? ph_cstr_dup(scope, shown) : "server by URI";
        return 0;
    }
    int is_unix = ph_str_starts_nocase(text, PH_STR("unix:"));
    if (is_unix || ph_str_starts_nocase(text, PH_STR("inet:")))
        text = ph_str_from(text, 5);
    if (!is_unix && !(text.n && text.p[0] == '/'))
        return parse_inet(scope, text, h);
    if (text.n == 0 || text.p[0] != '/')
        return ph_fail(PH_CONF, "hosts: \"%s\": the path of a socket begins with /", h->name);
    h->kind = SQL_UNIX;
    h->address = ph_cstr_dup(scope, text);
    return 0;
}

static int read_hosts(struct sql *s, struct ph_scope *scope)
{
    ph_str list = client_get(&s->client, "hosts", "localhost"), item;
    int rc = 0;

    if (ph_str_trim(list).n == 0)
        list = PH_STR("localhost");
    s->hosts = ph_alloc_array(scope, SQL_HOSTS_MAX, sizeof *s->hosts);
    while (rc == 0 && (item = ph_str_list(&list)).n) {
        if (s->count == SQL_HOSTS_MAX)
            return ph_fail(PH_CONF, "hosts: more than %d", SQL_HOSTS_MAX);
        rc = parse_host(scope, item, &s->hosts[s->count++]);
    }
    return rc;
}

void sql_disconnect(struct sql *s, struct sql_host *h)
{
    if (h->link)
        s->library->disconnect(h);
    h->link = NULL;
}

static void close_all(void *arg)
{
    struct sql *s = arg;

    for (size_t i = 0; i < s->count; i++)
        sql_disconnect(s, &s->hosts[i]);
}

int sql_open(struct ph_table *t, ph_str spec, struct sql *s, const struct sql_library *library)
{
    int64_t timeout = 0, idle = 0, retry = 0;
    int rc = client_open(t, spec, &s->client);

    s->library = library;
    if (rc < 0 || (rc = client_get_i64(&s->client, "timeout", 10, 1, 3600, &timeout)) < 0 || (rc = client_get_i64(&s->client, "idle_interval", 60, 1, INT32_MAX, &idle)) < 0 ||
        (rc = client_get_i64(&s->client, "retry_interval", 60, 1, INT32_MAX, &retry)) < 0 || (rc = read_hosts(s, t->scope)) < 0)
        return rc;
    s->timeout_ms = timeout * 1000;
    s->idle_ms = idle * 1000;
    s->retry_ms = retry * 1000;
    ph_defer(t->scope, close_all, s);
    return 0;
}

static int64_t in_time(const struct sql *s)
{
    int64_t own = sql_now_ms() + s->timeout_ms, callers = ph_deadline();

    return callers < own ? callers : own;
}

static int attempt(struct sql *s, struct sql_host *h, ph_str key, struct ph_buf *answer, int64_t *count)
{
    int rc = h->link ? 0 : s->library->connect(s, h, in_time(s));

    ph_buf_reset(answer);          /* of what an earlier attempt left */
    *count = 0;
    if (rc == 0) {
        rc = s->library->ask(s, h, key, answer, count, in_time(s));
        h->used_ms = sql_now_ms();
    }
    if (rc == PH_EOF || rc == PH_TIMEOUT)
        sql_disconnect(s, h);
    return rc;
}

static int try_host(struct sql *s, struct sql_host *h, ph_str key, struct ph_buf *answer, int64_t *count)
{
    if (h->link && sql_now_ms() - h->used_ms > s->idle_ms)
        sql_disconnect(s, h);
    int is_kept = h->link != NULL, rc = attempt(s, h, key, answer, count);

    if (rc == PH_EOF && is_kept)
        rc = attempt(s, h, key, answer, count);
    if (rc < 0)
        ph_wrap(rc, "%s", h->name);
    if ((rc == PH_EOF || rc == PH_TIMEOUT) && s->count > 1) {
        size_t n = strlen(ph_error());

        n = n < sizeof h->why ? n : sizeof h->why - 1;
        memcpy(h->why, ph_error(), n);
        h->why[n] = 0;
        h->aside_ms = sql_now_ms() + s->retry_ms;
        ph_log_warn("%.*s: not asked for %lld s: %s", PH_FMT(s->client.name), (long long)(s->retry_ms / 1000), h->why);
    }
    return rc;
}

/* Those that may be asked, in turn: how many. */
static size_t arrange(struct sql *s, struct sql_host **turn)
{
    int64_t now = sql_now_ms();
    uint16_t dice[SQL_HOSTS_MAX] = { 0 };
    size_t n = 0, at;

    if (s->count > 1 && getrandom(dice, sizeof dice, GRND_NONBLOCK) < 0)
        ph_log_warn("no random numbers: hosts are asked in their order");
    for (size_t i = 0; i < s->count; i++) {
        struct sql_host *h = &s->hosts[i];

        if (h->aside_ms > now)
            continue;
        h->order = (h->link ? 0u : h->kind == SQL_UNIX ? 1u : 2u) << 16 | dice[i];
        for (at = n++; at > 0 && turn[at - 1]->order > h->order; at--)
            turn[at] = turn[at - 1];
        turn[at] = h;
    }
    return n;
}

int sql_lookup(struct sql *s, ph_str key, struct ph_scope *out, ph_str *val)
{
    struct sql_host *turn[SQL_HOSTS_MAX];
    struct ph_buf answer;
    int64_t count = 0;
    int rc = client_wants(&s->client, key);

    if (rc != PH_FOUND)
        return rc;
    if (!client_has_parts(s->query, key))
        return PH_NONE;
    size_t n = arrange(s, turn);
    ph_buf_init(&answer, out, CLIENT_ANSWER_MAX);
    rc = n ? PH_EOF : ph_fail(PH_TEMP, "all servers are set aside; %s", s->hosts[0].why);
    for (size_t i = 0; i < n && rc < 0 && (i == 0 || sql_now_ms() < ph_deadline()); i++)
        rc = try_host(s, turn[i], key, &answer, &count);
    if (rc < 0)
        return rc == PH_CONF ? rc : PH_TEMP;       /* PH_EOF is the server's end, not that of whoever our caller talks to */
    return rc == 0 ? client_answer(&answer, val) : PH_NONE;
}
