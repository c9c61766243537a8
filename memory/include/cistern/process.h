/*
 * process.h -- the memory of a Flink TaskManager, to the byte, from Flink's own option keys: every
 * component, every slot's share, and what RocksDB is given of it.
 *
 * Source: Flink's documentation "Set up TaskManager Memory", and the behaviour of 1.20: sizes are
 * 64-bit byte counts, fractions are 32-bit floats read in decimal, products are cut off, never
 * rounded. A configuration that Flink refuses is refused with Flink's own words.
 *
 * Owns:    nothing. Pure functions over the caller's memory; no allocation, no I/O, no state.
 * Threads: any; each call works on its arguments alone and leaves the locale as it was.
 */
#ifndef CISTERN_PROCESS_H
#define CISTERN_PROCESS_H

#include "cistern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CISTERN_PROCESS_SLOTS_MAX 65536u

/* One line of a configuration: Flink's full key and the text behind it. Of equal keys the last one
 * counts. Keys that are none of the memory model's are ignored: a Flink file has many. */
struct cistern_process_setting {
    const char *key;
    const char *value;
};

enum cistern_process_component {
    CISTERN_PROCESS_FRAMEWORK_HEAP,
    CISTERN_PROCESS_TASK_HEAP,
    CISTERN_PROCESS_MANAGED,
    CISTERN_PROCESS_FRAMEWORK_OFF_HEAP,
    CISTERN_PROCESS_TASK_OFF_HEAP,
    CISTERN_PROCESS_NETWORK,
    CISTERN_PROCESS_FLINK, /* the sum of the six above */
    CISTERN_PROCESS_JVM_METASPACE,
    CISTERN_PROCESS_JVM_OVERHEAD,
    CISTERN_PROCESS_TOTAL, /* Flink memory, metaspace and overhead: the size of the container */
    CISTERN_PROCESS_COMPONENT_COUNT
};
/* How a component came to its size. */
enum cistern_process_rule {
    CISTERN_PROCESS_CONFIGURED,
    CISTERN_PROCESS_DEFAULT,
    CISTERN_PROCESS_FRACTION, /* base x factor, then min and max */
    CISTERN_PROCESS_INVERSE,  /* the same; factor = fraction / (1 - fraction) of the rest */
    CISTERN_PROCESS_REST,     /* base less everything else in it */
    CISTERN_PROCESS_SUM,
    CISTERN_PROCESS_BUFFERS /* numberOfBuffers x segment size (Flink up to 1.20) */
};
enum cistern_process_clamp { CISTERN_PROCESS_WITHIN, CISTERN_PROCESS_RAISED, CISTERN_PROCESS_CUT };

struct cistern_process_part {
    uint64_t bytes;
    uint32_t rule;       /* enum cistern_process_rule */
    uint32_t clamp;      /* FRACTION, INVERSE: enum cistern_process_clamp */
    uint64_t base_bytes; /* FRACTION, INVERSE: what is multiplied; REST: what it is the rest of */
    uint64_t product_bytes; /* FRACTION, INVERSE: before min and max */
    uint64_t min_bytes;     /* FRACTION, INVERSE; REST where Flink checks a range */
    uint64_t max_bytes;     /* 0 = no range is checked */
    double fraction;        /* as configured: the 32-bit float, widened */
    double factor;          /* what base is multiplied with */
};

/* Who divides managed memory in a slot. */
enum cistern_process_consumer {
    CISTERN_PROCESS_OPERATOR,
    CISTERN_PROCESS_STATE_BACKEND,
    CISTERN_PROCESS_PYTHON,
    CISTERN_PROCESS_CONSUMER_COUNT
};
const char *cistern_process_consumer_name(uint32_t consumer); /* "STATE_BACKEND" */

/* Which of the three ways of saying the size applied (the first that is configured). */
enum cistern_process_mode {
    CISTERN_PROCESS_BY_PARTS, /* task heap and managed memory */
    CISTERN_PROCESS_BY_FLINK, /* total Flink memory */
    CISTERN_PROCESS_BY_TOTAL  /* total process memory */
};
enum cistern_process_rocksdb_scope {
    CISTERN_PROCESS_ROCKSDB_MANAGED,    /* the slot's STATE_BACKEND share */
    CISTERN_PROCESS_ROCKSDB_FIXED_SLOT, /* memory.fixed-per-slot, beside managed memory */
    CISTERN_PROCESS_ROCKSDB_FIXED_TM,   /* memory.fixed-per-tm: one for all slots */
    CISTERN_PROCESS_ROCKSDB_UNBOUNDED   /* memory.managed = false: a cache per column family */
};

struct cistern_process_spec {
    struct cistern_process_part parts[CISTERN_PROCESS_COMPONENT_COUNT];
    uint64_t jvm_xmx_bytes;        /* -Xmx and -Xms: framework heap + task heap */
    uint64_t jvm_max_direct_bytes; /* framework and task off-heap + network */
    uint64_t page_bytes;           /* taskmanager.memory.segment-size */
    uint64_t cpu_e8;               /* cores in units of 10^-8 */
    uint32_t slot_count;
    uint32_t mode; /* enum cistern_process_mode */
    uint32_t weights[CISTERN_PROCESS_CONSUMER_COUNT];
    uint32_t rocksdb_scope;       /* enum cistern_process_rocksdb_scope */
    uint64_t rocksdb_fixed_bytes; /* FIXED_SLOT, FIXED_TM */
    uint64_t write_buffer_bytes;  /* state.backend.rocksdb.writebuffer.size */
    double write_buffer_ratio;
    double high_priority_pool_ratio;
};

/* Why Flink would not start. */
struct cistern_process_refusal {
    char exception[40]; /* "IllegalConfigurationException" */
    /* Flink's sentence; where it quotes an option, without the option's fallback keys */
    char message[1024];
    char causes[1536];   /* a cause per line, outermost first; "" = none */
    const char *wrapper; /* what Flink says before it: "TaskManager memory ... failed: ", or "" */
    char logged[1280];   /* wrapper and sentence as in Flink's log, fallback keys included */
    char option[96];     /* the key to look at; "" = several */
    const char *advice;  /* static text: what to change */
};

/* Derives every component. settings: borrowed for the call.
 * INVALID: Flink would refuse; *ret_refusal (may be NULL) says how, error->message has as much of
 *          it as fits, error->object the key. Nothing is written to *ret_spec. */
CISTERN_MUST_USE uint32_t cistern_process_spec_derive(
    const struct cistern_process_setting *settings, uint32_t setting_count,
    struct cistern_process_spec *ret_spec, struct cistern_process_refusal *ret_refusal,
    struct cistern_error *error);

/* Is this one of the keys that the model reads? replacement: the key in use today when this one is
 * deprecated, else NULL. */
enum cistern_process_key_kind {
    CISTERN_PROCESS_KEY_FOREIGN,    /* none of ours */
    CISTERN_PROCESS_KEY_READ,       /* read by cistern_process_spec_derive() */
    CISTERN_PROCESS_KEY_DEPRECATED, /* read, but Flink has a newer name */
    CISTERN_PROCESS_KEY_UNUSED      /* Flink knows it; it moves no byte of the model */
};
uint32_t cistern_process_key_kind(const char *key, const char **ret_replacement);
/* The i-th key known, current and deprecated ones; NULL = no more. For suggestions. */
const char *cistern_process_key_name(uint32_t index);

/* ---- slots */

/* What a slot is given, or asks for. */
struct cistern_process_profile {
    uint64_t cpu_e8;
    uint64_t task_heap_bytes;
    uint64_t task_off_heap_bytes;
    uint64_t managed_bytes;
    uint64_t network_bytes;
};
struct cistern_process_share {
    double fraction; /* of the slot's managed memory; 0 = this consumer is not there */
    uint64_t bytes;
};
/* Flink's formulas for RocksDB under a shared cache (documentation, "RocksDB memory management").
 * total_bytes 0: no limit at all, as in Flink; is_bounded says it. */
struct cistern_process_rocksdb {
    uint32_t scope; /* enum cistern_process_rocksdb_scope */
    uint32_t is_bounded;
    uint64_t total_bytes;
    uint64_t cache_bytes;                /* (3 - w) T / 3 */
    uint64_t write_buffer_manager_bytes; /* 2 T w / 3 */
    uint64_t mutable_limit_bytes;        /* 7/8 of the write buffer manager: then it flushes */
    uint64_t arena_block_bytes;          /* Flink's: write buffer / 8, in whole 4 KiB */
    uint64_t arena_block_actual_bytes;   /* RocksDB since 6.21: at most 1 MiB */
    uint64_t high_priority_pool_bytes;   /* of the cache: index and filter blocks */
    /* 1: one arena block is more than the mutable limit, so each block flushes (Flink warns) */
    uint32_t flushes_constantly;
    uint32_t states_max; /* states written at once before their first arena blocks alone flush */
};
struct cistern_process_slot {
    uint32_t index;
    uint32_t is_dynamic; /* 1: made to measure, index >= slot_count of the worker */
    struct cistern_process_profile profile;
    struct cistern_process_share consumers[CISTERN_PROCESS_CONSUMER_COUNT];
    struct cistern_process_rocksdb rocksdb;
};

/* Divides a slot's managed memory among the consumers whose bit (1 << consumer) is in `present`,
 * by weight, and sizes RocksDB from the STATE_BACKEND share. Fills all but index, is_dynamic and
 * profile, which the caller set. */
void cistern_process_slot_divide(
    const struct cistern_process_spec *spec, uint32_t present, struct cistern_process_slot *slot);
/* RocksDB's sizes for T bytes; write_buffer_bytes: one memtable's size. */
void cistern_process_rocksdb_size(uint64_t total_bytes, double write_buffer_ratio,
    double high_priority_pool_ratio, uint64_t write_buffer_bytes,
    struct cistern_process_rocksdb *ret_sizes);

/* A worker whose slots are cut from what is left of it (Flink, "Fine-Grained Resource
 * Management"). Framework memory, metaspace and overhead are never given to slots. */
struct cistern_process_worker {
    struct cistern_process_profile total;
    struct cistern_process_profile available;
    struct cistern_process_profile default_profile; /* total / slot_count, cut off */
    uint32_t slot_count;
    uint32_t dynamic_count; /* ever made: the next index is slot_count + dynamic_count */
};
void cistern_process_worker_init(
    struct cistern_process_worker *worker, const struct cistern_process_spec *spec);
/* The default slots are indices 0 .. slot_count - 1: wanted NULL and index < slot_count. Anything
 * else is a dynamic slot: wanted as it is, or the default profile when NULL.
 * INVALID: cores without task heap, or the other way round.
 * LIMIT: some dimension is used up; the message names it and what is left of each. */
CISTERN_MUST_USE uint32_t cistern_process_worker_allocate(struct cistern_process_worker *worker,
    const struct cistern_process_profile *wanted, uint32_t index,
    struct cistern_process_slot *ret_slot, struct cistern_error *error);
void cistern_process_worker_release(
    struct cistern_process_worker *worker, const struct cistern_process_slot *slot);
/* "0.25", "1.5": cores into units of 10^-8, cut off. INVALID: not a positive number. */
CISTERN_MUST_USE uint32_t cistern_process_cpu_parse(
    const char *text, uint64_t *ret_cpu_e8, struct cistern_error *error);

/* "128.000mb (134217728 bytes)": Flink's way of printing a size; at most 63 characters and NUL.
 * Returns text. */
const char *cistern_process_size_format(char text[64], uint64_t bytes);
/* "0.1", "1.0E-4": a double as Java prints it. Returns text. */
const char *cistern_process_number_format(char text[32], double value);

#ifdef __cplusplus
}
#endif
#endif
