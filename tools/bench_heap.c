/* bench_heap.c -- the heap backend at a given number of entries, in a budget that holds them. */
#include "bench.h"

#include "cistern/heap.h"

/* Two states of 16-byte keys with 32 and 8 bytes of value: about 64 + 40 bytes and their index,
 * and room for the cleaner. */
#define BYTES_PER_ENTRY 200u
#define BUDGET_BASE ((uint64_t)64 << 20)

uint32_t bench_heap(struct bench *bench, struct cistern_error *error)
{
    uint32_t status =
        bench_pool_open(bench, BUDGET_BASE + bench->entries * BYTES_PER_ENTRY, 1, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct cistern_heap_options options = {.backend = {.max_parallelism = 128, .range = {0, 127}}};
    struct cistern_backend *backend = NULL;
    status = cistern_heap_open(bench->slot, &options, &backend, error);
    if (status == CISTERN_OK) {
        status = bench_backend(bench, backend, error);
        uint32_t closed = cistern_backend_close(backend, status == CISTERN_OK ? error : NULL);
        status = status == CISTERN_OK ? closed : status;
    }
    return status;
}
