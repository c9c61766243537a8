/* region_test.c -- pages are resident only between commit and decommit, and are charged as long
 * as they are. */
#include "pool_fixture.h"

#include "cistern/region.h"

#include <string.h>
#include <sys/mman.h>

#define PAGE UINT64_C(4096)

static uint64_t resident_bytes(const struct cistern_region *region)
{
    uint64_t bytes = cistern_region_reserve_bytes(region);
    unsigned char *pages = malloc(bytes / PAGE);
    assert_non_null(pages);
    assert_int_equal(mincore(cistern_region_base(region), bytes, pages), 0);
    uint64_t resident = 0;
    for (uint64_t i = 0; i < bytes / PAGE; i++) {
        resident += (pages[i] & 1) * PAGE;
    }
    free(pages);
    return resident;
}

static struct cistern_region *open_region(
    struct pool_fixture *f, uint64_t reserve_bytes, uint64_t granule_bytes)
{
    struct cistern_region *region = NULL;
    struct cistern_region_options options = {
        .reserve_bytes = reserve_bytes, .granule_bytes = granule_bytes};
    assert_ok(cistern_region_create(f->component, &options, &region, &f->error), f->error);
    return region;
}

static void residency_follows_commit_and_decommit(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 16 * FIXTURE_MIB, 0);
    struct cistern_region *region = open_region(&f, 256 * FIXTURE_MIB, 65536);
    unsigned char *base = cistern_region_base(region);
    assert_int_equal((uintptr_t)base % 65536, 0);
    assert_int_equal(resident_bytes(region), 0);
    assert_int_equal(cistern_region_commit(region, 0, 2 * FIXTURE_MIB), CISTERN_OK);
    assert_int_equal(resident_bytes(region), 0); /* charged before it is touched */
    assert_int_equal(cistern_slot_used_bytes(f.slot), 2 * FIXTURE_MIB);
    memset(base, 0xAB, 2 * FIXTURE_MIB);
    assert_int_equal(resident_bytes(region), 2 * FIXTURE_MIB);
    assert_int_equal(cistern_region_commit(region, 200 * FIXTURE_MIB, 65536),
        CISTERN_OK); /* far beyond the frontier */
    memset(base + 200 * FIXTURE_MIB, 1, 65536);
    assert_int_equal(resident_bytes(region), 2 * FIXTURE_MIB + 65536);
    cistern_region_decommit(region, 65536, FIXTURE_MIB);
    assert_int_equal(resident_bytes(region), FIXTURE_MIB + 65536);
    assert_int_equal(cistern_slot_used_bytes(f.slot), FIXTURE_MIB + 65536);
    assert_int_equal(cistern_region_committed_bytes(region), FIXTURE_MIB + 65536);
    assert_int_equal(cistern_region_commit(region, 65536, 65536), CISTERN_OK);
    for (uint64_t i = 0; i < 65536; i++) {
        assert_int_equal(base[65536 + i], 0);
    }
    assert_int_equal(base[0], 0xAB);
    cistern_region_destroy(region);
    fixture_close(&f);
}

static void a_refused_commit_changes_nothing(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 3 * FIXTURE_MIB, FIXTURE_MIB);
    struct cistern_region *region = open_region(&f, 64 * FIXTURE_MIB, 0);
    assert_int_equal(cistern_region_commit(region, 0, FIXTURE_MIB), CISTERN_OK);
    assert_int_equal(cistern_region_commit(region, FIXTURE_MIB, FIXTURE_MIB + PAGE), CISTERN_LIMIT);
    assert_int_equal(cistern_region_committed_bytes(region), FIXTURE_MIB);
    assert_int_equal(cistern_slot_used_bytes(f.slot), FIXTURE_MIB);
    assert_int_equal(resident_bytes(region), 0);
    assert_int_equal(cistern_region_commit(region, 64 * FIXTURE_MIB, PAGE),
        CISTERN_LIMIT); /* the range is used up */
    assert_int_equal(cistern_region_commit(region, FIXTURE_MIB, FIXTURE_MIB), CISTERN_OK);
    cistern_region_destroy(region);
    fixture_close(&f);
}

static void wrong_options_are_named(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 3 * FIXTURE_MIB, 0);
    const struct {
        struct cistern_region_options options;
        const char *object;
    } cases[] = {
        {{.reserve_bytes = 0}, "reserve_bytes"},
        {{.reserve_bytes = 5000}, "reserve_bytes"},
        {{.reserve_bytes = 8192, .granule_bytes = 6000}, "granule_bytes"},
        {{.reserve_bytes = 8 * FIXTURE_MIB, .granule_bytes = 4 * FIXTURE_MIB}, "granule_bytes"},
        {{.reserve_bytes = 8 * FIXTURE_MIB, .huge_pages = 1}, "huge_pages"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cistern_region *region = NULL;
        assert_status(cistern_region_create(f.component, &cases[i].options, &region, &f.error),
            CISTERN_INVALID);
        assert_string_equal(f.error.object, cases[i].object);
        assert_null(region);
    }
    struct cistern_region *region = NULL;
    struct cistern_region_options huge = {.reserve_bytes = UINT64_C(1) << 60};
    assert_status(cistern_region_create(f.component, &huge, &region, &f.error), CISTERN_NO_MEMORY);
    fixture_close(&f);
}

static void huge_granules_are_aligned(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 16 * FIXTURE_MIB, 0);
    struct cistern_region *region = NULL;
    struct cistern_region_options options = {
        .reserve_bytes = 64 * FIXTURE_MIB, .granule_bytes = 2 * FIXTURE_MIB, .huge_pages = 1};
    assert_ok(cistern_region_create(f.component, &options, &region, &f.error), f.error);
    unsigned char *base = cistern_region_base(region);
    assert_int_equal((uintptr_t)base % (2 * FIXTURE_MIB), 0);
    assert_int_equal(cistern_region_commit(region, 4 * FIXTURE_MIB, 2 * FIXTURE_MIB), CISTERN_OK);
    base[4 * FIXTURE_MIB + 5] = 1;
    /* a touch never makes an uncharged neighbour resident */
    assert_true(resident_bytes(region) <= 2 * FIXTURE_MIB);
    cistern_region_destroy(region);
    fixture_close(&f);
}

static uint32_t count_mappings(const struct cistern_region *region)
{
    uintptr_t low = (uintptr_t)cistern_region_base(region);
    uintptr_t high = low + cistern_region_reserve_bytes(region);
    FILE *maps = fopen("/proc/self/maps", "re");
    assert_non_null(maps);
    char line[1024];
    uint32_t count = 0;
    while (fgets(line, sizeof line, maps) != NULL) {
        unsigned long long start = 0;
        unsigned long long end = 0;
        if (sscanf(line, "%llx-%llx", &start, &end) == 2 && start < high && end > low) {
            count++;
        }
    }
    fclose(maps);
    return count;
}

static void random_commits_stay_two_mappings(void **state)
{
    (void)state;
    uint64_t seed = test_seed("memory_region_test", 7);
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 16 * FIXTURE_MIB, 0);
    struct cistern_region *region = open_region(&f, 512 * FIXTURE_MIB, 65536);
    unsigned char *base = cistern_region_base(region);
    uint8_t committed[8192] = {0};
    uint64_t expected = 0;
    for (int i = 0; i < 4000; i++) {
        uint64_t granule = test_random(&seed) % 8192;
        if (committed[granule]) {
            assert_int_equal(base[granule * 65536], 1 + granule % 200);
            cistern_region_decommit(region, granule * 65536, 65536);
            expected -= 65536;
            committed[granule] = 0;
        } else if (cistern_region_commit(region, granule * 65536, 65536) == CISTERN_OK) {
            assert_int_equal(base[granule * 65536], 0);
            base[granule * 65536] = (unsigned char)(1 + granule % 200);
            expected += 65536;
            committed[granule] = 1;
        } else {
            assert_true(expected + 65536 > cistern_slot_limit_bytes(f.slot));
        }
        assert_int_equal(cistern_slot_used_bytes(f.slot), expected);
    }
    assert_true(resident_bytes(region) <= expected);
    /* a neighbour mapping may have merged with the reservation's end */
    assert_true(count_mappings(region) <= 3);
    cistern_region_destroy(region);
    fixture_close(&f);
}

static void every_failed_allocation_leaves_nothing(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 16 * FIXTURE_MIB, 0);
    uint64_t before = cistern_allocation_count();
    uint64_t nth = 1;
    for (;; nth++) {
        assert_true(nth < 20);
        struct cistern_region *region = NULL;
        struct cistern_region_options options = {.reserve_bytes = 64 * FIXTURE_MIB};
        cistern_allocation_fail_at(nth);
        uint32_t status = cistern_region_create(f.component, &options, &region, &f.error);
        int fired = cistern_allocation_failed();
        cistern_allocation_fail_at(0);
        cistern_region_destroy(region);
        assert_int_equal(cistern_allocation_count(), before);
        if (!fired) {
            assert_int_equal(status, CISTERN_OK);
            break;
        }
        assert_int_equal(status, CISTERN_NO_MEMORY);
        assert_null(region);
    }
    assert_true(nth > 1);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(residency_follows_commit_and_decommit),
        cmocka_unit_test(a_refused_commit_changes_nothing),
        cmocka_unit_test(wrong_options_are_named),
        cmocka_unit_test(huge_granules_are_aligned),
        cmocka_unit_test(random_commits_stay_two_mappings),
        cmocka_unit_test(every_failed_allocation_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
