/* checkpoint_command.h -- the verbs of `cistern checkpoint`: what they share. Threads: main
 * only. */
#ifndef CISTERN_CHECKPOINT_COMMAND_H
#define CISTERN_CHECKPOINT_COMMAND_H

#include "option.h"

struct checkpoint_settings {
    struct option_settings base;
    uint32_t json;
    uint32_t read_data;
};

int checkpoint_ls(struct option_settings *settings, const char *path);
int checkpoint_files(struct option_settings *settings, const char *path);
int checkpoint_check(struct option_settings *settings, const char *path);
int checkpoint_show(struct option_settings *settings, const char *path);

#endif
