/*
 * option.h -- one table per command: it gives the parser, --help, and the nearest name to a
 * mistyped one.
 *
 * A settings struct starts with struct option_settings; each row says at which offset its value
 * goes. A value is stored when it is given; what was not given keeps the zero (or default) that the
 * caller put there, and is known from `given`.
 * Threads: one at a time.
 */
#ifndef CISTERN_OPTION_H
#define CISTERN_OPTION_H

#include "cistern/base.h"

#include <stddef.h>

#define OPTION_COUNT_MAX 64u /* bits of `given` */
#define OPTION_SIZE_WORD UINT64_MAX
#define OPTION_LIST_MAX 4096u /* values of one repeatable option */

enum option_kind {
    OPTION_FLAG,     /* uint32_t: 1 */
    OPTION_TEXT,     /* const char * */
    OPTION_CHOICE,   /* const char *, one of `choices` */
    OPTION_SIZE,     /* uint64_t bytes; the word in `choices`, if any, becomes OPTION_SIZE_WORD */
    OPTION_DURATION, /* int64_t ns */
    OPTION_COUNT,    /* uint64_t */
    OPTION_LIST      /* struct option_list, may be repeated */
};
struct option_list {
    const char **items; /* the list's own array, the strings are argv's */
    uint32_t count;
    uint32_t capacity;
};
struct option {
    const char *name; /* without the dashes */
    char letter;      /* short form, 0 = none */
    uint8_t kind;
    uint16_t offset;     /* of the value in the settings struct */
    const char *value;   /* what --help calls the value */
    const char *choices; /* CHOICE: separated by '|' */
    const char *help;
};
struct option_settings {
    uint64_t given;               /* bit i: row i of the table was on the command line */
    struct option_list arguments; /* what is no option */
};
struct option_table {
    const struct option *options;
    uint32_t count;
    uint32_t arguments_min;
    uint32_t arguments_max;
    const char *arguments; /* what --help calls them, "" = none */
};

/* INVALID: the message says what is wrong and, for an unknown option, which one is near.
 *          *ret_help 1: --help was asked for and
 * nothing after it was read. */
CISTERN_MUST_USE uint32_t option_parse(const struct option_table *table, int argc, char **argv,
    struct option_settings *settings, uint32_t *ret_help, struct cistern_error *error);
/* Stores one value as if it had come from the command line, without setting `given`. named: for
 * messages. */
CISTERN_MUST_USE uint32_t option_set(const struct option *option, struct option_settings *settings,
    const char *named, const char *value, struct cistern_error *error);
void option_print_help(const struct option_table *table);
void option_settings_deinit(const struct option_table *table, struct option_settings *settings);
CISTERN_MUST_USE uint32_t option_list_add(
    struct option_list *list, const char *item, struct cistern_error *error);

#endif
