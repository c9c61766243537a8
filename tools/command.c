/* command.c -- walks the tree of commands; see command.h. */
#include "command.h"
#include "complaint.h"
#include "suggest.h"

#include "cistern/alloc.h"
#include "cistern/error.h"

#include <stdio.h>
#include <string.h>

#define COMMAND_PATH_BYTES_MAX 64u

static void branch_help(const struct command *command, const char *path)
{
    printf("usage: %s COMMAND\n\n%s\n\n", path, command->summary);
    for (uint32_t i = 0; i < command->child_count; i++) {
        printf("  %-12s %s\n", command->children[i].name, command->children[i].summary);
    }
    printf("\n`%s COMMAND --help` tells more.\n", path);
}

static void leaf_help(const struct command *command, const char *path)
{
    const char *arguments = command->table->arguments;
    printf("usage: %s%s%s [OPTIONS]\n\n%s\n", path, arguments[0] != '\0' ? " " : "", arguments,
        command->summary);
    if (command->details != NULL) {
        printf("\n%s\n", command->details);
    }
    printf("\n");
    option_print_help(command->table);
}

static int leaf_run(const struct command *command, const char *path, int argc, char **argv)
{
    struct cistern_error error;
    cistern_error_clear(&error);
    struct option_settings *settings = cistern_allocate_zeroed(1, command->settings_bytes);
    if (settings == NULL) {
        (void)cistern_fail(&error, CISTERN_NO_MEMORY, NULL, "no memory for the command line");
        return complaint_print(&error, NULL);
    }
    uint32_t help;
    int code = EXIT_DONE;
    if (option_parse(command->table, argc, argv, settings, &help, &error) != CISTERN_OK) {
        code = complaint_usage(&error, path);
    } else if (help) {
        leaf_help(command, path);
    } else {
        code = command->run(settings, path);
    }
    option_settings_deinit(command->table, settings);
    cistern_release(settings);
    return code;
}

static const struct command *child_find(
    const struct command *command, const char *name, const char *path)
{
    struct suggest suggest = suggest_begin(name);
    for (uint32_t i = 0; i < command->child_count; i++) {
        if (strcmp(command->children[i].name, name) == 0) {
            return &command->children[i];
        }
        suggest_offer(&suggest, command->children[i].name);
    }
    suggest_offer(&suggest, "--help");
    if (strchr(path, ' ') == NULL) {
        suggest_offer(&suggest, "--version");
    }
    struct cistern_error error;
    const char *what = name[0] == '-' ? "option" : "command";
    if (suggest.best != NULL) {
        (void)cistern_fail(&error, CISTERN_INVALID, NULL, "unknown %s %s; did you mean %s?", what,
            name, suggest.best);
    } else {
        (void)cistern_fail(&error, CISTERN_INVALID, NULL, "unknown %s %s", what, name);
    }
    (void)complaint_usage(&error, path);
    return NULL;
}

static int help_run(const struct command *command, const char *path, int argc, char **argv)
{
    char child_path[COMMAND_PATH_BYTES_MAX];
    snprintf(child_path, sizeof child_path, "%s", path);
    for (int i = 0; i < argc && command->children != NULL; i++) {
        command = child_find(command, argv[i], child_path);
        if (command == NULL) {
            return EXIT_USAGE;
        }
        size_t at = strlen(child_path);
        snprintf(child_path + at, sizeof child_path - at, " %s", command->name);
    }
    (command->children != NULL ? branch_help : leaf_help)(command, child_path);
    return EXIT_DONE;
}

static int command_run(const struct command *command, const char *path, int argc, char **argv)
{
    if (command->children == NULL) {
        return leaf_run(command, path, argc, argv);
    }
    if (argc > 1 && strcmp(argv[0], "help") == 0) { /* `help run wordcount`: its --help */
        return help_run(command, path, argc - 1, argv + 1);
    }
    if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0 ||
                        strcmp(argv[0], "help") == 0)) {
        branch_help(command, path);
        return EXIT_DONE;
    }
    if (argc == 0) {
        struct cistern_error error;
        (void)cistern_fail(&error, CISTERN_INVALID, NULL, "which command of %s?", path);
        return complaint_usage(&error, path);
    }
    const struct command *child = child_find(command, argv[0], path);
    if (child == NULL) {
        return EXIT_USAGE;
    }
    char child_path[COMMAND_PATH_BYTES_MAX];
    snprintf(child_path, sizeof child_path, "%s %s", path, child->name);
    return command_run(child, child_path, argc - 1, argv + 1);
}

static int main_run(int argc, char **argv)
{
    const struct command children[] = {
        plan_command, run_command, checkpoint_command, bench_command};
    const struct command root = {
        .name = "cistern",
        .summary = "Keyed state for stream-processing workers under one hard memory budget.",
        .children = children,
        .child_count = sizeof children / sizeof children[0],
    };
    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        printf("cistern %s\n", cistern_version());
        return EXIT_DONE;
    }
    return command_run(&root, "cistern", argc - 1, argv + 1);
}

int command_main(int argc, char **argv)
{
    int code = main_run(argc, argv);
    /* whatever was said on it, help and version included */
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == EXIT_DONE) {
        complaint_note("standard output cannot be written");
        code = EXIT_OPERATIONAL;
    }
    return code;
}
