/* sorter_private.h -- what sorter.c (in memory) and runs.c (on disk) share. */
#ifndef CISTERN_SORTER_PRIVATE_H
#define CISTERN_SORTER_PRIVATE_H

#include "sorter.h"

#include <assert.h>

/* A pair, in memory and in a run: count, length, then the word. */
#define PAIR_HEADER_BYTES 12u
#define PAIR_BYTES_MAX (PAIR_HEADER_BYTES + SORTER_WORD_BYTES_MAX)
#define RUN_BUFFER_BYTES (72u << 10) /* holds at least one pair of the largest size */
static_assert(RUN_BUFFER_BYTES > PAIR_BYTES_MAX, "a pair must fit a run's buffer");

struct pair {
    struct cistern_span word;
    uint64_t count;
};
struct run { /* a sorted stretch of the temporary file */
    uint64_t offset;
    uint64_t end;
};
struct runs {
    const char *directory;
    struct run *list;
    uint64_t count;
    uint64_t capacity;
    uint64_t written; /* runs ever written */
    int fd;           /* -1 = no file yet */
    uint64_t file_bytes;
    uint8_t *buffer; /* of the run being written: RUN_BUFFER_BYTES */
    uint64_t buffered;
};
void runs_deinit(struct runs *runs);
CISTERN_MUST_USE uint32_t runs_begin(
    struct runs *runs, uint8_t *buffer, struct cistern_error *error);
CISTERN_MUST_USE uint32_t runs_append(
    struct runs *runs, const struct pair *pair, struct cistern_error *error);
CISTERN_MUST_USE uint32_t runs_end(struct runs *runs, struct cistern_error *error);
/* Merges every run within `memory`, in as many passes as it takes; the last one goes to emit. */
CISTERN_MUST_USE uint32_t runs_merge(struct runs *runs, uint8_t *memory, uint64_t memory_bytes,
    sorter_emit_fn emit, void *arg, struct cistern_error *error);

int pair_compare(struct cistern_span a, struct cistern_span b); /* bytewise, the shorter first */
uint64_t pair_write(uint8_t *to, struct cistern_span word, uint64_t count);
struct pair pair_read(const uint8_t *from);

#endif
