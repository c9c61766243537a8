/* holders_private.h -- a slot's holders as part of a sentence. */
#ifndef CISTERN_HOLDERS_PRIVATE_H
#define CISTERN_HOLDERS_PRIVATE_H

#include "pool_private.h"

#include <stddef.h>

#define HOLDERS_TEXT_BYTES 120 /* what an error's message has left for it */

/* In OWNED accounting the last lines of cistern_pool_holders(): malloc, unattributed. */
#define HOLDERS_BESIDE_COUNT 2

/* Writes "a 1.0 MiB, b 2.0 KiB, 3 more" into text, the largest first, whole names only; "nobody"
 * when nothing is held. Caller holds pool.lock. */
void holders_format(const struct cistern_slot *slot, char *text, size_t capacity);

#endif
