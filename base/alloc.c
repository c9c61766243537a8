/* alloc.c -- the allocator of control structures; see alloc.h. The host's callbacks live here
 * too, beside the count that decides whether they may still be exchanged. */
#include "cistern/alloc.h"
#include "host_private.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* A host's allocator need not have realloc: a header of one max-aligned unit keeps the size. */
struct block_header {
    uint64_t bytes;
    uint64_t unused; /* keeps what follows aligned to 16 */
};

static struct cistern_host installed_host;
static _Atomic uint64_t held_count;
static _Atomic uint64_t fail_countdown; /* 0 = disarmed; 1 = the next allocation fails */
static _Atomic int fail_fired;

const struct cistern_host *host_callbacks(void)
{
    return &installed_host;
}

uint32_t cistern_host_install(const struct cistern_host *host)
{
    struct cistern_host wanted = {0};
    if (host != NULL) {
        wanted = *host;
    }
    if (memcmp(&wanted, &installed_host, sizeof wanted) == 0) {
        return CISTERN_OK;
    }
    if (atomic_load(&held_count) != 0) {
        return CISTERN_BUSY;
    }
    installed_host = wanted;
    return CISTERN_OK;
}

static int allocation_must_fail(void)
{
    uint64_t left = atomic_load_explicit(&fail_countdown, memory_order_relaxed);
    while (left != 0) {
        if (atomic_compare_exchange_weak(&fail_countdown, &left, left - 1)) {
            if (left == 1) {
                atomic_store(&fail_fired, 1);
                return 1;
            }
            return 0;
        }
    }
    return 0;
}

void *cistern_allocate(uint64_t bytes)
{
    if (bytes > UINT64_MAX - sizeof(struct block_header) || allocation_must_fail()) {
        return NULL;
    }
    uint64_t total = bytes + sizeof(struct block_header);
    struct block_header *header = installed_host.allocate != NULL
                                      ? installed_host.allocate(installed_host.arg, total)
                                      : malloc(total);
    if (header == NULL) {
        return NULL;
    }
    header->bytes = bytes;
    atomic_fetch_add_explicit(&held_count, 1, memory_order_relaxed);
    return header + 1;
}

void *cistern_allocate_zeroed(uint64_t count, uint64_t bytes_each)
{
    uint64_t bytes;
    if (__builtin_mul_overflow(count, bytes_each, &bytes)) {
        return NULL;
    }
    void *memory = cistern_allocate(bytes);
    if (memory != NULL) {
        memset(memory, 0, bytes);
    }
    return memory;
}

void *cistern_reallocate(void *memory, uint64_t bytes)
{
    if (memory == NULL) {
        return cistern_allocate(bytes);
    }
    uint64_t old_bytes = ((struct block_header *)memory - 1)->bytes;
    void *moved = cistern_allocate(bytes);
    if (moved != NULL) {
        memcpy(moved, memory, old_bytes < bytes ? old_bytes : bytes);
        cistern_release(memory);
    }
    return moved;
}

char *cistern_duplicate_string(const char *text)
{
    uint64_t bytes = strlen(text) + 1;
    char *copy = cistern_allocate(bytes);
    return copy == NULL ? NULL : memcpy(copy, text, bytes);
}

void cistern_release(void *memory)
{
    if (memory == NULL) {
        return;
    }
    struct block_header *header = (struct block_header *)memory - 1;
    atomic_fetch_sub_explicit(&held_count, 1, memory_order_relaxed);
    if (installed_host.release != NULL) {
        installed_host.release(installed_host.arg, header);
    } else {
        free(header);
    }
}

uint64_t cistern_allocation_count(void)
{
    return atomic_load(&held_count);
}

void cistern_allocation_fail_at(uint64_t nth)
{
    atomic_store(&fail_fired, 0);
    atomic_store(&fail_countdown, nth);
}

int cistern_allocation_failed(void)
{
    return atomic_load(&fail_fired);
}
