/* upload_file.c -- one file of an upload: streamed, linked or copied; see upload_private.h. */
#include "upload_private.h"

#include "cistern/alloc.h"
#include "cistern/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static uint32_t enter(struct cistern_upload *upload, struct part_list *list, struct part *part)
{
    uint32_t status = part_list_add(list, part);
    if (status == CISTERN_OK) {
        status = part_list_add(&upload->made, part);
        part->refs += status == CISTERN_OK;
    } else {
        part_drop(part, NULL);
    }
    return status;
}

struct part *upload_file_new(
    struct cistern_upload *upload, struct part_list *list, uint32_t kind, const char *restore_name)
{
    struct part *part = part_create(restore_name);
    uint32_t status = CISTERN_NO_MEMORY;
    if (part != NULL) {
        pthread_mutex_lock(&upload->writer->lock);
        part->name = writer_name(upload->writer, upload->options.slot_index, kind);
        status = enter(upload, list, part);
        pthread_mutex_unlock(&upload->writer->lock);
    }
    if (status != CISTERN_OK) {
        upload_fail(upload,
            cistern_fail(&upload->error, status, NULL, "no room for one more file in an upload"));
        return NULL;
    }
    upload->current = part;
    upload->offset = 0;
    upload->at_end = 0;
    upload->fd = -1;
    upload->source_fd = -1;
    cistern_hash_stream_reset(upload->hash);
    char name[NAME_BYTES_MAX];
    data_name_format(name, &part->name);
    upload_path(upload, upload->path, name);
    return part;
}

static uint32_t failed(struct cistern_upload *upload, const char *what)
{
    int64_t result = upload->operation.result;
    if (result >= 0) {
        return 0;
    }
    upload_fail(upload, cistern_fail_errno(&upload->error, (int32_t)-result, upload->path, what));
    return 1;
}

/* ---- the end of every file: length, hash, durability ---- */
static void after_close(struct cistern_upload *upload)
{
    if (!failed(upload, "close")) {
        upload->then = upload->after_file;
    }
}

static void after_sync(struct cistern_upload *upload)
{
    if (failed(upload, "fsync")) {
        return;
    }
    upload->operation.fd = upload->fd;
    upload->fd = -1;
    upload_submit(upload, CISTERN_IO_CLOSE, after_close);
}

static void sync_file(struct cistern_upload *upload)
{
    upload->operation.fd = upload->fd;
    upload_submit(upload, CISTERN_IO_FSYNC, after_sync);
}

static void finish_content(struct cistern_upload *upload)
{
    upload->current->bytes = upload->offset;
    upload->current->hash = cistern_hash_stream_finish(upload->hash);
    sync_file(upload);
}

/* ---- streams ---- */
void upload_write_done(struct cistern_io_operation *operation)
{
    struct upload_write *write = operation->arg;
    struct cistern_upload *upload = write->upload;
    cistern_io_buffer_release(upload->writer->io, operation->data);
    write->in_flight = 0;
    upload->writes_in_flight--;
    if (operation->result < 0 && upload->status == CISTERN_OK) {
        upload->status =
            cistern_fail_errno(&upload->error, (int32_t)-operation->result, upload->path, "write");
    }
    upload_post(upload);
    cistern_writer_ready(upload->writer); /* a buffer is free: others may wait for one */
}

static uint32_t part_too_large(struct cistern_upload *upload)
{
    return cistern_fail(&upload->error, CISTERN_LIMIT, cistern_store_uri(upload->writer->store),
        "a state part has more than %llu bytes, the most this store holds: use a directory for "
        "checkpoints",
        (unsigned long long)upload->part_bytes_max);
}

static uint32_t fill_buffer(
    struct cistern_upload *upload, struct cistern_bytes buffer, uint64_t *ret_bytes)
{
    *ret_bytes = 0;
    while (*ret_bytes < buffer.capacity_bytes && !upload->at_end) {
        uint64_t bytes = 0;
        struct cistern_bytes into = {
            (char *)buffer.data + *ret_bytes, buffer.capacity_bytes - *ret_bytes};
        uint32_t status = upload->fill(upload, into, &bytes);
        if (status != CISTERN_OK) {
            return status;
        }
        upload->at_end = bytes == 0;
        *ret_bytes += bytes;
    }
    if (upload->offset + *ret_bytes > upload->part_bytes_max) {
        return part_too_large(upload);
    }
    cistern_hash_stream_update(upload->hash, buffer.data, *ret_bytes);
    return CISTERN_OK;
}

static struct upload_write *free_write(struct cistern_upload *upload)
{
    for (uint32_t index = 0; index < UPLOAD_WRITES_MAX; index++) {
        if (!upload->writes[index].in_flight) {
            return &upload->writes[index];
        }
    }
    return NULL;
}

/* One more piece; 0 = no buffer, or the end, or a failure. */
static int write_piece(struct cistern_upload *upload)
{
    struct cistern_io *io = upload->writer->io;
    struct upload_write *write = free_write(upload);
    void *buffer = write == NULL ? NULL : cistern_io_buffer_acquire(io);
    uint64_t bytes;
    if (buffer == NULL) {
        return 0;
    }
    uint32_t status =
        fill_buffer(upload, (struct cistern_bytes){buffer, cistern_io_buffer_bytes(io)}, &bytes);
    if (status != CISTERN_OK || bytes == 0) {
        cistern_io_buffer_release(io, buffer);
        upload->status = status;
        return 0;
    }
    write->upload = upload;
    write->in_flight = 1;
    write->operation = (struct cistern_io_operation){.opcode = CISTERN_IO_WRITE,
        .fd = upload->fd,
        .data = buffer,
        .bytes = bytes,
        .offset = upload->offset,
        .done = upload_write_done,
        .arg = write};
    upload->offset += bytes;
    upload->writes_in_flight++;
    cistern_io_submit(io, &write->operation);
    return 1;
}

/* Every buffer is out, none is ours, and whoever gives one back need not know of us: asked again
 * after an operation, which lets others' operations end first. */
static void ask_again(struct cistern_upload *upload, upload_step_fn step)
{
    upload->operation = (struct cistern_io_operation){.path = "/"};
    upload_submit(upload, CISTERN_IO_STAT, step);
}

static void stream_step(struct cistern_upload *upload)
{
    while (upload->status == CISTERN_OK && !upload->at_end && write_piece(upload)) {
    }
    if (upload->status != CISTERN_OK) {
        upload_fail(upload, upload->status);
    } else if (!upload->at_end || upload->writes_in_flight > 0) {
        if (upload->writes_in_flight == 0) {
            ask_again(upload, stream_step);
            return;
        }
        upload->then = stream_step;
        upload->waits = UPLOAD_WAITS_BUFFER;
    } else {
        finish_content(upload);
    }
}

static void after_create(struct cistern_upload *upload)
{
    if (!failed(upload, "create")) {
        upload->fd = (int32_t)upload->operation.result;
        upload->then = stream_step;
    }
}

void upload_file_stream(struct cistern_upload *upload)
{
    upload->operation = (struct cistern_io_operation){.path = upload->path,
        .flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
        .mode = 0644}; /* unique for ever: never there */
    upload_submit(upload, CISTERN_IO_OPEN, after_create);
}

/* ---- files: linked where that is possible ---- */
static void copy_read(struct cistern_upload *upload);

/* The recorded content, where the backend knew it, must be what went by. */
static int check_content(struct cistern_upload *upload)
{
    struct cistern_hash128 hash = cistern_hash_stream_finish(upload->hash);
    const struct cistern_part *part = &upload->part;
    if (upload->offset != part->bytes ||
        (part->has_hash && memcmp(hash.bytes, part->content_hash, sizeof hash.bytes) != 0)) {
        upload_fail(upload, cistern_fail_corrupt(&upload->error, upload->path2, upload->offset,
                                "the local file is not what its backend said: %llu bytes, another "
                                "hash or length than recorded",
                                (unsigned long long)upload->offset));
        return 0;
    }
    return 1;
}

static void source_closed(struct cistern_upload *upload)
{
    if (check_content(upload)) {
        finish_content(upload);
    }
}

static void close_source(struct cistern_upload *upload)
{
    cistern_io_buffer_release(upload->writer->io, upload->buffer);
    upload->buffer = NULL;
    if (upload->source_fd < 0) { /* a linked file that was only read */
        source_closed(upload);
        return;
    }
    upload->operation.fd = upload->source_fd;
    upload->source_fd = -1;
    upload_submit_source(upload, CISTERN_IO_CLOSE, source_closed);
}

static void copy_written(struct cistern_upload *upload)
{
    if (!failed(upload, "write")) {
        upload->then = copy_read;
    }
}

static void copy_got(struct cistern_upload *upload)
{
    uint64_t bytes = (uint64_t)upload->operation.result;
    if (failed(upload, "read")) {
        return;
    }
    cistern_hash_stream_update(upload->hash, upload->buffer, bytes);
    uint64_t offset = upload->offset;
    upload->offset += bytes;
    if (bytes == 0) {
        close_source(upload);
    } else if (upload->source_fd < 0) {
        upload->then = copy_read;
    } else {
        upload->operation.fd = upload->fd;
        upload->operation.offset = offset;
        upload->operation.bytes = bytes;
        upload_submit(upload, CISTERN_IO_WRITE, copy_written);
    }
}

static void copy_read(struct cistern_upload *upload)
{
    if (upload->buffer == NULL) {
        upload->buffer = cistern_io_buffer_acquire(upload->writer->io);
    }
    if (upload->buffer == NULL) {
        ask_again(upload, copy_read);
        return;
    }
    upload->operation =
        (struct cistern_io_operation){.fd = upload->source_fd >= 0 ? upload->source_fd : upload->fd,
            .data = upload->buffer,
            .bytes = cistern_io_buffer_bytes(upload->writer->io),
            .offset = upload->offset};
    if (upload->source_fd >= 0) {
        upload_submit_source(upload, CISTERN_IO_READ, copy_got);
    } else {
        upload_submit(upload, CISTERN_IO_READ, copy_got);
    }
}

static void copy_created(struct cistern_upload *upload)
{
    if (!failed(upload, "create")) {
        upload->fd = (int32_t)upload->operation.result;
        upload->then = copy_read;
    }
}

static void copy_opened(struct cistern_upload *upload)
{
    if (failed(upload, "open the local file of")) {
        return;
    }
    upload->source_fd = (int32_t)upload->operation.result;
    upload->operation = (struct cistern_io_operation){
        .path = upload->path, .flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, .mode = 0644};
    upload_submit(upload, CISTERN_IO_OPEN, copy_created);
}

static void copy(struct cistern_upload *upload)
{
    upload->operation =
        (struct cistern_io_operation){.path = upload->path2, .flags = O_RDONLY | O_CLOEXEC};
    upload_submit_source(upload, CISTERN_IO_OPEN, copy_opened);
}

/* A linked file has its backend's word for its content; without one it is read once. */
static void linked_opened(struct cistern_upload *upload)
{
    if (failed(upload, "open")) {
        return;
    }
    upload->fd = (int32_t)upload->operation.result;
    if (!upload->part.has_hash) {
        upload->then = copy_read;
        return;
    }
    memcpy(
        upload->current->hash.bytes, upload->part.content_hash, sizeof upload->current->hash.bytes);
    upload->current->bytes = upload->part.bytes;
    sync_file(upload);
}

static void linked_looked_at(struct cistern_upload *upload)
{
    if (failed(upload, "look at")) {
        return;
    }
    if (upload->operation.result_stat.bytes != upload->part.bytes) {
        upload_fail(upload,
            cistern_fail_corrupt(&upload->error, upload->path2, upload->operation.result_stat.bytes,
                "the local file has %llu bytes, its backend said %llu",
                (unsigned long long)upload->operation.result_stat.bytes,
                (unsigned long long)upload->part.bytes));
        return;
    }
    upload->operation =
        (struct cistern_io_operation){.path = upload->path, .flags = O_RDONLY | O_CLOEXEC};
    upload_submit(upload, CISTERN_IO_OPEN, linked_opened);
}

static void link_done(struct cistern_upload *upload)
{
    int64_t result = upload->operation.result;
    if (result == -EXDEV || result == -EPERM || result == -EMLINK || result == -ENOTSUP ||
        result == -ENOSYS) {
        upload->then = copy;
        return;
    }
    if (!failed(upload, "link")) {
        upload->operation = (struct cistern_io_operation){.path = upload->path};
        upload_submit(upload, CISTERN_IO_STAT, linked_looked_at);
    }
}

void upload_file_link(struct cistern_upload *upload)
{
    if (snprintf(upload->path2, sizeof upload->path2, "%s", upload->part.local_path) >=
        (int)sizeof upload->path2) {
        upload_fail(upload, cistern_fail(&upload->error, CISTERN_LIMIT, upload->part.local_path,
                                "the path is too long"));
        return;
    }
    if (upload->part.bytes > upload->part_bytes_max) {
        upload_fail(upload, part_too_large(upload));
        return;
    }
    if (cistern_store_path(upload->writer->store) == NULL) {
        upload->then = copy; /* nothing on a disk can be linked into memory */
        return;
    }
    upload->operation = (struct cistern_io_operation){.path = upload->path2, .path2 = upload->path};
    upload_submit(upload, CISTERN_IO_LINK, link_done);
}
