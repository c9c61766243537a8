/* job.c -- see job_private.h. */
#include "job_private.h"

#include "frame_private.h"
#include "record_private.h"

#include "cistern/error.h"

#include <string.h>

uint32_t job_check(const struct job *job, struct cistern_error *error)
{
    uint64_t bytes = strlen(job->name);
    if (bytes == 0 || strspn(job->name, "abcdefghijklmnopqrstuvwxyz0123456789._-") != bytes) {
        return cistern_fail(error, CISTERN_INVALID, "job_name",
            "\"%s\" is not a job name: 1 to 64 of [a-z0-9._-]", job->name);
    }
    if (strcmp(job->key_group_hash, "java") != 0 &&
        strcmp(job->key_group_hash, "bytes-xxh3") != 0) {
        return cistern_fail(error, CISTERN_INVALID, "key_group_hash",
            "\"%s\" is neither \"bytes-xxh3\" nor \"java\"", job->key_group_hash);
    }
    if (job->max_parallelism == 0 || job->max_parallelism > CISTERN_MAX_PARALLELISM_MAX) {
        return cistern_fail(error, CISTERN_INVALID, "max_parallelism", "%u is not in 1..%u",
            job->max_parallelism, CISTERN_MAX_PARALLELISM_MAX);
    }
    return CISTERN_OK;
}

static uint32_t parse(
    const json_t *body, uint64_t offset, struct job *job, struct cistern_error *error)
{
    static const char *const keys[] = {
        "created_ms", "format", "job_id", "key_group_hash", "max_parallelism", "name", NULL};
    struct record record;
    record_open(&record, body, keys, "JOB", offset, error);
    uint64_t format = record_u64(&record, "format", UINT32_MAX);
    if (record.status == CISTERN_OK && format != JOB_FORMAT) {
        return cistern_fail(error, CISTERN_UNSUPPORTED, "JOB",
            "a root of format %llu; this build knows format %u", (unsigned long long)format,
            JOB_FORMAT);
    }
    job->created_ms = record_time(&record, "created_ms");
    record_hex(&record, "job_id", job->id, sizeof job->id);
    record_text_copy(&record, "key_group_hash", job->key_group_hash, sizeof job->key_group_hash);
    job->max_parallelism = record_u32(&record, "max_parallelism", CISTERN_MAX_PARALLELISM_MAX);
    record_text_copy(&record, "name", job->name, sizeof job->name);
    if (record.status == CISTERN_OK && job_check(job, NULL) != CISTERN_OK) {
        record_corrupt(&record, "name", "or another field holds what no job may have");
    }
    return record.status;
}

uint32_t job_load(const struct place *place, struct job *ret_job, struct cistern_error *error)
{
    struct text text = {0};
    struct frame_header header;
    struct job job = {0};
    json_t *body;
    uint32_t status = place_load(place, "JOB", JOB_BYTES_MAX, &text, error);
    if (status == CISTERN_OK) {
        status = frame_decode(
            "JOB", "job", (struct cistern_span){text.data, text.bytes}, &header, &body, error);
    }
    if (status == CISTERN_OK) {
        status = parse(body, header.header_bytes, &job, error);
        json_decref(body);
    }
    text_release(&text);
    if (status == CISTERN_OK) {
        *ret_job = job;
    }
    return status;
}

uint32_t job_create(const struct place *place, const struct job *job, struct cistern_error *error)
{
    struct text text = {0};
    json_t *object = json_object();
    int failed = record_put_u64(object, "created_ms", (uint64_t)job->created_ms);
    failed |= record_put_u64(object, "format", JOB_FORMAT);
    failed |= record_put_hex(object, "job_id", job->id, sizeof job->id);
    failed |= record_put_text(object, "key_group_hash", job->key_group_hash);
    failed |= record_put_u64(object, "max_parallelism", job->max_parallelism);
    failed |= record_put_text(object, "name", job->name);
    uint32_t status = failed
                          ? cistern_fail(error, CISTERN_NO_MEMORY, "JOB", "no memory for a record")
                          : frame_encode("job", object, &text, error);
    if (status == CISTERN_OK) {
        status = place_publish(place, "JOB", (struct cistern_span){text.data, text.bytes}, error);
    }
    json_decref(object);
    text_release(&text);
    return status;
}
