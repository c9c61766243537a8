/*
 * flink_keys.h -- `-D KEY=VALUE`: Flink's own option keys, each an alias of one of our options, so
 * that one place defines a meaning.
 *
 * An option on the command line wins over a key. Threads: main only.
 */
#ifndef CISTERN_FLINK_KEYS_H
#define CISTERN_FLINK_KEYS_H

#include "run_settings.h"

/* INVALID: no '=', an unknown key (with the nearest known one), a value Flink would refuse too. */
CISTERN_MUST_USE uint32_t flink_keys_apply(
    struct run_settings *settings, struct cistern_error *error);

#endif
