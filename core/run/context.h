/* context: what belongs to the running task besides its stack.  Outside tasks
 * (single-task programs, pool threads) each thread has one. */
#ifndef CORE_RUN_CONTEXT_H
#define CORE_RUN_CONTEXT_H

#include <stdint.h>
#include "core/base/errtext.h"

struct ph_why_sink;

struct ph_context {
    int64_t deadline;              /* of all waits; PH_FOREVER: none */
    const char *log_service;       /* NULL: the process's own.  Inherited by spawned tasks */
    int verbosity;                 /* added to the process's.  Inherited */
    struct ph_why_sink *why;       /* who hears the steps; NULL: nobody.  Inherited */
    struct ph_errtext error;       /* tasks only; else error.c's own of the thread */
};

/* Never NULL. */
struct ph_context *ph_context(void);

#endif
