/* checkpoint_command.c -- the table of `cistern checkpoint`. */
#include "checkpoint_command.h"
#include "command.h"

#define FIELD(name) (uint16_t) offsetof(struct checkpoint_settings, name)

static const struct option options[] = {
    {"json", 0, OPTION_FLAG, FIELD(json), NULL, NULL, "JSON instead of a table"},
    {"read-data", 0, OPTION_FLAG, FIELD(read_data), NULL, NULL,
        "check: read every byte of every data file"},
};
static const struct option_table table_dir = {options, 1, 1, 1, "DIR"};
static const struct option_table table_path = {options, 1, 1, 1, "PATH"};
static const struct option_table table_check = {options, 2, 1, 1, "PATH|DIR"};

static const struct command verbs[] = {
    {.name = "ls",
        .summary = "The checkpoints in a folder of a job, oldest first.",
        .table = &table_dir,
        .settings_bytes = sizeof(struct checkpoint_settings),
        .run = checkpoint_ls},
    {.name = "show",
        .summary = "One checkpoint or savepoint: operators, subtasks, their files.",
        .table = &table_path,
        .details = "PATH is a checkpoint or savepoint directory; of a folder of checkpoints its "
                   "newest is shown.",
        .settings_bytes = sizeof(struct checkpoint_settings),
        .run = checkpoint_show},
    {.name = "files",
        .summary = "Every file that one checkpoint needs.",
        .table = &table_path,
        .settings_bytes = sizeof(struct checkpoint_settings),
        .run = checkpoint_files},
    {.name = "check",
        .summary = "Is it whole? Exit 4 names each file and offset that is not.",
        .table = &table_check,
        .details = "PATH is a checkpoint or savepoint directory, DIR a folder of checkpoints.",
        .settings_bytes = sizeof(struct checkpoint_settings),
        .run = checkpoint_check},
};
const struct command checkpoint_command = {
    .name = "checkpoint",
    .summary = "Look into checkpoints and savepoints.",
    .children = verbs,
    .child_count = sizeof verbs / sizeof verbs[0],
};
