/* alias: alias_maps, and the owner- aliases that take a list's bounces. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <posthorn/address.h>
#include <posthorn/disk.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "local.h"

/* The external form of a local part: how postalias stores names. */
static ph_str quoted(struct ph_scope *s, ph_str local)
{
    ph_str whole = ph_address_external(s, ph_str_printf(s, "%.*s@x", PH_FMT(local)));

    return ph_str_first(whole, whole.n - 2);
}

/* One name in all tables: PH_FOUND with *val and the table, PH_NONE, negative. */
static int find_name(struct local_job *j, ph_str name, ph_str *val, const struct local_aliases **table)
{
    ph_str keys[2] = { quoted(j->scope, name), name };
    size_t n = ph_str_eq(keys[0], keys[1]) ? 1 : 2;

    for (size_t i = 0; i < j->agent->alias_count; i++)
        for (size_t k = 0; k < n; k++) {
            int rc = ph_maps_find(j->agent->aliases[i].maps, keys[k], j->scope, val);

            if (rc == PH_NONE)
                continue;
            *table = &j->agent->aliases[i];
            return rc;
        }
    return PH_NONE;
}

struct owner_query {
    const char *name;              /* of the table: "hash:/etc/aliases" */
    uint32_t uid;
};

/* Who owns the table's file; what is no file has no owner and counts as root's. */
static int find_owner(void *arg)
{
    static const char *const suffixes[] = { ".db", ".lmdb", ".cdb", ".pag", "" };
    struct owner_query *q = arg;
    const char *path = strchr(q->name, ':');
    struct stat st;
    char file[4096];

    path = path ? path + 1 : q->name;
    for (size_t i = 0; path[0] == '/' && i < sizeof suffixes / sizeof *suffixes; i++)
        if ((size_t)snprintf(file, sizeof file, "%s%s", path, suffixes[i]) < sizeof file && stat(file, &st) == 0) {
            q->uid = st.st_uid;
            return 0;
        }
    q->uid = 0;
    return 0;
}

/* 1 when an expansion that led here was of this alias (not the last one: that is
 * an alias that names itself). */
static int is_in_chain(const struct local_step *s, ph_str name)
{
    for (const struct local_step *up = s->parent; up; up = up->parent)
        if (ph_str_eq(up->alias, name))
            return 1;
    return 0;
}

/* joe: joe, archive: the member is the user. */
static int names_itself(const struct local_step *s)
{
    const struct local_step *up = s->parent;

    return up && up->alias.n && (ph_str_eq(up->alias, s->local) || ph_str_eq(up->alias, s->user));
}

/* The members' sender: owner-NAME when there is such an alias.  0, or negative. */
static int find_sender(struct local_job *j, struct local_step *s)
{
    const struct local_aliases *table;
    ph_str owner = ph_str_printf(j->scope, "owner-%.*s", PH_FMT(s->alias)), val;
    struct ph_alias_item d;
    struct ph_alias_walk w = { 0 };
    int rc = ph_str_starts(s->alias, PH_STR("owner-")) ? PH_NONE : find_name(j, owner, &val, &table);

    if (rc == PH_FOUND) {
        s->sender = owner;
        s->owned = j->owned = 1;
        if (j->agent->p.expand_owner && ph_alias_next(j->scope, val, &w, &d) == 1 && d.kind == PH_ALIAS_ADDRESS)
            s->sender = d.text;
    } else if (rc == PH_NONE && j->agent->p.reset_owner) {
        s->sender = j->d->message->sender;
        s->owned = 0;
    }
    return rc < 0 ? rc : 0;
}

static int find_rights(struct local_job *j, struct local_step *s, const struct local_aliases *table)
{
    struct owner_query q = { .name = table->name };
    struct local_rights *r;
    int rc;

    if ((rc = ph_disk(find_owner, &q)) < 0 || (rc = local_rights_owner(j->agent, j->scope, q.uid, &r)) < 0)
        return rc;
    s->rights = r;
    return 0;
}

/* The alias was found: its members become steps.  0, or negative. */
static int expand(struct local_job *j, struct local_step *s, ph_str val, const struct local_aliases *table)
{
    struct local_step *first = NULL, **tail = &first;
    int rc;

    if ((rc = find_rights(j, s, table)) < 0 || (rc = find_sender(j, s)) < 0)
        return rc;
    if ((rc = local_steps_of(j, s, LOCAL_BY_ALIAS, val, table->name, &tail)) < 0)
        return rc;
    if (!first)
        return ph_fail(PH_CONF, "%s: alias %.*s names nobody", table->name, PH_FMT(s->alias));
    j->expanded = 1;
    local_step_push(j, first);
    return 0;
}

static int find_alias(struct local_job *j, struct local_step *s, ph_str *val, const struct local_aliases **table)
{
    int rc = find_name(j, s->local, val, table);

    s->alias = s->local;
    if (rc == PH_NONE && s->user.n < s->local.n) {
        s->alias = s->user;
        return find_name(j, s->user, val, table);
    }
    if (rc == PH_FOUND)
        s->unmatched = PH_STR("");
    return rc;
}

int local_do_alias(struct local_job *j, struct local_step *s)
{
    const struct local_aliases *table;
    ph_str val;
    int rc;

    if (s->kind == PH_ALIAS_MAILBOX || names_itself(s))
        return PH_NONE;
    rc = find_alias(j, s, &val, &table);
    if (rc == PH_NONE || rc == PH_CANCEL) {
        s->alias = PH_STR("");
        return rc;
    }
    if (rc == PH_FOUND && is_in_chain(s, s->alias)) {
        local_bounced(j, s->parent, "5.4.6", "alias database loop for %.*s", PH_FMT(s->parent->alias.n ? s->parent->alias : s->alias));
        return PH_FOUND;
    }
    /* The verify service asks whether there is one, not what is behind it. */
    if (rc == PH_FOUND && (ph_trace_flags(j->d->message->trace_flags) & PH_TRACE_PROBE)) {
        local_sent(j, s, "aliased to %.*s", PH_FMT(val));
        return PH_FOUND;
    }
    if (rc == PH_FOUND && (rc = expand(j, s, val, table)) == 0)
        return PH_FOUND;
    if (rc == PH_CANCEL)
        return rc;
    ph_log_warn("%.*s: %s", PH_FMT(s->address), ph_error());
    local_deferred(j, s, rc == PH_CONF ? "4.3.5" : "4.3.0", rc == PH_CONF ? "mail system configuration error" : "alias database unavailable");
    return PH_FOUND;
}
