/* list_frame.c -- see cistern/list_frame.h. */
#include "cistern/list_frame.h"

#define WRITTEN_BYTES 8u
#define VARINT_BYTES_MAX 10u

/* 0 = no varint of at most 64 bits stands there. */
static int length_read(struct cistern_span run, uint64_t *offset, uint64_t *ret_length)
{
    const uint8_t *bytes = run.data;
    uint64_t length = 0;
    for (uint32_t i = 0; i < VARINT_BYTES_MAX && *offset < run.bytes; i++) {
        uint64_t byte = bytes[(*offset)++];
        if (i == VARINT_BYTES_MAX - 1 && byte > 1) {
            return 0;
        }
        length |= (byte & 0x7f) << (7 * i);
        if ((byte & 0x80) == 0) {
            *ret_length = length;
            return 1;
        }
    }
    return 0;
}

int cistern_frame_read(const struct cistern_frame_format *format, struct cistern_span run,
    uint64_t offset, struct cistern_frame *ret_frame)
{
    uint64_t at = offset;
    uint64_t length = format->element_bytes;
    if (offset >= run.bytes || (length == 0 && !length_read(run, &at, &length))) {
        return 0;
    }
    ret_frame->written_ms = 0;
    if (format->has_written) {
        if (run.bytes - at < WRITTEN_BYTES) {
            return 0;
        }
        ret_frame->written_ms = (int64_t)cistern_get_u64_le((const uint8_t *)run.data + at);
        at += WRITTEN_BYTES;
    }
    if (run.bytes - at < length) {
        return 0;
    }
    ret_frame->element = (struct cistern_span){(const uint8_t *)run.data + at, length};
    ret_frame->bytes = at + length - offset;
    return 1;
}
