/*
 * conf.h -- Flink's configuration as a list of keys and values: from config.yaml (nested or flat),
 * the older flink-conf.yaml, a directory that holds either, and -D KEY=VALUE.
 *
 * Owns:      copies of every key and value, in the order in which they count (the last one wins).
 * Full when: CONF_FILE_BYTES_MAX, CONF_ENTRIES_MAX or CONF_DEPTH_MAX is passed: INVALID, by name.
 * Threads:   main only.
 */
#ifndef CISTERN_CONF_H
#define CISTERN_CONF_H

#include "cistern/process.h"

#define CONF_FILE_BYTES_MAX ((uint64_t)4 << 20)
#define CONF_ENTRIES_MAX 10000u
#define CONF_DEPTH_MAX 32u
#define CONF_KEY_BYTES_MAX 512u

struct conf_origin {
    const char *file; /* NULL = the command line */
    uint32_t line;    /* from 1 */
};
struct conf {
    struct cistern_process_setting *settings; /* what cistern_process_spec_derive() takes */
    struct conf_origin *origins;              /* of the same index */
    uint32_t count;
    uint32_t capacity;
    char *file; /* the one that was read, NULL = none */
    /* Lines that Flink skips with a warning; may be NULL. */
    void (*warn)(void *arg, const char *text);
    void *warn_arg;
};

/* A zeroed struct conf is empty. */
void conf_deinit(struct conf *conf);
/* path: a file, or a directory with flink-conf.yaml (which wins, as in Flink 1.20) or config.yaml.
 * A file named flink-conf.yaml is read by the older rules, any other as YAML. Once per conf.
 * NOT_FOUND: no such file; IO; INVALID: the message names file and line; NO_MEMORY. */
CISTERN_MUST_USE uint32_t conf_load(
    struct conf *conf, const char *path, struct cistern_error *error);
/* INVALID: no '=', or nothing before it. */
CISTERN_MUST_USE uint32_t conf_define(
    struct conf *conf, const char *define, struct cistern_error *error);
/* The two formats, on text that is not terminated. name: for messages. */
CISTERN_MUST_USE uint32_t conf_read_flat(struct conf *conf, const char *name, const char *text,
    uint64_t bytes, struct cistern_error *error);
CISTERN_MUST_USE uint32_t conf_read_yaml(struct conf *conf, const char *name, const char *text,
    uint64_t bytes, struct cistern_error *error);

/* For the two readers. value need not be terminated; name is kept, not copied. */
CISTERN_MUST_USE uint32_t conf_add(struct conf *conf, struct conf_origin origin, const char *key,
    uint64_t key_bytes, const char *value, uint64_t value_bytes, struct cistern_error *error);
void conf_warn(struct conf *conf, const char *format, ...) CISTERN_PRINTF(2, 3);

#endif
