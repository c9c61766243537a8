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
