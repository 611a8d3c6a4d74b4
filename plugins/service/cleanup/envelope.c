/* envelope: sender and recipients on their way into the queue: completed, mapped,
 * expanded, without duplicates, and with copies.  A failure refuses the whole message.
 *
 * sender:    complete, the daemon's name becomes null, canonical, masquerade
 * recipient: complete, canonical, masquerade, aliases, duplicates; then its copies */
#include <posthorn/address.h>
#include <posthorn/dsn.h>
#include <posthorn/error.h>
#include "cleanup.h"

/* Standard form of an envelope address (always in local context): 0, or negative. */
static int complete(struct message *m, ph_str in, ph_str *out)
{
    /* Most are whole, and the same in both forms. */
    if (ph_str_find(in, '"') < 0 && ph_str_find(in, '\\') < 0 && ph_str_find(in, '@') == ph_str_rfind(in, '@') &&
        ph_address_is_whole(m->p->rules, in)) {
        *out = in;
        return 0;
    }
    *out = ph_address_external(m->step, in);
    return ph_address_complete(m->p->rules, m->step, "local", out, 1);
}

int cleanup_sender(struct message *m, ph_str sender)
{
    ph_str a;
    int rc = complete(m, sender, &a);

    if (rc < 0)
        return rc;
    ph_str daemon = ph_str_printf(m->step, "MAILER-DAEMON@%.*s", PH_FMT(m->p->myorigin));
    if (ph_str_eq_nocase(a, daemon) || ph_str_eq_nocase(a, PH_STR("MAILER-DAEMON")))
        a = PH_STR("");
    /* What fails for this sender is told at the end, with the message. */
    if (m->maps && (rc = cleanup_map(m->p, m->step, CLASS_ENVELOPE_SENDER, &a)) < 0 && (rc = cleanup_refuse(m, rc)) < 0)
        return rc;
    m->sender = ph_str_dup(m->scope, a);
    cleanup_detect(m, m->sender);
    if (m->intake)
        ph_intake_sender(m->intake, m->sender);
    return 0;
}

/* The domain in lower case, of "type;address" too. */
static void put_folded(struct ph_buf *b, ph_str address)
{
    ph_str local, domain;

    if (address.n == 0)
        return;
    ph_address_split(address, &local, &domain);
    ph_buf_put(b, address.p, address.n - domain.n);
    char *to = ph_buf_room(b, domain.n);
    for (size_t i = 0; i < domain.n; i++)
        to[i] = ph_lower(domain.p[i]);
    ph_buf_added(b, domain.n);
}

static ph_str duplicate_key(struct message *m, ph_str address, ph_str original, ph_str orcpt, ph_str notify)
{
    struct ph_buf b;

    ph_buf_init(&b, m->step, address.n + original.n + orcpt.n + notify.n + 3);
    ph_buf_room(&b, b.max);
    put_folded(&b, address);
    if (m->p->original) {
        ph_buf_putc(&b, '\n');
        put_folded(&b, original);
        ph_buf_putc(&b, '\n');
        put_folded(&b, orcpt);
        ph_buf_putc(&b, '\n');
        ph_buf_str(&b, notify);
    }
    return ph_buf_view(&b);
}

/* 1 when the same recipient was there before (and remembers this one). */
static int is_duplicate(struct message *m, ph_str address, ph_str original, ph_str orcpt, ph_str notify)
{
    if (m->p->duplicate_limit && ph_map_count(m->seen) >= (size_t)m->p->duplicate_limit)
        return 0;
    ph_str key = duplicate_key(m, address, original, orcpt, notify);
    if (ph_map_get(m->seen, key))
        return 1;
    ph_map_set(m->seen, key, m);
    return 0;
}

static int put(struct message *m, ph_str to, ph_str original, ph_str orcpt, ph_str notify)
{
    if (is_duplicate(m, to, original, orcpt, notify))
        return 0;
    cleanup_detect(m, to);
    if (m->intake)
        return ph_intake_recipient(m->intake, to, ph_str_eq(original, to) ? PH_STR("") : original, orcpt, notify);
    return cleanup_probe_put(m, to, original, notify);
}

/* The alias itself, when its sender is to hear that it has several members (RFC 3461
 * 5.2.7.3); *notify is what is left for them. */
static int put_expanded(struct message *m, ph_str to, ph_str original, ph_str orcpt, ph_str *notify)
{
    if (!m->intake || m->sender.n == 0 || m->dry || !(ph_notify_flags(*notify) & PH_NOTIFY_SUCCESS))
        return 0;
    int rc = is_duplicate(m, PH_STR("expanded"), original, orcpt, to) ? 0
             : ph_intake_expanded(m->intake, to, ph_str_eq(original, to) ? PH_STR("") : original, orcpt, *notify);

    *notify = ph_notify_rest(m->step, *notify);
    return rc;
}

/* A recipient in its last form, or those that it is an alias of. */
static int put_all(struct message *m, ph_str to, ph_str original, ph_str orcpt, ph_str notify)
{
    ph_str *list;
    size_t n;
    int rc = m->maps ? ph_address_map_expand(m->p->aliases, m->step, to, &m->p->limits, &list, &n) : PH_NONE;

    if (rc == PH_NONE)
        return put(m, to, original, orcpt, notify);
    if (rc == PH_PERM)
        return cleanup_refuse_alias(m);
    if (rc > 0)
        rc = 0;
    if (rc == 0 && n > 1)
        rc = put_expanded(m, to, original, orcpt, &notify);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = put(m, list[i], original, orcpt, notify);
    return rc;
}

static ph_str orcpt_of(struct message *m, ph_str address)
{
    return ph_str_printf(m->step, "%s;%.*s", ph_dsn_address_type(address), PH_FMT(address));
}

/* *to: the address as it is before aliases.  Without a history (original, orcpt) it
 * is mail of this host: the world's name for the recipient is the whole address,
 * ours the one that was given. */
static int add(struct message *m, ph_str address, ph_str original, ph_str orcpt, ph_str notify, ph_str *to)
{
    int rc = complete(m, address.n ? address : m->p->empty_recipient, to);

    if (rc < 0)
        return rc;
    if (m->maps && (rc = cleanup_map(m->p, m->step, CLASS_ENVELOPE_RECIPIENT, to)) < 0)
        return rc;
    if (original.n == 0 && orcpt.n == 0 && !ph_str_eq(*to, address))
        orcpt = orcpt_of(m, *to);
    return put_all(m, *to, original.n ? original : address, orcpt, notify);
}

/* A copy's address has no history: its original is what mapping makes of it, and
 * where quotes belong around it, the next host hears of it with them. */
static int add_copy(struct message *m, ph_str address)
{
    ph_str to, orcpt = PH_STR("");
    int rc = complete(m, address, &to);

    if (rc < 0 || (m->maps && (rc = cleanup_map(m->p, m->step, CLASS_ENVELOPE_RECIPIENT, &to)) < 0))
        return rc;
    ph_str external = ph_address_external(m->step, to);
    if (!ph_str_eq(external, to))
        orcpt = orcpt_of(m, external);
    return put_all(m, to, to, orcpt, PH_STR("NEVER"));
}

/* A copy to whom a table says, if it says one. */
static int add_copy_for(struct message *m, struct ph_address_map *map, ph_str address)
{
    ph_str copy;
    int rc = ph_address_map_one(map, m->step, address, &copy);

    return rc == PH_FOUND ? add_copy(m, copy) : rc == PH_NONE ? 0 : rc;
}

int cleanup_recipient(struct message *m, ph_str address, ph_str original, ph_str orcpt, ph_str notify)
{
    ph_str to;
    int rc = add(m, address, original, orcpt, notify, &to);

    return rc < 0 || !m->auto_bcc ? rc : add_copy_for(m, m->p->recipient_bcc, to);
}

int cleanup_expanded(struct message *m, ph_str address, ph_str original, ph_str orcpt, ph_str notify)
{
    return ph_intake_expanded(m->intake, address, original, orcpt, notify);
}

int cleanup_redirect(struct message *m, ph_str address)
{
    ph_str to;

    if (address.n == 0 || ph_intake_recipients(m->intake) == 0)
        return 0;
    ph_intake_forget_recipients(m->intake);
    m->seen = ph_map_new(m->scope);
    m->auto_bcc = 0;
    return add(m, address, address, PH_STR(""), PH_STR(""), &to);
}

int cleanup_copies(struct message *m)
{
    int rc = 0;

    if (!m->auto_bcc)
        return 0;
    if (m->sender.n)
        rc = add_copy_for(m, m->p->sender_bcc, m->sender);
    return rc == 0 && m->p->always_bcc.n ? add_copy(m, m->p->always_bcc) : rc;
}

int cleanup_envelope_end(struct message *m)
{
    int rc = ph_intake_recipients(m->intake) > 0 ? cleanup_copies(m) : 0;

    if (rc == 0 && ph_intake_recipients(m->intake) == 0)
        cleanup_fail(m, CLEAN_RECIPIENTS, "no recipients");
    return rc;
}
