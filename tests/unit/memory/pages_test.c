/* pages_test.c -- managed memory in pages: Flink's micro-vectors, what stays resident and who pays
 * for it, a random walk against an array of owners, threads, failed allocations. */
#include "pool_fixture.h"

#include "page_store_private.h"

#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE UINT64_C(32768)
#define VECTOR_TOTAL UINT64_C(1000000) /* reference vectors: 30 pages and 16960 bytes */
#define VECTOR_PAGES 30u
#define DEBT 65536u
#define STASH 65536u /* what an exclusive component keeps for its next charge (pool.h) */

static struct cistern_component *open_component(
    struct pool_fixture *f, const char *name, uint32_t is_exclusive)
{
    struct cistern_component *component = NULL;
    struct cistern_component_options options = {
        .name = name, .reclaim_class = CISTERN_RECLAIM_NEVER, .is_exclusive = is_exclusive};
    assert_ok(cistern_component_open(f->slot, &options, &component, &f->error), f->error);
    return component;
}

/* A slot whose share is exactly that many bytes. */
static void open_share(struct pool_fixture *f, uint64_t share_bytes)
{
    fixture_open(f, share_bytes + 64 * FIXTURE_MIB, share_bytes + DEBT, DEBT);
    assert_int_equal(cistern_slot_share_bytes(f->slot), share_bytes);
}

static struct cistern_pages_usage usage_of(const struct pool_fixture *f)
{
    struct cistern_pages_usage usage;
    cistern_pages_usage(f->slot, &usage);
    return usage;
}

static uint64_t free_bytes(const struct pool_fixture *f)
{
    return usage_of(f).available_bytes;
}

static uint64_t resident_bytes(void *page)
{
    unsigned char vector[PAGE / 4096];
    assert_int_equal(mincore(page, PAGE, vector), 0);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < PAGE / 4096; i++) {
        bytes += (vector[i] & 1) * UINT64_C(4096);
    }
    return bytes;
}

/* ---- micro-vectors of MemoryManager(1000000, 32768) ---- */

static void vector_fractions(void **state)
{
    (void)state;
    struct pool_fixture f;
    open_share(&f, VECTOR_TOTAL);
    static const struct {
        double fraction;
        uint64_t pages;
        uint64_t bytes;
    } rows[] = {
        {1.0, 30, 1000000}, {0.5, 15, 500000}, {0.01, 0, 10000}, {0.3333333333333333, 10, 333333}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t pages = 99;
        uint64_t bytes = 99;
        assert_ok(
            cistern_pages_of_fraction(f.slot, rows[i].fraction, &pages, &bytes, &f.error), f.error);
        assert_int_equal(pages, rows[i].pages);
        assert_int_equal(bytes, rows[i].bytes);
    }
    const double bad[] = {0, -0.5, 1.0000001, NAN};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint64_t pages = 99;
        assert_status(
            cistern_pages_of_fraction(f.slot, bad[i], &pages, NULL, &f.error), CISTERN_INVALID);
        assert_int_equal(pages, 99);
        assert_non_null(strstr(f.error.message, "the fraction of memory to allocate"));
    }
    fixture_close(&f);
}

static void vector_allocate_and_reserve(void **state)
{
    (void)state;
    struct pool_fixture f;
    open_share(&f, VECTOR_TOTAL);
    struct cistern_component *own = open_component(&f, "own", 0);
    void *pages[VECTOR_PAGES + 1];
    assert_status(
        cistern_pages_allocate(f.component, VECTOR_PAGES + 1, pages, &f.error), CISTERN_INVALID);
    assert_non_null(strstr(f.error.message, "31 pages"));
    assert_int_equal(free_bytes(&f), VECTOR_TOTAL);
    assert_ok(cistern_pages_allocate(f.component, VECTOR_PAGES, pages, &f.error), f.error);
    assert_int_equal(free_bytes(&f), 16960);
    assert_status(
        cistern_pages_allocate(f.component, 1, &pages[VECTOR_PAGES], &f.error), CISTERN_LIMIT);
    assert_int_equal(f.error.bytes_missing, PAGE - 16960);
    assert_non_null(strstr(f.error.message, "state"));
    assert_status(cistern_component_charge(own, 16960), CISTERN_OK);
    assert_int_equal(free_bytes(&f), 0);
    assert_status(cistern_component_charge(own, 1), CISTERN_LIMIT);
    assert_status(cistern_pages_verify_empty(f.slot, &f.error), CISTERN_BUSY);
    assert_non_null(strstr(f.error.message, "state: 960.0 KiB, of it 30 pages"));
    cistern_component_uncharge(own, 16960);
    assert_int_equal(free_bytes(&f), 16960);
    cistern_pages_release(f.component, pages, VECTOR_PAGES);
    assert_int_equal(free_bytes(&f), VECTOR_TOTAL);
    assert_int_equal(cistern_slot_used_bytes(f.slot), 0); /* so small a slot keeps none warm */
    assert_ok(cistern_pages_verify_empty(f.slot, &f.error), f.error);
    cistern_component_close(own);
    fixture_close(&f);
}

static void vector_double_release(void **state)
{
    (void)state;
    struct pool_fixture f;
    open_share(&f, VECTOR_TOTAL);
    void *pages[VECTOR_PAGES];
    assert_ok(cistern_pages_allocate(f.component, VECTOR_PAGES, pages, &f.error), f.error);
    cistern_pages_release(f.component, &pages[3], 1);
    assert_int_equal(free_bytes(&f), 16960 + PAGE);
    cistern_pages_release(f.component, &pages[3], 1);
    assert_int_equal(free_bytes(&f), 16960 + PAGE);
    assert_int_equal(usage_of(&f).stray_count, 1);
    cistern_pages_release_all(f.component);
    assert_int_equal(free_bytes(&f), VECTOR_TOTAL);
    cistern_pages_release(f.component, pages, VECTOR_PAGES); /* after release_all: nothing */
    assert_int_equal(free_bytes(&f), VECTOR_TOTAL);
    assert_int_equal(usage_of(&f).stray_count, 1 + VECTOR_PAGES);
    assert_ok(cistern_pages_verify_empty(f.slot, &f.error), f.error);
    fixture_close(&f);
}

static void vector_foreign_release(void **state)
{
    (void)state;
    struct pool_fixture f;
    open_share(&f, VECTOR_TOTAL);
    struct cistern_component *other = open_component(&f, "other", 0);
    struct cistern_component *third = open_component(&f, "third", 0);
    void *page = NULL;
    void *theirs = NULL;
    assert_ok(cistern_pages_allocate(f.component, 1, &page, &f.error), f.error);
    assert_ok(cistern_pages_allocate(other, 1, &theirs, &f.error), f.error);
    char stack;
    void *strange[] = {NULL, theirs, &stack, (char *)page + 1, (char *)page + 4096,
        (char *)page + 64 * PAGE, (char *)page - PAGE};
    cistern_pages_release(f.component, strange, sizeof strange / sizeof strange[0]);
    cistern_pages_release(third, &page, 1); /* it never had one */
    assert_int_equal(cistern_pages_held(f.component), 1);
    assert_int_equal(cistern_pages_held(other), 1);
    assert_int_equal(cistern_pages_held(third), 0);
    assert_int_equal(free_bytes(&f), VECTOR_TOTAL - 2 * PAGE);
    memset(page, 1, PAGE);
    memset(theirs, 2, PAGE);
    cistern_pages_release_all(f.component);
    assert_int_equal(cistern_pages_held(other), 1);
    assert_int_equal(((unsigned char *)theirs)[PAGE - 1], 2);
    cistern_pages_release_all(other);
    cistern_pages_release_all(third);
    cistern_component_close(third);
    cistern_component_close(other);
    fixture_close(&f);
}

/* 72 MiB, 2304 pages, 17 owners: freeing one owner touches no other. */
static void vector_owners_are_apart(void **state)
{
    (void)state;
    enum { OWNERS = 17, COUNT = 2304 };
    struct pool_fixture f;
    open_share(&f, 72 * FIXTURE_MIB);
    struct cistern_component *owners[OWNERS];
    uint64_t counts[OWNERS] = {0};
    uint64_t seed = test_seed("memory_pages_test", 17);
    static unsigned char *pages[COUNT];
    uint32_t of[COUNT];
    for (uint32_t i = 0; i < OWNERS; i++) {
        owners[i] = open_component(&f, "owner", i % 2);
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        of[i] = (uint32_t)(test_random(&seed) % OWNERS);
        counts[of[i]]++;
        assert_ok(cistern_pages_allocate(owners[of[i]], 1, (void **)&pages[i], &f.error), f.error);
        assert_int_equal((uintptr_t)pages[i] % PAGE, 0);
        pages[i][0] = pages[i][PAGE - 1] = (unsigned char)of[i];
    }
    assert_int_equal(usage_of(&f).available_count, 0);
    assert_int_equal(usage_of(&f).held_count, COUNT);
    for (uint32_t gone = 0; gone < OWNERS; gone++) {
        assert_int_equal(cistern_pages_held(owners[gone]), counts[gone]);
        cistern_pages_release_all(owners[gone]);
        for (uint32_t i = 0; i < COUNT; i++) {
            assert_true(of[i] <= gone || (pages[i][0] == of[i] && pages[i][PAGE - 1] == of[i]));
        }
    }
    assert_int_equal(usage_of(&f).available_count, COUNT);
    assert_ok(cistern_pages_verify_empty(f.slot, &f.error), f.error);
    for (uint32_t i = 0; i < OWNERS; i++) {
        cistern_component_close(owners[i]);
    }
    fixture_close(&f);
}

static void vector_half_pages_half_reservation(void **state)
{
    (void)state;
    struct pool_fixture f;
    open_share(&f, 72 * FIXTURE_MIB);
    static void *pages[1152];
    assert_ok(cistern_pages_allocate(f.component, 1152, pages, &f.error), f.error);
    assert_status(cistern_component_charge(f.component, 36 * FIXTURE_MIB), CISTERN_OK);
    assert_int_equal(free_bytes(&f), 0);
    cistern_pages_release_all(f.component); /* does not touch the reservation */
    assert_int_equal(free_bytes(&f), 36 * FIXTURE_MIB);
    assert_status(cistern_pages_verify_empty(f.slot, &f.error), CISTERN_BUSY);
    cistern_component_uncharge(f.component, 36 * FIXTURE_MIB);
    fixture_close(&f);
}

/* ---- what is ours ---- */

static void a_slot_without_a_page_has_none(void **state)
{
    (void)state;
    struct pool_fixture f;
    open_share(&f, 8192);
    void *page;
    assert_int_equal(usage_of(&f).total_count, 0);
    assert_status(cistern_pages_allocate(f.component, 1, &page, &f.error), CISTERN_INVALID);
    assert_ok(cistern_pages_allocate(f.component, 0, NULL, &f.error), f.error);
    assert_int_equal(cistern_pages_held(f.component), 0);
    cistern_pages_release_all(f.component);
    fixture_close(&f);
}

static void released_pages_are_warm_or_gone(void **state)
{
    (void)state;
    struct pool_fixture f;
    open_share(&f, 64 * FIXTURE_MIB); /* keeps 512 KiB warm: 16 pages */
    static void *pages[256];
    assert_ok(cistern_pages_allocate(f.component, 256, pages, &f.error), f.error);
    for (uint32_t i = 0; i < 256; i++) {
        memset(pages[i], 1, PAGE);
    }
    cistern_pages_release(f.component, pages, 256);
    uint64_t resident = 0;
    for (uint32_t i = 0; i < 256; i++) {
        resident += resident_bytes(pages[i]);
    }
    assert_int_equal(usage_of(&f).warm_count, 16);
    assert_int_equal(resident, 16 * PAGE);
    assert_int_equal(cistern_slot_used_bytes(f.slot), 16 * PAGE);
    assert_int_equal(usage_of(&f).available_bytes, 64 * FIXTURE_MIB);
    assert_ok(cistern_pages_verify_empty(f.slot, &f.error), f.error);
    /* warm ones come first, and their charge moves */
    void *again;
    assert_ok(cistern_pages_allocate(f.component, 1, &again, &f.error), f.error);
    assert_int_equal(resident_bytes(again), PAGE);
    assert_int_equal(cistern_slot_used_bytes(f.slot), 16 * PAGE);
    struct cistern_holder holders[8];
    uint32_t count = 0;
    assert_ok(cistern_pool_holders(f.pool, holders, 8, &count), f.error);
    uint32_t seen = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(holders[i].component, "state") == 0) {
            assert_int_equal(holders[i].used_bytes, PAGE);
            assert_int_equal(holders[i].peak_bytes, 256 * PAGE);
            seen++;
        } else if (strcmp(holders[i].component, "free pages") == 0) {
            assert_int_equal(holders[i].used_bytes, 15 * PAGE);
            seen++;
        }
    }
    assert_int_equal(seen, 2);
    /* and whoever needs the bytes gets them */
    assert_status(cistern_component_charge(f.component, 64 * FIXTURE_MIB - PAGE), CISTERN_LIMIT);
    assert_ok(
        cistern_component_reserve(f.component, 64 * FIXTURE_MIB - PAGE, 0, &f.error), f.error);
    assert_status(cistern_component_charge(f.component, 64 * FIXTURE_MIB - PAGE), CISTERN_OK);
    assert_int_equal(usage_of(&f).warm_count, 0);
    cistern_component_uncharge(f.component, 64 * FIXTURE_MIB - PAGE);
    cistern_pages_release_all(f.component);
    fixture_close(&f);
}

static uint64_t evict_some(void *arg, uint64_t target_bytes, int64_t deadline_ns)
{
    (void)deadline_ns;
    struct cistern_component **cache = arg;
    cistern_component_uncharge(*cache, target_bytes);
    return target_bytes;
}

static void allocation_evicts_clean_cache(void **state)
{
    (void)state;
    struct pool_fixture f;
    open_share(&f, 8 * FIXTURE_MIB);
    struct cistern_component *cache = NULL;
    struct cistern_component_options options = {.name = "cache",
        .reclaim_class = CISTERN_RECLAIM_INSTANT,
        .reclaim = evict_some,
        .arg = &cache};
    assert_ok(cistern_component_open(f.slot, &options, &cache, &f.error), f.error);
    assert_status(cistern_component_charge(cache, 8 * FIXTURE_MIB), CISTERN_OK);
    void *pages[8];
    assert_ok(cistern_pages_allocate(f.component, 8, pages, &f.error), f.error);
    assert_int_equal(cistern_slot_used_bytes(f.slot), 8 * FIXTURE_MIB);
    cistern_pages_release_all(f.component);
    cistern_component_uncharge(cache, 8 * FIXTURE_MIB - 8 * PAGE);
    cistern_component_close(cache);
    fixture_close(&f);
}

static void log_count(void *arg, uint32_t level, const char *text)
{
    uint32_t *count = arg;
    *count += level == CISTERN_LOG_WARNING && strstr(text, "3 pages (96.0 KiB)") != NULL;
}

static void close_gives_back_and_says_so(void **state)
{
    (void)state;
    uint32_t warnings = 0;
    struct cistern_host host = {.arg = &warnings, .log = log_count};
    assert_int_equal(cistern_host_install(&host), CISTERN_OK);
    struct pool_fixture f;
    open_share(&f, 8 * FIXTURE_MIB);
    struct cistern_component *leaky = open_component(&f, "leaky", 1);
    void *pages[3];
    assert_ok(cistern_pages_allocate(leaky, 3, pages, &f.error), f.error);
    cistern_component_close(leaky);
    assert_int_equal(warnings, 1);
    assert_int_equal(cistern_slot_used_bytes(f.slot), 0); /* the store went with its last owner */
    assert_int_equal(usage_of(&f).stray_count, 0);
    fixture_close(&f);
    assert_int_equal(cistern_host_install(NULL), CISTERN_OK);
}

/* A pool of one slot with huge pages wanted: chunks of 2 MiB come and go as one. */
static void open_huge(struct pool_fixture *f, uint64_t share_bytes)
{
    struct cistern_pool_options pool = {
        .budget_bytes = share_bytes + 64 * FIXTURE_MIB, .huge_pages = 2};
    assert_ok(cistern_pool_create(&pool, &f->pool, &f->error), f->error);
    struct cistern_slot_options slot = {.limit_bytes = share_bytes + DEBT, .debt_max_bytes = DEBT};
    assert_ok(cistern_slot_open(f->pool, &slot, &f->slot, &f->error), f->error);
    f->component = open_component(f, "state", 0);
}

static void huge_chunks_break_when_bytes_are_needed(void **state)
{
    (void)state;
    enum { COUNT = 512 }; /* 16 MiB: 8 chunks */
    struct pool_fixture f;
    open_huge(&f, 16 * FIXTURE_MIB + PAGE);
    unsigned char *pages[COUNT];
    assert_ok(cistern_pages_allocate(f.component, 1, (void **)pages, &f.error), f.error);
    assert_int_equal(usage_of(&f).warm_count, 63); /* its chunk's */
    assert_int_equal(cistern_slot_used_bytes(f.slot), 2 * FIXTURE_MIB);
    assert_ok(
        cistern_pages_allocate(f.component, COUNT - 1, (void **)pages + 1, &f.error), f.error);
    assert_int_equal(cistern_slot_used_bytes(f.slot), 16 * FIXTURE_MIB);
    void *single; /* no room for a chunk: one page of its own */
    assert_ok(cistern_pages_allocate(f.component, 1, &single, &f.error), f.error);
    memset(single, 9, PAGE);
    assert_int_equal(resident_bytes(single), PAGE);
    assert_int_equal(usage_of(&f).available_bytes, 0);
    for (uint32_t i = 0; i < COUNT; i++) {
        memset(pages[i], (int)i, PAGE);
    }
    /* one page of each chunk lives: the others stay for a while, an eighth of the slot, no more */
    for (uint32_t i = 0; i < COUNT; i++) {
        if (i % 64 != 0) {
            cistern_pages_release(f.component, (void **)&pages[i], 1);
        }
    }
    struct cistern_pages_usage usage = usage_of(&f);
    assert_int_equal(usage.held_count, 9);
    assert_int_equal(usage.available_bytes, 16 * FIXTURE_MIB - 8 * PAGE);
    assert_true(usage.warm_count * PAGE <= 2 * FIXTURE_MIB + 2 * PAGE);
    uint64_t all = usage.available_bytes;
    if (cistern_component_charge(f.component, all) != CISTERN_OK) {
        assert_ok(cistern_component_reserve(f.component, all, 0, &f.error), f.error);
        assert_status(cistern_component_charge(f.component, all), CISTERN_OK);
    }
    assert_int_equal(usage_of(&f).warm_count, 0);
    uint64_t resident = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        resident += resident_bytes(pages[i]);
        if (i % 64 == 0) {
            assert_int_equal(pages[i][PAGE - 1], (unsigned char)i);
        }
    }
    assert_int_equal(resident, 8 * PAGE);
    cistern_component_uncharge(f.component, all);
    cistern_pages_release_all(f.component);
    /* broken chunks heal when nobody lives in them */
    assert_ok(cistern_pages_allocate(f.component, COUNT, (void **)pages, &f.error), f.error);
    for (uint32_t i = 0; i < COUNT; i++) {
        memset(pages[i], 3, PAGE);
    }
    cistern_pages_release(f.component, (void **)pages, COUNT);
    assert_true(usage_of(&f).warm_count <= 64);
    assert_ok(cistern_pages_verify_empty(f.slot, &f.error), f.error);
    fixture_close(&f);
}

/* A host whose memory is not what it was once it is released, and in which somebody looks at the
 * slot at that moment: another thread, as it were. */
struct looking_host {
    struct cistern_slot *slot; /* NULL: nobody looks */
    uint32_t look_count;
};

static void *host_allocate(void *arg, uint64_t bytes)
{
    (void)arg;
    return malloc(bytes);
}

static void host_release(void *arg, void *memory)
{
    struct looking_host *host = arg;
    struct cistern_error error;
    memset(memory, 0xA5, malloc_usable_size(memory));
    if (host->slot != NULL) {
        host->look_count++;
        assert_status(cistern_pages_verify_empty(host->slot, &error), CISTERN_BUSY);
        assert_non_null(strstr(error.message, "of it 0 pages"));
    }
    free(memory);
}

static void an_owner_that_closes_can_be_looked_at(void **state)
{
    (void)state;
    struct pool_fixture f;
    struct looking_host host = {0};
    struct cistern_host callbacks = {
        .arg = &host, .allocate = host_allocate, .release = host_release};
    void *page;
    assert_int_equal(cistern_host_install(&callbacks), CISTERN_OK);
    fixture_open(&f, 64 * FIXTURE_MIB, 16 * FIXTURE_MIB, FIXTURE_MIB);
    assert_ok(cistern_pages_allocate(f.component, 1, &page, &f.error), f.error);
    cistern_pages_release(f.component, &page, 1);
    cistern_component_report(f.component, FIXTURE_MIB); /* holds something to the end */
    host.slot = f.slot;
    (void)alarm(10); /* the lock of a store that is gone is never free */
    pages_component_close(f.component);
    (void)alarm(0);
    host.slot = NULL;
    assert_true(host.look_count >= 3); /* chunks, their array, the store */
    assert_int_equal(cistern_pages_held(f.component), 0);
    fixture_close(&f);
    assert_int_equal(cistern_host_install(NULL), CISTERN_OK);
}

static void guarded_pages_are_never_warm(void **state)
{
    (void)state;
    struct pool_fixture f;
    struct cistern_pool_options pool = {.budget_bytes = 320 * FIXTURE_MIB, .guard = 1};
    assert_ok(cistern_pool_create(&pool, &f.pool, &f.error), f.error);
    assert_ok(cistern_slot_open(f.pool, NULL, &f.slot, &f.error), f.error);
    f.component = open_component(&f, "state", 0);
    for (uint32_t round = 0; round < 3; round++) {
        void *pages[100];
        assert_ok(cistern_pages_allocate(f.component, 100, pages, &f.error), f.error);
        for (uint32_t i = 0; i < 100; i++) {
            memset(pages[i], 1, PAGE);
        }
        cistern_pages_release(f.component, pages, 100);
        assert_int_equal(usage_of(&f).warm_count, 0);
    }
    assert_int_equal(cistern_slot_used_bytes(f.slot), 0);
    fixture_close(&f);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CAN_WEIGH 0 /* shadow memory grows too */
#else
#define CAN_WEIGH 1
#endif

/* Anonymous resident memory of this process; the kernel's counters are some pages late. */
static uint64_t anonymous_bytes(void)
{
    unsigned long long resident = 0;
    unsigned long long shared = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*u %llu %llu", &resident, &shared), 2);
    fclose(file);
    return (resident - shared) * 4096;
}

/* Random allocations and releases against an array that says whose each page is. */
static void random_walk(struct pool_fixture *f, uint64_t seed, uint32_t steps, uint32_t count)
{
    struct held {
        unsigned char *page;
        uint32_t owner;
    } *held = calloc(count, sizeof *held);
    struct cistern_component *owners[3] = {
        open_component(f, "a", 0), open_component(f, "b", 1), open_component(f, "c", 0)};
    uint32_t live = 0;
    uint64_t share = cistern_slot_share_bytes(f->slot);
    uint64_t baseline = anonymous_bytes();
    for (uint32_t step = 0; step < steps; step++) {
        uint64_t random = test_random(&seed);
        uint32_t owner = (uint32_t)(random % 3);
        uint32_t wanted = (uint32_t)(random >> 8) % 97 + 1;
        void *pages[97];
        if (random >> 40 & 1) {
            uint32_t status = cistern_pages_allocate(owners[owner], wanted, pages, &f->error);
            uint64_t bytes = (live + wanted) * PAGE;
            assert_true(bytes <= share ? status == CISTERN_OK || bytes + STASH > share
                                       : status == CISTERN_LIMIT);
            for (uint32_t i = 0; status == CISTERN_OK && i < wanted; i++) {
                held[live] = (struct held){.page = pages[i], .owner = owner};
                memset(held[live].page, (int)owner, PAGE);
                live++;
            }
        } else {
            for (uint32_t i = 0; i < wanted && live > 0; i++) {
                uint32_t at = (uint32_t)(test_random(&seed) % live);
                struct held out = held[at];
                assert_int_equal(out.page[0], out.owner);
                assert_int_equal(out.page[PAGE - 1], out.owner);
                void *page = out.page;
                cistern_pages_release(owners[(out.owner + 1) % 3], &page, 1); /* foreign */
                cistern_pages_release(owners[out.owner], &page, 1);
                held[at] = held[--live];
            }
        }
        struct cistern_pages_usage usage = usage_of(f);
        assert_int_equal(usage.held_count, live);
        assert_true(usage.available_bytes <= share - live * PAGE);
        assert_true(usage.available_bytes + STASH >= share - live * PAGE);
        assert_true(cistern_slot_used_bytes(f->slot) <= share);
        if (CAN_WEIGH && step % 16 == 0) {
            assert_true(
                anonymous_bytes() <= baseline + cistern_slot_used_bytes(f->slot) + FIXTURE_MIB);
        }
    }
    uint64_t sum = 0;
    for (uint32_t i = 0; i < 3; i++) {
        sum += cistern_pages_held(owners[i]);
        cistern_pages_release_all(owners[i]);
    }
    assert_int_equal(sum, live);
    for (uint32_t i = 0; i < 3; i++) {
        cistern_component_close(owners[i]);
    }
    free(held);
}

static void random_walk_of_single_pages(void **state)
{
    (void)state;
    struct pool_fixture f;
    open_share(&f, 32 * FIXTURE_MIB);
    random_walk(&f, test_seed("memory_pages_test", 3), 1500, 1024);
    fixture_close(&f);
}

static void random_walk_of_huge_pages(void **state)
{
    (void)state;
    struct pool_fixture f;
    open_huge(&f, 32 * FIXTURE_MIB);
    random_walk(&f, test_seed("memory_pages_test", 4), 1500, 1024);
    fixture_close(&f);
}

/* ---- threads ---- */

struct worker {
    struct pool_fixture *f;
    struct cistern_component *component;
    uint64_t seed;
    uint32_t mark;
    uint32_t refused;
};

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    void *pages[16];
    for (uint32_t round = 0; round < 400; round++) {
        uint32_t count = (uint32_t)(test_random(&worker->seed) % 16) + 1;
        if (cistern_pages_allocate(worker->component, count, pages, NULL) != CISTERN_OK) {
            worker->refused++;
            continue;
        }
        for (uint32_t i = 0; i < count; i++) {
            memset(pages[i], (int)worker->mark, 64);
            ((unsigned char *)pages[i])[PAGE - 1] = (unsigned char)worker->mark;
        }
        for (uint32_t i = 0; i < count; i++) {
            if (((unsigned char *)pages[i])[63] != worker->mark ||
                ((unsigned char *)pages[i])[PAGE - 1] != worker->mark) {
                worker->refused += 1000000;
            }
        }
        if (round % 7 == 0 && worker->mark >= 4) { /* an owner alone */
            cistern_pages_release_all(worker->component);
        } else {
            cistern_pages_release(worker->component, pages, count);
        }
    }
    return NULL;
}

/* Four threads share an owner, four have one each and come and go with it; another evicts. */
static void run_threads(struct pool_fixture *f)
{
    enum { THREADS = 8 };
    struct worker workers[THREADS];
    pthread_t threads[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.f = f,
            .component = i < 4 ? f->component : open_component(f, "alone", i % 2),
            .seed = 77 + i,
            .mark = i};
        assert_int_equal(pthread_create(&threads[i], NULL, worker_main, &workers[i]), 0);
    }
    for (uint32_t i = 0; i < 50; i++) {
        uint64_t share = cistern_slot_share_bytes(f->slot);
        uint32_t status = cistern_component_reserve(f->component, share, 0, NULL);
        assert_true(status == CISTERN_OK || status == CISTERN_LIMIT);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].refused, 0);
        if (i >= 4) {
            cistern_component_close(workers[i].component);
        }
    }
    assert_int_equal(usage_of(f).held_count, 0);
    assert_ok(cistern_pages_verify_empty(f->slot, &f->error), f->error);
}

static void eight_threads_keep_their_pages(void **state)
{
    (void)state;
    struct pool_fixture f;
    open_share(&f, 64 * FIXTURE_MIB);
    run_threads(&f);
    fixture_close(&f);
    open_huge(&f, 64 * FIXTURE_MIB);
    run_threads(&f);
    fixture_close(&f);
}

static void *first_page_main(void *arg)
{
    struct worker *worker = arg;
    void *page;
    for (uint32_t round = 0; round < 200; round++) {
        struct cistern_component *mine = open_component(worker->f, "passing", 0);
        worker->refused += cistern_pages_allocate(mine, 1, &page, NULL) != CISTERN_OK;
        ((unsigned char *)page)[0] = 1;
        cistern_pages_release(mine, &page, 1);
        cistern_component_close(mine);
    }
    return NULL;
}

/* The store is made by the first owner and goes with the last, whoever that is. */
static void stores_come_and_go(void **state)
{
    (void)state;
    struct pool_fixture f;
    open_share(&f, 16 * FIXTURE_MIB);
    struct worker workers[3] = {{.f = &f}, {.f = &f}, {.f = &f}};
    pthread_t threads[3];
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, first_page_main, &workers[i]), 0);
    }
    for (uint32_t i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].refused, 0);
    }
    assert_int_equal(cistern_slot_used_bytes(f.slot), 0);
    fixture_close(&f);
}

/* ---- failures ---- */

static void each_failed_allocation_leaves_nothing(void **state)
{
    (void)state;
    for (uint32_t huge = 0; huge < 2; huge++) {
        uint64_t nth = 1;
        for (;; nth++) {
            assert_true(nth < 20);
            struct pool_fixture f;
            if (huge) {
                open_huge(&f, 16 * FIXTURE_MIB);
            } else {
                open_share(&f, 16 * FIXTURE_MIB);
            }
            void *pages[200];
            cistern_allocation_fail_at(nth);
            uint32_t status = cistern_pages_allocate(f.component, 200, pages, &f.error);
            int fired = cistern_allocation_failed();
            cistern_allocation_fail_at(0);
            if (status != CISTERN_OK) {
                assert_true(fired);
                assert_int_equal(status, CISTERN_NO_MEMORY);
                assert_int_equal(cistern_pages_held(f.component), 0);
                assert_ok(cistern_pages_verify_empty(f.slot, &f.error), f.error);
                assert_ok(cistern_pages_allocate(f.component, 200, pages, &f.error), f.error);
            }
            assert_int_equal(cistern_pages_held(f.component), 200);
            cistern_pages_release(f.component, pages, 200);
            fixture_close(&f);
            if (!fired) {
                break;
            }
        }
        assert_true(nth > 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vector_fractions),
        cmocka_unit_test(vector_allocate_and_reserve),
        cmocka_unit_test(vector_double_release),
        cmocka_unit_test(vector_foreign_release),
        cmocka_unit_test(vector_owners_are_apart),
        cmocka_unit_test(vector_half_pages_half_reservation),
        cmocka_unit_test(a_slot_without_a_page_has_none),
        cmocka_unit_test(released_pages_are_warm_or_gone),
        cmocka_unit_test(allocation_evicts_clean_cache),
        cmocka_unit_test(close_gives_back_and_says_so),
        cmocka_unit_test(huge_chunks_break_when_bytes_are_needed),
        cmocka_unit_test(an_owner_that_closes_can_be_looked_at),
        cmocka_unit_test(guarded_pages_are_never_warm),
        cmocka_unit_test(random_walk_of_single_pages),
        cmocka_unit_test(random_walk_of_huge_pages),
        cmocka_unit_test(eight_threads_keep_their_pages),
        cmocka_unit_test(stores_come_and_go),
        cmocka_unit_test(each_failed_allocation_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
