/* managed.c -- see managed.h. */
#include "managed.h"
#include "complaint.h"

#include "cistern/cgroup.h"
#include "cistern/error.h"
#include "cistern/pool.h"
#include "cistern/size.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB ((uint64_t)1 << 20)
#define KEPT_BYTES_MIN (16 * MIB)
#define KEPT_PART 16
/* What a run allocates between here and its baseline: stacks, queues, buffers of the source, the
 * allocator's arenas. Measured: 1.3 MiB with one slot, 0.6 MiB for each more. */
#define START_BYTES (2 * MIB)
#define START_SLOT_BYTES (1 * MIB)
#define LINE_BYTES 1024

static FILE *file_open(const char *root, const char *path)
{
    char whole[1024];
    if (snprintf(whole, sizeof whole, "%s%s", root == NULL ? "" : root, path) >=
        (int)sizeof whole) {
        return NULL;
    }
    return fopen(whole, "re");
}

/* "name:   123 kB" lines: the sum of two of them; 0 for what is not there. */
static uint64_t field_sum(const char *root, const char *path, const char *first, const char *second)
{
    char line[LINE_BYTES];
    uint64_t bytes = 0;
    FILE *file = file_open(root, path);
    if (file == NULL) {
        return 0;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        char *colon = strchr(line, ':');
        if (colon != NULL) {
            *colon = '\0';
            if (strcmp(line, first) == 0 || strcmp(line, second) == 0) {
                bytes += strtoull(colon + 1, NULL, 10) * 1024;
            }
        }
    }
    fclose(file);
    return bytes;
}

/* All of every mapped file: a run faults its program's text in before it reads its baseline. */
static uint64_t mapped_bytes(const char *root)
{
    char line[LINE_BYTES];
    uint64_t bytes = 0;
    FILE *file = file_open(root, "/proc/self/maps");
    if (file == NULL) {
        return 0;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        unsigned long long start, end;
        int path_at = 0;
        if (sscanf(line, "%llx-%llx %*s %*s %*s %*s %n", &start, &end, &path_at) == 2 &&
            path_at > 0 && line[path_at] == '/') {
            bytes += end - start;
        }
    }
    fclose(file);
    return bytes;
}

/* The most with budget + max(16 MiB, budget / 16) <= room, in whole MiB. */
static uint64_t budget_of(uint64_t room)
{
    if (room <= KEPT_BYTES_MIN) {
        return 0;
    }
    uint64_t budget = room - KEPT_BYTES_MIN;
    if (budget > KEPT_BYTES_MIN * KEPT_PART) {
        budget = room / (KEPT_PART + 1) * KEPT_PART;
    }
    return budget / MIB * MIB;
}

uint32_t managed_room_read(
    const char *root, uint32_t slots, struct managed_room *ret_room, struct cistern_error *error)
{
    struct cistern_cgroup cgroup;
    uint32_t status = cistern_cgroup_read(root, &cgroup, error);
    if (status != CISTERN_OK) {
        return status;
    }
    *ret_room = (struct managed_room){.slots = slots};
    if (cgroup.limit_bytes == UINT64_MAX) {
        return CISTERN_OK;
    }
    uint64_t machine = field_sum(root, "/proc/meminfo", "MemTotal", "MemTotal");
    uint64_t own = field_sum(root, "/proc/self/status", "RssAnon", "RssShmem");
    ret_room->is_limited = 1;
    ret_room->limit_bytes =
        machine != 0 && machine < cgroup.limit_bytes ? machine : cgroup.limit_bytes;
    memcpy(ret_room->limit_file, cgroup.limit_file, sizeof ret_room->limit_file);
    ret_room->held_bytes = own + mapped_bytes(root) + START_BYTES + slots * START_SLOT_BYTES;
    ret_room->others_bytes = cgroup.pinned_bytes > own ? cgroup.pinned_bytes - own : 0;
    uint64_t taken = ret_room->held_bytes + ret_room->others_bytes;
    ret_room->budget_bytes =
        taken < ret_room->limit_bytes ? budget_of(ret_room->limit_bytes - taken) : 0;
    return CISTERN_OK;
}

/* "limit 1.0 GiB (/sys/.../memory.max), 40.0 MiB held, 12.0 MiB by others" */
static const char *room_format(char text[256], const struct managed_room *room)
{
    char limit[16], held[16], others[16];
    size_t length = strlen(room->limit_file);
    const char *name = room->limit_file + (length > 100 ? length - 100 : 0);
    snprintf(text, 256, "the limit is %s (%s%s), %s needed to start, %s held by others",
        cistern_size_format(limit, room->limit_bytes), name == room->limit_file ? "" : "...", name,
        cistern_size_format(held, room->held_bytes),
        cistern_size_format(others, room->others_bytes));
    return text;
}

static uint32_t auto_resolve(
    const struct managed_room *room, struct run_settings *settings, struct cistern_error *error)
{
    char text[256];
    char least[16];
    if (!room->is_limited) {
        return cistern_fail(error, CISTERN_INVALID, "--managed",
            "--managed auto: no control group limits this process's memory, so there is nothing "
            "to take a budget from; give a size");
    }
    uint64_t min = cistern_pool_budget_min((uint32_t)settings->slots, 1);
    if (room->budget_bytes < min) {
        return cistern_fail(error, CISTERN_INVALID, "--managed",
            "--managed auto: %s: less than the least budget of %s is left", room_format(text, room),
            cistern_size_format(least, min));
    }
    settings->managed_bytes = room->budget_bytes;
    char budget[16];
    complaint_note("--managed auto: %s (%s)", cistern_size_format(budget, room->budget_bytes),
        room_format(text, room));
    return CISTERN_OK;
}

uint32_t managed_resolve(
    const char *root, struct run_settings *settings, struct cistern_error *error)
{
    int is_auto = settings->managed_bytes == OPTION_SIZE_WORD;
    struct managed_room room;
    uint32_t status = managed_room_read(root, (uint32_t)settings->slots, &room, error);
    if (is_auto) {
        return status == CISTERN_OK ? auto_resolve(&room, settings, error) : status;
    }
    /* Nobody asked for the limit: what cannot be read is no reason not to run. */
    if (status == CISTERN_OK && room.is_limited && settings->managed_bytes > room.budget_bytes) {
        char text[256], asked[16], fits[16];
        complaint_warn("a budget of %s does not fit: %s; at most %s do. The kernel may end this "
                       "process when the budget is used; lower --managed (or use auto)",
            cistern_size_format(asked, settings->managed_bytes), room_format(text, &room),
            cistern_size_format(fits, room.budget_bytes));
    }
    return CISTERN_OK;
}
