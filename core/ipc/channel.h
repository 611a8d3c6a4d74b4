/* channel.h: words between the master and a worker over one SOCK_SEQPACKET
 * pair; a message is one byte.  Its end tells the worker that the master is
 * gone, and the master that the worker is. */
#ifndef CORE_IPC_CHANNEL_H
#define CORE_IPC_CHANNEL_H

/* worker to master */
#define PH_WORKER_READY  'R'       /* open, sealed, accepting */
#define PH_WORKER_BUSY   'B'       /* all sessions are taken: another worker may start */
#define PH_WORKER_FREE   'F'       /* there is room again */
#define PH_WORKER_DONE   'D'       /* no longer accepting: idle too long, or told to */
/* master to worker */
#define PH_MASTER_WAKE   'W'       /* run the service's wakeup */
#define PH_MASTER_DRAIN  'Q'       /* accept no more, end when the sessions have */
#define PH_MASTER_STOP   'T'       /* the same, but sessions end soon */
#define PH_MASTER_RELOAD 'H'       /* take the configuration files that come with it (qmgr) */
#define PH_MASTER_LOG    'L'       /* write the log to the descriptor that comes with it */

/* Descriptors a worker is born with. */
#define PH_WORKER_CHANNEL_FD 3
#define PH_WORKER_FILES_FD   4     /* main.cf and master.yaml, as checked: core/conf/snapshot.h */
#define PH_WORKER_LISTEN_FD  6     /* the first of -l N */

#endif
