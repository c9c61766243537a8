/* clock.h -- time through the host's callbacks, so that a test decides what time it is. Threads:
 * any. */
#ifndef CISTERN_CLOCK_H
#define CISTERN_CLOCK_H

#include "cistern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

int64_t cistern_now_ns(void);  /* monotonic */
int64_t cistern_wall_ms(void); /* since 1970, UTC */
/* real time, never the host's clock; for bounded waits only */
void cistern_sleep_ns(int64_t nanoseconds);

#ifdef __cplusplus
}
#endif
#endif
