/* name: a name of this machine: alias, then user, then neither. */
#include <posthorn/address.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "local.h"
#include "macro.h"

/* ---- $name ---- */

struct values {
    struct local_job *job;
    const struct local_step *step;
    const struct local_user *user;
};

static int value(void *arg, ph_str name, ph_str *out)
{
    const struct values *v = arg;
    const struct local_step *s = v->step;
    ph_str local, domain;

    ph_address_split(s->address, &local, &domain);
    const struct { const char *name; ph_str value; } known[] = {
        { "user", s->user }, { "extension", s->ext }, { "local", s->local }, { "domain", domain }, { "recipient", s->address },
        { "home", v->user ? v->user->home : PH_STR("") }, { "shell", v->user ? v->user->shell : PH_STR("") },
        { "recipient_delimiter", s->ext.n ? ph_str_first(ph_str_from(s->local, s->user.n), 1) : PH_STR("") },
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (ph_str_eq(name, ph_cstr(known[i].name))) {
            *out = known[i].value;
            return PH_FOUND;
        }
    return PH_NONE;
}

int local_expand(struct local_job *j, const struct local_step *s, const struct local_user *u, ph_str text, ph_str filter, ph_str *out)
{
    struct values v = { .job = j, .step = s, .user = u };

    return local_macro_expand(j->scope, text, &(struct local_macros){ .value = value, .arg = &v, .filter = filter }, out);
}

/* ---- other transports ---- */

static int pass(struct local_job *j, struct local_step *s, ph_str target, const char *what)
{
    struct ph_recipient r = *j->rcpt;
    ph_str nexthop = target, transport = ph_str_trim(ph_str_cut(&nexthop, ':')), local, domain;
    int rc;

    if (transport.n == 0) {
        local_misconfigured(j, s, ph_str_printf(j->scope, "%s: \"%.*s\" names no transport", what, PH_FMT(target)).p);
        return PH_FOUND;
    }
    if (local_is_duplicate(j, "transport %.*s %.*s", PH_FMT(target), PH_FMT(s->local)))
        return PH_FOUND;
    if (!ph_str_eq(s->address, r.address)) {
        r.original = r.original.n ? r.original : r.address;
        r.address = s->address;
    }
    ph_address_split(s->address, &local, &domain);
    nexthop = ph_str_trim(nexthop);
    ph_log("%.*s: passing <%.*s> to transport=%.*s", PH_FMT(j->d->message->queue_id), PH_FMT(ph_address_external(j->scope, s->address)), PH_FMT(transport));
    rc = ph_delivery_pass(j->d, j->i, &r, ph_cstr_dup(j->scope, transport), nexthop.n ? nexthop : domain);
    if (rc == PH_CANCEL)
        return rc;
    if (rc < 0) {
        ph_log_warn("%.*s: %s", PH_FMT(j->d->message->queue_id), ph_error());
        local_deferred(j, s, "4.3.0", "mail transport unavailable");
    }
    return PH_FOUND;
}

int local_do_transport(struct local_job *j, struct local_step *s, struct ph_maps *maps, ph_str fallback, const char *what)
{
    ph_str target = fallback, found;
    int rc = PH_NONE;

    if (!ph_maps_is_empty(maps) && (rc = ph_maps_find(maps, s->local, j->scope, &found)) == PH_NONE && s->user.n < s->local.n)
        rc = ph_maps_find(maps, s->user, j->scope, &found);
    if (rc == PH_CANCEL)
        return rc;
    if (rc < 0) {
        ph_log_warn("%.*s: %s: %s", PH_FMT(s->address), what, ph_error());
        local_deferred(j, s, "4.3.0", "table lookup failure");
        return PH_FOUND;
    }
    if (rc == PH_FOUND)
        target = found;
    return target.n ? pass(j, s, target, what) : PH_NONE;
}

/* ---- neither alias nor user ---- */

static int relay_unknown(struct local_job *j, struct local_step *s)
{
    struct local_step *first = NULL, **tail = &first;
    ph_str address;
    int rc = local_expand(j, s, NULL, j->agent->p.luser_relay, PH_STR(""), &address);

    if (rc < 0) {
        local_misconfigured(j, s, ph_str_printf(j->scope, "luser_relay: %s", ph_error()).p);
        return 0;
    }
    s->relayed = 1;                /* its children know */
    s->unmatched = PH_STR("");
    if (local_steps_of(j, s, LOCAL_BY_ALIAS, address, "luser_relay", &tail) < 0 || !first) {
        local_misconfigured(j, s, "luser_relay names nobody");
        return 0;
    }
    j->expanded = 1;
    local_step_push(j, first);
    return 0;
}

static int is_required(ph_str user)
{
    return ph_str_eq(user, PH_STR("postmaster")) || ph_str_eq(user, PH_STR("mailer-daemon"));
}

static int do_unknown(struct local_job *j, struct local_step *s)
{
    const struct local_agent *a = j->agent;
    int rc = local_do_transport(j, s, a->fallback_maps, a->p.fallback, "fallback_transport");

    if (rc != PH_NONE)
        return rc < 0 ? rc : 0;
    if (a->p.luser_relay.n && !s->relayed && !is_required(s->user))
        return relay_unknown(j, s);
    if (is_required(s->user)) {
        ph_log_warn("required alias not found: %.*s", PH_FMT(s->user));
        local_sent(j, s, "discarded");
        return 0;
    }
    local_bounced(j, s, "5.1.1", "unknown user: \"%.*s\"", PH_FMT(s->user));
    return 0;
}

/* ---- a name ---- */

int local_do_name(struct local_job *j, struct local_step *s)
{
    struct local_user *u = NULL;
    int rc = local_do_alias(j, s), known;

    if (rc != PH_NONE)
        return rc < 0 ? rc : 0;
    if ((known = local_user_find(j->scope, s->user, &u)) == PH_CANCEL)
        return known;
    if (known < 0) {
        ph_log_warn("%.*s: %s", PH_FMT(s->address), ph_error());
        local_deferred(j, s, "4.3.0", "user lookup error");
        return 0;
    }
    if (known == PH_FOUND && s->kind != PH_ALIAS_MAILBOX && (rc = local_do_forward(j, s, u)) != PH_NONE)
        return rc < 0 ? rc : 0;
    if ((rc = local_do_transport(j, s, j->agent->transport_maps, j->agent->p.transport, "mailbox_transport")) != PH_NONE)
        return rc < 0 ? rc : 0;
    return known == PH_FOUND ? local_do_mailbox(j, s, u) : do_unknown(j, s);
}
