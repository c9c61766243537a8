/* model.h -- what a model test needs to know of the backend it drives. One file per backend
 * defines these. */
#ifndef CISTERN_TEST_MODEL_H
#define CISTERN_TEST_MODEL_H

#include "cistern/backend.h"
#include "cistern/pool.h"

extern const char model_backend[]; /* "heap" or "rocks" */
extern const uint32_t model_round_count;

struct cistern_backend *model_open(struct cistern_slot *slot, struct cistern_key_group_range range);

#endif
