/* posthorn/transcript.h: what was said in a session, told to the postmaster
 * (error_notice_recipient) when something went wrong of a class that notify_classes
 * lists.
 *
 *     ph_transcript_setup(conf, scope, "SMTP server", &rules);        once, in open
 *     t = ph_transcript_new(session, rules, classes, peer);           a session
 *     ph_transcript_in(t, line); ph_transcript_out(t, reply);         as it goes
 *     ph_transcript_error(t, PH_ERROR_PROTOCOL);                      an error of that class
 *     ph_transcript_send(t, "lost connection");                       at its end
 *
 * All take NULL for a transcript, which is what new answers when nobody wants to
 * hear.  Passwords must not come here: the caller writes AUTH without its argument. */
#ifndef POSTHORN_TRANSCRIPT_H
#define POSTHORN_TRANSCRIPT_H

#include <posthorn/param.h>
#include <posthorn/task.h>

PH_BEGIN

/* Classes of errors, by their names in notify_classes. */
#define PH_ERROR_POLICY    1u      /* "policy": refused by our rules */
#define PH_ERROR_PROTOCOL  2u      /* "protocol": the peer does not keep to the protocol */
#define PH_ERROR_RESOURCE  4u      /* "resource": no disk, no memory, limits of ours */
#define PH_ERROR_SOFTWARE  8u      /* "software": something of ours does not work */
#define PH_ERROR_DATA     16u      /* "data": the message as such is not in order */

struct ph_transcript_rules;
struct ph_transcript;

/* Read the parameters; program: "SMTP server", "SMTP client", for the subject.
 * 0 and *r on s; PH_CONF. */
int ph_transcript_setup(struct ph_conf *c, struct ph_scope *s, const char *program, struct ph_transcript_rules **r);
/* For a session with `peer` ("host[address]", "host[address]:port") in which errors
 * of `classes` can be met; NULL when notify_classes has none of them.  On s; grows
 * with the session to a bound: then its middle is left out. */
struct ph_transcript *ph_transcript_new(struct ph_scope *s, const struct ph_transcript_rules *r, uint32_t classes, ph_str peer);
/* A line that came in, that went out, without its line end; several lines are split. */
void ph_transcript_in(struct ph_transcript *t, ph_str line);
void ph_transcript_out(struct ph_transcript *t, ph_str line);
/* An error was met; PH_ERROR_*, one or more. */
void ph_transcript_error(struct ph_transcript *t, uint32_t classes);
/* Mail of this sender is under way: a notice about a notice would go on for ever,
 * so when it is one, nothing is sent about this session. */
void ph_transcript_sender(struct ph_transcript *t, ph_str sender);
/* A session goes on with other mail: forget what was said, unless an error was met
 * that is to be sent. */
void ph_transcript_reset(struct ph_transcript *t);
/* Send it when an error was met that the postmaster wants to hear of; `reason`: why
 * the session ended early, or "".  At most 100 an hour from one process: strangers decide how
 * many sessions fail.  0 (also when there is nothing to send); PH_TEMP
 * with text: it could not be sent, and is not kept; PH_CANCEL.  Yields.  The
 * caller's service `uses` cleanup. */
int ph_transcript_send(struct ph_transcript *t, const char *reason) PH_YIELDS;

PH_END
#endif
