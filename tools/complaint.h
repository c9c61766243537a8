/*
 * complaint.h -- how the command speaks of trouble (stderr), and the exit code each status becomes.
 *
 * Threads: any; a line is one write.
 */
#ifndef CISTERN_COMPLAINT_H
#define CISTERN_COMPLAINT_H

#include "cistern/base.h"

enum exit_code {
    EXIT_DONE = 0,
    EXIT_OPERATIONAL = 1,
    EXIT_USAGE = 2,
    EXIT_PARTIAL = 3,
    EXIT_INTEGRITY = 4,
    EXIT_LIMIT = 5,
    EXIT_NOT_FOUND = 10,
    EXIT_LOCKED = 11,
    EXIT_UNSUPPORTED = 13
};

int complaint_exit_code(uint32_t status);
/* "cistern: <message> (<object>)" and a line with what the reader can do: `advice`, or the
 * status's own when NULL. Returns the status's exit code. */
int complaint_print(const struct cistern_error *error, const char *advice);
/* The same for a command line that makes no sense; returns EXIT_USAGE. where: "cistern run",
 * whose --help is pointed at. */
int complaint_usage(const struct cistern_error *error, const char *where);
/* "cistern: WARNING: ..." and "cistern: ...". */
void complaint_warn(const char *format, ...) CISTERN_PRINTF(1, 2);
void complaint_note(const char *format, ...) CISTERN_PRINTF(1, 2);
/* The library's log: warnings and errors to stderr, the rest nowhere. Fits struct cistern_host. */
void complaint_log(void *arg, uint32_t level, const char *text);

#endif
