/* source.c -- see source.h. */
#include "source.h"
#include "words.h"

#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/error.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#define CARRY_BYTES (CISTERN_KEY_BYTES_MAX + 1u)
#define MEMORY_BYTES (CARRY_BYTES + SOURCE_READ_BYTES + WORDS_PAD_BYTES)
#define THROTTLE_SLEEP_NS_MAX 20000000
static_assert(WORDS_PAD_BYTES >= BATCH_PAD_BYTES,
    "a word's last 16-byte step must stay inside the read buffer");

uint32_t source_init(struct source *source, uint32_t worker_count, struct cistern_error *error)
{
    *source = (struct source){.fd = -1};
    source->memory = cistern_allocate(MEMORY_BYTES);
    source->open_batches = cistern_allocate_zeroed(worker_count, sizeof source->open_batches[0]);
    if (source->memory == NULL || source->open_batches == NULL) {
        cistern_release(source->memory);
        cistern_release(source->open_batches);
        *source = (struct source){.fd = -1};
        return cistern_fail(error, CISTERN_NO_MEMORY, "source", "no memory for the read buffer");
    }
    memset(source->memory, 0, MEMORY_BYTES); /* part of the baseline */
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&source->lock, NULL);
    pthread_cond_init(&source->command, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return CISTERN_OK;
}

void source_deinit(struct source *source)
{
    if (source->memory != NULL) {
        pthread_cond_destroy(&source->command);
        pthread_mutex_destroy(&source->lock);
        cistern_release(source->memory);
        cistern_release(source->open_batches);
        *source = (struct source){.fd = -1};
    }
}

/* ---- batches ---- */

static int source_flush(struct source *source)
{
    for (uint32_t i = 0; i < source->options.worker_count; i++) {
        struct batch *batch = source->open_batches[i];
        if (batch != NULL && batch->count > 0) {
            inbox_push(source->options.inboxes[i]);
            source->open_batches[i] = NULL;
        }
    }
    return 1;
}

/* An open batch of the worker with room for one more word; NULL: the job is being given up. */
static struct batch *batch_with_room(struct source *source, uint32_t worker, uint64_t bytes)
{
    struct batch *batch = source->open_batches[worker];
    if (batch != NULL &&
        (batch->count == BATCH_RECORDS_MAX || batch->bytes + bytes > BATCH_WORD_BYTES)) {
        inbox_push(source->options.inboxes[worker]);
        batch = NULL;
    }
    if (batch == NULL) {
        batch = inbox_acquire(source->options.inboxes[worker]);
        source->open_batches[worker] = batch;
    }
    return batch;
}

/* Both sides have padding, so that short words (nearly all) are one 16-byte move instead of a
 * call. */
static inline void word_copy(uint8_t *to, const uint8_t *from, uint64_t bytes)
{
    for (uint64_t at = 0; at < bytes; at += 16) {
        memcpy(to + at, from + at, 16);
    }
}

static inline int word_emit(struct source *source, const uint8_t *word, uint64_t bytes)
{
    const struct source_options *options = &source->options;
    uint32_t group =
        cistern_key_group_bytes((struct cistern_span){word, bytes}, options->max_parallelism);
    uint32_t worker =
        options->worker_count == 1
            ? 0
            : cistern_key_group_owner(group, options->max_parallelism, options->worker_count);
    struct batch *batch = source->open_batches[worker];
    if (batch == NULL || batch->count == BATCH_RECORDS_MAX ||
        batch->bytes + bytes > BATCH_WORD_BYTES) {
        batch = batch_with_room(source, worker, bytes);
        if (batch == NULL) {
            source->leaving = 1;
            return 0;
        }
    }
    word_copy(batch->words + batch->bytes, word, bytes);
    batch->lengths[batch->count] = (uint16_t)bytes;
    batch->groups[batch->count] = (uint16_t)group;
    batch->count++;
    batch->bytes += bytes;
    source->records++;
    return 1;
}

/* ---- reading ---- */

static uint64_t offset_of(const struct source *source, const uint8_t *at)
{
    return source->data_offset + (uint64_t)(at - (source->memory + CARRY_BYTES));
}

static struct position position_now(const struct source *source)
{
    const uint8_t *at = source->unfinished != NULL ? source->unfinished : source->window;
    return (struct position){.file_index = source->file_index,
        .offset_bytes = source->fd < 0 ? source->data_offset : offset_of(source, at),
        .records = source->records};
}

static int source_fail(struct source *source)
{
    source->leaving = 1;
    return 0;
}

static int word_too_long(struct source *source)
{
    (void)cistern_fail(&source->error, CISTERN_INVALID,
        source->options.inputs->files[source->file_index].path,
        "the word at offset %llu is longer than %u bytes, the longest key",
        (unsigned long long)position_now(source).offset_bytes, CISTERN_KEY_BYTES_MAX);
    return source_fail(source);
}

static int file_open(struct source *source)
{
    const char *path = source->options.inputs->files[source->file_index].path;
    source->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (source->fd < 0 || lseek(source->fd, (off_t)source->data_offset, SEEK_SET) < 0) {
        (void)cistern_fail_errno(&source->error, errno, path, "cannot open the input");
        return source_fail(source);
    }
    (void)posix_fadvise(source->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    source->window = source->data_end = source->memory + CARRY_BYTES;
    source->unfinished = NULL;
    return 1;
}

static int file_end(struct source *source)
{
    if (source->unfinished != NULL) {
        uint64_t bytes = (uint64_t)(source->data_end - source->unfinished);
        if (bytes > CISTERN_KEY_BYTES_MAX) {
            return word_too_long(source);
        }
        if (!word_emit(source, source->unfinished, bytes)) {
            return 0;
        }
        source->unfinished = NULL;
    }
    (void)close(source->fd);
    source->fd = -1;
    source->file_index++;
    source->data_offset = 0;
    return 1;
}

/* The next piece of the file behind the carry area; an unfinished word moves to stand right
 * before it. */
static int file_refill(struct source *source)
{
    uint8_t *base = source->memory + CARRY_BYTES;
    uint64_t data_offset = offset_of(source, source->data_end);
    if (source->unfinished != NULL) {
        uint64_t bytes = (uint64_t)(source->data_end - source->unfinished);
        if (bytes > CISTERN_KEY_BYTES_MAX) {
            return word_too_long(source);
        }
        memmove(base - bytes, source->unfinished, bytes);
        source->unfinished = base - bytes;
    }
    source->data_offset = data_offset;
    source->window = source->data_end = base;
    ssize_t bytes = read(source->fd, base, SOURCE_READ_BYTES);
    if (bytes < 0 && errno == EINTR) {
        return 1;
    }
    if (bytes < 0) {
        (void)cistern_fail_errno(&source->error, errno,
            source->options.inputs->files[source->file_index].path, "cannot read the input");
        return source_fail(source);
    }
    if (bytes == 0) {
        return file_end(source);
    }
    source->data_end = base + bytes;
    return 1;
}

static int window_split(struct source *source)
{
    uint64_t left = (uint64_t)(source->data_end - source->window);
    const uint8_t *limit =
        source->window + (left < source->window_bytes ? left : source->window_bytes);
    struct words words = words_begin(source->window, limit, source->unfinished);
    const uint8_t *word;
    uint64_t bytes;
    while (words_next(&words, &word, &bytes)) {
        if (__builtin_expect(bytes > CISTERN_KEY_BYTES_MAX, 0)) {
            source->unfinished = word;
            return word_too_long(source);
        }
        if (!word_emit(source, word, bytes)) {
            return 0;
        }
    }
    source->unfinished = words.start;
    source->window = limit;
    __atomic_store_n(&source->records_seen, source->records, __ATOMIC_RELAXED);
    return 1;
}

static void position_post(struct source *source, uint32_t kind, uint64_t checkpoint_id)
{
    struct message message = {
        .kind = kind, .checkpoint_id = checkpoint_id, .position = position_now(source)};
    mail_post(source->options.mail, &message);
}

static int source_read(struct source *source)
{
    if (source->fd >= 0) {
        return source->window == source->data_end ? file_refill(source) : window_split(source);
    }
    if (source->file_index < source->options.inputs->count) {
        return file_open(source);
    }
    __atomic_store_n(&source->records_seen, source->records, __ATOMIC_RELAXED);
    source->reading = 0;
    source_flush(source);
    position_post(source, MESSAGE_SOURCE_DONE, 0);
    return 1;
}

/* ---- commands ---- */

static void control_push(struct source *source, uint32_t kind, const struct barrier *barrier)
{
    for (uint32_t i = 0; i < source->options.worker_count; i++) {
        /* After a flush an open batch is an empty one in the ring's next place: the control
         * takes that place. */
        struct batch *batch = source->open_batches[i];
        if (batch == NULL) {
            batch = inbox_acquire(source->options.inboxes[i]);
        }
        source->open_batches[i] = NULL;
        if (batch == NULL) {
            source->leaving = 1;
            return;
        }
        batch->kind = kind;
        if (barrier != NULL) {
            batch->barrier = *barrier;
        }
        inbox_push(source->options.inboxes[i]);
    }
}

static void command_obey(struct source *source)
{
    pthread_mutex_lock(&source->lock);
    uint32_t barrier_wanted = source->barrier_wanted, stop = source->stop_wanted,
             finish = source->finish_wanted;
    struct barrier barrier = source->barrier;
    source->leaving |= source->abort_wanted;
    source->barrier_wanted = source->stop_wanted = 0;
    __atomic_store_n(&source->attention, 0, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&source->lock);
    if (source->leaving) {
        return;
    }
    source_flush(source);
    if (barrier_wanted) {
        position_post(source, MESSAGE_BARRIER_SENT, barrier.checkpoint_id);
        control_push(source, BATCH_BARRIER, &barrier);
    }
    if (stop && source->reading) {
        source->reading = 0;
        position_post(source, MESSAGE_SOURCE_DONE, 0);
    }
    if (finish) {
        control_push(source, BATCH_END, NULL);
        source->leaving = 1;
    }
}

/* Sleeps until a command comes or the time is over; 0 = for ever. */
static void command_wait(struct source *source, int64_t sleep_ns)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    int64_t nanoseconds = at.tv_nsec + sleep_ns;
    at.tv_sec += (time_t)(nanoseconds / 1000000000);
    at.tv_nsec = (long)(nanoseconds % 1000000000);
    pthread_mutex_lock(&source->lock);
    int over = 0;
    while (!__atomic_load_n(&source->attention, __ATOMIC_RELAXED) && !over) {
        over = sleep_ns == 0 ? pthread_cond_wait(&source->command, &source->lock)
                             : pthread_cond_timedwait(&source->command, &source->lock, &at) != 0;
    }
    pthread_mutex_unlock(&source->lock);
}

static void throttle(struct source *source)
{
    uint64_t done = source->records - source->records_at_start;
    int64_t due_ns = (int64_t)((double)done * 1e9 / (double)source->options.records_per_second);
    int64_t ahead_ns = due_ns - (cistern_now_ns() - source->started_ns);
    if (ahead_ns > 1000000) {
        source_flush(source);
        command_wait(source, ahead_ns < THROTTLE_SLEEP_NS_MAX ? ahead_ns : THROTTLE_SLEEP_NS_MAX);
    }
}

static int throttled(const struct source *source)
{
    uint64_t done = source->records - source->records_at_start;
    int64_t elapsed_ns = cistern_now_ns() - source->started_ns;
    return (double)done * 1e9 / (double)source->options.records_per_second >
           (double)elapsed_ns + 1000000;
}

static void *source_main(void *arg)
{
    struct source *source = arg;
    const struct source_options *options = &source->options;
    pthread_setname_np(pthread_self(), "cistern-source");
    while (!source->leaving) {
        if (__atomic_load_n(&source->attention, __ATOMIC_ACQUIRE)) {
            command_obey(source);
        } else if (!source->reading) {
            command_wait(source, 0);
        } else if (options->records_per_second > 0 && throttled(source)) {
            throttle(source);
        } else if (source_read(source) && options->checkpoint_every > 0 &&
                   source->records >= source->next_wanted) {
            source->next_wanted =
                (source->records / options->checkpoint_every + 1) * options->checkpoint_every;
            if (!__atomic_exchange_n(&source->checkpoint_asked, 1, __ATOMIC_ACQ_REL)) {
                struct message message = {.kind = MESSAGE_CHECKPOINT_WANTED};
                mail_post(options->mail, &message);
            }
        }
    }
    if (source->fd >= 0) {
        (void)close(source->fd);
        source->fd = -1;
    }
    struct message message = {.kind = MESSAGE_SOURCE_LEFT, .error = source->error};
    mail_post(options->mail, &message);
    return NULL;
}

uint32_t source_start(
    struct source *source, const struct source_options *options, struct cistern_error *error)
{
    source->options = *options;
    source->file_index = options->start.file_index;
    source->data_offset = options->start.offset_bytes;
    source->records = source->records_seen = source->records_at_start = options->start.records;
    source->started_ns = cistern_now_ns();
    source->reading = 1;
    cistern_error_clear(&source->error);
    if (options->checkpoint_every > 0) {
        source->next_wanted =
            (source->records / options->checkpoint_every + 1) * options->checkpoint_every;
    }
    /* A throttled source looks at the clock about every 2 ms: 6 bytes are a word, near enough. */
    uint64_t paced = options->records_per_second / 500 * 6 / 64 * 64;
    source->window_bytes = options->records_per_second == 0 || paced > SOURCE_WINDOW_BYTES
                               ? SOURCE_WINDOW_BYTES
                               : paced;
    source->window_bytes = source->window_bytes < 64 ? 64 : source->window_bytes;
    int os_errno = pthread_create(&source->thread, NULL, source_main, source);
    return os_errno == 0
               ? CISTERN_OK
               : cistern_fail_errno(error, os_errno, "source", "cannot start the reader thread");
}

static void command_post(struct source *source, uint32_t *wanted, const struct barrier *barrier)
{
    pthread_mutex_lock(&source->lock);
    *wanted = 1;
    if (barrier != NULL) {
        source->barrier = *barrier;
    }
    __atomic_store_n(&source->attention, 1, __ATOMIC_RELEASE);
    pthread_cond_signal(&source->command);
    pthread_mutex_unlock(&source->lock);
}

void source_barrier(struct source *source, const struct barrier *barrier)
{
    command_post(source, &source->barrier_wanted, barrier);
}

void source_stop(struct source *source)
{
    command_post(source, &source->stop_wanted, NULL);
}

void source_finish(struct source *source)
{
    command_post(source, &source->finish_wanted, NULL);
}

void source_abort(struct source *source)
{
    command_post(source, &source->abort_wanted, NULL);
}

void source_join(struct source *source)
{
    pthread_join(source->thread, NULL);
}
