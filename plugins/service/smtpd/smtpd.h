/* smtpd: what the parts of the SMTP server share.  RFC 5321, 1870, 2034, 2920, 3030, 3461, 6152, 6531.
 *
 * service.c  plugin, configuration           session.c  one session from greeting to end, its log lines
 * verbs.c    the table of verbs, the way to them, the small ones
 * ehlo.c     HELO, EHLO, keywords            esmtp.c    parameters of MAIL and RCPT
 * mail.c     MAIL, RCPT                      data.c     DATA
 * bdat.c     BDAT                            content.c  from the wire to cleanup, the end of a message
 * received.c Received: and headers above it  intake.c   the cleanup connection
 * client.c   who the client is               xclient.c  XCLIENT, XFORWARD
 * reply.c    replies and reject lines        etrn.c     ETRN
 * restrict.c restriction lists               action.c   what an access(5) action means
 * footer.c   text behind refusals            params.c   parameters */
#ifndef SMTPD_H
#define SMTPD_H

#include <posthorn/transcript.h>
#include <posthorn/buf.h>
#include <posthorn/frame.h>
#include <posthorn/lookup.h>
#include <posthorn/map.h>
#include <posthorn/policy.h>
#include <posthorn/service.h>
#include <posthorn/wire.h>

#define SMTPD_ROWS 66

struct smtpd_params {
    ph_str banner, myhostname, mail_name, mynetworks, forbidden, noop_commands, discard_ehlo, discard_ehlo_maps, bare_newline, bare_exclusions;
    ph_str client_list, helo_list, sender_list, relay_list, recipient_list, data_list, eod_list, etrn_list, classes, null_key, rewrite_clients;
    ph_str xclient_hosts, xforward_hosts, command_filter, flush_domains, parent_matches, overrides, verify_sender, myorigin;
    ph_str footer, footer_maps, expansion_filter, permit_actions;
    int64_t timeout, line_limit, rcpt_limit, overshoot, soft_limit, hard_limit, sleep_time, junk_limit, size_limit, minfree, bare_code, data_rate;
    int64_t reject_code, defer_code, map_reject_code, map_defer_code;
    int32_t helo_required, delay_reject, peername, port_logging, strict_envelopes, no_vrfy, unlisted_rcpt, unlisted_sender, relay_first, forbid_pipelining, soft_bounce,
        allow_min_user, utf8, strict_utf8, per_request, late_open, hide_client;
};

extern const struct ph_param smtpd_rows[SMTPD_ROWS];

enum list { LIST_CLIENT, LIST_HELO, LIST_SENDER, LIST_RELAY, LIST_RECIPIENT, LIST_DATA, LIST_EOD, LIST_ETRN, LISTS };

struct rule;                       /* restrict.c */

struct rule_list {
    const char *name;              /* of the parameter or class */
    struct rule *first, **last;
};

/* EHLO keywords that can be hidden (ehlo.c). */
#define KEY_PIPELINING  1u
#define KEY_SIZE        2u
#define KEY_VRFY        4u
#define KEY_ETRN        8u
#define KEY_STARTTLS   16u
#define KEY_AUTH       32u
#define KEY_XVERP      64u
#define KEY_XCLIENT   128u
#define KEY_XFORWARD  256u
#define KEY_CODES     512u
#define KEY_8BITMIME 1024u
#define KEY_DSN      2048u
#define KEY_SMTPUTF8 4096u
#define KEY_CHUNKING 8192u
#define KEY_REQUIRETLS 16384u
#define KEY_SILENT   32768u        /* silent-discard: hide without a log line */

#define HELO_MAX 255u              /* bytes of an EHLO name that are kept */

/* One per service: read at open, shared by all sessions. */
struct smtpd_conf {
    struct smtpd_params p;
    struct ph_scope *scope;
    struct ph_conf *conf;
    int queue_dir_fd;
    /* Lists and tables; NULL when the parameter is empty, so that it costs nothing. */
    struct ph_match *mynetworks, *bare_exclusions, *xclient_hosts, *xforward_hosts, *forbidden, *noop_commands, *flush_domains, *permit_actions;
    struct ph_maps *discard_ehlo_maps, *command_filter, *footer_maps;
    ph_str shown_bytes;            /* smtpd_expansion_filter */
    uint32_t bare_mode;            /* PH_BARE_* for clients that are not excluded */
    int note_bare;                 /* smtpd_forbid_bare_newline = note */
    struct ph_transcript_rules *transcripts;  /* notify_classes */
    uint32_t hidden;               /* KEY_*: never announced */
    ph_str ehlo;                   /* the EHLO reply to most clients */
    ph_str help;                   /* the reply to HELP */
    ph_str verify_sender;          /* sender of our own address probes */
    const char *cleanup_flags;     /* receive_override_options */
    int check_unlisted;            /* ... of which no_unknown_recipient_checks */
    int rewrite_own, rewrite_networks; /* local_header_rewrite_clients: permit_inet_interfaces, permit_mynetworks */
    struct ph_maps *rewrite_maps;  /* the tables of its check_address_map, or NULL */
    struct rule_list list[LISTS];
    struct ph_map *classes;        /* name to rule_list */
    struct ph_restriction *unlisted_rcpt, *unlisted_sender;
    struct ph_ip *own;             /* inet_interfaces: local rewriting */
    size_t own_count;
    struct ph_map *names;          /* loopback address to its name: looked up once */
    struct intake *idle_intake;    /* cleanup connections between messages */
    unsigned idle_count;
    struct ph_buf date;            /* for Received:, of this second */
    int64_t date_second;
    uint64_t space;                /* free bytes of the queue's filesystem ... */
    int64_t space_until_ms;        /* ... and how long we believe it */
};

/* In the order of the disconnect line. */
enum {
    CMD_HELO, CMD_EHLO, CMD_XCLIENT, CMD_XFORWARD, CMD_STARTTLS, CMD_AUTH, CMD_MAIL, CMD_RCPT, CMD_DATA, CMD_BDAT, CMD_RSET, CMD_NOOP, CMD_VRFY,
    CMD_ETRN, CMD_QUIT, CMD_HELP, CMD_UNKNOWN, CMDS
};

/* What MAIL and RCPT declare (esmtp.c); views live as long as the scope of the parse. */
struct mail_args {
    uint64_t size;
    const char *body;              /* "7BIT", "8BITMIME" or NULL */
    int utf8;                      /* SMTPUTF8 */
    const char *ret;               /* "FULL", "HDRS" or NULL */
    ph_str envid;                  /* decoded */
    ph_str auth;                   /* AUTH=, as given */
};
struct rcpt_args {
    const char *notify;            /* "NEVER", "SUCCESS,FAILURE" ... or NULL */
    ph_str orcpt;                  /* "type;decoded", or empty */
};
/* Why a command is refused: text NULL means it is not. */
struct refusal {
    const char *text;
    int logged;                    /* with a reject line */
};

/* What XFORWARD said: for the log, and where headers count as local. */
struct forward {
    ph_str name, addr, port, proto, helo, ident;
    int is_local;
};

struct extra {
    struct extra *next;
    ph_str address;
};

struct transaction {
    struct ph_scope *scope;        /* of transaction_scope; NULL while nothing is kept */
    ph_str sender, sender_shown;   /* internal; as logged */
    int open;                      /* MAIL was accepted */
    struct mail_args args;
    uint32_t rcpt_count, rcpt_refused, rcpt_over;
    ph_str first_rcpt;
    struct intake *intake;         /* the connection to cleanup, once a recipient is accepted */
    struct content *content;       /* from DATA or the first BDAT on */
    struct forward *forward;
    ph_str queue_id, instance;
    ph_str prepend;                /* header lines from PREPEND */
    ph_str sticky;                 /* defer_if_permit of the sender list, kept for RCPT */
    int hold, discard;
    ph_str redirect;               /* the one recipient instead of all, from REDIRECT */
    struct extra *bcc;             /* more recipients, from BCC */
    uint32_t bcc_count;
};

/* Who the client is: what the connection says, or XCLIENT in its place. */
struct who {
    ph_str name, reverse;          /* verified name or "unknown"; PTR */
    const char *name_status, *reverse_status; /* OK TEMP PERM FORGED */
    ph_str addr, port, server_addr, server_port;
    ph_str sasl_method, sasl_user;
};

/* BDAT: none yet; some chunks taken; an error, what follows is passed over. */
enum chunks { CHUNKS_NONE, CHUNKS_TAKEN, CHUNKS_SKIP };

struct session {
    struct smtpd_conf *c;
    struct ph_scope *scope, *who_scope; /* the last: of XCLIENT, or NULL */
    struct ph_stream *io;
    const struct ph_peer *peer;
    struct who w;
    ph_str name_addr;              /* name[addr] */
    ph_str helo;                   /* in helo_text: it may change often */
    char *helo_text, *sticky_text; /* room of helo and of sticky_helo, once needed */
    uint32_t helo_room;            /* bytes; it only grows */
    ph_str denied;                 /* the reply of a refusal at connect, smtpd_delay_reject = no */
    ph_str sticky_client, sticky_helo; /* defer_if_permit that these lists raised */
    int esmtp, quit, is_local, bad_pipelining, saw_bare_lf;
    int may_xclient, may_xforward;  /* 1, 0; negative: the list could not be looked at */
    int cannot_hide;               /* negative: nor could what EHLO does not offer */
    enum chunks chunks;
    uint32_t bare_mode, hidden;
    int bad, forgiven;             /* this command was answered with 4xx or 5xx; it does not count */
    int by_policy;                 /* 4xx or 5xx that a rule said */
    struct ph_transcript *transcript; /* NULL: the postmaster does not want it */
    int64_t errors, junk;
    int64_t deadline_ms, left_ms;  /* of the request under way; what the reply has of it */
    int64_t flushed_ms;            /* replies left */
    uint32_t ok[CMDS], total[CMDS];
    const char *where;             /* for "after WHERE" */
    struct transaction t;
    struct ph_policy_facts facts;
    uint64_t serial;
};

/* What is on it lives until transaction_reset.  Made when it is needed: most sessions
 * that wait are in no transaction. */
static inline struct ph_scope *transaction_scope(struct session *s)
{
    if (!s->t.scope)
        s->t.scope = ph_scope_new(s->scope);
    return s->t.scope;
}

/* session.c */
struct session *session_new(struct smtpd_conf *c, struct ph_scope *scope, struct ph_stream *io, const struct ph_peer *peer);
/* From the greeting to the end: 0, or PH_CANCEL. */
int session_run(struct session *s) PH_YIELDS;
/* The greeting, or the refusal at connect (smtpd_delay_reject = no). */
int session_greet(struct session *s) PH_YIELDS;
/* A table or list could not be looked at: the session ends with 421.  _unsure: at
 * this command, and what we do not know, for the log. */
int session_data_error(struct session *s) PH_YIELDS;
int session_unsure(struct session *s, const char *what) PH_YIELDS;
/* Time for one request: it begins; n bytes of content came; it is here, what
 * is left is for the reply (smtpd_per_request_deadline). */
void deadline_begin(struct session *s);
void deadline_extend(struct session *s, size_t n);
void deadline_end(struct session *s);

/* reply.c.  421 and 521 end the session, whatever they are about. */
int reply(struct session *s, const char *fmt, ...) PH_YIELDS PH_PRINTF(2, 3);
/* Whole lines with CRLF, as they are: a reply that is no error. */
int reply_lines(struct session *s, ph_str lines) PH_YIELDS;
/* The reject line of the log, then the reply.  WHERE is the verb. */
int reject(struct session *s, const char *where, ph_str text, ph_str rcpt) PH_YIELDS;
/* The same words under another keyword, without a reply ("reject_warning", "warn"). */
void log_decision(struct session *s, const char *keyword, const char *where, ph_str text, ph_str rcpt);
/* Bytes that could end a log field or a header comment become '?'. */
ph_str clean_helo(struct ph_scope *s, ph_str text);
/* At most n bytes of it, control bytes as C escapes. */
ph_str escaped(struct ph_scope *s, ph_str text, size_t n);
/* The queue id, or NOQUEUE. */
ph_str log_id(const struct session *s);

/* footer.c.  PH_FOUND and *lines on t: the reply with its footer, whole lines
 * with CRLF; PH_NONE: there is none for it; PH_CANCEL. */
int footer_open(struct smtpd_conf *c);
int footer_add(struct session *s, struct ph_scope *t, ph_str reply, ph_str *lines) PH_YIELDS;

/* client.c: who is it, from the connection.  Yields (DNS). */
void client_identify(struct session *s) PH_YIELDS;
/* What follows from who it is: name[addr]; then permissions and exclusions. */
void client_name(struct session *s);
void client_settle(struct session *s) PH_YIELDS;
/* local_header_rewrite_clients: are its headers completed as if they were ours?
 * 1, 0, or negative: that could not be looked at, and is logged. */
int client_is_local(struct session *s) PH_YIELDS;

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

/* Verbs.  Answer: 0, or negative when the session must end. */
int do_helo(struct session *s, ph_str args) PH_YIELDS;
int do_ehlo(struct session *s, ph_str args) PH_YIELDS;
int do_mail(struct session *s, ph_str args) PH_YIELDS;
int do_rcpt(struct session *s, ph_str args) PH_YIELDS;
int do_data(struct session *s, ph_str args) PH_YIELDS;
int do_bdat(struct session *s, ph_str args) PH_YIELDS;
int do_etrn(struct session *s, ph_str args) PH_YIELDS;
int do_xclient(struct session *s, ph_str args) PH_YIELDS;
int do_xforward(struct session *s, ph_str args) PH_YIELDS;
/* bdat.c: a BDAT line that does not say how many bytes follow; the session ends. */
int bdat_malformed(struct session *s, ph_str args) PH_YIELDS;
/* mail.c: the log line of an address that is none, and the reply. */
int bad_address(struct session *s, const char *verb, ph_str text, const char *answer) PH_YIELDS;
/* Every way out of a transaction goes through here. */
void transaction_reset(struct session *s);

/* ehlo.c: the EHLO name; views of the old one are void. */
void helo_set(struct session *s, ph_str clean);
int ehlo_open(struct smtpd_conf *c);
/* The keywords that this client is not told of (tables by address): 0, or negative. */
int ehlo_hide(struct session *s) PH_YIELDS;

/* esmtp.c: views of *a are on the transaction's scope. */
struct refusal mail_args_parse(struct session *s, ph_str rest, struct mail_args *a);
struct refusal rcpt_args_parse(struct session *s, ph_str rest, struct rcpt_args *a);
/* RFC 3461 4.2: without ORCPT the original recipient is the one of the command, as
 * it is written: with its route and its quotes, which the address does not have. */
void rcpt_args_written(struct session *s, ph_str written, ph_str address, struct rcpt_args *a);
/* 1 when one of the words is SMTPUTF8 and it is offered. */
int asks_utf8(const struct session *s, ph_str words);
/* 1 when the address may be used: ASCII, or UTF-8 that was declared; a domain
 * beyond ASCII needs that always. */
int is_domain_allowed(ph_str address, int utf8);

/* verbs.c: one command line, what it counts for included. */
int verb_run(struct session *s, ph_str line) PH_YIELDS;
ph_str verb_help(struct ph_scope *s);
/* " ehlo=1 mail=0/2 ... commands=1/3" */
void verb_counts(const struct session *s, struct ph_buf *b);

/* content.c: the content of one message, in pieces.  A failure is kept and told
 * at the end, so that client and server stay in step; negative only when the
 * session must end. */
struct content {
    struct ph_dot_decoder dot;     /* DATA */
    struct ph_eol_decoder eol;     /* BDAT */
    char *room;                    /* content_room; NULL while not needed */
    size_t room_for;
    char head[8];                  /* the first bytes of a line, until it is clear what line they start */
    uint32_t head_n;
    uint64_t bytes;                /* with line ends of two bytes */
    int in_mailbox_line, saw_cr;   /* up to its end; the last byte of it was a CR */
    int started, failed, too_big;  /* started: the lines of mailbox files in front are over */
};
#define CONTENT_PIECE 16384u           /* decoded at once */
#define CONTENT_RUN   1024u            /* so much that needs no decoding is not copied */
/* The Received: header goes to cleanup. */
int content_begin(struct session *s) PH_YIELDS;
/* Room for what n bytes can become; and giving it back when the next bytes must be
 * waited for: many clients are slow. */
char *content_room(struct content *x, size_t n);
void content_rest(struct session *s);
int content_add(struct session *s, ph_str bytes) PH_YIELDS;
/* Bytes that were peeked and are content as they stand: added, then consumed. */
int content_pass(struct session *s, ph_str bytes) PH_YIELDS;
/* The message is complete: the reply; the transaction ends in any case. */
int content_conclude(struct session *s, int chunked) PH_YIELDS;
/* The only recipient, or empty when there are several. */
ph_str only_rcpt(const struct session *s);
/* DATA and the first BDAT without a recipient. */
int refuse_without_rcpt(struct session *s) PH_YIELDS;

/* received.c */
ph_str received_header(struct session *s);

/* intake.c: one message at cleanup. */
struct intake {
    struct ph_scope *scope;
    struct ph_stream *io;
    struct intake *next;
    int broken;
};
/* Begin a message: 0 and the queue id; PH_TEMP with text. */
int intake_begin(struct session *s) PH_YIELDS;
int intake_rcpt(struct session *s, ph_str address, ph_str original, const struct rcpt_args *a) PH_YIELDS;
int intake_content(struct session *s, ph_str bytes, int apart) PH_YIELDS;   /* apart: what follows does not continue its last header */
/* The end: 0 and the reply line of cleanup on the transaction's scope; negative. */
int intake_end(struct session *s, ph_str *answer) PH_YIELDS;
/* Give the connection back, or close it in mid-message. */
void intake_release(struct session *s, int reusable);

#endif
