/* posthorn/log.h: log lines in the form log tools know:
 * "postfix/SERVICE[pid]: text".  Never blocks and never yields: lines go to a
 * bounded queue that leaves in batches; what is dropped is counted and said.
 * Control bytes in the text become '?'; a line is cut at 2000 bytes. */
#ifndef POSTHORN_LOG_H
#define POSTHORN_LOG_H

#include <posthorn/str.h>

PH_BEGIN

void ph_log(const char *fmt, ...) PH_PRINTF(1, 2);          /* info */
void ph_log_warn(const char *fmt, ...) PH_PRINTF(1, 2);     /* "warning: ..." */
void ph_log_error(const char *fmt, ...) PH_PRINTF(1, 2);    /* "error: ..." */
/* Written only when the task's or the process's verbosity is at least `level`
 * (1 = -v, 2 = -v -v). */
void ph_debug(int level, const char *fmt, ...) PH_PRINTF(2, 3);

/* The service part of the tag for the current task ("cleanup" gives
 * "postfix/cleanup"); an inline service sets it for its tasks.  NULL: back to
 * the process's own.  The string must live as long as the task.  Returns the
 * previous one. */
const char *ph_log_service(const char *name);

PH_END
#endif
