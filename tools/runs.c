/*
 * runs.c -- sorted runs in one unlinked temporary file, and their merge through a binary heap of
 * readers.
 *
 * A pass that merges some runs into a longer one appends it to the same file; the space of merged
 * runs is given back by punching a hole, where the file system can.
 */
#include "sorter_private.h"

#include "cistern/alloc.h"
#include "cistern/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct run_reader {
    struct run run; /* offset = what is not in the buffer yet */
    uint8_t *buffer;
    uint64_t at;
    uint64_t filled;
    struct pair pair; /* the one to give next */
};
struct merge {
    struct runs *runs;
    struct run_reader *readers;
    uint32_t *heap; /* reader indexes, the least pair first */
    uint32_t heap_count;
};

void runs_deinit(struct runs *runs)
{
    if (runs->fd >= 0) {
        (void)close(runs->fd);
        runs->fd = -1;
    }
    cistern_release(runs->list);
    runs->list = NULL;
}

static uint32_t file_create(struct runs *runs, struct cistern_error *error)
{
    runs->fd = open(runs->directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (runs->fd < 0) { /* a file system without O_TMPFILE */
        char path[4200];
        snprintf(path, sizeof path, "%.4096s/cistern-sort-XXXXXX", runs->directory);
        runs->fd = mkostemp(path, O_CLOEXEC);
        if (runs->fd < 0) {
            return cistern_fail_errno(
                error, errno, runs->directory, "cannot create a temporary file to sort in");
        }
        (void)unlink(path);
    }
    return CISTERN_OK;
}

uint32_t runs_begin(struct runs *runs, uint8_t *buffer, struct cistern_error *error)
{
    if (runs->count == runs->capacity) {
        uint64_t capacity = runs->capacity == 0 ? 64 : runs->capacity * 2;
        void *list = cistern_reallocate(runs->list, capacity * sizeof runs->list[0]);
        if (list == NULL) {
            return cistern_fail(error, CISTERN_NO_MEMORY, "sort", "no memory for the list of runs");
        }
        runs->list = list;
        runs->capacity = capacity;
    }
    runs->buffer = buffer;
    runs->buffered = 0;
    runs->list[runs->count] = (struct run){.offset = runs->file_bytes, .end = runs->file_bytes};
    return runs->fd < 0 ? file_create(runs, error) : CISTERN_OK;
}

static uint32_t buffer_flush(struct runs *runs, struct cistern_error *error)
{
    for (uint64_t at = 0; at < runs->buffered;) {
        ssize_t bytes =
            pwrite(runs->fd, runs->buffer + at, runs->buffered - at, (off_t)runs->file_bytes);
        if (bytes < 0 && errno != EINTR) {
            return cistern_fail_errno(
                error, errno, runs->directory, "cannot write the temporary file to sort in");
        }
        at += bytes > 0 ? (uint64_t)bytes : 0;
        runs->file_bytes += bytes > 0 ? (uint64_t)bytes : 0;
    }
    runs->buffered = 0;
    return CISTERN_OK;
}

uint32_t runs_append(struct runs *runs, const struct pair *pair, struct cistern_error *error)
{
    if (runs->buffered + PAIR_HEADER_BYTES + pair->word.bytes > RUN_BUFFER_BYTES) {
        uint32_t status = buffer_flush(runs, error);
        if (status != CISTERN_OK) {
            return status;
        }
    }
    runs->buffered += pair_write(runs->buffer + runs->buffered, pair->word, pair->count);
    return CISTERN_OK;
}

uint32_t runs_end(struct runs *runs, struct cistern_error *error)
{
    uint32_t status = buffer_flush(runs, error);
    if (status == CISTERN_OK) {
        runs->list[runs->count++].end = runs->file_bytes;
        runs->written++;
    }
    return status;
}

/* ---- reading ---- */

static uint32_t reader_fill(
    struct merge *merge, struct run_reader *reader, struct cistern_error *error)
{
    memmove(reader->buffer, reader->buffer + reader->at, reader->filled - reader->at);
    reader->filled -= reader->at;
    reader->at = 0;
    while (reader->filled < RUN_BUFFER_BYTES && reader->run.offset < reader->run.end) {
        uint64_t wanted = reader->run.end - reader->run.offset;
        uint64_t room = RUN_BUFFER_BYTES - reader->filled;
        ssize_t bytes = pread(merge->runs->fd, reader->buffer + reader->filled,
            wanted < room ? wanted : room, (off_t)reader->run.offset);
        if (bytes < 0 && errno == EINTR) {
            continue;
        }
        if (bytes <= 0) {
            return cistern_fail_errno(error, bytes < 0 ? errno : EIO, merge->runs->directory,
                "cannot read the temporary file to sort in");
        }
        reader->filled += (uint64_t)bytes;
        reader->run.offset += (uint64_t)bytes;
    }
    return CISTERN_OK;
}

/* *ret_any 0: the run is at its end. */
static uint32_t reader_next(
    struct merge *merge, struct run_reader *reader, int *ret_any, struct cistern_error *error)
{
    uint64_t held = reader->filled - reader->at;
    if (held < PAIR_HEADER_BYTES ||
        held < PAIR_HEADER_BYTES + pair_read(reader->buffer + reader->at).word.bytes) {
        uint32_t status = reader_fill(merge, reader, error);
        if (status != CISTERN_OK) {
            return status;
        }
    }
    *ret_any = reader->filled > reader->at;
    if (*ret_any) {
        reader->pair = pair_read(reader->buffer + reader->at);
        reader->at += PAIR_HEADER_BYTES + reader->pair.word.bytes;
    }
    return CISTERN_OK;
}

/* ---- merging ---- */

static int heap_less(const struct merge *merge, uint32_t a, uint32_t b)
{
    return pair_compare(merge->readers[merge->heap[a]].pair.word,
               merge->readers[merge->heap[b]].pair.word) < 0;
}

static void heap_sift(struct merge *merge, uint32_t at)
{
    for (uint32_t child = 2 * at + 1; child < merge->heap_count; at = child, child = 2 * at + 1) {
        child += child + 1 < merge->heap_count && heap_less(merge, child + 1, child);
        if (!heap_less(merge, child, at)) {
            return;
        }
        uint32_t reader = merge->heap[at];
        merge->heap[at] = merge->heap[child];
        merge->heap[child] = reader;
    }
}

static uint32_t merge_open(struct merge *merge, const struct run *runs, uint32_t count,
    uint8_t *memory, struct cistern_error *error)
{
    merge->heap_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        int any = 0;
        merge->readers[i] =
            (struct run_reader){.run = runs[i], .buffer = memory + (uint64_t)i * RUN_BUFFER_BYTES};
        uint32_t status = reader_next(merge, &merge->readers[i], &any, error);
        if (status != CISTERN_OK) {
            return status;
        }
        if (any) {
            merge->heap[merge->heap_count++] = i;
        }
    }
    for (uint32_t at = merge->heap_count / 2; at-- > 0;) {
        heap_sift(merge, at);
    }
    return CISTERN_OK;
}

static uint32_t merge_each(
    struct merge *merge, sorter_emit_fn emit, void *arg, struct cistern_error *error)
{
    while (merge->heap_count > 0) {
        struct run_reader *least = &merge->readers[merge->heap[0]];
        uint32_t status = emit(arg, least->pair.word, least->pair.count, error);
        int any = 0;
        if (status == CISTERN_OK) {
            status = reader_next(merge, least, &any, error);
        }
        if (status != CISTERN_OK) {
            return status;
        }
        if (!any) {
            merge->heap[0] = merge->heap[--merge->heap_count];
        }
        heap_sift(merge, 0);
    }
    return CISTERN_OK;
}

static uint32_t append_emit(
    void *arg, struct cistern_span word, uint64_t count, struct cistern_error *error)
{
    struct pair pair = {word, count};
    return runs_append(arg, &pair, error);
}

/* The first `count` runs become one, at the end of the list. */
static uint32_t merge_pass(
    struct merge *merge, uint32_t count, uint8_t *memory, struct cistern_error *error)
{
    struct runs *runs = merge->runs;
    uint32_t status = merge_open(merge, runs->list, count, memory + RUN_BUFFER_BYTES, error);
    if (status == CISTERN_OK) {
        status = runs_begin(runs, memory, error);
    }
    if (status == CISTERN_OK) {
        status = merge_each(merge, append_emit, runs, error);
    }
    if (status == CISTERN_OK) {
        status = runs_end(runs, error);
    }
    if (status == CISTERN_OK) {
        for (uint32_t i = 0; i < count; i++) {
            (void)fallocate(runs->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                (off_t)runs->list[i].offset, (off_t)(runs->list[i].end - runs->list[i].offset));
        }
        memmove(runs->list, runs->list + count, (runs->count - count) * sizeof runs->list[0]);
        runs->count -= count;
    }
    return status;
}

uint32_t runs_merge(struct runs *runs, uint8_t *memory, uint64_t memory_bytes, sorter_emit_fn emit,
    void *arg, struct cistern_error *error)
{
    /* one buffer is for writing */
    uint32_t fan_in = (uint32_t)(memory_bytes / RUN_BUFFER_BYTES) - 1;
    struct merge merge = {.runs = runs,
        .readers = cistern_allocate(fan_in * sizeof(struct run_reader)),
        .heap = cistern_allocate(fan_in * sizeof(uint32_t))};
    uint32_t status = CISTERN_OK;
    if (merge.readers == NULL || merge.heap == NULL) {
        status =
            cistern_fail(error, CISTERN_NO_MEMORY, "sort", "no memory to merge %u runs", fan_in);
    }
    while (status == CISTERN_OK && runs->count > fan_in) {
        status = merge_pass(&merge, fan_in, memory, error);
    }
    if (status == CISTERN_OK) {
        status =
            merge_open(&merge, runs->list, (uint32_t)runs->count, memory + RUN_BUFFER_BYTES, error);
    }
    if (status == CISTERN_OK) {
        status = merge_each(&merge, emit, arg, error);
    }
    cistern_release(merge.readers);
    cistern_release(merge.heap);
    return status;
}
