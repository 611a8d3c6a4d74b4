/* core/cmd/queue_client.h: talking to the running queue: qmgr's control socket
 * and showq. */
#ifndef CORE_CMD_QUEUE_CLIENT_H
#define CORE_CMD_QUEUE_CLIENT_H

#include <sys/types.h>
#include <posthorn/frame.h>
#include "core/cmd/cmd.h"

/* Connect to public/NAME (or to another directory's NAME): 0 and *io on s;
 * PH_TEMP: nobody listens there; PH_PERM: not allowed. */
int ph_queue_client_dial(struct ph_scope *s, struct ph_conf *c, const char *name, struct ph_stream **io);
int ph_queue_client_dial_in(struct ph_scope *s, struct ph_conf *c, const char *directory, const char *name,
                            struct ph_stream **io);
/* The same to qmgr, with the hello of a command. */
int ph_queue_client_control(struct ph_scope *s, struct ph_conf *c, struct ph_stream **io) PH_YIELDS;
/* One request and its answer (on s): 0; PH_TEMP with text when the connection
 * breaks or qmgr says temp; PH_PERM; PH_NONE. */
int ph_queue_client_ask(struct ph_scope *s, struct ph_stream *io, const struct ph_frame *request,
                        struct ph_frame **reply) PH_YIELDS;

/* Whose the queue is: the owner of its pool (queue_directory itself is root's
 * where there are accounts).  queue_dir: a descriptor of queue_directory. */
uid_t ph_queue_owner(int queue_dir);
/* Root becomes him for good, so that nothing made in the queue is root's, and no
 * link that he put there leads root anywhere.  0; PH_PERM.  Who is not root stays. */
int ph_queue_become_owner(int queue_dir);

#endif
