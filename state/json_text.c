/* json_text.c -- see json_text_private.h. The text goes straight into memory of the host's
 * allocator. */
#include "json_text_private.h"
#include "cistern/alloc.h"

char *json_text_dump(const json_t *value)
{
    const size_t flags = JSON_SORT_KEYS | JSON_COMPACT | JSON_ENCODE_ANY;
    size_t bytes = json_dumpb(value, NULL, 0, flags);
    char *text = bytes == 0 ? NULL : cistern_allocate(bytes + 1);
    if (text == NULL) {
        return NULL;
    }
    if (json_dumpb(value, text, bytes, flags) != bytes) {
        cistern_release(text);
        return NULL;
    }
    text[bytes] = '\0';
    return text;
}

uint32_t json_text_load(const char *text, uint64_t bytes, json_t **ret_value, json_error_t *detail)
{
    *ret_value = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, detail);
    if (*ret_value != NULL) {
        return CISTERN_OK;
    }
    /* What is wrong with a text is always said; where nothing is said, memory was refused. */
    return detail->text[0] == '\0' || json_error_code(detail) == json_error_out_of_memory
               ? CISTERN_NO_MEMORY
               : CISTERN_CORRUPT;
}
