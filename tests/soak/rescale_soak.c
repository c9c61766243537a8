/*
 * rescale_soak.c -- DECISIONS section 3, test 9: entries in a chain of 16 checkpoints go from 1
 * slot to 3, to 7, to 2, at maximum parallelism 32,768, each slot with 1.3 times what it holds.
 * After each step every entry is compared with the model, and each slot may have read 1.2 times its
 * share of the bytes and a block per file. Besides: the same from a canonical savepoint.
 *
 *   rescale_soak [ENTRIES]    default 20000000, which takes some 4 GiB and minutes
 */
#include "soak/soak_check.h"
#include "support/capture.h"

#include "cistern/endian.h"
#include "cistern/heap.h"
#include "cistern/seg.h"

#include <string.h>

#define GROUPS 32768u
#define KEY_BYTES 16u
#define VALUE_BYTES 32u
#define CHAIN 16u /* a base and 15 increments: one more and the heap store begins a new base */
#define SLOTS_MAX 7u
#define BATCH 256u
#define FIXED_BYTES (24ull << 20) /* least segments, index and reserves of a small slot */

static uint64_t entry_count;
static uint8_t *versions; /* the model: an entry's value follows from its number and this */
static struct cistern_error error;

static void key_write(uint64_t number, uint8_t key[KEY_BYTES])
{
    cistern_put_u64_be(key, number * 0x9E3779B97F4A7C15u);
    cistern_put_u64_be(key + 8, number);
}

static void value_write(uint64_t number, uint8_t value[VALUE_BYTES])
{
    for (uint32_t i = 0; i < VALUE_BYTES; i += 8) {
        cistern_put_u64_be(value + i, (number * 31 + versions[number]) * 0xD6E8FEB86659FD93u + i);
    }
}

static uint32_t group_of(const uint8_t key[KEY_BYTES])
{
    return cistern_key_group_bytes((struct cistern_span){key, KEY_BYTES}, GROUPS);
}

static struct cistern_state *state_register(struct cistern_backend *backend)
{
    struct cistern_state_descriptor descriptor = {.name = "entries",
        .kind = CISTERN_VALUE,
        .key_bytes = KEY_BYTES,
        .value_bytes = VALUE_BYTES};
    struct cistern_state *state;
    CHECK_OK(cistern_state_register(backend, &descriptor, &state, &error), error);
    return state;
}

struct batch {
    struct cistern_address addresses[BATCH];
    struct cistern_span values[BATCH];
    uint8_t keys[BATCH][KEY_BYTES];
    uint8_t bytes[BATCH][VALUE_BYTES];
    uint32_t count;
};

static void batch_add(struct batch *batch, uint64_t number)
{
    uint32_t i = batch->count++;
    key_write(number, batch->keys[i]);
    value_write(number, batch->bytes[i]);
    batch->addresses[i] = (struct cistern_address){
        .key = {batch->keys[i], KEY_BYTES}, .key_group = group_of(batch->keys[i])};
    batch->values[i] = (struct cistern_span){batch->bytes[i], VALUE_BYTES};
}

static void batch_put(struct batch *batch, struct cistern_state *state)
{
    uint32_t done;
    CHECK_OK(
        cistern_value_put_many(state, batch->addresses, batch->values, batch->count, &done, &error),
        error);
    batch->count = 0;
}

static void batch_compare(struct batch *batch, struct cistern_state *state)
{
    struct cistern_span got[BATCH];
    CHECK_OK(cistern_value_get_many(state, batch->addresses, batch->count, got, &error), error);
    for (uint32_t i = 0; i < batch->count; i++) {
        CHECK(got[i].bytes == VALUE_BYTES && memcmp(got[i].data, batch->bytes[i], VALUE_BYTES) == 0,
            "entry %llu is not as it was",
            (unsigned long long)cistern_get_u64_be(batch->keys[i] + 8));
    }
    batch->count = 0;
}

/* ---- a slot ---- */

struct slot {
    struct cistern_pool *pool;
    struct cistern_slot *slot;
    struct cistern_backend *backend;
};

static void slot_open(struct slot *one, uint64_t limit_bytes, struct cistern_key_group_range range)
{
    struct cistern_pool_options pool = {
        .budget_bytes = limit_bytes + limit_bytes / 8 + (32u << 20), .slot_count_max = 1};
    struct cistern_slot_options slot = {.limit_bytes = limit_bytes};
    struct cistern_heap_options heap = {
        .backend = {.max_parallelism = GROUPS, .range = range, .value_bytes_max = 4096}};
    CHECK_OK(cistern_pool_create(&pool, &one->pool, &error), error);
    CHECK_OK(cistern_slot_open(one->pool, &slot, &one->slot, &error), error);
    CHECK_OK(cistern_heap_open(one->slot, &heap, &one->backend, &error), error);
}

static void slot_close(struct slot *one)
{
    CHECK_OK(cistern_backend_close(one->backend, &error), error);
    CHECK_OK(cistern_slot_close(one->slot, &error), error);
    CHECK_OK(cistern_pool_destroy(one->pool, &error), error);
}

static struct capture *slot_capture(
    struct slot *one, uint64_t id, uint32_t kind, const struct capture *base)
{
    struct cistern_snapshot *snapshot;
    struct cistern_snapshot_request request = {.checkpoint_id = id,
        .base_checkpoint_id = kind == CISTERN_SNAPSHOT_INCREMENT ? id - 1 : 0,
        .kind = kind};
    CHECK_OK(cistern_snapshot_begin(one->backend, &request, &snapshot, &error), error);
    struct capture *capture =
        capture_take(snapshot, kind == CISTERN_SNAPSHOT_CANONICAL ? "canonical" : "heap", base);
    cistern_backend_notify(one->backend, id, CISTERN_CONFIRMED);
    return capture;
}

/* ---- a source that counts what is read of it ---- */

struct counting {
    struct cistern_source inner;
    uint64_t read_bytes;
};

static uint32_t counting_next(
    void *arg, struct cistern_part *ret_part, struct cistern_error *detail)
{
    struct counting *counting = arg;
    return counting->inner.next(counting->inner.arg, ret_part, detail);
}

static uint32_t counting_read(void *arg, uint64_t offset, struct cistern_bytes into,
    uint64_t *ret_bytes, struct cistern_error *detail)
{
    struct counting *counting = arg;
    uint32_t status = counting->inner.read(counting->inner.arg, offset, into, ret_bytes, detail);
    counting->read_bytes += status == CISTERN_OK ? *ret_bytes : 0;
    return status;
}

static const char *counting_describe(void *arg)
{
    struct counting *counting = arg;
    return counting->inner.describe(counting->inner.arg);
}

/* ---- the way ---- */

struct step { /* checkpoints of one parallelism: one per slot */
    struct capture *captures[SLOTS_MAX];
    uint32_t count;
};

static void step_free(struct step *step)
{
    for (uint32_t i = 0; i < step->count; i++) {
        capture_free(step->captures[i]);
    }
}

static void slot_restore(struct slot *one, struct step *from, struct cistern_key_group_range range)
{
    struct counting counting = {.inner = capture_source(from->captures, from->count)};
    struct cistern_source source = counting.inner;
    source.arg = &counting;
    source.next = counting_next;
    source.read = counting_read;
    source.describe = counting_describe;
    int64_t start_ns = cistern_now_ns();
    CHECK_OK(cistern_backend_restore(one->backend, &source, &error), error);
    double seconds = seconds_since(start_ns);
    capture_source_close(&counting.inner);
    uint64_t bytes = 0;
    uint64_t files = 0;
    for (uint32_t i = 0; i < from->count; i++) {
        for (uint32_t p = 0; p < from->captures[i]->part_count; p++, files++) {
            bytes += from->captures[i]->parts[p].part.bytes;
        }
    }
    double share = (double)bytes * (range.last - range.first + 1) / GROUPS;
    double most = 1.2 * share + (double)files * CISTERN_SEG_BLOCK_BYTES_MAX;
    printf("  groups %u to %u: read %.1f MB in %.2f s, its share is %.1f MB of %llu files\n",
        range.first, range.last, (double)counting.read_bytes / 1e6, seconds, share / 1e6,
        (unsigned long long)files);
    CHECK((double)counting.read_bytes <= most, "%llu bytes read, at most %.0f",
        (unsigned long long)counting.read_bytes, most);
    CHECK(cistern_slot_used_bytes(one->slot) <= cistern_slot_share_bytes(one->slot),
        "the slot holds more than its limit");
}

static void slot_compare(struct slot *one, struct cistern_key_group_range range)
{
    struct cistern_state *state = state_register(one->backend);
    static struct batch batch;
    uint64_t expected = 0;
    for (uint64_t number = 0; number < entry_count; number++) {
        uint8_t key[KEY_BYTES];
        key_write(number, key);
        uint32_t group = group_of(key);
        if (group >= range.first && group <= range.last) {
            expected++;
            batch_add(&batch, number);
            if (batch.count == BATCH) {
                batch_compare(&batch, state);
            }
        }
    }
    batch_compare(&batch, state);
    struct cistern_state_info info;
    uint32_t count;
    CHECK_OK(cistern_backend_states(one->backend, &info, 1, &count, &error), error);
    CHECK(info.entries == expected, "%llu entries, expected %llu", (unsigned long long)info.entries,
        (unsigned long long)expected);
}

static struct step rescale(
    struct step *from, uint32_t parallelism, uint64_t live_bytes, uint32_t kind)
{
    struct step to = {.count = parallelism};
    printf("%u -> %u slots\n", from->count, parallelism);
    for (uint32_t i = 0; i < parallelism; i++) {
        struct slot one;
        struct cistern_key_group_range range = cistern_key_group_range_of(i, GROUPS, parallelism);
        slot_open(&one, live_bytes * 13 / 10 / parallelism + FIXED_BYTES, range);
        slot_restore(&one, from, range);
        slot_compare(&one, range);
        to.captures[i] = slot_capture(&one, 1000 + parallelism, kind, NULL);
        slot_close(&one);
    }
    return to;
}

/* A base and increments: 1 % changes before each. */
static struct capture *chain_make(struct slot *one)
{
    struct cistern_state *state = state_register(one->backend);
    static struct batch batch;
    struct capture *base = NULL;
    uint64_t random = 9;
    for (uint64_t number = 0; number < entry_count; number++) {
        batch_add(&batch, number);
        if (batch.count == BATCH || number + 1 == entry_count) {
            batch_put(&batch, state);
        }
    }
    for (uint64_t id = 1; id <= CHAIN; id++) {
        uint32_t kind = id == 1 ? CISTERN_SNAPSHOT_FULL : CISTERN_SNAPSHOT_INCREMENT;
        struct capture *capture = slot_capture(one, id, kind, base);
        capture_free(base);
        base = capture;
        for (uint64_t i = 0; i < entry_count / 100 && id < CHAIN; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            uint64_t number = (random >> 20) % entry_count;
            versions[number]++;
            batch_add(&batch, number);
            if (batch.count == BATCH || i + 1 == entry_count / 100) {
                batch_put(&batch, state);
            }
        }
    }
    return base;
}

int main(int argc, char **argv)
{
    static const uint32_t way[] = {3, 7, 2, 1};
    struct cistern_key_group_range all = {0, GROUPS - 1};
    struct slot first;
    entry_count = argc > 1 ? strtoull(argv[1], NULL, 10) : 20000000;
    versions = calloc(entry_count, 1);
    CHECK(entry_count >= 1000 && versions != NULL, "usage: rescale_soak [ENTRIES, at least 1000]");
    slot_open(&first, entry_count * 110 + (64u << 20), all);
    struct step step = {.captures = {chain_make(&first)}, .count = 1};
    struct cistern_heap_statistics statistics;
    cistern_heap_statistics(first.backend, &statistics);
    uint64_t live_bytes = statistics.live_bytes + statistics.index_bytes;
    struct step savepoint = {
        .captures = {slot_capture(&first, CHAIN + 1, CISTERN_SNAPSHOT_CANONICAL, NULL)},
        .count = 1};
    slot_close(&first);
    for (uint32_t i = 0; i < sizeof way / sizeof way[0]; i++) {
        struct step next = rescale(&step, way[i], live_bytes,
            i % 2 == 0 ? CISTERN_SNAPSHOT_FULL : CISTERN_SNAPSHOT_CANONICAL);
        step_free(&step);
        step = next;
    }
    step_free(&step);
    struct step last = rescale(&savepoint, 3, live_bytes, CISTERN_SNAPSHOT_FULL);
    step_free(&last);
    step_free(&savepoint);
    free(versions);
    printf("ok: %llu entries\n", (unsigned long long)entry_count);
    return 0;
}
