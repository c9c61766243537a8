/*
 * base.h -- what every public header of cistern stands on: status, error detail, spans, the host's
 * callbacks.
 *
 * ABI rules: C17 and C++17 clean; no bit-field, no `long`, no _Atomic and no enum inside a struct
 *            (enums travel as
 * uint32_t). Zero is the default of every option. A call that takes options is exported as
 * NAME_sized(..., options_bytes) and NAME is a macro that passes sizeof; a binding passes the size
 * it was built with. A library that knows fewer fields refuses (UNSUPPORTED) a larger struct whose
 * extra bytes are not zero; one that knows more reads the missing ones as 0.
 */
#ifndef CISTERN_BASE_H
#define CISTERN_BASE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CISTERN_MUST_USE __attribute__((warn_unused_result))
#define CISTERN_PRINTF(format_index, first_argument)                                               \
    __attribute__((format(printf, format_index, first_argument)))

#define CISTERN_ABI 1
uint32_t cistern_abi_version(void);
const char *cistern_version(void);

/* The one table of outcomes. The numbers are ABI. Every fallible function returns one of them as
 * uint32_t. */
enum cistern_status {
    CISTERN_OK = 0,
    CISTERN_NOT_FOUND, /* no such key, file, checkpoint */
    CISTERN_EXISTS,    /* something is there already that must not be overwritten */
    CISTERN_BUSY,      /* held by somebody, or not ready: try again */
    CISTERN_LIMIT,     /* a named limit or the memory budget is reached */
    CISTERN_TIMEOUT,
    CISTERN_INVALID,   /* the request or its input makes no sense; the message says what would */
    CISTERN_CORRUPT,   /* bytes from outside fail a check; object and file_offset name the place */
    CISTERN_IO,        /* the operating system refused; os_errno says how */
    CISTERN_NO_SPACE,  /* disk or quota full */
    CISTERN_NO_MEMORY, /* the host's allocator gave nothing */
    CISTERN_UNSUPPORTED, /* a format version, kind or option this build does not know */
    CISTERN_FENCED,      /* another writer took over: stop, commit nothing outside */
    CISTERN_ABORTED,
    CISTERN_CLOSED,
    /* both sides are whole, but do not belong together (other job, other schema) */
    CISTERN_MISMATCH,
    CISTERN_STATUS_COUNT
};
const char *cistern_status_name(uint32_t status);   /* "LIMIT"; "?" for a number that is none */
const char *cistern_status_advice(uint32_t status); /* one sentence: what the caller can do */

/* Detail of a failure, in the caller's storage. 512 bytes, frozen. Filled only when a call
 * returns other than OK. */
struct cistern_error {
    uint32_t status;
    int32_t os_errno; /* 0 = none */
    /* where in `object` a CORRUPT byte stands; UINT64_MAX = not a place in a file */
    uint64_t file_offset;
    uint64_t bytes_missing; /* LIMIT: how many more bytes were needed */
    char object[232];       /* the file, option, slot or state the failure is about */
    char message[256];      /* a sentence for a person */
};

struct cistern_span { /* bytes to read; data == NULL: absent, which is not the same as empty */
    const void *data;
    uint64_t bytes;
};
struct cistern_bytes { /* caller's memory that we write into */
    void *data;
    uint64_t capacity_bytes;
};

enum cistern_log_level {
    CISTERN_LOG_DEBUG,
    CISTERN_LOG_INFO,
    CISTERN_LOG_WARNING,
    CISTERN_LOG_ERROR
};

/* What the embedding process lends us; every field is optional, zero = the C library's own.
 * Threads: each callback may be called from any thread of ours. */
struct cistern_host {
    void *arg;
    void (*log)(void *arg, uint32_t level, const char *text); /* default: nothing is printed */
    int64_t (*now_ns)(void *arg);                             /* monotonic */
    int64_t (*wall_ms)(void *arg);                /* milliseconds since 1970, UTC; TTL runs on it */
    void *(*allocate)(void *arg, uint64_t bytes); /* small control structures only, never state */
    void (*release)(void *arg, void *memory);
};

/* Installs the host's callbacks for the whole process; `host` is copied. Call once, before
 * anything else of cistern: a second call with other callbacks while memory of ours is held
 * returns BUSY and changes nothing. NULL = defaults. */
CISTERN_MUST_USE uint32_t cistern_host_install(const struct cistern_host *host);

#ifdef __cplusplus
}
#endif
#endif
