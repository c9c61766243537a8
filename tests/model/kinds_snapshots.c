/* kinds_snapshots.c -- a snapshot taken a few bytes at a time while everything else goes on, given
 * up at any point, or restored in other ranges and compared with the model of its begin. */
#include "model/kinds_run.h"

#include "cistern/clock.h"

#include <string.h>

static struct cistern_error error;

void snapshot_start(struct kinds_run *run)
{
    struct in_flight *flight = &run->in_flight;
    if (flight->snapshot != NULL) {
        return;
    }
    uint32_t form = CISTERN_SNAPSHOT_CANONICAL;
    if (run->semantics->native && run_pick(run, 4) != 0) {
        form = run->base != NULL ? CISTERN_SNAPSHOT_INCREMENT : CISTERN_SNAPSHOT_FULL;
    }
    struct cistern_snapshot_request request = {.checkpoint_id = run->checkpoint_id + 1,
        .base_checkpoint_id = form == CISTERN_SNAPSHOT_INCREMENT ? run->base->checkpoint_id : 0,
        .kind = form};
    run_log(run, "begin snapshot %llu, form %u, base %llu",
        (unsigned long long)request.checkpoint_id, form,
        (unsigned long long)request.base_checkpoint_id);
    uint32_t status = cistern_snapshot_begin(run->backend, &request, &flight->snapshot, &error);
    if (status == CISTERN_BUSY) { /* RocksDB still flushes for one that was given up */
        flight->snapshot = NULL;
        return;
    }
    if (run_answer(run, status, &error) != CISTERN_OK) {
        flight->snapshot = NULL;
        return;
    }
    flight->id = ++run->checkpoint_id;
    flight->form = form;
    flight->frozen = run->model;
    flight->capture = calloc(1, sizeof *flight->capture);
    assert_non_null(flight->capture);
    flight->capture->checkpoint_id = flight->id;
    snprintf(flight->capture->backend, sizeof flight->capture->backend, "%s",
        form == CISTERN_SNAPSHOT_CANONICAL ? "canonical" : run->semantics->name);
}

void snapshot_give_up(struct kinds_run *run)
{
    struct in_flight *flight = &run->in_flight;
    if (flight->snapshot != NULL) {
        run_log(run, "give snapshot %llu up", (unsigned long long)flight->id);
        cistern_snapshot_release(flight->snapshot);
        cistern_backend_notify(run->backend, flight->id, CISTERN_DISCARDED);
        capture_free(flight->capture);
        flight->snapshot = NULL;
        run->aborts++;
    }
}

static void restore_and_compare(struct kinds_run *run, struct capture *capture,
    struct kinds_model *frozen, struct cistern_key_group_range range)
{
    run_log(run, "restore snapshot %llu, groups %u to %u",
        (unsigned long long)capture->checkpoint_id, range.first, range.last);
    struct cistern_backend *restored =
        restore_backend(run->semantics, run->slots[1], &capture, 1, range);
    kinds_model_expire(frozen, run->now_ms);
    run_compare(run, restored, frozen, range);
    close_backend(restored);
    run->restores++;
}

/* The job starts again from this snapshot: its cursors, its bases and its later changes are gone. */
static void restart(struct kinds_run *run, struct capture *capture, struct kinds_model *frozen)
{
    struct cistern_key_group_range all = {0, 127};
    cursors_close_all(run);
    close_backend(run->backend);
    run->backend = restore_backend(run->semantics, run->slots[0], &capture, 1, all);
    run_states(run, run->backend, run->states);
    uint32_t births = run->model.births;
    run->model = *frozen;
    run->model.births = births;
    kinds_model_expire(&run->model, run->now_ms);
    capture_free(run->base);
    run->base = NULL;
    run_log(
        run, "the job starts again from snapshot %llu", (unsigned long long)capture->checkpoint_id);
}

static void snapshot_end(struct kinds_run *run)
{
    struct in_flight *flight = &run->in_flight;
    static struct kinds_model frozen;
    cistern_snapshot_release(flight->snapshot);
    flight->snapshot = NULL;
    if (run_pick(run, 5) == 0) { /* it arrived, but the checkpoint as a whole failed */
        cistern_backend_notify(run->backend, flight->id, CISTERN_DISCARDED);
        capture_free(flight->capture);
        return;
    }
    cistern_backend_notify(run->backend, flight->id, CISTERN_CONFIRMED);
    uint32_t cut = 1 + run_pick(run, 126);
    const struct cistern_key_group_range ranges[] = {{0, 127}, {0, cut - 1}, {cut, 127}};
    for (uint32_t i = 0; i < 3; i++) {
        if (i == 0 || run_pick(run, 2)) {
            frozen = flight->frozen;
            restore_and_compare(run, flight->capture, &frozen, ranges[i]);
        }
    }
    if (run_pick(run, 6) == 0 && !run->is_tiny) {
        restart(run, flight->capture, &flight->frozen);
        capture_free(flight->capture);
    } else if (flight->form != CISTERN_SNAPSHOT_CANONICAL) {
        capture_free(run->base);
        run->base = flight->capture;
    } else {
        capture_free(flight->capture);
    }
}

void snapshot_advance(struct kinds_run *run)
{
    struct in_flight *flight = &run->in_flight;
    if (flight->snapshot == NULL) {
        return;
    }
    if (run_pick(run, 60) == 0) {
        snapshot_give_up(run);
        return;
    }
    uint32_t status = capture_step(
        flight->capture, flight->snapshot, run->base, 1 + run_pick(run, 40000), &error);
    if (status == CISTERN_BUSY) {
        cistern_sleep_ns(1000000);
    } else if (status == CISTERN_NOT_FOUND) {
        snapshot_end(run);
    } else if (status == CISTERN_ABORTED && run->is_tiny) {
        run_log(run, "  ABORTED");
        snapshot_give_up(run);
    } else {
        assert_ok(status, error);
    }
}
