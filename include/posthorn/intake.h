/* posthorn/intake.h: writing a new message into the queue.  The one promise:
 * when ph_intake_commit answers 0 a crash can no longer lose the message.
 *
 * Order: begin, then content (headers, body) in any number of pieces, then
 * sender, recipients and attributes at any time before commit.  Without commit
 * the message never existed: ending the scope gives the slot back. */
#ifndef POSTHORN_INTAKE_H
#define POSTHORN_INTAKE_H

#include <posthorn/scope.h>
#include <posthorn/task.h>

PH_BEGIN

struct ph_intake;

/* Who asks: some leases are reserved so that a full pool cannot block notices. */
#define PH_INTAKE_NET    0
#define PH_INTAKE_LOCAL  1     /* pickup */
#define PH_INTAKE_NOTICE 2     /* bounce */

/* Take a slot; its queue id is known from here on (Received: names it).
 * PH_TEMP: no lease within in_flow_delay (disk full, qmgr away): 4xx.  Yields. */
int ph_intake_begin(struct ph_scope *s, uint32_t who, struct ph_intake **q) PH_YIELDS;
ph_str ph_intake_id(const struct ph_intake *q);
/* Wire-ready bytes; headers first, then PH_INTAKE_BODY once, then the body.
 * Small messages stay in memory until commit.  0, PH_TEMP (disk), PH_PERM
 * (limit of message_size_limit exceeded).  After an error only scope end. */
int ph_intake_write(struct ph_intake *q, ph_str bytes) PH_YIELDS;
/* The same for bytes that have no CR or LF but in CRLF; else PH_NONE, and nothing is written. */
int ph_intake_write_plain(struct ph_intake *q, ph_str bytes) PH_YIELDS;
/* The headers are complete: what follows (after an empty line that is added
 * here) is the body. */
int ph_intake_body(struct ph_intake *q) PH_YIELDS;
/* Bytes of content so far. */
uint64_t ph_intake_bytes(const struct ph_intake *q);

void ph_intake_sender(struct ph_intake *q, ph_str internal);
/* PH_PERM when the address or the number of recipients breaks a limit. */
int ph_intake_recipient(struct ph_intake *q, ph_str address, ph_str original,
                        ph_str dsn_orcpt, ph_str dsn_notify);
/* An alias of which the sender wants to hear (NOTIFY=SUCCESS) and whose members are
 * recipients of their own: it is reported as expanded (RFC 3461 5.2.7.3), and nothing
 * is delivered to it.  Answers as ph_intake_recipient. */
int ph_intake_expanded(struct ph_intake *q, ph_str address, ph_str original, ph_str dsn_orcpt, ph_str dsn_notify);
/* Take back all recipients given so far. */
void ph_intake_forget_recipients(struct ph_intake *q);
uint32_t ph_intake_recipients(const struct ph_intake *q);
/* A named attribute of the envelope ("client_name", "envelope_id", "dsn_ret", "full_name" ...: the
 * names of struct ph_message).  PH_PERM when there are too many or one is bad. */
int ph_intake_attr(struct ph_intake *q, const char *name, ph_str value);
/* Facts (PH_FACT_* of message.h) beyond those that are computed from content. */
void ph_intake_facts(struct ph_intake *q, uint32_t facts);
/* Put the message on hold instead of delivering it. */
void ph_intake_hold(struct ph_intake *q);

/* Make it durable and hand it to qmgr.  0; PH_TEMP: it is not in the queue and
 * never will be (the slot is spoilt).  Yields (disk). */
int ph_intake_commit(struct ph_intake *q) PH_YIELDS;

PH_END
#endif
