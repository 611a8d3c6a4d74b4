/* member: an address that an expansion named: a name of ours is delivered here
 * and now when an alias named it; almost everything else goes into a new message. */
#include <posthorn/address.h>
#include <posthorn/client.h>
#include <posthorn/error.h>
#include "local.h"

static int ask(struct local_job *j, const char *op, ph_str address, struct ph_frame **reply)
{
    struct ph_frame *f = ph_frame_new(j->scope);
    int rc;

    ph_frame_cstr(f, "op", op);
    ph_frame_str(f, "address", address);
    if ((rc = ph_service_call(j->scope, "rewrite", f, reply)) < 0)
        return rc;
    if (!ph_str_eq(ph_frame_value(*reply, "status"), PH_STR("ok")))
        return ph_fail(PH_TEMP, "rewrite: %.*s", PH_FMT(ph_frame_value(*reply, "reason")));
    return 0;
}

/* The whole address, and whether this very service delivers it: 0, or negative. */
static int resolve(struct local_job *j, ph_str in, ph_str *whole, int *ours)
{
    struct ph_frame *reply;
    int rc = ask(j, "rewrite", ph_address_external(j->scope, in), &reply);

    if (rc < 0)
        return rc;
    *whole = ph_address_bare(j->scope, ph_frame_value(reply, "address"));
    if ((rc = ask(j, "resolve", *whole, &reply)) < 0)
        return rc;
    *ours = ph_str_eq(ph_frame_value(reply, "transport"), ph_cstr(j->d->transport->service));
    if (*ours && ph_frame_value(reply, "recipient").n)
        *whole = ph_frame_value(reply, "recipient");
    return 0;
}

/* user@example.com with +ext of the recipient, when that is wanted. */
static ph_str propagate(struct local_job *j, const struct local_step *s, ph_str address)
{
    ph_str local, domain;

    if (!(j->agent->propagate_by & s->by) || !s->parent->unmatched.n)
        return address;
    ph_address_split(address, &local, &domain);
    return ph_str_printf(j->scope, "%.*s%.*s%s%.*s", PH_FMT(local), PH_FMT(s->parent->unmatched), domain.n ? "@" : "", PH_FMT(domain));
}

/* .forward of joe says joe, or joe+x: his mailbox, or it would come back here. */
static int is_own_address(const struct local_step *s)
{
    return s->by == LOCAL_BY_FORWARD && s->rights && s->rights->user && ph_str_eq(s->user, s->rights->user->name);
}

/* A name of ours is delivered here and now when an alias without owner named it; in a
 * list of others \user is but a user: he would have two copies when it names him twice. */
static int is_direct(const struct local_step *s)
{
    if (s->relayed || (s->by == LOCAL_BY_ALIAS && !s->owned))
        return 1;
    return s->kind == PH_ALIAS_MAILBOX && s->rights && s->rights->user;
}

int local_do_address(struct local_job *j, struct local_step *s)
{
    const struct local_step *parent = s->parent;
    ph_str whole;
    int ours = 0, rc = resolve(j, propagate(j, s, s->text), &whole, &ours);

    if (rc == PH_CANCEL)
        return rc;
    if (rc < 0) {
        local_deferred(j, parent, "4.3.0", "%s", ph_error());
        return 0;
    }
    if (ours)
        local_step_split(j, s, whole);
    if (ours && is_own_address(s))
        s->kind = PH_ALIAS_MAILBOX;
    if (ours && is_direct(s)) {
        /* The rights of who named it are not those of whom it names. */
        s->rights = NULL;
        if (!j->agent->p.frozen)
            j->delivered_to = whole;
        return local_do_name(j, s);
    }
    local_forward_to(j, s, whole);
    return 0;
}
