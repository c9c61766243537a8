/*
 * seg_table_private.h -- the state table of a container: a framed text record (docs/FORMAT.md,
 * "State table").
 *
 * Threads: one at a time per table.
 */
#ifndef CISTERN_SEG_TABLE_PRIVATE_H
#define CISTERN_SEG_TABLE_PRIVATE_H

#include "cistern/backend_ops.h"

/* 250 states x 16 KiB of descriptor, and the frame. */
#define SEG_TABLE_BYTES_MAX (8u << 20)

struct seg_table_state {
    uint32_t id;
    uint32_t reserved;
    char *text;       /* as stored, NUL-terminated */
    const char *name; /* inside storage */
    void *storage;
};
struct seg_table {
    struct seg_table_state *states; /* [CISTERN_STATE_COUNT_MAX] */
    uint32_t state_count;
    uint32_t reserved;
    /* a bit per id, so that a block's id is checked in one step */
    uint8_t is_known[(CISTERN_STATE_COUNT_MAX + 8) / 8];
};

/* Adds a state by its descriptor text (copied). EXISTS: the id or the name is there with another
 * text (the same text again is fine); INVALID: the text is no descriptor of that id. init leaves
 * an empty table; deinit takes a half-built one. */
CISTERN_MUST_USE uint32_t seg_table_init(struct seg_table *table, struct cistern_error *error);
void seg_table_deinit(struct seg_table *table);
CISTERN_MUST_USE uint32_t seg_table_add(struct seg_table *table, uint32_t state_id,
    const char *text, const char *object, struct cistern_error *error);
int seg_table_has(const struct seg_table *table, uint32_t state_id);
/* The whole record; *ret_record is allocated with cistern_allocate(). */
CISTERN_MUST_USE uint32_t seg_table_encode(const struct seg_table *table, char **ret_record,
    uint64_t *ret_bytes, struct cistern_error *error);
/* Fills an empty table from a record that stands at `offset` of `object`. */
CISTERN_MUST_USE uint32_t seg_table_decode(struct seg_table *table, const char *record,
    uint64_t bytes, const char *object, uint64_t offset, struct cistern_error *error);

#endif
