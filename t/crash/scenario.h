/* t/crash/scenario.h: what a child of the crash tests does. */
#ifndef T_CRASH_SCENARIO_H
#define T_CRASH_SCENARIO_H

#define MESSAGES 12

extern char crash_top[32];         /* queue_directory */
extern int crash_words;            /* where the child says what it promised */

/* Both are main functions of ph_run_main, and do not return.  The scenario says
 * begun, accepted, refused, marking, marked, synced, ending, each with a queue
 * id; the survey says found ID PENDING STATE-OF-THE-FIRST, corrupt, bad.  Both
 * end with "end". */
int crash_scenario(void *arg);
int crash_survey(void *arg);

#endif
