/* table_private.h -- what the files of the table backend share. */
#ifndef CISTERN_TEST_TABLE_PRIVATE_H
#define CISTERN_TEST_TABLE_PRIVATE_H

#include "support/table_backend.h"

/* ---- rows ---- */

int plain_row_is_at(const struct row *row, const struct cistern_state *state,
    const struct cistern_address *address);
/* The first one from `start` on; user_key NULL = any. UINT64_MAX = none. */
uint64_t plain_row_find(const struct table_backend *table, const struct cistern_state *state,
    const struct cistern_address *address, const struct cistern_span *user_key, uint64_t start);
/* LIMIT: nothing was added. */
uint32_t plain_row_add(struct table_backend *table, const struct cistern_state *state,
    const struct cistern_address *address, struct cistern_span user_key, struct cistern_span value,
    int64_t written_ms);
void plain_row_set(struct row *row, struct cistern_span value, int64_t written_ms);
void plain_row_remove(struct table_backend *table, uint64_t at);
void plain_rows_clear(struct table_backend *table, const struct cistern_state *state,
    const struct cistern_address *address);
int plain_row_is_expired(const struct cistern_state *state, const struct row *row);
/* Expired, and not to be seen. */
int plain_row_is_gone(const struct cistern_state *state, const struct row *row);
void plain_row_renew(const struct cistern_state *state, struct row *row);

/* ---- results ---- */

struct table_backend *plain_enter(struct cistern_state *state);
void plain_leave(struct table_backend *table);
struct cistern_span plain_give(struct table_backend *table, struct cistern_span span);
struct cistern_entry plain_give_entry(struct table_backend *table, const struct row *row);

/* ---- cursors ---- */

uint32_t plain_entries_open(
    struct cistern_state *state, struct cistern_cursor **ret_cursor, struct cistern_error *error);
uint32_t plain_list_open(struct cistern_state *state, const struct cistern_address *address,
    struct cistern_cursor **ret_cursor, struct cistern_error *error);
uint32_t plain_map_open(struct cistern_state *state, const struct cistern_address *address,
    struct cistern_cursor **ret_cursor, struct cistern_error *error);
uint32_t plain_keys_open(struct cistern_state *state, const struct cistern_span *name_space,
    struct cistern_cursor **ret_cursor, struct cistern_error *error);
uint32_t plain_cursor_next(struct cistern_cursor *cursor, struct cistern_entry *ret_entries,
    uint32_t capacity, uint32_t *ret_count, struct cistern_error *error);
void plain_cursor_close(struct cistern_cursor *cursor);

/* ---- snapshots ---- */

uint32_t plain_snapshot_begin(struct cistern_backend *backend,
    const struct cistern_snapshot_request *request, struct cistern_snapshot **ret_snapshot,
    struct cistern_error *error);
uint32_t plain_snapshot_next(
    struct cistern_snapshot *snapshot, struct cistern_part *ret_part, struct cistern_error *error);
uint32_t plain_snapshot_read(struct cistern_snapshot *snapshot, struct cistern_bytes into,
    uint64_t *ret_bytes, struct cistern_error *error);
void plain_snapshot_release(struct cistern_snapshot *snapshot);
uint32_t plain_restore(struct cistern_backend *backend, const struct cistern_source *source,
    struct cistern_error *error);

#endif
