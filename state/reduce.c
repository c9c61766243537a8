/* reduce.c -- combines a value and an input into the next value; see backend_ops.h. */
#include "cistern/backend_ops.h"
#include "cistern/endian.h"
#include "cistern/error.h"

#include <assert.h>

#define I64_BYTES 8u

static uint64_t i64_combine(uint32_t reduce, uint64_t old_value, uint64_t input)
{
    switch (reduce) {
    case CISTERN_REDUCE_SUM_I64:
        return old_value + input; /* unsigned: wraps in two's complement, as Java's long does */
    case CISTERN_REDUCE_MIN_I64:
        return (int64_t)old_value <= (int64_t)input ? old_value : input;
    default:
        assert(reduce == CISTERN_REDUCE_MAX_I64);
        return (int64_t)old_value >= (int64_t)input ? old_value : input;
    }
}

static uint32_t operand_check(const struct cistern_state_descriptor *descriptor, const char *which,
    struct cistern_span operand, struct cistern_error *error)
{
    if (operand.data != NULL && operand.bytes == I64_BYTES) {
        return CISTERN_OK;
    }
    return cistern_fail(error, CISTERN_INVALID, descriptor->name,
        "state \"%s\": %s has %llu bytes; the reducer %s works on integers of 8 bytes",
        descriptor->name, which, (unsigned long long)operand.bytes,
        cistern_reduce_name(descriptor->reduce));
}

static uint32_t i64_apply(const struct cistern_state_descriptor *descriptor,
    struct cistern_span old_value, struct cistern_span input, struct cistern_bytes result,
    uint64_t *ret_bytes, struct cistern_error *error)
{
    uint32_t status = operand_check(descriptor, "the input", input, error);
    if (status == CISTERN_OK && old_value.data != NULL) {
        status = operand_check(descriptor, "the stored value", old_value, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    *ret_bytes = I64_BYTES;
    if (result.capacity_bytes < I64_BYTES) {
        return CISTERN_LIMIT;
    }
    uint64_t value = cistern_get_u64_be(input.data);
    if (old_value.data != NULL) {
        value = i64_combine(descriptor->reduce, cistern_get_u64_be(old_value.data), value);
    }
    cistern_put_u64_be(result.data, value);
    return CISTERN_OK;
}

uint32_t cistern_reduce_apply(const struct cistern_state_descriptor *descriptor,
    struct cistern_span old_value, struct cistern_span input, struct cistern_bytes result,
    uint64_t *ret_bytes, struct cistern_error *error)
{
    if (descriptor->reduce != CISTERN_REDUCE_NONE) {
        return i64_apply(descriptor, old_value, input, result, ret_bytes, error);
    }
    if (descriptor->reduce_fn == NULL) {
        return cistern_fail(error, CISTERN_INVALID, descriptor->name,
            "state \"%s\" has no reducer: register it first", descriptor->name);
    }
    uint64_t wanted = descriptor->reduce_fn(descriptor->reduce_arg, old_value, input, result);
    *ret_bytes = wanted;
    return wanted <= result.capacity_bytes ? CISTERN_OK : CISTERN_LIMIT;
}
