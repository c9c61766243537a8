/*
 * sim_private.h -- a disk in memory that behaves as badly as a real one may: it completes out of
 * order, fails, fills up, and at a power cut keeps, drops or tears whatever was not synced: file
 * data AND directory entries, each independently.
 *
 * Two uses: the tests of checkpoint/ (single-threaded, everything follows from the seed), and the
 *           memory: store (reliable: no
 * tracking of what is synced, no disorder).
 * Owns:    the tree. Paths are absolute, '/'-separated; "/" exists from the start.
 * Model:   fsync(file) makes its bytes durable, fsync(directory) its entries. A rename is a removal
 *          and an addition that a cut may separate, which is harsher than a journal: code that
 *          survives it survives the kinder ones.
 * Threads: one at a time.
 */
#ifndef CISTERN_CHECKPOINT_SIM_H
#define CISTERN_CHECKPOINT_SIM_H

#include "cistern/io.h"

struct sim_disk;

CISTERN_MUST_USE struct sim_disk *sim_disk_create(uint64_t seed);
/* in order, nothing tracked: cannot be power_cut */
CISTERN_MUST_USE struct sim_disk *sim_disk_create_reliable(void);
void sim_disk_destroy(struct sim_disk *disk);

/* ---- what io.c drives ---- */
void sim_disk_submit(struct sim_disk *disk, struct cistern_io_operation *operation);
uint32_t sim_disk_pending(const struct sim_disk *disk);
/* Executes and removes one pending operation, chosen by the seed; NULL = none. */
struct cistern_io_operation *sim_disk_complete_one(struct sim_disk *disk);
/* grows by 1 a call: time passes, deterministically */
int64_t sim_disk_wall_ms(struct sim_disk *disk);
uint64_t sim_disk_random(struct sim_disk *disk);

/* ---- what tests turn ---- */
uint64_t sim_disk_operation_count(const struct sim_disk *disk); /* executed since creation */
/* The n-th operation from now (1 = the next) answers -os_errno instead of running; 0 = never.
 * CLOSE is never failed. */
void sim_disk_fail_at(struct sim_disk *disk, uint64_t nth, int32_t os_errno);
/* The next operation with this opcode runs, and answers -os_errno all the same: a reply that was
 * lost on the way, as on NFS. */
void sim_disk_lose_reply(struct sim_disk *disk, uint32_t opcode, int32_t os_errno);
/* From the n-th operation on nothing runs any more: all answer -EIO, until power_cut. The moment
 * the lights go out. */
void sim_disk_halt_at(struct sim_disk *disk, uint64_t nth);
void sim_disk_space(struct sim_disk *disk,
    uint64_t bytes_max); /* file bytes in all; more answers -ENOSPC. UINT64_MAX = any */
uint64_t sim_disk_bytes(const struct sim_disk *disk);
/* Ends power: open files are gone, unsynced data and entries survive or not by the seed. Nothing
 *             may be pending. */
void sim_disk_power_cut(struct sim_disk *disk, uint64_t seed);
/* Flips one bit of a file, for damage tests; returns 0 when there is no such file or byte. */
uint32_t sim_disk_flip(struct sim_disk *disk, const char *path, uint64_t offset, uint32_t bit);

#endif
