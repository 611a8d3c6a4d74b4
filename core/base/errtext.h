/* errtext: where ph_fail keeps its words.  The runtime points `current` at the
 * running task's; outside tasks and in pool threads each thread has its own. */
#ifndef CORE_BASE_ERRTEXT_H
#define CORE_BASE_ERRTEXT_H

struct ph_errtext {
    char *text;            /* heap, PH_ERRTEXT_MAX bytes, made at the first failure; may be NULL */
};

#define PH_ERRTEXT_MAX 1024

extern _Thread_local struct ph_errtext *ph_errtext_current __attribute__((tls_model("initial-exec")));   /* NULL: the thread's own */

/* Free the memory of one (at task or thread end). */
void ph_errtext_fini(struct ph_errtext *e);
/* Copy text into the current one (from a pool thread's to the task's). */
void ph_errtext_set(const char *text);

#endif
