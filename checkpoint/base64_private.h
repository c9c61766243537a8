/* base64_private.h -- opaque bytes in JSON: RFC 4648 base64 with padding, strict on the way in.
 * Threads: pure functions. */
#ifndef CISTERN_CHECKPOINT_BASE64_H
#define CISTERN_CHECKPOINT_BASE64_H

#include "cistern/base.h"

/* text holds 4 * ((bytes + 2) / 3) + 1. */
void base64_encode(char *text, const uint8_t *data, uint64_t bytes);
/* data holds 3 * (text_bytes / 4). 0 = not base64, or not the one spelling of these bytes. */
int base64_decode(const char *text, uint64_t text_bytes, uint8_t *data, uint64_t *ret_bytes);

#endif
