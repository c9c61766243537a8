/* job_private.h -- JOB: who a root belongs to. Created once, never changed. Threads: owner only;
 * blocks. */
#ifndef CISTERN_CHECKPOINT_JOB_H
#define CISTERN_CHECKPOINT_JOB_H

#include "place_private.h"

#define JOB_FORMAT 1u
#define JOB_BYTES_MAX 4096u

struct job {
    uint8_t id[16];
    char name[65];
    char key_group_hash[16];
    uint32_t max_parallelism;
    int64_t created_ms;
};
/* NOT_FOUND: the place is no root. CORRUPT, UNSUPPORTED. */
CISTERN_MUST_USE uint32_t job_load(
    const struct place *place, struct job *ret_job, struct cistern_error *error);
/* EXISTS: somebody was faster. */
CISTERN_MUST_USE uint32_t job_create(
    const struct place *place, const struct job *job, struct cistern_error *error);
/* INVALID: a name or hash that may not be. */
CISTERN_MUST_USE uint32_t job_check(const struct job *job, struct cistern_error *error);

#endif
