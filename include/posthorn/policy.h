/* posthorn/policy.h: plugin kind "policy": smtpd restrictions.
 *
 * A plugin provides one or more restriction names.  smtpd's engine gives the
 * stage and the session's attributes and gets an access(5) action back. */
#ifndef POSTHORN_POLICY_H
#define POSTHORN_POLICY_H

#include <posthorn/plugin.h>

PH_BEGIN

#define PH_POLICY_REVISION 1

/* Stages, in order. */
#define PH_STAGE_CONNECT 1
#define PH_STAGE_HELO    2
#define PH_STAGE_MAIL    3
#define PH_STAGE_RCPT    4
#define PH_STAGE_DATA    5
#define PH_STAGE_EOD     6
#define PH_STAGE_ETRN    7
#define PH_STAGE_VRFY    8

/* What is known of the session; empty views for what is not known yet. */
struct ph_policy_facts {
    uint32_t size;
    uint32_t stage;                    /* PH_STAGE_*: the list being evaluated */
    ph_str client_name, client_address, reverse_name, client_port;
    ph_str client_name_status;         /* "OK", "TEMP", "PERM", "FORGED" */
    ph_str server_address, server_port;
    ph_str helo, protocol;             /* "SMTP", "ESMTP" */
    ph_str sender, recipient;          /* internal form, no <> */
    ph_str queue_id;
    ph_str sasl_method, sasl_username, sasl_sender;
    uint64_t message_bytes;            /* SIZE= or, at EOD, the real size */
    uint32_t recipient_count, has_sender, has_recipient, has_helo;
    ph_str instance;                   /* constant during one message */
    ph_str reverse_name_status;        /* "OK", "TEMP", "PERM" */
    ph_str etrn_domain;                /* at PH_STAGE_ETRN */
};

struct ph_policy {
    struct ph_scope *scope;            /* lives as long as the policy */
    void *self;
    const struct ph_policy_plugin *ops;
    struct ph_conf *conf;
};

/* One use in a list: "check_client_access hash:/x" has an argument.  Made by
 * prepare at start, so that tables are open before the seal. */
struct ph_restriction {
    struct ph_policy *policy;
    const char *name;
    ph_str argument;
    void *self;                        /* set by prepare */
};

struct ph_policy_name {
    const char *name;                  /* "check_client_access" */
    const char *argument;              /* NULL: none; else what it is, for errors: "type:table" */
    uint32_t needs;                    /* PH_STAGE_*: earliest stage whose facts it needs; 0 any */
    uint32_t pad;
};

struct ph_policy_plugin {
    struct ph_plugin plugin;
    const struct ph_policy_name *names;
    uint32_t name_count, name_stride;
    int32_t (*open)(struct ph_policy *p);
    int32_t (*prepare)(struct ph_restriction *r);
    /* PH_FOUND with *action, an access(5) action ("OK", "REJECT text", "450
     * 4.1.8 text", "DUNNO", "DEFER_IF_PERMIT text" ...) on out; PH_NONE: no
     * opinion (DUNNO); negative: could not decide, the engine defers. */
    int32_t (*check)(struct ph_restriction *r, const struct ph_policy_facts *f,
                     struct ph_scope *out, ph_str *action);
};

#define PH_PLUGIN_POLICY(name_, ...) \
    PH_ENTRY_(struct ph_policy_plugin, policy_##name_##_LTX_ph_plugin, PH_KIND_POLICY, PH_POLICY_REVISION, name_, __VA_ARGS__, .name_stride = sizeof(struct ph_policy_name))

/* Host side, for smtpd: the restriction of that name, opened and prepared.
 * 0 and *r on the scope; PH_CONF: unknown name (with what it may have meant or
 * which package), missing argument, or the plugin's own complaint. */
int ph_restriction_open(struct ph_conf *c, struct ph_scope *s, ph_str name, ph_str argument,
                        struct ph_restriction **r);
/* PH_FOUND when that name takes an argument, PH_NONE when not, PH_CONF unknown. */
int ph_restriction_has_argument(ph_str name);
int ph_restriction_check(struct ph_restriction *r, const struct ph_policy_facts *f,
                         struct ph_scope *out, ph_str *action) PH_YIELDS;

PH_END
#endif
