/* process_refusal.c -- the words of a refusal: Flink's sentence, its causes, and the log's form. */
#include "process_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CONFIGURATION "IllegalConfigurationException"

static void refusal_begin(struct cistern_process_refusal *refusal, const char *exception,
    enum process_option option, const char *advice)
{
    *refusal = (struct cistern_process_refusal){.advice = advice};
    snprintf(refusal->exception, sizeof refusal->exception, "%s", exception);
    if (option < PROCESS_OPTION_COUNT) {
        snprintf(refusal->option, sizeof refusal->option, "%s", process_option_key(option));
    }
}

int process_refuse(struct cistern_process_refusal *refusal, enum process_option option,
    const char *advice, const char *format, ...)
{
    refusal_begin(refusal, CONFIGURATION, option, advice);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(refusal->message, sizeof refusal->message, format, arguments);
    va_end(arguments);
    return 0;
}

int process_refuse_as(struct cistern_process_refusal *refusal, const char *exception,
    enum process_option option, const char *advice, const char *format, ...)
{
    refusal_begin(refusal, exception, option, advice);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(refusal->message, sizeof refusal->message, format, arguments);
    va_end(arguments);
    return 0;
}

void process_refusal_cause(struct cistern_process_refusal *refusal, const char *format, ...)
{
    size_t used = strlen(refusal->causes);
    if (used > 0 && used + 1 < sizeof refusal->causes) {
        refusal->causes[used++] = '\n';
    }
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(refusal->causes + used, sizeof refusal->causes - used, format, arguments);
    va_end(arguments);
}

int process_refusal_wrap(struct cistern_process_refusal *refusal, const char *message)
{
    /* a wrapped refusal has at most one cause of its own, and those are short */
    char below[sizeof refusal->causes - sizeof refusal->message - 1];
    snprintf(below, sizeof below, "%.*s", (int)sizeof below - 1, refusal->causes);
    snprintf(refusal->causes, sizeof refusal->causes, "%s%s%s", refusal->message,
        below[0] != '\0' ? "\n" : "", below);
    snprintf(refusal->message, sizeof refusal->message, "%s", message);
    return 0;
}

int process_refuse_overflow(struct cistern_process_refusal *refusal)
{
    return process_refuse_as(refusal, "ArithmeticException", PROCESS_OPTION_COUNT,
        "the sizes add up to more than 2^63 - 1 bytes: lower the largest of them", "long overflow");
}

/* " (fallback keys: [...])" in every place. */
static void fallback_keys_cut(char *text)
{
    static const char from[] = " (fallback keys: [";
    static const char to[] = "])";
    for (char *at = strstr(text, from); at != NULL; at = strstr(at, from)) {
        char *end = strstr(at, to);
        if (end == NULL) {
            return;
        }
        end += sizeof to - 1;
        memmove(at, end, strlen(end) + 1);
    }
}

void process_refusal_finish(struct cistern_process_refusal *refusal, int is_memory)
{
    refusal->wrapper = is_memory && strcmp(refusal->exception, CONFIGURATION) == 0
                           ? "TaskManager memory configuration failed: "
                           : "";
    snprintf(refusal->logged, sizeof refusal->logged, "%s%s", refusal->wrapper, refusal->message);
    fallback_keys_cut(refusal->message);
    fallback_keys_cut(refusal->causes);
}
