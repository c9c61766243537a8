/* list.c -- writes the lines of a file list; see list_private.h. The lines are formatted here
 * without a JSON tree: every text in them is from an alphabet that needs no escaping. */
#include "list_private.h"

#include "cistern/alloc.h"
#include "cistern/error.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static uint32_t format_added(char line[LIST_LINE_BYTES_MAX], const struct part *part)
{
    char name[NAME_BYTES_MAX];
    char hash[33];
    char origin[2 * CISTERN_ORIGIN_BYTES + 1];
    data_name_format(name, &part->name);
    cistern_hex_format(hash, part->hash.bytes, sizeof part->hash.bytes);
    cistern_hex_format(origin, part->origin, sizeof part->origin);
    int bytes = snprintf(line, LIST_LINE_BYTES_MAX,
        "{\"bytes\":%llu,\"groups\":[%u,%u],\"local\":\"%s\",\"name\":\"%s\",\"off\":0,\"op\":\"+"
        "\",\"origin\":\"%s\",\"role\":\"%s\","
        "\"xxh128\":\"%s\"}\n",
        (unsigned long long)part->bytes, part->range.first, part->range.last, part->restore_name,
        name, origin, cistern_part_role_name(part->role), hash);
    assert(bytes > 0 && (uint32_t)bytes < LIST_LINE_BYTES_MAX);
    return (uint32_t)bytes;
}

static uint32_t format_removed(char line[LIST_LINE_BYTES_MAX], const struct part *part)
{
    char name[NAME_BYTES_MAX];
    data_name_format(name, &part->name);
    int bytes = snprintf(line, LIST_LINE_BYTES_MAX, "{\"name\":\"%s\",\"op\":\"-\"}\n", name);
    assert(bytes > 0 && (uint32_t)bytes < LIST_LINE_BYTES_MAX);
    return (uint32_t)bytes;
}

/* Formats the next line of the difference, in name order; 0 = no more. */
static uint32_t next_line(struct list_encoder *encoder)
{
    const struct part_list *before = encoder->before;
    const struct part_list *after = encoder->after;
    for (;;) {
        const struct part *old = NULL;
        const struct part *new = NULL;
        if (before != NULL && encoder->before_index < before->count) {
            old = before->parts[encoder->before_index];
        }
        if (encoder->after_index < after->count) {
            new = after->parts[encoder->after_index];
        }
        if (old == NULL && new == NULL) {
            return 0;
        }
        int order = old == NULL ? 1 : new == NULL ? -1 : data_name_compare(&old->name, &new->name);
        encoder->before_index += order <= 0;
        encoder->after_index += order >= 0;
        if (order < 0) {
            return format_removed(encoder->line, old);
        }
        if (order > 0) {
            return format_added(encoder->line, new);
        }
    }
}

static void rewind_lines(struct list_encoder *encoder)
{
    encoder->before_index = 0;
    encoder->after_index = 0;
    encoder->line_bytes = 0;
    encoder->line_taken = 0;
}

/* The header states the body's hash and the slice states the file's: both come out of passes
 * over the same lines. */
static struct cistern_hash128 hash_body(
    struct list_encoder *encoder, struct cistern_hash_stream *stream, uint64_t *ret_bytes)
{
    uint32_t bytes;
    *ret_bytes = 0;
    rewind_lines(encoder);
    while ((bytes = next_line(encoder)) > 0) {
        cistern_hash_stream_update(stream, encoder->line, bytes);
        *ret_bytes += bytes;
    }
    return cistern_hash_stream_finish(stream);
}

uint32_t list_encoder_begin(struct list_encoder *encoder, const struct part_list *before,
    const struct part_list *after, uint64_t *ret_bytes, struct cistern_hash128 *ret_hash,
    struct cistern_error *error)
{
    struct cistern_hash_stream *stream = cistern_hash_stream_create();
    if (stream == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, NULL, "no memory for a hash");
    }
    encoder->before = before;
    encoder->after = after;
    uint64_t body_bytes;
    char header[FRAME_HEADER_BYTES_MAX];
    struct cistern_hash128 hash = hash_body(encoder, stream, &body_bytes);
    uint32_t header_bytes = frame_header_format(header, "list", body_bytes, &hash);
    cistern_hash_stream_reset(stream);
    cistern_hash_stream_update(stream, header, header_bytes);
    *ret_hash = hash_body(encoder, stream, &body_bytes);
    *ret_bytes = header_bytes + body_bytes;
    cistern_hash_stream_destroy(stream);
    if (*ret_bytes > LIST_BYTES_MAX) {
        return cistern_fail(error, CISTERN_LIMIT, NULL,
            "a file list of %llu bytes; at most %u are kept: too many files in one slot",
            (unsigned long long)*ret_bytes, LIST_BYTES_MAX);
    }
    rewind_lines(encoder);
    memcpy(encoder->line, header, header_bytes);
    encoder->line_bytes = header_bytes;
    return CISTERN_OK;
}

uint64_t list_encoder_take(struct list_encoder *encoder, struct cistern_bytes into)
{
    uint64_t taken = 0;
    while (taken < into.capacity_bytes) {
        if (encoder->line_taken == encoder->line_bytes) {
            encoder->line_taken = 0;
            encoder->line_bytes = next_line(encoder);
            if (encoder->line_bytes == 0) {
                break;
            }
        }
        uint64_t bytes = encoder->line_bytes - encoder->line_taken;
        if (bytes > into.capacity_bytes - taken) {
            bytes = into.capacity_bytes - taken;
        }
        memcpy((char *)into.data + taken, encoder->line + encoder->line_taken, bytes);
        encoder->line_taken += (uint32_t)bytes;
        taken += bytes;
    }
    return taken;
}
