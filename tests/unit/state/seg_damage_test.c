/* seg_damage_test.c -- a container's reader trusts nothing: each flipped bit, each cut and each
 * consistent lie is reported. */
#include "cistern/endian.h"
#include "cistern/hash.h"
#include "seg_format_private.h"
#include "seg_model.h"

/* Two states, six entries of all forms in one group or many, and with big_bytes != 0 one that
 * continues over blocks. */
static uint32_t file_make(struct memory_file *file, struct cistern_key_group_range range,
    uint64_t big_bytes, struct cistern_error *error)
{
    struct cistern_seg_writer_options options = {.role = CISTERN_ROLE_HEAP_INCREMENT,
        .slot_index = 1,
        .checkpoint_id = 9,
        .base_checkpoint_id = 8,
        .range = range,
        .buffer_bytes = 256 << 10};
    struct cistern_seg_writer *writer;
    uint32_t status = cistern_seg_writer_create(&options, &writer, error);
    if (status != CISTERN_OK) {
        return status;
    }
    status = model_writer_states(writer, 2, error);
    uint8_t *storage = malloc(big_bytes + 1000);
    for (uint64_t i = 0; i < 7 && status == CISTERN_OK; i++) {
        struct model_entry model = {.number = i,
            .state_id = 1 + (uint32_t)i % 2,
            .key_group = range.first + (uint32_t)i % (range.last - range.first + 1),
            .name_space_bytes = (int64_t)i % 3 - 1,
            .user_key_bytes = (int64_t)i % 4 - 1,
            .value_bytes = (int64_t)i,
            .has_written = i % 2 == 0,
            .written_ms = 1795384800000,
            .tombstone = i == 3};
        model.value_bytes = i == 6 && big_bytes != 0 ? (int64_t)big_bytes : model.value_bytes;
        struct cistern_seg_entry entry = model_build(&model, storage);
        status = model_add(writer, &entry, file, 65536, error);
    }
    free(storage);
    if (status == CISTERN_OK) {
        status = cistern_seg_writer_finish(writer, error);
    }
    if (status == CISTERN_OK) {
        status = model_drain(writer, file, 65536, error);
    }
    cistern_seg_writer_destroy(writer);
    return status;
}

static uint32_t file_verify(struct memory_file *file, struct cistern_error *error)
{
    uint64_t allocations = cistern_allocation_count();
    struct cistern_seg_reader *reader = NULL;
    memset(error, 0, sizeof *error);
    uint32_t status =
        cistern_seg_reader_open(memory_file_read, file, file->bytes, "damaged.seg", &reader, error);
    if (status == CISTERN_OK) {
        status = cistern_seg_reader_verify(reader, error);
        cistern_seg_reader_close(reader);
    }
    assert_int_equal(cistern_allocation_count(), allocations);
    return status;
}

static void damage_assert(struct memory_file *file, uint64_t place)
{
    struct cistern_error error;
    uint32_t status = file_verify(file, &error);
    if (status != CISTERN_CORRUPT && status != CISTERN_UNSUPPORTED) {
        print_error(
            "damage at byte %llu: %s\n", (unsigned long long)place, cistern_status_name(status));
        fail();
    }
    assert_int_equal(error.status, status);
    assert_string_equal(error.object, "damaged.seg");
    assert_true(status == CISTERN_UNSUPPORTED || error.file_offset <= file->bytes);
}

static void test_every_bit(void **state)
{
    (void)state;
    const struct cistern_key_group_range ranges[] = {{4, 4}, {0, 511}};
    for (uint32_t r = 0; r < 2; r++) {
        struct memory_file file = {0};
        struct cistern_error error;
        assert_ok(file_make(&file, ranges[r], 0, &error), error);
        assert_ok(file_verify(&file, &error), error);
        for (uint64_t bit = 0; bit < file.bytes * 8; bit++) {
            file.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
            damage_assert(&file, bit / 8);
            file.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        }
        assert_ok(file_verify(&file, &error), error);
        free(file.data);
    }
}

static void test_bits_of_a_chain(void **state)
{
    (void)state;
    struct memory_file file = {0};
    struct cistern_error error;
    uint64_t random = test_seed("state_seg_damage_test", 77);
    assert_ok(file_make(&file, (struct cistern_key_group_range){0, 3}, 200000, &error), error);
    assert_ok(file_verify(&file, &error), error);
    for (int i = 0; i < 2000; i++) {
        uint64_t bit = (test_random(&random) >> 8) % (file.bytes * 8);
        file.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        damage_assert(&file, bit / 8);
        file.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    free(file.data);
}

static void test_every_length(void **state)
{
    (void)state;
    struct memory_file file = {0};
    struct cistern_error error;
    assert_ok(file_make(&file, (struct cistern_key_group_range){0, 1}, 0, &error), error);
    uint64_t whole = file.bytes;
    for (uint64_t bytes = 0; bytes < whole; bytes++) {
        /* A copy of exactly that size, so that a read behind the end is seen by a sanitizer. */
        struct memory_file cut = {.data = malloc(bytes + 1), .bytes = bytes};
        memcpy(cut.data, file.data, bytes);
        assert_status(file_verify(&cut, &error), CISTERN_CORRUPT);
        free(cut.data);
    }
    memory_file_append(&file, "\0\0\0\0\0\0\0", 8);
    assert_status(file_verify(&file, &error), CISTERN_CORRUPT);
    free(file.data);
}

/* ---- lies: content that is wrong under hashes that are right ---- */

struct places { /* of the parts of a file, from its trailer */
    uint64_t index;
    uint64_t blocks;
    uint64_t table;
    uint64_t table_bytes;
};

static struct places places_of(const struct memory_file *file)
{
    const uint8_t *trailer = file->data + file->bytes - 64;
    struct places places = {cistern_get_u64_le(trailer), cistern_get_u64_le(trailer + 8) / 40,
        cistern_get_u64_le(trailer + 16), cistern_get_u64_le(trailer + 24)};
    return places;
}

/* Makes every hash and check word of the file agree with its content again, block headers with
 * their index entries. */
static void file_sign(struct memory_file *file)
{
    struct places places = places_of(file);
    cistern_put_u32_le(file->data + 60, cistern_check32(file->data, 60));
    for (uint64_t i = 0; i < places.blocks; i++) {
        uint8_t *entry = file->data + places.index + 40 * i;
        uint64_t offset = cistern_get_u64_le(entry);
        if (offset > places.index || places.index - offset < 48) {
            continue;
        }
        uint8_t *block = file->data + offset;
        uint64_t stored = cistern_get_u32_le(block + 4);
        if (stored <= places.index - offset - 48) {
            cistern_put_u64_le(block + 32, cistern_hash64(block + 48, stored));
            memcpy(entry + 32, block + 32, 8);
        }
        cistern_put_u32_le(block + 44, cistern_check32(block, 44));
    }
    uint8_t *trailer = file->data + file->bytes - 64;
    cistern_put_u64_le(trailer + 32, cistern_hash64(file->data + places.index, 40 * places.blocks));
    cistern_put_u64_le(trailer + 40, cistern_hash64(file->data + places.table, places.table_bytes));
    cistern_put_u32_le(trailer + 56, cistern_check32(trailer, 56));
}

struct lie {
    const char *what;
    /* 0 header, 1 first block, 2 first index entry, 3 both at the same field, 4 trailer */
    int part;
    uint64_t at;
    uint32_t bytes;
    uint64_t value;
    uint32_t expected;
};

static void lie_tell(struct memory_file *file, const struct lie *lie)
{
    struct places places = places_of(file);
    uint8_t value[8];
    cistern_put_u64_le(value, lie->value);
    if (lie->part == 0) {
        memcpy(file->data + lie->at, value, lie->bytes);
    } else if (lie->part == 4) {
        memcpy(file->data + file->bytes - 64 + lie->at, value, lie->bytes);
    } else if (lie->part == 1) {
        memcpy(file->data + 64 + lie->at, value, lie->bytes);
    } else if (lie->part == 2) {
        memcpy(file->data + places.index + lie->at, value, lie->bytes);
    } else {
        memcpy(file->data + 64 + lie->at, value, lie->bytes);
        memcpy(file->data + places.index + lie->at, value, lie->bytes);
    }
}

static void test_lies(void **state)
{
    (void)state;
    const struct lie lies[] = {
        {"a later version", 0, 8, 2, 2, CISTERN_UNSUPPORTED},
        {"a header flag", 0, 12, 4, 1, CISTERN_UNSUPPORTED},
        {"an unknown role", 0, 10, 2, 77, CISTERN_UNSUPPORTED},
        {"another magic digit", 0, 7, 1, '2', CISTERN_UNSUPPORTED},
        {"a header that is not zero where it must be", 0, 56, 4, 1, CISTERN_CORRUPT},
        {"file groups that are no range", 0, 52, 2, 9, CISTERN_CORRUPT},
        {"lz4", 1, 22, 1, 1, CISTERN_UNSUPPORTED},
        {"zstd", 1, 22, 1, 2, CISTERN_UNSUPPORTED},
        {"raw bytes unlike stored bytes", 1, 8, 4, 4096, CISTERN_CORRUPT},
        {"a block field that is not zero", 1, 40, 4, 1, CISTERN_CORRUPT},
        {"a group range outside the file's", 3, 18, 2, 12, CISTERN_CORRUPT},
        {"a state that is not there", 3, 20, 2, 3, CISTERN_CORRUPT},
        {"a state beyond the possible", 3, 20, 2, 60000, CISTERN_CORRUPT},
        {"no entries", 2, 12, 4, 0, CISTERN_CORRUPT},
        {"an offset that leaves a gap", 2, 0, 8, 72, CISTERN_CORRUPT},
        {"an offset behind the file", 2, 0, 8, UINT64_MAX - 7, CISTERN_CORRUPT},
        {"stored bytes behind the file", 2, 8, 4, UINT32_MAX, CISTERN_CORRUPT},
        {"no stored bytes", 2, 8, 4, 0, CISTERN_CORRUPT},
        {"an unknown block flag", 2, 22, 2, 8, CISTERN_UNSUPPORTED},
        {"a chain without its rest", 2, 22, 2, 4, CISTERN_CORRUPT},
        {"an index behind the file", 4, 0, 8, 1u << 30, CISTERN_CORRUPT},
        {"an index of no whole entries", 4, 8, 8, 41, CISTERN_CORRUPT},
        {"a table that wraps around", 4, 24, 8, UINT64_MAX, CISTERN_CORRUPT},
    };
    for (uint32_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct memory_file file = {0};
        struct cistern_error error;
        assert_ok(file_make(&file, (struct cistern_key_group_range){4, 4}, 0, &error), error);
        if (lies[i].part == 4) {
            lie_tell(&file, &lies[i]);
            uint8_t *trailer = file.data + file.bytes - 64;
            cistern_put_u32_le(trailer + 56, cistern_check32(trailer, 56));
        } else {
            lie_tell(&file, &lies[i]);
            file_sign(&file);
        }
        uint32_t status = file_verify(&file, &error);
        if (status != lies[i].expected) {
            print_error("%s: %s (%s)\n", lies[i].what, cistern_status_name(status), error.message);
            fail();
        }
        free(file.data);
    }
}

static void test_entry_flags_of_later_versions(void **state)
{
    (void)state;
    const struct {
        uint8_t flags;
        uint32_t expected;
    } cases[] = {{16, CISTERN_UNSUPPORTED}, {64, CISTERN_UNSUPPORTED}, {128, CISTERN_UNSUPPORTED},
        {32, CISTERN_CORRUPT}, {33 + 8, CISTERN_CORRUPT}};
    for (uint32_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct memory_file file = {0};
        struct cistern_error error;
        assert_ok(file_make(&file, (struct cistern_key_group_range){4, 4}, 0, &error), error);
        file.data[64 + 48] = cases[i].flags;
        file_sign(&file);
        assert_status(file_verify(&file, &error), cases[i].expected);
        free(file.data);
    }
}

/* Random bytes inside payloads, index, table and headers, all signed: any answer is right but a
 * crash or a wild read. */
static void test_random_lies(void **state)
{
    (void)state;
    uint64_t random = test_seed("state_seg_damage_test", 4711);
    struct memory_file file = {0};
    struct cistern_error error;
    assert_ok(file_make(&file, (struct cistern_key_group_range){0, 700}, 70000, &error), error);
    uint32_t refused = 0;
    for (int round = 0; round < 4000; round++) {
        struct memory_file lie = {.data = malloc(file.bytes), .bytes = file.bytes};
        memcpy(lie.data, file.data, file.bytes);
        uint64_t near = round % 2 == 0 ? 64 : file.bytes - 3000;
        for (uint64_t n = 1 + (test_random(&random) >> 40) % 4; n > 0; n--) {
            uint64_t at = near + (test_random(&random) >> 40) % (round % 2 == 0 ? 600 : 3000 - 64);
            lie.data[at] = (uint8_t)(test_random(&random) >> 40);
        }
        file_sign(&lie);
        refused += file_verify(&lie, &error) != CISTERN_OK;
        free(lie.data);
    }
    assert_true(refused > 1000);
    free(file.data);
}

/* ---- the world fails ---- */

static void test_writer_allocations(void **state)
{
    (void)state;
    uint64_t held = cistern_allocation_count();
    for (uint64_t nth = 1;; nth++) {
        struct memory_file file = {0};
        struct cistern_error error = {0};
        cistern_allocation_fail_at(nth);
        uint32_t status =
            file_make(&file, (struct cistern_key_group_range){0, 100}, 200000, &error);
        int failed = cistern_allocation_failed();
        cistern_allocation_fail_at(0);
        free(file.data);
        assert_int_equal(cistern_allocation_count(), held);
        if (!failed) {
            assert_ok(status, error);
            assert_true(nth > 8);
            return;
        }
        assert_status(status, CISTERN_NO_MEMORY);
        assert_int_equal(error.status, CISTERN_NO_MEMORY);
    }
}

static void test_reader_allocations(void **state)
{
    (void)state;
    struct memory_file file = {0};
    struct cistern_error error = {0};
    assert_ok(file_make(&file, (struct cistern_key_group_range){0, 100}, 200000, &error), error);
    for (uint64_t nth = 1;; nth++) {
        cistern_allocation_fail_at(nth);
        uint32_t status = file_verify(&file, &error);
        int failed = cistern_allocation_failed();
        cistern_allocation_fail_at(0);
        if (!failed) {
            assert_ok(status, error);
            assert_true(nth > 8);
            break;
        }
        assert_status(status, CISTERN_NO_MEMORY);
        assert_int_equal(error.status, CISTERN_NO_MEMORY);
    }
    free(file.data);
}

struct failing_file {
    struct memory_file file;
    uint32_t reads_left;
};

static uint32_t failing_read(
    void *arg, uint64_t offset, struct cistern_bytes into, struct cistern_error *error)
{
    struct failing_file *failing = arg;
    if (failing->reads_left == 0) {
        error->status = CISTERN_IO;
        return CISTERN_IO;
    }
    failing->reads_left--;
    return memory_file_read(&failing->file, offset, into, error);
}

static void test_reads_that_fail(void **state)
{
    (void)state;
    struct failing_file failing = {0};
    struct cistern_error error;
    uint64_t held = cistern_allocation_count();
    assert_ok(
        file_make(&failing.file, (struct cistern_key_group_range){0, 100}, 200000, &error), error);
    uint32_t status = CISTERN_IO;
    for (uint32_t reads = 0; status != CISTERN_OK; reads++) {
        assert_true(reads < 1000);
        failing.reads_left = reads;
        struct cistern_seg_reader *reader = NULL;
        status = cistern_seg_reader_open(
            failing_read, &failing, failing.file.bytes, "io.seg", &reader, &error);
        if (status == CISTERN_OK) {
            status = cistern_seg_reader_verify(reader, &error);
            cistern_seg_reader_close(reader);
        }
        assert_true(status == CISTERN_OK || status == CISTERN_IO);
        assert_int_equal(cistern_allocation_count(), held);
    }
    free(failing.file.data);
}

/* Damage that appears between open and verify. */
static void test_metadata_changes_after_open(void **state)
{
    (void)state;
    struct memory_file file = {0};
    struct cistern_error error;
    assert_ok(file_make(&file, (struct cistern_key_group_range){0, 3}, 0, &error), error);
    struct cistern_seg_reader *reader;
    assert_ok(
        cistern_seg_reader_open(memory_file_read, &file, file.bytes, "late.seg", &reader, &error),
        error);
    for (uint64_t at = 0; at < file.bytes; at++) {
        file.data[at] ^= 0x10;
        assert_status(cistern_seg_reader_verify(reader, &error), CISTERN_CORRUPT);
        file.data[at] ^= 0x10;
    }
    assert_ok(cistern_seg_reader_verify(reader, &error), error);
    cistern_seg_reader_close(reader);
    free(file.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_bit),
        cmocka_unit_test(test_bits_of_a_chain),
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_entry_flags_of_later_versions),
        cmocka_unit_test(test_random_lies),
        cmocka_unit_test(test_writer_allocations),
        cmocka_unit_test(test_reader_allocations),
        cmocka_unit_test(test_reads_that_fail),
        cmocka_unit_test(test_metadata_changes_after_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
