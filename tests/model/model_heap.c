/* model_heap.c -- the heap store under the model test. */
#include "model/model.h"
#include "test.h"

#include "cistern/heap.h"

const char model_backend[] = "heap";
const uint32_t model_round_count = 40;

struct cistern_backend *model_open(struct cistern_slot *slot, struct cistern_key_group_range range)
{
    struct cistern_heap_options options = {
        .backend = {.max_parallelism = 128, .range = range}, .segment_bytes = 64 << 10};
    struct cistern_backend *backend;
    struct cistern_error error;
    assert_ok(cistern_heap_open(slot, &options, &backend, &error), error);
    return backend;
}
