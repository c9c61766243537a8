/*
 * error.h -- how a module fills the caller's struct cistern_error. Every function tolerates error
 * == NULL.
 *
 * Each returns the status it was given, so that a failure is one line: return cistern_fail(error,
 * CISTERN_INVALID, ...).
 */
#ifndef CISTERN_ERROR_H
#define CISTERN_ERROR_H

#include "cistern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* object: what the failure is about (may be NULL); format: the sentence. file_offset becomes
 *         "none". */
uint32_t cistern_fail(struct cistern_error *error, uint32_t status, const char *object,
    const char *format, ...) CISTERN_PRINTF(4, 5);
/* The operating system's answer, os_errno > 0: ENOSPC and EDQUOT become NO_SPACE, ENOENT
 * NOT_FOUND, EEXIST EXISTS, ENOMEM NO_MEMORY, anything else IO. The message is "<what>:
 * <strerror>". */
uint32_t cistern_fail_errno(
    struct cistern_error *error, int32_t os_errno, const char *object, const char *what);
/* CORRUPT at a place: the byte of `object` where the check failed. */
uint32_t cistern_fail_corrupt(struct cistern_error *error, const char *object, uint64_t file_offset,
    const char *format, ...) CISTERN_PRINTF(4, 5);
void cistern_error_clear(struct cistern_error *error);

/* Options of another size than ours (see base.h): copies the caller's struct over zeroed `into`.
 * INVALID: given_bytes is 0.
 * UNSUPPORTED: the caller knows fields that we do not, and set one. options == NULL leaves
 *              `into` zero. */
CISTERN_MUST_USE uint32_t cistern_options_read(void *into, uint64_t known_bytes,
    const void *options, uint64_t given_bytes, const char *name, struct cistern_error *error);

#ifdef __cplusplus
}
#endif
#endif
