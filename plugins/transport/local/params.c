/* params: parameters of local and what open makes of them. */
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "local.h"

#define ST struct local_params
const struct ph_param local_rows[LOCAL_ROWS] = {
    PH_P_STR(ST, aliases, "alias_maps", "$default_database_type:/etc/aliases", "Tables of local aliases."),
    PH_P_STR(ST, allow_commands, "allow_mail_to_commands", "alias, forward", "Where \"|command\" may stand: alias, forward, include."),
    PH_P_STR(ST, allow_files, "allow_mail_to_files", "alias, forward", "Where /file/name may stand: alias, forward, include."),
    PH_P_STR(ST, command_filter, "command_expansion_filter", "1234567890!@%-_=+:,./abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", "Characters a command sees in its environment; others become _."),
    PH_P_RAW(ST, directory, "command_execution_directory", "", "Working directory of commands, with $home, $user ...; empty: the queue directory."),
    PH_P_STR(ST, directory_filter, "execution_directory_expansion_filter", "1234567890!@%-_=+:,./abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", "Characters allowed in the expansions of command_execution_directory."),
    PH_P_STR(ST, default_privs, "default_privs", "nobody", "Whose rights files and commands have that no user asked for."),
    PH_P_STR(ST, fallback, "fallback_transport", "", "Transport for names that are neither aliases nor users."),
    PH_P_STR(ST, fallback_maps, "fallback_transport_maps", "", "The same by name."),
    PH_P_STR(ST, forward_filter, "forward_expansion_filter", "1234567890!@%-_=+:,./abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", "Characters allowed in the expansions of forward_path."),
    PH_P_RAW(ST, forward_path, "forward_path", "$home/.forward${recipient_delimiter}${extension}, $home/.forward", "Where a user's .forward file may be; the first that is there counts."),
    PH_P_STR(ST, home_mailbox, "home_mailbox", "", "Mailbox below the home directory; one that ends in / is a maildir."),
    PH_P_STR(ST, shell, "local_command_shell", "", "Shell command that runs all commands; empty: the system's shell, for those that need one."),
    PH_P_RAW(ST, luser_relay, "luser_relay", "", "Address for names that are neither aliases nor users, with $user, $local ..."),
    PH_P_STR(ST, spool, "mail_spool_directory", "/var/mail", "Directory of the users' mailboxes; with a / behind it of their maildirs."),
    PH_P_RAW(ST, command, "mailbox_command", "", "Command that delivers to the users' mailboxes."),
    PH_P_STR(ST, command_maps, "mailbox_command_maps", "", "The same by user."),
    PH_P_STR(ST, lock, "mailbox_delivery_lock", "fcntl, dotlock", "How a mailbox is locked: fcntl, flock, dotlock."),
    PH_P_STR(ST, transport, "mailbox_transport", "", "Transport that delivers to all mailboxes."),
    PH_P_STR(ST, transport_maps, "mailbox_transport_maps", "", "The same by name."),
    PH_P_STR1(ST, myhostname, "myhostname", "", "Our host name."),
    PH_P_STR(ST, prepend, "prepend_delivered_header", "command, file, forward", "Deliveries that get a Delivered-To: header."),
    PH_P_STR(ST, propagate, "propagate_unmatched_extensions", "canonical, virtual", "Tables whose results get the address extension that no key had."),
    PH_P_STR(ST, delimiter, "recipient_delimiter", "", "Characters that separate user and extension."),
    PH_P_STR(ST, status_filter, "local_delivery_status_filter", "$default_delivery_status_filter", "Tables that edit code and text of an outcome."),
    PH_P_TIME(ST, time_limit, "command_time_limit", "1000s", "s", 1, 0, "Time a command may take."),
    PH_P_INT(ST, attempts, "deliver_lock_attempts", "20", 1, 0, "Tries to lock a mailbox before the delivery is deferred."),
    PH_P_TIME(ST, delay, "deliver_lock_delay", "1s", "s", 1, 0, "Time between two tries to lock a mailbox."),
    PH_P_TIME(ST, stale, "stale_lock_time", "500s", "s", 1, 0, "Age at which a lock file is taken for forgotten and removed."),
    PH_P_INT(ST, duplicates, "duplicate_filter_limit", "1000", 0, 0, "Destinations remembered to leave out duplicates; 0 means all."),
    PH_P_INT(ST, mailbox_limit, "mailbox_size_limit", "51200000", 0, 0, "Largest mailbox or maildir message in bytes; 0 means no limit."),
    PH_P_INT(ST, message_limit, "message_size_limit", "10240000", 0, 0, "Largest message in bytes."),
    PH_P_BOOL(ST, original, "enable_original_recipient", "yes", "Keep the recipient address as it was before aliasing."),
    PH_P_BOOL(ST, expand_owner, "expand_owner_alias", "no", "Send as the expansion of the owner- alias, not as the alias."),
    PH_P_BOOL(ST, owner_special, "owner_request_special", "yes", "Do not split owner-list and list-request."),
    PH_P_BOOL(ST, require_home, "require_home_directory", "no", "Defer mail of users whose home directory is missing."),
    PH_P_BOOL(ST, reset_owner, "reset_owner_alias", "no", "An alias without owner- does not keep its parent's."),
    PH_P_BOOL(ST, strict_owner, "strict_mailbox_ownership", "yes", "Defer mail for mailboxes that somebody else owns."),
};
#undef ST

/* A list of words as bits: `names` in the order of the bits, NULL-terminated. */
static int parse_words(const char *what, ph_str list, const char *const *names, uint32_t *bits)
{
    for (ph_str word; (word = ph_str_list(&list)).n; ) {
        size_t k = 0;

        while (names[k] && !ph_str_eq(word, ph_cstr(names[k])))
            k++;
        if (!names[k])
            return ph_fail(PH_CONF, "%s: unknown word \"%.*s\"", what, PH_FMT(word));
        *bits |= 1u << k;
    }
    return 0;
}

static int parse_lists(struct local_agent *a)
{
    static const char *const sources[] = { "alias", "forward", "include", NULL };
    static const char *const targets[] = { "command", "file", "forward", NULL };
    /* The last two are other programs' business. */
    static const char *const extensions[] = { "alias", "forward", "include", "canonical", "virtual", "generic", NULL };
    const struct local_params *p = &a->p;
    int rc;

    if ((rc = parse_words("allow_mail_to_commands", p->allow_commands, sources, &a->commands_by)) < 0 ||
        (rc = parse_words("allow_mail_to_files", p->allow_files, sources, &a->files_by)) < 0 ||
        (rc = parse_words("prepend_delivered_header", p->prepend, targets, &a->delivered_in)) < 0 ||
        (rc = parse_words("propagate_unmatched_extensions", p->propagate, extensions, &a->propagate_by)) < 0 ||
        (rc = mailbox_parse_locks("mailbox_delivery_lock", p->lock, &a->locks)) < 0)
        return rc;
    a->locks.attempts = p->attempts;
    a->locks.delay_s = p->delay;
    a->locks.stale_s = p->stale;
    return 0;
}

/* Each table by itself: whose file has the alias decides whose rights it gives. */
static int open_aliases(struct ph_transport *t, struct local_agent *a)
{
    size_t n = 0;
    int rc;

    for (ph_str list = a->p.aliases; ph_str_list(&list).n; )
        n++;
    a->aliases = ph_alloc_array(t->scope, n ? n : 1, sizeof *a->aliases);
    for (ph_str list = a->p.aliases, item; (item = ph_str_list(&list)).n; a->alias_count++) {
        struct local_aliases *one = &a->aliases[a->alias_count];

        one->name = ph_cstr_dup(t->scope, item);
        if ((rc = ph_maps_open(t->conf, t->scope, "alias_maps", item, PH_MAPS_FOLD | PH_MAPS_SECURE, &one->maps)) < 0)
            return rc;
    }
    return 0;
}

static int open_tables(struct ph_transport *t, struct local_agent *a)
{
    const uint32_t secure = PH_MAPS_FOLD | PH_MAPS_SECURE;
    int rc;

    if ((rc = open_aliases(t, a)) < 0 ||
        (rc = ph_maps_open(t->conf, t->scope, "mailbox_command_maps", a->p.command_maps, secure, &a->command_maps)) < 0 ||
        (rc = ph_maps_open(t->conf, t->scope, "mailbox_transport_maps", a->p.transport_maps, secure, &a->transport_maps)) < 0 ||
        (rc = ph_maps_open(t->conf, t->scope, "fallback_transport_maps", a->p.fallback_maps, secure, &a->fallback_maps)) < 0)
        return rc;
    return ph_maps_open(t->conf, t->scope, "local_delivery_status_filter", a->p.status_filter, 0, &a->status_filter);
}

/* Account databases load libraries and open files on first use: now, before the
 * seal. */
static int warm_up(struct ph_transport *t, const struct local_agent *a)
{
    PH_SCOPED(s, t->scope);
    struct local_user *u;
    struct ph_identity id;
    int rc;

    if (local_user_find(s, PH_STR("root"), &u) < 0)
        ph_log_warn("account databases: %s", ph_error());
    if ((rc = ph_identity_parse(s, a->p.default_privs, &id)) != PH_FOUND)
        return ph_fail(PH_CONF, "default_privs: no account \"%.*s\"", PH_FMT(a->p.default_privs));
    return 0;
}

int local_open(struct ph_transport *t)
{
    struct local_agent *a = ph_new(t->scope, struct local_agent);
    int rc;

    if ((rc = ph_params_load(t->conf, t->scope, local_rows, LOCAL_ROWS, sizeof *local_rows, &a->p)) < 0 ||
        (rc = parse_lists(a)) < 0)
        return rc;
    if (a->p.mailbox_limit && (a->p.message_limit > a->p.mailbox_limit || !a->p.message_limit))
        return ph_fail(PH_CONF, "mailbox_size_limit is smaller than message_size_limit");
    a->p.mail_name = ph_conf_value(t->conf, t->scope, "mail_name");
    a->p.queue_directory = ph_conf_value(t->conf, t->scope, "queue_directory");
    if (ph_conf_get_bool(t->conf, "frozen_delivered_to", &a->p.frozen) < 0)
        return PH_CONF;
    if ((rc = open_tables(t, a)) < 0 || (rc = warm_up(t, a)) < 0)
        return rc;
    a->turns = mailbox_turns_new(t->scope);
    a->environment = ph_command_environment(t->conf, t->scope);
    t->self = a;
    return 0;
}
