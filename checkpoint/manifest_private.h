/*
 * manifest_private.h -- the MANIFEST of one checkpoint or savepoint: struct and text
 * (docs/FORMAT.md).
 *
 * Small and bounded (MANIFEST_BYTES_MAX), whatever the state's size: it names slices, slices name
 * lists, lists name files.
 * Threads: owner only.
 */
#ifndef CISTERN_CHECKPOINT_MANIFEST_H
#define CISTERN_CHECKPOINT_MANIFEST_H

#include "slice_private.h"

#define MANIFEST_BYTES_MAX (64u << 10)
#define MANIFEST_SLICES_MAX                                                                        \
    192u /* x 170 bytes of reference + 27 KiB of job state + 2 KiB stay below the maximum */
#define MANIFEST_INLINE_BYTES_MAX                                                                  \
    4096u /* smaller slices stand in the manifest itself, while all fit */
#define MANIFEST_NAME_BYTES_MAX 200u /* of the operator's name */

struct manifest_slice {
    uint32_t is_inline;
    uint64_t file_bytes; /* of the slice's own file */
    struct cistern_hash128 file_hash;
    char file[32]; /* "slice-000-1f2e3d4c.json", in the manifest's directory */
    /* filled for inline ones by manifest_decode(), for others by their reader */
    struct slice slice;
    uint32_t has_slice;
};
struct manifest {
    uint64_t checkpoint_id;
    uint64_t base_checkpoint_id;
    uint64_t epoch;
    uint64_t state_bytes;
    uint64_t new_bytes;
    uint64_t files;
    int64_t created_ms;
    uint32_t is_savepoint;
    uint32_t snapshot_kind; /* enum cistern_snapshot_kind */
    uint32_t max_parallelism;
    uint32_t slice_count;
    uint8_t job_id[16];
    char job_name[65];
    char key_group_hash[16];
    char operator_name[MANIFEST_NAME_BYTES_MAX + 1];
    uint8_t operator_id[16];       /* XXH3-128 of its name */
    struct manifest_slice *slices; /* [slice_count], by slot index; owned */
    uint8_t *job_state;            /* owned */
    uint64_t job_state_bytes;
};
void manifest_deinit(struct manifest *manifest);
/* The file name of slot's slice. */
void manifest_slice_file(char file[32], uint32_t slot_index, const uint8_t operator_id[16]);
/* Encodes; slices that do not fit inline must then be written as the files it names. LIMIT:
 * larger than MANIFEST_BYTES_MAX. */
CISTERN_MUST_USE uint32_t manifest_encode(
    struct manifest *manifest, struct text *text, struct cistern_error *error);
CISTERN_MUST_USE uint32_t manifest_decode(const char *path, struct cistern_span data,
    struct manifest *ret_manifest, struct cistern_error *error);
/* The manifest as JSON with every slice expanded (all must be filled) and its own framing left
 * out. */
CISTERN_MUST_USE uint32_t manifest_expand(
    const struct manifest *manifest, struct text *text, struct cistern_error *error);

#endif
