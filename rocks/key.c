/* key.c -- addresses as RocksDB keys; see key_private.h. */
#include "key_private.h"
#include "cistern/endian.h"

#include <assert.h>
#include <string.h>

#define ONE_BYTE_PARALLELISM_MAX 128u
#define TAIL_VOID 0x00u
#define TAIL_NAMESPACE 0x01u
#define TAIL_AMBIGUOUS 0x02u

static_assert(CISTERN_KEY_BYTES_MAX <= UINT16_MAX, "a key's length is stored in two bytes");

struct key_layout key_layout_of(
    uint32_t max_parallelism, const struct cistern_state_descriptor *descriptor)
{
    struct key_layout layout = {
        .group_bytes = max_parallelism <= ONE_BYTE_PARALLELISM_MAX ? 1 : 2,
        .key_bytes = descriptor->key_bytes,
        .namespace_bytes = descriptor->namespace_bytes,
    };
    return layout;
}

static uint32_t tail_bytes(const struct key_layout *layout, int has_namespace)
{
    if (layout->key_bytes != 0) {
        return has_namespace && layout->namespace_bytes == 0 ? 1 : 0;
    }
    return has_namespace && layout->namespace_bytes == 0 ? 3 : 1;
}

static void tail_write(
    const struct key_layout *layout, const struct cistern_address *address, uint8_t *into)
{
    int has_namespace = address->name_space.data != NULL;
    switch (tail_bytes(layout, has_namespace)) {
    case 0:
        break;
    case 1:
        into[0] = has_namespace ? TAIL_NAMESPACE : TAIL_VOID;
        break;
    default:
        cistern_put_u16_be(into, (uint16_t)address->key.bytes);
        into[2] = TAIL_AMBIGUOUS;
        break;
    }
}

uint64_t key_encoded_bytes(const struct key_layout *layout, const struct cistern_address *address)
{
    int has_namespace = address->name_space.data != NULL;
    uint64_t bytes = layout->group_bytes + address->key.bytes + tail_bytes(layout, has_namespace);
    return has_namespace ? bytes + address->name_space.bytes : bytes;
}

static void group_write(const struct key_layout *layout, uint32_t key_group, uint8_t *into)
{
    if (layout->group_bytes == 1) {
        into[0] = (uint8_t)key_group;
    } else {
        cistern_put_u16_be(into, (uint16_t)key_group);
    }
}

uint64_t key_encode(
    const struct key_layout *layout, const struct cistern_address *address, uint8_t *into)
{
    assert(layout->key_bytes == 0 || address->key.bytes == layout->key_bytes);
    assert(address->key.bytes <= CISTERN_KEY_BYTES_MAX);
    group_write(layout, address->key_group, into);
    uint64_t used = layout->group_bytes;
    if (address->key.bytes != 0) {
        memcpy(into + used, address->key.data, address->key.bytes);
        used += address->key.bytes;
    }
    if (address->name_space.data != NULL && address->name_space.bytes != 0) {
        memcpy(into + used, address->name_space.data, address->name_space.bytes);
        used += address->name_space.bytes;
    }
    tail_write(layout, address, into + used);
    return used + tail_bytes(layout, address->name_space.data != NULL);
}

/* What follows the key group, split by the sizes: key_bytes of `rest` are the key; has_namespace
 * says whether the bytes behind it, up to *ret_body_bytes, are a namespace. Returns 0 when the
 * sizes do not fit. */
static int body_split(const struct key_layout *layout, const uint8_t *rest, uint64_t rest_bytes,
    uint64_t *ret_key_bytes, uint64_t *ret_body_bytes, int *ret_has_namespace)
{
    uint64_t key_bytes = layout->key_bytes;
    uint64_t body = rest_bytes;
    int has_namespace = 1;
    if (key_bytes != 0 && rest_bytes == key_bytes) {
        has_namespace = 0;
    } else if (key_bytes != 0 && layout->namespace_bytes != 0) {
        if (rest_bytes != key_bytes + layout->namespace_bytes) {
            return 0;
        }
    } else {
        if (rest_bytes == 0) {
            return 0;
        }
        uint8_t tail = rest[rest_bytes - 1];
        body = rest_bytes - 1;
        if (key_bytes != 0) {
            has_namespace = tail == TAIL_NAMESPACE && body >= key_bytes;
            if (!has_namespace) {
                return 0;
            }
        } else if (tail == TAIL_VOID) {
            key_bytes = body;
            has_namespace = 0;
        } else if (tail == TAIL_NAMESPACE && layout->namespace_bytes != 0 &&
                   body >= layout->namespace_bytes) {
            key_bytes = body - layout->namespace_bytes;
        } else if (tail == TAIL_AMBIGUOUS && layout->namespace_bytes == 0 && body >= 2) {
            body -= 2;
            key_bytes = cistern_get_u16_be(rest + body);
        } else {
            return 0;
        }
    }
    *ret_key_bytes = key_bytes;
    *ret_body_bytes = body;
    *ret_has_namespace = has_namespace;
    return key_bytes <= body && key_bytes <= CISTERN_KEY_BYTES_MAX;
}

uint32_t key_decode(const struct key_layout *layout, struct cistern_span encoded,
    struct cistern_address *ret_address)
{
    if (encoded.bytes < layout->group_bytes) {
        return CISTERN_CORRUPT;
    }
    const uint8_t *bytes = encoded.data;
    const uint8_t *rest = bytes + layout->group_bytes;
    uint64_t key_bytes = 0;
    uint64_t body_bytes = 0;
    int has_namespace = 0;
    if (!body_split(layout, rest, encoded.bytes - layout->group_bytes, &key_bytes, &body_bytes,
            &has_namespace)) {
        return CISTERN_CORRUPT;
    }
    memset(ret_address, 0, sizeof *ret_address);
    ret_address->key_group = layout->group_bytes == 1 ? bytes[0] : cistern_get_u16_be(bytes);
    ret_address->key.data = rest;
    ret_address->key.bytes = key_bytes;
    if (has_namespace) {
        ret_address->name_space.data = rest + key_bytes;
        ret_address->name_space.bytes = body_bytes - key_bytes;
    }
    return CISTERN_OK;
}

uint32_t key_group_bound(
    const struct key_layout *layout, uint32_t key_group, uint8_t into[KEY_GROUP_BYTES_MAX])
{
    if (key_group >= 1u << (8 * layout->group_bytes)) {
        return 0;
    }
    group_write(layout, key_group, into);
    return layout->group_bytes;
}
