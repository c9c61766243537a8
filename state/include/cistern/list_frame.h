/*
 * list_frame.h -- list elements one behind the other: how both backends and the canonical form hold
 * them. For implementers of backends.
 *
 * A frame is [varint length, when the state's value_bytes is 0] [i64 little-endian written_ms, when
 * the run has stamps] element. Runs of frames are joined by putting them behind each other.
 * In the canonical container a list is one entry per run: user_key = 8 bytes big-endian, ascending
 * in the order of the runs, unique within the list; value = the frames; has_written = the frames
 * have stamps.
 * Threads: pure functions.
 */
#ifndef CISTERN_LIST_FRAME_H
#define CISTERN_LIST_FRAME_H

#include "cistern/backend.h"
#include "cistern/endian.h"

#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cistern_frame_format {
    uint32_t element_bytes; /* 0 = variable */
    uint32_t has_written;
};
struct cistern_frame {
    struct cistern_span element; /* points into the run */
    int64_t written_ms;          /* 0 without stamps */
    uint64_t bytes;              /* of the whole frame */
};

static inline uint64_t cistern_frame_bytes(
    const struct cistern_frame_format *format, uint64_t element_bytes)
{
    uint64_t bytes = element_bytes + (format->has_written ? sizeof(int64_t) : 0);
    for (uint64_t rest = format->element_bytes == 0 ? element_bytes | 1 : 0; rest != 0;
         rest >>= 7) {
        bytes++;
    }
    return bytes;
}

/* Writes exactly cistern_frame_bytes(); returns the place behind. */
static inline uint8_t *cistern_frame_write(const struct cistern_frame_format *format, uint8_t *to,
    struct cistern_span element, int64_t written_ms)
{
    if (format->element_bytes == 0) {
        uint64_t length = element.bytes;
        while (length >= 0x80) {
            *to++ = (uint8_t)(length | 0x80);
            length >>= 7;
        }
        *to++ = (uint8_t)length;
    }
    if (format->has_written) {
        cistern_put_u64_le(to, (uint64_t)written_ms);
        to += sizeof written_ms;
    }
    if (element.bytes != 0) {
        memcpy(to, element.data, element.bytes);
    }
    return to + element.bytes;
}

/* The frame at run[offset]. 0 = the bytes are no frame (they come from outside, or the run ends
 * here). */
int cistern_frame_read(const struct cistern_frame_format *format, struct cistern_span run,
    uint64_t offset, struct cistern_frame *ret_frame);

#ifdef __cplusplus
}
#endif
#endif
