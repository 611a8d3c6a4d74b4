/* link: see link.h. */
#include <posthorn/clock.h>
#include <posthorn/dns.h>
#include "link.h"

#define BUFFER_BYTES 8192

static void begin(struct links *l, struct ph_scope *s)
{
    *l = (struct links){ .scope = s, .freed = ph_cond_new(s) };
}

int link_inet(struct links *l, struct ph_scope *s, ph_str host, ph_str port)
{
    begin(l, s);
    l->host = ph_str_dup(s, host);
    if (l->host.n >= 2 && l->host.p[0] == '[' && l->host.p[l->host.n - 1] == ']')
        l->host = ph_str_first(ph_str_from(l->host, 1), l->host.n - 2);
    l->port = ph_port_parse(port);
    if (host.n == 0)
        l->host = PH_STR("localhost");
    if (l->host.n == 0 || l->port == 0)
        return ph_fail(PH_CONF, "\"%.*s:%.*s\" is no host and port", PH_FMT(host), PH_FMT(port));
    ph_dial_later(l->port);
    return 0;
}

int link_unix(struct links *l, struct ph_scope *s, ph_str path)
{
    begin(l, s);
    l->path = ph_cstr_dup(s, path);
    return path.n && path.p[0] == '/' ? 0 : ph_fail(PH_CONF, "\"%.*s\": the path of a socket begins with /", PH_FMT(path));
}

int link_server(struct links *l, struct ph_scope *s, ph_str text, const char *def)
{
    ph_str host, port;
    int literal;

    if (ph_str_starts(text, PH_STR("unix:")))
        return link_unix(l, s, ph_str_from(text, 5));
    if (!ph_hostport_parse(text, &host, &port, &literal))
        return ph_fail(PH_CONF, "\"%.*s\" is neither inet:host:port nor unix:/path", PH_FMT(text));
    return link_inet(l, s, host, port.n ? port : ph_cstr(def));
}

void link_drop(struct links *l, struct link *k)
{
    ph_scope_free(k->scope);       /* the link is in it */
    l->open--;
    ph_cond_signal(l->freed);
}

void link_keep(struct links *l, struct link *k)
{
    k->used_ms = ph_now_ms();
    k->is_kept = 1;
    k->next = l->idle;
    l->idle = k;
    ph_cond_signal(l->freed);
}

/* One that is idle and can be used, or NULL: those that cannot are closed. */
static struct link *take_idle(struct links *l)
{
    struct link *k;

    while ((k = l->idle)) {
        int64_t now = ph_now_ms();

        l->idle = k->next;
        if (!(l->idle_ms && now - k->used_ms > l->idle_ms) && !(l->life_ms && now - k->born_ms > l->life_ms) && !ph_stream_is_stale(k->io))
            return k;
        link_drop(l, k);
    }
    return NULL;
}

/* Each address of the host in turn. */
static int dial_host(struct links *l, struct link *k, int64_t deadline)
{
    struct ph_dns_answer a = { 0 };
    struct ph_ip ip;
    int rc;

    if (ph_ip_parse(l->host, &ip))
        return ph_dial_ip(k->scope, &ip, l->port, NULL, deadline, &k->io);
    if ((rc = ph_host_find(k->scope, l->host, &a)) != PH_FOUND)
        return rc < 0 ? rc : ph_fail(PH_TEMP, "no address");
    for (uint32_t i = 0; i < a.count; i++)
        if ((rc = ph_dial_ip(k->scope, &a.ip[i], l->port, NULL, deadline, &k->io)) != PH_TEMP)
            break;
    return rc;
}

static int dial(struct links *l, int64_t deadline, struct link **out)
{
    struct ph_scope *s = ph_scope_new(l->scope);
    struct link *k = ph_new(s, struct link);

    k->scope = s;
    l->open++;
    int rc = l->path ? ph_dial_unix(s, l->path, deadline, &k->io) : dial_host(l, k, deadline);
    if (rc < 0) {
        link_drop(l, k);
        return l->path ? ph_wrap(rc, "connect to %s", l->path) : ph_wrap(rc, "connect to %.*s:%u", PH_FMT(l->host), l->port);
    }
    k->born_ms = ph_now_ms();
    *out = k;
    return 0;
}

int link_take(struct links *l, int64_t deadline, struct link **out)
{
    struct link *k;
    int rc = 0;

    while (!(k = take_idle(l)) && l->open >= LINKS_MAX)
        if ((rc = ph_cond_wait(l->freed, deadline)) < 0)
            return ph_wrap(rc, "wait for one of %d connections", LINKS_MAX);
    if (!k && (rc = dial(l, deadline, &k)) < 0)
        return rc;
    ph_stream_deadline(k->io, deadline);
    *out = k;
    return 0;
}
