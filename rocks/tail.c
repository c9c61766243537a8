/*
 * tail.c -- which chunk a list is appended to, without reading what is there.
 *
 * A table of slots, found by the hash of the list's address. All lists of a slot append to the
 * chunk of the slot's number and count their bytes together; when that count would pass a chunk's
 * bound the number goes up by one. So the count is never less than what any single list has in its
 * chunk, and no list has a chunk of a greater number: both hold whatever else shares the slot,
 * which only makes chunks smaller than they could be.
 *
 * Nothing of this is stored but one number per database: a life of the backend begins behind every
 * chunk of earlier ones, and has 2^32 numbers per slot for itself.
 * Threads: owner only.
 */
#include "rocks_private.h"
#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/hash.h"

#define LIFE_NUMBERS (UINT64_C(1) << 32)
#define BOUND_MAX (UINT64_MAX - 2 * LIFE_NUMBERS)
#define SLOT_COUNT_MIN 1024u
#define SLOT_COUNT_MAX (256u << 10)
#define LIMIT_SHARE 64u /* of the slot's budget, at most */

static void tails_reset(struct tails *tails)
{
    for (uint64_t i = 0; i < tails->count; i++) {
        tails->slots[i] = (struct tail){.number = tails->bound};
    }
}

uint32_t tails_open(struct rocks *rocks, struct cistern_error *error)
{
    struct tails *tails = &rocks->tails;
    if (tails->slots != NULL) {
        return CISTERN_OK;
    }
    uint64_t count = SLOT_COUNT_MIN;
    while (count < SLOT_COUNT_MAX &&
           2 * count * sizeof *tails->slots <= rocks->limit_bytes / LIMIT_SHARE) {
        count *= 2;
    }
    uint32_t status = table_lists_write(rocks, tails->bound + LIFE_NUMBERS, error);
    if (status != CISTERN_OK) {
        return status;
    }
    tails->slots = cistern_allocate_zeroed(count, sizeof *tails->slots);
    if (tails->slots == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, "rocks", "no memory for the tails of lists");
    }
    tails->count = count;
    tails_reset(tails);
    rocks->index_bytes += count * sizeof *tails->slots;
    gate_report_results(rocks);
    return CISTERN_OK;
}

void tails_close(struct rocks *rocks)
{
    cistern_release(rocks->tails.slots);
    rocks->tails.slots = NULL;
}

uint32_t tails_raise(struct rocks *rocks, uint64_t bound, struct cistern_error *error)
{
    struct tails *tails = &rocks->tails;
    if (bound <= tails->bound) {
        return CISTERN_OK;
    }
    if (bound > BOUND_MAX) {
        return cistern_fail(error, CISTERN_CORRUPT, "lists",
            "a list's run has number %llu, at most %llu is possible",
            (unsigned long long)(bound - 1), (unsigned long long)(BOUND_MAX - 1));
    }
    tails->bound = bound;
    tails_reset(tails);
    return tails->slots != NULL ? table_lists_write(rocks, bound + LIFE_NUMBERS, error)
                                : CISTERN_OK;
}

struct tail *tails_find(
    struct rocks *rocks, const struct rocks_state *state, struct cistern_span prefix)
{
    uint64_t hash = cistern_hash64(prefix.data, prefix.bytes) + state->base.id;
    return &rocks->tails.slots[hash & (rocks->tails.count - 1)];
}
