/* clock: see posthorn/clock.h. */
#include <time.h>
#include "core/run/inside.h"

#define WALL_US (1763985600LL * 1000000)     /* the wall clock at simulated time 0 */

static int64_t simulated_ms;       /* 0: the machine's clock */

void ph_clock_simulate(int64_t ms)
{
    simulated_ms = ms;
}

int ph_clock_is_simulated(void)
{
    return simulated_ms != 0;
}

int64_t ph_clock_ms(void)
{
    struct timespec ts;

    if (simulated_ms)
        return simulated_ms;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t ph_now_ms(void)
{
    return ph_loop_current ? ph_loop_current->now : ph_clock_ms();
}

int64_t ph_in_ms(int64_t ms)
{
    int64_t when;

    return __builtin_add_overflow(ph_now_ms(), ms, &when) ? PH_FOREVER : when;
}

int64_t ph_wall_us(void)
{
    struct timespec ts;

    if (simulated_ms)
        return WALL_US + simulated_ms * 1000;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}
