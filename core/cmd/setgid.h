/* core/cmd/setgid.h: what postdrop and postqueue, which run with a group's
 * rights for every user, ask before they serve him. */
#ifndef CORE_CMD_SETGID_H
#define CORE_CMD_SETGID_H

#include <sys/types.h>
#include <posthorn/str.h>

/* Forget the caller's environment but MAIL_CONFIG. */
void ph_setgid_clean_environment(void);
/* May this configuration directory be used with our rights?  Only the built-in
 * one, or one that it names: else a user could choose the queue directory.
 * 0; PH_PERM with text. */
int ph_setgid_check_config_dir(const char *dir);
/* A list of user names, !name and static:, the first match wins; root is always
 * in it.  1, 0; PH_CONF: an item that needs a table (no plugins here). */
int ph_setgid_user_listed(ph_str list, uid_t uid);

#endif
