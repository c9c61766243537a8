/*
 * list_private.h -- file lists (docs/FORMAT.md, "Manifest, slices and lists"): which data files a
 * slice is made of.
 *
 * A slice names one base list and at most LIST_DELTAS_MAX deltas; publishing costs what changed,
 * not what there is. Lists are immutable data files. Both directions stream: neither holds more
 * than one line per open list.
 * Threads: owner only.
 */
#ifndef CISTERN_CHECKPOINT_LIST_H
#define CISTERN_CHECKPOINT_LIST_H

#include "frame_private.h"
#include "part_private.h"

#define LIST_LINE_BYTES_MAX 4096u
#define LIST_DELTAS_MAX 16u
#define LIST_COUNT_MAX (LIST_DELTAS_MAX + 1)
#define LIST_BYTES_MAX (64u << 20)

/* ---- encoding: the lines of a delta (or, without `before`, of a base) ---- */
struct list_encoder {
    const struct part_list *before; /* NULL = a base list */
    const struct part_list *after;
    uint32_t before_index;
    uint32_t after_index;
    uint32_t line_bytes; /* of line[], not handed out from line_taken on */
    uint32_t line_taken;
    char line[LIST_LINE_BYTES_MAX];
};
/* Runs once over the lines. LIMIT: a list of more than LIST_BYTES_MAX. ret_hash and *ret_bytes
 * are the whole file's. */
CISTERN_MUST_USE uint32_t list_encoder_begin(struct list_encoder *encoder,
    const struct part_list *before, const struct part_list *after, uint64_t *ret_bytes,
    struct cistern_hash128 *ret_hash, struct cistern_error *error);
/* The next bytes of the file; 0 = its end. */
uint64_t list_encoder_take(struct list_encoder *encoder, struct cistern_bytes into);

/* ---- decoding ---- */
/* Bytes of a file of the checkpoint by name and offset; fewer than asked only at its end. */
typedef uint32_t (*list_read_fn)(void *arg, const char *name, uint64_t offset,
    struct cistern_bytes into, uint64_t *ret_bytes, struct cistern_error *error);

struct list_reader; /* one list file */
struct list_merge;  /* a base and its deltas, as one ordered set */

struct list_ref { /* as a slice names it */
    struct data_name name;
    uint64_t bytes;
    struct cistern_hash128 hash; /* of the whole file */
    uint32_t is_delta;
};
CISTERN_MUST_USE uint32_t list_merge_open(list_read_fn read, void *arg, const struct list_ref *refs,
    uint32_t count, struct list_merge **ret_merge, struct cistern_error *error);
/* The next part in name order, as a new part the caller drops; NULL at the end, by when every
 * list was verified whole. */
CISTERN_MUST_USE uint32_t list_merge_next(
    struct list_merge *merge, struct part **ret_part, struct cistern_error *error);
void list_merge_close(struct list_merge *merge);

#endif
