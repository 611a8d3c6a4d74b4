/* postwhy: smtp_generic_maps, of the service that the mail leaves by.  See postwhy.h. */
#include <posthorn/address_map.h>
#include <posthorn/error.h>
#include "core/cmd/postwhy_engine.h"

struct why_transport {
    struct why_transport *next;
    const struct ph_service_def *def;
    struct ph_conf *conf;          /* with its own settings */
    struct ph_address_map *generic;    /* NULL: there are none */
};

static int is(ph_str a, const char *b)
{
    return ph_str_eq(a, ph_cstr(b));
}

static struct why_transport *open_transport(struct why_engine *e, const struct ph_service_def *d)
{
    struct why_transport *t = ph_new(e->scope, struct why_transport);
    const char *what = is(d->code, "lmtp") ? "lmtp_generic_maps" : "smtp_generic_maps";
    struct ph_address_rules *rules;

    t->def = d;
    if (ph_conf_service(e->scope, e->conf, d->settings, d->settings_count, &t->conf) < 0)
        ph_cmd_fatal("%s", ph_error());
    ph_conf_identity(t->conf, ph_cstr_dup(e->scope, d->code), ph_cstr_dup(e->scope, d->name));
    ph_str list = ph_conf_value(t->conf, e->scope, what);
    if (list.n && (ph_address_rules_open(t->conf, e->scope, &rules) < 0 || ph_address_map_open(rules, what, list, "generic", &t->generic) < 0))
        ph_cmd_fatal("service %.*s: %s", PH_FMT(d->name), ph_error());
    t->next = e->transports;
    e->transports = t;
    return t;
}

static struct why_transport *find_transport(struct why_engine *e, const struct ph_service_def *d)
{
    struct why_transport *t = e->transports;

    while (t && t->def != d)
        t = t->next;
    return t ? t : open_transport(e, d);
}

/* Another address in external use, or empty: it stays. */
static ph_str seen_outside(struct why_report *r, struct ph_address_map *m, ph_str address)
{
    ph_str out;
    int rc = ph_address_map_one(m, r->scope, address, &out);

    if (rc < 0)
        why_note_failure(r);
    return rc == PH_FOUND && !ph_str_eq(out, address) ? out : PH_STR("");
}

void why_generic(struct why_engine *e, struct why_report *r, ph_str sender, struct why_result *n)
{
    const struct ph_service_def *d = ph_master_find_unix(e->master, n->transport);

    if (!d || (!is(d->code, "smtp") && !is(d->code, "lmtp")))
        return;
    struct why_transport *t = find_transport(e, d);
    if (!t->generic)
        return;
    e->stage = "generic";
    e->conf_now = t->conf;
    n->generic_sender = seen_outside(r, t->generic, sender);
    n->generic_recipient = seen_outside(r, t->generic, n->recipient);
}
