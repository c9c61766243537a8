/*
 * name_private.h -- the names inside a root (docs/FORMAT.md, "Directory of one job"): written and
 * parsed in one place.
 *
 * A data name is never used twice: epoch of the job, writer number inside it, that writer's own
 * sequence. Parsing accepts only the canonical spelling, so a name from a file can hold no "..", no
 * absolute path and no second spelling of another one.
 * Threads: pure functions.
 */
#ifndef CISTERN_CHECKPOINT_NAME_H
#define CISTERN_CHECKPOINT_NAME_H

#include "cistern/base.h"

#define NAME_BYTES_MAX 96u /* "data/e" 16 "/w" 16 "/" 16 ".xxx", with room */

enum data_kind { DATA_SST = 1, DATA_ROCKS_MANIFEST, DATA_SEG, DATA_LIST, DATA_STATES };
struct data_name {
    uint64_t epoch;
    uint64_t sequence;
    uint32_t writer;
    uint32_t kind; /* enum data_kind */
};
void data_name_format(char text[NAME_BYTES_MAX], const struct data_name *name);
/* 1 when text is the canonical spelling of a data name. */
int data_name_parse(const char *text, struct data_name *ret_name);
/* By age inside one writer: epoch, writer, sequence. */
int data_name_compare(const struct data_name *a, const struct data_name *b);
uint32_t data_kind_of_role(uint32_t role); /* role: enum cistern_part_role */

struct checkpoint_name {
    uint64_t checkpoint_id;
    uint64_t epoch;
};
/* "chk/0000000042-e0003" */
void checkpoint_name_format(char text[NAME_BYTES_MAX], const struct checkpoint_name *name);
/* text: without "chk/". */
int checkpoint_name_parse(const char *text, struct checkpoint_name *ret_name);

#define LOG_NUMBER_MAX                                                                             \
    0xfffffffeu /* 32 bits: a record each millisecond for 49 days; each second for 136 years */
void log_name_format(char text[NAME_BYTES_MAX], uint64_t number); /* "log/0000000058" */
int log_name_parse(const char *text, uint64_t *ret_number);       /* text: without "log/" */

/* A file name in a backend's own directory: [A-Za-z0-9._-], 1..RESTORE_NAME_BYTES_MAX bytes, no
 * leading '.'. */
#define RESTORE_NAME_BYTES_MAX 200u
int restore_name_valid(const char *text);
/* The epoch in names as "e0003", "e0003-w0001-000020", "local-e0003"; 0 = none. */
uint64_t epoch_of_temporary(const char *text);

#endif
