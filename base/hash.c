/* hash.c -- 128-bit hashes and hex; see hash.h. */
#include "cistern/hash.h"
#include "cistern/alloc.h"

#include <assert.h>

/* XXH3 wants its state aligned to 64 bytes; the allocator gives 16, so the state stands inside a
 * larger block. */
struct cistern_hash_stream {
    XXH3_state_t *state;
    uint8_t storage[sizeof(XXH3_state_t) + 64];
};

static struct cistern_hash128 hash128_canonical(XXH128_hash_t raw)
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, raw);
    struct cistern_hash128 hash;
    static_assert(sizeof hash.bytes == sizeof canonical.digest, "XXH128 is 16 bytes");
    memcpy(hash.bytes, canonical.digest, sizeof hash.bytes);
    return hash;
}

struct cistern_hash128 cistern_hash128(const void *data, uint64_t bytes)
{
    return hash128_canonical(XXH3_128bits(data, bytes));
}

struct cistern_hash_stream *cistern_hash_stream_create(void)
{
    struct cistern_hash_stream *stream = cistern_allocate(sizeof *stream);
    if (stream != NULL) {
        stream->state = (XXH3_state_t *)(((uintptr_t)stream->storage + 63) & ~(uintptr_t)63);
        XXH3_INITSTATE(stream->state);
        cistern_hash_stream_reset(stream);
    }
    return stream;
}

void cistern_hash_stream_reset(struct cistern_hash_stream *stream)
{
    XXH3_128bits_reset(stream->state);
}

void cistern_hash_stream_update(
    struct cistern_hash_stream *stream, const void *data, uint64_t bytes)
{
    XXH3_128bits_update(stream->state, data, bytes);
}

struct cistern_hash128 cistern_hash_stream_finish(const struct cistern_hash_stream *stream)
{
    return hash128_canonical(XXH3_128bits_digest(stream->state));
}

void cistern_hash_stream_destroy(struct cistern_hash_stream *stream)
{
    cistern_release(stream);
}

void cistern_hex_format(char *text, const uint8_t *data, uint64_t bytes)
{
    static const char digits[] = "0123456789abcdef";
    for (uint64_t i = 0; i < bytes; i++) {
        text[2 * i] = digits[data[i] >> 4];
        text[2 * i + 1] = digits[data[i] & 15];
    }
    text[2 * bytes] = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

uint32_t cistern_hex_parse(uint8_t *data, uint64_t bytes, const char *text)
{
    for (uint64_t i = 0; i < bytes; i++) {
        int high = hex_digit(text[2 * i]);
        int low = high < 0 ? -1 : hex_digit(text[2 * i + 1]);
        if (low < 0) {
            return CISTERN_INVALID;
        }
        data[i] = (uint8_t)(high * 16 + low);
    }
    return text[2 * bytes] == '\0' ? CISTERN_OK : CISTERN_INVALID;
}
