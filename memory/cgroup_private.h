/* cgroup_private.h -- where this process's control groups are, and how their small files are read;
 * shared by cgroup.c and pressure.c. */
#ifndef CISTERN_CGROUP_PRIVATE_H
#define CISTERN_CGROUP_PRIVATE_H

#include "cistern/cgroup.h"

#include <stddef.h>

#define CGROUP_PATH_BYTES 2048 /* of a path with its root; longer ones are passed over */

/* A group as a directory: root + mount + group, of which the first two are `top_bytes` long. */
struct cgroup_place {
    char path[CGROUP_PATH_BYTES];
    size_t top_bytes;
    int is_found;
};
struct cgroup_places {
    struct cgroup_place v1; /* of the memory controller */
    struct cgroup_place v2;
};
void cgroup_places_find(const char *root, struct cgroup_places *ret_places);

/* Text of directory/name, NUL-terminated. Returns its bytes, or minus an errno. */
int64_t cgroup_file_read(const char *directory, const char *name, char *text, size_t capacity);

#endif
