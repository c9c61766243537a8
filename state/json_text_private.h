/* json_text_private.h -- a JSON value as compact text with sorted keys, in memory of ours; and text
 * as a value, with no memory told apart from wrong text. Threads: pure functions. */
#ifndef CISTERN_JSON_TEXT_PRIVATE_H
#define CISTERN_JSON_TEXT_PRIVATE_H

#include "cistern/base.h"

#include <jansson.h>

/* Released with cistern_release(); NULL when there is no memory. */
char *json_text_dump(const json_t *value);
/* OK; CORRUPT: *detail says what is wrong with the text; NO_MEMORY. */
CISTERN_MUST_USE uint32_t json_text_load(
    const char *text, uint64_t bytes, json_t **ret_value, json_error_t *detail);

#endif
