/* smtpd: what the parts of the SMTP server share.  RFC 5321, 2920, 1870, 6152, 2034.
 *
 * service.c  plugin, one session from greeting to end     params.c   parameters
 * verbs.c    the table of verbs, the small ones           mail.c     MAIL, RCPT
 * data.c     DATA: from the wire to cleanup               intake.c   the cleanup connection
 * client.c   who the client is                            reply.c    replies and reject lines
 * restrict.c restriction lists                            action.c   what an access(5) action means */
#ifndef SMTPD_H
#define SMTPD_H

#include <posthorn/buf.h>
#include <posthorn/frame.h>
#include <posthorn/lookup.h>
#include <posthorn/map.h>
#include <posthorn/policy.h>
#include <posthorn/service.h>
#include <posthorn/wire.h>

#define SMTPD_ROWS 47

struct smtpd_params {
    ph_str banner, myhostname, mail_name, mynetworks, forbidden, noop_commands, discard_ehlo, bare_newline, bare_exclusions, pipelining_exclusions;
    ph_str client_list, helo_list, sender_list, relay_list, recipient_list, data_list, eod_list, classes, null_key, rewrite_clients;
    int64_t timeout, line_limit, rcpt_limit, overshoot, soft_limit, hard_limit, sleep_time, junk_limit, size_limit, minfree, bare_code;
    int64_t reject_code, defer_code, map_reject_code, map_defer_code;
    int32_t helo_required, delay_reject, peername, port_logging, strict_envelopes, no_vrfy, unlisted_rcpt, unlisted_sender, relay_first, forbid_pipelining, soft_bounce,
        allow_min_user;
};

extern const struct ph_param smtpd_rows[SMTPD_ROWS];

enum list { LIST_CLIENT, LIST_HELO, LIST_SENDER, LIST_RELAY, LIST_RECIPIENT, LIST_DATA, LIST_EOD, LISTS };

struct rule;                       /* restrict.c */

struct rule_list {
    const char *name;              /* of the parameter or class */
    struct rule *first, **last;
};

/* One per service: read at open, shared by all sessions. */
struct smtpd_conf {
    struct smtpd_params p;
    struct ph_scope *scope;
    struct ph_conf *conf;
    int queue_dir_fd;
    struct ph_match *mynetworks, *bare_exclusions, *pipelining_exclusions;
    uint32_t bare_mode;            /* PH_BARE_* for clients that are not excluded */
    struct rule_list list[LISTS];
    struct ph_map *classes;        /* name to rule_list */
    struct ph_restriction *unlisted_rcpt, *unlisted_sender;
    struct ph_ip *own;             /* our interfaces' addresses: local rewriting */
    size_t own_count;
    struct ph_map *names;          /* loopback address to its name: looked up once */
    struct intake *idle_intake;    /* cleanup connections between messages */
    unsigned idle_count;
};

enum { CMD_HELO, CMD_EHLO, CMD_MAIL, CMD_RCPT, CMD_DATA, CMD_RSET, CMD_NOOP, CMD_VRFY, CMD_QUIT, CMD_HELP, CMD_UNKNOWN, CMDS };

struct transaction {
    struct ph_scope *scope;
    ph_str sender, sender_shown;   /* internal; as logged */
    int open;                      /* MAIL was accepted */
    uint32_t rcpt_count, rcpt_refused;
    ph_str first_rcpt;
    uint64_t size_said;
    int body_8bit;
    struct intake *intake;         /* the connection to cleanup, once a recipient is accepted */
    ph_str queue_id;
    ph_str prepend;                /* header lines from PREPEND */
    int hold, discard;
};

struct session {
    struct smtpd_conf *c;
    struct ph_scope *scope;
    struct ph_stream *io;
    const struct ph_peer *peer;
    ph_str name, reverse, name_addr;   /* verified name or "unknown"; PTR; name[addr] */
    const char *name_status;           /* OK TEMP PERM FORGED */
    ph_str helo;
    int esmtp, quit, is_local, bad_pipelining;
    uint32_t bare_mode;
    int64_t errors, junk;
    uint32_t ok[CMDS], total[CMDS];
    const char *where;             /* for "after WHERE" */
    struct transaction t;
    struct ph_policy_facts facts;
    ph_str instance;
    uint64_t serial;
};

/* reply.c.  A 4xx or 5xx counts as an error; 421 and 521 end the session. */
int reply(struct session *s, const char *fmt, ...) PH_YIELDS PH_PRINTF(2, 3);
/* The reject line of the log, then the reply.  WHERE is the verb. */
int reject(struct session *s, const char *where, ph_str text, ph_str rcpt) PH_YIELDS;
/* The same words under another keyword, without a reply ("reject_warning", "warn"). */
void log_decision(struct session *s, const char *keyword, const char *where, ph_str text, ph_str rcpt);
/* Bytes that could end a log field or a header comment become '?'. */
ph_str clean_helo(struct ph_scope *s, ph_str text);

/* client.c: fills name, reverse, status.  Yields (DNS). */
void client_identify(struct session *s) PH_YIELDS;
int client_own_addresses(struct smtpd_conf *c);

/* restrict.c */
int restrict_open(struct smtpd_conf *c);
/* Run the lists of a stage.  PH_FOUND: refused, *text is the reply; PH_NONE:
 * go on; PH_CANCEL.  Never lets a failure pass as permission. */
int restrict_stage(struct session *s, uint32_t stage, const char *where, ph_str rcpt, ph_str *text) PH_YIELDS;

/* action.c: what an action means. */
enum verdict { V_DUNNO, V_OK, V_REJECT, V_DEFER_IF_PERMIT, V_DEFER_IF_REJECT, V_RULES, V_FAIL };
struct subject {                   /* of a table look-up: "<NAME>: CLASS rejected: " */
    const char *class_;
    ph_str name;
};
/* What one access(5) action means: the verdict, and *text on out: the reply, or
 * for V_RULES a list of restriction names.  sub NULL: the action's words are
 * the whole reply, not a reason to be completed. */
enum verdict action_parse(struct session *s, struct ph_scope *out, const struct subject *sub, const char *where, ph_str rcpt, ph_str action, ph_str *text);

/* mail.c, data.c: verbs.  Answer: 0, or negative when the session must end. */
int do_mail(struct session *s, ph_str args) PH_YIELDS;
int do_rcpt(struct session *s, ph_str args) PH_YIELDS;
int do_data(struct session *s, ph_str args) PH_YIELDS;
void transaction_reset(struct session *s);

/* verbs.c */
int verb_run(struct session *s, ph_str line) PH_YIELDS;

/* intake.c: one message at cleanup. */
struct intake {
    struct ph_scope *scope;
    struct ph_stream *io;
    struct intake *next;
    int broken;
};
/* Begin a message: 0 and the queue id; PH_TEMP with text. */
int intake_begin(struct session *s) PH_YIELDS;
int intake_rcpt(struct session *s, ph_str address, ph_str original) PH_YIELDS;
int intake_content(struct session *s, ph_str bytes) PH_YIELDS;
/* The end: 0 and the reply line of cleanup on the transaction's scope; negative. */
int intake_end(struct session *s, uint32_t facts, ph_str *answer) PH_YIELDS;
/* Give the connection back, or close it in mid-message. */
void intake_release(struct session *s, int reusable);

#endif
