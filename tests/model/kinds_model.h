/*
 * kinds_model.h -- what a backend holds, as arrays: the reference of the model test of all kinds.
 *
 * A place is a key in a namespace. Everything is a tag: a number that says length and bytes of a
 * value (kinds_value()). What has expired is taken out when the clock moves, so that nothing here
 * asks for the time but kinds_model_expire().
 * Invariant: a stamp is only looked at where its tag is not ABSENT_TAG.
 */
#ifndef CISTERN_KINDS_MODEL_H
#define CISTERN_KINDS_MODEL_H

#include "cistern/backend.h"

#define MODEL_KEYS 24u
#define MODEL_NAMESPACES 4u /* the void one, the empty one, two more */
#define MODEL_PLACES (MODEL_KEYS * MODEL_NAMESPACES)
#define MODEL_USER_KEYS 48u
#define MODEL_LIST_MAX 400u
#define MODEL_TIMES 24u
#define ABSENT_TAG (-1)
#define NULL_TAG (-2) /* a null value of a map */

struct model_item {
    int32_t tag;
    int64_t written_ms;
};
struct model_place {
    struct model_item value;
    struct model_item sum; /* tag: 0 = there */
    int64_t sum_of;
    struct model_item map[MODEL_USER_KEYS];
    struct model_item list[MODEL_LIST_MAX];
    uint32_t list_count;
    uint32_t list_birth; /* another number whenever the list ceased to be */
    uint8_t timers[MODEL_TIMES];
};
struct kinds_model {
    struct model_place places[MODEL_PLACES];
    uint32_t births;
    int64_t ttl_ms[CISTERN_TIMERS + 1]; /* by kind; 0 = none */
};

void kinds_model_init(struct kinds_model *model);
void kinds_model_expire(struct kinds_model *model, int64_t now_ms);
void kinds_model_clear(struct kinds_model *model, uint32_t kind, uint32_t place);
uint32_t kinds_model_map_count(const struct model_place *place);
/* Entries of one place as cistern_entries_open() counts them. */
uint32_t kinds_model_entries(const struct kinds_model *model, uint32_t kind, uint32_t place);
/* All or nothing; `count` namespaces of the key of `target`. */
void kinds_model_merge(struct kinds_model *model, uint32_t kind, uint32_t target,
    const uint32_t *name_spaces, uint32_t count, int64_t now_ms);

#endif
