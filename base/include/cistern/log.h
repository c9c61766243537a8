/* log.h -- the library's only way to speak unasked: a line to the host's callback, or nothing.
 * Threads: any. */
#ifndef CISTERN_LOG_H
#define CISTERN_LOG_H

#include "cistern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

void cistern_log(uint32_t level, const char *format, ...) CISTERN_PRINTF(2, 3);

#ifdef __cplusplus
}
#endif
#endif
