/* core/cmd/usermap.h: the few kinds of lists and tables that a set-gid program
 * consults about its user: static:, inline:, texthash: and files of names.  It
 * loads no plugin, so every other table is an error that says so.  Names are
 * compared byte by byte, as login names are. */
#ifndef CORE_CMD_USERMAP_H
#define CORE_CMD_USERMAP_H

#include <posthorn/scope.h>

/* Is the name in this list (name, !name, /file of such items, type:table)?  The
 * first match wins.  1, 0; PH_CONF: a table that cannot be used here; PH_TEMP: a
 * file that cannot be read. */
int ph_usermap_listed(ph_str list, ph_str name);
/* The first of the tables that knows the key: PH_FOUND and *value on s, PH_NONE,
 * PH_CONF, PH_TEMP. */
int ph_usermap_find(struct ph_scope *s, ph_str tables, ph_str key, ph_str *value);

#endif
