/* posthorn/clock.h: time.  Deadlines are absolute, on the monotonic clock. */
#ifndef POSTHORN_CLOCK_H
#define POSTHORN_CLOCK_H

#include <posthorn/abi.h>

PH_BEGIN

#define PH_FOREVER INT64_MAX
/* The last moment of the year 9999, in microseconds: no time from outside is
 * later, so that differences of times do not overflow. */
#define PH_WALL_MAX_US (INT64_C(253402300799) * 1000000)

/* Milliseconds of the monotonic clock, read once per turn of the loop (always
 * fresh outside tasks and in pool threads). */
int64_t ph_now_ms(void);
/* The deadline `ms` from now; saturates at PH_FOREVER. */
int64_t ph_in_ms(int64_t ms);
/* Microseconds of the wall clock since 1970, always fresh. */
int64_t ph_wall_us(void);

PH_END
#endif
