/* transport/virtual: mailboxes of hosted domains, by table look-ups only.
 * Reference: virtual(8).
 * Mailboxes are written with the rights of the uid and gid that tables say. */
#include <stdlib.h>
#include <string.h>
#include <posthorn/lookup.h>
#include <posthorn/transport.h>
#include "plugins/transport/common/mailbox.h"
#include "plugins/transport/common/status.h"

struct virtual_params {
    ph_str maps, base, uid_maps, gid_maps, lock, delimiter, status_filter;
    int64_t minimum_uid, limit, message_limit, attempts, delay, stale;
    int32_t original, strict_owner;
};

static const struct ph_param rows[] = {
    PH_P_STR(struct virtual_params, maps, "virtual_mailbox_maps", "", "Tables with the mailbox path of each recipient below virtual_mailbox_base; a path that ends in / is a maildir."),
    PH_P_STR(struct virtual_params, base, "virtual_mailbox_base", "", "Put in front of every result of virtual_mailbox_maps."),
    PH_P_STR(struct virtual_params, uid_maps, "virtual_uid_maps", "", "Tables with the numeric user id that owns a recipient's mailbox."),
    PH_P_STR(struct virtual_params, gid_maps, "virtual_gid_maps", "", "Tables with the numeric group id of a recipient's mailbox."),
    PH_P_INT(struct virtual_params, minimum_uid, "virtual_minimum_uid", "100", 1, 0, "Lowest user id that virtual_uid_maps may answer."),
    PH_P_INT(struct virtual_params, limit, "virtual_mailbox_limit", "51200000", 0, 0, "Largest mailbox or maildir message in bytes; 0 means no limit."),
    PH_P_INT(struct virtual_params, message_limit, "message_size_limit", "10240000", 0, 0, "Largest message in bytes."),
    PH_P_STR(struct virtual_params, lock, "virtual_mailbox_lock", "fcntl, dotlock", "How an mbox file is locked: fcntl, flock, dotlock."),
    PH_P_INT(struct virtual_params, attempts, "deliver_lock_attempts", "20", 1, 0, "Tries to lock a mailbox before the delivery is deferred."),
    PH_P_TIME(struct virtual_params, delay, "deliver_lock_delay", "1s", "s", 1, 0, "Time between two tries to lock a mailbox."),
    PH_P_TIME(struct virtual_params, stale, "stale_lock_time", "500s", "s", 1, 0, "Age at which a lock file is taken for forgotten and removed."),
    PH_P_STR(struct virtual_params, delimiter, "recipient_delimiter", "", "Characters that separate user and extension."),
    PH_P_STR(struct virtual_params, status_filter, "virtual_delivery_status_filter", "$default_delivery_status_filter",
             "Tables that replace \"X.Y.Z text\" of an outcome."),
    PH_P_BOOL(struct virtual_params, original, "enable_original_recipient", "yes", "Keep the recipient address as it was before aliasing."),
    PH_P_BOOL(struct virtual_params, strict_owner, "strict_mailbox_ownership", "yes", "Defer mail for mailboxes that somebody else owns."),
};

struct virtual_agent {
    struct virtual_params p;
    struct ph_maps *mailbox, *uid, *gid, *filter;
    struct mailbox_locks locks;
    struct mailbox_turns *turns;
};

/* The spawner need not believe us more than that.  Without one (all mailboxes are
 * our own) there is nothing to limit. */
static int limit_spawner(const struct virtual_params *p)
{
    struct ph_spawn_limits l = { .size = sizeof l, .files = 1, .least_uid = (uint32_t)p->minimum_uid, .below = p->base.p };
    int rc = ph_spawn_limit(&l);

    return rc == PH_CONF ? rc : 0;
}

static int virtual_open(struct ph_transport *t)
{
    struct virtual_agent *self = ph_new(t->scope, struct virtual_agent);
    struct virtual_params *p = &self->p;
    int rc;

    if ((rc = ph_params_load(t->conf, t->scope, rows, sizeof rows / sizeof *rows, sizeof *rows, p)) < 0 ||
        (rc = mailbox_parse_locks("virtual_mailbox_lock", p->lock, &self->locks)) < 0)
        return rc;
    self->locks.attempts = p->attempts;
    self->locks.delay_s = p->delay;
    self->locks.stale_s = p->stale;
    if (p->base.n == 0)
        return ph_fail(PH_CONF, "virtual_mailbox_base is empty: set the directory below which mailboxes are");
    if (p->limit && p->message_limit > p->limit)
        return ph_fail(PH_CONF, "virtual_mailbox_limit is smaller than message_size_limit");
    if ((rc = limit_spawner(p)) < 0)
        return ph_wrap(rc, "virtual_mailbox_base");
    /* A pattern may put parts of the address into the path: check_path keeps it
     * below the base.  The ids, which give rights, may not. */
    if ((rc = ph_maps_open(t->conf, t->scope, "virtual_mailbox_maps", p->maps, PH_MAPS_FOLD, &self->mailbox)) < 0 ||
        (rc = ph_maps_open(t->conf, t->scope, "virtual_uid_maps", p->uid_maps, PH_MAPS_FOLD | PH_MAPS_SECURE, &self->uid)) < 0 ||
        (rc = ph_maps_open(t->conf, t->scope, "virtual_gid_maps", p->gid_maps, PH_MAPS_FOLD | PH_MAPS_SECURE, &self->gid)) < 0 ||
        (rc = ph_maps_open(t->conf, t->scope, "virtual_delivery_status_filter", p->status_filter, 0, &self->filter)) < 0)
        return rc;
    self->turns = mailbox_turns_new(t->scope);
    t->self = self;
    return 0;
}

/* user+ext@dom, user@dom, @dom: PH_FOUND, PH_NONE, negative. */
static int look_up(struct virtual_agent *self, struct ph_maps *maps, ph_str address, struct ph_scope *s, ph_str *val)
{
    ph_str ext;

    return ph_maps_find_address(maps, ph_str_lower(s, address), self->p.delimiter, 0, s, val, &ext);
}

/* A number of virtual_uid_maps or virtual_gid_maps. */
static int find_id(struct virtual_agent *self, struct ph_maps *maps, const char *what, ph_str address,
                   struct ph_scope *s, int64_t least, uint32_t *out)
{
    ph_str text;
    int64_t id;
    int rc = look_up(self, maps, address, s, &text);

    if (rc < 0)
        return rc;
    if (rc == PH_NONE || !ph_str_i64(text, &id) || id < least || id > INT32_MAX) {
        ph_log_warn("recipient %.*s: %s: %s", PH_FMT(address), what, rc == PH_NONE ? "not found" : "bad or too small number");
        return ph_fail(PH_TEMP, "mail system configuration error");
    }
    *out = (uint32_t)id;
    return 0;
}

/* Whose mailbox it is. */
static int find_owner(struct virtual_agent *self, struct ph_scope *s, ph_str address, struct ph_identity *id)
{
    int rc;

    *id = (struct ph_identity){ .size = sizeof *id };
    if ((rc = find_id(self, self->uid, "virtual_uid_maps", address, s, self->p.minimum_uid, &id->uid)) == 0)
        rc = find_id(self, self->gid, "virtual_gid_maps", address, s, 1, &id->gid);
    return rc;
}

/* Relative to the base, without "..", control characters or an empty name. */
static int check_path(ph_str path)
{
    ph_str rest = path;

    if (path.n == 0 || path.n > 2000)
        return ph_fail(PH_TEMP, "mail system configuration error: empty or overlong mailbox path");
    for (size_t i = 0; i < path.n; i++)
        if ((unsigned char)path.p[i] < 0x20 || path.p[i] == 0x7f)
            return ph_fail(PH_TEMP, "mail system configuration error: control character in the mailbox path");
    while (rest.n)
        if (ph_str_eq(ph_str_cut(&rest, '/'), PH_STR("..")))
            return ph_fail(PH_TEMP, "mail system configuration error: \"..\" in the mailbox path");
    return 0;
}

static int write_mailbox(struct virtual_agent *self, struct ph_scope *s, struct ph_delivery *d,
                         const struct ph_recipient *r, ph_str path, const struct ph_identity *id, const char **dsn, int *maildir)
{
    ph_str full = ph_str_printf(s, "%.*s/%.*s", PH_FMT(self->p.base), PH_FMT(path));

    *maildir = ph_str_ends(path, PH_STR("/"));
    struct mailbox_job job = {
        .message = d->message, .path = full.p, .limit = (uint64_t)self->p.limit, .locks = &self->locks, .turns = self->turns,
        .any_owner = !self->p.strict_owner, .may_be_own = 1,
        .prefix = mailbox_prefix(s, d->message->sender, self->p.original ? (r->original.n ? r->original : r->address) : PH_STR(""),
                                 r->address, !*maildir),
    };
    int rc = mailbox_open(s, &job, id);

    if (rc == PH_CONF) {
        ph_log_warn("recipient %.*s: %s", PH_FMT(r->address), ph_error());
        return ph_fail(PH_TEMP, "mail system configuration error");
    }
    if (rc == 0)
        rc = mailbox_deliver(&job, *maildir);
    if (rc < 0) {
        *dsn = job.dsn ? job.dsn : "4.3.0";
        return *maildir ? ph_wrap(rc, "maildir delivery failed")
                        : ph_wrap(rc, "delivery failed to mailbox %s", full.p);
    }
    return 0;
}

static void report(struct virtual_agent *self, struct ph_scope *s, struct ph_delivery *d, uint32_t i, uint32_t status, const char *dsn, ph_str text)
{
    struct ph_outcome o = { .size = sizeof o, .status = status, .dsn = ph_cstr(dsn), .text = text, .relay = ph_cstr(d->transport->service) };

    transport_filter(self->filter, "virtual_delivery_status_filter", s, &o);
    ph_delivered(d, i, &o);
}

static void deliver_one(struct virtual_agent *self, struct ph_delivery *d, uint32_t i)
{
    PH_SCOPED(s, d->scope);
    const struct ph_recipient *r = &d->rcpt[i];
    const char *dsn = "4.3.5";
    struct ph_identity id;
    int maildir = 0;
    ph_str path;
    int rc = look_up(self, self->mailbox, r->address, s, &path);

    if (rc == PH_NONE) {
        report(self, s, d, i, PH_RCPT_BOUNCED, "5.1.1", ph_str_printf(s, "unknown user: \"%.*s\"", PH_FMT(ph_str_lower(s, r->address))));
        return;
    }
    if (rc < 0)
        dsn = "4.3.0";
    else if ((rc = check_path(path)) == 0 &&
             (rc = find_owner(self, s, r->address, &id)) == 0)
        rc = d->probe ? (maildir = ph_str_ends(path, PH_STR("/")), 0) : write_mailbox(self, s, d, r, path, &id, &dsn, &maildir);
    if (rc == PH_CANCEL)
        return;                    /* left open: core defers it */
    if (rc < 0)
        report(self, s, d, i, rc == PH_PERM && dsn[0] == '5' ? PH_RCPT_BOUNCED : PH_RCPT_DEFERRED, dsn, ph_str_dup(s, ph_cstr(ph_error())));
    else
        report(self, s, d, i, PH_RCPT_SENT, "2.0.0", ph_str_printf(s, "%s to %s", d->probe ? "delivers" : "delivered", maildir ? "maildir" : "mailbox"));
}

static int virtual_deliver(struct ph_transport *t, struct ph_delivery *d)
{
    for (uint32_t i = 0; i < d->rcpt_count; i++)
        if (d->rcpt[i].state == PH_RCPT_OPEN)
            deliver_one(t->self, d, i);
    return 0;
}

PH_PLUGIN_TRANSPORT(virtual, PH_IS(.summary = "mailboxes of hosted domains (maildir, mbox)", .exec = PH_COROUTINE,
                                   .concurrency = PH_MANY_CALLS, .params = rows, .param_count = sizeof rows / sizeof *rows),
    .needs = "mailbox spawn",
    .open = virtual_open,
    .deliver = virtual_deliver,
    .probes = 1);
