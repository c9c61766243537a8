/*
 * restore.c -- state enters an empty backend: dispatches parts by what they are.
 *
 * Native table files of exactly our range are linked and opened; those of other ranges are read out
 * of a scratch database and written through the gate, as are the entries of `.seg` containers,
 * oldest first.
 * Threads: owner only. After a failure the backend can only be closed, and the message says so.
 */
#include "rocks_private.h"
#include "cistern/error.h"

#include <stdio.h>
#include <string.h>

static int is_native(uint32_t role)
{
    return role == CISTERN_ROLE_SST || role == CISTERN_ROLE_ROCKS_MANIFEST;
}

static int is_seg(uint32_t role)
{
    return role == CISTERN_ROLE_HEAP_BASE || role == CISTERN_ROLE_HEAP_INCREMENT ||
           role == CISTERN_ROLE_CANONICAL;
}

static uint32_t source_check(
    const struct rocks *rocks, const struct cistern_source *source, struct cistern_error *error)
{
    static const char *const readable[] = {"rocks", "heap", "canonical"};
    for (uint32_t i = 0; i < sizeof readable / sizeof readable[0]; i++) {
        if (strcmp(source->backend, readable[i]) == 0) {
            return CISTERN_OK;
        }
    }
    return cistern_fail(error, CISTERN_UNSUPPORTED, rocks->base.options.operator_id,
        "the rocks backend cannot read what backend \"%.40s\" wrote; take a canonical savepoint "
        "with that backend and restore it",
        source->backend);
}

static uint32_t restore_parts(
    struct rocks *rocks, const struct cistern_source *source, struct cistern_error *error)
{
    struct cistern_part part;
    uint32_t status = source->next(source->arg, &part, error);
    if (status == CISTERN_OK && is_native(part.role)) {
        return restore_native(rocks, source, &part, error);
    }
    while (status == CISTERN_OK) {
        if (!is_seg(part.role)) {
            return cistern_fail(error, CISTERN_CORRUPT, source->describe(source->arg),
                "a part of role %u among data containers: these parts do not belong together",
                part.role);
        }
        status = restore_seg(rocks, source, &part, error);
        if (status == CISTERN_OK) {
            status = source->next(source->arg, &part, error);
        }
    }
    return status == CISTERN_NOT_FOUND ? CISTERN_OK : status;
}

/* Half a state must not be taken for a state. */
static void give_up(struct rocks *rocks, struct cistern_error *error)
{
    static const char advice[] = " (close the backend: it holds part of the state)";
    if (rocks->db != NULL) {
        value_begin(rocks);
        struct cistern_error ignored;
        (void)!shim_db_close(rocks->db, &ignored);
        rocks->db = NULL;
    }
    if (error != NULL) {
        size_t used = strlen(error->message);
        size_t room = sizeof error->message - sizeof advice;
        snprintf(error->message + (used < room ? used : room), sizeof advice, "%s", advice);
    }
}

uint32_t restore_run(struct cistern_backend *backend, const struct cistern_source *source,
    struct cistern_error *error)
{
    struct rocks *rocks = rocks_of(backend);
    uint32_t status = rocks_usable(rocks, error);
    if (status == CISTERN_OK) {
        status = source_check(rocks, source, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    value_begin(rocks);
    status = restore_parts(rocks, source, error);
    for (uint32_t i = 0; i < backend->state_count; i++) {
        if (backend->states[i] != NULL && backend->states[i]->descriptor.kind == CISTERN_TIMERS) {
            timer_restored(rocks_state_of(backend->states[i]));
        }
    }
    if (status != CISTERN_OK) {
        give_up(rocks, error);
    }
    return status;
}
