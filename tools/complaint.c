/* complaint.c -- see complaint.h. */
#include "complaint.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

static const uint8_t exit_codes[] = {
    [CISTERN_OK] = EXIT_DONE,
    [CISTERN_NOT_FOUND] = EXIT_NOT_FOUND,
    [CISTERN_EXISTS] = EXIT_OPERATIONAL,
    [CISTERN_BUSY] = EXIT_LOCKED,
    [CISTERN_LIMIT] = EXIT_LIMIT,
    [CISTERN_TIMEOUT] = EXIT_OPERATIONAL,
    [CISTERN_INVALID] = EXIT_OPERATIONAL,
    [CISTERN_CORRUPT] = EXIT_INTEGRITY,
    [CISTERN_IO] = EXIT_OPERATIONAL,
    [CISTERN_NO_SPACE] = EXIT_OPERATIONAL,
    [CISTERN_NO_MEMORY] = EXIT_OPERATIONAL,
    [CISTERN_UNSUPPORTED] = EXIT_UNSUPPORTED,
    [CISTERN_FENCED] = EXIT_LOCKED,
    [CISTERN_ABORTED] = EXIT_OPERATIONAL,
    [CISTERN_CLOSED] = EXIT_OPERATIONAL,
    [CISTERN_MISMATCH] = EXIT_OPERATIONAL,
};
static_assert(sizeof exit_codes == CISTERN_STATUS_COUNT, "a status lacks its exit code");

int complaint_exit_code(uint32_t status)
{
    return status < CISTERN_STATUS_COUNT ? exit_codes[status] : EXIT_OPERATIONAL;
}

static void error_print(const struct cistern_error *error, const char *advice)
{
    char place[300] = "";
    if (error->object[0] != '\0') {
        if (error->file_offset != UINT64_MAX) {
            snprintf(place, sizeof place, " (%s, offset %llu)", error->object,
                (unsigned long long)error->file_offset);
        } else {
            snprintf(place, sizeof place, " (%s)", error->object);
        }
    }
    fprintf(stderr, "cistern: %s%s\n  %s\n",
        error->message[0] != '\0' ? error->message : cistern_status_name(error->status), place,
        advice);
}

int complaint_print(const struct cistern_error *error, const char *advice)
{
    error_print(error, advice != NULL ? advice : cistern_status_advice(error->status));
    return complaint_exit_code(error->status);
}

int complaint_usage(const struct cistern_error *error, const char *where)
{
    char advice[128];
    snprintf(advice, sizeof advice, "see `%s --help`", where);
    error_print(error, advice);
    return EXIT_USAGE;
}

void complaint_warn(const char *format, ...)
{
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    fprintf(stderr, "cistern: WARNING: %s\n", line);
}

void complaint_note(const char *format, ...)
{
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    fprintf(stderr, "cistern: %s\n", line);
}

void complaint_log(void *arg, uint32_t level, const char *text)
{
    (void)arg;
    if (level >= CISTERN_LOG_WARNING) {
        complaint_warn("%s", text);
    }
}
