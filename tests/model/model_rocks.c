/* model_rocks.c -- RocksDB under the model test. */
#include "model/model.h"
#include "test.h"

#include "cistern/rocks.h"

#include <string.h>

const char model_backend[] = "rocks";
const uint32_t model_round_count = 12;

struct cistern_backend *model_open(struct cistern_slot *slot, struct cistern_key_group_range range)
{
    char directory[] = "/tmp/cistern-model-XXXXXX";
    assert_non_null(mkdtemp(directory));
    struct cistern_rocks_options options = {
        .backend = {.max_parallelism = 128, .range = range}, .directory = directory};
    struct cistern_backend *backend;
    struct cistern_error error;
    assert_ok(cistern_rocks_open(slot, &options, &backend, &error), error);
    return backend;
}
