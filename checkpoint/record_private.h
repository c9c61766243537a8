/*
 * record_private.h -- fields of a JSON record: strict reading, and building where every failure is
 * "no memory".
 *
 * Reading is sticky: the first problem is kept with its detail, later reads return zeros, the
 * caller asks once at the end. A key that is not listed is refused (UNSUPPORTED) unless it starts
 * with "x_": what a newer writer may add is named so.
 * Threads: pure functions.
 */
#ifndef CISTERN_CHECKPOINT_RECORD_H
#define CISTERN_CHECKPOINT_RECORD_H

#include "cistern/backend.h"

#include <jansson.h>

struct record {
    const json_t *object;
    const char *path; /* of the file, for messages */
    uint64_t offset;  /* where the record's text starts in it */
    uint32_t status;  /* OK until something was wrong */
    struct cistern_error *error;
};
/* keys: the known ones, NULL at the end. A value that is no object is CORRUPT. */
void record_open(struct record *record, const json_t *object, const char *const *keys,
    const char *path, uint64_t offset, struct cistern_error *error);
/* A record inside a record: a value of `parent` (or an element of its arrays). */
void record_open_inner(struct record *record, const struct record *parent, const json_t *object,
    const char *const *keys);
void record_corrupt(struct record *record, const char *key, const char *why);
int record_has(const struct record *record, const char *key);
uint64_t record_u64(struct record *record, const char *key,
    uint64_t max); /* missing, no integer or above max: CORRUPT */
uint32_t record_u32(struct record *record, const char *key, uint32_t max);
int64_t record_time(struct record *record, const char *key);
/* Never NULL; "" after a failure. The text lives as long as the record. */
const char *record_text(struct record *record, const char *key, uint64_t bytes_max);
void record_text_copy(struct record *record, const char *key, char *into, uint64_t into_bytes);
void record_hex(struct record *record, const char *key, uint8_t *into, uint64_t bytes);
struct cistern_key_group_range record_groups(struct record *record, const char *key);
/* NULL after a failure */
const json_t *record_array(struct record *record, const char *key, uint64_t count_max);

/* ---- building: returns 0, or -1 when there was no memory; a chain is or-ed together ---- */
int record_put_u64(json_t *object, const char *key, uint64_t value);
int record_put_text(json_t *object, const char *key, const char *text);
/* at most 32 bytes */
int record_put_hex(json_t *object, const char *key, const uint8_t *data, uint64_t bytes);
int record_put_groups(json_t *object, const char *key, struct cistern_key_group_range range);

#endif
