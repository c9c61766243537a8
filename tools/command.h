/*
 * command.h -- the tree of commands. A leaf has an option table and a function; the tree prints its
 * own help.
 *
 * Threads: main only.
 */
#ifndef CISTERN_COMMAND_H
#define CISTERN_COMMAND_H

#include "option.h"

struct command {
    const char *name;
    const char *summary;            /* one line */
    const char *details;            /* paragraphs under the usage line; NULL = none */
    const struct command *children; /* a branch; NULL = a leaf */
    uint32_t child_count;
    const struct option_table *table; /* leaf */
    uint32_t settings_bytes;          /* of the struct that starts with struct option_settings */
    int (*run)(struct option_settings *settings,
        const char *path); /* path: "cistern run wordcount"; returns the exit code */
};

int command_main(int argc, char **argv);

extern const struct command plan_command;
extern const struct command run_command;
extern const struct command checkpoint_command;
extern const struct command bench_command;

#endif
