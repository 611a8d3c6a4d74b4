/* t/crash/power.h: what a power loss takes: the tracer tells each call, the model
 * remembers what is not durable yet. */
#ifndef T_CRASH_POWER_H
#define T_CRASH_POWER_H

#include <stdint.h>
#include <sys/types.h>

struct power;

struct power *power_new(const char *top, unsigned seed);
/* A call begins, and ends with `result`. */
void power_enter(struct power *p, pid_t pid, uint64_t nr, const uint64_t args[6]);
void power_leave(struct power *p, pid_t pid, int64_t result);
/* The process is dead: take back what was not durable.  1 when a directory was
 * synced although a name had left it for one that was not.  Frees p. */
int power_lose(struct power *p);

#endif
