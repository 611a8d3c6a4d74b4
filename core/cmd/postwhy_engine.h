/* postwhy: one configuration and its parts: postwhy_engine.c asks its services,
 * postwhy_generic.c and postwhy_alias.c what its transports do.  See postwhy.h. */
#ifndef CORE_CMD_POSTWHY_ENGINE_H
#define CORE_CMD_POSTWHY_ENGINE_H

#include "core/cmd/postwhy.h"
#include "core/conf/conf.h"
#include "core/conf/master.h"
#include "core/run/why.h"

struct why_transport;

struct why_engine {
    struct ph_scope *scope;
    const struct postwhy *o;
    struct ph_conf *conf;
    const struct ph_master_def *master;
    struct ph_group *tasks;
    struct ph_service *rewrite, *cleanup, *smtpd;
    struct ph_restriction *unlisted;
    struct ph_maps *aliases;
    struct why_transport *transports;  /* those that were asked */
    ph_str delimiters;
    struct ph_why_sink sink;
    struct ph_conf *conf_now;      /* of the service whose parameters are spoken of */
    const char *stage;
    int nested;                    /* > 0: mail that is forwarded: what was told is not told again */
    struct why_report *report;     /* NULL: nobody asks */
    struct why_session *session;   /* the one under way */
    struct ph_map *followed;       /* recipients of local(8) whose aliases were told, of this report */
};

/* postwhy_engine.c.  A service is asked: 0 and the answer, or negative. */
int why_call(struct why_report *r, const char *service, const struct ph_frame *f, struct ph_frame **got) PH_YIELDS;
struct ph_frame *why_question(struct why_report *r, const char *op, ph_str sender);
/* The error of now is why the report ends here. */
void why_note_failure(struct why_report *r);
/* Mail that cleanup gets: what it makes of the envelope, and where each recipient goes. */
void why_route(struct why_engine *e, struct why_report *r, const char *flags, ph_str sender, const struct why_rcpt *rcpts) PH_YIELDS;

/* postwhy_generic.c: what smtp and lmtp tell the other side: *n has the addresses that
 * their generic maps make. */
void why_generic(struct why_engine *e, struct why_report *r, ph_str sender, struct why_result *n) PH_YIELDS;

/* postwhy_alias.c: what local(8) makes of a recipient: aliases, those of aliases, and
 * what is forwarded. */
void why_alias(struct why_engine *e, struct why_report *r, ph_str sender, const struct why_result *n) PH_YIELDS;

#endif
