/* component_test.c -- the life of a line of the account: its stash, its close, what it leaks. */
#include "pool_fixture.h"

#include "cistern/pages.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define KIB UINT64_C(1024)
#define STASH_MOST (64 * KIB) /* pool.h, is_exclusive */

static struct cistern_component *open_component(
    struct cistern_slot *slot, const char *name, uint32_t is_exclusive)
{
    struct cistern_error error;
    struct cistern_component *component = NULL;
    struct cistern_component_options options = {
        .name = name, .reclaim_class = CISTERN_RECLAIM_NEVER, .is_exclusive = is_exclusive};
    assert_ok(cistern_component_open(slot, &options, &component, &error), error);
    return component;
}

/* ---------------------------------------------------------------- the stash */

/* The lines of the slot, as "who holds what" has them. */
static uint64_t held_by_all(struct cistern_pool *pool)
{
    struct cistern_holder holders[8];
    uint32_t count = 0;
    uint64_t sum = 0;
    assert_int_equal(cistern_pool_holders(pool, holders, 8, &count), CISTERN_OK);
    assert_true(count <= 8);
    for (uint32_t i = 0; i < count; i++) {
        sum += holders[i].used_bytes;
    }
    return sum;
}

static void the_lines_add_up_with_a_stash_among_them(void **state)
{
    (void)state;
    struct pool_fixture f;
    uint64_t seed = test_seed("memory_component_test", 11);
    uint64_t held[3] = {0};
    fixture_open(&f, 320 * FIXTURE_MIB, 256 * FIXTURE_MIB, FIXTURE_MIB);
    struct cistern_component *components[3] = {f.component, open_component(f.slot, "mine", 1),
        open_component(f.slot, "also mine", 1)};
    for (uint64_t i = test_rounds(20000); i > 0; i--) {
        uint32_t at = (uint32_t)(test_random(&seed) % 3);
        uint64_t bytes = test_random(&seed) % (test_random(&seed) % 8 == 0 ? FIXTURE_MIB : 4096);
        if (test_random(&seed) % 2 == 0) {
            if (cistern_component_charge(components[at], bytes) == CISTERN_OK) {
                held[at] += bytes;
            }
        } else {
            bytes = bytes < held[at] ? bytes : held[at];
            cistern_component_uncharge(components[at], bytes);
            held[at] -= bytes;
        }
        uint64_t used = cistern_slot_used_bytes(f.slot);
        uint64_t sum = held[0] + held[1] + held[2];
        assert_int_equal(held_by_all(f.pool), used);
        assert_in_range(used, sum, sum + 2 * STASH_MOST);
    }
    for (uint32_t i = 0; i < 3; i++) {
        cistern_component_uncharge(components[i], held[i]);
    }
    cistern_component_close(components[1]);
    cistern_component_close(components[2]);
    assert_int_equal(cistern_slot_used_bytes(f.slot), 0);
    fixture_close(&f);
}

static void only_an_exclusive_component_keeps_a_stash(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 320 * FIXTURE_MIB, 256 * FIXTURE_MIB, FIXTURE_MIB);
    struct cistern_component *mine = open_component(f.slot, "mine", 1);
    assert_int_equal(cistern_component_charge(f.component, 4 * KIB), CISTERN_OK);
    cistern_component_uncharge(f.component, 4 * KIB);
    assert_int_equal(cistern_slot_used_bytes(f.slot), 0);
    for (uint64_t back = 4 * KIB; back <= 128 * KIB; back += 4 * KIB) {
        assert_int_equal(cistern_component_charge(mine, 128 * KIB), CISTERN_OK);
        for (uint64_t given = 0; given < 128 * KIB; given += 4 * KIB) {
            cistern_component_uncharge(mine, 4 * KIB);
        }
        assert_int_equal(cistern_slot_used_bytes(f.slot), STASH_MOST);
    }
    /* the next small charges come out of it, a large one gives it back first */
    assert_int_equal(cistern_component_charge(mine, 24 * KIB), CISTERN_OK);
    assert_int_equal(cistern_component_charge(mine, 40 * KIB), CISTERN_OK);
    assert_int_equal(cistern_slot_used_bytes(f.slot), STASH_MOST);
    cistern_component_uncharge(mine, 40 * KIB);
    assert_int_equal(cistern_component_charge(mine, FIXTURE_MIB), CISTERN_OK);
    assert_int_equal(cistern_slot_used_bytes(f.slot), FIXTURE_MIB + 24 * KIB);
    cistern_component_uncharge(mine, FIXTURE_MIB);
    cistern_component_uncharge(mine, 24 * KIB);
    assert_int_equal(cistern_slot_used_bytes(f.slot), 24 * KIB);
    assert_ok(cistern_pages_verify_empty(f.slot, &f.error), f.error); /* nobody holds it */
    cistern_component_quiesce(mine); /* about its callback; the account is its owner's */
    assert_int_equal(cistern_slot_used_bytes(f.slot), 24 * KIB);
    cistern_component_close(mine);
    assert_int_equal(cistern_slot_used_bytes(f.slot), 0);
    fixture_close(&f);
}

static void a_small_slot_has_a_small_stash(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 9 * FIXTURE_MIB, FIXTURE_MIB); /* 8 MiB to charge */
    struct cistern_component *mine = open_component(f.slot, "mine", 1);
    assert_int_equal(cistern_component_charge(mine, 8 * FIXTURE_MIB), CISTERN_OK);
    for (uint32_t i = 0; i < 2048; i++) {
        cistern_component_uncharge(mine, 4 * KIB);
    }
    assert_int_equal(cistern_slot_used_bytes(f.slot), 8 * KIB);
    cistern_component_close(mine);
    fixture_close(&f);
}

/* What passes the limit is repaid before anything voluntary succeeds: out of the stash, too. */
static void a_stash_repays_debt_first(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 320 * FIXTURE_MIB, 65 * FIXTURE_MIB, FIXTURE_MIB); /* 64 MiB to charge */
    struct cistern_component *mine = open_component(f.slot, "mine", 1);
    assert_int_equal(cistern_component_charge(mine, 32 * KIB), CISTERN_OK);
    cistern_component_uncharge(mine, 32 * KIB);
    assert_int_equal(cistern_slot_used_bytes(f.slot), 32 * KIB);
    cistern_component_charge_forced(f.component, 64 * FIXTURE_MIB + 1);
    assert_int_equal(cistern_component_charge(mine, 4 * KIB), CISTERN_LIMIT);
    assert_int_equal(cistern_slot_used_bytes(f.slot), 64 * FIXTURE_MIB + 1);
    cistern_component_uncharge(f.component, 8 * KIB);
    assert_int_equal(cistern_component_charge(mine, 4 * KIB), CISTERN_OK);
    /* in debt, what is given back goes to the slot */
    cistern_component_charge_forced(f.component, 8 * KIB);
    cistern_component_uncharge(mine, 4 * KIB);
    assert_int_equal(cistern_slot_used_bytes(f.slot), 64 * FIXTURE_MIB + 1);
    cistern_component_uncharge(f.component, 64 * FIXTURE_MIB + 1);
    cistern_component_close(mine);
    fixture_close(&f);
}

/* ---------------------------------------------------------------- close */

struct closer {
    struct cistern_component *_Atomic component; /* NULL: closed */
    _Atomic uint32_t stop;
};

static void *close_what_comes(void *arg)
{
    struct closer *closer = arg;
    while (!atomic_load(&closer->stop)) {
        struct cistern_component *component = atomic_load(&closer->component);
        if (component == NULL) {
            sched_yield();
            continue;
        }
        cistern_component_close(component);
        atomic_store(&closer->component, NULL);
    }
    return NULL;
}

/* A slot that could be closed is empty, whoever closed its last component and however recently. */
static void a_slot_that_closes_is_empty(void **state)
{
    (void)state;
    struct pool_fixture f;
    struct closer closer = {.stop = 0};
    struct cistern_slot *slot;
    pthread_t thread;
    fixture_open(&f, 320 * FIXTURE_MIB, 64 * FIXTURE_MIB, FIXTURE_MIB);
    assert_int_equal(pthread_create(&thread, NULL, close_what_comes, &closer), 0);
    uint64_t not_empty = 0;
    for (uint64_t i = test_rounds(10000); i > 0; i--) {
        struct cistern_slot_options options = {.limit_bytes = 128 * FIXTURE_MIB};
        assert_ok(cistern_slot_open(f.pool, &options, &slot, &f.error), f.error);
        struct cistern_component *component = open_component(slot, "state", 1);
        assert_int_equal(cistern_component_charge(component, 4 * KIB), CISTERN_OK);
        cistern_component_uncharge(component, 4 * KIB); /* into the stash */
        cistern_component_report(component, 1000);
        atomic_store(&closer.component, component);
        while (cistern_slot_close(slot, NULL) != CISTERN_OK) {
        }
        not_empty += cistern_slot_used_bytes(slot) != 0;
        while (atomic_load(&closer.component) != NULL) {
            sched_yield();
        }
    }
    atomic_store(&closer.stop, 1);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(not_empty, 0);
    fixture_close(&f);
}

/* ---------------------------------------------------------------- leaks */

static void log_to_pipe(void *arg, uint32_t level, const char *text)
{
    if (level >= CISTERN_LOG_WARNING) {
        ssize_t written = write(*(int *)arg, text, strlen(text));
        (void)written;
    }
}

/* In the child: 0 when the account is whole again after the leak. */
static int leak_and_close(int *pipe_end)
{
    struct cistern_host host = {.arg = pipe_end, .log = log_to_pipe};
    struct cistern_pool_options options = {
        .budget_bytes = 64 * FIXTURE_MIB, .slot_count_max = 2, .host = &host};
    struct cistern_component_options named = {
        .name = "forgetful", .reclaim_class = CISTERN_RECLAIM_NEVER, .is_exclusive = 1};
    struct cistern_pool *pool;
    struct cistern_slot *slot;
    struct cistern_component *component;
    if (cistern_pool_create(&options, &pool, NULL) != CISTERN_OK ||
        cistern_slot_open(pool, NULL, &slot, NULL) != CISTERN_OK ||
        cistern_component_open(slot, &named, &component, NULL) != CISTERN_OK ||
        cistern_component_charge(component, 3 * FIXTURE_MIB) != CISTERN_OK) {
        return 1;
    }
    cistern_component_report(component, 1000); /* reports end by themselves: no leak */
    cistern_component_close(component);        /* aborts where assertions are on */
    return cistern_slot_used_bytes(slot) != 0 || cistern_slot_close(slot, NULL) != CISTERN_OK ||
           cistern_pool_destroy(pool, NULL) != CISTERN_OK;
}

static void what_leaks_is_reported_with_its_owner(void **state)
{
    (void)state;
    int ends[2];
    int result;
    char text[512] = "";
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(STDERR_FILENO); /* the assertion's own words */
        _exit(leak_and_close(&ends[1]));
    }
    assert_int_equal(close(ends[1]), 0);
    assert_int_equal(waitpid(child, &result, 0), child);
    ssize_t bytes = read(ends[0], text, sizeof text - 1);
    assert_int_equal(close(ends[0]), 0);
#ifdef NDEBUG
    assert_true(WIFEXITED(result) && WEXITSTATUS(result) == 0);
#else
    assert_true(WIFSIGNALED(result) && WTERMSIG(result) == SIGABRT);
#endif
    assert_true(bytes > 0);
    assert_non_null(strstr(text, "slot 1"));
    assert_non_null(strstr(text, "forgetful"));
    assert_non_null(strstr(text, "3.0 MiB"));
}

/* What cannot close names every holder with its bytes, the largest first. */
static void what_cannot_close_names_its_holders(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 16 * FIXTURE_MIB, FIXTURE_MIB);
    struct cistern_component *buffers =
        open_component(cistern_pool_process_slot(f.pool), "buffers", 0);
    struct cistern_component *index = open_component(f.slot, "index", 0);
    assert_int_equal(cistern_component_charge(f.component, 2 * FIXTURE_MIB), CISTERN_OK);
    assert_int_equal(cistern_component_charge(index, 5 * FIXTURE_MIB), CISTERN_OK);
    assert_int_equal(cistern_component_charge(buffers, FIXTURE_MIB), CISTERN_OK);
    assert_status(cistern_slot_close(f.slot, &f.error), CISTERN_BUSY);
    assert_string_equal(f.error.object, "slot 1");
    assert_non_null(strstr(f.error.message, "held by index 5.0 MiB, state 2.0 MiB"));
    assert_status(cistern_pool_destroy(f.pool, &f.error), CISTERN_BUSY);
    assert_non_null(strstr(f.error.message, "buffers 1.0 MiB"));
    cistern_component_uncharge(buffers, FIXTURE_MIB);
    cistern_component_close(buffers);
    assert_status(cistern_pool_destroy(f.pool, &f.error), CISTERN_BUSY);
    assert_non_null(strstr(f.error.message, "slot 1 is open; held by index 5.0 MiB"));
    cistern_component_uncharge(index, 5 * FIXTURE_MIB);
    cistern_component_uncharge(f.component, 2 * FIXTURE_MIB);
    cistern_component_close(index);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_lines_add_up_with_a_stash_among_them),
        cmocka_unit_test(only_an_exclusive_component_keeps_a_stash),
        cmocka_unit_test(a_small_slot_has_a_small_stash),
        cmocka_unit_test(a_stash_repays_debt_first),
        cmocka_unit_test(a_slot_that_closes_is_empty),
        cmocka_unit_test(what_leaks_is_reported_with_its_owner),
        cmocka_unit_test(what_cannot_close_names_its_holders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
