/* posthorn/client.h: talking to a private or public service by name.  Where it
 * runs (inline, over a memory stream, or in its own process, over a socket) is
 * master.yaml's choice; the caller cannot tell. */
#ifndef POSTHORN_CLIENT_H
#define POSTHORN_CLIENT_H

#include <posthorn/frame.h>

PH_BEGIN

/* A fresh connection: 0 and *io on the scope; PH_TEMP (not running, no
 * descriptors), PH_CONF (no such service), PH_CANCEL, PH_TIMEOUT.  Yields. */
int ph_service_dial(struct ph_scope *s, const char *name, struct ph_stream **io) PH_YIELDS;
/* One request, one answer on a pooled connection; a stale one is replaced and
 * the request sent again, so requests must be idempotent.  0 and *reply on s,
 * or negative; PH_TEMP too when what came back is no frame.  ipc_timeout bounds it.  Yields. */
int ph_service_call(struct ph_scope *s, const char *name, const struct ph_frame *request,
                    struct ph_frame **reply) PH_YIELDS;

PH_END
#endif
