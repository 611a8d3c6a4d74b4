/* core/cmd/postdrop.h: the file that postdrop makes.  One per process: a signal
 * handler must be able to remove it. */
#ifndef CORE_CMD_POSTDROP_H
#define CORE_CMD_POSTDROP_H

#include <posthorn/maildrop.h>
#include "core/conf/conf.h"

/* Create a file in maildrop/ that is not ready, with the envelope in it, the
 * time being ours.  0, PH_TEMP, PH_PERM. */
int postdrop_file_create(struct ph_conf *c, const struct ph_maildrop *m);
int postdrop_file_content(ph_str bytes);
/* End it, make it durable, give it its name: the name, or NULL. */
const char *postdrop_file_commit(void);
/* Remove what is not committed; also without a file, and twice. */
void postdrop_file_remove(void);
/* Tell pickup.  It finds the file anyway, so nothing can go wrong. */
void postdrop_wake(struct ph_conf *c);

#endif
