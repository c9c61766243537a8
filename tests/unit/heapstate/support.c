/* support.c -- see support.h. */
#include "support.h"

#include <string.h>

void rig_open(struct rig *rig, uint64_t limit, struct cistern_key_group_range range)
{
    memset(rig, 0, sizeof *rig);
    struct cistern_pool_options options = {
        .budget_bytes = limit + (64u << 20),
        .process_reserve_bytes = 32u << 20,
        .allocator = CISTERN_ALLOCATOR_OWN,
        .accounting = CISTERN_ACCOUNTING_GUEST,
    };
    static uint64_t opened;
    assert_ok(cistern_pool_create(&options, &rig->pool, &rig->error), rig->error);
    struct cistern_slot_options slot = {.limit_bytes = limit};
    assert_ok(cistern_slot_open(rig->pool, &slot, &rig->slot, &rig->error), rig->error);
    struct cistern_heap_options heap = {
        .backend = {.max_parallelism = TEST_MAX_PARALLELISM, .range = range, .operator_id = "test"},
        .hash_seed = 42 + ++opened, /* as in processes of their own */
    };
    assert_ok(cistern_heap_open(rig->slot, &heap, &rig->backend, &rig->error), rig->error);
}

void rig_register(struct rig *rig, const struct cistern_state_descriptor *descriptor)
{
    assert_ok(
        cistern_state_register(rig->backend, descriptor, &rig->state, &rig->error), rig->error);
}

void rig_open_value(struct rig *rig, uint64_t limit)
{
    struct cistern_key_group_range all = {0, TEST_MAX_PARALLELISM - 1};
    rig_open(rig, limit, all);
    struct cistern_state_descriptor descriptor = {.name = "s", .kind = CISTERN_VALUE};
    rig_register(rig, &descriptor);
}

void rig_close(struct rig *rig)
{
    assert_ok(cistern_backend_close(rig->backend, &rig->error), rig->error);
    assert_int_equal(cistern_slot_used_bytes(rig->slot), 0);
    assert_ok(cistern_slot_close(rig->slot, &rig->error), rig->error);
    assert_ok(cistern_pool_destroy(rig->pool, &rig->error), rig->error);
}

struct heap *rig_heap(struct rig *rig)
{
    return (struct heap *)rig->backend;
}

void test_key_make(struct test_key *key, uint32_t number)
{
    memset(key, 0, sizeof *key);
    int bytes = snprintf(
        (char *)key->key, sizeof key->key, "%s%u", number % 2 ? "k" : "longer-key-", number);
    key->address.key = (struct cistern_span){key->key, (uint64_t)bytes};
    if (number % 3 == 0) {
        key->address.name_space = (struct cistern_span){key->name_space, number % 8};
    }
    key->address.key_group = number % TEST_MAX_PARALLELISM;
}

void test_value_fill(uint8_t *value, uint32_t bytes, uint32_t number, uint32_t seed)
{
    for (uint32_t i = 0; i < bytes; i++) {
        value[i] = (uint8_t)((number * 2654435761u + seed * 40503u + i * 97u) >> 7);
    }
}

void model_init(struct model *model, uint32_t count)
{
    model->count = count;
    model->items = calloc(count, sizeof *model->items);
    assert_non_null(model->items);
}

void model_copy(struct model *to, const struct model *from)
{
    assert_int_equal(to->count, from->count);
    memcpy(to->items, from->items, from->count * sizeof *from->items);
}

void model_deinit(struct model *model)
{
    free(model->items);
}

uint32_t model_put(
    struct model *model, struct rig *rig, uint32_t number, uint32_t bytes, uint32_t seed)
{
    struct test_key key;
    uint8_t value[TEST_VALUE_BYTES_MAX];
    test_key_make(&key, number);
    test_value_fill(value, bytes, number, seed);
    uint32_t status = cistern_value_put(
        rig->state, &key.address, (struct cistern_span){value, bytes}, &rig->error);
    if (status == CISTERN_OK) {
        model->items[number] = (struct model_item){.present = 1, .bytes = bytes, .seed = seed};
    }
    return status;
}

uint32_t model_remove(struct model *model, struct rig *rig, uint32_t number)
{
    struct test_key key;
    test_key_make(&key, number);
    uint32_t status = cistern_value_remove(rig->state, &key.address, &rig->error);
    if (status == CISTERN_OK) {
        model->items[number].present = 0;
    }
    return status;
}

static void check_value(const struct model_item *item, uint32_t number, struct cistern_span value)
{
    uint8_t expected[TEST_VALUE_BYTES_MAX];
    if (item == NULL || !item->present) {
        if (value.data != NULL) {
            print_error("key %u is there and should not be\n", number);
        }
        assert_null(value.data);
        return;
    }
    if (value.data == NULL || value.bytes != item->bytes) {
        print_error("key %u: %llu bytes, expected %u\n", number, (unsigned long long)value.bytes,
            item->bytes);
    }
    assert_non_null(value.data);
    assert_int_equal(value.bytes, item->bytes);
    test_value_fill(expected, item->bytes, number, item->seed);
    assert_memory_equal(value.data, expected, item->bytes);
}

void model_check(const struct model *model, struct rig *rig, struct cistern_key_group_range range)
{
    enum { BATCH = 50 };
    struct test_key keys[BATCH];
    struct cistern_address addresses[BATCH];
    struct cistern_span values[BATCH];
    uint32_t numbers[BATCH];
    uint64_t present = 0;
    uint32_t filled = 0;
    for (uint32_t i = 0; i < model->count; i++) {
        uint32_t group = i % TEST_MAX_PARALLELISM;
        if (group >= range.first && group <= range.last) {
            numbers[filled] = i;
            test_key_make(&keys[filled], i);
            addresses[filled] = keys[filled].address;
            filled++;
            present += model->items[i].present != 0;
        }
        if (filled == BATCH || (i + 1 == model->count && filled != 0)) {
            assert_ok(cistern_value_get_many(rig->state, addresses, filled, values, &rig->error),
                rig->error);
            for (uint32_t j = 0; j < filled; j++) {
                check_value(&model->items[numbers[j]], numbers[j], values[j]);
            }
            filled = 0;
        }
    }
    struct cistern_heap_statistics statistics;
    cistern_heap_statistics(rig->backend, &statistics);
    assert_int_equal(statistics.entries, present);
}

void vault_deinit(struct vault *vault)
{
    for (uint32_t i = 0; i < vault->file_count; i++) {
        free(vault->files[i].data);
    }
    vault->file_count = 0;
}

struct cistern_snapshot *snapshot_begin(struct rig *rig, uint64_t id, uint64_t base, uint32_t kind)
{
    struct cistern_snapshot *snapshot = NULL;
    struct cistern_snapshot_request request = {
        .checkpoint_id = id, .base_checkpoint_id = base, .kind = kind};
    assert_ok(cistern_snapshot_begin(rig->backend, &request, &snapshot, &rig->error), rig->error);
    return snapshot;
}

static uint32_t find_file(const struct vault *vault, const uint8_t origin[CISTERN_ORIGIN_BYTES])
{
    for (uint32_t i = 0; i < vault->file_count; i++) {
        if (memcmp(vault->files[i].origin, origin, CISTERN_ORIGIN_BYTES) == 0) {
            return i;
        }
    }
    return UINT32_MAX;
}

static uint32_t read_stream(struct vault_file *file, struct cistern_snapshot *snapshot,
    uint64_t step, struct cistern_error *error)
{
    uint64_t capacity = 0;
    for (;;) {
        if (capacity - file->bytes < step) {
            capacity = capacity * 2 + step;
            file->data = realloc(file->data, capacity);
            assert_non_null(file->data);
        }
        uint64_t bytes = 0;
        struct cistern_bytes into = {file->data + file->bytes, step};
        uint32_t status = cistern_snapshot_read(snapshot, into, &bytes, error);
        if (status != CISTERN_OK || bytes == 0) {
            return status;
        }
        file->bytes += bytes;
    }
}

static uint32_t take_part(struct vault *vault, struct cistern_snapshot *snapshot,
    const struct cistern_part *part, uint64_t step, struct stored *stored,
    struct cistern_error *error)
{
    assert_true(stored->part_count < STORED_PARTS_MAX);
    uint32_t at = find_file(vault, part->origin);
    uint32_t status = CISTERN_OK;
    if (part->kind == CISTERN_PART_REUSE) {
        assert_int_not_equal(at, UINT32_MAX);
        assert_int_equal(vault->files[at].bytes, part->bytes);
        assert_int_equal(vault->files[at].role, part->role);
    } else {
        assert_int_equal(part->kind, CISTERN_PART_STREAM);
        assert_int_equal(at, UINT32_MAX); /* an origin is never used again */
        assert_true(vault->file_count < VAULT_FILES_MAX);
        at = vault->file_count++;
        struct vault_file *file = &vault->files[at];
        *file = (struct vault_file){.role = part->role};
        memcpy(file->origin, part->origin, sizeof file->origin);
        status = read_stream(file, snapshot, step, error);
        stored->new_bytes = file->bytes;
        stored->new_role = file->role;
    }
    stored->parts[stored->part_count++] = at;
    return status;
}

uint32_t vault_take(struct vault *vault, struct cistern_snapshot *snapshot, uint64_t step,
    struct stored *ret_stored, struct cistern_error *error)
{
    memset(ret_stored, 0, sizeof *ret_stored);
    uint32_t status = CISTERN_OK;
    while (status == CISTERN_OK) {
        struct cistern_part part;
        status = cistern_snapshot_next(snapshot, &part, error);
        if (status == CISTERN_OK) {
            status = take_part(vault, snapshot, &part, step, ret_stored, error);
        }
    }
    cistern_snapshot_release(snapshot);
    return status == CISTERN_NOT_FOUND ? CISTERN_OK : status;
}

void vault_snapshot(struct vault *vault, struct rig *rig, uint64_t id, uint64_t base, uint32_t kind,
    struct stored *ret_stored)
{
    struct cistern_snapshot *snapshot = snapshot_begin(rig, id, base, kind);
    assert_ok(vault_take(vault, snapshot, 1u << 20, ret_stored, &rig->error), rig->error);
    ret_stored->checkpoint_id = id;
}

struct vault_source {
    const struct vault *vault;
    const struct stored *slices;
    uint32_t slice_count;
    uint32_t slice;
    uint32_t part;
    const struct vault_file *current;
};

static uint32_t source_next(void *arg, struct cistern_part *ret_part, struct cistern_error *error)
{
    (void)error;
    struct vault_source *source = arg;
    while (source->slice < source->slice_count &&
           source->part == source->slices[source->slice].part_count) {
        source->slice++;
        source->part = 0;
    }
    if (source->slice == source->slice_count) {
        return CISTERN_NOT_FOUND;
    }
    source->current = &source->vault->files[source->slices[source->slice].parts[source->part++]];
    *ret_part = (struct cistern_part){
        .kind = CISTERN_PART_STREAM,
        .role = source->current->role,
        .bytes = source->current->bytes,
        .slice_index = source->slice,
    };
    return CISTERN_OK;
}

static uint32_t source_read(void *arg, uint64_t offset, struct cistern_bytes into,
    uint64_t *ret_bytes, struct cistern_error *error)
{
    (void)error;
    const struct vault_file *file = ((struct vault_source *)arg)->current;
    uint64_t left = offset < file->bytes ? file->bytes - offset : 0;
    uint64_t bytes = left < into.capacity_bytes ? left : into.capacity_bytes;
    memcpy(into.data, file->data + offset, bytes);
    *ret_bytes = bytes;
    return CISTERN_OK;
}

static const char *source_describe(void *arg)
{
    (void)arg;
    return "vault";
}

uint32_t vault_restore(const struct vault *vault, const struct stored *slices, uint32_t slice_count,
    const char *backend, struct rig *rig)
{
    struct vault_source state = {.vault = vault, .slices = slices, .slice_count = slice_count};
    struct cistern_source source = {
        .arg = &state,
        .backend = backend,
        .slice_count = slice_count,
        .next = source_next,
        .read = source_read,
        .describe = source_describe,
    };
    return cistern_backend_restore(rig->backend, &source, &rig->error);
}
