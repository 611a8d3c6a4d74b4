/* exit: what the end of a command means for the mail it was given (sysexits);
 * shared by the agents that run commands (local, pipe).  Pure. */
#ifndef TRANSPORT_EXIT_H
#define TRANSPORT_EXIT_H

#include <posthorn/spawn.h>
#include <posthorn/transport.h>

/* Fill status, dsn, text and the diagnostic of *o (texts on s).  `what` is the
 * command as words about it quote it.  Success has no text.  The output counts:
 * "4.2.2 over quota" of a failed command is its code and its text. */
void transport_exit(struct ph_scope *s, const struct ph_command_result *r, ph_str what, struct ph_outcome *o);
/* Output for a log line: TAB and line ends become blanks, other control bytes and
 * what is no UTF-8 become '_'. */
ph_str transport_output(struct ph_scope *s, ph_str output);

#endif
