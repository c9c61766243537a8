/* log.c -- the commit log of a root: finding its tail, reading, appending; see log_private.h. */
#include "log_private.h"

#include "failpoint_private.h"
#include "frame_private.h"
#include "place_private.h"
#include "record_private.h"
#include "store_private.h"

#include "cistern/endian.h"
#include "cistern/error.h"

#include <assert.h>
#include <string.h>

static const char *const kind_names[] = {[COMMIT_TAKEOVER] = "takeover",
    [COMMIT_CHECKPOINT] = "checkpoint",
    [COMMIT_SAVEPOINT] = "savepoint",
    [COMMIT_RETIRE] = "retire",
    [COMMIT_FINISH] = "finish"};

static struct place place_of(const struct commit_log *log)
{
    return place_of_store(log->store);
}

static uint32_t encode(
    const struct commit_record *record, struct text *text, struct cistern_error *error)
{
    json_t *object = json_object();
    int failed = record_put_u64(object, "checkpoint_id", record->checkpoint_id);
    failed |= record_put_u64(object, "epoch", record->epoch);
    failed |= record_put_text(object, "kind", kind_names[record->kind]);
    failed |= record_put_hex(object, "nonce", record->nonce, sizeof record->nonce);
    failed |= record_put_u64(object, "number", record->number);
    failed |= record_put_u64(object, "time_ms", (uint64_t)record->time_ms);
    if (record->kind == COMMIT_CHECKPOINT || record->kind == COMMIT_SAVEPOINT) {
        failed |= record_put_u64(object, "manifest_bytes", record->manifest_bytes);
        failed |= record_put_hex(object, "manifest_xxh128", record->manifest_hash.bytes,
            sizeof record->manifest_hash.bytes);
    }
    if (record->kind == COMMIT_SAVEPOINT) {
        failed |= record_put_text(object, "directory", record->directory);
    }
    uint32_t status =
        failed ? cistern_fail(error, CISTERN_NO_MEMORY, NULL, "no memory for a commit record")
               : frame_encode("commit", object, text, error);
    json_decref(object);
    assert(status != CISTERN_OK || text->bytes <= LOG_RECORD_BYTES_MAX);
    return status;
}

static void parse_kind(struct record *reader, struct commit_record *record)
{
    const char *kind = record_text(reader, "kind", 16);
    for (uint32_t index = COMMIT_TAKEOVER; index <= COMMIT_FINISH; index++) {
        if (strcmp(kind, kind_names[index]) == 0) {
            record->kind = index;
        }
    }
    if (record->kind == 0) {
        record_corrupt(reader, "kind", "is not a kind of commit record");
    }
}

static uint32_t parse(const char *path, uint64_t offset, const json_t *body, uint64_t number,
    struct commit_record *record, struct cistern_error *error)
{
    static const char *const keys[] = {"checkpoint_id", "directory", "epoch", "kind",
        "manifest_bytes", "manifest_xxh128", "nonce", "number", "time_ms", NULL};
    struct record reader;
    record_open(&reader, body, keys, path, offset, error);
    record->number = record_u64(&reader, "number", LOG_NUMBER_MAX);
    if (record->number != number) {
        record_corrupt(&reader, "number", "is not the one in the file's name");
    }
    record->checkpoint_id = record_u64(&reader, "checkpoint_id", UINT64_MAX);
    record->epoch = record_u64(&reader, "epoch", UINT64_MAX);
    record->time_ms = record_time(&reader, "time_ms");
    record_hex(&reader, "nonce", record->nonce, sizeof record->nonce);
    parse_kind(&reader, record);
    if (record->kind == COMMIT_CHECKPOINT || record->kind == COMMIT_SAVEPOINT) {
        record->manifest_bytes = record_u64(&reader, "manifest_bytes", UINT64_MAX);
        record_hex(&reader, "manifest_xxh128", record->manifest_hash.bytes,
            sizeof record->manifest_hash.bytes);
    }
    if (record->kind == COMMIT_SAVEPOINT) {
        record_text_copy(&reader, "directory", record->directory, sizeof record->directory);
    }
    if (record->epoch == 0) {
        record_corrupt(&reader, "epoch", "is 0");
    }
    return reader.status;
}

uint32_t commit_log_read(const struct commit_log *log, uint64_t number,
    struct commit_record *ret_record, struct cistern_error *error)
{
    struct place place = place_of(log);
    struct text text = {0};
    char name[NAME_BYTES_MAX];
    json_t *body;
    struct frame_header header;
    struct commit_record record = {0};
    log_name_format(name, number);
    uint32_t status = place_load(&place, name, LOG_RECORD_BYTES_MAX, &text, error);
    if (status == CISTERN_OK) {
        struct cistern_span data = {text.data, text.bytes};
        status = frame_decode(name, "commit", data, &header, &body, error);
    }
    if (status == CISTERN_OK) {
        status = parse(name, header.header_bytes, body, number, &record, error);
        json_decref(body);
    }
    text_release(&text);
    if (status == CISTERN_OK) {
        *ret_record = record;
    }
    return status;
}

uint32_t commit_log_floor(
    const struct commit_log *log, uint64_t *ret_floor, struct cistern_error *error)
{
    static const char *const keys[] = {"number", NULL};
    struct place place = place_of(log);
    struct text text = {0};
    json_t *body;
    struct frame_header header;
    uint32_t status = place_load(&place, "log/FLOOR", LOG_RECORD_BYTES_MAX, &text, error);
    if (status == CISTERN_NOT_FOUND) {
        *ret_floor = 1;
        return CISTERN_OK;
    }
    if (status == CISTERN_OK) {
        status = frame_decode("log/FLOOR", "floor", (struct cistern_span){text.data, text.bytes},
            &header, &body, error);
    }
    if (status == CISTERN_OK) {
        struct record reader;
        record_open(&reader, body, keys, "log/FLOOR", header.header_bytes, error);
        uint64_t floor = record_u64(&reader, "number", LOG_NUMBER_MAX);
        status = reader.status;
        *ret_floor = floor == 0 ? 1 : floor;
        json_decref(body);
    }
    text_release(&text);
    return status;
}

static uint32_t exists(const struct commit_log *log, uint64_t number, uint32_t *ret_exists,
    struct cistern_error *error)
{
    struct place place = place_of(log);
    char name[NAME_BYTES_MAX];
    uint64_t bytes;
    log_name_format(name, number);
    uint32_t status = place_size(&place, name, &bytes, error);
    *ret_exists = status == CISTERN_OK;
    return status == CISTERN_NOT_FOUND ? CISTERN_OK : status;
}

/* The largest number a listing shows; the listing may be old, so it is only where probing
 * starts. */
static uint32_t hint(
    const struct commit_log *log, uint64_t *ret_number, struct cistern_error *error)
{
    struct place place = place_of(log);
    struct place_entry *entries;
    uint32_t status = place_list(&place, "log", &entries, error);
    *ret_number = 0;
    if (status != CISTERN_OK) {
        return status;
    }
    for (struct place_entry *entry = entries; entry != NULL; entry = entry->next) {
        uint64_t number;
        if (log_name_parse(entry->name, &number) && number > *ret_number) {
            *ret_number = number;
        }
    }
    place_list_free(entries);
    return CISTERN_OK;
}

uint32_t commit_log_open(
    struct commit_log *log, struct cistern_store *store, struct cistern_error *error)
{
    uint64_t number;
    uint32_t found = 0;
    *log = (struct commit_log){.store = store, .io = store_io(store)};
    uint32_t status = commit_log_floor(log, &log->floor, error);
    if (status == CISTERN_OK) {
        status = hint(log, &number, error);
    }
    if (status == CISTERN_OK && number > log->floor) {
        status = exists(log, number, &found, error);
    }
    uint64_t next = found ? number + 1 : log->floor;
    for (found = 1; status == CISTERN_OK && found && next <= LOG_NUMBER_MAX; next += found) {
        status = exists(log, next, &found, error);
    }
    log->next_number = next;
    return status;
}

uint32_t commit_log_each(
    struct commit_log *log, commit_each_fn each, void *arg, struct cistern_error *error)
{
    for (uint64_t number = log->floor; number < log->next_number; number++) {
        struct commit_record record;
        struct cistern_error detail;
        uint32_t status = commit_log_read(log, number, &record, &detail);
        /* a live writer may have moved the floor over it since */
        if (status == CISTERN_NOT_FOUND) {
            uint64_t floor;
            status = commit_log_floor(log, &floor, error);
            if (status != CISTERN_OK) {
                return status;
            }
            if (floor > number) {
                log->floor = floor;
                number = floor - 1;
                continue;
            }
            char name[NAME_BYTES_MAX];
            log_name_format(name, number);
            status = cistern_fail_corrupt(
                &detail, name, 0, "the record is missing, and later ones are there");
        }
        if (status != CISTERN_OK && status != CISTERN_CORRUPT && status != CISTERN_UNSUPPORTED) {
            if (error != NULL) {
                *error = detail;
            }
            return status;
        }
        status = each(arg, number, status == CISTERN_OK ? &record : NULL, &detail);
        if (status != CISTERN_OK) {
            return status;
        }
    }
    return CISTERN_OK;
}

static void draw_nonce(struct cistern_io *io, uint8_t nonce[16])
{
    cistern_put_u64_be(nonce, cistern_io_random(io));
    cistern_put_u64_be(nonce + 8, cistern_io_random(io));
}

static uint32_t fenced(
    struct cistern_error *error, const char *name, const struct commit_record *other)
{
    return cistern_fail(error, CISTERN_FENCED, name,
        "another writer (epoch %llu) took over: its record stands where ours would be",
        (unsigned long long)other->epoch);
}

/* A record of ours is in place: makes it durable, and asks FLOOR whether its number had been
 * there before. */
static uint32_t confirm(struct commit_log *log, const char *name, struct cistern_error *error)
{
    struct place place = place_of(log);
    uint64_t floor;
    uint32_t status = place_sync_directory(&place, "log", error);
    if (status == CISTERN_OK) {
        status = commit_log_floor(log, &floor, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    if (floor > log->next_number) {
        /* below FLOOR nobody reads it, so it may stay */
        status = place_remove(&place, name, error);
        return cistern_fail(error, CISTERN_FENCED, name,
            "another writer took over: log/FLOOR stands at %llu", (unsigned long long)floor);
    }
    log->has_doubt = 0;
    log->next_number++;
    return CISTERN_OK;
}

/* Is the record at the next number the one with this nonce? OK: it is. NOT_FOUND: nothing is
 * there. */
static uint32_t identify(const struct commit_log *log, const char *name, const uint8_t nonce[16],
    struct cistern_error *error)
{
    struct commit_record found;
    uint32_t status = commit_log_read(log, log->next_number, &found, error);
    if (status == CISTERN_OK && memcmp(found.nonce, nonce, sizeof found.nonce) != 0) {
        return fenced(error, name, &found);
    }
    return status;
}

uint32_t commit_log_append(
    struct commit_log *log, struct commit_record *record, struct cistern_error *error)
{
    struct place place = place_of(log);
    struct text text = {0};
    char name[NAME_BYTES_MAX];
    assert(!log->has_doubt);
    if (log->next_number > LOG_NUMBER_MAX) {
        return cistern_fail(
            error, CISTERN_LIMIT, "log", "%u records: start a new root", LOG_NUMBER_MAX);
    }
    record->number = log->next_number;
    record->epoch = log->epoch;
    record->time_ms = cistern_io_wall_ms(log->io);
    draw_nonce(log->io, record->nonce);
    log_name_format(name, record->number);
    uint32_t status = encode(record, &text, error);
    if (status != CISTERN_OK) {
        text_release(&text);
        return status;
    }
    failpoint("log_append");
    status = place_publish(&place, name, (struct cistern_span){text.data, text.bytes}, error);
    text_release(&text);
    if (status == CISTERN_EXISTS) {
        status = identify(log, name, record->nonce, error);
    }
    if (status == CISTERN_OK) {
        failpoint("log_appended");
        status = confirm(log, name, error);
    }
    if (status != CISTERN_OK && status != CISTERN_FENCED &&
        identify(log, name, record->nonce, NULL) != CISTERN_NOT_FOUND) {
        /* it may be there and may stay there: whoever goes on settles it first */
        log->has_doubt = 1;
        memcpy(log->doubt_nonce, record->nonce, sizeof log->doubt_nonce);
    }
    return status;
}

uint32_t commit_log_settle(
    struct commit_log *log, uint32_t *ret_landed, struct cistern_error *error)
{
    char name[NAME_BYTES_MAX];
    *ret_landed = 0;
    if (!log->has_doubt) {
        return CISTERN_OK;
    }
    log_name_format(name, log->next_number);
    uint32_t status = identify(log, name, log->doubt_nonce, error);
    if (status == CISTERN_NOT_FOUND) {
        log->has_doubt = 0;
        return CISTERN_OK;
    }
    if (status == CISTERN_OK) {
        status = confirm(log, name, error);
    }
    *ret_landed = status == CISTERN_OK;
    return status;
}

uint32_t commit_log_probe(const struct commit_log *log, struct cistern_error *error)
{
    uint64_t floor;
    struct commit_record found;
    char name[NAME_BYTES_MAX];
    log_name_format(name, log->next_number);
    uint32_t status = commit_log_read(log, log->next_number, &found, error);
    if (status == CISTERN_OK) {
        int own = log->has_doubt && memcmp(found.nonce, log->doubt_nonce, sizeof found.nonce) == 0;
        return own ? CISTERN_OK : fenced(error, name, &found);
    }
    if (status == CISTERN_CORRUPT || status == CISTERN_UNSUPPORTED) {
        return cistern_fail(error, CISTERN_FENCED, name,
            "a record that is not ours stands where our next one would be");
    }
    if (status != CISTERN_NOT_FOUND) {
        return status;
    }
    status = commit_log_floor(log, &floor, error);
    if (status == CISTERN_OK && floor > log->next_number) {
        status = cistern_fail(error, CISTERN_FENCED, name,
            "another writer took over: log/FLOOR stands at %llu", (unsigned long long)floor);
    }
    return status;
}

static uint32_t write_floor(
    const struct commit_log *log, uint64_t floor, struct cistern_error *error)
{
    struct place place = place_of(log);
    struct text text = {0};
    json_t *object = json_object();
    uint32_t status = record_put_u64(object, "number", floor) != 0
                          ? cistern_fail(error, CISTERN_NO_MEMORY, NULL, "no memory for FLOOR")
                          : frame_encode("floor", object, &text, error);
    if (status == CISTERN_OK) {
        status =
            place_replace(&place, "log/FLOOR", (struct cistern_span){text.data, text.bytes}, error);
    }
    json_decref(object);
    text_release(&text);
    return status;
}

/* By a listing, so that what a trim that was cut short left behind goes too. */
static uint32_t remove_below(
    const struct commit_log *log, uint64_t floor, struct cistern_error *error)
{
    struct place place = place_of(log);
    struct place_entry *entries;
    uint32_t status = place_list(&place, "log", &entries, error);
    if (status != CISTERN_OK) {
        return status;
    }
    for (struct place_entry *entry = entries; entry != NULL && status == CISTERN_OK;
         entry = entry->next) {
        uint64_t number;
        if (log_name_parse(entry->name, &number) && number < floor) {
            char name[NAME_BYTES_MAX];
            log_name_format(name, number);
            status = place_remove(&place, name, error);
        }
    }
    place_list_free(entries);
    return status;
}

uint32_t commit_log_trim(struct commit_log *log, uint64_t keep_from, struct cistern_error *error)
{
    uint64_t floor = log->next_number > LOG_KEPT_MIN ? log->next_number - LOG_KEPT_MIN : 1;
    if (keep_from < floor) {
        floor = keep_from;
    }
    if (floor < log->floor + LOG_TRIM_BATCH) {
        return CISTERN_OK;
    }
    uint32_t status = write_floor(log, floor, error);
    if (status == CISTERN_OK) {
        log->floor = floor;
        status = remove_below(log, floor, error);
    }
    return status;
}
