/* t/crash/scenario.h: what a child of the crash tests does. */
#ifndef T_CRASH_SCENARIO_H
#define T_CRASH_SCENARIO_H

#define MESSAGES 12

/* Both are main functions of ph_run_main, and do not return.  The scenario says
 * begun, accepted, refused, marking, marked, synced, ending, each with the
 * number of a letter; the survey says found N PENDING STATE-OF-THE-FIRST, corrupt, bad.  Both
 * end with "end". */
int crash_scenario(void *arg);
int crash_survey(void *arg);

#endif
