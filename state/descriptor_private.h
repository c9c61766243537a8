/* descriptor_private.h -- what a descriptor may say, and how two of them differ. Threads: pure
 * functions. */
#ifndef CISTERN_DESCRIPTOR_PRIVATE_H
#define CISTERN_DESCRIPTOR_PRIVATE_H

#include "cistern/backend_ops.h"

#define SERIALIZER_BYTES_MAX 4096u
/* Twice the serializer in hex, a name, and the other fields several times over. */
#define DESCRIPTOR_TEXT_BYTES_MAX 16384u

/* What holds for a stored descriptor too: name, kind, sizes, TTL, serializer. INVALID;
 * UNSUPPORTED: event time. */
CISTERN_MUST_USE uint32_t descriptor_validate(
    const struct cistern_state_descriptor *descriptor, struct cistern_error *error);
/* What a host's descriptor must have besides: a reducer where the kind needs one, sizes within
 * value_bytes_max. */
CISTERN_MUST_USE uint32_t descriptor_validate_live(
    const struct cistern_state_descriptor *descriptor, uint64_t value_bytes_max,
    struct cistern_error *error);
/* OK, or `status` with a message that names the first field that differs and both values. The
 * stored twin of a host's descriptor has no function, and its TTL may change: whole != 0
 * compares these as well. */
/* A serializer that `given` replaces differs from none. */
CISTERN_MUST_USE uint32_t descriptor_compare(const struct cistern_state_descriptor *there,
    const struct cistern_state_descriptor *given, int whole, uint32_t status,
    struct cistern_error *error);
int descriptor_same_serializer(
    const struct cistern_state_descriptor *there, const struct cistern_state_descriptor *given);
/* `given` says that it replaces the serializer that is there. */
int descriptor_replaces(
    const struct cistern_state_descriptor *there, const struct cistern_state_descriptor *given);

#endif
