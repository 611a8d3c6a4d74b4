/* core/cmd/setgid.h: what postdrop and postqueue, which run with a group's
 * rights for every user, ask before they serve him. */
#ifndef CORE_CMD_SETGID_H
#define CORE_CMD_SETGID_H

#include <sys/types.h>
#include <posthorn/scope.h>

/* Forget the caller's environment but MAIL_CONFIG. */
void ph_setgid_clean_environment(void);
/* May this configuration directory be used with our rights?  Only the built-in
 * one, or one that it names: else a user could choose the queue directory.
 * 0; PH_PERM with text. */
int ph_setgid_check_config_dir(const char *dir);
/* The login name of that uid, on s; "unknown" when it has none. */
ph_str ph_setgid_login(struct ph_scope *s, uid_t uid);

#endif
