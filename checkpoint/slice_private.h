/*
 * slice_private.h -- one slot's share of a checkpoint (docs/FORMAT.md, "Manifest, slices and
 * lists"): struct and text.
 *
 * The text is a framed record of kind "slice", at most CISTERN_SLICE_BYTES_MAX; as large as its
 * states, not as its files.
 * Threads: owner only.
 */
#ifndef CISTERN_CHECKPOINT_SLICE_H
#define CISTERN_CHECKPOINT_SLICE_H

#include "list_private.h"
#include "record_private.h"

#define SLICE_STATES_BYTES_MAX                                                                     \
    (40u << 10) /* more than this: the states are a data file of their own */
#define SLICE_SLOT_MAX 999u

struct slice {
    uint64_t checkpoint_id;
    uint64_t base_checkpoint_id;
    uint64_t epoch;
    uint64_t state_bytes;
    uint64_t new_bytes;
    uint32_t slot_index;
    uint32_t files_new;
    uint32_t files_reused;
    uint32_t list_count;
    struct cistern_key_group_range range;
    char backend[16];
    struct list_ref lists[LIST_COUNT_MAX];
    uint32_t has_states_file;
    struct list_ref states_file;
    json_t *states; /* a JSON array; NULL when they are in states_file. Owned */
};
void slice_deinit(struct slice *slice);
/* The states as JSON: what goes into the slice, or into its own file. */
CISTERN_MUST_USE uint32_t slice_states_build(const struct cistern_state_info *states,
    uint32_t count, json_t **ret_states, struct cistern_error *error);
CISTERN_MUST_USE uint32_t slice_build(
    const struct slice *slice, json_t **ret_object, struct cistern_error *error);
/* LIMIT: larger than CISTERN_SLICE_BYTES_MAX. */
CISTERN_MUST_USE uint32_t slice_encode(
    const struct slice *slice, struct text *text, struct cistern_error *error);
/* object: the body's JSON. ret_slice keeps its own reference to the states. */
CISTERN_MUST_USE uint32_t slice_parse(const char *path, uint64_t offset, const json_t *object,
    struct slice *ret_slice, struct cistern_error *error);
CISTERN_MUST_USE uint32_t slice_decode(const char *path, struct cistern_span data,
    struct slice *ret_slice, struct cistern_error *error);
#endif
