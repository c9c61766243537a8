/*
 * frame_private.h -- the framed text record (docs/FORMAT.md, "Framed text record"): one header
 * line, then JSON.
 *
 * Owns:      the bytes of the header line and what JSON we accept. Never touches a file.
 * Invariant: what frame_encode() wrote is accepted by frame_decode(); a record with any bit changed
 *            is not.
 * Threads:   pure functions.
 */
#ifndef CISTERN_CHECKPOINT_FRAME_H
#define CISTERN_CHECKPOINT_FRAME_H

#include "text_private.h"

#include "cistern/hash.h"

#include <jansson.h>

#define FRAME_VERSION 1u
#define FRAME_HEADER_BYTES_MAX 256u
#define FRAME_DEPTH_MAX 16u
#define FRAME_STRING_BYTES_MAX 4096u
#define FRAME_INTEGER_MAX                                                                          \
    ((UINT64_C(1) << 53) - 1) /* larger ones are written as strings: many readers hold doubles */

struct frame_header {
    uint64_t header_bytes; /* the newline included: where the body starts */
    uint64_t body_bytes;
    struct cistern_hash128 hash; /* of the body */
};

/* For the allocation sweeps of tests, before any other use of jansson: its memory comes from
 * cistern_allocate() from then on. The library never asks for it: the setting is the whole
 * process's, and a host may hold jansson objects of its own. */
void frame_use_allocator(void);
/* Appends header and body. body is only read. */
CISTERN_MUST_USE uint32_t frame_encode(
    const char *kind, const json_t *body, struct text *text, struct cistern_error *error);
/* The header line for a body of which length and hash are known; returns its length, without the
 * NUL. */
uint32_t frame_header_format(char line[FRAME_HEADER_BYTES_MAX], const char *kind,
    uint64_t body_bytes, const struct cistern_hash128 *hash);
/* data: the file's first bytes, at least min(file, FRAME_HEADER_BYTES_MAX) of them. CORRUPT with
 *       the offset; UNSUPPORTED names
 * both versions. object: for messages. */
CISTERN_MUST_USE uint32_t frame_header_parse(const char *object, const char *kind,
    struct cistern_span data, struct frame_header *ret_header, struct cistern_error *error);
/* One whole record. The caller releases *ret_body with json_decref(); *ret_header (may be NULL)
 * says where it stood. */
CISTERN_MUST_USE uint32_t frame_decode(const char *object, const char *kind,
    struct cistern_span data, struct frame_header *ret_header, json_t **ret_body,
    struct cistern_error *error);
/* JSON text within the limits above; offset: where it stands in `object`. */
CISTERN_MUST_USE uint32_t frame_json_parse(const char *object, uint64_t offset,
    struct cistern_span text, json_t **ret_value, struct cistern_error *error);

#endif
