/* process_fixture.h -- deriving from a list of settings, for the tests of the process model. */
#ifndef CISTERN_PROCESS_FIXTURE_H
#define CISTERN_PROCESS_FIXTURE_H

#include "cistern/process.h"
#include "test.h"

#include <string.h>

#define COUNT_OF(array) (uint32_t)(sizeof(array) / sizeof(array)[0])
#define PREFIX "taskmanager.memory."
#define MIB ((uint64_t)1 << 20)

static inline uint64_t bytes_of(const struct cistern_process_spec *spec, uint32_t component)
{
    return spec->parts[component].bytes;
}

/* Derives from the given settings; a refusal is the test's failure. */
static inline struct cistern_process_spec derived(
    const struct cistern_process_setting *settings, uint32_t count)
{
    struct cistern_process_spec spec;
    struct cistern_error error;
    assert_ok(cistern_process_spec_derive(settings, count, &spec, NULL, &error), error);
    return spec;
}

static inline struct cistern_process_refusal refused(
    const struct cistern_process_setting *settings, uint32_t count)
{
    struct cistern_process_spec spec;
    struct cistern_process_refusal refusal;
    struct cistern_error error;
    memset(&spec, 0x5A, sizeof spec);
    assert_status(
        cistern_process_spec_derive(settings, count, &spec, &refusal, &error), CISTERN_INVALID);
    for (size_t i = 0; i < sizeof spec; i++) {
        assert_int_equal(((const uint8_t *)&spec)[i], 0x5A); /* written only on success */
    }
    assert_string_equal(error.object, refusal.option);
    assert_memory_equal(error.message, refusal.message,
        strlen(refusal.message) < 255 ? strlen(refusal.message) + 1 : 255);
    assert_true(refusal.advice != NULL && refusal.advice[0] != '\0');
    return refusal;
}

#endif
