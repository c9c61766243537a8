/*
 * flink_keys.h -- `--config` and `-D KEY=VALUE`: Flink's own option keys, each an alias of one of our
 * options, so that one place defines a meaning; and the keys of Flink's memory model, which give
 * the budget where no option and no managed.size does.
 *
 * An option of ours wins over -D, -D over the file. Threads: main only.
 */
#ifndef CISTERN_FLINK_KEYS_H
#define CISTERN_FLINK_KEYS_H

#include "run_settings.h"

/* INVALID: no '=', an unknown key of -D (with the nearest known one; the file may hold any), a value
 * or sizes Flink would refuse too. NOT_FOUND, IO: the file. */
CISTERN_MUST_USE uint32_t flink_keys_apply(
    struct run_settings *settings, struct cistern_error *error);

#endif
