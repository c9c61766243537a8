/*
 * increment_soak.c -- DECISIONS section 3, test 4: entries of 16 + 32 bytes in a slot that is 88 %
 * live; a hundred rounds, each of which updates 1 % at random (half with a new size), deletes
 * 0.1 %, puts half of those back, has the cleaner copy 30 % of the segments, and takes an
 * increment. Every tenth round the chain is restored elsewhere and compared with the model.
 *
 * An increment must hold what changed, not what the cleaner moved: 1.3 % of the base and the
 * deletions in a round without a new base, 2.6 % on average over all; same-size updates happen in
 * place.
 *
 *   increment_soak [ENTRIES [ROUNDS]]    default 10000000 and 100: some 6 GiB and an hour
 */
#include "soak/soak_check.h"
#include "support/capture.h"

#include "cistern/endian.h"
#include "heap_private.h"

#include <string.h>

#define KEY_BYTES 16u
#define VALUE_BYTES_MAX 48u
#define BATCH 256u
#define UPDATE_SHARE 100u  /* one in so many */
#define DELETE_SHARE 1000u /* likewise */
#define ALL_64THS 64u      /* the cleaner takes any segment */

struct item {
    uint8_t version;
    uint8_t bytes; /* of the value; 0 = absent */
};
static uint64_t entry_count;
static struct item *items;
static uint64_t random_state = 1;
static struct cistern_error error;

static uint64_t random_below(uint64_t count)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (random_state >> 20) % count;
}

struct batch {
    struct cistern_address addresses[BATCH];
    struct cistern_span values[BATCH];
    uint8_t keys[BATCH][KEY_BYTES];
    uint8_t bytes[BATCH][VALUE_BYTES_MAX];
    uint32_t count;
};

static void batch_add(struct batch *batch, uint64_t number)
{
    uint32_t i = batch->count++;
    cistern_put_u64_be(batch->keys[i], number * 0x9E3779B97F4A7C15u);
    cistern_put_u64_be(batch->keys[i] + 8, number);
    for (uint32_t at = 0; at < VALUE_BYTES_MAX; at += 8) {
        cistern_put_u64_be(
            batch->bytes[i] + at, (number * 31 + items[number].version) * 0xD6E8FEB86659FD93u + at);
    }
    batch->addresses[i] = (struct cistern_address){
        .key = {batch->keys[i], KEY_BYTES}, .key_group = (uint32_t)(number % 128)};
    batch->values[i] = (struct cistern_span){batch->bytes[i], items[number].bytes};
}

static void batch_put(struct batch *batch, struct cistern_state *state)
{
    uint32_t done;
    CHECK_OK(
        cistern_value_put_many(state, batch->addresses, batch->values, batch->count, &done, &error),
        error);
    batch->count = 0;
}

static void batch_remove(struct batch *batch, struct cistern_state *state)
{
    uint32_t done;
    CHECK_OK(
        cistern_value_remove_many(state, batch->addresses, batch->count, &done, &error), error);
    batch->count = 0;
}

static void batch_compare(struct batch *batch, struct cistern_state *state)
{
    struct cistern_span got[BATCH];
    CHECK_OK(cistern_value_get_many(state, batch->addresses, batch->count, got, &error), error);
    for (uint32_t i = 0; i < batch->count; i++) {
        uint64_t number = cistern_get_u64_be(batch->keys[i] + 8);
        uint32_t bytes = items[number].bytes;
        CHECK(bytes == 0
                  ? got[i].data == NULL
                  : got[i].bytes == bytes && memcmp(got[i].data, batch->bytes[i], bytes) == 0,
            "entry %llu is not as it was", (unsigned long long)number);
    }
    batch->count = 0;
}

typedef void (*batch_fn)(struct batch *batch, struct cistern_state *state);

static void batch_all(batch_fn run, struct cistern_state *state)
{
    static struct batch batch;
    for (uint64_t number = 0; number < entry_count; number++) {
        batch_add(&batch, number);
        if (batch.count == BATCH || number + 1 == entry_count) {
            run(&batch, state);
        }
    }
}

/* ---- a slot ---- */

struct store {
    struct cistern_pool *pool;
    struct cistern_slot *slot;
    struct cistern_backend *backend;
    struct cistern_state *state;
};

static void store_open(struct store *store, uint64_t limit_bytes)
{
    struct cistern_pool_options pool = {
        .budget_bytes = limit_bytes + limit_bytes / 8 + (32u << 20), .slot_count_max = 1};
    struct cistern_slot_options slot = {.limit_bytes = limit_bytes};
    struct cistern_heap_options heap = {
        .backend = {.max_parallelism = 128, .range = {0, 127}, .value_bytes_max = 4096}};
    CHECK_OK(cistern_pool_create(&pool, &store->pool, &error), error);
    CHECK_OK(cistern_slot_open(store->pool, &slot, &store->slot, &error), error);
    CHECK_OK(cistern_heap_open(store->slot, &heap, &store->backend, &error), error);
}

static void store_register(struct store *store)
{
    struct cistern_state_descriptor descriptor = {
        .name = "entries", .kind = CISTERN_VALUE, .key_bytes = KEY_BYTES};
    CHECK_OK(cistern_state_register(store->backend, &descriptor, &store->state, &error), error);
}

static void store_close(struct store *store)
{
    CHECK_OK(cistern_backend_close(store->backend, &error), error);
    CHECK_OK(cistern_slot_close(store->slot, &error), error);
    CHECK_OK(cistern_pool_destroy(store->pool, &error), error);
}

static struct capture *store_capture(struct store *store, uint64_t id, const struct capture *base)
{
    struct cistern_snapshot *snapshot;
    struct cistern_snapshot_request request = {
        .checkpoint_id = id, .base_checkpoint_id = id - 1, .kind = CISTERN_SNAPSHOT_INCREMENT};
    CHECK_OK(cistern_snapshot_begin(store->backend, &request, &snapshot, &error), error);
    struct capture *capture = capture_take(snapshot, "heap", base);
    cistern_backend_notify(store->backend, id, CISTERN_CONFIRMED);
    return capture;
}

static void check_restored(struct capture *capture, uint64_t limit_bytes)
{
    struct store store;
    store_open(&store, limit_bytes + limit_bytes / 2);
    struct cistern_source source = capture_source(&capture, 1);
    CHECK_OK(cistern_backend_restore(store.backend, &source, &error), error);
    capture_source_close(&source);
    store_register(&store);
    batch_all(batch_compare, store.state);
    store_close(&store);
}

/* ---- a round ---- */

/* Half of the updates keep their size; returns how many of those there were. */
static uint64_t update_some(struct store *store)
{
    static struct batch batch;
    uint64_t same_size = 0;
    for (uint64_t i = 0; i < entry_count / UPDATE_SHARE; i++) {
        uint64_t number = random_below(entry_count);
        struct item *item = &items[number];
        item->version++;
        if (i % 2 == 0) {
            same_size += item->bytes != 0;
            item->bytes = item->bytes != 0 ? item->bytes : 32;
        } else {
            uint8_t bytes = (uint8_t)(24 + 8 * random_below(3));
            same_size += item->bytes == bytes;
            item->bytes = bytes;
        }
        batch_add(&batch, number);
        batch_put(&batch, store->state); /* one by one: a number may come twice */
    }
    return same_size;
}

static uint64_t delete_some(struct store *store)
{
    static struct batch batch;
    uint64_t count = entry_count / DELETE_SHARE;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t number = random_below(entry_count);
        items[number].bytes = 0;
        batch_add(&batch, number);
        batch_remove(&batch, store->state);
        if (i % 2 == 0) {
            items[number].bytes = 32;
            batch_add(&batch, number);
            batch_put(&batch, store->state);
        }
    }
    return count;
}

static void clean_some(struct store *store)
{
    struct heap *heap = heap_of(store->backend);
    uint64_t bytes = heap->segments.fill_bytes / 10 * 3;
    heap_reap(heap);
    (void)cleaner_run(heap, bytes, ALL_64THS);
}

struct sums {
    uint64_t base_bytes;
    uint64_t increment_bytes;
    uint32_t increments;
    uint32_t bases;
};

static void account(struct sums *sums, const struct capture *capture, uint64_t deleted)
{
    const struct cistern_part *last = &capture->parts[capture->part_count - 1].part;
    if (last->role == CISTERN_ROLE_HEAP_BASE) {
        sums->bases++;
        sums->base_bytes = capture->new_bytes;
    } else {
        uint64_t deletions = deleted * (KEY_BYTES + 8);
        CHECK(capture->new_bytes <= sums->base_bytes * 13 / 1000 + deletions + 65536,
            "an increment of %llu bytes over a base of %llu and %llu deletions",
            (unsigned long long)capture->new_bytes, (unsigned long long)sums->base_bytes,
            (unsigned long long)deleted);
        sums->increments++;
    }
    sums->increment_bytes += capture->new_bytes;
}

int main(int argc, char **argv)
{
    entry_count = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000000;
    uint64_t rounds = argc > 2 ? strtoull(argv[2], NULL, 10) : 100;
    CHECK(entry_count >= 10000 && rounds >= 2,
        "usage: increment_soak [ENTRIES, at least 10000 [ROUNDS, at least 2]]");
    items = calloc(entry_count, sizeof *items);
    CHECK(items != NULL, "no memory for the model");
    for (uint64_t i = 0; i < entry_count; i++) {
        items[i].bytes = 32;
    }
    struct store store;
    /* 64 bytes and the length an entry, 11 of index; 88 % of the rest live */
    uint64_t limit_bytes = entry_count * 72 * 100 / 88 + entry_count * 11 + (4u << 20);
    store_open(&store, limit_bytes);
    store_register(&store);
    batch_all(batch_put, store.state);
    struct capture *capture = store_capture(&store, 1, NULL);
    struct sums sums = {.base_bytes = capture->new_bytes};
    uint64_t same_size = 0;
    struct cistern_heap_statistics before;
    struct cistern_heap_statistics after;
    cistern_heap_statistics(store.backend, &before);
    for (uint64_t round = 1; round <= rounds; round++) {
        same_size += update_some(&store);
        uint64_t deleted = delete_some(&store);
        clean_some(&store);
        struct capture *next = store_capture(&store, round + 1, capture);
        capture_free(capture);
        capture = next;
        account(&sums, capture, deleted);
        if (round % 10 == 0 || round == rounds) {
            check_restored(capture, limit_bytes);
        }
    }
    cistern_heap_statistics(store.backend, &after);
    uint64_t in_place = after.in_place_count - before.in_place_count;
    double mean = (double)sums.increment_bytes / (double)rounds / (double)sums.base_bytes * 100;
    printf("%llu entries, %llu rounds: %.2f %% of the base a round with %u new bases; cleaned %.1f "
           "times the live bytes; %.1f %% of same-size updates in place\n",
        (unsigned long long)entry_count, (unsigned long long)rounds, mean, sums.bases,
        (double)(after.cleaned_bytes - before.cleaned_bytes) / (double)after.live_bytes,
        100.0 * (double)in_place / (double)same_size);
    CHECK(mean <= 2.6 || rounds < 100, "%.2f %% of the base a round", mean);
    CHECK(in_place * 10 >= same_size * 9, "%llu of %llu same-size updates happened in place",
        (unsigned long long)in_place, (unsigned long long)same_size);
    capture_free(capture);
    store_close(&store);
    free(items);
    return 0;
}
