/*
 * malloc_hooks.c -- see malloc_hooks_private.h.
 *
 * Recipe:  every arena that malloc may use gets our hooks before state is allocated. They hand out
 *          addresses of one reserved range, charge a page when jemalloc commits it, give it back to
 *          the system when jemalloc decommits it, and uncharge it then. Extents that jemalloc
 *          mapped before are unmapped when it is done with them: they were never charged.
 * Never:   allocates or takes a lock inside a hook.
 * Types:   jemalloc's header cannot be included without its library being a dependency; the
 *          extent_hooks_t of its manual is declared here by its documented layout (stable since
 *          jemalloc 4).
 */
#include "malloc_hooks_private.h"
#include "cistern/clock.h"
#include "cistern/error.h"
#include "pool_private.h"
#include "range_private.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define HOOK_RANGE_BYTES (UINT64_C(64) << 30)
#define HOOK_RANGE_BYTES_MIN (UINT64_C(1) << 30)
#define HOOK_BLOCK_COUNT_MAX 4096
#define HOOK_BLOCK_ALIGNMENT (2 * MIB) /* only jemalloc's own blocks ask for it */
#define HOOK_ARENA_COUNT_MAX 4094
#define HOOK_DIRTY_DECAY_MS 100
#define HOOK_RELEASE_POLL_NS INT64_C(50000)
#define ALL_ARENAS_PURGE "arena.4096.purge" /* 4096: jemalloc's number for "all" */
#define RESIDENCY_PAGES 4096

typedef struct extent_hooks_s extent_hooks_t;
struct extent_hooks_s {
    void *(*alloc)(extent_hooks_t *, void *, size_t, size_t, bool *, bool *, unsigned);
    bool (*dalloc)(extent_hooks_t *, void *, size_t, bool, unsigned);
    void (*destroy)(extent_hooks_t *, void *, size_t, bool, unsigned);
    bool (*commit)(extent_hooks_t *, void *, size_t, size_t, size_t, unsigned);
    bool (*decommit)(extent_hooks_t *, void *, size_t, size_t, size_t, unsigned);
    bool (*purge_lazy)(extent_hooks_t *, void *, size_t, size_t, size_t, unsigned);
    bool (*purge_forced)(extent_hooks_t *, void *, size_t, size_t, size_t, unsigned);
    bool (*split)(extent_hooks_t *, void *, size_t, size_t, size_t, bool, unsigned);
    bool (*merge)(extent_hooks_t *, void *, size_t, void *, size_t, bool, unsigned);
};

extern int mallctl(const char *name, void *old, size_t *old_bytes, void *new, size_t new_bytes)
    __attribute__((weak));

/* one of jemalloc's own: counted by residency, since it is committed long before it is used */
struct block {
    char *start;
    uint64_t bytes;
};

/* Process-wide, because jemalloc is. Written once by install under the pool's creation; the rest
 * is atomic. */
static struct {
    char *base;
    uint64_t bytes;
    int installed;
    _Atomic uint64_t used; /* bump pointer */
    _Atomic int64_t committed;
    _Atomic(struct cistern_pool *) owner;
    _Atomic uint32_t inside; /* hooks that may be looking at the owner */
    _Atomic uint32_t block_count;
    struct block blocks[HOOK_BLOCK_COUNT_MAX]; /* start is stored last: NULL = not filled yet */
} hooks;

int malloc_hooks_possible(void)
{
    return mallctl != NULL;
}

static int is_ours(const void *address)
{
    return (uintptr_t)address - (uintptr_t)hooks.base < hooks.bytes;
}

static void add(uint64_t bytes)
{
    atomic_fetch_add_explicit(&hooks.committed, (int64_t)bytes, memory_order_relaxed);
    atomic_fetch_add(&hooks.inside, 1);
    struct cistern_pool *owner = atomic_load(&hooks.owner);
    if (owner != NULL) {
        ledger_admit(owner, NULL);
    }
    atomic_fetch_sub(&hooks.inside, 1);
}

static void subtract(uint64_t bytes)
{
    atomic_fetch_sub_explicit(&hooks.committed, (int64_t)bytes, memory_order_relaxed);
}

static void *take_addresses(uint64_t bytes, uint64_t alignment)
{
    uint64_t used = atomic_load(&hooks.used);
    uint64_t start;
    do {
        start = (used + alignment - 1) & ~(alignment - 1);
        if (start > hooks.bytes || bytes > hooks.bytes - start) {
            return NULL;
        }
    } while (!atomic_compare_exchange_weak(&hooks.used, &used, start + bytes));
    return hooks.base + start;
}

static void note_block(char *start, uint64_t bytes)
{
    uint32_t index = atomic_fetch_add(&hooks.block_count, 1);
    if (index < HOOK_BLOCK_COUNT_MAX) {
        hooks.blocks[index].bytes = bytes;
        __atomic_store_n(&hooks.blocks[index].start, start, __ATOMIC_RELEASE);
    } else {
        add(bytes); /* no room to watch it: counted whole */
    }
}

static void *hook_alloc(extent_hooks_t *self, void *wanted, size_t bytes, size_t alignment,
    bool *zero, bool *commit, unsigned arena)
{
    (void)self;
    (void)arena;
    void *start = wanted != NULL
                      ? NULL
                      : take_addresses(bytes, alignment); /* NULL: growth in place is not offered */
    if (start == NULL) {
        return NULL;
    }
    if (alignment >= HOOK_BLOCK_ALIGNMENT) {
        note_block(start, bytes);
        *commit = true;
    } else if (*commit) {
        add(bytes);
    }
    *zero = true;
    return start;
}

/* true: not taken, jemalloc keeps the addresses, decommits them and asks for commit() when it
 *       uses them again. */
static bool hook_dalloc(
    extent_hooks_t *self, void *start, size_t bytes, bool committed, unsigned arena)
{
    (void)self;
    (void)committed;
    (void)arena;
    return is_ours(start) ? true : munmap(start, bytes) != 0;
}

static void hook_destroy(
    extent_hooks_t *self, void *start, size_t bytes, bool committed, unsigned arena)
{
    (void)self;
    (void)arena;
    (void)madvise(start, bytes, MADV_DONTNEED);
    if (committed && is_ours(start)) {
        subtract(bytes);
    }
}

static bool hook_commit(
    extent_hooks_t *self, void *start, size_t bytes, size_t offset, size_t length, unsigned arena)
{
    (void)self;
    (void)start;
    (void)bytes;
    (void)offset;
    (void)arena;
    add(length);
    return false;
}

/* Pages of a foreign extent were not charged: refuse, and jemalloc purges them instead. */
static bool hook_decommit(
    extent_hooks_t *self, void *start, size_t bytes, size_t offset, size_t length, unsigned arena)
{
    (void)self;
    (void)bytes;
    (void)arena;
    if (!is_ours(start) || madvise((char *)start + offset, length, MADV_DONTNEED) != 0) {
        return true;
    }
    subtract(length);
    return false;
}

static bool hook_purge(
    extent_hooks_t *self, void *start, size_t bytes, size_t offset, size_t length, unsigned arena)
{
    (void)self;
    (void)bytes;
    (void)arena;
    return madvise((char *)start + offset, length, MADV_DONTNEED) != 0;
}

static bool hook_split(extent_hooks_t *self, void *start, size_t bytes, size_t first, size_t second,
    bool committed, unsigned arena)
{
    (void)self;
    (void)start;
    (void)bytes;
    (void)first;
    (void)second;
    (void)committed;
    (void)arena;
    return false;
}

/* Ours with ours only: a merged extent must be charged whole or not at all. */
static bool hook_merge(extent_hooks_t *self, void *first, size_t first_bytes, void *second,
    size_t second_bytes, bool committed, unsigned arena)
{
    (void)self;
    (void)first_bytes;
    (void)second_bytes;
    (void)committed;
    (void)arena;
    return is_ours(first) != is_ours(second);
}

static extent_hooks_t extent_hooks = {hook_alloc, hook_dalloc, hook_destroy, hook_commit,
    hook_decommit, NULL, hook_purge, hook_split, hook_merge};

static uint32_t wrong_option(const char *name, const char *wanted, struct cistern_error *error)
{
    return cistern_fail(error, CISTERN_UNSUPPORTED, name,
        "OWNED accounting needs jemalloc with %s:%s; set it in malloc_conf or MALLOC_CONF", name,
        wanted);
}

/* An option that this jemalloc does not know cannot be on. */
static int option_is_true(const char *name)
{
    bool value = false;
    size_t bytes = sizeof value;
    return mallctl(name, &value, &bytes, NULL, 0) == 0 && value;
}

static uint32_t options_check(unsigned *ret_arena_count, struct cistern_error *error)
{
    size_t threshold = 0;
    size_t bytes = sizeof threshold;
    if (option_is_true("opt.retain")) {
        return wrong_option("retain", "false", error);
    }
    if (mallctl("opt.oversize_threshold", &threshold, &bytes, NULL, 0) == 0 && threshold != 0) {
        return wrong_option("oversize_threshold", "0", error);
    }
    if (option_is_true("opt.hpa")) {
        return wrong_option("hpa", "false", error);
    }
    const char *per_cpu = "disabled";
    bytes = sizeof per_cpu;
    if (mallctl("opt.percpu_arena", &per_cpu, &bytes, NULL, 0) == 0 &&
        strcmp(per_cpu, "disabled") != 0) {
        return wrong_option("percpu_arena", "disabled", error);
    }
    bytes = sizeof *ret_arena_count;
    if (mallctl("opt.narenas", ret_arena_count, &bytes, NULL, 0) != 0 || *ret_arena_count == 0 ||
        *ret_arena_count > HOOK_ARENA_COUNT_MAX) {
        return wrong_option("narenas", "4", error);
    }
    return CISTERN_OK;
}

static uint32_t reserve_addresses(struct cistern_error *error)
{
    for (uint64_t bytes = HOOK_RANGE_BYTES; bytes >= HOOK_RANGE_BYTES_MIN; bytes /= 2) {
        char *mapping = mmap(NULL, bytes + HOOK_BLOCK_ALIGNMENT, PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (mapping != MAP_FAILED) {
            uint64_t lead = -(uintptr_t)mapping % HOOK_BLOCK_ALIGNMENT;
            hooks.base = mapping + lead;
            hooks.bytes = bytes;
            (void)madvise(hooks.base, bytes, MADV_NOHUGEPAGE);
            return CISTERN_OK;
        }
    }
    return cistern_fail(error, CISTERN_NO_MEMORY, "malloc",
        "no address space for malloc's range: even 1 GiB was refused (ulimit -v, "
        "vm.overcommit_memory=2)");
}

static void set_decay(unsigned arena, const char *which, ssize_t milliseconds)
{
    char name[64];
    snprintf(name, sizeof name, "arena.%u.%s", arena, which);
    (void)mallctl(name, NULL, NULL, &milliseconds,
        sizeof milliseconds); /* a matter of speed: dirty pages are charged */
}

static uint32_t hook_arena(unsigned arena, struct cistern_error *error)
{
    char name[64];
    extent_hooks_t *table = &extent_hooks;
    snprintf(name, sizeof name, "arena.%u.extent_hooks", arena);
    int os_errno = mallctl(name, NULL, NULL, &table, sizeof table);
    if (os_errno != 0) {
        return cistern_fail(error, CISTERN_UNSUPPORTED, name,
            "jemalloc refuses hooks on arena %u: %s", arena, strerror(os_errno));
    }
    set_decay(arena, "dirty_decay_ms", HOOK_DIRTY_DECAY_MS);
    set_decay(arena, "muzzy_decay_ms", 0);
    return CISTERN_OK;
}

static uint32_t install_once(struct cistern_error *error)
{
    unsigned arena_count = 0;
    uint32_t status = options_check(&arena_count, error);
    if (status == CISTERN_OK && hooks.base == NULL) {
        status = reserve_addresses(error);
    }
    for (unsigned i = 0; i < arena_count && status == CISTERN_OK; i++) {
        status = hook_arena(i, error);
    }
    hooks.installed = status == CISTERN_OK;
    return status;
}

uint32_t malloc_hooks_install(struct cistern_pool *pool, struct cistern_error *error)
{
    if (!malloc_hooks_possible()) {
        return cistern_fail(
            error, CISTERN_UNSUPPORTED, "accounting", "this process does not run on jemalloc");
    }
    struct cistern_pool *nobody = NULL;
    if (!atomic_compare_exchange_strong(&hooks.owner, &nobody, pool)) {
        return cistern_fail(error, CISTERN_BUSY, "accounting",
            "another pool of this process has OWNED accounting; a process has one owner");
    }
    uint32_t status = hooks.installed ? CISTERN_OK : install_once(error);
    if (status != CISTERN_OK) {
        malloc_hooks_release(pool);
    }
    return status;
}

void malloc_hooks_release(struct cistern_pool *pool)
{
    assert(atomic_load(&hooks.owner) == pool);
    (void)pool;
    atomic_store(&hooks.owner, NULL);
    while (atomic_load(&hooks.inside) != 0) {
        cistern_sleep_ns(HOOK_RELEASE_POLL_NS);
    }
}

int64_t malloc_hooks_bytes(void)
{
    return atomic_load_explicit(&hooks.committed, memory_order_relaxed);
}

static int64_t resident_pages(char *start, uint64_t bytes)
{
    unsigned char residency[RESIDENCY_PAGES];
    int64_t pages = 0;
    for (uint64_t at = 0; at < bytes; at += RESIDENCY_PAGES * RANGE_PAGE_BYTES) {
        uint64_t left = bytes - at;
        uint64_t length =
            left < RESIDENCY_PAGES * RANGE_PAGE_BYTES ? left : RESIDENCY_PAGES * RANGE_PAGE_BYTES;
        if (mincore(start + at, length, residency) != 0) {
            return pages + (int64_t)(left / RANGE_PAGE_BYTES);
        }
        for (uint64_t i = 0; i < length / RANGE_PAGE_BYTES; i++) {
            pages += residency[i] & 1;
        }
    }
    return pages;
}

int64_t malloc_hooks_metadata_bytes(void)
{
    int64_t pages = 0;
    uint32_t count = atomic_load(&hooks.block_count);
    for (uint32_t i = 0; i < count && i < HOOK_BLOCK_COUNT_MAX; i++) {
        char *start = __atomic_load_n(&hooks.blocks[i].start, __ATOMIC_ACQUIRE);
        pages += start == NULL ? 0 : resident_pages(start, hooks.blocks[i].bytes);
    }
    return pages * (int64_t)RANGE_PAGE_BYTES;
}

void malloc_hooks_purge(void)
{
    if (hooks.installed) {
        (void)mallctl(ALL_ARENAS_PURGE, NULL, NULL, NULL, 0);
    }
}
