/* seg_test.c -- what the container's writer is given, its reader gives back: all of it, by
 * range, and nothing else. */
#include "seg_model.h"
#include "cistern/clock.h"

#define STATE_COUNT 3u

struct plan {
    struct cistern_key_group_range range;
    uint64_t buffer_bytes;
    uint32_t entry_count;
    uint64_t value_bytes_max;
    uint64_t big_value_bytes; /* now and then one of this size; 0 = none */
    uint64_t take_bytes;
};

static struct model_entry entry_choose(uint64_t *random, uint64_t number, const struct plan *plan)
{
    uint32_t groups = plan->range.last - plan->range.first + 1;
    struct model_entry entry = {
        .number = number,
        .state_id = 1 + (uint32_t)(test_random(random) >> 33) % STATE_COUNT,
        .key_group = plan->range.first + (uint32_t)(test_random(random) >> 33) % groups,
        .key_extra_bytes = (int64_t)(test_random(random) >> 33) % 40,
        .name_space_bytes = (int64_t)(test_random(random) >> 33) % 20 - 10,
        .user_key_bytes = (int64_t)(test_random(random) >> 33) % 30 - 15,
        .value_bytes = (int64_t)((test_random(random) >> 33) % (plan->value_bytes_max + 1)),
        .written_ms = (int64_t)test_random(random),
        .has_written = (uint32_t)(test_random(random) >> 33) % 2,
        .tombstone = (test_random(random) >> 33) % 5 == 0,
    };
    entry.name_space_bytes = entry.name_space_bytes < 0 ? -1 : entry.name_space_bytes;
    entry.user_key_bytes = entry.user_key_bytes < 0 ? -1 : entry.user_key_bytes;
    uint64_t rare = (test_random(random) >> 33) % 100;
    if (rare == 0) {
        entry.key_extra_bytes = 65535 - 8;
    } else if (rare == 1 && entry.user_key_bytes >= 0 && !entry.tombstone) {
        entry.value_bytes = -1;
    } else if (rare < 4 && plan->big_value_bytes != 0 && number % 4 == 0) {
        entry.value_bytes = (int64_t)(plan->big_value_bytes - (test_random(random) >> 33) % 1000);
    }
    return entry;
}

static void file_write(
    const struct plan *plan, struct model_entry *models, uint64_t *random, struct memory_file *file)
{
    struct cistern_error error;
    struct cistern_seg_writer_options options = {.role = CISTERN_ROLE_HEAP_BASE,
        .slot_index = 7,
        .checkpoint_id = 42,
        .base_checkpoint_id = 41,
        .range = plan->range,
        .buffer_bytes = plan->buffer_bytes};
    memset(options.job_id, 0xAB, sizeof options.job_id);
    struct cistern_seg_writer *writer;
    assert_ok(cistern_seg_writer_create(&options, &writer, &error), error);
    assert_ok(model_writer_states(writer, STATE_COUNT, &error), error);
    for (uint32_t i = 0; i < plan->entry_count; i++) {
        models[i] = entry_choose(random, i, plan);
        uint8_t *storage = malloc(model_entry_bytes(&models[i]));
        struct cistern_seg_entry entry = model_build(&models[i], storage);
        assert_ok(model_add(writer, &entry, file, plan->take_bytes, &error), error);
        free(storage);
    }
    assert_int_equal(cistern_seg_writer_entry_count(writer), plan->entry_count);
    assert_ok(cistern_seg_writer_finish(writer, &error), error);
    assert_ok(model_drain(writer, file, plan->take_bytes, &error), error);
    cistern_seg_writer_destroy(writer);
}

/* Reads `range` and compares each entry with the model; every entry of the range must come
 * exactly once. */
static void range_check(struct cistern_seg_reader *reader, struct cistern_key_group_range range,
    const struct model_entry *models, uint32_t entry_count)
{
    struct cistern_error error;
    uint8_t *seen = calloc(entry_count + 1, 1);
    cistern_seg_reader_rewind(reader, range);
    for (;;) {
        struct cistern_seg_entry entry;
        uint32_t end;
        assert_ok(cistern_seg_reader_next(reader, &entry, &end, &error), error);
        if (end) {
            break;
        }
        uint64_t number;
        assert_true(entry.key.bytes >= 8);
        memcpy(&number, entry.key.data, 8);
        assert_true(number < entry_count && !seen[number]);
        seen[number] = 1;
        uint8_t *storage = malloc(model_entry_bytes(&models[number]));
        struct cistern_seg_entry expected = model_build(&models[number], storage);
        entry_assert_equal(&entry, &expected);
        free(storage);
    }
    for (uint32_t i = 0; i < entry_count; i++) {
        int inside = models[i].key_group >= range.first && models[i].key_group <= range.last;
        assert_int_equal(seen[i], inside);
    }
    free(seen);
}

/* The bytes a ranged read may touch: the blocks that overlap. */
static uint64_t overlap_bytes(
    struct cistern_seg_reader *reader, struct cistern_key_group_range range)
{
    struct cistern_error error;
    struct cistern_seg_info info;
    cistern_seg_reader_info(reader, &info);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < info.block_count; i++) {
        struct cistern_seg_block_info block;
        assert_ok(cistern_seg_reader_block(reader, i, &block, &error), error);
        if (block.range.first <= range.last && range.first <= block.range.last) {
            bytes += 48 + (block.stored_bytes + 7u) / 8 * 8;
        }
    }
    return bytes;
}

static void ranges_check(struct cistern_seg_reader *reader, const struct plan *plan,
    const struct model_entry *models, struct memory_file *file, uint64_t *random)
{
    uint32_t groups = plan->range.last - plan->range.first + 1;
    for (int round = 0; round < 5; round++) {
        uint32_t a = plan->range.first + (uint32_t)(test_random(random) >> 33) % groups;
        uint32_t b = plan->range.first + (uint32_t)(test_random(random) >> 33) % groups;
        struct cistern_key_group_range range = {a < b ? a : b, a < b ? b : a};
        file->read_bytes = 0;
        range_check(reader, range, models, plan->entry_count);
        assert_int_equal(file->read_bytes, overlap_bytes(reader, range));
    }
}

static void plan_check(const struct plan *plan, uint64_t seed)
{
    uint64_t random = seed;
    uint64_t allocations = cistern_allocation_count();
    struct memory_file file = {0};
    struct cistern_error error;
    struct model_entry *models = calloc(plan->entry_count + 1, sizeof *models);
    file_write(plan, models, &random, &file);
    struct cistern_seg_reader *reader;
    assert_ok(
        cistern_seg_reader_open(memory_file_read, &file, file.bytes, "model.seg", &reader, &error),
        error);
    struct cistern_seg_info info;
    cistern_seg_reader_info(reader, &info);
    assert_int_equal(info.entry_count, plan->entry_count);
    assert_int_equal(info.state_count, STATE_COUNT);
    assert_int_equal(info.role, CISTERN_ROLE_HEAP_BASE);
    assert_int_equal(info.slot_index, 7);
    assert_int_equal(info.checkpoint_id, 42);
    assert_int_equal(info.base_checkpoint_id, 41);
    assert_int_equal(info.job_id[15], 0xAB);
    assert_int_equal(info.range.first, plan->range.first);
    assert_int_equal(info.range.last, plan->range.last);
    file.read_bytes = 0;
    assert_ok(cistern_seg_reader_verify(reader, &error), error);
    assert_int_equal(file.read_bytes, file.bytes); /* each byte once */
    range_check(reader, plan->range, models, plan->entry_count);
    ranges_check(reader, plan, models, &file, &random);
    cistern_seg_reader_close(reader);
    free(models);
    free(file.data);
    assert_int_equal(cistern_allocation_count(), allocations);
}

static void test_round_trips(void **state)
{
    (void)state;
    uint64_t seed = test_seed("state_seg_test", 20261123);
    const struct plan plans[] = {
        {{0, 127}, 0, 10000, 100, 0, 65536},
        {{0, 127}, 256 << 10, 10000, 100, 0, 4096},
        {{5, 5}, 256 << 10, 5000, 300, 0, 1},
        {{64, 127}, 1 << 20, 1000, 5000, 200000, 777},
        {{0, 32767}, 1 << 20, 20000, 64, 0, 65536},
        {{100, 32000}, 256 << 10, 400, 70000, 300000, 65536},
        {{3, 4}, 256 << 10, 0, 1, 0, 13},
        {{0, 299}, 0, 20000, 8, 0, 65536},
    };
    for (uint32_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        plan_check(&plans[i], seed + i);
    }
}

static void test_entries_larger_than_a_block(void **state)
{
    (void)state;
    uint64_t seed = test_seed("state_seg_test", 9);
    const struct plan plans[] = {
        {{0, 1}, 0, 8, 9u << 20, 0, 65536},
        {{0, 127}, 256 << 10, 16, 3u << 20, 0, 65536},
        {{0, 9}, 256 << 10, 300, 66000, 0, 50000},
    };
    for (uint32_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        plan_check(&plans[i], seed + i);
    }
}

/* Sizes around the limits of a chunk and of a block, where an entry changes its way of being
 * written. */
static void test_edge_sizes(void **state)
{
    (void)state;
    struct cistern_error error;
    struct memory_file file = {0};
    struct cistern_seg_writer_options options = {.role = CISTERN_ROLE_CANONICAL,
        .checkpoint_id = 1,
        .range = {0, 0},
        .buffer_bytes = 256 << 10};
    struct cistern_seg_writer *writer;
    assert_ok(cistern_seg_writer_create(&options, &writer, &error), error);
    assert_ok(model_writer_states(writer, 1, &error), error);
    const int64_t centers[] = {0, 127, 4096 - 48, 4096, 8192, 16383, 65536, 131072, 262144};
    struct model_entry models[9 * 60];
    uint32_t count = 0;
    uint8_t *storage = malloc(300000);
    for (uint32_t c = 0; c < 9; c++) {
        for (int64_t bytes = centers[c] - 30; bytes < centers[c] + 30; bytes++) {
            models[count] = (struct model_entry){.number = count,
                .state_id = 1,
                .name_space_bytes = -1,
                .user_key_bytes = -1,
                .value_bytes = bytes < 0 ? 0 : bytes};
            struct cistern_seg_entry entry = model_build(&models[count], storage);
            assert_ok(model_add(writer, &entry, &file, 65536, &error), error);
            count++;
        }
    }
    assert_ok(cistern_seg_writer_finish(writer, &error), error);
    assert_ok(model_drain(writer, &file, 65536, &error), error);
    cistern_seg_writer_destroy(writer);
    struct cistern_seg_reader *reader;
    assert_ok(
        cistern_seg_reader_open(memory_file_read, &file, file.bytes, "edge.seg", &reader, &error),
        error);
    range_check(reader, (struct cistern_key_group_range){0, 0}, models, count);
    cistern_seg_reader_close(reader);
    free(storage);
    free(file.data);
}

static void test_writer_refuses(void **state)
{
    (void)state;
    struct cistern_error error;
    struct cistern_seg_writer *writer;
    struct cistern_seg_writer_options options = {.role = CISTERN_ROLE_SST, .range = {0, 9}};
    assert_status(cistern_seg_writer_create(&options, &writer, &error), CISTERN_INVALID);
    options.role = CISTERN_ROLE_HEAP_BASE;
    options.buffer_bytes = 1000;
    assert_status(cistern_seg_writer_create(&options, &writer, &error), CISTERN_INVALID);
    options.buffer_bytes = 0;
    options.range.last = 32768;
    assert_status(cistern_seg_writer_create(&options, &writer, &error), CISTERN_INVALID);
    options.range.last = 9;
    assert_ok(cistern_seg_writer_create(&options, &writer, &error), error);
    struct cistern_seg_entry entry = {.state_id = 1, .key = {"k", 1}, .value = {"v", 1}};
    /* unknown state */
    assert_status(cistern_seg_writer_add(writer, &entry, &error), CISTERN_INVALID);
    assert_ok(model_writer_states(writer, 1, &error), error);
    assert_ok(model_writer_states(writer, 1, &error), error); /* the same again */
    assert_status(cistern_seg_writer_state(writer, 2, "{}", &error), CISTERN_CORRUPT);
    struct cistern_state_descriptor other = {.name = "state-1", .kind = CISTERN_MAP};
    char *text;
    assert_ok(cistern_descriptor_encode(&other, 2, &text, &error), error);
    assert_status(cistern_seg_writer_state(writer, 2, text, &error), CISTERN_EXISTS); /* the name */
    /* another id */
    assert_status(cistern_seg_writer_state(writer, 3, text, &error), CISTERN_INVALID);
    assert_status(cistern_seg_writer_state(writer, 251, text, &error), CISTERN_INVALID);
    cistern_release(text);
    entry.key_group = 10;
    assert_status(cistern_seg_writer_add(writer, &entry, &error), CISTERN_INVALID);
    entry.key_group = 9;
    entry.tombstone = 1;
    /* with a value */
    assert_status(cistern_seg_writer_add(writer, &entry, &error), CISTERN_INVALID);
    entry.tombstone = 0;
    entry.value.data = NULL;
    /* without one */
    assert_status(cistern_seg_writer_add(writer, &entry, &error), CISTERN_INVALID);
    entry.value.data = "v";
    entry.key.bytes = 65536;
    assert_status(cistern_seg_writer_add(writer, &entry, &error), CISTERN_INVALID);
    assert_ok(cistern_seg_writer_finish(writer, &error), error);
    entry.key.bytes = 1;
    assert_status(cistern_seg_writer_add(writer, &entry, &error), CISTERN_INVALID);
    cistern_seg_writer_destroy(writer);
}

/* Another entry in the middle of a chain would tear it. */
static void test_half_written_entry(void **state)
{
    (void)state;
    struct cistern_error error;
    struct memory_file file = {0};
    struct cistern_seg_writer_options options = {
        .role = CISTERN_ROLE_HEAP_BASE, .range = {0, 9}, .buffer_bytes = 256 << 10};
    struct cistern_seg_writer *writer;
    assert_ok(cistern_seg_writer_create(&options, &writer, &error), error);
    assert_ok(model_writer_states(writer, 1, &error), error);
    uint8_t *value = calloc(1, 1 << 20);
    struct cistern_seg_entry big = {.state_id = 1, .key = {"k", 1}, .value = {value, 1 << 20}};
    struct cistern_seg_entry small = {.state_id = 1, .key = {"k", 1}, .value = {"v", 1}};
    assert_status(cistern_seg_writer_add(writer, &big, &error), CISTERN_BUSY);
    assert_status(cistern_seg_writer_add(writer, &small, &error), CISTERN_INVALID);
    assert_status(cistern_seg_writer_finish(writer, &error), CISTERN_INVALID);
    assert_ok(model_add(writer, &big, &file, 5000, &error), error);
    assert_ok(model_add(writer, &small, &file, 5000, &error), error);
    assert_ok(cistern_seg_writer_finish(writer, &error), error);
    assert_ok(model_drain(writer, &file, 5000, &error), error);
    cistern_seg_writer_destroy(writer);
    struct cistern_seg_reader *reader;
    assert_ok(
        cistern_seg_reader_open(memory_file_read, &file, file.bytes, "half.seg", &reader, &error),
        error);
    struct cistern_seg_entry entry;
    uint32_t end;
    assert_ok(cistern_seg_reader_next(reader, &entry, &end, &error), error);
    entry_assert_equal(&entry, &big);
    assert_ok(cistern_seg_reader_next(reader, &entry, &end, &error), error);
    entry_assert_equal(&entry, &small);
    assert_ok(cistern_seg_reader_next(reader, &entry, &end, &error), error);
    assert_true(end);
    cistern_seg_reader_close(reader);
    free(value);
    free(file.data);
}

/* Not a limit, a figure: it prints what writing and reading cost, and fails only when they are
 * an order of magnitude off. */
static void test_speed(void **state)
{
    (void)state;
    struct cistern_error error;
    struct memory_file file = {.data = malloc(60u << 20), .capacity = 60u << 20};
    memset(file.data, 1, file.capacity);
    struct cistern_seg_writer_options options = {.role = CISTERN_ROLE_HEAP_BASE, .range = {0, 127}};
    struct cistern_seg_writer *writer;
    assert_ok(cistern_seg_writer_create(&options, &writer, &error), error);
    assert_ok(model_writer_states(writer, 1, &error), error);
    uint8_t payload[64] = {0};
    const uint32_t count = 600000;
    int64_t start = cistern_now_ns();
    for (uint32_t i = 0; i < count; i++) {
        memcpy(payload, &i, 4);
        struct cistern_seg_entry entry = {.state_id = 1,
            .key_group = (i * 2654435761u) >> 25,
            .key = {payload, 16},
            .value = {payload + 16, 48}};
        assert_true(model_add(writer, &entry, &file, 65536, &error) == CISTERN_OK);
    }
    assert_ok(cistern_seg_writer_finish(writer, &error), error);
    assert_ok(model_drain(writer, &file, 65536, &error), error);
    double write_seconds = (double)(cistern_now_ns() - start) / 1e9;
    cistern_seg_writer_destroy(writer);
    struct cistern_seg_reader *reader;
    start = cistern_now_ns();
    assert_ok(
        cistern_seg_reader_open(memory_file_read, &file, file.bytes, "speed.seg", &reader, &error),
        error);
    assert_ok(cistern_seg_reader_verify(reader, &error), error);
    double read_seconds = (double)(cistern_now_ns() - start) / 1e9;
    struct cistern_seg_info info;
    cistern_seg_reader_info(reader, &info);
    double megabytes = (double)file.bytes / 1e6;
    print_message("%.0f MB in %u blocks: written at %.0f MB/s, read at %.0f MB/s\n", megabytes,
        info.block_count, megabytes / write_seconds, megabytes / read_seconds);
    assert_true(info.block_count < 1500); /* blocks stay large when groups come in random order */
    assert_true(write_seconds < 10 && read_seconds < 10);
    cistern_seg_reader_close(reader);
    free(file.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_entries_larger_than_a_block),
        cmocka_unit_test(test_edge_sizes),
        cmocka_unit_test(test_writer_refuses),
        cmocka_unit_test(test_half_written_entry),
        cmocka_unit_test(test_speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
