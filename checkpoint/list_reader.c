/* list_reader.c -- reads file lists line by line and merges a base with its deltas; see
 * list_private.h. */
#include "list_private.h"
#include "record_private.h"

#include "cistern/alloc.h"
#include "cistern/error.h"

#include <assert.h>
#include <string.h>

#define READER_BUFFER_BYTES                                                                        \
    (2 * LIST_LINE_BYTES_MAX) /* a whole line always fits beside a partly read one */

struct list_line {
    uint32_t is_removal;
    struct data_name name;
    struct part *part; /* owned; NULL for a removal */
};
struct list_reader {
    list_read_fn read;
    void *arg;
    struct list_ref ref;
    char path[NAME_BYTES_MAX];
    struct cistern_hash_stream *hash; /* of the whole file, as far as it was read */
    struct cistern_hash_stream *body_hash;
    struct frame_header header;
    uint64_t file_offset; /* of buffer[0] */
    uint32_t filled;
    uint32_t taken;
    uint32_t at_end; /* no more lines; the hash was right */
    uint32_t has_line;
    struct list_line line;
    char buffer[READER_BUFFER_BYTES];
};
struct list_merge {
    uint32_t count;
    struct list_reader *readers[LIST_COUNT_MAX];
};

static void reader_close(struct list_reader *reader)
{
    if (reader != NULL) {
        cistern_release(reader->line.part);
        cistern_hash_stream_destroy(reader->hash);
        cistern_hash_stream_destroy(reader->body_hash);
        cistern_release(reader);
    }
}

/* Moves what is left to the front and reads behind it. */
static uint32_t fill(struct list_reader *reader, struct cistern_error *error)
{
    memmove(reader->buffer, reader->buffer + reader->taken, reader->filled - reader->taken);
    reader->file_offset += reader->taken;
    reader->filled -= reader->taken;
    reader->taken = 0;
    uint64_t at = reader->file_offset + reader->filled;
    uint64_t wanted = READER_BUFFER_BYTES - reader->filled;
    if (wanted > reader->ref.bytes - at) {
        wanted = reader->ref.bytes - at;
    }
    if (wanted == 0) {
        return CISTERN_OK;
    }
    struct cistern_bytes into = {reader->buffer + reader->filled, wanted};
    uint64_t bytes;
    uint32_t status = reader->read(reader->arg, reader->path, at, into, &bytes, error);
    if (status != CISTERN_OK) {
        return status;
    }
    if (bytes != wanted) {
        return cistern_fail_corrupt(error, reader->path, at + bytes,
            "the list ends early: %llu bytes were recorded", (unsigned long long)reader->ref.bytes);
    }
    cistern_hash_stream_update(reader->hash, into.data, bytes);
    uint64_t skip = at < reader->header.header_bytes ? reader->header.header_bytes - at : 0;
    if (reader->header.header_bytes != 0 && skip < bytes) {
        cistern_hash_stream_update(reader->body_hash, (char *)into.data + skip, bytes - skip);
    }
    reader->filled += (uint32_t)bytes;
    return CISTERN_OK;
}

static uint32_t start(struct list_reader *reader, struct cistern_error *error)
{
    uint32_t status = fill(reader, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct cistern_span data = {reader->buffer, reader->filled};
    status = frame_header_parse(reader->path, "list", data, &reader->header, error);
    if (status != CISTERN_OK) {
        return status;
    }
    if (reader->header.header_bytes + reader->header.body_bytes != reader->ref.bytes) {
        return cistern_fail_corrupt(error, reader->path, 0,
            "the header line does not agree with the size of %llu bytes",
            (unsigned long long)reader->ref.bytes);
    }
    uint64_t body = reader->filled - reader->header.header_bytes;
    cistern_hash_stream_update(
        reader->body_hash, reader->buffer + reader->header.header_bytes, body);
    reader->taken = (uint32_t)reader->header.header_bytes;
    return CISTERN_OK;
}

static uint32_t reader_open(list_read_fn read, void *arg, const struct list_ref *ref,
    struct list_reader **ret_reader, struct cistern_error *error)
{
    struct list_reader *reader = cistern_allocate_zeroed(1, sizeof *reader);
    if (reader == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, NULL, "no memory for a list reader");
    }
    reader->read = read;
    reader->arg = arg;
    reader->ref = *ref;
    data_name_format(reader->path, &ref->name);
    reader->hash = cistern_hash_stream_create();
    reader->body_hash = cistern_hash_stream_create();
    uint32_t status = CISTERN_OK;
    if (reader->hash == NULL || reader->body_hash == NULL) {
        status = cistern_fail(error, CISTERN_NO_MEMORY, reader->path, "no memory for a hash");
    } else {
        status = start(reader, error);
    }
    if (status != CISTERN_OK) {
        reader_close(reader);
        return status;
    }
    *ret_reader = reader;
    return CISTERN_OK;
}

static uint32_t check_end(struct list_reader *reader, struct cistern_error *error)
{
    struct cistern_hash128 file = cistern_hash_stream_finish(reader->hash);
    struct cistern_hash128 body = cistern_hash_stream_finish(reader->body_hash);
    if (!cistern_hash128_equal(&file, &reader->ref.hash) ||
        !cistern_hash128_equal(&body, &reader->header.hash)) {
        return cistern_fail_corrupt(error, reader->path, reader->header.header_bytes,
            "the list does not have its recorded hash");
    }
    reader->at_end = 1;
    return CISTERN_OK;
}

static uint32_t parse_added(struct record *record, struct part **ret_part)
{
    struct part *part = part_create(record_text(record, "local", RESTORE_NAME_BYTES_MAX));
    if (part == NULL) {
        return cistern_fail(record->error, CISTERN_NO_MEMORY, record->path, "no memory for a part");
    }
    part->bytes = record_u64(record, "bytes", INT64_MAX);
    part->range = record_groups(record, "groups");
    (void)record_u64(record, "off", 0);
    record_hex(record, "origin", part->origin, sizeof part->origin);
    record_hex(record, "xxh128", part->hash.bytes, sizeof part->hash.bytes);
    if (cistern_part_role_parse(record_text(record, "role", 64), &part->role) != CISTERN_OK) {
        record_corrupt(record, "role", "is not a role this build knows");
    }
    if (part->restore_name[0] != '\0' && !restore_name_valid(part->restore_name)) {
        record_corrupt(record, "local", "is not a plain file name");
    }
    if (record->status != CISTERN_OK) {
        cistern_release(part);
        return record->status;
    }
    *ret_part = part;
    return CISTERN_OK;
}

static uint32_t parse_line(
    struct list_reader *reader, const json_t *object, uint64_t offset, struct cistern_error *error)
{
    static const char *const keys[] = {
        "bytes", "groups", "local", "name", "off", "op", "origin", "role", "xxh128", NULL};
    struct record record;
    record_open(&record, object, keys, reader->path, offset, error);
    const char *op = record_text(&record, "op", 1);
    struct data_name name = {0};
    if (!data_name_parse(record_text(&record, "name", NAME_BYTES_MAX), &name)) {
        record_corrupt(&record, "name", "is not the name of a data file");
    }
    if (reader->line.name.epoch != 0 && data_name_compare(&reader->line.name, &name) >= 0) {
        record_corrupt(&record, "name", "is not in order");
    }
    uint32_t is_removal = strcmp(op, "-") == 0;
    if (!is_removal && strcmp(op, "+") != 0) {
        record_corrupt(&record, "op", "is neither + nor -");
    }
    if (is_removal && !reader->ref.is_delta) {
        record_corrupt(&record, "op", "removes from a base list");
    }
    struct part *part = NULL;
    if (record.status == CISTERN_OK && !is_removal) {
        record.status = parse_added(&record, &part);
    }
    if (record.status != CISTERN_OK) {
        return record.status;
    }
    if (part != NULL) {
        part->name = name;
    }
    reader->line = (struct list_line){is_removal, name, part};
    reader->has_line = 1;
    return CISTERN_OK;
}

static uint32_t read_line(struct list_reader *reader, struct cistern_error *error)
{
    cistern_release(reader->line.part);
    reader->line.part = NULL;
    reader->has_line = 0;
    if (reader->file_offset + reader->taken == reader->ref.bytes) {
        return check_end(reader, error);
    }
    char *begin = reader->buffer + reader->taken;
    char *end = memchr(begin, '\n', reader->filled - reader->taken);
    if (end == NULL) {
        uint32_t status = fill(reader, error);
        if (status != CISTERN_OK) {
            return status;
        }
        begin = reader->buffer;
        end = memchr(begin, '\n', reader->filled);
    }
    uint64_t offset = reader->file_offset + reader->taken;
    if (end == NULL || (uint64_t)(end - begin) >= LIST_LINE_BYTES_MAX) {
        return cistern_fail_corrupt(
            error, reader->path, offset, "a line of more than %u bytes", LIST_LINE_BYTES_MAX);
    }
    struct cistern_span text = {begin, (uint64_t)(end - begin)};
    json_t *object;
    uint32_t status = frame_json_parse(reader->path, offset, text, &object, error);
    if (status != CISTERN_OK) {
        return status;
    }
    reader->taken += (uint32_t)text.bytes + 1;
    status = parse_line(reader, object, offset, error);
    json_decref(object);
    return status;
}

void list_merge_close(struct list_merge *merge)
{
    if (merge != NULL) {
        for (uint32_t index = 0; index < merge->count; index++) {
            reader_close(merge->readers[index]);
        }
        cistern_release(merge);
    }
}

uint32_t list_merge_open(list_read_fn read, void *arg, const struct list_ref *refs, uint32_t count,
    struct list_merge **ret_merge, struct cistern_error *error)
{
    assert(count <= LIST_COUNT_MAX);
    struct list_merge *merge = cistern_allocate_zeroed(1, sizeof *merge);
    if (merge == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, NULL, "no memory for a list");
    }
    uint32_t status = CISTERN_OK;
    for (uint32_t index = 0; index < count && status == CISTERN_OK; index++) {
        status = reader_open(read, arg, &refs[index], &merge->readers[index], error);
        merge->count += status == CISTERN_OK;
        if (status == CISTERN_OK) {
            status = read_line(merge->readers[index], error);
        }
    }
    if (status != CISTERN_OK) {
        list_merge_close(merge);
        return status;
    }
    *ret_merge = merge;
    return CISTERN_OK;
}

/* The reader with the smallest name; among equals the newest list, whose word counts. */
static struct list_reader *newest_of_smallest(const struct list_merge *merge)
{
    struct list_reader *best = NULL;
    for (uint32_t index = 0; index < merge->count; index++) {
        struct list_reader *reader = merge->readers[index];
        if (reader->has_line &&
            (best == NULL || data_name_compare(&reader->line.name, &best->line.name) <= 0)) {
            best = reader;
        }
    }
    return best;
}

static uint32_t skip_name(
    struct list_merge *merge, const struct data_name *name, struct cistern_error *error)
{
    for (uint32_t index = 0; index < merge->count; index++) {
        struct list_reader *reader = merge->readers[index];
        if (reader->has_line && data_name_compare(&reader->line.name, name) == 0) {
            uint32_t status = read_line(reader, error);
            if (status != CISTERN_OK) {
                return status;
            }
        }
    }
    return CISTERN_OK;
}

uint32_t list_merge_next(
    struct list_merge *merge, struct part **ret_part, struct cistern_error *error)
{
    for (;;) {
        struct list_reader *reader = newest_of_smallest(merge);
        if (reader == NULL) {
            *ret_part = NULL;
            return CISTERN_OK;
        }
        struct part *part = reader->line.part;
        struct data_name name = reader->line.name;
        reader->line.part = NULL;
        uint32_t status = skip_name(merge, &name, error);
        if (status != CISTERN_OK) {
            cistern_release(part);
            return status;
        }
        if (part != NULL) {
            *ret_part = part;
            return CISTERN_OK;
        }
    }
}
