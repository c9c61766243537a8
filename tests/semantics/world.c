/* world.c -- pool, slots, clock, states and snapshots of the semantic suite; see world.h. */
#include "semantics/world.h"

#include "cistern/clock.h"

#include <string.h>

#define CLOCK_START_MS 1000000

static int64_t clock_ms = CLOCK_START_MS;
uint64_t world_hash_seed = 1;

const struct cistern_key_group_range all_groups = {0, 127};

/* RocksDB's compaction thread asks, too. */
static int64_t clock_read(void *arg)
{
    (void)arg;
    return __atomic_load_n(&clock_ms, __ATOMIC_RELAXED);
}

int world_clock_install(void **unused)
{
    (void)unused;
    struct cistern_host host = {.wall_ms = clock_read};
    return cistern_host_install(&host) == CISTERN_OK ? 0 : -1;
}

void world_clock_set(int64_t ms)
{
    __atomic_store_n(&clock_ms, ms, __ATOMIC_RELAXED);
}

void world_open(struct world *world, const struct semantics_backend *semantics)
{
    struct cistern_error error;
    *world = (struct world){.semantics = semantics};
    world_clock_set(CLOCK_START_MS);
    struct cistern_pool_options options = {.budget_bytes = 384 << 20, .slot_count_max = SLOT_COUNT};
    assert_ok(cistern_pool_create(&options, &world->pool, &error), error);
    for (uint32_t i = 0; i < SLOT_COUNT; i++) {
        assert_ok(cistern_slot_open(world->pool, NULL, &world->slots[i], &error), error);
    }
    world->backend = semantics->open(world->slots[0], all_groups);
}

void world_close(struct world *world)
{
    struct cistern_error error;
    close_backend(world->backend);
    for (uint32_t i = 0; i < SLOT_COUNT; i++) {
        assert_ok(cistern_slot_close(world->slots[i], &error), error);
    }
    assert_ok(cistern_pool_destroy(world->pool, &error), error);
}

/* ---- states ---- */

uint64_t text_join(void *arg, struct cistern_span old_value, struct cistern_span input,
    struct cistern_bytes result)
{
    (void)arg;
    uint64_t wanted = (old_value.data != NULL ? old_value.bytes + 1 : 0) + input.bytes;
    if (wanted <= result.capacity_bytes) {
        char *to = result.data;
        if (old_value.data != NULL) {
            memcpy(to, old_value.data, old_value.bytes);
            to[old_value.bytes] = ',';
            to += old_value.bytes + 1;
        }
        memcpy(to, input.data, input.bytes);
    }
    return wanted;
}

struct cistern_state_descriptor descriptor_of(uint32_t kind)
{
    struct cistern_state_descriptor descriptor = {
        .name = cistern_state_kind_name(kind), .kind = kind};
    if (kind == CISTERN_REDUCING) {
        descriptor.reduce = CISTERN_REDUCE_SUM_I64;
    } else if (kind == CISTERN_AGGREGATING) {
        descriptor.reduce_fn = text_join;
    }
    return descriptor;
}

struct cistern_state *register_state(
    struct cistern_backend *backend, const struct cistern_state_descriptor *descriptor)
{
    struct cistern_error error;
    struct cistern_state *state = NULL;
    assert_ok(cistern_state_register(backend, descriptor, &state, &error), error);
    return state;
}

struct cistern_state *state_of(struct cistern_backend *backend, uint32_t kind)
{
    struct cistern_state_descriptor descriptor = descriptor_of(kind);
    return register_state(backend, &descriptor);
}

struct cistern_state *state_with_ttl(
    struct cistern_backend *backend, uint32_t kind, struct cistern_ttl ttl)
{
    struct cistern_state_descriptor descriptor = descriptor_of(kind);
    descriptor.ttl = ttl;
    return register_state(backend, &descriptor);
}

/* ---- snapshots ---- */

/* RocksDB answers BUSY while the flush of an abandoned snapshot is under way. */
struct cistern_snapshot *begin_snapshot(struct world *world, uint32_t kind)
{
    struct cistern_error error;
    struct cistern_snapshot *snapshot = NULL;
    struct cistern_snapshot_request request = {
        .checkpoint_id = world->checkpoint_id + 1, .kind = kind};
    if (kind == CISTERN_SNAPSHOT_INCREMENT) {
        request.base_checkpoint_id = world->checkpoint_id;
    }
    uint32_t status = CISTERN_BUSY;
    for (int tries = 0; tries < 10000 && status == CISTERN_BUSY; tries++) {
        status = cistern_snapshot_begin(world->backend, &request, &snapshot, &error);
        if (status == CISTERN_BUSY) {
            cistern_sleep_ns(1000000);
        }
    }
    assert_ok(status, error);
    world->checkpoint_id++;
    return snapshot;
}

struct capture *finish_snapshot(struct world *world, struct cistern_snapshot *snapshot,
    uint32_t kind, const struct capture *base)
{
    const char *form = kind == CISTERN_SNAPSHOT_CANONICAL ? "canonical" : world->semantics->name;
    struct capture *capture = capture_take(snapshot, form, base);
    cistern_backend_notify(world->backend, world->checkpoint_id, CISTERN_CONFIRMED);
    return capture;
}

struct capture *capture_of(struct world *world, uint32_t kind)
{
    return finish_snapshot(world, begin_snapshot(world, kind), kind, NULL);
}

struct cistern_backend *restore_backend(const struct semantics_backend *semantics,
    struct cistern_slot *slot, struct capture *const *captures, uint32_t count,
    struct cistern_key_group_range range)
{
    struct cistern_error error;
    struct cistern_backend *backend = semantics->open(slot, range);
    struct cistern_source source = capture_source(captures, count);
    assert_ok(cistern_backend_restore(backend, &source, &error), error);
    capture_source_close(&source);
    return backend;
}

void close_backend(struct cistern_backend *backend)
{
    struct cistern_error error;
    assert_ok(cistern_backend_close(backend, &error), error);
}
