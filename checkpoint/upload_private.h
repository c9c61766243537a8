/*
 * upload_private.h -- one snapshot on its way into files: a state machine on the I/O thread.
 *
 * Each step either submits one operation and names the step that follows it, or names the next step
 * at once; streams keep up to UPLOAD_WRITES_MAX writes in flight. No step blocks. Every file is
 * entered in `made` before it is created, so that a failure anywhere removes exactly what was made.
 * Threads: I/O thread only, but for cancel (an atomic flag) and begin.
 */
#ifndef CISTERN_CHECKPOINT_UPLOAD_H
#define CISTERN_CHECKPOINT_UPLOAD_H

#include "writer_private.h"

#define UPLOAD_WRITES_MAX 4u
#define UPLOAD_PATH_BYTES_MAX 4096u

typedef void (*upload_step_fn)(struct cistern_upload *upload);

struct upload_write {
    struct cistern_io_operation operation;
    struct cistern_upload *upload;
    uint32_t in_flight;
};
enum upload_wait { UPLOAD_RUNS, UPLOAD_WAITS_OPERATION, UPLOAD_WAITS_READY, UPLOAD_WAITS_BUFFER };

struct cistern_upload {
    struct cistern_writer *writer;
    struct cistern_upload *next; /* writer.uploads; guarded by writer.lock */
    struct cistern_snapshot *snapshot;
    struct cistern_upload_options options;
    struct stored *stored; /* becomes the result */
    struct part_list made; /* files of this upload, each with a reference */
    struct part_list base_parts;
    struct part_list base_files;
    struct slice base_slice; /* its lists; states are not kept */
    uint32_t has_base;
    struct origin_index origins;
    struct cistern_error error;
    uint32_t status;
    uint32_t waits; /* enum upload_wait */
    upload_step_fn then;
    struct cistern_io_task task;
    _Atomic uint32_t posted;
    _Atomic uint32_t cancelled;
    uint32_t finished;

    /* the file being made */
    struct cistern_part part;
    struct part *current; /* in stored.parts or stored.files, which hold the reference */
    int32_t fd;
    int32_t source_fd;
    uint64_t offset;
    uint32_t at_end;
    uint32_t writes_in_flight;
    struct cistern_hash_stream *hash;
    uint32_t (*fill)(struct cistern_upload *upload, struct cistern_bytes into, uint64_t *ret_bytes);
    upload_step_fn after_file;
    struct list_encoder *encoder;
    struct text text; /* a state table being written */
    uint64_t text_taken;
    uint64_t part_bytes_max;
    void *buffer;             /* of a copy */
    uint32_t made_index;      /* clean-up */
    uint32_t directory_depth; /* savepoints: components made so far */
    struct cistern_io_operation operation;
    struct upload_write writes[UPLOAD_WRITES_MAX];
    char path[UPLOAD_PATH_BYTES_MAX];
    char path2[UPLOAD_PATH_BYTES_MAX];
};

/* ---- the machine ---- */
void upload_post(struct cistern_upload *upload);
void upload_fail(struct cistern_upload *upload, uint32_t status); /* detail is in upload->error */
/* Submits upload->operation with this opcode; `then` runs when it is done. */
void upload_submit(struct cistern_upload *upload, uint32_t opcode, upload_step_fn then);
/* The same for a backend's local file: memory:'s engine does not reach it, so there it is done at
 * once, by plain system calls (its parts are small). */
void upload_submit_source(struct cistern_upload *upload, uint32_t opcode, upload_step_fn then);
void upload_path(struct cistern_upload *upload, char path[UPLOAD_PATH_BYTES_MAX], const char *name);
/* Everything is in its files: enters the result with the writer and finishes. */
void upload_complete(struct cistern_upload *upload);
/* ---- upload_file.c: one file; after_file follows ---- */
/* Creates the file for upload->current and streams upload->fill into it. */
void upload_file_stream(struct cistern_upload *upload);
/* Links upload->part.local_path to upload->current's name, or copies it. */
void upload_file_link(struct cistern_upload *upload);
void upload_write_done(struct cistern_io_operation *operation);
/* A new file of this upload: enters it everywhere. NULL: upload_fail() was called. */
struct part *upload_file_new(
    struct cistern_upload *upload, struct part_list *list, uint32_t kind, const char *restore_name);
/* ---- upload_parts.c: the steps of a whole upload ---- */
void upload_start(struct cistern_upload *upload);

#endif
