/* log.c -- one line to the host's callback; see log.h. */
#include "cistern/log.h"
#include "host_private.h"

#include <stdarg.h>
#include <stdio.h>

#define LOG_LINE_BYTES_MAX 1024 /* longer text is cut: a log line is for a person */

void cistern_log(uint32_t level, const char *format, ...)
{
    const struct cistern_host *host = host_callbacks();
    if (host->log == NULL) {
        return;
    }
    char text[LOG_LINE_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    host->log(host->arg, level, text);
}
