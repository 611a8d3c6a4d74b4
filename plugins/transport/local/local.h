/* local: what the parts of the local delivery agent share.
 *
 * local.c     the plugin; one recipient from its first step to its outcome
 * params.c    parameters and tables
 * name.c      a local name: alias, user, unknown user       alias.c   alias_maps, owner- aliases
 * member.c    a destination of an expansion: here, or forwarded
 * forward.c   .forward        include.c   :include: files    read.c   reading both with their owner's rights
 * mailbox.c   a user's mailbox, or a file                   command.c  a command
 * submit.c    the new message that carries forwarded addresses
 * user.c      accounts        rights.c    whose rights a delivery has
 * Pure: macro.c ($name), loop.c (Delivered-To)
 *
 * A recipient is a list of steps.  Each step is delivered, or puts the steps of
 * its expansion in front of the list: nothing recurses. */
#ifndef LOCAL_LOCAL_H
#define LOCAL_LOCAL_H

#include <posthorn/lookup.h>
#include <posthorn/map.h>
#include <posthorn/spawn.h>
#include <posthorn/transport.h>
#include "plugins/transport/common/mailbox.h"
#include <posthorn/alias.h>

#define LOCAL_ROWS 38

struct local_params {
    ph_str myhostname, mail_name, aliases, allow_commands, allow_files, command_filter, directory, directory_filter, default_privs,
        fallback, fallback_maps, forward_filter, forward_path, home_mailbox, shell, luser_relay, spool, command,
        command_maps, lock, transport, transport_maps, prepend, propagate, delimiter, status_filter, queue_directory;
    int64_t time_limit, attempts, delay, stale, duplicates, mailbox_limit, message_limit;
    int32_t original, expand_owner, frozen, owner_special, require_home, reset_owner, strict_owner;
};
extern const struct ph_param local_rows[LOCAL_ROWS];

/* Where something was named; allow_mail_to_*, propagate_unmatched_extensions. */
#define LOCAL_BY_ALIAS   1u
#define LOCAL_BY_FORWARD 2u
#define LOCAL_BY_INCLUDE 4u
/* prepend_delivered_header */
#define LOCAL_IN_COMMAND 1u
#define LOCAL_IN_FILE    2u
#define LOCAL_IN_FORWARD 4u

struct local_aliases {
    struct ph_maps *maps;
    const char *name;              /* "hash:/etc/aliases" */
};

struct local_agent {
    struct local_params p;
    struct local_aliases *aliases;
    size_t alias_count;
    struct ph_maps *command_maps, *transport_maps, *fallback_maps, *status_filter;
    struct mailbox_locks locks;
    struct mailbox_turns *turns;
    const char *const *environment;  /* what every command gets */
    uint32_t commands_by, files_by, propagate_by;  /* LOCAL_BY_* */
    uint32_t delivered_in;         /* LOCAL_IN_*: where Delivered-To is added */
};
int local_open(struct ph_transport *t);

/* ---- accounts and rights ---- */

struct local_user {
    ph_str name, home, shell;
    uint32_t uid, gid;
};
/* PH_FOUND and *u on s; PH_NONE; PH_TEMP: could not look.  Yields (disk pool). */
int local_user_find(struct ph_scope *s, ph_str name, struct local_user **u) PH_YIELDS;

/* With whose rights files and commands of a step are used. */
struct local_rights {
    struct ph_identity id;
    const struct local_user *user; /* NULL: no recipient of ours (an alias) */
};
/* Of a user; of a file's owner, which for root is default_privs.  0, or
 * negative with text. */
int local_rights_user(const struct local_agent *a, struct ph_scope *s, const struct local_user *u, struct local_rights **r) PH_YIELDS;
int local_rights_owner(const struct local_agent *a, struct ph_scope *s, uint32_t uid, struct local_rights **r) PH_YIELDS;

/* ---- one recipient ---- */

struct local_step {
    struct local_step *next;
    const struct local_step *parent;
    uint32_t kind;                 /* PH_ALIAS_ADDRESS ... of <posthorn/alias.h> */
    uint32_t by;                   /* LOCAL_BY_*; 0: the recipient itself */
    uint32_t depth;
    uint32_t known;                /* 1: address, local ... are set: a name of ours */
    uint32_t owned;                /* 1: sender is an owner- alias */
    uint32_t relayed;              /* 1: from luser_relay: not once more */
    ph_str text;                   /* what was named */
    ph_str address;                /* internal form, for the log */
    ph_str local, user, ext;       /* of address, in lower case; local is user+ext */
    ph_str unmatched;              /* "+ext" that no key consumed */
    ph_str alias;                  /* name under which it was found in alias_maps */
    ph_str sender;                 /* envelope sender of what comes of it */
    const struct local_rights *rights; /* NULL: not known (nobody's) */
};

struct local_forward;

struct local_job {
    struct ph_scope *scope;
    struct local_agent *agent;
    struct ph_delivery *d;
    uint32_t i;
    const struct ph_recipient *rcpt;
    struct local_step *steps;      /* still to do */
    struct ph_map *seen;           /* duplicate elimination */
    struct local_forward *forwards; /* new messages, by sender */
    ph_str delivered_to;
    uint32_t expanded;             /* 1: it was an alias or is forwarded */
    uint32_t owned;                /* 1: by an owner- alias */
};

/* A step below `parent` (NULL: the first), not yet in the list. */
struct local_step *local_step_new(struct local_job *j, const struct local_step *parent, uint32_t by, const struct ph_alias_item *d);
/* Put a chain of steps in front of the list. */
void local_step_push(struct local_job *j, struct local_step *first);
/* Take the parts of s->address: local, user, ext. */
void local_step_split(struct local_job *j, struct local_step *s, ph_str address);
/* Steps of a text in the grammar of <posthorn/alias.h>, appended at *tail.  0; PH_CONF: some
 * of it cannot be read, which is warned of (`what` names it). */
int local_steps_of(struct local_job *j, const struct local_step *parent, uint32_t by, ph_str list, const char *what, struct local_step ***tail);
/* 1 when this was there before (and remember it). */
int local_is_duplicate(struct local_job *j, const char *fmt, ...) PH_PRINTF(2, 3);

/* What became of a step. */
void local_report(struct local_job *j, const struct local_step *s, const struct ph_outcome *o) PH_YIELDS;
void local_sent(struct local_job *j, const struct local_step *s, const char *fmt, ...) PH_YIELDS PH_PRINTF(3, 4);
void local_bounced(struct local_job *j, const struct local_step *s, const char *dsn, const char *fmt, ...) PH_YIELDS PH_PRINTF(4, 5);
void local_deferred(struct local_job *j, const struct local_step *s, const char *dsn, const char *fmt, ...) PH_YIELDS PH_PRINTF(4, 5);
/* Deferred as "mail system configuration error" (4.3.5), the cause as a warning. */
void local_misconfigured(struct local_job *j, const struct local_step *s, const char *why) PH_YIELDS;

/* The kinds of steps: what they found they have reported.  0, or PH_CANCEL. */
int local_do_address(struct local_job *j, struct local_step *s) PH_YIELDS;
int local_do_name(struct local_job *j, struct local_step *s) PH_YIELDS;
int local_do_include(struct local_job *j, struct local_step *s) PH_YIELDS;
int local_do_file(struct local_job *j, struct local_step *s) PH_YIELDS;
int local_do_command(struct local_job *j, struct local_step *s, ph_str command) PH_YIELDS;
int local_do_mailbox(struct local_job *j, struct local_step *s, const struct local_user *u) PH_YIELDS;
/* PH_FOUND: there was one and its steps are in the list (or it is reported);
 * PH_NONE; PH_CANCEL. */
int local_do_alias(struct local_job *j, struct local_step *s) PH_YIELDS;
int local_do_forward(struct local_job *j, struct local_step *s, const struct local_user *u) PH_YIELDS;
/* "transport:nexthop" of a table (key: name) or a parameter: PH_FOUND: handed
 * over and reported; PH_NONE: neither names one; PH_CANCEL. */
int local_do_transport(struct local_job *j, struct local_step *s, struct ph_maps *maps, ph_str fallback, const char *what) PH_YIELDS;

/* Values of $user, $home ... for forward_path, luser_relay, command_execution_directory. */
int local_expand(struct local_job *j, const struct local_step *s, const struct local_user *u, ph_str text, ph_str filter, ph_str *out);

/* A file with somebody's rights, as a whole.  PH_FOUND and *text; PH_NONE: not
 * there; PH_PERM: not to be used, with text (a warning was logged); PH_TEMP. */
struct local_file {
    const char *path;
    uint32_t owner;                /* out: uid */
    uint32_t mode;                 /* out */
    ph_str text;                   /* out */
};
int local_file_read(struct local_job *j, const struct local_rights *r, uint32_t open_flags, uint64_t limit, struct local_file *f) PH_YIELDS;

/* Remember an address for the new message with that sender. */
void local_forward_to(struct local_job *j, const struct local_step *s, ph_str address);
/* Send the new messages; report each. */
int local_forward_all(struct local_job *j) PH_YIELDS;

#endif
