/* deliver: one delivery, from next hop to outcome. */
#include <string.h>
#include <posthorn/address.h>
#include "smtp.h"

/* The destination's name, without brackets and port, or its socket, in the list? */
static int is_always_cached(const struct smtp *self, ph_str dest)
{
    ph_str list = self->p.cache_destinations, host, port;
    int literal;

    if (!list.n)
        return 0;
    if (ph_str_starts(dest, PH_STR("unix:")))
        host = ph_str_from(dest, 5);
    else if (!ph_hostport_parse(dest, &host, &port, &literal))
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
    if (!j->tried)
        j->tried = ph_alloc_array(j->scope, SMTP_MAX_HOSTS, sizeof *j->tried);
    if (j->tried_count < SMTP_MAX_HOSTS)
        j->tried[j->tried_count++] = *h;
}

static int is_same_host(const struct smtp_host *a, const struct smtp_host *b)
{
    return a->port == b->port && a->ip.family == b->ip.family && memcmp(a->ip.bytes, b->ip.bytes, sizeof a->ip.bytes) == 0 &&
           ph_str_eq(a->path, b->path);
}

static int was_tried(const struct smtp_job *j, const struct smtp_host *h)
{
    for (size_t i = 0; i < j->tried_count; i++)
        if (is_same_host(&j->tried[i], h))
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
    s->quit_early = !wants_more(j, dest);
    int rc = smtp_transact(j, s);

    if (rc != 1) {
        j->sessions++;
        j->worked |= !s->broken;
        if (smtp_open_count(j))
            note_tried(j, &s->host);
    }
    smtp_pool_give(j->agent, s, wants_more(j, dest));
    return rc;
}

/* A session somebody left for us.  Dead ones are passed over in silence. */
static int try_cached(struct smtp_job *j, ph_str dest)
{
    struct smtp_session *s;
    int rc = 1;

    while (rc == 1 && (s = smtp_pool_take(j->agent, dest))) {
        smtp_log_before_next(j);
        rc = use_session(j, s, dest);
    }
    return rc == 1 ? 0 : rc;
}

static int try_host(struct smtp_job *j, const struct smtp_host *h, ph_str dest)
{
    struct smtp_verdict *why;

    if (was_tried(j, h))
        return 0;
    smtp_log_before_next(j);
    j->connected_us = 0;
    struct smtp_session *s = smtp_session_open(j, h, dest, &why);
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

/* best_mx_transport: what would come back to us goes to another transport here. */
static int pass_on(struct smtp_job *j)
{
    ph_str nexthop = j->agent->p.best_mx, transport = ph_str_trim(ph_str_cut(&nexthop, ':')), local, domain;
    const char *name = ph_cstr_dup(j->scope, transport);
    int rc = 0;

    for (uint32_t i = 0; i < j->d->rcpt_count && rc != PH_CANCEL; i++) {
        if (!smtp_is_open(j, i))
            continue;
        ph_address_split(j->d->rcpt[i].address, &local, &domain);
        rc = ph_delivery_pass(j->d, i, &j->d->rcpt[i], name, nexthop.n ? nexthop : domain);
        if (rc == 0) {
            ph_delivered_members(j->d, i, "", "");
        } else if (rc != PH_CANCEL) {
            ph_log_warn("%.*s: %s", PH_FMT(j->d->message->queue_id), ph_error());
            smtp_fail(j, i, smtp_verdict(j, PH_RCPT_DEFERRED, "4.3.0", "mail transport unavailable"));
        }
    }
    return rc == PH_CANCEL ? rc : 0;
}

static int try_destination(struct smtp_job *j, ph_str dest, int *is_self)
{
    struct smtp_hosts hosts;
    struct smtp_verdict *why;
    int rc = try_cached(j, dest), self_here = 0;

    if (rc < 0 || !may_go_on(j))
        return rc;
    if (smtp_find_hosts(j, dest, &hosts, &why, &self_here) < 0) {
        if (ph_cancelled())
            return PH_CANCEL;
        if (self_here && j->agent->p.best_mx.n) {
            *is_self = 1;
            return pass_on(j);
        }
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
    int is_self = 0, rc = 0;

    for (int k = 0; k < 2 && rc >= 0 && !is_self; k++)
        for (ph_str dest; rc >= 0 && may_go_on(j) && (dest = ph_str_list(&lists[k])).n;)
            rc = try_destination(j, dest, &is_self);
    return rc;
}

int32_t smtp_deliver(struct ph_transport *t, struct ph_delivery *d)
{
    struct smtp_job j = { .agent = t->self, .d = d, .scope = d->scope, .setup_us = ph_wall_us() };
    int rc;

    j.why = ph_alloc_array(d->scope, d->rcpt_count, sizeof *j.why);
    if ((rc = smtp_generic(&j)) < 0 || (rc = smtp_prefix(&j)) < 0 || (rc = try_all(&j)) < 0)
        return rc;
    smtp_finish(&j);
    return 0;
}
