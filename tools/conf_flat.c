/*
 * conf_flat.c -- flink-conf.yaml by Flink's own line rules, which are not YAML's: everything from
 * the first '#' on is a comment, the first ": " ends the key, and a line that has none is skipped
 * with a warning.
 */
#include "conf.h"

#include "cistern/error.h"

#include <string.h>

struct slice {
    const char *begin;
    uint64_t bytes;
};

/* As Java's trim(): every character up to the space. */
static struct slice trimmed(struct slice slice)
{
    while (slice.bytes > 0 && (unsigned char)slice.begin[0] <= ' ') {
        slice.begin++;
        slice.bytes--;
    }
    while (slice.bytes > 0 && (unsigned char)slice.begin[slice.bytes - 1] <= ' ') {
        slice.bytes--;
    }
    return slice;
}

static uint32_t line_read(
    struct conf *conf, struct conf_origin origin, struct slice line, struct cistern_error *error)
{
    const char *comment = memchr(line.begin, '#', line.bytes);
    if (comment != NULL) {
        line.bytes = (uint64_t)(comment - line.begin);
    }
    line = trimmed(line);
    if (line.bytes == 0) {
        return CISTERN_OK;
    }
    const char *colon = memmem(line.begin, line.bytes, ": ", 2);
    if (colon == NULL) {
        conf_warn(conf, "%s:%u: skipped, as Flink does: no \": \" between key and value",
            origin.file, origin.line);
        return CISTERN_OK;
    }
    struct slice key = trimmed((struct slice){line.begin, (uint64_t)(colon - line.begin)});
    struct slice value =
        trimmed((struct slice){colon + 2, line.bytes - (uint64_t)(colon + 2 - line.begin)});
    if (key.bytes == 0 || value.bytes == 0) {
        conf_warn(
            conf, "%s:%u: skipped, as Flink does: key or value is empty", origin.file, origin.line);
        return CISTERN_OK;
    }
    if (key.bytes > CONF_KEY_BYTES_MAX) {
        return cistern_fail(error, CISTERN_INVALID, origin.file, "%s:%u: a key of %llu bytes",
            origin.file, origin.line, (unsigned long long)key.bytes);
    }
    return conf_add(conf, origin, key.begin, key.bytes, value.begin, value.bytes, error);
}

uint32_t conf_read_flat(struct conf *conf, const char *name, const char *text, uint64_t bytes,
    struct cistern_error *error)
{
    struct conf_origin origin = {name, 0};
    uint64_t at = 0;
    while (at < bytes) {
        const char *end = memchr(text + at, '\n', bytes - at);
        uint64_t length = end != NULL ? (uint64_t)(end - text) - at : bytes - at;
        origin.line++;
        if (memchr(text + at, '\0', length) != NULL) {
            return cistern_fail(error, CISTERN_INVALID, name, "%s:%u: a NUL byte: this is no text",
                name, origin.line);
        }
        uint32_t status = line_read(conf, origin, (struct slice){text + at, length}, error);
        if (status != CISTERN_OK) {
            return status;
        }
        at += length + 1;
    }
    return CISTERN_OK;
}
