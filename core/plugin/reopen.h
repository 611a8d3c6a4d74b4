/* reopen: what tables said they will open again.  See ph_reopen_later. */
#ifndef CORE_PLUGIN_REOPEN_H
#define CORE_PLUGIN_REOPEN_H

#include <posthorn/table.h>

#define PH_REOPEN_DIRS 64

/* The directories, for the seal: how many, and *dirs (the process's own).  Warns of
 * tables that lie where a seal leaves nothing open. */
size_t ph_reopen_dirs(const char *const **dirs);

#endif
