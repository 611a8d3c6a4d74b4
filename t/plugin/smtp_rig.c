/* t/plugin/smtp_rig.c: see smtp_rig.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <posthorn/address.h>
#include <posthorn/dns.h>
#include "t/plugin/smtp_rig.h"

extern const struct ph_transport_plugin transport_smtp_LTX_ph_plugin, transport_lmtp_LTX_ph_plugin;

struct rig rig;
const char *rig_zone = "";
int rig_bind_fails;
int (*rig_dial)(struct ph_scope *s, ph_str where, struct ph_stream **io);
void (*rig_serve)(struct ph_stream *io);

static const struct server *servers;
static int64_t connect_order[16];
static struct ph_scope *server_scope;
static const char *message_text;

/* --- what the plugin calls, in place of the core's --- */

__attribute__((format(printf, 3, 4)))
static void add(char *to, size_t size, const char *fmt, ...)
{
    va_list ap;
    size_t n = strlen(to);

    va_start(ap, fmt);
    vsnprintf(to + n, size - n, fmt, ap);
    va_end(ap);
}

void ph_log(const char *fmt, ...)
{
    char line[2048];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    add(rig.log, sizeof rig.log, "%s\n", line);
}

void ph_log_warn(const char *fmt, ...)
{
    char line[2048];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    add(rig.log, sizeof rig.log, "warning: %s\n", line);
}

void ph_delivered(struct ph_delivery *d, uint32_t i, const struct ph_outcome *o)
{
    static const char *const words[] = { "?", "sent", "bounced", "deferred" };

    rig.said[i % 26]++;
    add(rig.outcomes, sizeof rig.outcomes, "%.*s %s relay=%.*s dsn=%.*s%s", PH_FMT(ph_str_first(d->rcpt[i].address, 1)), words[o->status],
        PH_FMT(o->relay), PH_FMT(o->dsn), o->dead_site ? " dead" : "");
    if (o->conn_use > 1)
        add(rig.outcomes, sizeof rig.outcomes, " use=%u", o->conn_use);
    add(rig.outcomes, sizeof rig.outcomes, " (%.*s)\n", PH_FMT(o->text));
    add(rig.details, sizeof rig.details, "%.*s action=%.*s%s remote=%.*s;%.*s diagnostic=%.*s;%.*s\n", PH_FMT(ph_str_first(d->rcpt[i].address, 1)), PH_FMT(o->action),
        o->next_reports ? " next_reports" : "",
        PH_FMT(o->remote_mta_type), PH_FMT(o->remote_mta), PH_FMT(o->diagnostic_type), PH_FMT(o->diagnostic));
    d->rcpt[i].state = o->status;
}

int ph_delivery_pass(struct ph_delivery *d, uint32_t i, const struct ph_recipient *member, const char *transport, ph_str nexthop)
{
    if (strcmp(transport, "local") != 0)
        return ph_fail(PH_CONF, "no service \"%s\"", transport);
    add(rig.outcomes, sizeof rig.outcomes, "%.*s passed to %s:%.*s\n", PH_FMT(member->address), transport, PH_FMT(nexthop));
    d->rcpt[i].state = PH_RCPT_SENT;
    return 0;
}

void ph_delivered_members(struct ph_delivery *d PH_UNUSED, uint32_t i PH_UNUSED, const char *action PH_UNUSED, const char *text PH_UNUSED)
{
}

uint64_t ph_message_bytes(const struct ph_message *m)
{
    return m->header_bytes + m->body_bytes;   /* the empty line counts as body here */
}

int64_t ph_message_read(const struct ph_message *m, uint64_t offset, void *p, size_t n)
{
    size_t left = (size_t)(m->header_bytes + m->body_bytes - offset);

    if (m->fd == -2)
        return ph_fail(PH_TEMP, "read: Input/output error");
    if (n > left)
        n = left;
    memcpy(p, message_text + offset, n);
    return (int64_t)n;
}

/* Names: "mx.test" MX 10 m1, 20 m2; m1 is 10.0.0.1, m2 is 10.0.0.2 and so on. */
/* --- names --- */

static int fails(struct ph_dns_answer *a, ph_str value)
{
    static const struct { const char *word; uint32_t why; int rc; } known[] = {
        { "NXDOMAIN", PH_DNS_NXDOMAIN, PH_NONE }, { "NODATA", PH_DNS_NODATA, PH_NONE }, { "TEMP", PH_DNS_TEMP, PH_TEMP }, { "BAD", PH_DNS_BAD, PH_PERM },
    };

    for (size_t i = 0; i < 4; i++)
        if (ph_str_eq(value, ph_cstr(known[i].word))) {
            a->why = known[i].why;
            return known[i].rc;
        }
    return 0;
}

static void add_record(struct ph_dns_answer *a, ph_str value, int mx)
{
    if (!mx) {
        ph_assert(ph_ip_parse(value, &a->ip[a->count++]));
        return;
    }
    uint64_t preference = 0;
    ph_str_u64(ph_str_word(&value), &preference);
    a->mx[a->count++] = (struct ph_dns_mx){ .host = value, .preference = (uint32_t)preference };
}

/* The records of that name and type, in the order of the zone. */
static int query(struct ph_scope *s, ph_str name, const char *type, struct ph_dns_answer *a)
{
    int exists = 0, rc, mx = strcmp(type, "MX") == 0;
    ph_str zone = ph_cstr(rig_zone);

    memset(a, 0, sizeof *a);
    a->ip = ph_alloc_array(s, 200, sizeof *a->ip);
    a->mx = ph_alloc_array(s, 200, sizeof *a->mx);
    add(rig.queries, sizeof rig.queries, "%s %.*s\n", type, PH_FMT(name));
    for (ph_str line; (line = ph_str_cut(&zone, '\n')).n || zone.n; ) {
        if (!ph_str_eq(ph_str_word(&line), name))
            continue;
        exists = 1;
        if (!ph_str_eq(ph_str_word(&line), ph_cstr(type)))
            continue;
        if ((rc = fails(a, line)))
            return rc;
        add_record(a, line, mx);
    }
    if (a->count)
        return PH_FOUND;
    a->why = exists ? PH_DNS_NODATA : PH_DNS_NXDOMAIN;
    return PH_NONE;
}

int ph_dns_find_mx(struct ph_scope *s, ph_str domain, struct ph_dns_answer *a)
{
    return query(s, domain, "MX", a);
}

int ph_dns_find_a(struct ph_scope *s, ph_str host, struct ph_dns_answer *a)
{
    return query(s, host, "A", a);
}

int ph_dns_find_aaaa(struct ph_scope *s, ph_str host, struct ph_dns_answer *a)
{
    return query(s, host, "AAAA", a);
}

int ph_host_find(struct ph_scope *s, ph_str host, struct ph_dns_answer *a)
{
    return query(s, host, "HOST", a);
}

/* A table is lines of "key=value"; the value FAIL is a table that does not work. */
int ph_maps_find(struct ph_maps *m, ph_str key, struct ph_scope *out, ph_str *val)
{
    ph_str lines = ph_cstr((const char *)(const void *)m);

    for (ph_str line; (line = ph_str_cut(&lines, '\n')).n || lines.n; ) {
        ph_str k = ph_str_cut(&line, '=');

        if (!ph_str_eq(k, key))
            continue;
        if (ph_str_eq(line, PH_STR("FAIL")))
            return ph_fail(PH_TEMP, "the table is broken");
        *val = ph_str_dup(out, line);
        return PH_FOUND;
    }
    return PH_NONE;
}

/* Our domain is my.test, and our origin origin.test. */
int ph_address_map_one(struct ph_address_map *m, struct ph_scope *s, ph_str address, ph_str *out)
{
    struct ph_maps *table = (struct ph_maps *)(void *)m;
    ph_str user, domain, value;
    int rc = ph_maps_find(table, address, s, &value);

    ph_address_split(address, &user, &domain);
    if (rc == PH_NONE && ph_str_eq(domain, PH_STR("my.test")))
        rc = ph_maps_find(table, user, s, &value);
    if (rc == PH_NONE)
        rc = ph_maps_find(table, ph_str_printf(s, "@%.*s", PH_FMT(domain)), s, &value);
    if (rc != PH_FOUND)
        return rc;
    *out = value.p[0] == '@' ? ph_str_printf(s, "%.*s%.*s", PH_FMT(user), PH_FMT(value))
                             : ph_str_find(value, '@') < 0 ? ph_str_printf(s, "%.*s@origin.test", PH_FMT(value)) : value;
    return PH_FOUND;
}

/* --- the servers --- */

struct serving {
    struct ph_stream *io;
    struct ph_scope *scope;
    const char *script;
    ph_str ip;
};

static void complain(struct serving *v, const char *want, ph_str got)
{
    add(rig.complaints, sizeof rig.complaints, "%.*s: want \"%s\" got \"%.*s\"\n", PH_FMT(v->ip), want, PH_FMT(got));
}

static int read_content(struct ph_stream *io)
{
    ph_str line;
    int rc;

    while ((rc = ph_stream_line(io, 0, &line)) > 0 && !ph_str_eq(line, PH_STR(".")))
        add(rig.content, sizeof rig.content, "%.*s%s", PH_FMT(line), rc == PH_LINE_CRLF ? "|" : "<LF>");
    if (rc > 0)
        add(rig.content, sizeof rig.content, "\n");
    return rc < 0 ? rc : 0;
}

static int read_bytes(struct ph_stream *io, size_t n)
{
    char waste[1024];
    int rc = 0;

    for (size_t k; rc >= 0 && n; n -= k) {
        k = n < sizeof waste ? n : sizeof waste;
        rc = ph_stream_read(io, waste, k);
    }
    return rc;
}

/* A chunk, shown as read_content shows lines. */
static int keep_bytes(struct ph_stream *io, size_t n)
{
    char c;
    int rc = 0;

    while (n-- && (rc = ph_stream_read(io, &c, 1)) >= 0)
        if (c != '\r')
            add(rig.content, sizeof rig.content, "%c", c == '\n' ? '|' : c);
    if (rc >= 0)
        add(rig.content, sizeof rig.content, "\n");
    return rc;
}

static int send_text(struct ph_stream *io, const char *text, size_t n, int end)
{
    for (size_t i = 0; i < n; i++) {
        char c = text[i];

        if (c == '\\' && i + 1 < n) {
            c = text[++i];
            c = c == 'r' ? '\r' : c == 'n' ? '\n' : c == 't' ? '\t' : c;
        }
        ph_stream_write(io, &c, 1);
    }
    return end ? ph_stream_str(io, PH_STR("\r\n")) : 0;
}

/* One step; < 0 ends the script. */
static int step(struct serving *v, const char *s, size_t n)
{
    char want[256], waste[512];
    ph_str line;
    int rc;

    if (*s == '>' || *s == '+')
        return send_text(v->io, s + 1, n - 1, *s == '>');
    if ((rc = ph_stream_flush(v->io)) < 0)
        return rc;
    if (*s == '.')
        return read_content(v->io);
    if (*s == '~')
        return ph_sleep_until(ph_in_ms(atoi(s + 1)));
    if (*s == 'r')
        return read_bytes(v->io, (size_t)atoi(s + 1));
    if (*s == 'b')
        return keep_bytes(v->io, (size_t)atoi(s + 1));
    if (*s == 'z')
        return ph_stream_read(v->io, waste, sizeof waste);
    snprintf(want, sizeof want, "%.*s", (int)n - 1, s + 1);
    if ((rc = ph_stream_line(v->io, 0, &line)) < 0)
        line = PH_STR("(nothing)");
    if (*s == '=' ? !ph_str_eq(line, ph_cstr(want)) : !ph_str_starts(line, ph_cstr(want)))
        complain(v, want, line);
    return rc;
}

static void serve(void *arg)
{
    struct serving *v = arg;
    int rc = 0;

    for (const char *s = v->script; *s && rc >= 0;) {
        const char *end = strchr(s, '\n');

        rc = step(v, s, end ? (size_t)(end - s) : strlen(s));
        s = end ? end + 1 : s + strlen(s);
    }
    ph_stream_flush(v->io);
    ph_stream_close(v->io);
}

static void serve_anyhow(void *arg)
{
    struct serving *v = arg;

    rig_serve(v->io);
}


static int dial(struct ph_scope *s, ph_str where, struct ph_stream **io)
{
    if (rig_dial)
        return rig_dial(s, where, io);
    struct serving *v = ph_new(server_scope, struct serving);

    v->ip = ph_str_dup(server_scope, where);
    if (rig_serve) {
        rig.connects++;
        ph_stream_pair(s, server_scope, 0, io, &v->io);
        return ph_spawn(rig.servers, "server", serve_anyhow, v);
    }
    for (unsigned i = 0; i < 6 && servers[i].ip; i++) {
        if (connect_order[i] || !ph_str_eq(v->ip, ph_cstr(servers[i].ip)))
            continue;
        connect_order[i] = ++rig.connects;
        if (strcmp(servers[i].script, REFUSE) == 0)
            return ph_fail(PH_TEMP, "Connection refused");
        v->script = servers[i].script;
        ph_stream_pair(s, server_scope, 0, io, &v->io);
        return ph_spawn(rig.servers, "server", serve, v);
    }
    add(rig.complaints, sizeof rig.complaints, "unexpected connection to %.*s\n", PH_FMT(v->ip));
    return ph_fail(PH_TEMP, "Connection refused");
}

int ph_dial_ip(struct ph_scope *s, const struct ph_ip *ip, unsigned port PH_UNUSED, const struct ph_ip *bind,
               int64_t deadline PH_UNUSED, struct ph_stream **io)
{
    if (bind)
        add(rig.binds, sizeof rig.binds, "%.*s ", PH_FMT(ph_ip_format(s, bind)));
    if (bind && rig_bind_fails)
        return ph_fail(rig_bind_fails, "bind to the source address: Cannot assign requested address");
    return dial(s, ph_ip_format(s, ip), io);
}

int ph_dial_unix(struct ph_scope *s, const char *path, int64_t deadline PH_UNUSED, struct ph_stream **io)
{
    int rc = dial(s, ph_cstr(path), io);

    return rc < 0 ? ph_fail(rc, "connect to %s: No such file or directory", path) : rc;
}

/* --- cases --- */

void we_are(struct smtp *self, const char *ip)
{
    static struct ph_ip own;

    self->ours = &own;
    self->our_count = ph_ip_parse(ph_cstr(ip), &own) ? 1 : 0;
}

void rig_agent(struct smtp *self, struct ph_scope *s)
{
    memset(self, 0, sizeof *self);
    self->scope = s;
    self->port = 25;
    self->use_ipv4 = 1;
    self->hostname = PH_STR("my.test");
    self->header_tokens = 10240;
    self->queue_directory = PH_STR("/queue");
    self->p = (struct smtp_params){
        .helo_name = PH_STR("me.test"), .address_preference = PH_STR("any"), .host_lookup = PH_STR("dns"),
        .pix_workarounds = PH_STR("disable_esmtp,delay_dotcrlf"),
        .connect_timeout = 30, .helo_timeout = 30, .mail_timeout = 30, .rcpt_timeout = 30, .data_init_timeout = 30, .xforward_timeout = 30,
        .data_xfer_timeout = 30, .data_done_timeout = 30, .rset_timeout = 30, .quit_timeout = 30, .pix_threshold = 500, .pix_delay = 1,
        .cache_time_limit = 2, .reuse_time_limit = 300, .address_limit = 5, .session_limit = 2, .line_length_limit = 998, .min_data_rate = 500,
        .mime_nesting = 100, .mime_boundary = 2048,
        .always_ehlo = 1, .skip_4xx = 1, .skip_5xx = 1, .skip_quit = 1, .cache_on_demand = 1, .quote_envelope = 1, .balance = 1,
    };
    smtp_pool_init(self);
}

struct ph_delivery *rig_delivery(struct ph_scope *s, const char *nexthop, uint32_t rcpts, const char *text)
{
    struct ph_delivery *d = ph_new(s, struct ph_delivery);

    d->scope = s;
    d->message = ph_new(s, struct ph_message);
    d->message->header_bytes = strlen(text);
    d->message->queue_id = PH_STR("Q1");
    d->message->sender = PH_STR("s@x.test");
    d->nexthop = ph_cstr(nexthop);
    d->rcpt = ph_alloc_array(s, rcpts, sizeof *d->rcpt);
    d->rcpt_count = rcpts;
    for (uint32_t i = 0; i < rcpts; i++)
        d->rcpt[i].address = ph_str_printf(s, "%c@x.test", 'a' + (int)i);
    message_text = text;
    return d;
}

void rig_forget(const struct server *s)
{
    memset(&rig, 0, sizeof rig);
    memset(connect_order, 0, sizeof connect_order);
    servers = s;
}

int rig_deliver(struct smtp *self, struct ph_delivery *d)
{
    struct ph_transport t = { .scope = self->scope, .self = self, .service = self->lmtp ? "lmtp" : "smtp" };

    d->transport = &t;
    return (self->lmtp ? &transport_lmtp_LTX_ph_plugin : &transport_smtp_LTX_ph_plugin)->deliver(&t, d);
}

void rig_start(struct ph_scope *s)
{
    server_scope = ph_scope_new(s);
    rig.servers = ph_group_new(server_scope);
}
int rig_case(const struct test *t, int lmtp)
{
    PH_SCOPED(s, NULL);
    struct smtp self;
    struct ph_delivery *d = rig_delivery(s, t->nexthop, t->rcpts, "Subject: x\r\n\r\nhello\r\n");

    rig_forget(t->servers);
    rig_agent(&self, s);
    self.lmtp = lmtp;
    rig_start(s);
    if (t->setup)
        t->setup(&self, d);
    int rc = rig_deliver(&self, d);
    ph_group_wait(rig.servers, ph_in_ms(5000));
    while (rig.wanted < 6 && t->servers[rig.wanted].ip)
        rig.wanted++;
    return rc == 0 && strcmp(rig.outcomes, t->outcomes) == 0 && !rig.complaints[0] && rig.connects == rig.wanted &&
           (!t->log || strcmp(rig.log, t->log) == 0);
}

void rig_explain(const struct test *t)
{
    printf("# %u connections of %u\n# got:\n%s# want:\n%s# log:\n%s# servers:\n%s", rig.connects, rig.wanted,
           rig.outcomes, t->outcomes, rig.log, rig.complaints);
}
