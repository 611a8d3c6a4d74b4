/* address: relay guard and validity: who is ours, and does the recipient exist? */
#include <string.h>
#include <posthorn/address.h>
#include <posthorn/client.h>
#include <posthorn/dsn.h>
#include "basic.h"

static int is(ph_str a, const char *b)
{
    return ph_str_eq(a, ph_cstr(b));
}

int basic_resolve(struct ph_scope *s, ph_str sender, ph_str address, struct destination *d)
{
    struct ph_frame *ask = ph_frame_new(s), *got;

    ph_frame_cstr(ask, "op", "resolve");
    ph_frame_cstr(ask, "context", "local");        /* completed first, as cleanup will */
    ph_frame_str(ask, "sender", sender);
    ph_frame_str(ask, "address", address);
    int rc = ph_service_call(s, "rewrite", ask, &got);
    if (rc < 0)
        return rc;
    if (!is(ph_frame_value(got, "status"), "ok"))
        return ph_fail(PH_TEMP, "rewrite: %.*s", PH_FMT(ph_frame_value(got, "reason")));
    *d = (struct destination){
        .transport = ph_frame_value(got, "transport"), .nexthop = ph_frame_value(got, "nexthop"), .recipient = ph_frame_value(got, "recipient"),
        .class_ = ph_frame_value(got, "class"), .invalid = ph_frame_value(got, "error").n > 0, .routed = ph_frame_value(got, "routed").n > 0,
    };
    return d->class_.n ? 0 : ph_fail(PH_TEMP, "rewrite: answer without a class");
}

int check_unauth(struct ph_restriction *r, const struct ph_policy_facts *f, struct ph_scope *out, ph_str *action, const char *what)
{
    struct basic *b = r->policy->self;
    struct destination d;

    if (!f->has_recipient)
        return PH_NONE;
    int rc = basic_resolve(out, f->sender, f->recipient, &d);
    if (rc < 0)
        return rc;
    if (d.invalid) {
        *action = PH_STR("501 5.1.3 Bad recipient address syntax");
        return PH_FOUND;
    }
    int ours = !is(d.class_, "default") && (!d.routed || b->p.untrusted_routing);
    if (strcmp(what, "permit_auth_destination") == 0) {
        *action = PH_STR("OK");
        return ours ? PH_FOUND : PH_NONE;
    }
    if (ours)
        return PH_NONE;
    int64_t code = b->p.relay_code;
    if (what[0] == 'd')            /* defer_unauth_destination: the same as 4xx */
        code = code >= 500 ? code - 100 : code;
    *action = ph_str_printf(out, "%lld %c.7.1 <%.*s>: Relay access denied", (long long)code, code < 500 ? '4' : '5', PH_FMT(ph_str_first(f->recipient, 200)));
    return PH_FOUND;
}

/* PH_FOUND when the maps know the address; their failure is ours. */
static int is_listed(struct basic *b, struct ph_maps *maps, const char *what, ph_str address, int local, struct ph_scope *out)
{
    ph_str val, ext;

    if (!maps)
        return ph_fail(PH_TEMP, "%s could not be opened (see the warning at start)", what);
    return ph_maps_find_address(maps, address, b->p.delimiter, local, out, &val, &ext);
}

/* Of whom something is said. */
struct whom {
    struct ph_scope *out;
    ph_str address;                /* as the client gave it */
    int sender;
};

/* The enhanced code follows the class of the reply and the kind of the address. */
static ph_str refusal(const struct whom *w, int64_t code, ph_str dsn, ph_str text)
{
    dsn = ph_dsn_of_address(w->out, dsn, w->sender);
    return ph_str_printf(w->out, "%lld %c%.*s <%.*s>: %s address rejected: %.*s", (long long)code, code < 500 ? '4' : '5', PH_FMT(ph_str_from(dsn, 1)),
                         PH_FMT(ph_str_first(w->address, 200)), w->sender ? "Sender" : "Recipient", PH_FMT(text));
}

static ph_str unknown(const struct whom *w, const struct basic *b, int64_t code, const char *dsn, const char *table)
{
    return refusal(w, code, ph_cstr(dsn), b->p.show_table ? ph_str_printf(w->out, "User unknown in %s table", table) : PH_STR("User unknown"));
}

static int is_exempt(const struct basic *b, ph_str local)
{
    return ph_str_eq_nocase(local, PH_STR("postmaster")) || ph_str_eq_nocase(local, PH_STR("MAILER-DAEMON")) || ph_str_eq_nocase(local, b->p.double_bounce);
}

/* Whether tables that stand before the class have the address: PH_FOUND, PH_NONE, negative. */
static int is_mapped(struct basic *b, ph_str address, int sender, struct ph_scope *out)
{
    struct ph_address_map *const maps[] = { b->aliases, b->canonical, b->rcpt_canonical, sender ? b->sender_canonical : NULL };
    ph_str value, ext;
    int rc = PH_NONE;

    for (size_t i = 0; i < 4 && rc == PH_NONE; i++)
        rc = ph_address_map_find(maps[i], address, out, &value, &ext);
    return rc;
}

/* Routed to a refusal: it is said now instead of bouncing later.  PH_FOUND or PH_NONE. */
static int routed_to_refusal(const struct basic *b, const struct whom *w, const struct destination *d, ph_str *action)
{
    int error = is(d->transport, "error"), alias = is(d->class_, "alias");
    ph_str dsn, text = d->nexthop;

    if (!error && !is(d->transport, "retry"))
        return PH_NONE;
    if (!ph_dsn_parse(d->nexthop, &dsn, &text))
        dsn = w->sender ? PH_STR("5.1.0") : PH_STR("5.1.1");
    if (alias && ph_str_starts(text, PH_STR("User unknown")))
        *action = unknown(w, b, b->p.alias_code, "5.1.1", "virtual alias");
    else
        *action = refusal(w, error ? alias ? b->p.alias_code : 550 : 450, dsn, text);
    return PH_FOUND;
}

/* The tables of the class: PH_FOUND and the refusal, PH_NONE: the address exists; negative. */
static int check_class(struct basic *b, const struct whom *w, const struct destination *d, ph_str *action)
{
    const char *dsn = w->sender ? "5.1.0" : "5.1.1";
    ph_str local, domain;
    int rc = PH_FOUND;

    ph_address_split(d->recipient, &local, &domain);
    if (is(d->class_, "virtual")) {
        rc = is_listed(b, b->virtual_maps, "virtual_mailbox_maps", ph_str_lower(w->out, d->recipient), 0, w->out);
        *action = unknown(w, b, b->p.mailbox_code, dsn, "virtual mailbox");
    } else if (is(d->class_, "local") && b->p.local_rcpt.n && !is_exempt(b, local)) {
        rc = is_listed(b, b->local_rcpt, "local_recipient_maps", d->recipient, 1, w->out);
        *action = unknown(w, b, b->p.local_code, dsn, "local recipient");
    } else if (is(d->class_, "relay") && b->p.relay_rcpt.n) {
        rc = is_listed(b, b->relay_rcpt, "relay_recipient_maps", d->recipient, 0, w->out);
        *action = unknown(w, b, b->p.relay_rcpt_code, dsn, "relay recipient");
    }
    return rc < 0 ? rc : rc == PH_NONE ? PH_FOUND : PH_NONE;
}

int check_unlisted(struct ph_restriction *r, const struct ph_policy_facts *f, struct ph_scope *out, ph_str *action, int sender)
{
    struct basic *b = r->policy->self;
    struct whom w = { .out = out, .address = sender ? f->sender : f->recipient, .sender = sender };
    struct destination d;
    int rc;

    if (w.address.n == 0)
        return PH_NONE;
    if ((rc = basic_resolve(out, f->sender, w.address, &d)) < 0)
        return rc;
    if (d.invalid) {
        *action = sender ? PH_STR("501 5.1.7 Bad sender address syntax") : PH_STR("501 5.1.3 Bad recipient address syntax");
        return PH_FOUND;
    }
    if ((rc = is_mapped(b, d.recipient, sender, out)) != PH_NONE)
        return rc < 0 ? rc : PH_NONE;
    rc = routed_to_refusal(b, &w, &d, action);
    return rc == PH_NONE ? check_class(b, &w, &d, action) : rc;
}
