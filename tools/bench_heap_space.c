/*
 * bench_heap_space.c -- the tightest slot in which entries can come and go for as long as one
 * likes: resident bytes over raw ones, and what churning costs there.
 *
 * A step removes a random entry and inserts a new one. Slots are tried from small to large; one
 * that answers LIMIT is too small.
 */
#include "bench_heap.h"
#include "bench_peer.h"

#include "cistern/alloc.h"
#include "cistern/error.h"

#include <string.h>

#define SHARE_FIRST 140u /* hundredths of the raw bytes */
#define SHARE_STEP 5u
#define SHARE_LAST 300u
#define SHARE_LEAST ((uint64_t)24 << 20) /* below it a heap's fixed parts are the question */
#define CHURN_BATCH 64u

struct churn {
    struct bench *bench;
    uint64_t *ids; /* what is there, [entries] */
    uint64_t next_id;
    uint64_t random;
    struct bench_block block; /* [0, CHURN_BATCH): leaves; the next CHURN_BATCH: comes */
    double rate;              /* Mop/s, of steps */
    double share;             /* resident over raw bytes */
    double cleaned_share;     /* bytes copied per byte appended */
};

static void churn_begin(struct churn *churn)
{
    for (uint64_t i = 0; i < churn->bench->entries; i++) {
        churn->ids[i] = i;
    }
    churn->next_id = churn->bench->entries;
    churn->random = 0;
}

/* Chooses a batch; an entry is chosen once. */
static void churn_next(struct churn *churn)
{
    for (uint32_t i = 0; i < CHURN_BATCH; i++) {
        uint64_t random = bench_scatter(++churn->random) >> 32;
        uint64_t *id = &churn->ids[random * churn->bench->entries >> 32];
        bench_key_make(churn->block.keys[i], *id);
        *id = churn->next_id++;
        bench_key_make(churn->block.keys[CHURN_BATCH + i], *id);
        memset(churn->block.values[CHURN_BATCH + i], (int)(*id & 0xFF), BENCH_VALUE_BYTES);
    }
}

static void churn_measured(struct churn *churn, uint64_t rss_bytes, int64_t busy_ns)
{
    uint64_t entries = churn->bench->entries;
    churn->share = (double)(bench_rss_bytes() - rss_bytes) / (double)(entries * BENCH_RAW_BYTES);
    churn->rate = (double)(entries / CHURN_BATCH * CHURN_BATCH) * 1000 / (double)busy_ns;
}

/* One batch goes and another comes. Something may be chosen that came in the same batch: it is not
 * there yet when it is removed, so one entry more stays; the sum of that is below a thousandth. */
static uint32_t churn_step(
    struct bench_heap *heap, const struct bench_block *block, struct cistern_error *error)
{
    struct cistern_address addresses[2 * CHURN_BATCH];
    struct cistern_span values[CHURN_BATCH];
    for (uint32_t i = 0; i < 2 * CHURN_BATCH; i++) {
        addresses[i] = (struct cistern_address){
            .key = {block->keys[i], BENCH_KEY_BYTES}, .key_group = bench_key_group(block->keys[i])};
    }
    for (uint32_t i = 0; i < CHURN_BATCH; i++) {
        values[i] = (struct cistern_span){block->values[CHURN_BATCH + i], BENCH_VALUE_BYTES};
    }
    uint32_t done;
    uint32_t status = cistern_value_remove_many(heap->values, addresses, CHURN_BATCH, &done, error);
    return status == CISTERN_OK ? cistern_value_put_many(heap->values, addresses + CHURN_BATCH,
                                      values, CHURN_BATCH, &done, error)
                                : status;
}

static uint32_t churn_heap(
    struct churn *churn, struct bench_heap *heap, uint64_t rss_bytes, struct cistern_error *error)
{
    int64_t busy_ns = 0;
    uint32_t status = bench_heap_fill(heap, error);
    for (uint64_t i = 0; i < churn->bench->entries / CHURN_BATCH && status == CISTERN_OK; i++) {
        churn_next(churn);
        int64_t begin_ns = bench_cpu_ns();
        status = churn_step(heap, &churn->block, error);
        busy_ns += bench_cpu_ns() - begin_ns;
    }
    churn_measured(churn, rss_bytes, busy_ns);
    struct cistern_heap_statistics statistics;
    cistern_heap_statistics(heap->backend, &statistics);
    churn->cleaned_share =
        (double)statistics.cleaned_bytes /
        (double)(statistics.appended_bytes + 1 - churn->bench->entries * (BENCH_RAW_BYTES + 8));
    return status;
}

/* LIMIT, from opening or from a call: the slot is too small. */
static uint32_t churn_in(struct churn *churn, uint64_t share_bytes, struct cistern_error *error)
{
    const struct bench_heap_options options = {.share_bytes = share_bytes};
    struct bench_heap heap;
    uint64_t rss_bytes = bench_rss_bytes();
    churn_begin(churn);
    uint32_t status = bench_heap_open(churn->bench, &options, &heap, error);
    return status == CISTERN_OK
               ? bench_heap_close(&heap, churn_heap(churn, &heap, rss_bytes, error), error)
               : status;
}

static uint32_t churn_peer(struct churn *churn, uint32_t kind, struct cistern_error *error)
{
    uint64_t rss_bytes = bench_rss_bytes();
    struct peer *peer = peer_create(kind, strcmp(churn->bench->settings->pages, "huge") == 0);
    int done = peer != NULL;
    churn_begin(churn);
    for (uint64_t i = 0; i < churn->bench->entries && done; i++) {
        bench_key_make(churn->block.keys[0], i);
        done = (int)peer_put(peer, churn->block.keys, churn->block.values, 1);
    }
    int64_t busy_ns = 0;
    for (uint64_t i = 0; i < churn->bench->entries / CHURN_BATCH && done; i++) {
        churn_next(churn);
        int64_t begin_ns = bench_cpu_ns();
        peer_remove(peer, churn->block.keys, CHURN_BATCH);
        done = (int)peer_put(
            peer, churn->block.keys + CHURN_BATCH, churn->block.values + CHURN_BATCH, CHURN_BATCH);
        busy_ns += bench_cpu_ns() - begin_ns;
    }
    churn_measured(churn, rss_bytes, busy_ns);
    peer_destroy(peer);
    return done ? CISTERN_OK
                : cistern_fail(error, CISTERN_NO_MEMORY, "peer", "no memory for the peer's table");
}

static uint32_t churn_measure(struct churn *churn, struct cistern_error *error)
{
    struct bench *bench = churn->bench;
    uint64_t raw_bytes = bench->entries * BENCH_RAW_BYTES;
    uint32_t status = CISTERN_LIMIT;
    for (uint64_t hundredths = SHARE_FIRST; hundredths <= SHARE_LAST && status == CISTERN_LIMIT;
         hundredths += SHARE_STEP) {
        uint64_t share_bytes = raw_bytes / 100 * hundredths;
        status = churn_in(churn, share_bytes < SHARE_LEAST ? SHARE_LEAST : share_bytes, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    struct bench_result share = {.name = "churn_bytes_over_raw", .unit = "x"};
    struct bench_result rate = {.name = "churn_in_that", .unit = "Mop/s"};
    double cleaned_share = churn->cleaned_share;
    bench_series_add(&share.ours, churn->share);
    bench_series_add(&rate.ours, churn->rate);
    for (uint32_t i = 0; i < PEER_KIND_COUNT && status == CISTERN_OK; i++) {
        status = churn_peer(churn, i, error);
        share.peer_names[i] = rate.peer_names[i] = peer_name(i);
        bench_series_add(&share.peers[i], churn->share);
        bench_series_add(&rate.peers[i], churn->rate);
    }
    share.peer_count = rate.peer_count = PEER_KIND_COUNT;
    if (status == CISTERN_OK) {
        bench_result_print(bench, &share);
        bench_result_print(bench, &rate);
        bench_value_print(bench, "churn_cleaned_per_appended", "x", cleaned_share);
    }
    return status;
}

uint32_t bench_heap_space(struct bench *bench, struct cistern_error *error)
{
    struct churn *churn = cistern_allocate_zeroed(1, sizeof *churn);
    uint64_t *ids = cistern_allocate_zeroed(bench->entries, sizeof *ids);
    uint32_t status = CISTERN_OK;
    if (churn == NULL || ids == NULL) {
        status = cistern_fail(error, CISTERN_NO_MEMORY, "churn", "no memory for the ids");
    } else {
        churn->bench = bench;
        churn->ids = ids;
        churn_begin(churn); /* resident from here on */
        memset(&churn->block, 1, sizeof churn->block);
        status = churn_measure(churn, error);
    }
    cistern_release(ids);
    cistern_release(churn);
    return status;
}
