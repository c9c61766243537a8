/*
 * part_private.h -- a stored file that checkpoints refer to, and the ordered set of them that one
 * slice is made of.
 *
 * Guarded by: writer.lock for `refs` and list membership (restore uses them on one thread).
 *             Everything else of a part is fixed
 * once it is in a list.
 */
#ifndef CISTERN_CHECKPOINT_PART_H
#define CISTERN_CHECKPOINT_PART_H

#include "name_private.h"

#include "cistern/hash.h"
#include "cistern/snapshot.h"

#define PART_COUNT_MAX 1000000u /* of one slice: what 64 MiB of list lines can name, with room */

struct part {
    struct data_name name;
    uint64_t bytes;
    struct cistern_hash128 hash;
    struct cistern_key_group_range range;
    uint32_t role; /* 0 = a list or a state table */
    uint32_t refs; /* slices that name it, and the upload that makes it */
    struct part *next_dead;
    uint8_t origin[CISTERN_ORIGIN_BYTES];
    char restore_name[]; /* "" = none */
};
struct part *part_create(const char *restore_name); /* NULL = no memory; refs 1 */

struct part_list { /* parts sorted by name, oldest first */
    struct part **parts;
    uint32_t count;
    uint32_t capacity;
};
/* Takes over one reference; the list stays sorted. */
CISTERN_MUST_USE uint32_t part_list_add(struct part_list *list, struct part *part);
void part_list_remove_at(struct part_list *list, uint32_t index); /* gives no reference back */
struct part *part_list_find(const struct part_list *list, const struct data_name *name);
/* Parts by origin: a copy of the pointers in another order. INVARIANT: the list does not change
 *                  while the index lives. */
struct origin_index {
    struct part **parts;
    uint32_t count;
};
CISTERN_MUST_USE uint32_t origin_index_init(
    struct origin_index *index, const struct part_list *list);
/* The part these bytes are already stored in; NULL = none. An origin of zeros is nobody's. */
struct part *origin_index_find(
    const struct origin_index *index, const uint8_t origin[CISTERN_ORIGIN_BYTES]);
void origin_index_deinit(struct origin_index *index);
/* Drops every reference; a part without one goes to *dead (NULL: it is released). */
void part_list_release(struct part_list *list, struct part **dead);
void part_drop(struct part *part, struct part **dead);

#endif
