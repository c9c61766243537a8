/* endian.h -- unaligned integers in a stated byte order, for bytes that leave the process or are
 * agreed with a host. */
#ifndef CISTERN_ENDIAN_H
#define CISTERN_ENDIAN_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define CISTERN_ENDIAN_ACCESSORS(bits, order)                                                      \
    static inline uint##bits##_t cistern_get_u##bits##_##order(const void *from)                   \
    {                                                                                              \
        uint##bits##_t raw;                                                                        \
        memcpy(&raw, from, sizeof raw);                                                            \
        return order##bits##toh(raw);                                                              \
    }                                                                                              \
    static inline void cistern_put_u##bits##_##order(void *to, uint##bits##_t value)               \
    {                                                                                              \
        uint##bits##_t raw = hto##order##bits(value);                                              \
        memcpy(to, &raw, sizeof raw);                                                              \
    }
CISTERN_ENDIAN_ACCESSORS(16, le)
CISTERN_ENDIAN_ACCESSORS(32, le)
CISTERN_ENDIAN_ACCESSORS(64, le)
CISTERN_ENDIAN_ACCESSORS(16, be)
CISTERN_ENDIAN_ACCESSORS(32, be)
CISTERN_ENDIAN_ACCESSORS(64, be)
#undef CISTERN_ENDIAN_ACCESSORS

#endif
