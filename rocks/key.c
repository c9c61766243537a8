/* key.c -- addresses as RocksDB keys; see key_private.h. */
#include "key_private.h"
#include "cistern/endian.h"

#include <assert.h>
#include <string.h>

#define ONE_BYTE_PARALLELISM_MAX 128u
#define TAIL_VOID 0x00u
#define TAIL_NAMESPACE 0x01u
#define TAIL_AMBIGUOUS 0x02u
#define BODY_VOID 0x00u
#define BODY_NAMESPACE 0x01u
#define LENGTH_BYTES 2u

static_assert(CISTERN_KEY_BYTES_MAX <= UINT16_MAX, "a key's length is stored in two bytes");

static uint32_t form_of(uint32_t kind)
{
    if (kind == CISTERN_TIMERS) {
        return KEY_TIMED;
    }
    return kind == CISTERN_LIST || kind == CISTERN_MAP ? KEY_PREFIX : KEY_PLAIN;
}

struct key_layout key_layout_of(
    uint32_t max_parallelism, const struct cistern_state_descriptor *descriptor)
{
    struct key_layout layout = {
        .group_bytes = max_parallelism <= ONE_BYTE_PARALLELISM_MAX ? 1 : 2,
        .key_bytes = descriptor->key_bytes,
        .namespace_bytes = descriptor->namespace_bytes,
        .form = form_of(descriptor->kind),
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

static uint64_t body_bytes(const struct key_layout *layout, const struct cistern_address *address)
{
    uint64_t bytes = (layout->key_bytes == 0 ? LENGTH_BYTES : 0) + address->key.bytes + 1;
    if (address->name_space.data != NULL) {
        bytes += (layout->namespace_bytes == 0 ? LENGTH_BYTES : 0) + address->name_space.bytes;
    }
    return bytes;
}

/* The length, when the descriptor leaves it open, and the bytes. */
static uint8_t *part_write(uint32_t fixed_bytes, struct cistern_span part, uint8_t *to)
{
    if (fixed_bytes == 0) {
        cistern_put_u16_be(to, (uint16_t)part.bytes);
        to += LENGTH_BYTES;
    }
    if (part.bytes != 0) {
        memcpy(to, part.data, part.bytes);
    }
    return to + part.bytes;
}

static uint8_t *body_write(
    const struct key_layout *layout, const struct cistern_address *address, uint8_t *to)
{
    to = part_write(layout->key_bytes, address->key, to);
    if (address->name_space.data == NULL) {
        *to++ = BODY_VOID;
        return to;
    }
    *to++ = BODY_NAMESPACE;
    return part_write(layout->namespace_bytes, address->name_space, to);
}

/* 0 = the bytes end too early. Moves *rest behind the part. */
static int part_read(uint32_t fixed_bytes, struct cistern_span *rest, struct cistern_span *ret_part)
{
    const uint8_t *bytes = rest->data;
    uint64_t length = fixed_bytes;
    uint64_t head = 0;
    if (fixed_bytes == 0) {
        if (rest->bytes < LENGTH_BYTES) {
            return 0;
        }
        length = cistern_get_u16_be(bytes);
        head = LENGTH_BYTES;
    }
    if (rest->bytes - head < length) {
        return 0;
    }
    *ret_part = (struct cistern_span){bytes + head, length};
    *rest = (struct cistern_span){bytes + head + length, rest->bytes - head - length};
    return 1;
}

static int body_read(
    const struct key_layout *layout, struct cistern_span *rest, struct cistern_address *ret_address)
{
    if (!part_read(layout->key_bytes, rest, &ret_address->key) || rest->bytes == 0) {
        return 0;
    }
    uint8_t mark = *(const uint8_t *)rest->data;
    *rest = (struct cistern_span){(const uint8_t *)rest->data + 1, rest->bytes - 1};
    return mark == BODY_VOID || (mark == BODY_NAMESPACE && part_read(layout->namespace_bytes, rest,
                                                               &ret_address->name_space));
}

uint64_t key_encoded_bytes(const struct key_layout *layout, const struct cistern_address *address)
{
    if (layout->form == KEY_PREFIX) {
        return layout->group_bytes + body_bytes(layout, address);
    }
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
    assert(layout->form != KEY_TIMED);
    group_write(layout, address->key_group, into);
    if (layout->form == KEY_PREFIX) {
        return (uint64_t)(body_write(layout, address, into + layout->group_bytes) - into);
    }
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

uint64_t key_timer_bytes(const struct key_layout *layout, const struct cistern_address *address)
{
    return layout->group_bytes + KEY_NUMBER_BYTES + body_bytes(layout, address);
}

uint64_t key_timer_encode(const struct key_layout *layout, const struct cistern_address *address,
    int64_t time_ms, uint8_t *into)
{
    assert(layout->form == KEY_TIMED);
    group_write(layout, address->key_group, into);
    cistern_put_u64_be(into + layout->group_bytes, key_time_flip(time_ms));
    uint8_t *end = body_write(layout, address, into + layout->group_bytes + KEY_NUMBER_BYTES);
    return (uint64_t)(end - into);
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

static int plain_read(
    const struct key_layout *layout, struct cistern_span rest, struct cistern_address *ret_address)
{
    const uint8_t *bytes = rest.data;
    uint64_t key_bytes = 0;
    uint64_t used_bytes = 0;
    int has_namespace = 0;
    if (!body_split(layout, bytes, rest.bytes, &key_bytes, &used_bytes, &has_namespace)) {
        return 0;
    }
    ret_address->key = (struct cistern_span){bytes, key_bytes};
    if (has_namespace) {
        ret_address->name_space = (struct cistern_span){bytes + key_bytes, used_bytes - key_bytes};
    }
    return 1;
}

static int timed_read(const struct key_layout *layout, struct cistern_span rest,
    struct cistern_address *ret_address, struct cistern_span *ret_time)
{
    if (rest.bytes < KEY_NUMBER_BYTES) {
        return 0;
    }
    const uint8_t *bytes = rest.data;
    *ret_time = (struct cistern_span){bytes, KEY_NUMBER_BYTES};
    struct cistern_span body = {bytes + KEY_NUMBER_BYTES, rest.bytes - KEY_NUMBER_BYTES};
    return body_read(layout, &body, ret_address) && body.bytes == 0;
}

uint32_t key_decode(const struct key_layout *layout, struct cistern_span encoded,
    struct cistern_address *ret_address, struct cistern_span *ret_rest)
{
    if (encoded.bytes < layout->group_bytes) {
        return CISTERN_CORRUPT;
    }
    const uint8_t *bytes = encoded.data;
    struct cistern_span rest = {bytes + layout->group_bytes, encoded.bytes - layout->group_bytes};
    struct cistern_span tail = {NULL, 0};
    memset(ret_address, 0, sizeof *ret_address);
    ret_address->key_group = layout->group_bytes == 1 ? bytes[0] : cistern_get_u16_be(bytes);
    int is_good;
    if (layout->form == KEY_PREFIX) {
        is_good = body_read(layout, &rest, ret_address);
        tail = rest;
    } else if (layout->form == KEY_TIMED) {
        is_good = timed_read(layout, rest, ret_address, &tail);
    } else {
        is_good = plain_read(layout, rest, ret_address);
    }
    if (ret_rest != NULL) {
        *ret_rest = tail;
    }
    return is_good ? CISTERN_OK : CISTERN_CORRUPT;
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

uint64_t key_successor(uint8_t *bytes, uint64_t count)
{
    while (count != 0 && bytes[count - 1] == UINT8_MAX) {
        count--;
    }
    if (count != 0) {
        bytes[count - 1]++;
    }
    return count;
}
