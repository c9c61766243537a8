/* name.c -- the names inside a root; see name_private.h. */
#include "name_private.h"

#include "cistern/snapshot.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const extensions[] = {[DATA_SST] = "sst",
    [DATA_ROCKS_MANIFEST] = "man",
    [DATA_SEG] = "seg",
    [DATA_LIST] = "lst",
    [DATA_STATES] = "sts"};

void data_name_format(char text[NAME_BYTES_MAX], const struct data_name *name)
{
    snprintf(text, NAME_BYTES_MAX, "data/e%04" PRIx64 "/w%04" PRIx32 "/%06" PRIx64 ".%s",
        name->epoch, name->writer, name->sequence, extensions[name->kind]);
}

int data_name_parse(const char *text, struct data_name *ret_name)
{
    struct data_name name = {0};
    char extension[8] = {0};
    char canonical[NAME_BYTES_MAX];
    if (sscanf(text, "data/e%16" SCNx64 "/w%8" SCNx32 "/%16" SCNx64 ".%7[a-z]", &name.epoch,
            &name.writer, &name.sequence, extension) != 4) {
        return 0;
    }
    for (uint32_t kind = DATA_SST; kind <= DATA_STATES; kind++) {
        if (strcmp(extension, extensions[kind]) == 0) {
            name.kind = kind;
        }
    }
    if (name.kind == 0 || name.epoch == 0 || name.writer == 0 || name.sequence == 0) {
        return 0;
    }
    data_name_format(canonical, &name);
    if (strcmp(text, canonical) != 0) {
        return 0;
    }
    *ret_name = name;
    return 1;
}

int data_name_compare(const struct data_name *a, const struct data_name *b)
{
    if (a->epoch != b->epoch) {
        return a->epoch < b->epoch ? -1 : 1;
    }
    if (a->writer != b->writer) {
        return a->writer < b->writer ? -1 : 1;
    }
    if (a->sequence != b->sequence) {
        return a->sequence < b->sequence ? -1 : 1;
    }
    return 0;
}

uint32_t data_kind_of_role(uint32_t role)
{
    switch (role) {
    case CISTERN_ROLE_SST:
        return DATA_SST;
    case CISTERN_ROLE_ROCKS_MANIFEST:
        return DATA_ROCKS_MANIFEST;
    default:
        return DATA_SEG;
    }
}

void checkpoint_name_format(char text[NAME_BYTES_MAX], const struct checkpoint_name *name)
{
    snprintf(
        text, NAME_BYTES_MAX, "chk/%010" PRIu64 "-e%04" PRIx64, name->checkpoint_id, name->epoch);
}

int checkpoint_name_parse(const char *text, struct checkpoint_name *ret_name)
{
    struct checkpoint_name name = {0};
    char canonical[NAME_BYTES_MAX];
    if (sscanf(text, "%20" SCNu64 "-e%16" SCNx64, &name.checkpoint_id, &name.epoch) != 2 ||
        name.checkpoint_id == 0 || name.epoch == 0) {
        return 0;
    }
    checkpoint_name_format(canonical, &name);
    if (strcmp(text, canonical + strlen("chk/")) != 0) {
        return 0;
    }
    *ret_name = name;
    return 1;
}

void log_name_format(char text[NAME_BYTES_MAX], uint64_t number)
{
    snprintf(text, NAME_BYTES_MAX, "log/%010" PRIu64, number);
}

int log_name_parse(const char *text, uint64_t *ret_number)
{
    char canonical[NAME_BYTES_MAX];
    uint64_t number = strtoull(text, NULL, 10);
    if (text[0] < '0' || text[0] > '9' || number == 0 || number > LOG_NUMBER_MAX) {
        return 0;
    }
    log_name_format(canonical, number);
    if (strcmp(text, canonical + strlen("log/")) != 0) {
        return 0;
    }
    *ret_number = number;
    return 1;
}

int restore_name_valid(const char *text)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    uint64_t bytes = strlen(text);
    return bytes > 0 && bytes <= RESTORE_NAME_BYTES_MAX && text[0] != '.' &&
           strspn(text, allowed) == bytes;
}

uint64_t epoch_of_temporary(const char *text)
{
    if (strncmp(text, "local-", 6) == 0) {
        text += 6;
    }
    return text[0] == 'e' ? strtoull(text + 1, NULL, 16) : 0;
}
