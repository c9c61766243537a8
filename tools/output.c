/* output.c -- see output.h. */
#include "output.h"

#include "cistern/alloc.h"
#include "cistern/error.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define OUTPUT_MODE 0666 /* less the umask, as for any file a command makes */

static uint32_t target_resolve(struct output *output, const char *path, struct cistern_error *error)
{
    char resolved[PATH_MAX], directory[PATH_MAX];
    struct stat stat_of;
    if (strlen(path) >= sizeof resolved) {
        return cistern_fail(error, CISTERN_INVALID, "--output", "the path is too long");
    }
    if (realpath(path, resolved) == NULL) { /* not there yet, which is usual */
        memcpy(resolved, path, strlen(path) + 1);
    }
    if (stat(resolved, &stat_of) == 0 && S_ISDIR(stat_of.st_mode)) {
        return cistern_fail(error, CISTERN_INVALID, path, "the output is a directory; name a file");
    }
    output->in_place = stat(resolved, &stat_of) == 0 && !S_ISREG(stat_of.st_mode);
    memcpy(directory, resolved, strlen(resolved) + 1);
    output->target = cistern_duplicate_string(resolved);
    output->directory = cistern_duplicate_string(dirname(directory));
    if (output->target == NULL || output->directory == NULL) {
        return cistern_fail(
            error, CISTERN_NO_MEMORY, "--output", "no memory for the output's name");
    }
    if (!output->in_place && access(output->directory, W_OK | X_OK) != 0) {
        return cistern_fail_errno(
            error, errno, output->directory, "the output's directory cannot be written");
    }
    return CISTERN_OK;
}

uint32_t output_init(struct output *output, const char *path, struct cistern_error *error)
{
    *output = (struct output){.fd = -1};
    output->buffer = cistern_allocate(OUTPUT_BUFFER_BYTES);
    if (output->buffer == NULL) {
        return cistern_fail(
            error, CISTERN_NO_MEMORY, "--output", "no memory for the output's buffer");
    }
    memset(output->buffer, 0, OUTPUT_BUFFER_BYTES); /* part of the baseline */
    return path != NULL ? target_resolve(output, path, error) : CISTERN_OK;
}

void output_deinit(struct output *output)
{
    if (output->temporary != NULL) {
        (void)unlink(output->temporary);
        cistern_release(output->temporary);
    }
    if (output->fd > STDERR_FILENO) {
        (void)close(output->fd);
    }
    cistern_release(output->target);
    cistern_release(output->directory);
    cistern_release(output->buffer);
    *output = (struct output){.fd = -1};
}

static char *temporary_name(const struct output *output)
{
    char name[PATH_MAX], *slash = strrchr(output->target, '/');
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int length = snprintf(name, sizeof name, "%s/.%s.%d-%lx.part", output->directory,
        slash != NULL ? slash + 1 : output->target, (int)getpid(), (unsigned long)now.tv_nsec);
    return length > 0 && (size_t)length < sizeof name ? cistern_duplicate_string(name) : NULL;
}

uint32_t output_open(struct output *output, struct cistern_error *error)
{
    if (output->target == NULL) {
        output->fd = STDOUT_FILENO;
        return CISTERN_OK;
    }
    if (output->in_place) {
        output->fd = open(output->target, O_WRONLY | O_CLOEXEC);
    } else {
        output->fd = open(output->directory, O_TMPFILE | O_WRONLY | O_CLOEXEC, OUTPUT_MODE);
        if (output->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
            output->temporary = temporary_name(output);
            if (output->temporary != NULL) {
                output->fd =
                    open(output->temporary, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, OUTPUT_MODE);
            }
        }
    }
    return output->fd >= 0
               ? CISTERN_OK
               : cistern_fail_errno(error, errno, output->target, "cannot open the output");
}

static uint32_t buffer_flush(struct output *output, struct cistern_error *error)
{
    for (uint64_t at = 0; at < output->buffered;) {
        ssize_t bytes = write(output->fd, output->buffer + at, output->buffered - at);
        if (bytes < 0 && errno != EINTR) {
            return cistern_fail_errno(error, errno,
                output->target != NULL ? output->target : "standard output",
                "cannot write the output");
        }
        at += bytes > 0 ? (uint64_t)bytes : 0;
    }
    output->buffered = 0;
    return CISTERN_OK;
}

uint32_t output_line(
    struct output *output, struct cistern_span word, uint64_t count, struct cistern_error *error)
{
    char digits[24]; /* a tab, at most 20 digits, a newline; written from the back */
    char *digit = digits + sizeof digits;
    *--digit = '\n';
    do {
        *--digit = (char)('0' + count % 10);
        count /= 10;
    } while (count > 0);
    *--digit = '\t';
    const struct cistern_span pieces[] = {
        word, {digit, (uint64_t)(digits + sizeof digits - digit)}};
    for (uint32_t i = 0; i < 2; i++) {
        for (uint64_t at = 0; at < pieces[i].bytes;) {
            if (output->buffered == OUTPUT_BUFFER_BYTES) {
                uint32_t status = buffer_flush(output, error);
                if (status != CISTERN_OK) {
                    return status;
                }
            }
            uint64_t room = OUTPUT_BUFFER_BYTES - output->buffered, left = pieces[i].bytes - at;
            uint64_t bytes = left < room ? left : room;
            memcpy(output->buffer + output->buffered, (const uint8_t *)pieces[i].data + at, bytes);
            output->buffered += bytes;
            at += bytes;
        }
    }
    output->line_count++;
    return CISTERN_OK;
}

uint32_t output_sync(struct output *output, struct cistern_error *error)
{
    uint32_t status = buffer_flush(output, error);
    if (status == CISTERN_OK && output->target != NULL && !output->in_place &&
        fsync(output->fd) != 0) {
        return cistern_fail_errno(error, errno, output->target, "cannot sync the output");
    }
    return status;
}

/* A nameless file gets a temporary name first: linkat() cannot replace. */
static uint32_t file_name(struct output *output, struct cistern_error *error)
{
    char self[32];
    snprintf(self, sizeof self, "/proc/self/fd/%d", output->fd);
    char *name = temporary_name(output);
    if (name == NULL) {
        return cistern_fail(
            error, CISTERN_NO_MEMORY, output->target, "no memory for the output's temporary name");
    }
    if (linkat(AT_FDCWD, self, AT_FDCWD, name, AT_SYMLINK_FOLLOW) != 0) {
        uint32_t status =
            cistern_fail_errno(error, errno, output->target, "cannot name the output");
        cistern_release(name);
        return status;
    }
    output->temporary = name;
    return CISTERN_OK;
}

uint32_t output_commit(struct output *output, struct cistern_error *error)
{
    if (output->target == NULL || output->in_place) {
        return CISTERN_OK;
    }
    uint32_t status = output->temporary == NULL ? file_name(output, error) : CISTERN_OK;
    if (status != CISTERN_OK) {
        return status;
    }
    if (rename(output->temporary, output->target) != 0) {
        return cistern_fail_errno(
            error, errno, output->target, "cannot put the output in its place");
    }
    cistern_release(output->temporary);
    output->temporary = NULL;
    int directory = open(output->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0 || fsync(directory) != 0) {
        status = cistern_fail_errno(
            error, errno, output->directory, "cannot sync the output's directory");
    }
    if (directory >= 0) {
        (void)close(directory);
    }
    return status;
}
