/* bounce: what its files share.
 *
 * bounce.c  the service: requests in, answers out
 * log.c     the logs bounce/, defer/, trace/: one file per message
 * words.c   the logs of many messages at once
 * notice.c  who is told what; the text of a notice
 * report.c  the parts of a multipart/report (RFC 3462, RFC 3464)
 * sweep.c   removing logs whose message is gone */
#ifndef BOUNCE_H
#define BOUNCE_H

#include <posthorn/bounce_template.h>
#include <posthorn/service.h>
#include <posthorn/frame.h>
#include <posthorn/message.h>
#include <posthorn/submission.h>

struct bounce_params {
    ph_str myhostname, myorigin, mail_name;
    int64_t size_limit;
    ph_str notify_classes, filter_classes;
    ph_str template_file;
    ph_str bounce_recipient, delay_recipient, double_recipient;
    ph_str double_sender;
    ph_str from_format;
    int32_t threaded, smtputf8;
    int64_t queue_lifetime;
    ph_str hash_names;
    int64_t hash_depth;
};

struct bounce {
    struct ph_service *service;
    struct bounce_params p;
    struct ph_bounce_template template[PH_TEMPLATES];
    ph_str words[PH_TEMPLATES];    /* of each, expanded, lines with LF */
};

/* ---- log.c ---- */

/* What a record holds; the names are those of the requests.  The stamp is set
 * by us: records of one request have the same. */
enum log_field {
    LOG_INDEX, LOG_RECIPIENT, LOG_ORIGINAL, LOG_ORCPT, LOG_NOTIFY, LOG_DSN, LOG_ACTION, LOG_TEXT,
    LOG_STAMP, LOG_RELAY, LOG_DIAGNOSTIC_TYPE, LOG_DIAGNOSTIC, LOG_REMOTE_MTA_TYPE, LOG_REMOTE_MTA, LOG_FIELDS
};
extern const char *const log_names[LOG_FIELDS];

/* The index of a record that is about no recipient of the message. */
#define LOG_NO_INDEX UINT32_MAX

struct log_record {
    ph_str f[LOG_FIELDS];
    uint32_t index;
};

/* 1 when it may be the name of a log: "bounce", "defer", "trace". */
int log_kind_is_valid(ph_str kind);
/* 1 when it has the syntax of a queue id. */
int log_id_is_valid(ph_str id);
/* Append in one write.  0, or PH_TEMP: nothing counts.  A log that grew beyond
 * what is read begins anew: the words of the latest attempt are those that help. */
int log_append(struct bounce *b, ph_str kind, ph_str id, const struct log_record *list, size_t n) PH_YIELDS;
/* The last record of each recipient (by index, address and original address), in
 * order of first appearance; no log: 0 records.  0, or PH_TEMP.  Damaged records are skipped. */
int log_read(struct bounce *b, struct ph_scope *s, ph_str kind, ph_str id,
             struct log_record **list, size_t *n) PH_YIELDS;
/* ---- words.c ---- */

/* What logs of one kind say about these messages, each as log_read would: how many of
 * them, from the first, were read (one at least; large logs come one by one).  On s;
 * what cannot be read says nothing. */
struct log_words {
    struct log_record *list;
    size_t n;
};
size_t log_read_many(struct bounce *b, struct ph_scope *s, ph_str kind, const ph_str *id, size_t n,
                     struct log_words **out) PH_YIELDS;
/* 0 when all are gone (or were not there), or PH_TEMP. */
int log_remove_many(struct bounce *b, struct ph_scope *s, const ph_str *kind, size_t kinds, const ph_str *id,
                    size_t n) PH_YIELDS;

/* ---- log.c again ---- */

/* The path of a log below queue_directory. */
ph_str log_path(struct bounce *b, struct ph_scope *s, ph_str kind, ph_str id);
/* Pure parts, for tests: a record's text, and all good ones of a file. */
void log_format(struct ph_buf *out, const struct log_record *r);
void log_parse(struct ph_scope *s, ph_str text, struct log_record **list, size_t *n);
/* Of records about the same recipient the last one stays: how many do. */
size_t log_keep_last(struct log_record *list, size_t n, struct ph_scope *s);
/* A file's text, at most LOG_MAX bytes; none when there is no file: 0, PH_TEMP.  Blocks. */
#define LOG_MAX (16u << 20)
int log_slurp(int dir_fd, const char *path, struct ph_buf *text);

/* ---- report.c ---- */

#define NOTICE_FAILURE 1
#define NOTICE_DELAY   2
#define NOTICE_SUCCESS 3                  /* NOTIFY=SUCCESS, confirm_delay_cleared */
#define NOTICE_VERIFY  4                  /* sendmail -bv and -v */
#define NOTICE_KINDS   5
/* Of the trace log: actions and all come from its records. */
#define NOTICE_IS_TRACE(kind) ((kind) == NOTICE_SUCCESS || (kind) == NOTICE_VERIFY)

struct report {
    struct bounce *b;
    struct ph_scope *s;
    const struct ph_message *m;
    struct log_record *list;
    size_t n;
    int kind;                      /* NOTICE_* */
    int postmaster;                /* 1: for the postmaster: no words, another subject */
    int utf8;                      /* 1: the message is an SMTPUTF8 one: RFC 6533 forms */
    int full;                      /* 1: with the body when it is small enough */
    ph_str to;                     /* internal form */
    ph_str id;                     /* queue id of the notice */
    int64_t now;                   /* seconds */
    ph_str original;               /* header, empty line and body, or header only */
    int original_is_full;
    ph_str boundary;
};

/* The whole notice, CRLF, from the header Date: on.  `out` ends as large as it
 * must; 0, or PH_PERM when the limit of out was too small. */
int report_format(struct report *r, struct ph_buf *out);

/* ---- notice.c, sweep.c ---- */

/* All notices one request asks for, committed: 0; else nothing is certain. */
int notice_send(struct bounce *b, struct ph_scope *s, int kind, const struct ph_message *m) PH_YIELDS;

/* Remove logs whose message qmgr does not know. */
int sweep(struct bounce *b) PH_YIELDS;

#endif
