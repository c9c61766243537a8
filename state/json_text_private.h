/* json_text_private.h -- a JSON value as compact text with sorted keys, in memory of ours.
 * Threads: pure function. */
#ifndef CISTERN_JSON_TEXT_PRIVATE_H
#define CISTERN_JSON_TEXT_PRIVATE_H

#include <jansson.h>

/* Released with cistern_release(); NULL when there is no memory. */
char *json_text_dump(const json_t *value);

#endif
