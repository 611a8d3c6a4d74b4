/* transport/smtp: the plugin, and one delivery from next hop to outcome.
 * Reference: smtp(8). */
#include <string.h>
#include "smtp.h"

/* What is not built yet must not be quietly left out. */
static int refuse_unbuilt(struct ph_transport *t)
{
    ph_str level = ph_conf_value(t->conf, t->scope, "smtp_tls_security_level");

    if (level.n && !ph_str_eq(level, PH_STR("none")) && !ph_str_eq(level, PH_STR("may")))
        return ph_fail(PH_CONF, "smtp_tls_security_level = %.*s: TLS is not built yet, mail would leave unprotected", PH_FMT(level));
    if (ph_str_eq(ph_conf_value(t->conf, t->scope, "smtp_sasl_auth_enable"), PH_STR("yes")))
        return ph_fail(PH_CONF, "smtp_sasl_auth_enable = yes: SASL is not built yet");
    return 0;
}

static int32_t smtp_open(struct ph_transport *t)
{
    struct smtp *self = ph_new(t->scope, struct smtp);
    int rc;

    self->scope = t->scope;
    if ((rc = ph_params_load(t->conf, t->scope, smtp_rows, SMTP_ROWS, sizeof *smtp_rows, &self->p)) < 0 ||
        (rc = refuse_unbuilt(t)) < 0)
        return rc;
    self->p.relayhost = ph_conf_value(t->conf, t->scope, "relayhost");
    self->p.inet_protocols = ph_conf_value(t->conf, t->scope, "inet_protocols");
    self->p.inet_interfaces = ph_conf_value(t->conf, t->scope, "inet_interfaces");
    self->p.proxy_interfaces = ph_conf_value(t->conf, t->scope, "proxy_interfaces");
    if ((rc = smtp_find_ours(self)) < 0)
        return rc;
    smtp_pool_init(self);
    t->self = self;
    return 0;
}

/* The destination's name, without brackets and port, in the list? */
static int is_always_cached(const struct smtp *self, ph_str dest)
{
    ph_str list = self->p.cache_destinations, host, port;
    int literal;

    if (!list.n || !ph_hostport_parse(dest, &host, &port, &literal))
        return 0;
    for (ph_str w; (w = ph_str_list(&list)).n;)
        if (ph_str_eq_nocase(w, host))
            return 1;
    return 0;
}

static int wants_more(const struct smtp_job *j, ph_str dest)
{
    return (j->agent->p.cache_on_demand && j->d->reuse) || is_always_cached(j->agent, dest);
}

static void note_tried(struct smtp_job *j, const struct smtp_host *h)
{
    if (j->tried_count < SMTP_MAX_HOSTS)
        j->tried[j->tried_count++] = *h;
}

static int was_tried(const struct smtp_job *j, const struct smtp_host *h)
{
    for (size_t i = 0; i < j->tried_count; i++)
        if (j->tried[i].port == h->port && j->tried[i].ip.family == h->ip.family &&
            memcmp(j->tried[i].ip.bytes, h->ip.bytes, sizeof h->ip.bytes) == 0)
            return 1;
    return 0;
}

static int may_go_on(const struct smtp_job *j)
{
    int64_t limit = j->agent->p.session_limit;

    return !j->no_more && smtp_open_count(j) > 0 && (limit == 0 || j->sessions < limit);
}

/* Use s, then keep or end it.  As smtp_transact. */
static int use_session(struct smtp_job *j, struct smtp_session *s, ph_str dest)
{
    j->connected_us = ph_wall_us();
    int rc = smtp_transact(j, s);

    if (rc != 1) {
        j->sessions++;
        note_tried(j, &s->host);
    }
    smtp_pool_give(j->agent, s, wants_more(j, dest));
    return rc;
}

/* A session somebody left for us.  Dead ones are passed over in silence. */
static int try_cached(struct smtp_job *j)
{
    struct smtp_session *s;
    int rc = 1;

    while (rc == 1 && (s = smtp_pool_take(j->agent, j->d->nexthop))) {
        j->setup_us = ph_wall_us();
        rc = use_session(j, s, j->d->nexthop);
    }
    return rc == 1 ? 0 : rc;
}

static int try_host(struct smtp_job *j, const struct smtp_host *h, ph_str dest)
{
    struct smtp_verdict *why;

    if (was_tried(j, h))
        return 0;
    smtp_log_before_next(j);
    j->setup_us = ph_wall_us();
    j->connected_us = 0;
    struct smtp_session *s = smtp_session_open(j, h, &why);
    if (!s && !why)
        return PH_CANCEL;
    if (!s) {
        j->connected_us = ph_wall_us();
        smtp_fail_all(j, why);
        return 0;
    }
    s->key = ph_str_dup(s->scope, dest);
    return use_session(j, s, dest);
}

static int try_destination(struct smtp_job *j, ph_str dest, int *is_self)
{
    struct smtp_hosts hosts;
    struct smtp_verdict *why;
    int rc = 0, self_here = 0;

    if (!j->setup_us)
        j->setup_us = ph_wall_us();
    if (smtp_find_hosts(j, dest, &hosts, &why, &self_here) < 0) {
        if (ph_cancelled())
            return PH_CANCEL;
        why->keep = !self_here;    /* a fallback may know better, but not than we */
        smtp_fail_all(j, why);
    }
    for (size_t i = 0; i < hosts.n && rc >= 0 && may_go_on(j); i++)
        rc = try_host(j, &hosts.at[i], dest);
    *is_self |= self_here;
    return rc;
}

/* Fallback relays are for others: when we are an MX of the destination they
 * would send it back to us. */
static int try_all(struct smtp_job *j)
{
    ph_str lists[2] = { j->d->nexthop, j->agent->p.fallback_relay };
    int is_self = 0, rc = try_cached(j);

    for (int k = 0; k < 2 && rc >= 0 && !is_self; k++)
        for (ph_str dest; rc >= 0 && may_go_on(j) && (dest = ph_str_list(&lists[k])).n;)
            rc = try_destination(j, dest, &is_self);
    return rc;
}

static int32_t smtp_deliver(struct ph_transport *t, struct ph_delivery *d)
{
    struct smtp_job j = { .agent = t->self, .d = d, .scope = d->scope };
    int rc;

    j.why = ph_alloc_array(d->scope, d->rcpt_count, sizeof *j.why);
    j.tried = ph_alloc_array(d->scope, SMTP_MAX_HOSTS, sizeof *j.tried);
    if ((rc = try_all(&j)) < 0)
        return rc;
    smtp_finish(&j);
    return 0;
}

PH_PLUGIN_TRANSPORT(smtp, PH_IS(.summary = "delivers over SMTP", .exec = PH_COROUTINE, .concurrency = PH_MANY_CALLS,
                                .params = smtp_rows, .param_count = SMTP_ROWS),
    .needs = "network",
    .open = smtp_open,
    .deliver = smtp_deliver);
