/* pressure.c -- pressure stall information of memory; see cgroup.h. */
#include "cgroup_private.h"
#include "cistern/error.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PRESSURE_TEXT_BYTES 512

/* "some avg10=0.00 avg60=1.25 avg300=0.31 total=12345" */
static int line_parse(const char *text, const char *kind, struct cistern_pressure_line *ret_line)
{
    unsigned whole[3];
    unsigned part[3];
    uint64_t total;
    const char *line = strstr(text, kind);
    if (line == NULL ||
        sscanf(line + strlen(kind), " avg10=%u.%2u avg60=%u.%2u avg300=%u.%2u total=%" SCNu64,
            &whole[0], &part[0], &whole[1], &part[1], &whole[2], &part[2], &total) != 7) {
        return 0;
    }
    for (uint32_t i = 0; i < 3; i++) {
        if (whole[i] > 100) {
            return 0;
        }
    }
    *ret_line = (struct cistern_pressure_line){.average_10s = whole[0] * 100 + part[0],
        .average_60s = whole[1] * 100 + part[1],
        .average_300s = whole[2] * 100 + part[2],
        .total_us = total};
    return 1;
}

/* OK with source NONE when there is no such file, or PSI is switched off (reading it fails). */
static uint32_t file_read(const char *directory, const char *name, uint32_t source,
    struct cistern_pressure *pressure, struct cistern_error *error)
{
    char text[PRESSURE_TEXT_BYTES];
    if (cgroup_file_read(directory, name, text, sizeof text) <= 0) {
        return CISTERN_OK;
    }
    if (!line_parse(text, "some", &pressure->some) || !line_parse(text, "full", &pressure->full)) {
        char path[CGROUP_PATH_BYTES + 64];
        snprintf(path, sizeof path, "%s/%s", directory, name);
        return cistern_fail_corrupt(error, path, 0,
            "not pressure stall information: lines \"some avg10=...\" and \"full avg10=...\" were "
            "expected");
    }
    pressure->source = source;
    return CISTERN_OK;
}

uint32_t cistern_pressure_read(
    const char *root, struct cistern_pressure *ret_pressure, struct cistern_error *error)
{
    assert(ret_pressure != NULL);
    struct cgroup_places places;
    struct cistern_pressure pressure = {0};
    uint32_t status = CISTERN_OK;
    root = root == NULL ? "" : root;
    cgroup_places_find(root, &places);
    if (places.v2.is_found) {
        status =
            file_read(places.v2.path, "memory.pressure", CISTERN_PRESSURE_CGROUP, &pressure, error);
    }
    if (status == CISTERN_OK && pressure.source == CISTERN_PRESSURE_NONE) {
        status = file_read(root, "proc/pressure/memory", CISTERN_PRESSURE_SYSTEM, &pressure, error);
    }
    if (status == CISTERN_OK) {
        *ret_pressure = pressure;
    }
    return status;
}
