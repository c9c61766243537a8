/*
 * cycle.h -- a job in one process: pool, simulated disk, store, writer, coordinator, two slots with
 * a heap each, and a model that says what every checkpoint must hold.
 *
 * A step that fails leaves the job such that it can go on, or be closed; both are what the tests
 * check. Nothing here asserts that a step succeeds.
 */
#ifndef CISTERN_TEST_CYCLE_H
#define CISTERN_TEST_CYCLE_H

#include "test.h"

#include "cistern/coordinator.h"
#include "cistern/heap.h"
#include "cistern/restore.h"
#include "cistern/writer.h"

#include "sim_private.h"

#define CYCLE_SLOTS 2u
#define CYCLE_KEYS 80u
#define CYCLE_IDS 64u
#define CYCLE_MAX_PARALLELISM 128u
#define CYCLE_ROOT "/job"

struct cycle_model { /* what the job's state is; by key number */
    int64_t sums[CYCLE_KEYS];      /* 0 = absent */
    uint32_t versions[CYCLE_KEYS]; /* 0 = absent */
};

enum cycle_fate {
    FATE_NONE,      /* never offered for publication: must not be seen */
    FATE_DOUBT,     /* publication was tried and did not answer OK: may be seen or not */
    FATE_PUBLISHED, /* must be there */
    FATE_RETIRING,  /* retirement was tried and did not answer OK */
    FATE_RETIRED    /* must not be seen */
};

struct cycle_backend { /* one heap and its states */
    struct cistern_slot *slot;
    struct cistern_backend *backend;
    struct cistern_state *sums;
    struct cistern_state *texts;
};

struct cycle {
    /* outlive a crash of the job */
    struct sim_disk *disk;
    struct cycle_model models[CYCLE_IDS];
    enum cycle_fate fates[CYCLE_IDS];
    uint64_t newest_id; /* the largest id ever begun */

    /* the running job */
    struct cistern_pool *pool;
    struct cistern_io *io;
    struct cistern_store *store;
    struct cistern_writer *writer;
    struct cistern_coordinator *coordinator;
    struct cycle_backend slots[CYCLE_SLOTS];
    struct cycle_model now;
    int64_t clock_ms;
    uint32_t uploads; /* begun and not done */
    uint32_t confirmed;
    struct cistern_error error;
};

void cycle_init(struct cycle *cycle, uint64_t seed);
void cycle_deinit(struct cycle *cycle);

/* Opens everything; restores `latest` when there is one. After a failure cycle_close() is called as
 * after success. */
CISTERN_MUST_USE uint32_t cycle_open(struct cycle *cycle);
void cycle_close(struct cycle *cycle);
/* Changes, checkpoint, changes, increment (retires the first), restore and compare. */
CISTERN_MUST_USE uint32_t cycle_story(struct cycle *cycle);

/* What must be true at any moment at which a restore can run: the newest checkpoint that can be
 * read is the newest published one, or a newer one whose publication is in doubt; its state is the
 * model's; none is listed that was never published. */
void cycle_check(struct cycle *cycle);
/* The whole root is in order, every byte. */
void cycle_check_root(struct cycle *cycle);
uint64_t cycle_newest(const struct cycle *cycle, enum cycle_fate fate);

#endif
