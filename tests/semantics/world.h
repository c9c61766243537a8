/*
 * world.h -- what a case of the semantic suite stands on: a backend in a slot, a clock, and one
 * line per action or expectation, in text.
 *
 * Places:   "key" is a key in the void namespace, "key@w" in namespace w, "key@" in the empty one.
 * Elements: words, "_" is the empty one. Map entries: "u=v", "u=" has an empty value, "u" a null
 *           one; expected sorted. Timers: "time:place", expected in order of time.
 * Expectations fail the test and print both texts. Threads: one.
 */
#ifndef CISTERN_SEMANTICS_WORLD_H
#define CISTERN_SEMANTICS_WORLD_H

#include "support/capture.h"
#include "test.h"

#include "cistern/keys.h"
#include "cistern/list.h"
#include "cistern/map.h"
#include "cistern/pool.h"
#include "cistern/timer.h"
#include "cistern/backend_ops.h"

#define KIND_BIT(kind) (1u << (kind))
#define KEYS (1u << 30)       /* lists keys, and what stands on that: apply, drop */
#define EVENT_TIME (1u << 31) /* states whose TTL runs on the watermark */
#define SPAN(text) ((struct cistern_span){(text), sizeof(text) - 1})
#define ABSENT ((struct cistern_span){NULL, 0})
#define SLOT_COUNT 3u

/* A backend as the suite sees it; one file per backend defines one. */
struct semantics_backend {
    const char *name;
    /* KIND_BIT() of what it holds, KEYS, EVENT_TIME; the others it must refuse, see suite.c */
    uint32_t kinds;
    uint32_t native; /* has full and incremental snapshots, not only canonical ones */
    struct cistern_backend *(*open)(
        struct cistern_slot *slot, struct cistern_key_group_range range);
};
extern const struct semantics_backend semantics_heap;
extern const struct semantics_backend semantics_rocks;
extern const struct semantics_backend semantics_table;

struct world {
    const struct semantics_backend *semantics;
    struct cistern_pool *pool;
    struct cistern_slot *slots[SLOT_COUNT];
    struct cistern_backend *backend; /* in slots[0], all of the 128 key groups */
    uint64_t checkpoint_id;
};

extern const struct cistern_key_group_range all_groups;

/* Each backend that is opened gets the next one: no two hash alike, and a run can be repeated. */
extern uint64_t world_hash_seed;
void world_open(struct world *world, const struct semantics_backend *semantics);
void world_close(struct world *world);
/* The clock of time to live; it stands still. Starts at 1,000,000 with each world. */
int world_clock_install(void **unused);
void world_clock_set(int64_t ms);

/* A state named after its kind. REDUCING sums integers; AGGREGATING joins texts with commas. */
struct cistern_state_descriptor descriptor_of(uint32_t kind);
struct cistern_state *state_of(struct cistern_backend *backend, uint32_t kind);
struct cistern_state *state_with_ttl(
    struct cistern_backend *backend, uint32_t kind, struct cistern_ttl ttl);
struct cistern_state *register_state(
    struct cistern_backend *backend, const struct cistern_state_descriptor *descriptor);
uint64_t text_join(void *arg, struct cistern_span old_value, struct cistern_span input,
    struct cistern_bytes result);

/* Points into `place`. */
struct cistern_address at(const char *place);
struct cistern_span span_of(const char *text);

/* ---- actions ---- */

void put_value(struct cistern_state *state, const char *place, const char *text);
void add_value(struct cistern_state *state, const char *place, const char *text);
void add_sum(struct cistern_state *state, const char *place, int64_t amount);
void append_list(struct cistern_state *state, const char *place, const char *elements);
void replace_list(struct cistern_state *state, const char *place, const char *elements);
void put_map(struct cistern_state *state, const char *place, const char *entries);
void remove_map(struct cistern_state *state, const char *place, const char *user_keys);
void add_timers(struct cistern_state *state, const char *timers);
void remove_timers(struct cistern_state *state, const char *timers);
void clear_place(struct cistern_state *state, const char *place);
void merge_places(struct cistern_state *state, const char *target, const char *name_spaces);

/* ---- what is there, as text the caller frees ---- */

char *text_of_value(struct cistern_state *state, const char *place); /* NULL = nothing */
char *text_of_list(struct cistern_state *state, const char *place);
char *text_of_map(struct cistern_state *state, const char *place);
char *text_of_timers(struct cistern_state *state, int64_t up_to_ms, uint32_t capacity); /* popped */

/* ---- expectations ---- */

/* Frees `got`; NULL equals only NULL. */
void check_text(char *got, const char *expected, const char *what);
void check_value(struct cistern_state *state, const char *place, const char *text);
void check_sum(struct cistern_state *state, const char *place, int64_t sum);
void check_nothing(struct cistern_state *state, const char *place); /* of any kind but timers */
void check_list(struct cistern_state *state, const char *place, const char *elements);
/* Also asks count and isEmpty. */
void check_map(struct cistern_state *state, const char *place, const char *entries);
void check_due(struct cistern_state *state, int64_t up_to_ms, const char *timers);
/* Keys of one namespace ("" = void, "@w" = w, "@" = empty), and pairs of all; sorted words. */
void check_keys(struct cistern_state *state, const char *name_space, const char *keys);
void check_pairs(struct cistern_state *state, const char *places);
/* By cistern_entries_open(). */
void check_entries(struct cistern_state *state, uint64_t count);

/* ---- one thing for each kind: for cases that ask the same of all ---- */

/* Writes or replaces: a value of that text, a list or map of that one thing, a timer. */
void put_thing(struct cistern_state *state, const char *place, const char *text);
void check_thing(struct cistern_state *state, const char *place, const char *text);

/* ---- snapshots ---- */

struct capture *capture_of(struct world *world, uint32_t kind);
struct cistern_snapshot *begin_snapshot(struct world *world, uint32_t kind);
struct capture *finish_snapshot(struct world *world, struct cistern_snapshot *snapshot,
    uint32_t kind, const struct capture *base);
struct cistern_backend *restore_backend(const struct semantics_backend *semantics,
    struct cistern_slot *slot, struct capture *const *captures, uint32_t count,
    struct cistern_key_group_range range);
void close_backend(struct cistern_backend *backend);

/* ---- the suite ---- */

struct semantics_case {
    const char *name;
    uint32_t kinds; /* that it needs */
    void (*run)(struct world *world);
};
#define CASE(kinds, name)                                                                          \
    {                                                                                              \
#name, (kinds), (name)                                                                     \
    }
#define CASE_END                                                                                   \
    {                                                                                              \
        NULL, 0, NULL                                                                              \
    }
extern const struct semantics_case value_cases[];
extern const struct semantics_case list_cases[];
extern const struct semantics_case map_cases[];
extern const struct semantics_case namespace_cases[];
extern const struct semantics_case timer_cases[];
extern const struct semantics_case ttl_cases[];
extern const struct semantics_case snapshot_cases[];
extern const struct semantics_case evolution_cases[];

#endif
