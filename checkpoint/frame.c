/* frame.c -- encodes and decodes framed text records; see frame_private.h. */
#include "frame_private.h"

#include "cistern/alloc.h"
#include "cistern/error.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* jansson reports some refused allocations as syntax errors and writes behind its buffer at others:
 * it is given the memory all the same, and what it then returns is thrown away. Set and read inside
 * one call. */
static _Thread_local uint32_t json_memory_refused;

static void *allocate_for_json(size_t bytes)
{
    void *memory = cistern_allocate(bytes);
    if (memory == NULL) {
        json_memory_refused = 1;
        memory = cistern_allocate(bytes);
    }
    return memory;
}

static void install_allocator(void)
{
    json_set_alloc_funcs(allocate_for_json, cistern_release);
}

void frame_use_allocator(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, install_allocator);
}

uint32_t frame_header_format(char line[FRAME_HEADER_BYTES_MAX], const char *kind,
    uint64_t body_bytes, const struct cistern_hash128 *hash)
{
    char hex[33];
    cistern_hex_format(hex, hash->bytes, sizeof hash->bytes);
    int bytes = snprintf(line, FRAME_HEADER_BYTES_MAX, "CISTERN %s v%u bytes=%llu xxh128=%s\n",
        kind, FRAME_VERSION, (unsigned long long)body_bytes, hex);
    assert(bytes > 0 && (uint32_t)bytes < FRAME_HEADER_BYTES_MAX);
    return (uint32_t)bytes;
}

static int append_json(const char *data, size_t bytes, void *arg)
{
    struct text *text = arg;
    text_append(text, data, bytes);
    return text->failed ? -1 : 0;
}

uint32_t frame_encode(
    const char *kind, const json_t *body, struct text *text, struct cistern_error *error)
{
    struct text json = {0};
    if (json_dump_callback(body, append_json, &json, JSON_SORT_KEYS | JSON_INDENT(2)) != 0) {
        json.failed = 1;
    }
    text_append(&json, "\n", 1);
    if (!json.failed) {
        char line[FRAME_HEADER_BYTES_MAX];
        struct cistern_hash128 hash = cistern_hash128(json.data, json.bytes);
        text_append(text, line, frame_header_format(line, kind, json.bytes, &hash));
        text_append(text, json.data, json.bytes);
    }
    uint32_t failed = json.failed;
    text_release(&json);
    text->failed |= failed;
    return text_check(text, error);
}

/* The version after "CISTERN <kind> v" when the line has that form; 0 = not. */
static uint64_t read_version(const char *line, uint64_t bytes, uint64_t *ret_offset)
{
    uint64_t at = *ret_offset;
    uint64_t version = 0;
    while (at < bytes && line[at] >= '0' && line[at] <= '9' && version < 1000000) {
        version = version * 10 + (uint64_t)(line[at++] - '0');
    }
    int whole = at > *ret_offset && at < bytes && line[at] == ' ';
    *ret_offset = at;
    return whole ? version : 0;
}

static uint64_t first_difference(const char *a, const char *b, uint64_t bytes)
{
    uint64_t at = 0;
    while (at < bytes && a[at] == b[at]) {
        at++;
    }
    return at;
}

/* Reads bytes= and xxh128= loosely: the caller compares with the one canonical form of what was
 * read. */
static int read_fields(const char *line, uint64_t at, struct frame_header *header)
{
    char hex[33] = {0};
    unsigned long long body_bytes = 0;
    if (sscanf(line + at, " bytes=%19llu xxh128=%32[0-9a-f]", &body_bytes, hex) != 2) {
        return 0;
    }
    header->body_bytes = body_bytes;
    return cistern_hex_parse(header->hash.bytes, sizeof header->hash.bytes, hex) == CISTERN_OK;
}

uint32_t frame_header_parse(const char *object, const char *kind, struct cistern_span data,
    struct frame_header *ret_header, struct cistern_error *error)
{
    char line[FRAME_HEADER_BYTES_MAX + 1] = {0};
    uint64_t bytes = data.bytes < FRAME_HEADER_BYTES_MAX ? data.bytes : FRAME_HEADER_BYTES_MAX;
    if (bytes == 0) {
        return cistern_fail_corrupt(
            error, object, 0, "the file is empty; a record of kind %s was expected", kind);
    }
    memcpy(line, data.data, bytes);
    char start[64];
    uint64_t start_bytes = (uint64_t)snprintf(start, sizeof start, "CISTERN %s v", kind);
    uint64_t same = first_difference(line, start, start_bytes);
    if (same < start_bytes) {
        return cistern_fail_corrupt(error, object, same, "does not start with \"%s\"", start);
    }
    uint64_t at = start_bytes;
    uint64_t version = read_version(line, bytes, &at);
    if (version == 0) {
        return cistern_fail_corrupt(error, object, at, "the header line has no format version");
    }
    if (version != FRAME_VERSION) {
        uint32_t status = cistern_fail(error, CISTERN_UNSUPPORTED, object,
            "a %s of format version %llu; this build reads version %u", kind,
            (unsigned long long)version, FRAME_VERSION);
        if (error != NULL) {
            error->file_offset = start_bytes;
        }
        return status;
    }
    struct frame_header header = {0};
    char canonical[FRAME_HEADER_BYTES_MAX];
    if (!read_fields(line, at, &header)) {
        return cistern_fail_corrupt(
            error, object, at, "the header line is damaged after the version");
    }
    header.header_bytes = frame_header_format(canonical, kind, header.body_bytes, &header.hash);
    same = first_difference(line, canonical, header.header_bytes);
    if (same < header.header_bytes) {
        return cistern_fail_corrupt(error, object, same, "the header line is damaged");
    }
    *ret_header = header;
    return CISTERN_OK;
}

/* Depth and string length, before the parser recurses or allocates. */
static uint32_t check_limits(
    const char *object, uint64_t offset, struct cistern_span text, struct cistern_error *error)
{
    const char *bytes = text.data;
    uint32_t depth = 0;
    uint64_t string_start = UINT64_MAX; /* inside a string: where it began */
    for (uint64_t at = 0; at < text.bytes; at++) {
        char c = bytes[at];
        if (string_start != UINT64_MAX) {
            if (c == '\\') {
                at++;
            } else if (c == '"') {
                string_start = UINT64_MAX;
            } else if (at - string_start > FRAME_STRING_BYTES_MAX) {
                return cistern_fail_corrupt(error, object, offset + string_start,
                    "a string of more than %u bytes", FRAME_STRING_BYTES_MAX);
            }
        } else if (c == '"') {
            string_start = at;
        } else if (c == '{' || c == '[') {
            if (++depth > FRAME_DEPTH_MAX) {
                return cistern_fail_corrupt(
                    error, object, offset + at, "nested deeper than %u", FRAME_DEPTH_MAX);
            }
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return CISTERN_OK;
}

uint32_t frame_json_parse(const char *object, uint64_t offset, struct cistern_span text,
    json_t **ret_value, struct cistern_error *error)
{
    uint32_t status = check_limits(object, offset, text, error);
    if (status != CISTERN_OK) {
        return status;
    }
    json_error_t detail;
    json_memory_refused = 0;
    json_t *value = json_loadb(text.data, text.bytes, JSON_REJECT_DUPLICATES, &detail);
    if (json_memory_refused) {
        json_decref(value);
        return cistern_fail(error, CISTERN_NO_MEMORY, object,
            "no memory to read a record of %llu bytes", (unsigned long long)text.bytes);
    }
    if (value == NULL) {
        uint64_t at = detail.position > 0 ? (uint64_t)detail.position : 0;
        return cistern_fail_corrupt(error, object, offset + at, "not valid JSON: %s", detail.text);
    }
    *ret_value = value;
    return CISTERN_OK;
}

uint32_t frame_decode(const char *object, const char *kind, struct cistern_span data,
    struct frame_header *ret_header, json_t **ret_body, struct cistern_error *error)
{
    struct frame_header header;
    uint32_t status = frame_header_parse(object, kind, data, &header, error);
    if (status != CISTERN_OK) {
        return status;
    }
    if (header.body_bytes != data.bytes - header.header_bytes) {
        return cistern_fail_corrupt(error, object, data.bytes,
            "the record says %llu bytes after its header line, the file has %llu",
            (unsigned long long)header.body_bytes,
            (unsigned long long)(data.bytes - header.header_bytes));
    }
    struct cistern_span body = {(const char *)data.data + header.header_bytes, header.body_bytes};
    struct cistern_hash128 hash = cistern_hash128(body.data, body.bytes);
    if (!cistern_hash128_equal(&hash, &header.hash)) {
        return cistern_fail_corrupt(error, object, header.header_bytes,
            "the text does not have the hash its header line states");
    }
    status = frame_json_parse(object, header.header_bytes, body, ret_body, error);
    if (status == CISTERN_OK && ret_header != NULL) {
        *ret_header = header;
    }
    return status;
}
