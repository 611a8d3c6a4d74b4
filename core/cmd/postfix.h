/* postfix.h: between the files of the postfix command. */
#ifndef CORE_CMD_POSTFIX_H
#define CORE_CMD_POSTFIX_H

#include <sys/types.h>
#include "core/conf/conf.h"

struct postfix {
    struct ph_scope *scope;
    const char *dir;               /* configuration directory, absolute */
    struct ph_conf *conf;
    ph_str queue_directory, daemon_directory;
    int argc;                      /* what follows the subcommand */
    char **argv;
};

/* postfix_init.c: write an instance into argv[0] ...: exit status. */
int postfix_init(struct ph_scope *s, int argc, char **argv);
/* postfix_check.c: queue directories, their modes and filesystem; warnings are
 * said.  0, or 1 when something is wrong. */
int postfix_check(struct postfix *p);
/* postfix_names.c: warnings of postconf about names in the configuration. */
void postfix_check_names(struct postfix *p);
/* postfix_permissions.c: set-permissions: exit status.  And what it does first:
 * put the name=value arguments into main.cf (postconf -e), or fatal. */
int postfix_set_permissions(struct postfix *p);
void postfix_edit_configuration(struct postfix *p);
/* postfix_upgrade.c: upgrade-configuration: exit status. */
int postfix_upgrade_configuration(struct postfix *p);
/* Only what is wrong is said from now on. */
void postfix_check_quietly(void);
/* postfix_logrotate.c: exit status, or fatal. */
int postfix_logrotate(struct postfix *p);
/* postfix_tasks.c: tasks [--debug] [service]: exit status, or fatal. */
int postfix_tasks(struct postfix *p);
/* postfix_instances.c: several instances are configured and none was named: become
 * the command that acts on each of them; returns when there is one only. */
void postfix_instances(struct ph_scope *s, struct ph_conf *c, char **command);
/* What programs started by us find in their environment: where everything is. */
void postfix_export(struct ph_scope *s, struct ph_conf *c);
/* postfix.c: SIGHUP to the master and wait until it has read everything: exit status. */
int postfix_reload(struct postfix *p);
/* postfix.c: pid of the running master, or 0; *state when not NULL: how often it
 * took a configuration, and how often it refused one. */
struct master_state { unsigned generation, refused; };
pid_t postfix_master_pid(const struct postfix *p, struct master_state *state);

#endif
