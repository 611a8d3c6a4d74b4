/* snapshot: main.cf and master.yaml as they were when the master checked them.
 *
 * A worker that starts later, or qmgr at a reload, reads these bytes and not the
 * files: what an administrator is writing just now reaches nobody before a
 * reload has accepted it, and a file that no longer parses stops nobody. */
#ifndef CORE_CONF_SNAPSHOT_H
#define CORE_CONF_SNAPSHOT_H

#include "core/conf/master.h"

/* Descriptors of memory files that nothing can change any more. */
#define PH_SNAPSHOT_FILES 2
struct ph_snapshot {
    int fd[PH_SNAPSHOT_FILES];     /* main.cf, master.yaml; -1: none */
};

/* Copy DIR's two files: 0 and *out (the caller closes it); PH_TEMP, PH_CONF. */
int ph_snapshot_take(const char *dir, struct ph_snapshot *out);
/* Read the copies as ph_conf_open and ph_master_open read the files; messages
 * name those.  0 and both on s; PH_CONF, PH_TEMP. */
int ph_snapshot_read(const struct ph_snapshot *snap, struct ph_scope *s, const char *dir,
                     struct ph_conf **conf, const struct ph_master_def **master);
/* Idempotent; a zeroed one must not be given. */
void ph_snapshot_close(struct ph_snapshot *snap);

#endif
