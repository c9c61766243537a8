/*
 * governor_test.c -- capacities follow the ledger, safe points evict, tickets are returned, threads
 * end; in GUEST accounting.
 *
 * The program defines mallctl itself: whoever calls it in GUEST accounting is caught.
 */
#include "pool_fixture.h"
#include "fake_elastic.h"

#include "cistern/clock.h"
#include "pool_private.h"

#include <dirent.h>
#include <sched.h>

int mallctl(const char *name, void *old, size_t *old_bytes, void *new_value, size_t new_bytes);

static _Atomic uint64_t mallctl_calls;

int mallctl(const char *name, void *old, size_t *old_bytes, void *new_value, size_t new_bytes)
{
    (void)name;
    (void)old;
    (void)old_bytes;
    (void)new_value;
    (void)new_bytes;
    atomic_fetch_add(&mallctl_calls, 1);
    return 2;
}

static uint32_t count_threads(void)
{
    uint32_t count = 0;
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (struct dirent *entry = readdir(tasks); entry != NULL; entry = readdir(tasks)) {
        count += entry->d_name[0] != '.';
    }
    closedir(tasks);
    return count;
}

static int is_named_thread_there(void)
{
    char path[300];
    char name[32];
    int found = 0;
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (struct dirent *entry = readdir(tasks); entry != NULL; entry = readdir(tasks)) {
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *comm = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
        if (comm != NULL) {
            found |=
                fgets(name, sizeof name, comm) != NULL && strncmp(name, "cistern-governo", 15) == 0;
            fclose(comm);
        }
    }
    closedir(tasks);
    return found;
}

static struct cistern_elastic *open_elastic(struct pool_fixture *f, struct fake_cache *cache)
{
    struct cistern_elastic *elastic = NULL;
    struct cistern_elastic_options options = fake_options(cache);
    assert_ok(cistern_elastic_open(f->slot, &options, &elastic, &f->error), f->error);
    return elastic;
}

static struct fake_cache *create_cache(struct cistern_component *component, uint64_t chunk_bytes)
{
    struct fake_cache *cache = calloc(1, sizeof *cache);
    assert_non_null(cache);
    pthread_mutex_init(&cache->lock, NULL);
    cache->component = component;
    cache->chunk_bytes = chunk_bytes;
    return cache;
}

static void destroy_cache(struct fake_cache *cache)
{
    fake_set_capacity(cache, 0);
    free(cache);
}

static void *end_at_once(void *arg)
{
    return arg;
}

static void threads_start_with_the_first_elastic_and_end(void **state)
{
    (void)state;
    pthread_t first; /* a sanitizer starts a thread of its own with the first one of ours */
    assert_int_equal(pthread_create(&first, NULL, end_at_once, NULL), 0);
    pthread_join(first, NULL);
    uint32_t before = count_threads();
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 32 * FIXTURE_MIB, 0);
    assert_int_equal(count_threads(), before);
    struct fake_cache *cache = create_cache(f.component, 65536);
    struct cistern_elastic *elastic = open_elastic(&f, cache);
    assert_int_equal(count_threads(), before + 1);
    assert_true(is_named_thread_there());
    assert_status(cistern_slot_close(f.slot, &f.error), CISTERN_BUSY);
    assert_non_null(strstr(f.error.message, "elastic"));
    cistern_elastic_close(elastic);
    destroy_cache(cache);
    fixture_close(&f);
    assert_int_equal(count_threads(), before);
    assert_int_equal(atomic_load(&mallctl_calls), 0);
}

static void the_cache_fills_the_slot_and_no_more(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 32 * FIXTURE_MIB, 0);
    uint64_t limit = cistern_slot_limit_bytes(f.slot);
    struct fake_cache *cache = create_cache(f.component, 16384);
    struct cistern_elastic *elastic = open_elastic(&f, cache);
    uint64_t used_max = 0;
    for (uint32_t i = 0; i < 20000; i++) {
        (void)cistern_elastic_ensure(elastic, 16384);
        fake_insert(cache);
        uint64_t used = cistern_slot_used_bytes(f.slot);
        used_max = used > used_max ? used : used_max;
    }
    print_message(
        "limit %llu, highest use %llu\n", (unsigned long long)limit, (unsigned long long)used_max);
    assert_true(used_max <= limit + 512 * 1024); /* debt_max */
    cistern_sleep_ns(200000000);
    for (uint32_t i = 0; i < 4000; i++) {
        (void)cistern_elastic_ensure(elastic, 16384);
        fake_insert(cache);
    }
    assert_true(fake_usage(cache) > limit / 4 * 3); /* the governor gave the slot to the cache */
    struct cistern_pool_usage usage;
    cistern_pool_usage(f.pool, &usage);
    assert_int_equal(usage.overrun_count, 0);
    assert_true(usage.charged_peak_bytes >= used_max);
    cistern_elastic_close(elastic);
    destroy_cache(cache);
    fixture_close(&f);
    assert_int_equal(atomic_load(&mallctl_calls), 0);
}

static void the_bound_holds_with_the_governor_stopped(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 16 * FIXTURE_MIB, 0);
    uint64_t limit = cistern_slot_limit_bytes(f.slot);
    struct fake_cache *cache = create_cache(f.component, 16384);
    struct cistern_elastic *elastic = open_elastic(&f, cache);
    cistern_governor_pause(f.pool, 1);
    for (uint32_t i = 0; i < 5000; i++) {
        assert_true(cistern_elastic_ensure(elastic, 16384));
        fake_insert(cache);
        assert_true(cistern_slot_used_bytes(f.slot) <= limit);
    }
    /* A neighbour in the slot takes half of it: the next safe points shrink the cache for it. */
    assert_true(cistern_elastic_ensure(elastic, limit / 2));
    assert_int_equal(cistern_component_charge(f.component, limit / 2), CISTERN_OK);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_true(cistern_elastic_ensure(elastic, 16384));
        fake_insert(cache);
        assert_true(cistern_slot_used_bytes(f.slot) <= limit);
    }
    cistern_component_uncharge(f.component, limit / 2);
    cistern_governor_pause(f.pool, 0);
    cistern_elastic_close(elastic);
    destroy_cache(cache);
    fixture_close(&f);
}

static void ensure_stops_at_the_floor(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 16 * FIXTURE_MIB, 0);
    uint64_t limit = cistern_slot_limit_bytes(f.slot);
    struct fake_cache *cache = create_cache(f.component, 16384);
    struct cistern_elastic *elastic = open_elastic(&f, cache);
    cistern_governor_pause(f.pool, 1);
    for (uint32_t i = 0; i < 1000; i++) {
        (void)cistern_elastic_ensure(elastic, 16384);
        fake_insert(cache);
    }
    assert_int_equal(cistern_elastic_ensure(elastic, limit), 0);
    uint64_t usage = fake_usage(cache);
    assert_in_range(usage, 2 * FIXTURE_MIB - 16384, 2 * FIXTURE_MIB);
    assert_int_equal(cistern_elastic_free_bytes(elastic), (int64_t)(limit - usage));
    cistern_elastic_close(elastic);
    destroy_cache(cache);
    fixture_close(&f);
}

static void *take_ticket(void *arg)
{
    cistern_elastic_ticket(arg, 3 * FIXTURE_MIB);
    return NULL;
}

static void tickets_are_by_thread_and_return_at_close(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 32 * FIXTURE_MIB, 0);
    struct fake_cache *cache = create_cache(f.component, 65536);
    struct cistern_elastic *elastic = open_elastic(&f, cache);
    cistern_governor_pause(f.pool, 1);
    uint64_t room = 64 * FIXTURE_MIB; /* of the ledger */
    cistern_elastic_ticket(elastic, 40 * FIXTURE_MIB);
    cistern_elastic_ticket(elastic, 50 * FIXTURE_MIB); /* replaces */
    assert_true(cistern_elastic_ensure(elastic, room - 50 * FIXTURE_MIB));
    assert_false(cistern_elastic_ensure(elastic, room - 50 * FIXTURE_MIB + 1));
    pthread_t thread;
    /* ends without giving it back */
    assert_int_equal(pthread_create(&thread, NULL, take_ticket, elastic), 0);
    pthread_join(thread, NULL);
    assert_false(cistern_elastic_ensure(elastic, room - 53 * FIXTURE_MIB + 1));
    cistern_elastic_ticket(elastic, 0);
    cistern_elastic_ticket(elastic, 0); /* twice is harmless */
    assert_true(cistern_elastic_ensure(elastic, 30 * FIXTURE_MIB));
    cistern_elastic_close(elastic);
    elastic = open_elastic(&f, cache);
    cistern_elastic_ticket(elastic, 60 * FIXTURE_MIB);
    /* the lost ticket of the closed one is gone */
    assert_true(cistern_elastic_ensure(elastic, 4 * FIXTURE_MIB));
    cistern_elastic_value_seen(elastic, 100);
    cistern_elastic_value_seen(elastic, 50);
    assert_int_equal(cistern_elastic_value_bytes_max(elastic), 100);
    cistern_elastic_close(elastic);
    destroy_cache(cache);
    fixture_close(&f);
}

static void an_idle_cache_lends_to_the_write_buffer(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 48 * FIXTURE_MIB, 0);
    uint64_t limit = cistern_slot_limit_bytes(f.slot);
    struct fake_cache *cache = create_cache(f.component, 16384);
    struct cistern_elastic *elastic = open_elastic(&f, cache);
    assert_int_equal(atomic_load(&cache->allowance), limit / 4);
    for (uint32_t i = 0;
         i < 2000 && cistern_elastic_write_buffer_allowance(elastic) < limit / 4 * 3; i++) {
        cistern_governor_kick(f.pool);
        cistern_sleep_ns(1000000);
    }
    assert_int_equal(cistern_elastic_write_buffer_allowance(elastic), limit / 4 * 3);
    assert_int_equal(atomic_load(&cache->allowance), limit / 4 * 3);
    for (uint32_t i = 0; i < 20000 && cistern_elastic_write_buffer_allowance(elastic) > limit / 4;
         i++) {
        (void)cistern_elastic_ensure(elastic, 16384);
        fake_insert(cache); /* the cache is full and wants it back */
        cistern_governor_kick(f.pool);
        cistern_sleep_ns(100000);
    }
    assert_int_equal(cistern_elastic_write_buffer_allowance(elastic), limit / 4);
    cistern_elastic_close(elastic);
    destroy_cache(cache);
    fixture_close(&f);
}

static void idle_iterators_are_parked_when_nothing_else_is_left(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 16 * FIXTURE_MIB, 0);
    struct fake_cache *cache = create_cache(f.component, 16384);
    struct cistern_elastic *elastic = open_elastic(&f, cache);
    cistern_component_report(f.component, 20 * FIXTURE_MIB); /* memtables pinned beyond the slot */
    for (uint32_t i = 0; i < 2000 && atomic_load(&cache->park_count) == 0; i++) {
        cistern_governor_kick(f.pool);
        cistern_sleep_ns(1000000);
    }
    assert_true(atomic_load(&cache->park_count) > 0);
    assert_true(atomic_load(&cache->drain_count) > 0);
    assert_true(cistern_elastic_free_bytes(elastic) < 0);
    cistern_elastic_close(elastic);
    destroy_cache(cache);
    fixture_close(&f);
}

static void two_caches_share_and_yield_to_each_other(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 32 * FIXTURE_MIB, 0);
    uint64_t limit = cistern_slot_limit_bytes(f.slot);
    struct fake_cache *first = create_cache(f.component, 16384);
    struct fake_cache *second = create_cache(f.component, 16384);
    struct cistern_elastic *a = open_elastic(&f, first);
    struct cistern_elastic *b = open_elastic(&f, second);
    for (uint32_t i = 0; i < 6000; i++) {
        (void)cistern_elastic_ensure(a, 16384);
        fake_insert(first);
        (void)cistern_elastic_ensure(b, 16384);
        fake_insert(second);
        assert_true(cistern_slot_used_bytes(f.slot) <= limit + 512 * 1024);
    }
    print_message("first %llu, second %llu\n", (unsigned long long)fake_usage(first),
        (unsigned long long)fake_usage(second));
    assert_true(fake_usage(first) >= FIXTURE_MIB && fake_usage(second) >= FIXTURE_MIB);
    cistern_elastic_close(a);
    cistern_elastic_close(b);
    destroy_cache(first);
    destroy_cache(second);
    fixture_close(&f);
}

static _Atomic uint64_t measured_bytes;

static uint64_t measure(void *arg)
{
    (void)arg;
    return atomic_load(&measured_bytes);
}

static void the_hosts_measurement_steers_the_cache(void **state)
{
    (void)state;
    struct cistern_error error;
    struct pool_fixture f = {0};
    atomic_store(&measured_bytes, 100 * FIXTURE_MIB); /* the host's own, before us */
    struct cistern_pool_options options = {.budget_bytes = 64 * FIXTURE_MIB, .measure = measure};
    assert_ok(cistern_pool_create(&options, &f.pool, &error), error);
    assert_ok(cistern_slot_open(f.pool, NULL, &f.slot, &error), error);
    struct cistern_component_options component_options = {.name = "state"};
    assert_ok(cistern_component_open(f.slot, &component_options, &f.component, &error), error);
    struct fake_cache *cache = create_cache(f.component, 16384);
    struct cistern_elastic *elastic = open_elastic(&f, cache);
    int64_t before = cistern_elastic_free_bytes(elastic);
    atomic_store(&measured_bytes, 150 * FIXTURE_MIB);
    for (uint32_t i = 0;
         i < 2000 && cistern_elastic_free_bytes(elastic) > 14 * (int64_t)FIXTURE_MIB; i++) {
        cistern_governor_kick(f.pool);
        cistern_sleep_ns(1000000);
    }
    assert_true(before > 50 * (int64_t)FIXTURE_MIB);
    assert_int_equal(cistern_elastic_free_bytes(elastic), 14 * (int64_t)FIXTURE_MIB);
    cistern_elastic_close(elastic);
    destroy_cache(cache);
    fixture_close(&f);
    assert_int_equal(atomic_load(&mallctl_calls), 0);
}

static void every_failed_allocation_leaves_nothing(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 16 * FIXTURE_MIB, 0);
    uint64_t before = cistern_allocation_count();
    struct fake_cache *cache = create_cache(f.component, 16384);
    struct cistern_elastic_options options = fake_options(cache);
    uint64_t nth = 1;
    for (;; nth++) {
        assert_true(nth < 20);
        struct cistern_elastic *elastic = NULL;
        cistern_allocation_fail_at(nth);
        uint32_t status = cistern_elastic_open(f.slot, &options, &elastic, &f.error);
        int fired = cistern_allocation_failed();
        cistern_allocation_fail_at(0);
        cistern_elastic_close(elastic);
        assert_int_equal(cistern_allocation_count(), before);
        if (!fired) {
            assert_int_equal(status, CISTERN_OK);
            break;
        }
        assert_int_equal(status, CISTERN_NO_MEMORY);
    }
    assert_true(nth > 1);
    options.cache_usage = NULL;
    struct cistern_elastic *elastic = NULL;
    assert_status(cistern_elastic_open(f.slot, &options, &elastic, &f.error), CISTERN_INVALID);
    destroy_cache(cache);
    fixture_close(&f);
}

static void a_pool_with_an_elastic_stays(void **state)
{
    (void)state;
    static struct fake_cache cache;
    struct cistern_error error;
    struct cistern_pool *pool;
    struct cistern_elastic *elastic;
    struct cistern_pool_options options = {.budget_bytes = 64 * FIXTURE_MIB};
    cache = (struct fake_cache){.chunk_bytes = 65536};
    pthread_mutex_init(&cache.lock, NULL);
    assert_ok(cistern_pool_create(&options, &pool, &error), error);
    struct cistern_elastic_options elastic_options = fake_options(&cache);
    assert_ok(cistern_elastic_open(
                  cistern_pool_process_slot(pool), &elastic_options, &elastic, &error),
        error);
    assert_status(cistern_pool_destroy(pool, &error), CISTERN_BUSY);
    assert_string_equal(error.object, "process");
    assert_non_null(strstr(error.message, "elastic"));
    cistern_elastic_close(elastic);
    assert_ok(cistern_pool_destroy(pool, &error), error);
    pthread_mutex_destroy(&cache.lock);
    assert_int_equal(cistern_allocation_count(), 0);
}

struct closer {
    struct cistern_elastic *_Atomic elastic; /* NULL: closed */
    _Atomic uint32_t stop;
};

static void *close_what_comes(void *arg)
{
    struct closer *closer = arg;
    while (!atomic_load(&closer->stop)) {
        struct cistern_elastic *elastic = atomic_load(&closer->elastic);
        if (elastic == NULL) {
            sched_yield();
            continue;
        }
        cistern_elastic_ticket(elastic, FIXTURE_MIB); /* of a job that never says that it is done */
        cistern_elastic_close(elastic);
        atomic_store(&closer->elastic, NULL);
    }
    return NULL;
}

/* A slot that could be closed has no elastic's tickets left in the ledger: the pool may be gone
 * next. */
static void a_slot_that_closes_holds_no_tickets(void **state)
{
    (void)state;
    static struct fake_cache cache;
    struct pool_fixture f;
    struct closer closer = {.stop = 0};
    struct cistern_slot_options options = {
        .limit_bytes = 16 * FIXTURE_MIB, .debt_max_bytes = FIXTURE_MIB};
    pthread_t thread;
    uint64_t left = 0;
    fixture_open(&f, 64 * FIXTURE_MIB, 16 * FIXTURE_MIB, FIXTURE_MIB);
    cache = (struct fake_cache){.chunk_bytes = 65536};
    pthread_mutex_init(&cache.lock, NULL);
    struct cistern_elastic_options elastic_options = fake_options(&cache);
    assert_int_equal(pthread_create(&thread, NULL, close_what_comes, &closer), 0);
    for (uint64_t i = test_rounds(5000); i > 0; i--) {
        struct cistern_slot *slot;
        struct cistern_elastic *elastic;
        assert_ok(cistern_slot_open(f.pool, &options, &slot, &f.error), f.error);
        assert_ok(cistern_elastic_open(slot, &elastic_options, &elastic, &f.error), f.error);
        atomic_store(&closer.elastic, elastic);
        while (cistern_slot_close(slot, NULL) != CISTERN_OK) {
        }
        left += atomic_load(&f.pool->ledger.tickets) != 0;
        while (atomic_load(&closer.elastic) != NULL) {
            sched_yield();
        }
    }
    atomic_store(&closer.stop, 1);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(left, 0);
    pthread_mutex_destroy(&cache.lock);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_start_with_the_first_elastic_and_end),
        cmocka_unit_test(the_cache_fills_the_slot_and_no_more),
        cmocka_unit_test(the_bound_holds_with_the_governor_stopped),
        cmocka_unit_test(ensure_stops_at_the_floor),
        cmocka_unit_test(a_pool_with_an_elastic_stays),
        cmocka_unit_test(a_slot_that_closes_holds_no_tickets),
        cmocka_unit_test(tickets_are_by_thread_and_return_at_close),
        cmocka_unit_test(an_idle_cache_lends_to_the_write_buffer),
        cmocka_unit_test(idle_iterators_are_parked_when_nothing_else_is_left),
        cmocka_unit_test(two_caches_share_and_yield_to_each_other),
        cmocka_unit_test(the_hosts_measurement_steers_the_cache),
        cmocka_unit_test(every_failed_allocation_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
