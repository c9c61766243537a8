/*
 * bench_pages.c -- what a page of managed memory costs: one that was just released, and one for the
 * first time, beside malloc.
 *
 * First times are touched, once per 4 KiB, on both sides: most of the cost is the kernel's. malloc
 * keeps what it got until the end, else it would hand out resident memory in the second sample.
 */
#include "bench.h"

#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/error.h"
#include "cistern/pages.h"

#include <stdlib.h>

#define SMALL_BUDGET_BYTES ((uint64_t)112 << 20) /* below 128 MiB a slot takes single pages */
#define LARGE_BUDGET_BYTES ((uint64_t)256 << 20) /* above, 2 MiB at a time */
#define PAGE_BYTES 32768u
#define PAGE_COUNT 2048u /* 64 MiB in each sample */
#define RECYCLE_ROUNDS 4096u

struct bench_pages {
    struct bench *bench;
    struct cistern_component *owner;
    void **ours;  /* PAGE_COUNT */
    void **peers; /* PAGE_COUNT for each sample */
};

static void page_touch(void *page)
{
    for (uint32_t i = 0; i < PAGE_BYTES; i += 4096) {
        ((volatile char *)page)[i] = 1;
    }
}

/* A page that was just released, allocated and released again. */
static uint32_t recycled_sample(
    const struct bench_pages *pages, double *ret_ns, struct cistern_error *error)
{
    void *page = NULL;
    uint32_t status = CISTERN_OK;
    int64_t begin_ns = cistern_now_ns(), now_ns = begin_ns;
    uint64_t count = 0;
    while (now_ns - begin_ns < bench_sample_ns(pages->bench) && status == CISTERN_OK) {
        for (uint32_t i = 0; i < RECYCLE_ROUNDS && status == CISTERN_OK; i++) {
            status = cistern_pages_allocate(pages->owner, 1, &page, error);
            cistern_pages_release(pages->owner, &page, 1);
        }
        count += RECYCLE_ROUNDS;
        now_ns = cistern_now_ns();
    }
    *ret_ns = (double)(now_ns - begin_ns) / (double)count;
    return status;
}

static uint32_t fresh_sample(
    const struct bench_pages *pages, double *ret_ns, struct cistern_error *error)
{
    struct cistern_slot *slot = pages->bench->slot;
    /* what is still warm goes back first, so that each page is a first time */
    uint32_t status =
        cistern_component_reserve(pages->owner, cistern_slot_limit_bytes(slot), 0, error);
    int64_t begin_ns = cistern_now_ns();
    for (uint32_t i = 0; i < PAGE_COUNT && status == CISTERN_OK; i++) {
        status = cistern_pages_allocate(pages->owner, 1, &pages->ours[i], error);
        if (status == CISTERN_OK) {
            page_touch(pages->ours[i]);
        }
    }
    *ret_ns = (double)(cistern_now_ns() - begin_ns) / PAGE_COUNT;
    cistern_pages_release_all(pages->owner);
    return status;
}

static uint32_t peer_sample(void **peers, double *ret_ns, struct cistern_error *error)
{
    int64_t begin_ns = cistern_now_ns();
    for (uint32_t i = 0; i < PAGE_COUNT; i++) {
        peers[i] = malloc(PAGE_BYTES);
        if (peers[i] == NULL) {
            return cistern_fail(error, CISTERN_NO_MEMORY, "malloc", "no memory for the peer");
        }
        page_touch(peers[i]);
    }
    *ret_ns = (double)(cistern_now_ns() - begin_ns) / PAGE_COUNT;
    return CISTERN_OK;
}

static uint32_t measure(const struct bench_pages *pages, const char *recycled_name,
    const char *fresh_name, struct cistern_error *error)
{
    double recycled[BENCH_SAMPLES], fresh[BENCH_SAMPLES], peer[BENCH_SAMPLES];
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; i < BENCH_SAMPLES && status == CISTERN_OK; i++) {
        status = fresh_sample(pages, &fresh[i], error);
        if (status == CISTERN_OK) {
            status = peer_sample(pages->peers + i * PAGE_COUNT, &peer[i], error);
        }
        if (status == CISTERN_OK) {
            status = recycled_sample(pages, &recycled[i], error);
        }
    }
    for (uint32_t i = 0; i < BENCH_SAMPLES * PAGE_COUNT; i++) {
        free(pages->peers[i]);
        pages->peers[i] = NULL;
    }
    if (status == CISTERN_OK) {
        bench_print(pages->bench, recycled_name, "ns", recycled, NULL, NULL);
        bench_print(pages->bench, fresh_name, "ns", fresh, "malloc+touch", peer);
    }
    return status;
}

/* A pool of its own: the size of the slot decides how pages come. */
static uint32_t slot_case(struct bench_pages *pages, uint64_t budget_bytes,
    const char *recycled_name, const char *fresh_name, struct cistern_error *error)
{
    const struct cistern_component_options options = {
        .name = "bench", .reclaim_class = CISTERN_RECLAIM_NEVER};
    uint32_t status = bench_pool_open(pages->bench, budget_bytes, 1, error);
    if (status == CISTERN_OK) {
        status = cistern_component_open(pages->bench->slot, &options, &pages->owner, error);
    }
    if (status == CISTERN_OK) {
        status = measure(pages, recycled_name, fresh_name, error);
    }
    cistern_component_close(pages->owner);
    pages->owner = NULL;
    bench_pool_close(pages->bench);
    return status;
}

uint32_t bench_pages(struct bench *bench, struct cistern_error *error)
{
    struct bench_pages pages = {.bench = bench,
        .ours = cistern_allocate_zeroed(PAGE_COUNT, sizeof(void *)),
        .peers = cistern_allocate_zeroed(BENCH_SAMPLES * PAGE_COUNT, sizeof(void *))};
    uint32_t status = CISTERN_OK;
    if (pages.ours == NULL || pages.peers == NULL) {
        status = cistern_fail(error, CISTERN_NO_MEMORY, "pages", "no memory for their addresses");
    }
    if (status == CISTERN_OK) {
        status = slot_case(
            &pages, SMALL_BUDGET_BYTES, "page_recycled_small_slot", "page_fresh_small_slot", error);
    }
    if (status == CISTERN_OK) {
        status = slot_case(&pages, LARGE_BUDGET_BYTES, "page_recycled", "page_fresh", error);
    }
    cistern_release(pages.peers);
    cistern_release(pages.ours);
    return status;
}
