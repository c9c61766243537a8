/*
 * mailbox.h -- groups a micro-batch of records by key, so that a runtime that handles one record at
 * a time gets what batches give: the state of the next keys is on its way while one is handled, and
 * a key that comes often is handled once per batch.
 *
 * Owns:       copies of the records and keys that were added and not yet handled.
 * Order:      records of one key are handled in the order in which they were added, those of
 *             different keys in any. Flush before whatever must come after them (a watermark, a
 *             barrier, a timer).
 * Threads:    one at a time; `process` runs inside add and flush and may use the backend.
 * Full when:  record_count_max or bytes_max is reached: add flushes first.
 */
#ifndef CISTERN_MAILBOX_H
#define CISTERN_MAILBOX_H

#include "cistern/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cistern_mailbox;

/* All waiting records of one key, at most CISTERN_BATCH_COUNT_MAX at a time. address has no
 * namespace; the spans live until the call returns. Anything but OK ends the flush: these records
 * and the rest stay, and the next flush begins with them. */
typedef uint32_t (*cistern_process_fn)(void *arg, const struct cistern_address *address,
    const struct cistern_span *records, uint32_t count, struct cistern_error *error);

struct cistern_mailbox_options {
    cistern_process_fn process; /* required */
    void *arg;
    /* states whose entries in the void namespace `process` is going to use; may be NULL. Copied */
    struct cistern_state *const *states;
    uint32_t state_count;
    uint32_t record_count_max; /* 0 = 256; at most CISTERN_BATCH_COUNT_MAX */
    uint64_t bytes_max;        /* of keys and records together; 0 = 256 KiB */
};
/* INVALID; NO_MEMORY: all memory is taken here, none later. */
CISTERN_MUST_USE uint32_t cistern_mailbox_create_sized(
    const struct cistern_mailbox_options *options, uint64_t options_bytes,
    struct cistern_mailbox **ret_mailbox, struct cistern_error *error);
#define cistern_mailbox_create(options, ret_mailbox, error)                                        \
    cistern_mailbox_create_sized(                                                                  \
        (options), sizeof(struct cistern_mailbox_options), (ret_mailbox), (error))
/* Takes a copy. A record that alone is above bytes_max is handled at once, after a flush. What
 * `process` returned, when a flush was needed: then this record was not taken. */
CISTERN_MUST_USE uint32_t cistern_mailbox_add(struct cistern_mailbox *mailbox,
    struct cistern_span key, uint32_t key_group, struct cistern_span record,
    struct cistern_error *error);
/* Handles what waits. */
CISTERN_MUST_USE uint32_t cistern_mailbox_flush(
    struct cistern_mailbox *mailbox, struct cistern_error *error);
uint32_t cistern_mailbox_waiting(const struct cistern_mailbox *mailbox); /* records */
/* What waits is dropped: flush first. NULL is fine. */
void cistern_mailbox_destroy(struct cistern_mailbox *mailbox);

#ifdef __cplusplus
}
#endif
#endif
