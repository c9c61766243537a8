/* kinds_model.c -- see kinds_model.h. */
#include "model/kinds_model.h"

#include <string.h>

void kinds_model_init(struct kinds_model *model)
{
    memset(model, 0, sizeof *model);
    for (uint32_t p = 0; p < MODEL_PLACES; p++) {
        model->places[p].value.tag = ABSENT_TAG;
        model->places[p].sum.tag = ABSENT_TAG;
        for (uint32_t u = 0; u < MODEL_USER_KEYS; u++) {
            model->places[p].map[u].tag = ABSENT_TAG;
        }
    }
}

static void item_expire(struct model_item *item, int64_t ttl_ms, int64_t now_ms)
{
    if (ttl_ms != 0 && item->tag != ABSENT_TAG && item->written_ms + ttl_ms <= now_ms) {
        item->tag = ABSENT_TAG;
    }
}

void kinds_model_expire(struct kinds_model *model, int64_t now_ms)
{
    for (uint32_t p = 0; p < MODEL_PLACES; p++) {
        struct model_place *place = &model->places[p];
        item_expire(&place->value, model->ttl_ms[CISTERN_VALUE], now_ms);
        item_expire(&place->sum, model->ttl_ms[CISTERN_REDUCING], now_ms);
        for (uint32_t u = 0; u < MODEL_USER_KEYS; u++) {
            item_expire(&place->map[u], model->ttl_ms[CISTERN_MAP], now_ms);
        }
        uint32_t kept = 0;
        for (uint32_t i = 0; i < place->list_count; i++) {
            item_expire(&place->list[i], model->ttl_ms[CISTERN_LIST], now_ms);
            place->list[kept] = place->list[i];
            kept += place->list[i].tag != ABSENT_TAG;
        }
        place->list_count = kept;
    }
}

void kinds_model_clear(struct kinds_model *model, uint32_t kind, uint32_t place)
{
    struct model_place *at = &model->places[place];
    if (kind == CISTERN_VALUE) {
        at->value.tag = ABSENT_TAG;
    } else if (kind == CISTERN_REDUCING) {
        at->sum.tag = ABSENT_TAG;
    } else if (kind == CISTERN_LIST) {
        at->list_count = 0;
        at->list_birth = ++model->births;
    } else {
        for (uint32_t u = 0; u < MODEL_USER_KEYS; u++) {
            at->map[u].tag = ABSENT_TAG;
        }
    }
}

uint32_t kinds_model_map_count(const struct model_place *place)
{
    uint32_t count = 0;
    for (uint32_t u = 0; u < MODEL_USER_KEYS; u++) {
        count += place->map[u].tag != ABSENT_TAG;
    }
    return count;
}

uint32_t kinds_model_entries(const struct kinds_model *model, uint32_t kind, uint32_t place)
{
    const struct model_place *at = &model->places[place];
    uint32_t count = 0;
    switch (kind) {
    case CISTERN_VALUE:
        return at->value.tag != ABSENT_TAG;
    case CISTERN_REDUCING:
        return at->sum.tag != ABSENT_TAG;
    case CISTERN_LIST:
        return at->list_count;
    case CISTERN_MAP:
        return kinds_model_map_count(at);
    default:
        for (uint32_t t = 0; t < MODEL_TIMES; t++) {
            count += at->timers[t];
        }
        return count;
    }
}

void kinds_model_merge(struct kinds_model *model, uint32_t kind, uint32_t target,
    const uint32_t *name_spaces, uint32_t count, int64_t now_ms)
{
    struct model_place *to = &model->places[target];
    for (uint32_t i = 0; i < count; i++) {
        uint32_t source = target - target % MODEL_NAMESPACES + name_spaces[i];
        struct model_place *from = &model->places[source];
        if (source == target || kinds_model_entries(model, kind, source) == 0) {
            continue;
        }
        if (kind == CISTERN_LIST) {
            memcpy(to->list + to->list_count, from->list, from->list_count * sizeof from->list[0]);
            to->list_count += from->list_count;
        } else {
            to->sum_of = from->sum_of + (to->sum.tag != ABSENT_TAG ? to->sum_of : 0);
            to->sum = (struct model_item){.tag = 0, .written_ms = now_ms};
        }
        kinds_model_clear(model, kind, source);
    }
}
