/* transport/local: mail for the users of this machine.  Reference: local(8).
 * This file: one recipient, from its first step to its outcome. */
#include <stdarg.h>
#include <posthorn/address.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "local.h"
#include "loop.h"
#include "plugins/transport/common/status.h"

#define STEPS_DEPTH 50u            /* expansions of expansions; then it is a loop */

/* ---- steps ---- */

struct local_step *local_step_new(struct local_job *j, const struct local_step *parent, uint32_t by, const struct ph_alias_item *d)
{
    struct local_step *s = ph_new(j->scope, struct local_step);

    *s = (struct local_step){ .parent = parent, .kind = d->kind, .by = by, .text = d->text, .depth = parent ? parent->depth + 1 : 0,
                              .sender = parent ? parent->sender : j->d->message->sender, .owned = parent ? parent->owned : 0,
                              .rights = parent ? parent->rights : NULL, .relayed = parent ? parent->relayed : 0 };
    if (parent) {                  /* who is named in the log for what is no address */
        s->address = parent->address;
        s->local = parent->local;
        s->user = parent->user;
        s->ext = parent->ext;
        s->unmatched = parent->unmatched;
    }
    return s;
}

void local_step_push(struct local_job *j, struct local_step *first)
{
    struct local_step *last = first;

    if (!first)
        return;
    while (last->next)
        last = last->next;
    last->next = j->steps;
    j->steps = first;
}

/* The first delimiter splits, owner-list and list-request too. */
static void split_plainly(ph_str local, ph_str delimiters, ph_str *user, ph_str *ext)
{
    *user = local;
    *ext = ph_str_from(local, local.n);
    for (size_t i = 1; i < local.n; i++)
        if (ph_str_find(delimiters, local.p[i]) >= 0) {
            *user = ph_str_first(local, i);
            *ext = ph_str_from(local, i + 1);
            return;
        }
}

void local_step_split(struct local_job *j, struct local_step *s, ph_str address)
{
    const struct local_params *p = &j->agent->p;
    ph_str domain;
    char delimiter;

    s->address = address;
    ph_address_split(address, &s->local, &domain);
    s->local = ph_str_lower(j->scope, s->local);
    if (p->owner_special)
        ph_address_extension(s->local, p->delimiter, &s->user, &s->ext, &delimiter);
    else
        split_plainly(s->local, p->delimiter, &s->user, &s->ext);
    s->unmatched = ph_str_from(s->local, s->user.n);
    s->known = 1;
}

/* ~/file of a user's .forward is below his home. */
static int put_home(struct local_job *j, const struct local_step *parent, uint32_t by, ph_str *path)
{
    if (by != LOCAL_BY_FORWARD || !parent->rights || !parent->rights->user)
        return ph_fail(PH_PERM, "%.*s: nobody's home is meant", PH_FMT(*path));
    *path = ph_str_printf(j->scope, "%.*s%.*s", PH_FMT(parent->rights->user->home), PH_FMT(ph_str_from(*path, 1)));
    return 1;
}

int local_steps_of(struct local_job *j, const struct local_step *parent, uint32_t by, ph_str list, const char *what, struct local_step ***tail)
{
    struct ph_alias_item d;
    struct ph_alias_walk w = { 0 };
    int rc, bad = 0;

    while ((rc = ph_alias_next(j->scope, list, &w, &d)) != 0) {
        if (rc > 0 && d.kind == PH_ALIAS_FILE && d.text.p[0] == '~')
            rc = put_home(j, parent, by, &d.text);
        if (rc < 0) {
            ph_log_warn("%s: \"%.*s\": %s", what, PH_FMT(ph_str_first(list, 200)), ph_error());
            bad = 1;
            continue;
        }
        **tail = local_step_new(j, parent, by, &d);
        *tail = &(**tail)->next;
    }
    return bad ? ph_fail(PH_CONF, "%s: a destination cannot be read", what) : 0;
}

int local_is_duplicate(struct local_job *j, const char *fmt, ...)
{
    int64_t limit = j->agent->p.duplicates;
    va_list ap;

    if (limit && ph_map_count(j->seen) >= (size_t)limit)
        return 0;
    va_start(ap, fmt);
    ph_str key = ph_str_vprintf(j->scope, fmt, ap);
    va_end(ap);
    return ph_map_set(j->seen, key, j) != NULL;
}

/* ---- outcomes ---- */

/* Who is named: the recipient itself, or a member of an alias with the alias as
 * its original. */
static struct ph_recipient member_of(const struct local_job *j, const struct local_step *s)
{
    struct ph_recipient r = *j->rcpt;

    if (s && !ph_str_eq(s->address, r.address)) {
        r.original = r.original.n ? r.original : r.address;
        r.address = s->address;
    }
    return r;
}

void local_report(struct local_job *j, const struct local_step *s, const struct ph_outcome *from)
{
    struct ph_recipient member = member_of(j, s);
    struct ph_outcome o = *from;

    o.size = sizeof o;
    o.relay = ph_cstr(j->d->transport->service);
    transport_filter(j->agent->status_filter, "local_delivery_status_filter", j->scope, &o);
    ph_delivered_member(j->d, j->i, &member, &o);
}

static void say(struct local_job *j, const struct local_step *s, uint32_t status, const char *dsn, const char *fmt, va_list ap)
{
    struct ph_outcome o = { .status = status, .dsn = ph_cstr(dsn), .text = ph_str_vprintf(j->scope, fmt, ap) };

    local_report(j, s, &o);
}

void local_sent(struct local_job *j, const struct local_step *s, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say(j, s, PH_RCPT_SENT, "2.0.0", fmt, ap);
    va_end(ap);
}

void local_bounced(struct local_job *j, const struct local_step *s, const char *dsn, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say(j, s, PH_RCPT_BOUNCED, dsn, fmt, ap);
    va_end(ap);
}

void local_deferred(struct local_job *j, const struct local_step *s, const char *dsn, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say(j, s, PH_RCPT_DEFERRED, dsn, fmt, ap);
    va_end(ap);
}

void local_misconfigured(struct local_job *j, const struct local_step *s, const char *why)
{
    ph_log_warn("%.*s: %s", PH_FMT(s->address), why);
    local_deferred(j, s, "4.3.5", "mail system configuration error");
}

/* ---- a recipient ---- */

static int do_step(struct local_job *j, struct local_step *s)
{
    if (s->depth > STEPS_DEPTH) {
        local_bounced(j, s, "5.4.6", "alias database loop for %.*s", PH_FMT(s->text));
        return 0;
    }
    switch (s->kind) {
    case PH_ALIAS_COMMAND: return local_do_command(j, s, s->text);
    case PH_ALIAS_FILE:    return local_do_file(j, s);
    case PH_ALIAS_INCLUDE: return local_do_include(j, s);
    default:            return s->known ? local_do_name(j, s) : local_do_address(j, s);
    }
}

/* RFC 5321 6.3: what has been at this address before does not go round again. */
static int is_loop(struct local_job *j)
{
    struct local_loop l;
    int rc = local_loop_init(&l, j->scope, ph_address_external(j->scope, j->rcpt->address));
    const struct ph_message *m = j->d->message;
    char *piece = ph_alloc(j->scope, 8192);

    for (uint64_t at = 0; rc == 0 && at < m->header_bytes && !l.found; ) {
        uint64_t want = m->header_bytes - at < 8192 ? m->header_bytes - at : 8192;
        int64_t got = ph_message_read(m, at, piece, (size_t)want);

        if (got <= 0)
            return got < 0 ? (int)got : ph_fail(PH_TEMP, "queue file is shorter than its record");
        local_loop_feed(&l, (ph_str){ piece, (size_t)got });
        at += (uint64_t)got;
    }
    local_loop_end(&l);
    return rc < 0 ? rc : l.found ? PH_FOUND : PH_NONE;
}

static int run_steps(struct local_job *j)
{
    int rc = 0;

    while (rc == 0 && j->steps) {
        struct local_step *s = j->steps;

        j->steps = s->next;
        s->next = NULL;
        rc = do_step(j, s);
    }
    return rc == 0 ? local_forward_all(j) : rc;
}

static int deliver_one(struct local_agent *a, struct ph_delivery *d, uint32_t i)
{
    PH_SCOPED(scope, d->scope);
    struct local_job j = { .scope = scope, .agent = a, .d = d, .i = i, .rcpt = &d->rcpt[i], .seen = ph_map_new(scope),
                           .delivered_to = d->rcpt[i].address };
    struct local_step *first = local_step_new(&j, NULL, 0, &(struct ph_alias_item){ .kind = PH_ALIAS_ADDRESS, .text = d->rcpt[i].address });
    int rc;

    local_step_split(&j, first, d->rcpt[i].address);
    local_step_push(&j, first);
    if ((rc = is_loop(&j)) == PH_FOUND)
        local_bounced(&j, first, "5.4.6", "mail forwarding loop for %.*s", PH_FMT(ph_address_external(scope, d->rcpt[i].address)));
    else if (rc == PH_NONE)
        rc = run_steps(&j);
    else if (rc != PH_CANCEL)
        local_deferred(&j, first, "4.3.0", "%s", ph_error());
    if (rc == PH_CANCEL)
        return rc;                 /* left open: core defers it */
    if (j.owned)
        ph_delivered_members(d, i, "delivered", "");
    else if (j.expanded)
        ph_delivered_members(d, i, "expanded", "alias expanded");
    else
        ph_delivered_members(d, i, "", "");
    return 0;
}

static int local_deliver(struct ph_transport *t, struct ph_delivery *d)
{
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < d->rcpt_count; i++)
        if (d->rcpt[i].state == PH_RCPT_OPEN)
            rc = deliver_one(t->self, d, i);
    return rc;
}

PH_PLUGIN_TRANSPORT(local, PH_IS(.summary = "mail for the users of this machine: aliases, .forward, mailboxes, commands", .exec = PH_COROUTINE,
                                 .concurrency = PH_MANY_CALLS, .params = local_rows, .param_count = LOCAL_ROWS),
    .needs = "queue private spawn",
    .open = local_open,
    .deliver = local_deliver,
    .uses = "cleanup rewrite",
    .probes = 1);
