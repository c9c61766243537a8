/* chain.c -- records of checkpoints taken; see chain_private.h. */
#include "chain_private.h"
#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/endian.h"

#include <assert.h>
#include <sys/random.h>

void chain_init(struct chain *chain)
{
    memset(chain, 0, sizeof *chain);
    if (getrandom(chain->origin_head, sizeof chain->origin_head, GRND_NONBLOCK) !=
        sizeof chain->origin_head) {
        /* No entropy yet (early boot): two clocks and an address still tell lives of backends
         * apart. */
        chain->origin_head[0] = (uint64_t)cistern_now_ns() ^ (uint64_t)(uintptr_t)chain << 20;
        chain->origin_head[1] = (uint64_t)cistern_wall_ms();
    }
}

static void remove_record(struct chain *chain, uint32_t at)
{
    cistern_release(chain->records[at]);
    chain->record_count--;
    for (uint32_t i = at; i < chain->record_count; i++) {
        chain->records[i] = chain->records[i + 1];
    }
}

void chain_forget(struct chain *chain)
{
    while (chain->record_count != 0) {
        remove_record(chain, chain->record_count - 1);
    }
}

void chain_deinit(struct chain *chain)
{
    chain_forget(chain);
}

static struct chain_record *find_record(
    struct chain *chain, uint64_t checkpoint_id, uint32_t *ret_at)
{
    for (uint32_t i = 0; i < chain->record_count; i++) {
        if (chain->records[i]->checkpoint_id == checkpoint_id) {
            *ret_at = i;
            return chain->records[i];
        }
    }
    return NULL;
}

struct chain_record *chain_base(struct chain *chain, uint64_t checkpoint_id)
{
    uint32_t at;
    struct chain_record *record =
        checkpoint_id == 0 ? NULL : find_record(chain, checkpoint_id, &at);
    if (record == NULL || !record->complete || record->epoch < chain->confirmed_epoch) {
        return NULL;
    }
    return record;
}

void chain_origin(struct chain *chain, uint8_t ret_origin[CISTERN_ORIGIN_BYTES])
{
    cistern_put_u64_le(ret_origin, chain->origin_head[0]);
    cistern_put_u64_le(ret_origin + 8, chain->origin_head[1]);
    cistern_put_u64_le(ret_origin + 16, ++chain->origin_sequence);
}

struct chain_record *chain_add(struct chain *chain, uint64_t checkpoint_id, uint64_t epoch,
    uint32_t role, const struct chain_record *base)
{
    assert(base == NULL || base->part_count < CHAIN_PARTS_MAX);
    struct chain_record *record = cistern_allocate_zeroed(1, sizeof *record);
    if (record == NULL) {
        return NULL;
    }
    record->checkpoint_id = checkpoint_id;
    record->epoch = epoch;
    if (base != NULL) {
        record->part_count = base->part_count;
        memcpy(record->parts, base->parts, sizeof record->parts);
    }
    struct chain_part *own = &record->parts[record->part_count++];
    memset(own, 0, sizeof *own);
    own->role = role;
    chain_origin(chain, own->origin);
    if (chain->record_count == CHAIN_RECORDS_MAX) {
        remove_record(chain, 0);
    }
    chain->records[chain->record_count++] = record;
    return record;
}

void chain_complete(struct chain *chain, uint64_t checkpoint_id, uint64_t stream_bytes)
{
    uint32_t at;
    struct chain_record *record = find_record(chain, checkpoint_id, &at);
    if (record != NULL) {
        record->complete = 1;
        record->parts[record->part_count - 1].bytes = stream_bytes;
    }
}

int chain_notify(struct chain *chain, uint64_t checkpoint_id, uint32_t outcome)
{
    uint32_t at;
    struct chain_record *record = find_record(chain, checkpoint_id, &at);
    if (record == NULL) {
        return 0;
    }
    if (outcome != CISTERN_CONFIRMED) {
        remove_record(chain, at);
        return 0;
    }
    if (record->epoch <= chain->confirmed_epoch) {
        return 0;
    }
    chain->confirmed_epoch = record->epoch;
    chain->confirmed_id = checkpoint_id;
    while (chain->records[0]->epoch < chain->confirmed_epoch) {
        remove_record(chain, 0); /* nothing younger than the confirmed one can be based on it */
    }
    return 1;
}

uint64_t chain_increment_bytes(const struct chain_record *record)
{
    uint64_t bytes = 0;
    for (uint32_t i = 1; i < record->part_count; i++) {
        bytes += record->parts[i].bytes;
    }
    return bytes;
}
