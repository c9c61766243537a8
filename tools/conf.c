/* conf.c -- the list, files and directories, and -D; the formats are in conf_flat.c and
 * conf_yaml.c. */
#include "conf.h"

#include "cistern/alloc.h"
#include "cistern/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define OLDER_NAME "flink-conf.yaml"
#define NAME "config.yaml"

void conf_deinit(struct conf *conf)
{
    for (uint32_t i = 0; i < conf->count; i++) {
        cistern_release((void *)conf->settings[i].key);
        cistern_release((void *)conf->settings[i].value);
    }
    cistern_release(conf->settings);
    cistern_release(conf->origins);
    cistern_release(conf->file);
    *conf = (struct conf){.warn = conf->warn, .warn_arg = conf->warn_arg};
}

void conf_warn(struct conf *conf, const char *format, ...)
{
    if (conf->warn == NULL) {
        return;
    }
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    conf->warn(conf->warn_arg, text);
}

static uint32_t room_make(struct conf *conf, struct cistern_error *error)
{
    if (conf->count < conf->capacity) {
        return CISTERN_OK;
    }
    if (conf->count >= CONF_ENTRIES_MAX) {
        return cistern_fail(
            error, CISTERN_INVALID, conf->file, "more than %u settings", CONF_ENTRIES_MAX);
    }
    uint32_t capacity = conf->capacity == 0 ? 64 : conf->capacity * 2;
    capacity = capacity < CONF_ENTRIES_MAX ? capacity : CONF_ENTRIES_MAX;
    void *settings = cistern_reallocate(conf->settings, capacity * sizeof conf->settings[0]);
    if (settings != NULL) {
        conf->settings = settings;
        void *origins = cistern_reallocate(conf->origins, capacity * sizeof conf->origins[0]);
        if (origins != NULL) {
            conf->origins = origins;
            conf->capacity = capacity;
            return CISTERN_OK;
        }
    }
    return cistern_fail(error, CISTERN_NO_MEMORY, conf->file, "no memory for the configuration");
}

static char *text_copy(const char *text, uint64_t bytes)
{
    char *copy = cistern_allocate(bytes + 1);
    if (copy != NULL) {
        memcpy(copy, text, bytes);
        copy[bytes] = '\0';
    }
    return copy;
}

uint32_t conf_add(struct conf *conf, struct conf_origin origin, const char *key, uint64_t key_bytes,
    const char *value, uint64_t value_bytes, struct cistern_error *error)
{
    uint32_t status = room_make(conf, error);
    if (status != CISTERN_OK) {
        return status;
    }
    char *key_copy = text_copy(key, key_bytes);
    char *value_copy = key_copy != NULL ? text_copy(value, value_bytes) : NULL;
    if (value_copy == NULL) {
        cistern_release(key_copy);
        return cistern_fail(
            error, CISTERN_NO_MEMORY, conf->file, "no memory for the configuration");
    }
    conf->settings[conf->count] = (struct cistern_process_setting){key_copy, value_copy};
    conf->origins[conf->count] = origin;
    conf->count++;
    return CISTERN_OK;
}

uint32_t conf_define(struct conf *conf, const char *define, struct cistern_error *error)
{
    const char *equals = strchr(define, '=');
    if (equals == NULL || equals == define) {
        return cistern_fail(error, CISTERN_INVALID, "-D", "\"%s\" is not KEY=VALUE", define);
    }
    return conf_add(conf, (struct conf_origin){NULL, 0}, define, (uint64_t)(equals - define),
        equals + 1, strlen(equals + 1), error);
}

/* The whole file. *ret_text is the caller's to release. */
static uint32_t file_read(
    const char *path, char **ret_text, uint64_t *ret_bytes, struct cistern_error *error)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return cistern_fail_errno(error, errno, path, "the configuration cannot be opened");
    }
    uint64_t capacity = 64 << 10, bytes = 0;
    char *text = cistern_allocate(capacity);
    uint32_t status = CISTERN_OK;
    while (text != NULL) {
        errno = 0;
        bytes += fread(text + bytes, 1, capacity - bytes, file);
        if (ferror(file)) {
            status = cistern_fail_errno(
                error, errno != 0 ? errno : EIO, path, "the configuration cannot be read");
            break;
        }
        if (bytes < capacity) {
            break;
        }
        if (capacity > CONF_FILE_BYTES_MAX) {
            status = cistern_fail(error, CISTERN_INVALID, path,
                "more than %u MiB is no configuration", (unsigned)(CONF_FILE_BYTES_MAX >> 20));
            break;
        }
        char *larger = cistern_reallocate(text, capacity * 2);
        if (larger == NULL) {
            cistern_release(text);
        }
        text = larger;
        capacity *= 2;
    }
    (void)fclose(file);
    if (text == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, path, "no memory for the configuration");
    }
    if (status != CISTERN_OK) {
        cistern_release(text);
        return status;
    }
    *ret_text = text;
    *ret_bytes = bytes;
    return CISTERN_OK;
}

static char *path_join(const char *directory, const char *name)
{
    uint64_t bytes = strlen(directory) + strlen(name) + 2;
    char *path = cistern_allocate(bytes);
    if (path != NULL) {
        snprintf(path, bytes, "%s/%s", directory, name);
    }
    return path;
}

/* conf->file: the path itself, or the file in it that Flink 1.20 would read. */
static uint32_t file_choose(struct conf *conf, const char *path, struct cistern_error *error)
{
    struct stat about;
    if (stat(path, &about) != 0) {
        return cistern_fail_errno(error, errno, path, "the configuration cannot be opened");
    }
    if (!S_ISDIR(about.st_mode)) {
        conf->file = cistern_duplicate_string(path);
    } else {
        conf->file = path_join(path, OLDER_NAME);
        if (conf->file != NULL && stat(conf->file, &about) != 0) {
            cistern_release(conf->file);
            conf->file = path_join(path, NAME);
            if (conf->file != NULL && stat(conf->file, &about) != 0) {
                return cistern_fail(error, CISTERN_NOT_FOUND, path,
                    "neither " NAME " nor " OLDER_NAME " is in this directory");
            }
        }
    }
    if (conf->file == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, path, "no memory for the configuration");
    }
    return CISTERN_OK;
}

uint32_t conf_load(struct conf *conf, const char *path, struct cistern_error *error)
{
    uint32_t status = file_choose(conf, path, error);
    if (status != CISTERN_OK) {
        return status;
    }
    char *text = NULL;
    uint64_t bytes = 0;
    status = file_read(conf->file, &text, &bytes, error);
    if (status != CISTERN_OK) {
        return status;
    }
    const char *slash = strrchr(conf->file, '/');
    const char *name = slash != NULL ? slash + 1 : conf->file;
    status = strcmp(name, OLDER_NAME) == 0 ? conf_read_flat(conf, conf->file, text, bytes, error)
                                           : conf_read_yaml(conf, conf->file, text, bytes, error);
    cistern_release(text);
    return status;
}
