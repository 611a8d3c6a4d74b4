/* transport/smtp and transport/lmtp: deliver over SMTP, RFC 5321, and LMTP, RFC 2033.
 *
 * smtp.c, lmtp.c  the plugins: what they are called and what they may do
 * setup.c     one configured instance: parameters, our addresses, tables
 * deliver.c   one delivery: cached session, then host after host
 * target.c    next hop to addresses: MX, A, AAAA, socket
 * hosts.c     their order, our own left out, how many are tried
 * session.c   connect, greeting, EHLO, HELO or LHLO, QUIT
 * reply.c     read one reply, whatever the peer sends
 * ehlo.c      what a server offers, and what of it is believed
 * transact.c  MAIL, RCPT, DATA, in a window of unanswered commands
 * command.c   the text of the commands
 * finish.c    the message and the replies to it
 * content.c   the message itself
 * generic.c   smtp_generic_maps
 * prefix.c    headers that a service's flags put in front of it
 * downgrade.c quoted-printable for servers without 8BITMIME
 * pool.c      sessions kept for the next delivery to the same next hop
 * verdict.c   what a failure means, in words, and for whom
 * params.c    parameters
 *
 * A verdict that may change elsewhere is kept with the recipient until hosts
 * end; one that is final is reported at once. */
#ifndef PLUGINS_TRANSPORT_SMTP_H
#define PLUGINS_TRANSPORT_SMTP_H

#include <posthorn/address_map.h>
#include <posthorn/lookup.h>
#include <posthorn/net.h>
#include <posthorn/transport.h>

struct smtp_params {
    ph_str helo_name, tcp_port, fallback_relay, discard_keywords, discard_keyword_maps, cache_destinations;
    ph_str address_preference, host_lookup, dns_support, bind_address, bind_address6, reply_filter, pix_workarounds, pix_maps, verify_target,
           status_filter, best_mx, generic_maps;
    int64_t connect_timeout, helo_timeout, xforward_timeout, mail_timeout, rcpt_timeout, data_init_timeout, data_xfer_timeout,
            data_done_timeout, rset_timeout, quit_timeout;
    int64_t cache_time_limit, reuse_time_limit, reuse_count_limit, address_limit, session_limit, line_length_limit;
    int64_t min_data_rate, mime_nesting, mime_boundary, pix_threshold, pix_delay;
    int32_t always_ehlo, never_ehlo, skip_4xx, skip_5xx, skip_quit, cache_on_demand, randomize, balance, bind_enforce,
            ignore_mx_error, defer_no_address, quote_envelope, no_downgrade, per_request, send_xforward, dummy_auth,
            assume_final, soft_bounce;
};
#define SMTP_ROWS 56
#define LMTP_ROWS 51
extern const struct ph_param smtp_rows[SMTP_ROWS], lmtp_rows[LMTP_ROWS];   /* a count too small does not compile; one too large fails in mkmanifest */

#define SMTP_PORT          25u     /* where a server that is we is a loop */
#define SMTP_MAX_HOSTS     100u    /* addresses per destination */

/* The service's flags= (pipe(8) has the same letters). */
#define SMTP_FLAG_DELIVERED_TO 1u  /* D */
#define SMTP_FLAG_ORIGINAL_TO  2u  /* O */
#define SMTP_FLAG_RETURN_PATH  4u  /* R */
#define SMTP_FLAG_FINAL        8u  /* X: success notices say "delivered" */

/* One configured instance of the transport. */
struct smtp {
    struct smtp_params p;
    struct ph_scope *scope;
    int lmtp;                      /* speaks LMTP */
    unsigned port;                 /* default */
    int use_ipv4, use_ipv6;
    uint32_t flags;                /* SMTP_FLAG_* */
    ph_str relayhost, hostname, queue_directory;
    struct ph_ip *ours;            /* ph_own_addresses */
    size_t our_count;
    struct ph_ip bind4, bind6;     /* family 0: none */
    struct ph_maps *reply_filter, *status_filter, *discard_maps, *pix_maps;   /* NULL: none */
    struct ph_address_map *generic;/* the same */
    int64_t header_tokens;         /* of a header in which addresses are looked for */
    struct ph_group *group;
    struct smtp_session *idle;     /* the newest first */
    size_t idle_count;
    int reaping;
    uint64_t random;
};

struct smtp_host {
    ph_str name;                   /* as in logs */
    ph_str path;                   /* of a socket; then there is no address */
    struct ph_ip ip;
    unsigned port;
    uint32_t preference;
    uint64_t order;                /* among equals */
};

struct smtp_hosts {
    struct smtp_host *at;
    size_t n, cap;
};

/* The last reply read; text is void at the next. */
struct smtp_reply {
    unsigned code;
    ph_str text;                   /* whole, lines joined by a space, safe to log */
    char dsn[12];                  /* of the reply's class */
};

#define SMTP_HAS_PIPELINING  1u
#define SMTP_HAS_SIZE        2u
#define SMTP_HAS_8BITMIME    4u
#define SMTP_HAS_DSN         8u
#define SMTP_HAS_SMTPUTF8   16u
#define SMTP_HAS_AUTH       32u
#define SMTP_HAS_XFORWARD   64u
#define SMTP_HAS_CHUNKING  128u

/* XFORWARD attributes, in the order they are sent. */
#define SMTP_XFORWARD_NAMES { "NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE" }
#define SMTP_XFORWARD_COUNT 7u

#define SMTP_PIX_NO_ESMTP   1u
#define SMTP_PIX_DELAY_DOT  2u

struct smtp_session {
    struct ph_scope *scope;
    struct smtp *agent;
    struct smtp_session *next;     /* when idle */
    struct ph_stream *io;
    struct smtp_host host;
    ph_str peer, relay;            /* "host[ip]", "host[ip]:port" */
    ph_str key;                    /* next hop */
    uint32_t features;
    uint32_t xforward;             /* bit per attribute the server takes */
    uint32_t pix;                  /* workarounds in use */
    uint64_t size_limit;           /* 0: none */
    ph_str disbelieved;            /* keywords */
    uint32_t discarded;            /* features that were, and are to be logged */
    struct smtp_reply reply;
    struct ph_buf text;
    uint32_t uses;                 /* deliveries started */
    int needs_reset;               /* a transaction may be open at the peer */
    int broken;                    /* never use again, not even for QUIT */
    int last_use;                  /* QUIT after this delivery */
    int quit_early;                /* nobody will use it again: QUIT may leave with the final dot */
    int quit_sent;
    int64_t born, idle_until;
};

/* Why a recipient did not get it (yet). */
struct smtp_verdict {
    uint32_t status;               /* PH_RCPT_BOUNCED, PH_RCPT_DEFERRED */
    int dead_site;
    int keep;                      /* a bounce, but another host may still take it */
    int logged;                    /* or needs no line of its own */
    ph_str dsn, text, relay, diagnostic, remote_mta;
    uint32_t conn_use;
    struct smtp_verdict *next;     /* not logged yet */
};

/* One delivery. */
struct smtp_job {
    struct smtp *agent;
    struct ph_delivery *d;
    struct ph_scope *scope;
    struct smtp_verdict **why;     /* per recipient, NULL: none yet */
    struct smtp_verdict *unlogged;
    struct smtp_host *tried;
    size_t tried_count;
    int64_t sessions;              /* that got past the handshake */
    int worked;                    /* some host went along to the end: the site is not dead */
    int no_more;                   /* other hosts would not help, or are not to be asked */
    ph_str prefix;                 /* headers to put in front of the message */
    ph_str sender, *rcpt_to;       /* as the outside sees them; rcpt_to NULL: as they are */
    ph_str headers;                /* instead of the message's; p NULL: none */
    int64_t setup_us, connected_us;
};

/* verdict.c.  Texts are copied to the job. */
struct smtp_verdict *smtp_verdict(struct smtp_job *j, uint32_t status, const char *dsn, const char *fmt, ...) PH_PRINTF(4, 5);
/* "host H[ip] said: ... (in reply to X command)"; a class that has no place
 * there is a protocol error, 5.5.0. */
struct smtp_verdict *smtp_said(struct smtp_job *j, const struct smtp_session *s, const char *command);
struct smtp_verdict *smtp_refused(struct smtp_job *j, const struct smtp_session *s);
/* rc is what the stream said: lost connection or timeout, while `stage`. */
struct smtp_verdict *smtp_lost(struct smtp_job *j, struct smtp_session *s, int rc, const char *stage);
/* Apply to one recipient, or to all still open. */
void smtp_fail(struct smtp_job *j, uint32_t i, struct smtp_verdict *v);
void smtp_fail_all(struct smtp_job *j, struct smtp_verdict *v);
void smtp_sent(struct smtp_job *j, const struct smtp_session *s, uint32_t i);
/* Recipients without a final outcome. */
size_t smtp_open_count(const struct smtp_job *j);
int smtp_is_open(const struct smtp_job *j, uint32_t i);
/* Another host is tried: what went wrong so far gets lines without to=. */
void smtp_log_before_next(struct smtp_job *j);
/* No more hosts: defer what is open. */
void smtp_finish(struct smtp_job *j);

/* setup.c: read parameters, find our own addresses, open tables. */
int smtp_setup(struct ph_transport *t, int lmtp);
/* deliver.c: the plugins' deliver. */
int32_t smtp_deliver(struct ph_transport *t, struct ph_delivery *d) PH_YIELDS;

/* target.c: hosts for one destination, best first.  0, or negative and *why;
 * *is_self 1 when we are an MX of it.  Yields. */
int smtp_find_hosts(struct smtp_job *j, ph_str dest, struct smtp_hosts *out, struct smtp_verdict **why, int *is_self) PH_YIELDS;

/* hosts.c.  Add an address of that name, when its family is in use and there is room. */
void smtp_hosts_add(struct smtp *self, struct smtp_hosts *h, ph_str name, const struct ph_ip *ip, unsigned port, uint32_t preference);
/* Best first. */
void smtp_hosts_sort(struct smtp_hosts *h);
/* Drop ourselves and whoever is not better: 1 when that was done. */
int smtp_hosts_drop_ourselves(const struct smtp *self, struct smtp_hosts *h);
/* At most `limit` (0: all), in order, with both families when there are both and `balance`. */
void smtp_hosts_truncate(struct smtp_hosts *h, size_t limit, int balance);

/* session.c: a session ready for MAIL, or NULL and *why (NULL when cancelled).  Yields. */
struct smtp_session *smtp_session_open(struct smtp_job *j, const struct smtp_host *h, ph_str dest, struct smtp_verdict **why) PH_YIELDS;
/* QUIT when that makes sense, then free; in a task of its own when an answer is
 * waited for, since nobody's mail depends on that.  Yields. */
void smtp_session_end(struct smtp_session *s) PH_YIELDS;
void smtp_session_drop(struct smtp_session *s);

/* reply.c: flush, then the next reply within seconds (of silence; of all with
 * smtp_per_request_deadline): 0 and s->reply, or negative.  With `ehlo`,
 * keywords are noted in the session.  Yields. */
int smtp_reply_read(struct smtp_session *s, int64_t seconds, int ehlo) PH_YIELDS;

/* ehlo.c: one line of an EHLO reply after the first. */
void smtp_ehlo_keyword(struct smtp_session *s, ph_str line);
/* Which keywords of this server are not believed: before EHLO.  0, or negative
 * when a table could not say.  Yields. */
int smtp_ehlo_forget(struct smtp_session *s) PH_YIELDS;
/* Behind the last line: say what was not believed. */
void smtp_ehlo_log(struct smtp_session *s);

/* The commands of a transaction, in their order. */
enum smtp_command { SMTP_RSET, SMTP_XFORWARD, SMTP_MAIL, SMTP_RCPT, SMTP_DATA };

/* The answer to a recipient in this transaction. */
enum smtp_fate { SMTP_UNANSWERED, SMTP_ACCEPTED, SMTP_REFUSED };

struct smtp_transaction {
    struct smtp_job *j;
    struct smtp_session *s;
    uint32_t *to;                  /* recipients offered */
    uint8_t *fate;                 /* enum smtp_fate */
    uint32_t count, accepted;
    uint32_t resets, forwards;     /* commands before MAIL */
    uint32_t sent, answered, total;
    size_t window;                 /* bytes sent and not answered */
    ph_str forward[2];             /* XFORWARD commands */
    int mail_refused, go;          /* go: DATA was answered by 354, or BDAT may go */
    int bdat;                      /* content goes by BDAT, not DATA */
};

/* transact.c: offer the message on s to all open recipients.  0; 1: the cached
 * session was dead before anything happened (nothing was said to anybody);
 * PH_CANCEL.  Yields. */
int smtp_transact(struct smtp_job *j, struct smtp_session *s) PH_YIELDS;
/* Recipients not refused by themselves. */
void smtp_fail_rest(struct smtp_transaction *t, struct smtp_verdict *v);
/* What the reply to `command` means for those it is about; the session ends
 * after a reply that has no place there. */
struct smtp_verdict *smtp_command_said(struct smtp_transaction *t, const char *command);
/* The stream failed at `stage`: 0, or what ends the delivery. */
int smtp_transaction_lost(struct smtp_transaction *t, int rc, const char *stage);

/* command.c: write command i of the transaction; write errors stay with the
 * stream, where the reader of replies meets them. */
void smtp_command_send(struct smtp_transaction *t, uint32_t i) PH_YIELDS;
enum smtp_command smtp_command_at(const struct smtp_transaction *t, uint32_t i);
const char *smtp_command_name(enum smtp_command c);      /* "MAIL FROM" */
const char *smtp_command_stage(enum smtp_command c);     /* "sending MAIL FROM" */
int64_t smtp_command_seconds(const struct smtp_transaction *t, enum smtp_command c);
/* XFORWARD commands for this message: how many, into t->forward. */
uint32_t smtp_xforward_prepare(struct smtp_transaction *t);
int smtp_needs_smtputf8(const struct smtp_job *j);

/* finish.c: after 354: the message, the final dot, and what is said to it.  0, or PH_CANCEL.  Yields. */
int smtp_send_message(struct smtp_transaction *t) PH_YIELDS;
/* DATA went along though nobody is left to get it: an empty message, whose fate
 * nobody asks, RFC 2920 3.1.  0.  Yields. */
int smtp_send_nothing(struct smtp_transaction *t) PH_YIELDS;

/* content.c: the message and the final dot, or one BDAT chunk of all of it: 0; 1: a 4xx or 5xx reply came and
 * waits to be read, the rest was not sent; negative: the stream's, or PH_TEMP
 * with *local set when the queue file could not be read.  *early: some reply
 * came before the final dot.  Yields. */
int smtp_send_content(struct smtp_job *j, struct smtp_session *s, int bdat, int *early, int *local) PH_YIELDS;
/* 1 when it goes by BDAT, RFC 3030: offered, and its size known beforehand since it
 * goes out as it stands. */
int smtp_can_bdat(const struct smtp_job *j, const struct smtp_session *s);
/* 1 when this server gets it in another encoding, so that its size is unknown. */
int smtp_must_downgrade(const struct smtp_job *j, const struct smtp_session *s);
/* Break lines longer than limit (0: never), make stray CR and LF blanks.
 * Incremental; out has room for SMTP_FOLD_ROOM(n): at the least limit each byte
 * that claims to begin a character of four may stand on a line of its own. */
#define SMTP_FOLD_ROOM(n) (4 * (n) + 8)
struct smtp_fold { size_t column, limit; uint32_t cr, broke; };
size_t smtp_fold(struct smtp_fold *f, const char *in, size_t n, int last, char *out);

/* prefix.c: the headers that flags= asks for, into j->prefix; with D, a
 * recipient that had the message before is returned.  0, or negative: the
 * message could not be read.  Yields. */
int smtp_prefix(struct smtp_job *j) PH_YIELDS;

/* The header block on the job's scope, or what of it is looked at.  Yields. */
int smtp_read_headers(struct smtp_job *j, ph_str *block) PH_YIELDS;

/* generic.c: smtp_generic_maps applied to j->sender, j->rcpt_to, j->headers: 0,
 * or negative: a table, or the message, could not be read.  Yields. */
int smtp_generic(struct smtp_job *j) PH_YIELDS;
/* Bytes of what will be sent, unless it is converted. */
uint64_t smtp_content_bytes(const struct smtp_job *j);

/* downgrade.c: parts labelled 8bit or binary in quoted-printable.  Appends to
 * out, which must take 4 * n + 262144 bytes. */
#define SMTP_MIME_DEPTH 100
struct smtp_mime {
    struct ph_scope *scope;
    size_t max_depth, max_boundary;
    struct { ph_str boundary; int digest; } level[SMTP_MIME_DEPTH];
    size_t depth, nested;
    int in_head, digest, encode, passes, rest_of_line;
    int goes_on;                   /* no CRLF stood before what comes */
    struct ph_buf head, line;
    size_t column;                 /* of the quoted-printable line */
    char blank;                    /* held back, 0: none */
    char cr, last;
};
void smtp_mime_init(struct smtp_mime *m, struct ph_scope *s);
void smtp_mime_convert(struct smtp_mime *m, const char *in, size_t n, int last, struct ph_buf *out);

/* pool.c */
struct smtp_session *smtp_pool_take(struct smtp *self, ph_str key);
/* Keep it if it may be kept, else end it.  Yields. */
void smtp_pool_give(struct smtp *self, struct smtp_session *s, int wanted) PH_YIELDS;
void smtp_pool_init(struct smtp *self);

#endif
