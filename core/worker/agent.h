/* agent: a transport plugin at work: takes delivery requests from qmgr, runs
 * deliver() for each in a task of its own, writes the log lines, answers.
 *
 * On a connection to private/TRANSPORT qmgr speaks first:
 *   {op=hello, role=qmgr, pid}              -> {status=ok, window=N}  N requests at once at most
 *   {op=deliver, number, nexthop, active (us), reuse 0|1, message (ph_message_put, with the
 *    descriptor), recipients (ph_recipient_put)}
 *                                           -> {op=outcomes, number, queue_id, outcomes...}
 *   {op=bye} from the agent: send nothing more here; requests that cross it are still done
 * Answers come in any order.  Outcomes, one group per recipient:
 *   rcpt (number), status sent|bounced|deferred, dsn, text, and when they are not empty relay,
 *   action, diagnostic_type, diagnostic, remote_mta_type, remote_mta, dead (1: the site failed)
 *
 * When the connection is lost finished and still running deliveries are kept
 * and told to the next qmgr by queue id (role=agent); the message's descriptor,
 * and with it the reader's lock, is kept until then and shown to it: qmgr
 * believes who shows that he was handed the message. */
#ifndef CORE_WORKER_AGENT_H
#define CORE_WORKER_AGENT_H

#include <posthorn/task.h>
#include <posthorn/transport.h>

struct ph_agent;

/* t is open.  sessions: deliveries at once in this process, >= 1.  0 and *a on
 * s (its tasks run in g), or PH_CONF.  `limit`: outcomes kept for a qmgr that
 * is away (more are dropped with a warning: duplicates, no loss). */
int ph_agent_new(struct ph_scope *s, struct ph_transport *t, struct ph_group *g,
                 uint32_t sessions, struct ph_agent **a);
/* One connection of qmgr; returns when it ended: 0, PH_CANCEL.  Deliveries may
 * go on (in g).  Yields. */
int ph_agent_serve(struct ph_agent *a, struct ph_scope *session, struct ph_stream *io) PH_YIELDS;
/* No more requests: tells each qmgr ({op=bye}), which ends its connections when
 * their last answers are there.  For a worker that is replaced or idle. */
void ph_agent_stop(struct ph_agent *a);
/* Deliveries under way and outcomes not yet told: an agent that is to end waits
 * until this is 0. */
size_t ph_agent_busy(const struct ph_agent *a);

#endif
