/*
 * position.h -- where the source stands, as the text that travels with every checkpoint (job
 * state).
 *
 * {"job": "wordcount", "version": 1, "records": N, "file": I, "offset": O, "inputs": {"count",
 * "bytes", "identity", "each"}} `each` holds 16 hex digits per file so that a changed one can be
 * named; above POSITION_FILES_NAMED_MAX files only the common identity is kept. Threads: pure
 * functions.
 */
#ifndef CISTERN_POSITION_H
#define CISTERN_POSITION_H

#include "input.h"

#define POSITION_TEXT_BYTES_MAX (20u << 10) /* what a checkpoint takes as job state */
#define POSITION_FILES_NAMED_MAX                                                                   \
    1000u /* x 16 digits = 16,000 bytes, which leaves room for the rest */

struct position {
    uint32_t file_index;   /* = count of files: everything was read */
    uint64_t offset_bytes; /* the next byte to read: between words, or a word's first */
    uint64_t records;      /* words counted before it */
};
/* text: at least POSITION_TEXT_BYTES_MAX. */
CISTERN_MUST_USE uint32_t position_encode(const struct position *position,
    const struct input_list *inputs, char *text, uint64_t *ret_bytes, struct cistern_error *error);
/* MISMATCH: the inputs are not those of the checkpoint; names the first that differs. INVALID:
 *           not the state of this job. */
CISTERN_MUST_USE uint32_t position_decode(struct cistern_span text, const struct input_list *inputs,
    struct position *ret_position, struct cistern_error *error);

#endif
