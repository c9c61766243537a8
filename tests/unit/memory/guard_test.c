/*
 * guard_test.c -- with the pool option `guard`, memory that was given back faults when it is
 * touched again; what is live does not, and without the option nothing does.
 *
 * Each case runs in a child that makes its own pool, because ranges are kept out of a forked child,
 * and says by its exit or its signal what the touch did.
 */
#include "pool_fixture.h"

#include "cistern/block_pool.h"
#include "cistern/pages.h"
#include "cistern/region.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SURVIVED 7
#define BROKEN 8
#define PAGE UINT64_C(4096)
#define COUNT 8

struct child {
    struct cistern_pool *pool;
    struct cistern_slot *slot;
    struct cistern_component *component;
};

static void child_open(struct child *child, uint32_t guard)
{
    struct cistern_pool_options options = {.budget_bytes = 64 * FIXTURE_MIB, .guard = guard};
    struct cistern_component_options named = {
        .name = "state", .reclaim_class = CISTERN_RECLAIM_NEVER};
    if (cistern_pool_create(&options, &child->pool, NULL) != CISTERN_OK ||
        cistern_slot_open(child->pool, NULL, &child->slot, NULL) != CISTERN_OK ||
        cistern_component_open(child->slot, &named, &child->component, NULL) != CISTERN_OK) {
        _exit(BROKEN);
    }
}

static void need(int condition)
{
    if (!condition) {
        _exit(BROKEN);
    }
}

/* Reads or writes one byte; the compiler may not leave it out. */
static void touch(void *memory, int is_write)
{
    volatile char *byte = memory;
    if (is_write) {
        *byte = 1;
    } else {
        (void)*byte;
    }
}

/* What became of a child that ran `body`: SURVIVED, or SIGSEGV + 256. */
static int run(void (*body)(uint32_t guard, int is_write), uint32_t guard, int is_write)
{
    int result;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)signal(SIGSEGV, SIG_DFL); /* a sanitizer would make an exit of it */
        body(guard, is_write);
        _exit(SURVIVED);
    }
    assert_int_equal(waitpid(pid, &result, 0), pid);
    return WIFSIGNALED(result) ? WTERMSIG(result) + 256 : WEXITSTATUS(result);
}

static void expect_fault(void (*body)(uint32_t guard, int is_write))
{
    assert_int_equal(run(body, 1, 0), SIGSEGV + 256);
    assert_int_equal(run(body, 1, 1), SIGSEGV + 256);
    assert_int_equal(run(body, 0, 0), SURVIVED);
    assert_int_equal(run(body, 0, 1), SURVIVED);
}

/* ---------------------------------------------------------------- regions */

static struct cistern_region *region_open(struct child *child)
{
    struct cistern_region *region;
    struct cistern_region_options options = {.reserve_bytes = FIXTURE_MIB};
    need(cistern_region_create(child->component, &options, &region, NULL) == CISTERN_OK);
    need(cistern_region_commit(region, 0, COUNT * PAGE) == CISTERN_OK);
    memset(cistern_region_base(region), 1, COUNT * PAGE);
    return region;
}

static void touch_decommitted(uint32_t guard, int is_write)
{
    struct child child;
    child_open(&child, guard);
    struct cistern_region *region = region_open(&child);
    char *base = cistern_region_base(region);
    cistern_region_decommit(region, 2 * PAGE, 3 * PAGE);
    touch(base + 2 * PAGE - 1, is_write); /* the neighbours live */
    touch(base + 5 * PAGE, is_write);
    touch(base + 4 * PAGE, is_write);
}

/* The very last byte of what was given back. */
static void touch_last_decommitted(uint32_t guard, int is_write)
{
    struct child child;
    child_open(&child, guard);
    struct cistern_region *region = region_open(&child);
    cistern_region_decommit(region, 2 * PAGE, 3 * PAGE);
    touch((char *)cistern_region_base(region) + 5 * PAGE - 1, is_write);
}

static void touch_recommitted(uint32_t guard, int is_write)
{
    struct child child;
    child_open(&child, guard);
    struct cistern_region *region = region_open(&child);
    char *base = cistern_region_base(region);
    for (uint32_t round = 0; round < 3; round++) {
        cistern_region_decommit(region, 2 * PAGE, 3 * PAGE);
        need(cistern_region_commit(region, 3 * PAGE, PAGE) == CISTERN_OK);
        for (uint64_t i = 3 * PAGE; i < 4 * PAGE; i++) {
            need(base[i] == 0);
        }
        touch(base + 3 * PAGE, is_write);
        need(cistern_region_commit(region, 2 * PAGE, PAGE) == CISTERN_OK);
        need(cistern_region_commit(region, 4 * PAGE, PAGE) == CISTERN_OK);
        memset(base, 2, COUNT * PAGE);
    }
    cistern_region_destroy(region);
    cistern_component_close(child.component);
    need(cistern_slot_used_bytes(child.slot) == 0);
    need(cistern_slot_close(child.slot, NULL) == CISTERN_OK);
    need(cistern_pool_destroy(child.pool, NULL) == CISTERN_OK);
}

static void a_decommitted_page_of_a_region_faults(void **state)
{
    (void)state;
    expect_fault(touch_decommitted);
    expect_fault(touch_last_decommitted);
    for (uint32_t guard = 0; guard < 2; guard++) {
        assert_int_equal(run(touch_recommitted, guard, 0), SURVIVED);
        assert_int_equal(run(touch_recommitted, guard, 1), SURVIVED);
    }
}

/* ---------------------------------------------------------------- pages */

static void touch_released_page(uint32_t guard, int is_write)
{
    struct child child;
    void *pages[COUNT];
    child_open(&child, guard);
    need(cistern_pages_allocate(child.component, COUNT, pages, NULL) == CISTERN_OK);
    cistern_pages_release(child.component, &pages[3], 1);
    for (uint32_t i = 0; i < COUNT; i++) {
        if (i != 3) {
            memset(pages[i], 1, cistern_pool_page_bytes(child.pool));
        }
    }
    touch(pages[3], is_write);
}

static void touch_reallocated_pages(uint32_t guard, int is_write)
{
    struct child child;
    void *pages[COUNT];
    child_open(&child, guard);
    for (uint32_t round = 0; round < 3; round++) {
        need(cistern_pages_allocate(child.component, COUNT, pages, NULL) == CISTERN_OK);
        for (uint32_t i = 0; i < COUNT; i++) {
            touch(pages[i], is_write);
            memset(pages[i], 1, cistern_pool_page_bytes(child.pool));
        }
        cistern_pages_release_all(child.component);
    }
    cistern_component_close(child.component);
    need(cistern_slot_used_bytes(child.slot) == 0);
}

static void a_released_page_faults(void **state)
{
    (void)state;
    expect_fault(touch_released_page);
    for (uint32_t guard = 0; guard < 2; guard++) {
        assert_int_equal(run(touch_reallocated_pages, guard, 0), SURVIVED);
        assert_int_equal(run(touch_reallocated_pages, guard, 1), SURVIVED);
    }
}

/* ---------------------------------------------------------------- blocks */

static struct cistern_block_pool *blocks_open(struct child *child)
{
    struct cistern_block_pool *blocks;
    need(cistern_block_pool_create(child->component, NULL, &blocks, NULL) == CISTERN_OK);
    return blocks;
}

static void touch_freed_block(uint32_t guard, int is_write)
{
    struct child child;
    child_open(&child, guard);
    struct cistern_block_pool *blocks = blocks_open(&child);
    char *block = cistern_block_pool_allocate(blocks, 3 * PAGE);
    char *live = cistern_block_pool_allocate(blocks, 3 * PAGE);
    need(block != NULL && live != NULL);
    memset(block, 1, 3 * PAGE);
    cistern_block_pool_deallocate(blocks, block);
    memset(live, 1, 3 * PAGE);
    touch(block + 2 * PAGE, is_write);
}

static void touch_reallocated_block(uint32_t guard, int is_write)
{
    struct child child;
    child_open(&child, guard);
    struct cistern_block_pool *blocks = blocks_open(&child);
    for (uint32_t round = 0; round < 3; round++) {
        char *block = cistern_block_pool_allocate(blocks, 3 * PAGE);
        need(block != NULL);
        touch(block, is_write);
        memset(block, 1, 3 * PAGE);
        cistern_block_pool_deallocate(blocks, block);
        need(guard == 0 || cistern_block_pool_warm_bytes(blocks) == 0);
    }
    cistern_block_pool_destroy(blocks);
    cistern_component_close(child.component);
    need(cistern_slot_used_bytes(child.slot) == 0);
}

static void a_freed_block_faults(void **state)
{
    (void)state;
    expect_fault(touch_freed_block);
    for (uint32_t guard = 0; guard < 2; guard++) {
        assert_int_equal(run(touch_reallocated_block, guard, 0), SURVIVED);
        assert_int_equal(run(touch_reallocated_block, guard, 1), SURVIVED);
    }
}

/* ---------------------------------------------------------------- always */

/* With or without a guard: what was never committed, and what is gone with its owner. */
static void touch_uncommitted(uint32_t guard, int is_write)
{
    struct child child;
    struct cistern_region *region;
    struct cistern_region_options options = {.reserve_bytes = FIXTURE_MIB};
    child_open(&child, guard);
    need(cistern_region_create(child.component, &options, &region, NULL) == CISTERN_OK);
    touch(cistern_region_base(region), is_write);
}

static void touch_destroyed(uint32_t guard, int is_write)
{
    struct child child;
    child_open(&child, guard);
    struct cistern_region *region = region_open(&child);
    char *base = cistern_region_base(region);
    cistern_region_destroy(region);
    touch(base, is_write);
}

static void what_was_never_there_faults_anyway(void **state)
{
    (void)state;
    for (uint32_t guard = 0; guard < 2; guard++) {
        assert_int_equal(run(touch_uncommitted, guard, 0), SIGSEGV + 256);
        assert_int_equal(run(touch_uncommitted, guard, 1), SIGSEGV + 256);
        assert_int_equal(run(touch_destroyed, guard, 0), SIGSEGV + 256);
        assert_int_equal(run(touch_destroyed, guard, 1), SIGSEGV + 256);
    }
}

static void guard_is_0_or_1(void **state)
{
    (void)state;
    struct cistern_pool *pool;
    struct cistern_error error;
    struct cistern_pool_options options = {.budget_bytes = 64 * FIXTURE_MIB, .guard = 2};
    assert_status(cistern_pool_create(&options, &pool, &error), CISTERN_INVALID);
    assert_string_equal(error.object, "guard");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_decommitted_page_of_a_region_faults),
        cmocka_unit_test(a_released_page_faults),
        cmocka_unit_test(a_freed_block_faults),
        cmocka_unit_test(what_was_never_there_faults_anyway),
        cmocka_unit_test(guard_is_0_or_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
