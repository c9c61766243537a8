/* option.c -- see option.h. */
#include "option.h"
#include "suggest.h"

#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/size.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

uint32_t option_list_add(struct option_list *list, const char *item, struct cistern_error *error)
{
    if (list->count == OPTION_LIST_MAX) {
        return cistern_fail(error, CISTERN_INVALID, item,
            "more than %u values; name a directory instead", OPTION_LIST_MAX);
    }
    if (list->count == list->capacity) {
        uint32_t capacity = list->capacity == 0 ? 16 : list->capacity * 2;
        void *items = cistern_reallocate(list->items, capacity * sizeof list->items[0]);
        if (items == NULL) {
            return cistern_fail(error, CISTERN_NO_MEMORY, item, "no memory for the command line");
        }
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = item;
    return CISTERN_OK;
}

static uint32_t choice_check(
    const struct option *option, const char *named, const char *value, struct cistern_error *error)
{
    char names[128];
    snprintf(names, sizeof names, "%s", option->choices);
    struct suggest suggest = suggest_begin(value);
    char *rest = names;
    for (char *name = strsep(&rest, "|"); name != NULL; name = strsep(&rest, "|")) {
        if (strcmp(name, value) == 0) {
            return CISTERN_OK;
        }
        suggest_offer(&suggest, name);
    }
    if (suggest.best != NULL) {
        return cistern_fail(error, CISTERN_INVALID, named,
            "\"%s\" is not one of %s; did you mean %s?", value, option->choices, suggest.best);
    }
    return cistern_fail(
        error, CISTERN_INVALID, named, "\"%s\" is not one of %s", value, option->choices);
}

uint32_t option_set(const struct option *option, struct option_settings *settings,
    const char *named, const char *value, struct cistern_error *error)
{
    void *at = (char *)settings + option->offset;
    uint32_t status = CISTERN_OK;
    switch (option->kind) {
    case OPTION_FLAG:
        *(uint32_t *)at = 1;
        return CISTERN_OK;
    case OPTION_CHOICE:
        status = choice_check(option, named, value, error);
        if (status != CISTERN_OK) {
            return status;
        }
        *(const char **)at = value;
        return CISTERN_OK;
    case OPTION_TEXT:
        if (value[0] == '\0') {
            return cistern_fail(error, CISTERN_INVALID, named, "%s is empty", named);
        }
        *(const char **)at = value;
        return CISTERN_OK;
    case OPTION_LIST:
        return option_list_add(at, value, error);
    case OPTION_SIZE:
        if (option->choices != NULL && strcmp(value, option->choices) == 0) {
            *(uint64_t *)at = OPTION_SIZE_WORD;
            return CISTERN_OK;
        }
        status = cistern_size_parse(value, at, error);
        break;
    case OPTION_DURATION:
        status = cistern_duration_parse(value, at, error);
        break;
    default:
        assert(option->kind == OPTION_COUNT);
        status = cistern_count_parse(value, at, error);
    }
    if (status != CISTERN_OK && error != NULL) {
        snprintf(error->object, sizeof error->object, "%s", named);
    }
    return status;
}

static const struct option *option_find(
    const struct option_table *table, const char *name, size_t length)
{
    for (uint32_t i = 0; i < table->count; i++) {
        if (strlen(table->options[i].name) == length &&
            memcmp(table->options[i].name, name, length) == 0) {
            return &table->options[i];
        }
    }
    return NULL;
}

static uint32_t option_unknown(
    const struct option_table *table, const char *text, size_t length, struct cistern_error *error)
{
    char name[128];
    snprintf(name, sizeof name, "%.*s", (int)(length < 120 ? length : 120), text);
    struct suggest suggest = suggest_begin(name);
    for (uint32_t i = 0; i < table->count; i++) {
        suggest_offer(&suggest, table->options[i].name);
    }
    suggest_offer(&suggest, "help");
    if (suggest.best != NULL) {
        return cistern_fail(error, CISTERN_INVALID, NULL, "unknown option --%s; did you mean --%s?",
            name, suggest.best);
    }
    return cistern_fail(error, CISTERN_INVALID, NULL, "unknown option --%s", name);
}

static uint32_t option_take(const struct option_table *table, const struct option *option,
    struct option_settings *settings, const char *inline_value, int argc, char **argv, int *at,
    struct cistern_error *error)
{
    char named[80];
    snprintf(named, sizeof named, "--%s", option->name);
    const char *value = inline_value;
    if (option->kind == OPTION_FLAG && inline_value != NULL) {
        return cistern_fail(error, CISTERN_INVALID, named, "%s takes no value", named);
    }
    if (option->kind != OPTION_FLAG && value == NULL) {
        if (*at + 1 >= argc) {
            return cistern_fail(
                error, CISTERN_INVALID, named, "%s needs a value: %s", named, option->value);
        }
        value = argv[++*at];
    }
    uint32_t status = option_set(option, settings, named, value, error);
    if (status == CISTERN_OK) {
        settings->given |= (uint64_t)1 << (option - table->options);
    }
    return status;
}

/* One word that starts with a dash. */
static uint32_t option_read(const struct option_table *table, struct option_settings *settings,
    int argc, char **argv, int *at, struct cistern_error *error)
{
    const char *text = argv[*at];
    if (text[1] != '-') { /* -D KEY=VALUE or -DKEY=VALUE */
        for (uint32_t i = 0; i < table->count; i++) {
            if (table->options[i].letter == text[1]) {
                const char *value = text[2] != '\0' ? text + 2 : NULL;
                return option_take(
                    table, &table->options[i], settings, value, argc, argv, at, error);
            }
        }
        return cistern_fail(error, CISTERN_INVALID, NULL, "unknown option %s", text);
    }
    const char *name = text + 2;
    size_t length = strcspn(name, "=");
    const struct option *option = option_find(table, name, length);
    if (option == NULL) {
        return option_unknown(table, name, length, error);
    }
    return option_take(table, option, settings, name[length] == '=' ? name + length + 1 : NULL,
        argc, argv, at, error);
}

uint32_t option_parse(const struct option_table *table, int argc, char **argv,
    struct option_settings *settings, uint32_t *ret_help, struct cistern_error *error)
{
    assert(table->count <= OPTION_COUNT_MAX);
    uint32_t words_only = 0;
    *ret_help = 0;
    for (int at = 0; at < argc; at++) {
        uint32_t status;
        if (words_only || argv[at][0] != '-' || argv[at][1] == '\0') {
            status = settings->arguments.count == table->arguments_max
                         ? cistern_fail(
                               error, CISTERN_INVALID, NULL, "unexpected argument \"%s\"", argv[at])
                         : option_list_add(&settings->arguments, argv[at], error);
        } else if (strcmp(argv[at], "--") == 0) {
            words_only = 1;
            continue;
        } else if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0) {
            *ret_help = 1;
            return CISTERN_OK;
        } else {
            status = option_read(table, settings, argc, argv, &at, error);
        }
        if (status != CISTERN_OK) {
            return status;
        }
    }
    if (settings->arguments.count < table->arguments_min) {
        return cistern_fail(error, CISTERN_INVALID, NULL, "missing argument: %s", table->arguments);
    }
    return CISTERN_OK;
}

void option_print_help(const struct option_table *table)
{
    for (uint32_t i = 0; i < table->count; i++) {
        const struct option *option = &table->options[i];
        char left[64], letter[8] = "";
        if (option->letter != 0) {
            snprintf(letter, sizeof letter, "-%c, ", option->letter);
        }
        snprintf(left, sizeof left, "%s--%s%s%s", letter, option->name,
            option->value != NULL ? " " : "", option->value != NULL ? option->value : "");
        printf("  %-32s %s\n", left, option->help);
    }
    printf("  %-32s %s\n", "--help", "this text");
}

void option_settings_deinit(const struct option_table *table, struct option_settings *settings)
{
    for (uint32_t i = 0; i < table->count; i++) {
        if (table->options[i].kind == OPTION_LIST) {
            struct option_list *list =
                (struct option_list *)((char *)settings + table->options[i].offset);
            cistern_release(list->items);
            *list = (struct option_list){0};
        }
    }
    cistern_release(settings->arguments.items);
    settings->arguments = (struct option_list){0};
}
