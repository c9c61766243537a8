/* text.h -- what people read: tables with aligned columns, grouped digits, times. Threads: one
 * at a time per table. */
#ifndef CISTERN_TEXT_H
#define CISTERN_TEXT_H

#include "cistern/base.h"

#include <stdio.h>

#define TEXT_NUMBER_BYTES 28u
#define TEXT_TIME_BYTES 32u

/* "12,345,678". Returns text. */
const char *text_number(char text[TEXT_NUMBER_BYTES], uint64_t number);
/* "2026-11-23T01:02:03.456Z". Returns text. */
const char *text_time(char text[TEXT_TIME_BYTES], int64_t wall_ms);
/* Prints bytes of unknown origin: control characters as \xNN. */
void text_print_escaped(FILE *to, const char *text);

#endif
