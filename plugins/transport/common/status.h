/* status: AGENT_delivery_status_filter: tables that replace the code and the text of
 * an outcome; shared by the agents of this machine (local, virtual, pipe). */
#ifndef TRANSPORT_STATUS_H
#define TRANSPORT_STATUS_H

#include <posthorn/lookup.h>
#include <posthorn/transport.h>

/* Look for "X.Y.Z text" of *o and take what is found in its place (on s), with the
 * status that fits.  Success stays success; 4 and 5 may change places.  An answer
 * that cannot be used, or a table that cannot be asked, is a warning that names
 * `parameter`, and *o stays.  m NULL or empty: nothing.  May yield (tables). */
void transport_filter(struct ph_maps *m, const char *parameter, struct ph_scope *s, struct ph_outcome *o) PH_YIELDS;

#endif
