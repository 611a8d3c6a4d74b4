/* envelope: sender and recipients: completed, without duplicates. */
#include <posthorn/address.h>
#include <posthorn/client.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "cleanup.h"

/* An address that is whole needs no question to rewrite. */
static int is_whole(const struct message *m, ph_str a)
{
    ph_str local, domain;

    ph_address_split(a, &local, &domain);
    return local.n && domain.n && a.p[0] != '@' && domain.p[domain.n - 1] != '.' &&
           (!m->p->append_domain || domain.p[0] == '[' || ph_str_find(domain, '.') >= 0);
}

/* Standard form of an envelope address (always in local context): 0, or negative. */
static int complete(struct message *m, ph_str in, ph_str *out)
{
    if (in.n == 0 || is_whole(m, in)) {
        *out = ph_str_dup(m->scope, in);
        return 0;
    }
    struct ph_frame *ask = ph_frame_new(m->scope), *reply;

    ph_frame_cstr(ask, "op", "rewrite");
    ph_frame_cstr(ask, "context", "local");
    ph_frame_str(ask, "address", ph_address_external(m->scope, in));
    int rc = ph_service_call(m->scope, "rewrite", ask, &reply);
    if (rc < 0)
        return rc;
    if (!ph_str_eq(ph_frame_value(reply, "status"), PH_STR("ok")))
        return ph_fail(PH_TEMP, "rewrite: %.*s", PH_FMT(ph_frame_value(reply, "reason")));
    *out = ph_address_bare(m->scope, ph_frame_value(reply, "address"));
    return 0;
}

int cleanup_sender(struct message *m, ph_str sender)
{
    int rc = complete(m, sender, &m->sender);

    if (rc < 0)
        return rc;
    ph_str daemon = ph_str_printf(m->scope, "MAILER-DAEMON@%.*s", PH_FMT(m->p->myorigin));
    if (ph_str_eq_nocase(m->sender, daemon) || ph_str_eq_nocase(m->sender, PH_STR("MAILER-DAEMON")))
        m->sender = PH_STR("");
    ph_intake_sender(m->intake, m->sender);
    return 0;
}

/* 1 when the same recipient was there before (and remembers this one). */
static int is_duplicate(struct message *m, ph_str address, ph_str original, ph_str orcpt, ph_str notify)
{
    ph_str local, domain, key;

    if (m->p->duplicate_limit && ph_map_count(m->seen) >= (size_t)m->p->duplicate_limit)
        return 0;
    ph_address_split(address, &local, &domain);
    domain = ph_str_lower(m->scope, domain);
    key = m->p->original
              ? ph_str_printf(m->scope, "%.*s@%.*s\n%.*s\n%.*s\n%.*s", PH_FMT(local), PH_FMT(domain), PH_FMT(original), PH_FMT(orcpt), PH_FMT(notify))
              : ph_str_printf(m->scope, "%.*s@%.*s", PH_FMT(local), PH_FMT(domain));
    if (ph_map_get(m->seen, key))
        return 1;
    ph_map_set(m->seen, key, m);
    return 0;
}

int cleanup_recipient(struct message *m, ph_str address, ph_str original, ph_str orcpt, ph_str notify)
{
    ph_str to;
    int rc = complete(m, address.n ? address : m->p->empty_recipient, &to);

    if (rc < 0)
        return rc;
    if (original.n == 0)
        original = address;
    if (is_duplicate(m, to, original, orcpt, notify))
        return 0;
    return ph_intake_recipient(m->intake, to, ph_str_eq(original, to) ? PH_STR("") : original, orcpt, notify);
}

int cleanup_redirect(struct message *m, ph_str address)
{
    if (address.n == 0 || ph_intake_recipients(m->intake) == 0)
        return 0;
    ph_intake_forget_recipients(m->intake);
    m->seen = ph_map_new(m->scope);
    return cleanup_recipient(m, address, address, PH_STR(""), PH_STR(""));
}

int cleanup_envelope_end(struct message *m)
{
    if (m->auto_bcc && m->p->always_bcc.n && ph_intake_recipients(m->intake) > 0) {
        int rc = cleanup_recipient(m, m->p->always_bcc, m->p->always_bcc, PH_STR(""), PH_STR("NEVER"));

        if (rc < 0)
            return rc;
    }
    if (ph_intake_recipients(m->intake) == 0)
        cleanup_fail(m, CLEAN_RECIPIENTS, "no recipients");
    return 0;
}
