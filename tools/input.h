/*
 * input.h -- the files a job reads: found, opened once to see that they can be read, and
 * identified.
 *
 * A directory stands for its regular files (and links to such), at any depth, in bytewise order of
 * the names; links to directories are not followed. What the job itself writes is no input: a
 * directory is walked around it, so that a restart finds the same files, and naming it is refused.
 * Identity: path, size, modification time, inode
 * and a hash of the first 64 KiB. A checkpoint records it, since a source position means nothing in
 * another file. Threads: owner only; read-only once filled.
 */
#ifndef CISTERN_INPUT_H
#define CISTERN_INPUT_H

#include "cistern/hash.h"

#define INPUT_FILES_MAX 4000000u
#define INPUT_DEPTH_MAX 64u
#define INPUT_HEAD_BYTES (64u << 10)

struct input_file {
    char *path; /* resolved */
    uint64_t bytes;
    uint64_t identity;
};
#define INPUT_EXCLUDED_MAX 8u

struct input_list {
    char *excluded[INPUT_EXCLUDED_MAX]; /* resolved paths */
    uint32_t excluded_count;
    uint32_t reserved;
    struct input_file *files;
    uint32_t count;
    uint32_t capacity;
    uint64_t bytes; /* all files */
};
/* `path` (file or directory, there or not yet) is what the job writes. Before the first add; at
 * most INPUT_EXCLUDED_MAX. */
CISTERN_MUST_USE uint32_t input_list_exclude(
    struct input_list *list, const char *path, struct cistern_error *error);
/* NOT_FOUND: no such file. IO: not readable. INVALID: neither file nor directory, or excluded. Files found
 * before a failure stay. */
CISTERN_MUST_USE uint32_t input_list_add(
    struct input_list *list, const char *path, struct cistern_error *error);
void input_list_deinit(struct input_list *list);
struct cistern_hash128 input_list_identity(const struct input_list *list);

#endif
