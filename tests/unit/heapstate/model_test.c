/*
 * model_test.c -- random operations against a model: growth and shrink, cleaning, snapshots of
 * every kind in flight while the operations go on, restores that must equal the model as it was
 * at begin.
 */
#include "support.h"
#include "cistern/alloc.h"
#include "cistern/clock.h"

#include <string.h>

static const struct cistern_key_group_range all_groups = {0, TEST_MAX_PARALLELISM - 1};

/* A heap restored from `stored` equals `model`. */
static void check_restored(const struct vault *vault, const struct stored *stored,
    const struct model *model, uint64_t limit)
{
    struct rig rig;
    rig_open(&rig, limit, all_groups);
    assert_ok(vault_restore(vault, stored, 1, "heap", &rig), rig.error);
    struct cistern_state_descriptor descriptor = {.name = "s", .kind = CISTERN_VALUE};
    rig_register(&rig, &descriptor);
    model_check(model, &rig, all_groups);
    rig_close(&rig);
}

struct walk {
    struct rig rig;
    struct model model;
    uint64_t random;
    uint32_t put_share; /* of 100 operations */
    uint32_t bytes_max;
    uint32_t seed;
};

static void one_step(struct walk *walk)
{
    uint32_t number = (uint32_t)(test_random(&walk->random) % walk->model.count);
    uint32_t action = (uint32_t)(test_random(&walk->random) % 100);
    uint32_t status;
    if (action < walk->put_share) {
        uint32_t bytes = (uint32_t)(test_random(&walk->random) % walk->bytes_max);
        if (walk->model.items[number].present && test_random(&walk->random) % 2 == 0) {
            bytes = walk->model.items[number].bytes; /* in place where that is allowed */
        }
        status = model_put(&walk->model, &walk->rig, number, bytes, ++walk->seed);
    } else {
        status = model_remove(&walk->model, &walk->rig, number);
    }
    assert_status(status, CISTERN_OK);
}

static void steps(struct walk *walk, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        one_step(walk);
    }
}

static void growth_shrink_and_cleaning(void **context)
{
    (void)context;
    struct walk walk = {
        .random = test_seed("heapstate_model", 11), .put_share = 80, .bytes_max = 200};
    rig_open_value(&walk.rig, 8u << 20);
    model_init(&walk.model, 30000);
    steps(&walk, 150000);
    model_check(&walk.model, &walk.rig, all_groups);
    struct cistern_heap_statistics statistics;
    cistern_heap_statistics(walk.rig.backend, &statistics);
    assert_true(statistics.cleaned_bytes > 0); /* appended far more than the slot holds */
    uint64_t used_full = cistern_slot_used_bytes(walk.rig.slot);
    walk.put_share = 2;
    steps(&walk, 150000);
    model_check(&walk.model, &walk.rig, all_groups);
    assert_ok(
        cistern_backend_step(walk.rig.backend, cistern_now_ns() + 2000000000, &walk.rig.error),
        walk.rig.error);
    model_check(&walk.model, &walk.rig, all_groups);
    assert_true(cistern_slot_used_bytes(walk.rig.slot) < used_full / 4); /* memory comes back */
    walk.put_share = 90;
    steps(&walk, 60000);
    model_check(&walk.model, &walk.rig, all_groups);
    model_deinit(&walk.model);
    rig_close(&walk.rig);
    assert_int_equal(cistern_allocation_count(), 0);
}

/* Reads a snapshot in small bites with operations between them, then restores it and compares
 * with the model of its begin. */
static void snapshot_round(struct walk *walk, struct vault *vault, struct model *at_begin,
    uint64_t id, uint64_t base, uint32_t kind, struct stored *stored)
{
    struct cistern_snapshot *snapshot = snapshot_begin(&walk->rig, id, base, kind);
    model_copy(at_begin, &walk->model);
    memset(stored, 0, sizeof *stored);
    struct cistern_part part;
    struct vault_file *file = NULL;
    while (cistern_snapshot_next(snapshot, &part, &walk->rig.error) == CISTERN_OK) {
        if (part.kind == CISTERN_PART_REUSE) {
            for (uint32_t i = 0; i < vault->file_count; i++) {
                if (memcmp(vault->files[i].origin, part.origin, sizeof part.origin) == 0) {
                    stored->parts[stored->part_count++] = i;
                }
            }
            continue;
        }
        stored->parts[stored->part_count++] = vault->file_count;
        file = &vault->files[vault->file_count++];
        *file = (struct vault_file){.role = part.role, .data = malloc(32u << 20)};
        memcpy(file->origin, part.origin, sizeof part.origin);
        uint64_t bytes = 1;
        while (bytes != 0) {
            struct cistern_bytes into = {file->data + file->bytes, 20000};
            assert_ok(
                cistern_snapshot_read(snapshot, into, &bytes, &walk->rig.error), walk->rig.error);
            file->bytes += bytes;
            steps(walk, 40);
        }
        stored->new_bytes = file->bytes;
        stored->new_role = part.role;
        file->data = realloc(file->data, file->bytes);
    }
    cistern_snapshot_release(snapshot);
}

static void snapshots_hold_the_moment_of_their_begin(void **context)
{
    (void)context;
    struct walk walk = {
        .random = test_seed("heapstate_model", 5), .put_share = 75, .bytes_max = 150};
    struct vault vault = {0};
    struct model at_begin;
    rig_open_value(&walk.rig, 16u << 20);
    model_init(&walk.model, 15000);
    model_init(&at_begin, 15000);
    steps(&walk, 30000);
    uint64_t confirmed = 0;
    uint32_t increments = 0;
    for (uint64_t id = 1; id <= 30; id++) {
        uint32_t kind = (uint32_t)(test_random(&walk.random) % 8);
        kind = kind < 6    ? CISTERN_SNAPSHOT_INCREMENT
               : kind == 6 ? CISTERN_SNAPSHOT_FULL
                           : CISTERN_SNAPSHOT_CANONICAL;
        struct stored stored;
        snapshot_round(&walk, &vault, &at_begin, id, confirmed, kind, &stored);
        check_restored(&vault, &stored, &at_begin, 16u << 20);
        increments += stored.new_role == CISTERN_ROLE_HEAP_INCREMENT;
        uint32_t outcome = (uint32_t)(test_random(&walk.random) % 4);
        if (kind == CISTERN_SNAPSHOT_CANONICAL) {
            cistern_backend_notify(walk.rig.backend, id, CISTERN_CONFIRMED); /* never a base */
        } else if (outcome != 0) {
            cistern_backend_notify(walk.rig.backend, id, CISTERN_CONFIRMED);
            cistern_backend_notify(walk.rig.backend, confirmed, CISTERN_SUBSUMED);
            confirmed = id;
        } else if (test_random(&walk.random) % 2) {
            cistern_backend_notify(walk.rig.backend, id, CISTERN_DISCARDED);
        }
        steps(&walk, (uint32_t)(test_random(&walk.random) % 3000));
        if (id % 5 == 0) {
            cleaner_run(rig_heap(&walk.rig), 2u << 20, 63);
        }
    }
    assert_true(increments >= 5);
    model_check(&walk.model, &walk.rig, all_groups);
    struct cistern_heap_statistics statistics;
    cistern_heap_statistics(walk.rig.backend, &statistics);
    assert_true(statistics.cleaned_bytes > 0);
    vault_deinit(&vault);
    model_deinit(&at_begin);
    model_deinit(&walk.model);
    rig_close(&walk.rig);
    assert_int_equal(cistern_allocation_count(), 0);
}

/* Far apart epochs: deltas of 16 bits must not wrap; cold entries are touched when their segment
 * is 65,535, 65,536 and more epochs old, and survivors of cleaning keep telling what changed. */
static void stamps_do_not_alias(void **context)
{
    (void)context;
    static const uint64_t jumps[] = {
        1, 32767, 32768, 65534, 65535, 65536, 131072, 1ULL << 32, (1ULL << 32) - 5};
    struct walk walk = {
        .random = test_seed("heapstate_model", 3), .put_share = 70, .bytes_max = 60};
    struct vault vault = {0};
    struct model at_begin;
    rig_open_value(&walk.rig, 16u << 20);
    model_init(&walk.model, 6000);
    model_init(&at_begin, 6000);
    steps(&walk, 12000);
    uint64_t confirmed = 0;
    uint64_t id = 0;
    for (uint32_t round = 0; round < 2 * sizeof jumps / sizeof *jumps; round++) {
        struct stored stored;
        snapshot_round(
            &walk, &vault, &at_begin, ++id, confirmed, CISTERN_SNAPSHOT_INCREMENT, &stored);
        check_restored(&vault, &stored, &at_begin, 16u << 20);
        if (round % 3 != 2) {
            cistern_backend_notify(walk.rig.backend, id, CISTERN_CONFIRMED);
            confirmed = id;
        }
        rig_heap(&walk.rig)->epoch += jumps[round / 2]; /* as if as many checkpoints had failed */
        steps(&walk, 100);
        if (round % 2) {
            cleaner_run(rig_heap(&walk.rig), 4u << 20, 63);
        }
    }
    model_check(&walk.model, &walk.rig, all_groups);
    vault_deinit(&vault);
    model_deinit(&at_begin);
    model_deinit(&walk.model);
    rig_close(&walk.rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(growth_shrink_and_cleaning),
        cmocka_unit_test(snapshots_hold_the_moment_of_their_begin),
        cmocka_unit_test(stamps_do_not_alias),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
