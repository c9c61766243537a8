/* error.c -- fills the caller's error detail; see error.h. */
#include "cistern/error.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static_assert(sizeof(struct cistern_error) == 512, "the error detail is part of the ABI");

static void error_fill(struct cistern_error *error, uint32_t status, const char *object,
    const char *format, va_list arguments)
{
    cistern_error_clear(error);
    error->status = status;
    if (object != NULL) {
        snprintf(error->object, sizeof error->object, "%s", object);
    }
    vsnprintf(error->message, sizeof error->message, format, arguments);
}

void cistern_error_clear(struct cistern_error *error)
{
    if (error != NULL) {
        memset(error, 0, sizeof *error);
        error->file_offset = UINT64_MAX;
    }
}

uint32_t cistern_fail(
    struct cistern_error *error, uint32_t status, const char *object, const char *format, ...)
{
    assert(status != CISTERN_OK && status < CISTERN_STATUS_COUNT);
    if (error != NULL) {
        va_list arguments;
        va_start(arguments, format);
        error_fill(error, status, object, format, arguments);
        va_end(arguments);
    }
    return status;
}

uint32_t cistern_fail_corrupt(
    struct cistern_error *error, const char *object, uint64_t file_offset, const char *format, ...)
{
    if (error != NULL) {
        va_list arguments;
        va_start(arguments, format);
        error_fill(error, CISTERN_CORRUPT, object, format, arguments);
        va_end(arguments);
        error->file_offset = file_offset;
    }
    return CISTERN_CORRUPT;
}

static uint32_t status_from_errno(int32_t os_errno)
{
    switch (os_errno) {
    case ENOSPC:
    case EDQUOT:
        return CISTERN_NO_SPACE;
    case ENOENT:
        return CISTERN_NOT_FOUND;
    case EEXIST:
        return CISTERN_EXISTS;
    case ENOMEM:
        return CISTERN_NO_MEMORY;
    case ECANCELED:
        return CISTERN_ABORTED;
    default:
        return CISTERN_IO;
    }
}

uint32_t cistern_fail_errno(
    struct cistern_error *error, int32_t os_errno, const char *object, const char *what)
{
    assert(os_errno > 0);
    char text[128];
    uint32_t status = cistern_fail(error, status_from_errno(os_errno), object, "%s: %s", what,
        strerror_r(os_errno, text, sizeof text));
    if (error != NULL) {
        error->os_errno = os_errno;
    }
    return status;
}

uint32_t cistern_options_read(void *into, uint64_t known_bytes, const void *options,
    uint64_t given_bytes, const char *name, struct cistern_error *error)
{
    memset(into, 0, known_bytes);
    if (options == NULL) {
        return CISTERN_OK;
    }
    if (given_bytes == 0) {
        return cistern_fail(error, CISTERN_INVALID, name, "the size passed for %s is 0", name);
    }
    const uint8_t *bytes = options;
    for (uint64_t i = known_bytes; i < given_bytes; i++) {
        if (bytes[i] != 0) {
            return cistern_fail(error, CISTERN_UNSUPPORTED, name,
                "%s was built for a newer library: byte %llu is set, this library knows %llu bytes",
                name, (unsigned long long)i, (unsigned long long)known_bytes);
        }
    }
    memcpy(into, options, given_bytes < known_bytes ? given_bytes : known_bytes);
    return CISTERN_OK;
}
