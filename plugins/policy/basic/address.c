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

static ph_str refusal(struct ph_scope *out, const struct basic *b, int64_t code, const char *dsn, int sender, ph_str address, const char *table)
{
    return ph_str_printf(out, "%lld %c%s <%.*s>: %s address rejected: User unknown%s%s%s", (long long)code, code < 500 ? '4' : '5', dsn + 1,
                         PH_FMT(ph_str_first(address, 200)), sender ? "Sender" : "Recipient", b->p.show_table ? " in " : "", b->p.show_table ? table : "",
                         b->p.show_table ? " table" : "");
}

static int is_exempt(const struct basic *b, ph_str local)
{
    return ph_str_eq_nocase(local, PH_STR("postmaster")) || ph_str_eq_nocase(local, PH_STR("MAILER-DAEMON")) || ph_str_eq_nocase(local, b->p.double_bounce);
}

int check_unlisted(struct ph_restriction *r, const struct ph_policy_facts *f, struct ph_scope *out, ph_str *action, int sender)
{
    struct basic *b = r->policy->self;
    ph_str address = sender ? f->sender : f->recipient, local, domain;
    const char *dsn = sender ? "5.1.0" : "5.1.1";
    struct destination d;
    int rc;

    if (address.n == 0)
        return PH_NONE;
    if ((rc = is_listed(b, b->alias_maps, "virtual_alias_maps", address, 0, out)) != PH_NONE)
        return rc < 0 ? rc : PH_NONE;
    if ((rc = basic_resolve(out, f->sender, address, &d)) < 0)
        return rc;
    if (d.invalid) {
        *action = sender ? PH_STR("501 5.1.7 Bad sender address syntax") : PH_STR("501 5.1.3 Bad recipient address syntax");
        return PH_FOUND;
    }
    ph_address_split(d.recipient, &local, &domain);
    if (is(d.class_, "alias")) {
        *action = refusal(out, b, b->p.alias_code, dsn, sender, address, "virtual alias");
        return PH_FOUND;
    }
    if (is(d.class_, "virtual")) {
        rc = is_listed(b, b->virtual_maps, "virtual_mailbox_maps", ph_str_lower(out, d.recipient), 0, out);
        *action = refusal(out, b, b->p.mailbox_code, dsn, sender, address, "virtual mailbox");
    } else if (is(d.class_, "local") && b->p.local_rcpt.n && !is_exempt(b, local)) {
        rc = is_listed(b, b->local_rcpt, "local_recipient_maps", d.recipient, 1, out);
        *action = refusal(out, b, b->p.local_code, dsn, sender, address, "local recipient");
    } else if (is(d.class_, "relay") && b->p.relay_rcpt.n) {
        rc = is_listed(b, b->relay_rcpt, "relay_recipient_maps", d.recipient, 0, out);
        *action = refusal(out, b, b->p.relay_rcpt_code, dsn, sender, address, "relay recipient");
    } else {
        rc = PH_FOUND;
    }
    if (rc < 0)
        return rc;
    if (rc == PH_NONE)
        return PH_FOUND;           /* not listed: the refusal stands */
    if (!is(d.transport, "error") && !is(d.transport, "retry"))
        return PH_NONE;
    /* Routed to a refusal: say it now instead of bouncing later. */
    ph_str code, text = d.nexthop;
    if (!ph_dsn_parse(d.nexthop, &code, &text))
        code = is(d.transport, "error") ? ph_cstr(dsn) : PH_STR("4.1.1");
    *action = ph_str_printf(out, "%d %.*s <%.*s>: %s address rejected: %.*s", is(d.transport, "error") ? 550 : 450, PH_FMT(code),
                            PH_FMT(ph_str_first(address, 200)), sender ? "Sender" : "Recipient", PH_FMT(text));
    return PH_FOUND;
}
