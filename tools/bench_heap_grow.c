/* bench_heap_grow.c -- inserting until there are bench->entries, and what that holds resident. */
#include "bench_heap.h"
#include "bench_peer.h"

#include "cistern/alloc.h"
#include "cistern/error.h"

#include <string.h>

#define GROW_SAMPLES 3u

struct growth {
    double rate;  /* Mop/s */
    double bytes; /* resident, per entry */
};

/* Inserts 0 .. entries - 1 through `put`, whose target is opened at rss_bytes. */
static uint32_t grow(struct bench *bench, struct bench_block *block, uint64_t rss_bytes,
    const struct bench_contender *target, struct growth *ret_growth, struct cistern_error *error)
{
    int64_t busy_ns = 0;
    uint32_t status = CISTERN_OK;
    for (uint64_t at = 0; at < bench->entries && status == CISTERN_OK; at += BENCH_BLOCK) {
        bench_block_sequence(block, at);
        uint64_t left = bench->entries - at;
        int64_t begin_ns = bench_cpu_ns();
        status = target->run(
            target->arg, block, left < BENCH_BLOCK ? (uint32_t)left : BENCH_BLOCK, error);
        busy_ns += bench_cpu_ns() - begin_ns;
    }
    uint64_t grown_bytes = bench_rss_bytes() - rss_bytes;
    ret_growth->rate = (double)bench->entries * 1000 / (double)busy_ns;
    ret_growth->bytes = (double)grown_bytes / (double)bench->entries;
    return status;
}

static uint32_t put_single(
    void *arg, const struct bench_block *block, uint32_t count, struct cistern_error *error)
{
    return bench_heap_put(arg, block, count, 1, error);
}

static uint32_t put_64(
    void *arg, const struct bench_block *block, uint32_t count, struct cistern_error *error)
{
    return bench_heap_put(arg, block, count, 64, error);
}

static uint32_t put_peer(
    void *arg, const struct bench_block *block, uint32_t count, struct cistern_error *error)
{
    return peer_put(arg, block->keys, block->values, count)
               ? CISTERN_OK
               : cistern_fail(error, CISTERN_NO_MEMORY, "peer", "no memory for the peer's table");
}

static uint32_t grow_ours(struct bench *bench, struct bench_block *block, int single,
    struct growth *ret_growth, struct cistern_error *error)
{
    const struct bench_heap_options options = {0};
    struct bench_heap heap;
    uint64_t rss_bytes = bench_rss_bytes();
    uint32_t status = bench_heap_open(bench, &options, &heap, error);
    if (status != CISTERN_OK) {
        return status;
    }
    const struct bench_contender target = {NULL, single ? put_single : put_64, &heap};
    status = grow(bench, block, rss_bytes, &target, ret_growth, error);
    return bench_heap_close(&heap, status, error);
}

static uint32_t grow_peer(struct bench *bench, struct bench_block *block, uint32_t kind,
    struct growth *ret_growth, struct cistern_error *error)
{
    uint64_t rss_bytes = bench_rss_bytes();
    struct peer *peer = peer_create(kind, strcmp(bench->settings->pages, "huge") == 0);
    const struct bench_contender target = {peer_name(kind), put_peer, peer};
    uint32_t status = peer != NULL
                          ? grow(bench, block, rss_bytes, &target, ret_growth, error)
                          : cistern_fail(error, CISTERN_NO_MEMORY, "peer", "no memory for a peer");
    peer_destroy(peer);
    return status;
}

uint32_t bench_heap_grow(struct bench *bench, struct cistern_error *error)
{
    struct bench_block *block = cistern_allocate_zeroed(1, sizeof *block);
    if (block == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, "insert", "no memory for a block");
    }
    memset(block, 1, sizeof *block); /* resident from here on */
    struct bench_result single = {.name = "insert", .unit = "Mop/s"};
    struct bench_result many = {.name = "insert_many_64", .unit = "Mop/s"};
    struct bench_result bytes = {.name = "bytes_per_entry", .unit = "B"};
    struct bench_result share = {.name = "bytes_over_raw", .unit = "x"};
    struct bench_result *results[] = {&single, &many, &bytes, &share};
    struct growth growth = {0};
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; i < GROW_SAMPLES && status == CISTERN_OK; i++) {
        status = grow_ours(bench, block, 1, &growth, error);
        bench_series_add(&single.ours, growth.rate);
        status = status == CISTERN_OK ? grow_ours(bench, block, 0, &growth, error) : status;
        bench_series_add(&many.ours, growth.rate);
        bench_series_add(&bytes.ours, growth.bytes);
        bench_series_add(&share.ours, growth.bytes / BENCH_RAW_BYTES);
        for (uint32_t j = 0; j < PEER_KIND_COUNT && status == CISTERN_OK; j++) {
            status = grow_peer(bench, block, j, &growth, error);
            bench_series_add(&single.peers[j], growth.rate);
            bench_series_add(&many.peers[j], growth.rate);
            bench_series_add(&bytes.peers[j], growth.bytes);
            bench_series_add(&share.peers[j], growth.bytes / BENCH_RAW_BYTES);
        }
    }
    for (uint32_t i = 0; i < sizeof results / sizeof results[0] && status == CISTERN_OK; i++) {
        results[i]->peer_count = PEER_KIND_COUNT;
        for (uint32_t j = 0; j < PEER_KIND_COUNT; j++) {
            results[i]->peer_names[j] = peer_name(j);
        }
        bench_result_print(bench, results[i]);
    }
    cistern_release(block);
    return status;
}
