/* qmgr: the queue manager: joins the store (core/queue) and the scheduler.
 * Built into the worker as a service; loads no plugin.
 *
 * Life of a message here:
 *
 *   arrived --> waiting (unread, while active is full) --> load --+
 *      +------------- hot hand-off, envelope at hand -------------+--> resolve --> scheduler
 *   deferred index (retry time) --> load -------------------------+                  |
 *                                                                                    v
 *   removed | deferred | held <-- finish <-- settle: logs, marks <-- agents (private/TRANSPORT)
 *
 * Files: qmgr.c     start, roles, reload             feed.c     activation: who enters active next
 *        resolve.c  asks rewrite, caches             lane.c     transports: requests, answers
 *        batch.c    recipients, some at a time       pace.c     what the scheduler wants done, when
 *        settle.c   outcomes: logs, marks            finish.c   end of a round: notices, expiry, removal
 *        control.c  requests of administrators       choice.c   which messages they mean
 *        remove.c   deletion of many                 list.c     the listing
 *        survive.c  outcomes told after a restart    bouncer.c  requests to bounce
 *        params.c   parameters, limits of transports
 *
 * First frame of a client: {op=hello, role=intake|agent|control, service, pid}.
 * There is no answer to hello.  Who may speak as what:
 *   private/qmgr   any role; our own uid and root
 *   net/qmgr       intake, agent; workers of the network account
 *   public/qmgr    control
 * pid must be the peer's own.
 *
 * role=control; answers have `status` ok|none|temp|perm and
 * `reason`.  All but flush and exists: root, mail_owner, or our own uid only.
 *   flush [queue_id]     retry all (or one) now, forget dead destinations
 *   list [queue]...      one frame per message: queue (incoming active deferred hold corrupt),
 *                        queue_id, size, arrival (us), expired 0|1, sender,
 *                        then per recipient not yet done: rcpt (number), address, original,
 *                        state P|F.  A message with very many recipients goes on in frames that
 *                        have part=1.  Last: {status=ok, end=1}
 *   open queue_id        + read-only descriptor; queue
 *   exists queue_id      found 0|1
 *   delete hold release requeue expire   queue_id, or all=1 with [queue]... ; answer: count
 *
 * role=agent: {op=outcomes, queue_id, outcomes...} and the read-only descriptor
 * that came with the message -> {status}.  Outcomes are those of core/worker/agent.h. */
#ifndef CORE_SCHED_QMGR_H
#define CORE_SCHED_QMGR_H

#include <posthorn/service.h>
#include <posthorn/task.h>

/* open: parameters, becomes the owner of the queue.  serve: one client. */
extern const struct ph_service_plugin ph_qmgr_service;

/* After the seal and the start of the disk pool, before clients are accepted:
 * recovery, then the tasks of the service in g.  0, or PH_TEMP.  Yields. */
int ph_qmgr_start(struct ph_service *v, struct ph_group *g) PH_YIELDS;
/* SIGHUP: read parameters again in place; `conf` must live as long as the
 * service.  0; PH_CONF: nothing changed.  Does not yield. */
int ph_qmgr_reload(struct ph_service *v, struct ph_conf *conf);
/* 1 while deliveries are under way (a stop waits for them up to its limit). */
int ph_qmgr_is_busy(struct ph_service *v);

#endif
