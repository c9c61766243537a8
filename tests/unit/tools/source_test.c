/*
 * source_test.c -- the reader: every word once, in the worker that owns its key group, and a
 * barrier's position splits the input
 * exactly: what lies before it was counted before it, and reading on from it yields the rest.
 */
#include "test.h"

#include "cistern/alloc.h"
#include "cistern/hash.h"
#include "source.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define WORKERS 2u
#define MAX_PARALLELISM 128u

struct rig {
    char directory[64];
    struct input_list inputs;
    struct mail mail;
    struct inbox inboxes[WORKERS];
    struct inbox *pointers[WORKERS];
    struct source source;
    uint64_t sum; /* of the words' hashes: order does not matter, multiplicity does */
    uint64_t words;
    struct position position; /* of the barrier, or of the end */
    uint32_t barriers;
    /* a worker that stands there waits: nothing behind the barrier is counted */
    uint32_t at_barrier[WORKERS];
    uint32_t ends;
    uint32_t barrier_sent;
    uint32_t source_done;
    uint32_t source_left;
    struct cistern_error error;
};

static int separates(uint8_t c)
{
    return c == ' ' || (c >= 9 && c <= 13);
}

static void model(const uint8_t *text, uint64_t bytes, uint64_t *sum, uint64_t *words)
{
    for (uint64_t at = 0; at < bytes;) {
        for (; at < bytes && separates(text[at]); at++) {
        }
        uint64_t start = at;
        for (; at < bytes && !separates(text[at]); at++) {
        }
        if (at > start) {
            *sum += cistern_hash64(text + start, at - start);
            ++*words;
        }
    }
}

static void file_write(struct rig *rig, const char *name, const uint8_t *text, uint64_t bytes)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", rig->directory, name);
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, bytes), (ssize_t)bytes);
    close(fd);
}

static void rig_open(struct rig *rig)
{
    memset(rig, 0, sizeof *rig);
    snprintf(rig->directory, sizeof rig->directory, "/tmp/cistern-source-XXXXXX");
    assert_non_null(mkdtemp(rig->directory));
}

static void rig_close(struct rig *rig)
{
    for (uint32_t i = 0; i < rig->inputs.count; i++) {
        unlink(rig->inputs.files[i].path);
    }
    rmdir(rig->directory);
    input_list_deinit(&rig->inputs);
}

static void drain(struct rig *rig, uint32_t worker)
{
    uint32_t closed;
    if (rig->at_barrier[worker]) {
        return;
    }
    for (struct batch *batch = inbox_peek(&rig->inboxes[worker], 0, &closed); batch != NULL;
         batch = inbox_peek(&rig->inboxes[worker], 0, &closed)) {
        const uint8_t *word = batch->words;
        for (uint32_t i = 0; batch->kind == BATCH_RECORDS && i < batch->count; i++) {
            struct cistern_span key = {word, batch->lengths[i]};
            uint32_t group = cistern_key_group_bytes(key, MAX_PARALLELISM);
            assert_int_equal(group, batch->groups[i]);
            assert_int_equal(cistern_key_group_owner(group, MAX_PARALLELISM, WORKERS), worker);
            rig->sum += cistern_hash64(key.data, key.bytes);
            rig->words++;
            word += key.bytes;
        }
        rig->barriers += batch->kind == BATCH_BARRIER;
        rig->ends += batch->kind == BATCH_END;
        uint32_t kind = batch->kind;
        inbox_pop(&rig->inboxes[worker]);
        if (kind == BATCH_BARRIER) {
            rig->at_barrier[worker] = 1;
            return;
        }
    }
}

static void mail_read(struct rig *rig)
{
    struct message message;
    while (mail_take(&rig->mail, &message)) {
        if (message.kind == MESSAGE_BARRIER_SENT ||
            (message.kind == MESSAGE_SOURCE_DONE && !rig->barrier_sent)) {
            rig->position = message.position;
        }
        rig->barrier_sent |= message.kind == MESSAGE_BARRIER_SENT;
        rig->source_done |= message.kind == MESSAGE_SOURCE_DONE;
        if (message.kind == MESSAGE_SOURCE_LEFT) {
            rig->source_left = 1;
            rig->error = message.error;
        }
    }
}

/* Reads from `start` to the end; with barrier_after > 0 a barrier is asked for when so many
 * words were seen, and the run ends there. */
static void rig_run(struct rig *rig, struct position start, uint64_t barrier_after)
{
    rig->sum = rig->words = 0;
    memset(rig->at_barrier, 0, sizeof rig->at_barrier);
    rig->barrier_sent = rig->barriers = rig->ends = rig->source_done = rig->source_left = 0;
    assert_ok(mail_init(&rig->mail, 64, &rig->error), rig->error);
    for (uint32_t i = 0; i < WORKERS; i++) {
        assert_ok(inbox_init(&rig->inboxes[i], &rig->error), rig->error);
        rig->pointers[i] = &rig->inboxes[i];
    }
    struct source_options options = {.inputs = &rig->inputs,
        .start = start,
        .inboxes = rig->pointers,
        .worker_count = WORKERS,
        .max_parallelism = MAX_PARALLELISM,
        .mail = &rig->mail};
    assert_ok(source_init(&rig->source, WORKERS, &rig->error), rig->error);
    assert_ok(source_start(&rig->source, &options, &rig->error), rig->error);
    uint32_t asked = 0, finishing = 0;
    while (!rig->source_left) {
        drain(rig, 0);
        drain(rig, 1);
        mail_read(rig);
        if (barrier_after > 0 && !asked && rig->words >= barrier_after) {
            struct barrier barrier = {.checkpoint_id = 1};
            source_barrier(&rig->source, &barrier);
            asked = 1;
        }
        if (!finishing && (rig->source_done || rig->barriers == WORKERS) &&
            (barrier_after == 0 || rig->barriers == WORKERS)) {
            finishing = 1;
            barrier_after > 0 ? source_abort(&rig->source) : source_finish(&rig->source);
            if (barrier_after > 0) {
                inbox_close(&rig->inboxes[0]);
                inbox_close(&rig->inboxes[1]);
            }
        }
    }
    drain(rig, 0);
    drain(rig, 1);
    source_join(&rig->source);
    source_deinit(&rig->source);
    for (uint32_t i = 0; i < WORKERS; i++) {
        inbox_deinit(&rig->inboxes[i]);
    }
    mail_deinit(&rig->mail);
}

static void inputs_find(struct rig *rig)
{
    assert_ok(input_list_add(&rig->inputs, rig->directory, &rig->error), rig->error);
}

static uint8_t *text_make(uint64_t bytes, uint64_t density, uint64_t *seed)
{
    uint8_t *text = malloc(bytes);
    for (uint64_t i = 0; i < bytes; i++) {
        uint64_t random = test_random(seed) >> 16;
        text[i] = random % density == 0 ? (uint8_t)(9 + random % 5) : (uint8_t)(random >> 24);
    }
    return text;
}

static void every_word_once(void **state)
{
    (void)state;
    uint64_t seed = test_seed("tools_source_test", 11) | 1, sum = 0, words = 0;
    struct rig rig;
    rig_open(&rig);
    for (unsigned i = 0; i < 4; i++) {
        uint64_t bytes = i == 1 ? 0 : 700000 + i;
        uint8_t *text = text_make(bytes + 1, i == 2 ? 20000 : 6, &seed);
        char name[8] = {'f', (char)('0' + i), 0};
        file_write(&rig, name, text, bytes);
        model(text, bytes, &sum, &words);
        free(text);
    }
    inputs_find(&rig);
    assert_int_equal(rig.inputs.count, 4);
    rig_run(&rig, (struct position){0}, 0);
    assert_int_equal(rig.error.status, CISTERN_OK);
    assert_int_equal(rig.ends, WORKERS);
    assert_int_equal(rig.words, words);
    assert_true(rig.sum == sum);
    assert_int_equal(rig.position.file_index, 4);
    assert_int_equal(rig.position.records, words);
    rig_close(&rig);
}

static void a_barrier_splits_exactly(void **state)
{
    (void)state;
    uint64_t seed = test_seed("tools_source_test", 12) | 1;
    for (unsigned round = 0; round < 20; round++) {
        uint64_t sum = 0, words = 0;
        struct rig rig;
        rig_open(&rig);
        for (unsigned i = 0; i < 3; i++) {
            uint64_t bytes = 200000 + test_random(&seed) % 400000;
            uint8_t *text = text_make(bytes, 4 + round * 3, &seed);
            char name[8] = {'f', (char)('0' + i), 0};
            file_write(&rig, name, text, bytes);
            model(text, bytes, &sum, &words);
            free(text);
        }
        inputs_find(&rig);
        rig_run(&rig, (struct position){0}, 1 + test_random(&seed) % (words / 2));
        uint64_t first_sum = rig.sum, first_words = rig.words;
        assert_int_equal(rig.position.records, first_words);
        rig_run(&rig, rig.position, 0);
        assert_int_equal(first_words + rig.words, words);
        assert_true(first_sum + rig.sum == sum);
        assert_int_equal(rig.position.records, words);
        rig_close(&rig);
    }
}

static void longest_word_fits_and_a_longer_one_is_named(void **state)
{
    (void)state;
    for (uint64_t extra = 0; extra < 2; extra++) {
        struct rig rig;
        rig_open(&rig);
        uint64_t bytes = CISTERN_KEY_BYTES_MAX + extra + 10;
        uint8_t *text = malloc(SOURCE_READ_BYTES + bytes);
        memset(text, ' ', SOURCE_READ_BYTES + bytes);
        memset(text + SOURCE_READ_BYTES - 100, 'w',
            CISTERN_KEY_BYTES_MAX + extra); /* across two reads */
        file_write(&rig, "long", text, SOURCE_READ_BYTES + bytes);
        free(text);
        inputs_find(&rig);
        rig_run(&rig, (struct position){0}, 0);
        if (extra == 0) {
            assert_int_equal(rig.error.status, CISTERN_OK);
            assert_int_equal(rig.words, 1);
        } else {
            assert_int_equal(rig.error.status, CISTERN_INVALID);
            assert_non_null(strstr(rig.error.message, "offset 262044"));
            assert_non_null(strstr(rig.error.object, "long"));
        }
        rig_close(&rig);
    }
}

static void a_position_is_bound_to_its_inputs(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    file_write(&rig, "a", (const uint8_t *)"one", 3);
    file_write(&rig, "b", (const uint8_t *)"two", 3);
    inputs_find(&rig);
    char text[POSITION_TEXT_BYTES_MAX];
    uint64_t bytes;
    struct position position = {.file_index = 1, .offset_bytes = 2, .records = 77}, back;
    assert_ok(position_encode(&position, &rig.inputs, text, &bytes, &rig.error), rig.error);
    struct cistern_span span = {text, bytes};
    assert_ok(position_decode(span, &rig.inputs, &back, &rig.error), rig.error);
    assert_int_equal(back.file_index, 1);
    assert_int_equal(back.offset_bytes, 2);
    assert_int_equal(back.records, 77);
    input_list_deinit(&rig.inputs);
    file_write(&rig, "b", (const uint8_t *)"tw0", 3);
    inputs_find(&rig);
    assert_status(position_decode(span, &rig.inputs, &back, &rig.error), CISTERN_MISMATCH);
    assert_string_equal(strrchr(rig.error.object, '/'), "/b");
    file_write(&rig, "c", (const uint8_t *)"3", 1);
    input_list_deinit(&rig.inputs);
    inputs_find(&rig);
    assert_status(position_decode(span, &rig.inputs, &back, &rig.error), CISTERN_MISMATCH);
    assert_non_null(strstr(rig.error.message, "2 input files, there are 3"));
    assert_status(position_decode((struct cistern_span){"{}", 2}, &rig.inputs, &back, &rig.error),
        CISTERN_INVALID);
    assert_status(position_decode((struct cistern_span){NULL, 0}, &rig.inputs, &back, &rig.error),
        CISTERN_INVALID);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_word_once),
        cmocka_unit_test(a_barrier_splits_exactly),
        cmocka_unit_test(longest_word_fits_and_a_longer_one_is_named),
        cmocka_unit_test(a_position_is_bound_to_its_inputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
