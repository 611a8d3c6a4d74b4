/* core/cmd/cmd.h: what every command does alike: its name in messages, how it
 * fails, the descriptors it expects. */
#ifndef CORE_CMD_CMD_H
#define CORE_CMD_CMD_H

#include "core/conf/conf.h"

/* First thing in main: remembers the last part of argv[0] for messages and
 * opens closed descriptors 0 to 2 on /dev/null. */
void ph_cmd_start(const char *argv0);
const char *ph_cmd_name(void);
/* Exit status of ph_cmd_fatal; 1 at the start. */
void ph_cmd_fatal_status(int status);
/* From now on what ph_cmd_fatal and ph_cmd_warn say is logged too, under the
 * tag of main.cf and the program's name: in maillog_file when the caller may
 * write it, else by syslog.  A log that cannot be opened is no error. */
void ph_cmd_log_open(struct ph_conf *c);
/* What stands before "/NAME" in log lines, on s: $MAIL_LOGTAG (its control bytes
 * as '?'; not of who runs us set-gid), else syslog_name. */
const char *ph_cmd_log_tag(struct ph_conf *c, struct ph_scope *s);
/* The same for a command that people know under another name: messages begin
 * with "TAG/AS: ", in the log too.  The file is created when it is missing. */
void ph_cmd_log_as(struct ph_conf *c, const char *as);
/* Stands before the text of ph_cmd_fatal from now on ("alice(1000): "), so that
 * the log tells for whom it failed.  Must live as long as the process. */
void ph_cmd_subject(const char *text);
/* "NAME: fatal: text" on stderr, then exit: after a second when the status is 1;
 * the other statuses are answers that somebody waits for. */
void ph_cmd_fatal(const char *fmt, ...) PH_PRINTF(1, 2) PH_NORETURN;
/* fn() runs once before ph_cmd_fatal ends the process (NULL: nothing): what must not be left behind. */
void ph_cmd_before_fatal(void (*fn)(void));
/* "NAME: text" on stderr; "NAME: warning: text". */
void ph_cmd_info(const char *fmt, ...) PH_PRINTF(1, 2);
void ph_cmd_warn(const char *fmt, ...) PH_PRINTF(1, 2);
/* {"key": "value"} and a line end. */
void ph_cmd_put_json(ph_str key, ph_str value);
/* main.cf of -c DIR (or NULL), or fatal.  Sets MAIL_CONFIG for children. */
struct ph_conf *ph_cmd_conf(struct ph_scope *s, const char *dir);

#endif
