/* posthorn/bounce_template.h: the words of notices, bounce(5).  Four templates:
 * built in, or from the file that bounce_template_file names:
 *
 *     failure_template = <<EOF
 *     Charset: us-ascii
 *     From: Mail Delivery System <MAILER-DAEMON>
 *     Subject: Undelivered Mail Returned to Sender
 *     Postmaster-Subject: Postmaster Copy: Undelivered Mail
 *
 *     Host $myhostname could not deliver your message.
 *     EOF
 *
 * Lines with # in front, and empty ones, are passed over between templates and
 * are text inside.  A template that is not right is left out with a warning:
 * then the built-in one counts.  The bounce service and postconf -b -t read it. */
#ifndef POSTHORN_BOUNCE_TEMPLATE_H
#define POSTHORN_BOUNCE_TEMPLATE_H

#include <posthorn/buf.h>
#include <posthorn/param.h>

PH_BEGIN

#define PH_TEMPLATE_FAILURE 0
#define PH_TEMPLATE_DELAY   1
#define PH_TEMPLATE_SUCCESS 2
#define PH_TEMPLATE_VERIFY  3
#define PH_TEMPLATES        4

struct ph_bounce_template {
    const char *name;              /* "failure" */
    ph_str charset, from, subject;
    ph_str postmaster_subject;     /* empty: the subject with "Postmaster Copy: " in front */
    ph_str body;                   /* lines with LF, names not expanded */
    int32_t is_custom;             /* 1: from the file */
};

/* Fill t with the built-in templates. */
void ph_bounce_templates_default(struct ph_bounce_template t[PH_TEMPLATES]);
/* Replace those that `text` has; views into text and copies on s.  `where` names it in
 * warnings, each of which goes to warn(arg, text).  0; PH_CONF: the text as a
 * whole is not in order, nothing was replaced.  Pure. */
int ph_bounce_templates_parse(struct ph_scope *s, ph_str text, const char *where,
                              void (*warn)(void *arg, const char *text), void *arg,
                              struct ph_bounce_template t[PH_TEMPLATES]);
/* The built-in ones and those of the file (path empty: none).  t is filled in
 * any case; 0, or PH_CONF with text when the file cannot be read or is not in
 * order as a whole.  Reads the file at once (does not yield). */
int ph_bounce_templates_load(struct ph_scope *s, ph_str path, void (*warn)(void *arg, const char *text), void *arg,
                             struct ph_bounce_template t[PH_TEMPLATES]);
/* The body with $name, ${name} and $(name) replaced: parameters of main.cf, and
 * delay_warning_time_UNIT, maximal_queue_lifetime_UNIT (seconds, minutes, hours,
 * days, weeks; rounded down); $$ is a dollar sign; myhostname and mydomain are in
 * Unicode form when smtputf8_enable is on.  0 and *out on s; PH_CONF naming what
 * is not defined. */
int ph_bounce_template_expand(struct ph_scope *s, struct ph_conf *c, const struct ph_bounce_template *t, ph_str *out);
/* As source text, as postconf -t shows it. */
void ph_bounce_template_print(struct ph_buf *out, const struct ph_bounce_template *t);

PH_END
#endif
