/* core/cmd/postqueue.h: what the files of postqueue share. */
#ifndef CORE_CMD_POSTQUEUE_H
#define CORE_CMD_POSTQUEUE_H

#include "core/cmd/cmd.h"
#include "core/cmd/listing.h"

/* The listing from the queue directory itself, while the mail system is down:
 * 0, or negative with text.  Gives up the rights of root for those of the
 * directory's owner first. */
int postqueue_direct(struct ph_scope *s, struct ph_conf *c, struct listing *l) PH_YIELDS;
/* postqueue_maildrop.c: the part of it that was only submitted. */
void postqueue_maildrop(struct ph_scope *s, struct ph_conf *c, struct listing *l) PH_YIELDS;

#endif
