/* client.h: how <posthorn/client.h> reaches services: set up by the worker (or
 * a command) once, before the first call. */
#ifndef CORE_IPC_CLIENT_H
#define CORE_IPC_CLIENT_H

#include <posthorn/client.h>

/* Where the sockets are (below queue_directory) and how long one call may
 * take.  Strings are copied. */
void ph_client_setup(ph_str queue_directory, int64_t timeout_ms);
/* In which directories of queue_directory a socket is looked for, in this order:
 * words with blanks between, a literal; "private public" unless said. */
void ph_client_places(const char *places);
/* Serve `name` in this process: serve runs as a task of g for each connection
 * dialled.  A service is inline from here on. */
void ph_client_inline(const char *name, struct ph_group *g,
                      int (*serve)(void *arg, struct ph_scope *session, struct ph_stream *io), void *arg);
/* How long one call may take, as set up. */
int64_t ph_client_timeout_ms(void);
/* Close pooled connections that wait unused (before a fork, at the end). */
void ph_client_forget(void);

#endif
