/*
 * governor.h -- keeps resident growth under the budget while a component that cannot be refused
 * (RocksDB) lives in a slot.
 *
 * The ledger of one pool: used = malloc seen by the hooks + charged segments and blocks +
 * jemalloc's own metadata + a fixed part; free = limit - used. The capacity of every block cache is
 * an OUTPUT of that ledger. Safe points evict before they allocate; the governor thread only
 * optimises: the bound holds with it stopped (docs/MEMORY.md, "resident bound").
 *
 * An `elastic` is one cache + write buffer pair that the governor may resize; rocks/ registers one
 * per backend.
 * Threads: any. Callbacks are called with no lock of ours held except the elastic's own; they must
 *          not charge voluntarily.
 */
#ifndef CISTERN_GOVERNOR_H
#define CISTERN_GOVERNOR_H

#include "cistern/pool.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cistern_elastic;

struct cistern_elastic_options {
    const char *name;
    void *arg;
    uint64_t (*cache_usage)(void *arg);                    /* bytes the cache holds now */
    void (*cache_set_capacity)(void *arg, uint64_t bytes); /* evicts synchronously down to bytes */
    uint64_t (*write_buffer_usage)(void *arg);             /* memtable bytes now */
    void (*write_buffer_set_allowance)(void *arg, uint64_t bytes);
    uint64_t (*drain)(void *arg);    /* gives warm runs back; returns bytes. May be NULL */
    void (*park_idle)(void *arg);    /* releases what idle iterators pin. May be NULL */
    uint64_t cache_bytes_min;        /* floor; 0 = 2 MiB */
    uint64_t write_buffer_bytes_min; /* 0 = slot share / 4 */
    uint64_t write_buffer_bytes_max; /* 0 = 3/4 of the slot share */
};
/* Starts the governor thread with the pool's first one. INVALID: no name, too long a one, or one of
 * the four callbacks that are required is missing. LIMIT: the pool has 64 already. NO_MEMORY, or the
 * errno of a thread that could not start. */
CISTERN_MUST_USE uint32_t cistern_elastic_open(struct cistern_slot *slot,
    const struct cistern_elastic_options *options, struct cistern_elastic **ret_elastic,
    struct cistern_error *error);
/* returns when no callback is running; drops its tickets */
void cistern_elastic_close(struct cistern_elastic *elastic);

/* Safe point: evicts until free - tickets >= bytes or the cache is at its floor. No RocksDB lock may
 * be held. Returns 1 when there is room. */
int cistern_elastic_ensure(struct cistern_elastic *elastic, uint64_t bytes);
/* Free bytes of the ledger, and of the elastic's slot, whichever is less; negative when
 * overdrawn. */
int64_t cistern_elastic_free_bytes(struct cistern_elastic *elastic);
uint64_t cistern_elastic_write_buffer_allowance(struct cistern_elastic *elastic);
/* What a background job may need at most, keyed by the calling thread: a later call of the same
 * thread replaces it, so that a job that ends without its End callback leaks nothing. bytes 0 =
 * the job is done. */
void cistern_elastic_ticket(struct cistern_elastic *elastic, uint64_t bytes);
/* The largest value seen scales tickets and gates. */
void cistern_elastic_value_seen(struct cistern_elastic *elastic, uint64_t bytes);
uint64_t cistern_elastic_value_bytes_max(struct cistern_elastic *elastic);
/* After much was freed (a backend closed): malloc gives its free pages back to the system. OWNED:
 * jemalloc's dirty pages. GUEST on glibc: malloc_trim(3), a few ms for each GiB of the host's heap;
 * on jemalloc its own decay does it. Threads: any; no lock of ours or of the caller's allocator. */
void cistern_pool_trim(struct cistern_pool *pool);
void cistern_governor_kick(struct cistern_pool *pool); /* wakes the governor thread */
/* Test hook: 1 stops the governor thread's work (the bound must hold without it), 0 lets it go
 *            on. */
void cistern_governor_pause(struct cistern_pool *pool, uint32_t paused);

#ifdef __cplusplus
}
#endif
#endif
