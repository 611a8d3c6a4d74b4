/* log.h: where log lines go.  What writes them is <posthorn/log.h>.
 *
 * Lines are gathered in a bounded buffer and leave once per turn of the loop
 * (at once outside a loop) in one write.  A sink that does not take them makes
 * the buffer fill; then lines are dropped, counted, and the count is said when
 * there is room again.  Nothing here blocks on a pipe or a socket. */
#ifndef CORE_RUN_LOG_H
#define CORE_RUN_LOG_H

#include <posthorn/log.h>

struct ph_log_options {
    const char *file;          /* maillog_file: a path, /dev/stdout, /dev/stderr; "" or NULL: syslog */
    const char *syslog_name;   /* "postfix" or "postfix/submission" */
    const char *service;       /* program part of the tag: "smtpd" */
    const char *host;          /* its first label stands in file lines */
    int mode;                  /* of a file that is created; 0: 0600 */
    int verbosity;
    const char *syslog_socket; /* NULL: /dev/log */
    const char *program;       /* not NULL: a command; lines go to stderr too, as "program: text" */
};

/* Open the sink (again); strings are copied.  0, or PH_TEMP: then the sink
 * before stays.  Call it before the uid is dropped and before the seal; the
 * descriptor stays open. */
int ph_log_open(const struct ph_log_options *o);
/* Before that (and where it never comes) lines go to stderr, behind this name. */
void ph_log_program(const char *name);
/* Send what is gathered, as far as the sink takes it. */
void ph_log_flush(void);
/* Join this thread's loop until it ends: flush at the end of each turn.
 * Without it each line is written at once. */
void ph_log_join_loop(void);
/* The descriptor of a file sink, or -1: to pass on to a child. */
int ph_log_fd(void);
/* From now on the lines go to this file, which takes the place of the file before
 * (the log was rotated); the descriptor becomes ours.  Without effect (and the
 * descriptor is closed) when the log is no file. */
void ph_log_adopt_fd(int fd);
/* A line that another process said ("text" without tag), under this tag. */
void ph_log_for(const char *service, const char *text);
/* Process verbosity (-v). */
void ph_log_verbosity(int level);

#endif
