/*
 * log_private.h -- the commit log of a root (docs/FORMAT.md, "Commit log"): what was published, in
 * which order, by whom.
 *
 * One exclusive create per record gives publication, order and fencing at once; there is no second
 * fence to disagree with.
 * Invariant: a writer appends only at next_number; whatever else is found there means FENCED.
 * Threads:   owner only; blocks.
 * Full when: LOG_NUMBER_MAX records -> LIMIT.
 */
#ifndef CISTERN_CHECKPOINT_LOG_H
#define CISTERN_CHECKPOINT_LOG_H

#include "name_private.h"

#include "cistern/hash.h"
#include "cistern/store.h"

#define LOG_RECORD_BYTES_MAX 4096u
#define LOG_KEPT_MIN 1000u  /* old records stay for people and for stopped writers to find */
#define LOG_TRIM_BATCH 100u /* a FLOOR costs two fsyncs: move it seldom */
#define LOG_DIRECTORY_BYTES_MAX 1024u

enum commit_kind {
    COMMIT_TAKEOVER = 1,
    COMMIT_CHECKPOINT,
    COMMIT_SAVEPOINT,
    COMMIT_RETIRE,
    COMMIT_FINISH
};
struct commit_record {
    uint64_t number;
    uint64_t epoch;
    uint64_t checkpoint_id;
    uint64_t manifest_bytes;
    int64_t time_ms;
    uint32_t kind; /* enum commit_kind */
    uint8_t nonce[16];
    struct cistern_hash128 manifest_hash;
    char directory[LOG_DIRECTORY_BYTES_MAX + 1]; /* SAVEPOINT */
};

struct commit_log {
    struct cistern_store *store;
    struct cistern_io *io;
    uint64_t floor;       /* the smallest number that may exist */
    uint64_t next_number; /* the first that did not exist when we looked */
    uint64_t epoch;       /* a writer's own; 0 for readers */
    uint32_t has_doubt; /* an append failed, and its record may stand at next_number all the same */
    uint8_t doubt_nonce[16];
};
/* Finds floor and tail. An empty log is OK: next_number 1. */
CISTERN_MUST_USE uint32_t commit_log_open(
    struct commit_log *log, struct cistern_store *store, struct cistern_error *error);
/* NOT_FOUND: there is no such record. */
CISTERN_MUST_USE uint32_t commit_log_read(const struct commit_log *log, uint64_t number,
    struct commit_record *ret_record, struct cistern_error *error);
/* Calls each() for every kept record in order; record NULL = number is damaged, error says how.
 * A record that is missing inside the log is reported the same way (CORRUPT). Returns what
 * each() returned last, or why the log could not be read. */
typedef uint32_t (*commit_each_fn)(void *arg, uint64_t number, const struct commit_record *record,
    const struct cistern_error *error);
CISTERN_MUST_USE uint32_t commit_log_each(
    struct commit_log *log, commit_each_fn each, void *arg, struct cistern_error *error);
/* Fills number, epoch, nonce and time, and creates the record. FENCED: another writer's record
 * is there, or FLOOR stands above it. IO, NO_SPACE: not appended, unless has_doubt is set now. */
CISTERN_MUST_USE uint32_t commit_log_append(
    struct commit_log *log, struct commit_record *record, struct cistern_error *error);
/* After an append that left a doubt, and before the next one: *ret_landed says whether the
 * record is there (and durable now). */
CISTERN_MUST_USE uint32_t commit_log_settle(
    struct commit_log *log, uint32_t *ret_landed, struct cistern_error *error);
/* FENCED when the next number is taken. */
CISTERN_MUST_USE uint32_t commit_log_probe(
    const struct commit_log *log, struct cistern_error *error);
/* Removes records below keep_from and below the last LOG_KEPT_MIN, a batch at a time. */
CISTERN_MUST_USE uint32_t commit_log_trim(
    struct commit_log *log, uint64_t keep_from, struct cistern_error *error);
/* FLOOR's number; 1 when there is none. */
CISTERN_MUST_USE uint32_t commit_log_floor(
    const struct commit_log *log, uint64_t *ret_floor, struct cistern_error *error);

#endif
