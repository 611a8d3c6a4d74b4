/* dns_ctx: libunbound on our loop: which servers, and queries under way.
 *
 * Look-ups go to forwarders without validation: no trust anchor is set, so a
 * resolver that strips DNSSEC does no harm.  A query belongs to libunbound
 * until it calls back, which may be after its task has given up. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unbound.h>
#include <unbound-event.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "core/net/dns.h"

#define RESOLV_CONF "/etc/resolv.conf"
#define LOOK_AGAIN_MS 2000         /* between looks at resolv.conf */
#define PATIENCE_MS 30000          /* for one query, whatever the task's deadline */
#define QUERIES_MAX 1000u          /* under way at once */
#define SERVERS_MAX 16u

struct context {
    struct ub_ctx *ub;
    size_t queries;                /* under way */
    struct context *next;          /* of the retired ones */
};

struct query {
    struct context *ctx;
    struct ph_cond *done_cond;     /* the waiter's; void once abandoned */
    char *packet;
    size_t packet_size;
    int rcode, done, abandoned;
    uint32_t secure;
};

/* One per process: its one loop uses it. */
static struct {
    struct context *now, *retired;
    char *servers;                 /* as configured, "" for resolv.conf; NULL: not opened */
    struct stat seen;              /* resolv.conf when it was read */
    int64_t look_at;
    size_t queries;
} dns;

/* Everything but the forwarders is left to them: zones that libunbound would
 * answer by itself (private reverse zones, test) are the administrator's. */
static const char *const options[][2] = {
    { "module-config:", "iterator" }, { "do-not-query-localhost:", "no" }, { "unblock-lan-zones:", "yes" },
    { "infra-keep-probing:", "yes" }, { "outgoing-range:", "256" },
    { "outgoing-num-tcp:", "16" }, { "num-queries-per-thread:", "1024" }, { "qname-minimisation:", "no" },
    { "msg-cache-size:", "1m" }, { "rrset-cache-size:", "2m" }, { "cache-max-ttl:", "86400" },
    { "cache-max-negative-ttl:", "300" }, { "infra-host-ttl:", "60" }, { "use-syslog:", "no" },
};

static void context_free(struct context *c)
{
    ub_ctx_delete(c->ub);
    free(c);
}

/* A context cannot go while it calls us back: the next query clears up. */
static void free_retired(void)
{
    for (struct context **at = &dns.retired, *c; (c = *at); )
        if (c->queries == 0) {
            *at = c->next;
            context_free(c);
        } else {
            at = &c->next;
        }
}

static void retire(void)
{
    if (dns.now) {
        dns.now->next = dns.retired;
        dns.retired = dns.now;
        dns.now = NULL;
    }
}

static int add_server(struct ub_ctx *ub, struct ph_scope *s, ph_str ip, unsigned port)
{
    int rc = ub_ctx_set_fwd(ub, ph_str_printf(s, "%.*s@%u", PH_FMT(ip), port).p);

    return rc ? ph_fail(PH_CONF, "name server %.*s: %s", PH_FMT(ip), ub_strerror(rc)) : 0;
}

/* host, host@port, host:port, [v6], [v6]:port, v6, v6@port. */
static int parse_server(ph_str word, struct ph_ip *ip, unsigned *port)
{
    ptrdiff_t at = ph_str_rfind(word, '@');
    ph_str host = word, service = PH_STR("");
    int literal;

    if (at >= 0) {
        host = ph_str_first(word, (size_t)at);
        service = ph_str_from(word, (size_t)at + 1);
    } else if (!ph_ip_parse(word, ip) && !ph_hostport_parse(word, &host, &service, &literal)) {
        return 0;
    }
    *port = service.n ? ph_port_parse(service) : 53;
    return *port && ph_ip_parse(host, ip);
}

static int add_configured(struct ub_ctx *ub, struct ph_scope *s, ph_str list)
{
    struct ph_ip ip;
    unsigned port, count = 0;
    ph_str word;
    int rc = 0;

    while (rc == 0 && (word = ph_str_list(&list)).n) {
        if (!parse_server(word, &ip, &port))
            return ph_fail(PH_CONF, "dns_servers: \"%.*s\" is not an address with an optional @port", PH_FMT(word));
        if (++count > SERVERS_MAX)
            return ph_fail(PH_CONF, "dns_servers: more than %u servers", SERVERS_MAX);
        rc = add_server(ub, s, ph_ip_format(s, &ip), port);
    }
    return rc;
}

/* resolv.conf(5): its first three servers; without any, the local host. */
static int add_resolv_conf(struct ub_ctx *ub, struct ph_scope *s)
{
    FILE *f = fopen(RESOLV_CONF, "re");
    unsigned count = 0;
    char text[512];

    while (f && count < 3 && fgets(text, sizeof text, f)) {
        ph_str line = ph_cstr(text), key = ph_str_word(&line), ip = ph_str_word(&line);

        if (!ph_str_eq(key, PH_STR("nameserver")))
            continue;
        if (add_server(ub, s, ip, 53) == 0)
            count++;
        else
            ph_log_warn("%s: %s", RESOLV_CONF, ph_error());
    }
    if (f)
        fclose(f);
    return count ? 0 : add_server(ub, s, PH_STR("127.0.0.1"), 53);
}

static int make_context(void *arg PH_UNUSED)
{
    struct ub_ctx *ub = ub_ctx_create_ub_event(ph_dns_event_base());
    PH_SCOPED(s, NULL);
    int rc = 0;

    if (!ub)
        return ph_fail(PH_TEMP, "libunbound gives no context");
    ub_ctx_debugout(ub, NULL);     /* our log is not its stderr */
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (ub_ctx_set_option(ub, options[i][0], options[i][1]) != 0)
            ph_log_warn("libunbound does not know the option %s", options[i][0]);
    rc = dns.servers[0] ? add_configured(ub, s, ph_cstr(dns.servers)) : add_resolv_conf(ub, s);
    if (rc == 0)
        ub_ctx_zone_remove(ub, "test.");
    if (rc < 0) {
        ub_ctx_delete(ub);
        return rc;
    }
    struct context *c = calloc(1, sizeof *c);
    if (!c)
        ph_die("out of memory");
    c->ub = ub;
    retire();
    dns.now = c;
    return 0;
}

static void remember_file(void)
{
    struct stat st;

    memset(&dns.seen, 0, sizeof dns.seen);
    if (stat(RESOLV_CONF, &st) == 0)
        dns.seen = st;
    dns.look_at = ph_in_ms(LOOK_AGAIN_MS);
}

int ph_dns_open(ph_str servers)
{
    char *copy = strndup(servers.p ? servers.p : "", servers.n), *old = dns.servers;

    if (!copy)
        ph_die("out of memory");
    dns.servers = copy;
    remember_file();
    int rc = ph_foreign(make_context, NULL);
    if (rc < 0)
        dns.servers = old;
    free(rc < 0 ? copy : old);
    return rc;
}

static int file_changed(void)
{
    struct stat st, *old = &dns.seen;

    if (dns.servers[0] || ph_now_ms() < dns.look_at)
        return 0;
    dns.look_at = ph_in_ms(LOOK_AGAIN_MS);
    return stat(RESOLV_CONF, &st) == 0 &&
           (st.st_ino != old->st_ino || st.st_size != old->st_size || st.st_mtim.tv_sec != old->st_mtim.tv_sec ||
            st.st_mtim.tv_nsec != old->st_mtim.tv_nsec);
}

/* The context for a new query. */
static int current(void)
{
    if (!dns.servers)
        return ph_dns_open(PH_STR(""));
    if (file_changed()) {
        remember_file();
        if (ph_foreign(make_context, NULL) < 0)
            ph_log_warn("%s changed; the name servers before stay: %s", RESOLV_CONF, ph_error());
    }
    return 0;
}

static int clear_up(void *arg PH_UNUSED)
{
    free_retired();
    return 0;
}

static void query_free(struct query *q)
{
    free(q->packet);
    free(q);
}

/* Runs on the loop's stack. */
static void on_answer(void *arg, int rcode, void *packet, int size, int sec, char *why PH_UNUSED, int limited PH_UNUSED)
{
    struct query *q = arg;

    q->ctx->queries--;
    dns.queries--;
    if (q->abandoned) {
        query_free(q);
        return;
    }
    q->rcode = rcode;
    q->secure = sec == 2;
    if (packet && size > 0 && size <= 65535) {
        if (!(q->packet = malloc((size_t)size)))
            ph_die("out of memory");
        memcpy(q->packet, packet, (size_t)size);
        q->packet_size = (size_t)size;
    }
    q->done = 1;
    ph_cond_signal(q->done_cond);
}

struct start {
    struct query *q;
    const char *name;
    int type;
};

static int start(void *arg)
{
    struct start *a = arg;
    struct context *c = a->q->ctx;

    c->queries++;
    dns.queries++;
    int rc = ub_resolve_event(c->ub, a->name, a->type, 1, a->q, on_answer, NULL);
    if (rc == 0)
        return 0;
    c->queries--;
    dns.queries--;
    return ph_fail(PH_TEMP, "libunbound: %s", ub_strerror(rc));
}

/* Until the answer: 0, or why there will be none for us. */
static int wait_for(struct query *q)
{
    int64_t patience = ph_in_ms(PATIENCE_MS);
    int rc = 0;

    while (rc == 0 && !q->done)
        rc = ph_cond_wait(q->done_cond, patience);
    if (q->done)
        return 0;
    q->abandoned = 1;
    if (rc == PH_TIMEOUT && ph_now_ms() < ph_deadline())
        return ph_fail(PH_TEMP, "no answer from the name servers in %d seconds", PATIENCE_MS / 1000);
    return rc;
}

int ph_dns_query(struct ph_scope *s, ph_str name, int type, ph_str *packet, int *rcode, uint32_t *secure)
{
    PH_SCOPED(step, s);
    int rc;

    if (!ph_in_task())
        return ph_fail(PH_TEMP, "DNS is asked from tasks only");
    if (dns.retired)
        ph_foreign(clear_up, NULL);
    if ((rc = current()) < 0)
        return rc;
    if (dns.queries >= QUERIES_MAX)
        return ph_fail(PH_TEMP, "more than %u DNS queries are under way", QUERIES_MAX);
    struct query *q = calloc(1, sizeof *q);
    if (!q)
        ph_die("out of memory");
    q->ctx = dns.now;
    q->done_cond = ph_cond_new(step);
    struct start a = { .q = q, .name = ph_cstr_dup(step, name), .type = type };
    if ((rc = ph_foreign(start, &a)) < 0) {
        query_free(q);
        return rc;
    }
    if ((rc = wait_for(q)) < 0)
        return rc;                 /* on_answer frees it */
    *packet = ph_str_dup(s, (ph_str){ q->packet, q->packet_size });
    *rcode = q->rcode;
    *secure = q->secure;
    query_free(q);
    return 0;
}

void ph_dns_warmup(void)
{
    PH_SCOPED(s, NULL);
    struct ph_dns_answer a;

    /* Answered without the network, yet it has everything loaded. */
    if (ph_dns_find_a(s, PH_STR("localhost"), &a) < 0)
        ph_debug(1, "DNS warm-up: %s", ph_error());
    if (ph_host_find(s, PH_STR("localhost"), &a) < 0)
        ph_debug(1, "name service warm-up: %s", ph_error());
}

static int close_all(void *arg PH_UNUSED)
{
    retire();
    free_retired();
    return 0;
}

void ph_dns_close(void)
{
    ph_foreign(close_all, NULL);
    free(dns.servers);
    dns.servers = NULL;
}
