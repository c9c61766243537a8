/* soak_check.h -- what the soak programs over one backend share: failing loudly, and time. */
#ifndef CISTERN_SOAK_CHECK_H
#define CISTERN_SOAK_CHECK_H

#include "cistern/base.h"
#include "cistern/clock.h"

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                                        \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fputc('\n', stderr);                                                                   \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)
#define CHECK_OK(expression, error)                                                                \
    do {                                                                                           \
        uint32_t check_status = (expression);                                                      \
        CHECK(check_status == CISTERN_OK, "%s: %s: %s", #expression,                               \
            cistern_status_name(check_status), (error).message);                                   \
    } while (0)

static inline double seconds_since(int64_t start_ns)
{
    return (double)(cistern_now_ns() - start_ns) / 1e9;
}

#endif
