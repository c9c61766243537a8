/* seg_model.h -- a container in memory and the entries it must hold, for the tests of the writer
 * and the reader. */
#ifndef SEG_MODEL_H
#define SEG_MODEL_H

#include "cistern/alloc.h"
#include "cistern/backend_ops.h"
#include "cistern/seg.h"
#include "test.h"

#include <string.h>

struct memory_file {
    uint8_t *data;
    uint64_t bytes;
    uint64_t capacity;
    uint64_t read_bytes; /* what the reader asked for since it was set to 0 */
};

static inline void memory_file_append(struct memory_file *file, const void *data, uint64_t bytes)
{
    if (file->bytes + bytes > file->capacity) {
        file->capacity = 2 * (file->bytes + bytes);
        file->data = realloc(file->data, file->capacity);
        assert_non_null(file->data);
    }
    memcpy(file->data + file->bytes, data, bytes);
    file->bytes += bytes;
}

static inline uint32_t memory_file_read(
    void *arg, uint64_t offset, struct cistern_bytes into, struct cistern_error *error)
{
    struct memory_file *file = arg;
    (void)error;
    assert_true(into.capacity_bytes > 0 && offset <= file->bytes &&
                into.capacity_bytes <= file->bytes - offset);
    memcpy(into.data, file->data + offset, into.capacity_bytes);
    file->read_bytes += into.capacity_bytes;
    return CISTERN_OK;
}

/* An entry is told by few numbers; its bytes follow from `number`, which is also the first 8
 * bytes of its key. */
struct model_entry {
    uint64_t number;
    uint32_t state_id;
    uint32_t key_group;
    int64_t key_extra_bytes;
    int64_t name_space_bytes; /* -1 = void */
    int64_t user_key_bytes;   /* -1 = none */
    int64_t value_bytes;      /* -1 = null value */
    int64_t written_ms;
    uint32_t has_written;
    uint32_t tombstone;
};

static inline struct cistern_span model_span(
    uint8_t **to, uint64_t number, uint64_t field, int64_t bytes)
{
    struct cistern_span span = {NULL, 0};
    if (bytes >= 0) {
        span = (struct cistern_span){*to, (uint64_t)bytes};
        for (int64_t i = 0; i < bytes; i++) {
            (*to)[i] = (uint8_t)(number * 31 + field * 7 + (uint64_t)i * 13 + ((uint64_t)i >> 8));
        }
        *to += bytes;
    }
    return span;
}

static inline uint64_t model_entry_bytes(const struct model_entry *model)
{
    uint64_t bytes = 8 + (uint64_t)model->key_extra_bytes + 16;
    bytes += model->name_space_bytes > 0 ? (uint64_t)model->name_space_bytes : 0;
    bytes += model->user_key_bytes > 0 ? (uint64_t)model->user_key_bytes : 0;
    return bytes + (model->value_bytes > 0 ? (uint64_t)model->value_bytes : 0);
}

/* Into `storage`, model_entry_bytes() large. */
static inline struct cistern_seg_entry model_build(
    const struct model_entry *model, uint8_t *storage)
{
    uint8_t *to = storage;
    struct cistern_seg_entry entry = {.state_id = model->state_id,
        .key_group = model->key_group,
        .has_written = model->has_written,
        .written_ms = model->has_written ? model->written_ms : 0,
        .tombstone = model->tombstone};
    entry.key = model_span(&to, model->number, 1, 8 + model->key_extra_bytes);
    memcpy((void *)entry.key.data, &model->number, 8);
    entry.name_space = model_span(&to, model->number, 2, model->name_space_bytes);
    entry.user_key = model_span(&to, model->number, 3, model->user_key_bytes);
    if (!model->tombstone) {
        entry.value = model_span(&to, model->number, 4, model->value_bytes);
    }
    return entry;
}

static inline void span_assert_equal(struct cistern_span a, struct cistern_span b)
{
    assert_int_equal(a.data == NULL, b.data == NULL);
    assert_int_equal(a.bytes, b.bytes);
    if (a.data != NULL && a.bytes > 0) {
        assert_int_equal(memcmp(a.data, b.data, a.bytes), 0);
    }
}

static inline void entry_assert_equal(
    const struct cistern_seg_entry *a, const struct cistern_seg_entry *b)
{
    assert_int_equal(a->state_id, b->state_id);
    assert_int_equal(a->key_group, b->key_group);
    assert_int_equal(a->has_written, b->has_written);
    assert_true(a->written_ms == b->written_ms);
    assert_int_equal(a->tombstone, b->tombstone);
    span_assert_equal(a->key, b->key);
    span_assert_equal(a->name_space, b->name_space);
    span_assert_equal(a->user_key, b->user_key);
    span_assert_equal(a->value, b->value);
}

static inline uint32_t model_writer_states(
    struct cistern_seg_writer *writer, uint32_t state_count, struct cistern_error *error)
{
    for (uint32_t id = 1; id <= state_count; id++) {
        char name[32];
        snprintf(name, sizeof name, "state-%u", id);
        struct cistern_state_descriptor descriptor = {.name = name,
            .kind = id % 2 ? CISTERN_VALUE : CISTERN_MAP,
            .serializer = {"abc", id % 3}};
        char *text = NULL;
        uint32_t status = cistern_descriptor_encode(&descriptor, id, &text, error);
        if (status == CISTERN_OK) {
            status = cistern_seg_writer_state(writer, id, text, error);
        }
        cistern_release(text);
        if (status != CISTERN_OK) {
            return status;
        }
    }
    return CISTERN_OK;
}

/* Takes all output there is, `step` bytes at a time (at most 64 KiB). */
static inline uint32_t model_drain(struct cistern_seg_writer *writer, struct memory_file *file,
    uint64_t step, struct cistern_error *error)
{
    static uint8_t buffer[65536];
    uint64_t bytes = 1;
    while (bytes > 0) {
        uint32_t status =
            cistern_seg_writer_take(writer, (struct cistern_bytes){buffer, step}, &bytes, error);
        if (status != CISTERN_OK) {
            return status;
        }
        memory_file_append(file, buffer, bytes);
    }
    return CISTERN_OK;
}

static inline uint32_t model_add(struct cistern_seg_writer *writer,
    const struct cistern_seg_entry *entry, struct memory_file *file, uint64_t step,
    struct cistern_error *error)
{
    uint32_t status;
    while ((status = cistern_seg_writer_add(writer, entry, error)) == CISTERN_BUSY) {
        uint64_t before = file->bytes;
        uint32_t drained = model_drain(writer, file, step, error);
        if (drained != CISTERN_OK) {
            return drained;
        }
        assert_true(file->bytes > before); /* BUSY promises that there is output */
    }
    return status;
}

#endif
