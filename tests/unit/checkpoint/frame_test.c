/* frame_test.c -- framed records, fields, names, base64 and file lists: what is written is read,
 * what is damaged is named. */
#include "test.h"

#include "base64_private.h"
#include "list_private.h"
#include "manifest_private.h"

#include "cistern/alloc.h"

#include <string.h>

static void encode_sample(struct text *text)
{
    struct cistern_error error;
    json_t *body = json_object();
    assert_int_equal(record_put_u64(body, "number", UINT64_MAX), 0);
    assert_int_equal(record_put_u64(body, "small", 7), 0);
    assert_int_equal(record_put_text(body, "name", "w\xc3\xb6rter"), 0);
    assert_ok(frame_encode("job", body, text, &error), error);
    json_decref(body);
}

static void test_record_round_trip(void **state)
{
    (void)state;
    static const char *const keys[] = {"number", "small", "name", NULL};
    struct cistern_error error;
    struct text text = {0};
    frame_use_allocator();
    uint64_t held = cistern_allocation_count();
    encode_sample(&text);
    json_t *body;
    struct frame_header header;
    assert_ok(frame_decode("JOB", "job", (struct cistern_span){text.data, text.bytes}, &header,
                  &body, &error),
        error);
    struct record record;
    record_open(&record, body, keys, "JOB", header.header_bytes, &error);
    assert_true(record_u64(&record, "number", UINT64_MAX) == UINT64_MAX);
    assert_int_equal(record_u32(&record, "small", 10), 7);
    assert_string_equal(record_text(&record, "name", 20), "w\xc3\xb6rter");
    assert_int_equal(record.status, CISTERN_OK);
    assert_int_equal(record_u32(&record, "small", 6), 0);
    assert_int_equal(record.status, CISTERN_CORRUPT);
    json_decref(body);
    text_release(&text);
    assert_int_equal(cistern_allocation_count(), held);
}

static void test_every_bit_counts(void **state)
{
    (void)state;
    struct cistern_error error;
    struct text text = {0};
    encode_sample(&text);
    for (uint64_t bit = 0; bit < 8 * text.bytes; bit++) {
        json_t *body;
        text.data[bit / 8] = (char)(text.data[bit / 8] ^ (1 << (bit % 8)));
        uint32_t status = frame_decode(
            "JOB", "job", (struct cistern_span){text.data, text.bytes}, NULL, &body, &error);
        assert_true(status == CISTERN_CORRUPT || status == CISTERN_UNSUPPORTED);
        assert_true(error.file_offset <= text.bytes);
        assert_string_equal(error.object, "JOB");
        text.data[bit / 8] = (char)(text.data[bit / 8] ^ (1 << (bit % 8)));
    }
    for (uint64_t bytes = 0; bytes < text.bytes; bytes++) {
        json_t *body;
        assert_status(frame_decode("JOB", "job", (struct cistern_span){text.data, bytes}, NULL,
                          &body, &error),
            CISTERN_CORRUPT);
    }
    text_release(&text);
}

static void decode_text(const char *json, uint32_t expected)
{
    struct cistern_error error;
    json_t *value = NULL;
    assert_status(
        frame_json_parse("x", 100, (struct cistern_span){json, strlen(json)}, &value, &error),
        expected);
    if (expected == CISTERN_OK) {
        json_decref(value);
    } else {
        assert_true(error.file_offset >= 100 && error.file_offset <= 100 + strlen(json));
    }
}

static void test_limits_of_json(void **state)
{
    (void)state;
    char deep[64] = {0};
    memset(deep, '[', FRAME_DEPTH_MAX);
    memset(deep + FRAME_DEPTH_MAX, ']', FRAME_DEPTH_MAX);
    decode_text(deep, CISTERN_OK);
    memset(deep, '[', FRAME_DEPTH_MAX + 1);
    memset(deep + FRAME_DEPTH_MAX + 1, ']', FRAME_DEPTH_MAX + 1);
    decode_text(deep, CISTERN_CORRUPT);
    char *text = calloc(1, FRAME_STRING_BYTES_MAX + 16);
    text[0] = '[';
    text[1] = '"';
    memset(text + 2, 'a', FRAME_STRING_BYTES_MAX);
    memcpy(text + 2 + FRAME_STRING_BYTES_MAX, "\"]", 3);
    decode_text(text, CISTERN_OK);
    memcpy(text + 2 + FRAME_STRING_BYTES_MAX, "a\"]", 4);
    decode_text(text, CISTERN_CORRUPT);
    free(text);
    decode_text("{\"a\":1,\"a\":2}", CISTERN_CORRUPT);
    decode_text("{\"a\":1} ", CISTERN_OK);
    decode_text("{\"a\":1}x", CISTERN_CORRUPT);
    decode_text("\"\xff\"", CISTERN_CORRUPT);
}

static void test_unknown_key_and_version(void **state)
{
    (void)state;
    static const char *const keys[] = {"known", NULL};
    struct cistern_error error;
    json_t *body = json_pack("{s:i, s:i}", "known", 1, "x_later", 2);
    struct record record;
    record_open(&record, body, keys, "M", 5, &error);
    assert_int_equal(record.status, CISTERN_OK);
    json_object_set_new(body, "later", json_integer(3));
    record_open(&record, body, keys, "M", 5, &error);
    assert_int_equal(record.status, CISTERN_UNSUPPORTED);
    assert_non_null(strstr(error.message, "later"));
    json_decref(body);
    struct text text = {0};
    encode_sample(&text);
    *strstr(text.data, "v1") = 'v';
    strstr(text.data, "v1")[1] = '2';
    assert_status(frame_decode("JOB", "job", (struct cistern_span){text.data, text.bytes}, NULL,
                      &body, &error),
        CISTERN_UNSUPPORTED);
    assert_non_null(strstr(error.message, "version 2"));
    assert_non_null(strstr(error.message, "version 1"));
    text_release(&text);
}

static void test_names_have_one_spelling(void **state)
{
    (void)state;
    static const char *const wrong[] = {"data/e003/w0001/000017.sst",
        "data/e0003/w0001/000017.sst/", "/data/e0003/w0001/000017.sst",
        "data/e0003/../w0001/000017.sst", "data/e0003/w0001/00001G.sst",
        "data/e0003/w0001/000017.exe", "data/E0003/w0001/000017.sst", "data/e0003/w0001/000000.sst",
        "data/e0003/w0001/ 00017.sst", "data/e0003/w0001/-00017.sst", "data/e0003/w0001/0x0017.sst",
        ""};
    struct data_name name;
    char text[NAME_BYTES_MAX];
    assert_true(data_name_parse("data/e0003/w0001/000017.sst", &name));
    assert_true(
        name.epoch == 3 && name.writer == 1 && name.sequence == 0x17 && name.kind == DATA_SST);
    for (uint32_t index = 0; index < sizeof wrong / sizeof *wrong; index++) {
        assert_false(data_name_parse(wrong[index], &name));
    }
    struct data_name large = {UINT64_MAX, UINT64_MAX, UINT32_MAX, DATA_LIST};
    data_name_format(text, &large);
    assert_true(data_name_parse(text, &name));
    assert_int_equal(data_name_compare(&name, &large), 0);
    struct checkpoint_name checkpoint;
    assert_true(checkpoint_name_parse("0000000042-e0003", &checkpoint));
    assert_false(checkpoint_name_parse("42-e0003", &checkpoint));
    assert_false(checkpoint_name_parse("0000000042-e0003~", &checkpoint));
    uint64_t number;
    assert_true(log_name_parse("0000000058", &number) && number == 58);
    assert_false(log_name_parse("FLOOR", &number));
    assert_false(log_name_parse("58", &number));
    assert_false(restore_name_valid(".."));
    assert_false(restore_name_valid("a/b"));
    assert_true(restore_name_valid("OPTIONS-000007"));
}

static void test_base64(void **state)
{
    (void)state;
    uint8_t data[200];
    uint8_t back[300];
    char text[300];
    uint64_t seed = test_seed("frame_test", 1);
    for (uint64_t bytes = 0; bytes < sizeof data; bytes++) {
        for (uint64_t index = 0; index < bytes; index++) {
            data[index] = (uint8_t)(test_random(&seed) >> 32);
        }
        uint64_t back_bytes;
        base64_encode(text, data, bytes);
        assert_true(base64_decode(text, strlen(text), back, &back_bytes));
        assert_int_equal(back_bytes, bytes);
        assert_memory_equal(back, data, bytes);
    }
    assert_false(base64_decode("QQ=", 3, back, &(uint64_t){0}));
    assert_false(base64_decode("QR==", 4, back, &(uint64_t){0}));
    assert_false(base64_decode("QQ==QQ==", 8, back, &(uint64_t){0}));
}

/* ---- lists ---- */
#define LISTS 3
struct files {
    struct list_ref refs[LISTS];
    char *data[LISTS];
};

static uint32_t read_file(void *arg, const char *name, uint64_t offset, struct cistern_bytes into,
    uint64_t *ret_bytes, struct cistern_error *error)
{
    struct files *files = arg;
    char own[NAME_BYTES_MAX];
    (void)error;
    for (uint32_t index = 0; index < LISTS; index++) {
        data_name_format(own, &files->refs[index].name);
        if (strcmp(own, name) == 0) {
            uint64_t left = files->refs[index].bytes - offset;
            *ret_bytes = left < into.capacity_bytes ? left : into.capacity_bytes;
            memcpy(into.data, files->data[index] + offset, *ret_bytes);
            return CISTERN_OK;
        }
    }
    fail();
    return CISTERN_NOT_FOUND;
}

static struct part *make_part(uint64_t sequence)
{
    char local[32];
    snprintf(local, sizeof local, "%06llu.sst", (unsigned long long)sequence);
    struct part *part = part_create(local);
    if (part == NULL) {
        return NULL;
    }
    part->name = (struct data_name){3, sequence, 1, DATA_SST};
    part->bytes = 1000 + sequence;
    part->role = CISTERN_ROLE_SST;
    part->range = (struct cistern_key_group_range){0, 127};
    memset(part->origin, (int)sequence, sizeof part->origin);
    part->hash = cistern_hash128(&sequence, sizeof sequence);
    return part;
}

static void add_list(struct files *files, uint32_t index, const struct part_list *before,
    const struct part_list *after)
{
    struct cistern_error error;
    struct list_encoder encoder;
    struct list_ref *ref = &files->refs[index];
    ref->name = (struct data_name){3, 100000 + index, 1, DATA_LIST};
    ref->is_delta = before != NULL;
    assert_ok(list_encoder_begin(&encoder, before, after, &ref->bytes, &ref->hash, &error), error);
    files->data[index] = malloc(ref->bytes);
    uint64_t at = 0;
    uint64_t bytes;
    while ((bytes = list_encoder_take(&encoder, (struct cistern_bytes){files->data[index] + at,
                                                    ref->bytes - at < 37 ? ref->bytes - at : 37})) >
           0) {
        at += bytes;
    }
    assert_int_equal(at, ref->bytes);
    struct cistern_hash128 hash = cistern_hash128(files->data[index], at);
    assert_true(cistern_hash128_equal(&hash, &ref->hash));
}

/* Base 1..200, then a delta that removes every third and adds 201..210, then one that removes
 * 205. */
static void make_lists(struct files *files, struct part_list lists[LISTS])
{
    for (uint32_t generation = 0; generation < LISTS; generation++) {
        for (uint64_t sequence = 1; sequence <= (generation == 0 ? 200 : 210); sequence++) {
            int gone =
                (generation > 0 && sequence % 3 == 0) || (generation == 2 && sequence == 205);
            if (!gone) {
                assert_int_equal(
                    part_list_add(&lists[generation], make_part(sequence)), CISTERN_OK);
            }
        }
        add_list(
            files, generation, generation == 0 ? NULL : &lists[generation - 1], &lists[generation]);
    }
}

static uint32_t read_merged(
    struct files *files, const struct part_list *expected, struct cistern_error *error)
{
    struct list_merge *merge;
    uint32_t status = list_merge_open(read_file, files, files->refs, LISTS, &merge, error);
    uint32_t count = 0;
    while (status == CISTERN_OK) {
        struct part *part;
        status = list_merge_next(merge, &part, error);
        if (status == CISTERN_OK && part == NULL) {
            assert_int_equal(count, expected->count);
            break;
        }
        if (status == CISTERN_OK) {
            if (count < expected->count) {
                const struct part *want = expected->parts[count];
                count++;
                if (data_name_compare(&want->name, &part->name) != 0 ||
                    want->bytes != part->bytes ||
                    strcmp(want->restore_name, part->restore_name) != 0) {
                    /* a damaged list may say so before its end is reached */
                    status = CISTERN_MISMATCH;
                }
            }
            part_drop(part, NULL);
        }
        if (status != CISTERN_OK) {
            list_merge_close(merge);
            return status;
        }
    }
    if (status == CISTERN_OK) {
        list_merge_close(merge);
    }
    return status;
}

static void test_lists_merge(void **state)
{
    (void)state;
    struct cistern_error error;
    struct files files = {0};
    struct part_list lists[LISTS] = {{0}};
    uint64_t held = cistern_allocation_count();
    make_lists(&files, lists);
    assert_ok(read_merged(&files, &lists[2], &error), error);
    for (uint64_t nth = 1;; nth++) { /* every allocation of a merge fails once */
        cistern_allocation_fail_at(nth);
        uint32_t status = read_merged(&files, &lists[2], &error);
        if (!cistern_allocation_failed()) {
            break;
        }
        if (status != CISTERN_OK) { /* a few allocations of jansson's tables are optional */
            assert_status(status, CISTERN_NO_MEMORY);
        }
        nth += nth / 16;
    }
    cistern_allocation_fail_at(0);
    uint64_t seed = test_seed("frame_test", 2);
    for (uint32_t round = 0; round < 300; round++) {
        uint32_t index = (uint32_t)(test_random(&seed) % LISTS);
        uint64_t at = test_random(&seed) % files.refs[index].bytes;
        char bit = (char)(1 << (test_random(&seed) % 8));
        files.data[index][at] = (char)(files.data[index][at] ^ bit);
        assert_int_not_equal(read_merged(&files, &lists[2], &error), CISTERN_OK);
        files.data[index][at] = (char)(files.data[index][at] ^ bit);
    }
    for (uint32_t index = 0; index < LISTS; index++) {
        part_list_release(&lists[index], NULL);
        free(files.data[index]);
    }
    assert_int_equal(cistern_allocation_count(), held);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record_round_trip),
        cmocka_unit_test(test_every_bit_counts),
        cmocka_unit_test(test_limits_of_json),
        cmocka_unit_test(test_unknown_key_and_version),
        cmocka_unit_test(test_names_have_one_spelling),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_lists_merge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
