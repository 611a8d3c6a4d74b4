/* postwhy: what its parts share.
 *
 * postwhy.c          options, addresses, exit status
 * postwhy_engine.c   one configuration: its services in this process, one address asked
 * postwhy_generic.c, postwhy_alias.c  what its transports do with addresses
 * postwhy_session.c  the SMTP session with its smtpd
 * postwhy_text.c     for people          postwhy_json.c   for programs
 * postwhy_diff.c     two configurations  postwhy_report.c reports, and reports as frames */
#ifndef CORE_CMD_POSTWHY_H
#define CORE_CMD_POSTWHY_H

#include <posthorn/buf.h>
#include <posthorn/frame.h>
#include <posthorn/why.h>
#include "core/cmd/cmd.h"

/* Exit statuses, of one address and of all: the highest. */
enum why_status { WHY_OK, WHY_REFUSED, WHY_TEMP, WHY_TROUBLE };

struct postwhy {
    const char *dir, *other;       /* -c, --diff; NULL */
    const char *client, *client_name, *helo, *service;
    ph_str sender;
    int json, verbose;
    char **args;
    int arg_count;
};

/* A step with what the command knows of it.  Views are on the report's scope. */
struct why_line {
    struct why_line *next;
    uint32_t kind, depth, line, parameter_line;
    int32_t answer;
    ph_str stage;                  /* smtpd, map, resolve, generic, recipient, alias */
    ph_str what, table, key, value, file, remark, parameter_file;
};

/* One final recipient. */
struct why_result {
    struct why_result *next;
    ph_str recipient, class_, transport, nexthop;
    ph_str generic_sender, generic_recipient;  /* what the other side is told instead; empty: the same */
    int is_same;                   /* --diff: the other side has it too, and it is not shown */
};

struct why_report {
    struct ph_scope *scope;
    ph_str address, sender;
    enum why_status status;
    int failed;                    /* something could not be asked; what was is not the whole truth */
    ph_str reply;                  /* smtpd's last one, lines with \n between; empty: it was not asked */
    ph_str refusal;                /* why it goes nowhere; empty: it does not */
    struct why_line *first, **last;
    struct why_result *result, **result_last;
    size_t steps, omitted;         /* omitted: over WHY_STEPS_MAX */
};

/* postwhy_report.c */
#define WHY_STEPS_MAX 2000u        /* kept of one address */
struct why_report *why_report_new(struct ph_scope *s, ph_str address, ph_str sender);
void why_report_step(struct why_report *r, const struct why_line *line);
void why_report_result(struct why_report *r, const struct why_result *result);
/* The first refusal stands, and the gravest status. */
void why_report_refuse(struct why_report *r, enum why_status status, ph_str text);
struct ph_frame *why_report_pack(struct ph_scope *s, const struct why_report *r);
/* NULL when it is no report. */
struct why_report *why_report_unpack(struct ph_scope *s, const struct ph_frame *f);

/* postwhy_engine.c */
struct why_engine;
/* The services of the configuration in this process.  What cannot be opened is fatal. */
struct why_engine *why_engine_open(const struct postwhy *o, const char *dir) PH_YIELDS;
void why_engine_close(struct why_engine *e) PH_YIELDS;
/* lines: look for those of indexed tables too, which reads whole files. */
struct why_report *why_engine_ask(struct why_engine *e, struct ph_scope *s, ph_str address, int lines) PH_YIELDS;

/* postwhy_session.c: the session up to the end of an empty message, which goes nowhere. */
struct why_rcpt {
    struct why_rcpt *next;
    ph_str address;
};
struct why_session {
    struct ph_scope *scope;
    const struct postwhy *o;
    struct ph_service *smtpd;
    ph_str address, sender;        /* external form */
    /* What came of it. */
    int code;                      /* of the last reply; 0: there was none */
    ph_str reply;
    /* What smtpd handed on. */
    ph_str flags;                  /* what cleanup is to do */
    struct why_rcpt *rcpts, **rcpts_last;
    ph_str redirect;
    int hold, has_message, is_over;
};
/* 0, or negative: the session could not be held. */
int why_session_run(struct why_session *x) PH_YIELDS;
/* In place of cleanup: takes what smtpd hands on and keeps none of it.  arg: where the
 * session of now is, a struct why_session **. */
int why_take_message(void *arg, struct ph_scope *session, struct ph_stream *io) PH_YIELDS;

/* postwhy_text.c.  Bytes that a terminal might obey are shown as \ooo. */
void why_text(const struct postwhy *o, const struct why_report *r);
void why_text_line(const struct why_line *l, const char *indent);
/* An address as it is shown. */
ph_str why_text_name(struct ph_scope *s, ph_str address);
/* The lines "=> ..." on s. */
ph_str why_text_verdict(struct ph_scope *s, const struct why_report *r, const char *indent);
/* postwhy_json.c: one object and a line end; without the line end. */
void why_json(const struct why_report *r);
void why_json_object(struct ph_buf *b, const struct why_report *r, int steps);

/* postwhy.c: each address that was given: stops when fn says negative. */
int why_each_address(const struct postwhy *o, int (*fn)(void *arg, ph_str address), void *arg) PH_YIELDS;
/* postwhy_diff.c: the exit status. */
int why_diff(const struct postwhy *o);

#endif
