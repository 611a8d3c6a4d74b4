/* t/seal/acts.h: what a plugin that was broken into would try. */
#ifndef T_SEAL_ACTS_H
#define T_SEAL_ACTS_H

#include <posthorn/str.h>

/* Do it: 0 when it was done, else errno; -1: no such act.  `arg`: a path, a pid, a port. */
int act_try(ph_str name, const char *arg);

#endif
