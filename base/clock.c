/* clock.c -- time through the host; see clock.h. */
#include "cistern/clock.h"
#include "host_private.h"

#include <errno.h>
#include <time.h>

#define NS_PER_S 1000000000

static int64_t clock_read_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

int64_t cistern_now_ns(void)
{
    const struct cistern_host *host = host_callbacks();
    return host->now_ns != NULL ? host->now_ns(host->arg) : clock_read_ns(CLOCK_MONOTONIC);
}

int64_t cistern_wall_ms(void)
{
    const struct cistern_host *host = host_callbacks();
    return host->wall_ms != NULL ? host->wall_ms(host->arg)
                                 : clock_read_ns(CLOCK_REALTIME) / 1000000;
}

void cistern_sleep_ns(int64_t nanoseconds)
{
    struct timespec left = {.tv_sec = nanoseconds / NS_PER_S, .tv_nsec = nanoseconds % NS_PER_S};
    while (nanoseconds > 0 && nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}
