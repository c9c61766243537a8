/* cgroup.c -- see cgroup.h. */
#include "cgroup_private.h"
#include "cistern/error.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STAT_TEXT_BYTES 16384
#define LEVEL_COUNT_MAX 64
/* v1 writes the largest long, rounded down to a page, for no limit: nobody limits to 4 EiB. */
#define LIMIT_NONE_FROM (UINT64_C(1) << 62)

/* "max", or digits. 1 = it is there, 0 = the file is not. */
static int number_read(const char *directory, const char *name, uint64_t *ret_number,
    uint32_t *ret_status, struct cistern_error *error)
{
    char text[64];
    char path[CGROUP_PATH_BYTES + 64];
    int64_t bytes = cgroup_file_read(directory, name, text, sizeof text);
    if (bytes == -ENOENT || bytes == -EACCES || bytes == -ENODEV || bytes == -EOPNOTSUPP) {
        return 0;
    }
    snprintf(path, sizeof path, "%s/%s", directory, name);
    if (bytes < 0) {
        *ret_status =
            cistern_fail_errno(error, (int32_t)-bytes, path, "cannot read a control group's limit");
        return 0;
    }
    text[strcspn(text, "\n")] = '\0';
    *ret_number = UINT64_MAX;
    if (strcmp(text, "max") == 0) {
        return 1;
    }
    char *end = text;
    errno = 0;
    if (isdigit((unsigned char)text[0])) {
        *ret_number = strtoull(text, &end, 10);
    }
    if (end == text || *end != '\0' || errno != 0) {
        *ret_status = cistern_fail_corrupt(
            error, path, 0, "\"%s\" is no limit: a number of bytes or \"max\" was expected", text);
        return 0;
    }
    *ret_number = *ret_number >= LIMIT_NONE_FROM ? UINT64_MAX : *ret_number;
    return 1;
}

/* "name 123" lines: the number of one of them; 0 when there is none. */
static uint64_t stat_field(const char *text, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = text; at != NULL; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncmp(at, name, length) == 0 && at[length] == ' ') {
            return strtoull(at + length, NULL, 10);
        }
    }
    return 0;
}

static void limit_lower(struct cistern_cgroup *cgroup, const char *directory, const char *name,
    uint64_t bytes, uint32_t is_throttle, uint64_t *level_bytes)
{
    *level_bytes = bytes < *level_bytes ? bytes : *level_bytes;
    if (!is_throttle && bytes < cgroup->kill_bytes) {
        cgroup->kill_bytes = bytes;
    }
    if (bytes < cgroup->limit_bytes) {
        cgroup->limit_bytes = bytes;
        cgroup->is_throttle = is_throttle;
        int length =
            snprintf(cgroup->limit_file, sizeof cgroup->limit_file, "%s/%s", directory, name);
        if (length >= (int)sizeof cgroup->limit_file) {
            snprintf(cgroup->limit_file, sizeof cgroup->limit_file, ".../%s", name);
        }
    }
}

static uint32_t level_read_v2(const char *directory, struct cistern_cgroup *cgroup,
    uint64_t *level_bytes, struct cistern_error *error)
{
    uint32_t status = CISTERN_OK;
    uint64_t bytes;
    if (number_read(directory, "memory.max", &bytes, &status, error)) {
        limit_lower(cgroup, directory, "memory.max", bytes, 0, level_bytes);
    }
    if (status == CISTERN_OK && number_read(directory, "memory.high", &bytes, &status, error)) {
        limit_lower(cgroup, directory, "memory.high", bytes, 1, level_bytes);
    }
    return status;
}

static uint32_t level_read_v1(const char *directory, struct cistern_cgroup *cgroup,
    uint64_t *level_bytes, struct cistern_error *error)
{
    char text[STAT_TEXT_BYTES];
    uint32_t status = CISTERN_OK;
    uint64_t bytes;
    if (number_read(directory, "memory.limit_in_bytes", &bytes, &status, error)) {
        limit_lower(cgroup, directory, "memory.limit_in_bytes", bytes, 0, level_bytes);
    }
    if (status == CISTERN_OK && cgroup_file_read(directory, "memory.stat", text, sizeof text) > 0) {
        bytes = stat_field(text, "hierarchical_memory_limit");
        if (bytes > 0 && bytes < LIMIT_NONE_FROM) {
            limit_lower(cgroup, directory, "memory.stat (hierarchical_memory_limit)", bytes, 0,
                level_bytes);
        }
    }
    return status;
}

/* Whether the group above limits this one too. */
static int is_limited_by(const char *parent, int version)
{
    char text[16];
    return version == 2 ||
           cgroup_file_read(parent, "memory.use_hierarchy", text, sizeof text) <= 0 ||
           text[0] != '0';
}

/* Cuts the last name off; 0 = this was the mount itself. */
static int go_up(struct cgroup_place *place)
{
    char *slash = strrchr(place->path + place->top_bytes, '/');
    if (slash == NULL) {
        return 0;
    }
    *slash = '\0';
    return 1;
}

/* What cannot be taken back of everybody in the group. */
static uint64_t pinned_read(const char *directory, int version)
{
    char text[STAT_TEXT_BYTES];
    if (cgroup_file_read(directory, "memory.stat", text, sizeof text) <= 0) {
        return 0;
    }
    return version == 2 ? stat_field(text, "anon") + stat_field(text, "shmem")
                        : stat_field(text, "total_rss") + stat_field(text, "total_shmem");
}

/* The least that any level leaves, told as if it were of the lowest limit: others in a group above
 * may leave less of a higher one. */
static uint64_t pinned_under_limit(
    const uint64_t *limits, const uint64_t *pinned, uint32_t count, uint64_t lowest)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t beyond = limits[i] - lowest;
        if (limits[i] != UINT64_MAX && pinned[i] > beyond && pinned[i] - beyond > most) {
            most = pinned[i] - beyond;
        }
    }
    return most;
}

static uint32_t place_read(
    struct cgroup_place *place, struct cistern_cgroup *cgroup, struct cistern_error *error)
{
    int version = (int)cgroup->version;
    uint32_t status = CISTERN_OK;
    uint64_t bytes;
    uint64_t limits[LEVEL_COUNT_MAX];
    uint64_t pinned[LEVEL_COUNT_MAX];
    uint32_t count = 0;
    const char *current = version == 2 ? "memory.current" : "memory.usage_in_bytes";
    if (number_read(place->path, current, &bytes, &status, error)) {
        cgroup->current_bytes = bytes;
    }
    while (status == CISTERN_OK && count < LEVEL_COUNT_MAX) {
        limits[count] = UINT64_MAX;
        status = version == 2 ? level_read_v2(place->path, cgroup, &limits[count], error)
                              : level_read_v1(place->path, cgroup, &limits[count], error);
        pinned[count] = limits[count] == UINT64_MAX ? 0 : pinned_read(place->path, version);
        count++;
        if (!go_up(place) || !is_limited_by(place->path, version)) {
            break;
        }
    }
    cgroup->pinned_bytes = pinned_under_limit(limits, pinned, count, cgroup->limit_bytes);
    return status;
}

uint32_t cistern_cgroup_read(
    const char *root, struct cistern_cgroup *ret_cgroup, struct cistern_error *error)
{
    assert(ret_cgroup != NULL);
    struct cgroup_places places;
    struct cistern_cgroup cgroup = {.limit_bytes = UINT64_MAX, .kill_bytes = UINT64_MAX};
    uint32_t status = CISTERN_OK;
    cgroup_places_find(root == NULL ? "" : root, &places);
    /* A machine may mount both; the memory controller is in one of them. */
    if (places.v1.is_found) {
        cgroup.version = 1;
        status = place_read(&places.v1, &cgroup, error);
    } else if (places.v2.is_found) {
        cgroup.version = 2;
        status = place_read(&places.v2, &cgroup, error);
    }
    if (status == CISTERN_OK) {
        *ret_cgroup = cgroup;
    }
    return status;
}
