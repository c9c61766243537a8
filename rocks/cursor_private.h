/*
 * cursor_private.h -- a cursor of any kind, and how its buffer is filled.
 *
 * Between calls a cursor holds the last key it has read, at most 64 KiB of copies and, if it goes
 * over a whole state, a moment of the database (which pins no memory): the RocksDB iterator lives
 * only while the buffer is filled, so nothing has to be parked under pressure.
 * Threads: owner only.
 */
#ifndef CISTERN_ROCKS_CURSOR_PRIVATE_H
#define CISTERN_ROCKS_CURSOR_PRIVATE_H

#include "rocks_private.h"

#define CURSOR_COUNT_MAX 128u

struct buffered {
    uint64_t offset; /* of the key in the buffer; the value follows it */
    uint32_t key_bytes;
    uint64_t value_bytes;
};

struct rocks_cursor {
    struct cistern_cursor base;
    struct shim_view *view; /* NULL = the present moment, at each fill anew */
    struct range range;
    uint32_t is_keys;     /* 1 = addresses only, each once */
    uint32_t is_any_name; /* of keys: 1 = of every namespace, else of name_space */
    uint32_t touches;     /* 1 = what is read alive gets a new stamp */
    uint32_t is_address;  /* 1 = over one map or list, entered in its state's address_cursors */
    uint32_t ended;       /* of those: 1 = it was replaced, cleared or merged away */
    uint8_t *name_copy;
    struct cistern_span name_space;
    uint8_t *buffer; /* grows for one entry larger than the bound, and shrinks again */
    uint64_t buffer_capacity;
    struct buffered entries[CURSOR_COUNT_MAX];
    uint32_t entry_count;
    uint32_t entry_next;
    uint64_t frame_next;       /* of entries[entry_next], a chunk of a list: what was handed out */
    struct cistern_bytes last; /* the key where the next fill goes on; of keys: its prefix */
    uint64_t last_bytes;       /* 0 = at the range's beginning */
    struct cistern_bytes skip; /* room for a key to seek to */
    uint32_t at_end;
    struct rocks_cursor *next; /* of address_cursors */
    struct rocks_cursor *previous;
};

static inline struct rocks_cursor *rocks_cursor_of(struct cistern_cursor *cursor)
{
    return (struct rocks_cursor *)cursor;
}

/* Reads on behind `last`. After an error a later call loses nothing and repeats nothing. */
CISTERN_MUST_USE uint32_t fill_run(struct rocks_cursor *cursor, struct cistern_error *error);

#endif
