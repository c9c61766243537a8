/* table_snapshot.c -- the rows as one canonical container and back (docs/FORMAT.md), written apart
 * from the backends, so that each of them is held to the page and not to the other. */
#include "support/table_private.h"
#include "test.h"

#include "cistern/alloc.h"
#include "cistern/endian.h"
#include "cistern/list_frame.h"
#include "cistern/seg.h"

#include <string.h>

struct table_snapshot {
    struct cistern_snapshot base;
    uint8_t *bytes;
    uint64_t size;
    uint64_t read;
    uint32_t begun; /* the only part was handed out */
};

/* ---- out ---- */

static void output_take(struct table_snapshot *snapshot, struct cistern_seg_writer *writer)
{
    uint8_t buffer[4096];
    uint64_t bytes = 1;
    while (bytes != 0) {
        struct cistern_error error;
        struct cistern_bytes room = {buffer, sizeof buffer};
        assert_ok(cistern_seg_writer_take(writer, room, &bytes, &error), error);
        snapshot->bytes = realloc(snapshot->bytes, snapshot->size + bytes + 1);
        assert_non_null(snapshot->bytes);
        memcpy(snapshot->bytes + snapshot->size, buffer, bytes);
        snapshot->size += bytes;
    }
}

static void entry_write(struct table_snapshot *snapshot, struct cistern_seg_writer *writer,
    const struct cistern_seg_entry *entry)
{
    struct cistern_error error;
    uint32_t status;
    while ((status = cistern_seg_writer_add(writer, entry, &error)) == CISTERN_BUSY) {
        output_take(snapshot, writer);
    }
    assert_ok(status, error);
}

/* The whole list as one run. */
static void list_write(struct table_snapshot *snapshot, struct cistern_seg_writer *writer,
    const struct table_backend *table, const struct cistern_state *state,
    struct cistern_seg_entry *entry, const struct cistern_address *address)
{
    static const uint8_t run_number[8] = {0};
    const struct cistern_frame_format format = {state->descriptor.value_bytes, entry->has_written};
    uint8_t *run = NULL;
    uint64_t size = 0;
    for (uint64_t at = 0; (at = plain_row_find(table, state, address, NULL, at)) != UINT64_MAX;
         at++) {
        const struct row *row = table->rows[at];
        uint64_t bytes = cistern_frame_bytes(&format, row->value.bytes);
        run = realloc(run, size + bytes + 1);
        assert_non_null(run);
        assert_ptr_equal(cistern_frame_write(&format, run + size, row->value, row->written_ms),
            run + size + bytes);
        size += bytes;
    }
    entry->user_key = (struct cistern_span){run_number, sizeof run_number};
    entry->value = (struct cistern_span){run, size};
    entry->written_ms = 0;
    entry_write(snapshot, writer, entry);
    free(run);
}

static void row_write(struct table_snapshot *snapshot, struct cistern_seg_writer *writer,
    const struct table_backend *table, uint64_t at)
{
    const struct row *row = table->rows[at];
    const struct cistern_state *state = table->backend.states[row->state_id - 1];
    struct cistern_address address = {
        .key = row->key, .name_space = row->name_space, .key_group = row->key_group};
    struct cistern_seg_entry entry = {.state_id = row->state_id,
        .key_group = row->key_group,
        .key = row->key,
        .name_space = row->name_space,
        .user_key = row->user_key,
        .value = row->value,
        .written_ms = row->written_ms,
        .has_written = state->descriptor.ttl.time_to_live_ms != 0};
    uint8_t time[8];
    switch (state->descriptor.kind) {
    case CISTERN_LIST:
        if (plain_row_find(table, state, &address, NULL, 0) == at) {
            list_write(snapshot, writer, table, state, &entry, &address);
        }
        return;
    case CISTERN_TIMERS:
        cistern_put_u64_be(time, (uint64_t)row->written_ms ^ (UINT64_C(1) << 63));
        entry.user_key = (struct cistern_span){time, sizeof time};
        entry.value = (struct cistern_span){"", 0};
        entry_write(snapshot, writer, &entry);
        return;
    default:
        entry_write(snapshot, writer, &entry);
    }
}

static void states_write(struct cistern_seg_writer *writer, const struct cistern_backend *backend)
{
    struct cistern_error error;
    for (uint32_t i = 0; i < backend->state_count; i++) {
        if (backend->states[i] != NULL) {
            struct cistern_state_descriptor descriptor = backend->states[i]->descriptor;
            descriptor.ttl.watermark_ms = backend->watermark_ms;
            char *text = NULL;
            assert_ok(cistern_descriptor_encode(&descriptor, i + 1, &text, &error), error);
            assert_ok(cistern_seg_writer_state(writer, i + 1, text, &error), error);
            cistern_release(text);
        }
    }
}

uint32_t plain_snapshot_begin(struct cistern_backend *backend,
    const struct cistern_snapshot_request *request, struct cistern_snapshot **ret_snapshot,
    struct cistern_error *error)
{
    const struct table_backend *table = table_backend_of(backend);
    struct table_snapshot *snapshot = calloc(1, sizeof *snapshot);
    assert_non_null(snapshot);
    struct cistern_seg_writer *writer;
    struct cistern_seg_writer_options options = {.role = CISTERN_ROLE_CANONICAL,
        .checkpoint_id = request->checkpoint_id,
        .range = backend->options.range,
        .buffer_bytes = 256 << 10};
    assert_ok(cistern_seg_writer_create(&options, &writer, error), *error);
    states_write(writer, backend);
    for (uint64_t i = 0; i < table->row_count; i++) {
        row_write(snapshot, writer, table, i);
    }
    output_take(snapshot, writer);
    assert_ok(cistern_seg_writer_finish(writer, error), *error);
    output_take(snapshot, writer);
    cistern_seg_writer_destroy(writer);
    *ret_snapshot = &snapshot->base;
    return CISTERN_OK;
}

uint32_t plain_snapshot_next(
    struct cistern_snapshot *base, struct cistern_part *ret_part, struct cistern_error *error)
{
    (void)error;
    struct table_snapshot *snapshot = (struct table_snapshot *)(void *)base;
    if (snapshot->begun) {
        return CISTERN_NOT_FOUND;
    }
    snapshot->begun = 1;
    *ret_part = (struct cistern_part){.kind = CISTERN_PART_STREAM,
        .role = CISTERN_ROLE_CANONICAL,
        .range = base->backend->options.range};
    return CISTERN_OK;
}

uint32_t plain_snapshot_read(struct cistern_snapshot *base, struct cistern_bytes into,
    uint64_t *ret_bytes, struct cistern_error *error)
{
    (void)error;
    struct table_snapshot *snapshot = (struct table_snapshot *)(void *)base;
    uint64_t left = snapshot->size - snapshot->read;
    *ret_bytes = left < into.capacity_bytes ? left : into.capacity_bytes;
    memcpy(into.data, snapshot->bytes + snapshot->read, *ret_bytes);
    snapshot->read += *ret_bytes;
    return CISTERN_OK;
}

void plain_snapshot_release(struct cistern_snapshot *base)
{
    struct table_snapshot *snapshot = (struct table_snapshot *)(void *)base;
    free(snapshot->bytes);
    free(snapshot);
}

/* ---- in ---- */

static uint32_t part_read(
    void *arg, uint64_t offset, struct cistern_bytes into, struct cistern_error *error)
{
    const struct cistern_source *source = arg;
    uint64_t bytes = 0;
    assert_ok(source->read(source->arg, offset, into, &bytes, error), *error);
    assert_int_equal(bytes, into.capacity_bytes);
    return CISTERN_OK;
}

/* The runs of one list come in any order: here each is one entry, and the smallest number first
 * is asked of who wrote it only within the file, so they are gathered by insertion. */
static void entry_restore(struct table_backend *table, struct cistern_state *const *states,
    const struct cistern_seg_entry *entry)
{
    const struct cistern_state *state = states[entry->state_id];
    struct cistern_address address = {
        .key = entry->key, .name_space = entry->name_space, .key_group = entry->key_group};
    uint32_t status = CISTERN_OK;
    if (state->descriptor.kind == CISTERN_TIMERS) {
        int64_t time = (int64_t)(cistern_get_u64_be(entry->user_key.data) ^ (UINT64_C(1) << 63));
        struct cistern_span none = {NULL, 0};
        status = plain_row_add(table, state, &address, none, none, time);
    } else {
        status =
            plain_row_add(table, state, &address, entry->user_key, entry->value, entry->written_ms);
        if (state->descriptor.kind == CISTERN_LIST) {
            table->rows[table->row_count - 1]->written_ms = (int64_t)entry->has_written;
        }
    }
    assert_int_equal(status, CISTERN_OK);
}

/* A list stands as one row per run after reading: they are cut into elements in order of their
 * numbers. */
static int run_compare(const void *a, const void *b)
{
    const struct row *left = *(struct row *const *)a;
    const struct row *right = *(struct row *const *)b;
    int order = memcmp(left->user_key.data, right->user_key.data, 8);
    return order != 0 ? order : left->id < right->id ? -1 : 1;
}

static void run_cut(
    struct table_backend *table, const struct cistern_state *state, const struct row *run)
{
    const struct cistern_frame_format format = {
        state->descriptor.value_bytes, (uint32_t)run->written_ms};
    struct cistern_address address = {
        .key = run->key, .name_space = run->name_space, .key_group = run->key_group};
    struct cistern_frame frame;
    uint64_t offset = 0;
    for (; cistern_frame_read(&format, run->value, offset, &frame); offset += frame.bytes) {
        assert_int_equal(plain_row_add(table, state, &address, (struct cistern_span){NULL, 0},
                             frame.element, frame.written_ms),
            CISTERN_OK);
    }
    assert_int_equal(offset, run->value.bytes);
}

static void lists_cut(struct table_backend *table)
{
    struct row **runs = calloc(table->row_count + 1, sizeof *runs);
    assert_non_null(runs);
    uint64_t count = 0;
    for (uint64_t i = 0; i < table->row_count;) {
        struct row *row = table->rows[i];
        if (table->backend.states[row->state_id - 1]->descriptor.kind != CISTERN_LIST) {
            i++;
            continue;
        }
        runs[count++] = row;
        table->row_count--;
        memmove(table->rows + i, table->rows + i + 1, (table->row_count - i) * sizeof *table->rows);
    }
    qsort(runs, count, sizeof *runs, run_compare);
    for (uint64_t i = 0; i < count; i++) {
        run_cut(table, table->backend.states[runs[i]->state_id - 1], runs[i]);
    }
    for (uint64_t i = 0; i < count; i++) {
        free(runs[i]->storage);
        free((void *)runs[i]->value.data);
        free(runs[i]);
    }
    free(runs);
}

static void file_restore(struct table_backend *table, const struct cistern_source *source,
    uint64_t file_bytes, struct cistern_error *error)
{
    struct cistern_seg_reader *reader;
    struct cistern_seg_info info;
    static struct cistern_state *states[CISTERN_STATE_COUNT_MAX + 1];
    assert_ok(
        cistern_seg_reader_open(part_read, (void *)source, file_bytes, "captured", &reader, error),
        *error);
    cistern_seg_reader_info(reader, &info);
    for (uint32_t i = 0; i < info.state_count; i++) {
        struct cistern_state_descriptor descriptor;
        const char *text;
        void *storage;
        uint32_t id;
        assert_ok(cistern_seg_reader_state(reader, i, &id, &text, error), *error);
        assert_ok(cistern_descriptor_decode(
                      text, strlen(text), "captured", &descriptor, &id, &storage, error),
            *error);
        assert_ok(
            cistern_backend_state_restored(&table->backend, &descriptor, id, &states[id], error),
            *error);
        cistern_release(storage);
    }
    cistern_seg_reader_rewind(reader, table->backend.options.range);
    for (;;) {
        struct cistern_seg_entry entry;
        uint32_t end = 0;
        assert_ok(cistern_seg_reader_next(reader, &entry, &end, error), *error);
        if (end) {
            break;
        }
        assert_int_equal(entry.tombstone, 0);
        entry_restore(table, states, &entry);
    }
    cistern_seg_reader_close(reader);
}

uint32_t plain_restore(struct cistern_backend *backend, const struct cistern_source *source,
    struct cistern_error *error)
{
    struct table_backend *table = table_backend_of(backend);
    struct cistern_part part;
    uint32_t status;
    while ((status = source->next(source->arg, &part, error)) == CISTERN_OK) {
        file_restore(table, source, part.bytes, error);
    }
    lists_cut(table);
    return status == CISTERN_NOT_FOUND ? CISTERN_OK : status;
}
