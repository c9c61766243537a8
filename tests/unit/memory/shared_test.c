/* shared_test.c -- leases of shared resources: Flink's transcript, what fails is undone, two
 * threads that ask for the same at once. */
#include "pool_fixture.h"

#include "cistern/clock.h"
#include "cistern/error.h"
#include "cistern/shared.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#define FOR_EVER INT64_MAX

struct factory {
    struct cistern_slot *slot;
    uint32_t created;
    uint32_t destroyed;
    uint64_t bytes;          /* what the last create() was given */
    uint32_t create_status;  /* what create() answers */
    uint32_t destroy_status; /* what destroy() answers */
    const char *inner;       /* a type that create() leases itself */
    struct cistern_lease inner_lease;
    uint32_t inner_status;
    uint64_t used_in_create;
    _Atomic uint32_t inside; /* callbacks running now */
    _Atomic uint32_t overlaps;
    int64_t pause_ns;
};

static uint32_t make(void *arg, uint64_t bytes, void **ret_resource, struct cistern_error *error)
{
    struct factory *factory = arg;
    if (atomic_fetch_add(&factory->inside, 1) != 0) {
        atomic_fetch_add(&factory->overlaps, 1);
    }
    factory->used_in_create = cistern_slot_used_bytes(factory->slot);
    factory->bytes = bytes;
    if (factory->pause_ns > 0) {
        cistern_sleep_ns(factory->pause_ns);
    }
    if (factory->inner != NULL) {
        struct factory other = {.slot = factory->slot};
        struct cistern_shared_options options = {
            .type = factory->inner, .bytes = 1, .create = make, .arg = &other};
        factory->inner_status =
            cistern_shared_lease(factory->slot, &options, &factory->inner_lease, error);
    }
    atomic_fetch_sub(&factory->inside, 1);
    if (factory->create_status != CISTERN_OK) {
        return cistern_fail(error, factory->create_status, "factory", "boom");
    }
    factory->created++;
    *ret_resource = factory;
    return CISTERN_OK;
}

static uint32_t unmake(void *arg, void *resource, struct cistern_error *error)
{
    struct factory *factory = arg;
    if (atomic_fetch_add(&factory->inside, 1) != 0) {
        atomic_fetch_add(&factory->overlaps, 1);
    }
    assert_ptr_equal(resource, factory);
    factory->destroyed++;
    atomic_fetch_sub(&factory->inside, 1);
    return factory->destroy_status == CISTERN_OK
               ? CISTERN_OK
               : cistern_fail(error, factory->destroy_status, "factory", "boom");
}

static uint32_t lease(struct pool_fixture *f, struct factory *factory, const char *type,
    uint64_t bytes, const void *holder, struct cistern_lease *ret_lease)
{
    factory->slot = f->slot;
    struct cistern_shared_options options = {.type = type,
        .bytes = bytes,
        .holder = holder,
        .create = make,
        .destroy = unmake,
        .arg = factory};
    return cistern_shared_lease(f->slot, &options, ret_lease, &f->error);
}

static void open_100(struct pool_fixture *f)
{
    fixture_open(f, 64 * FIXTURE_MIB, 65536 + 100, 65536);
    assert_int_equal(cistern_slot_limit_bytes(f->slot), 100);
}

static uint64_t free_bytes(const struct pool_fixture *f)
{
    return cistern_slot_limit_bytes(f->slot) - cistern_slot_used_bytes(f->slot);
}

/* The verified transcript of the memory sheet: a budget of 100. */
static void vector_transcript(void **state)
{
    (void)state;
    struct pool_fixture f;
    struct factory t = {0};
    struct factory u = {0};
    struct cistern_lease r1 = {0};
    struct cistern_lease r2 = {0};
    struct cistern_lease none = {0};
    open_100(&f);
    assert_ok(lease(&f, &t, "t", 60, NULL, &r1), f.error);
    assert_int_equal(t.used_in_create, 60); /* reserved before it is made */
    assert_int_equal(r1.bytes, 60);
    assert_int_equal(free_bytes(&f), 40);
    assert_ok(lease(&f, &t, "t", 10, NULL, &r2), f.error);
    assert_int_equal(r2.bytes, 60); /* the first size wins */
    assert_ptr_equal(r2.resource, r1.resource);
    assert_int_equal(free_bytes(&f), 40);
    assert_int_equal(cistern_shared_lease_count(f.slot, "t", 0), 2);
    assert_status(lease(&f, &u, "u", 50, NULL, &none), CISTERN_LIMIT);
    assert_int_equal(f.error.bytes_missing, 10);
    assert_non_null(strstr(f.error.message, "held by t 60 B"));
    assert_int_equal(none.id, 0);
    assert_int_equal(cistern_shared_lease_count(f.slot, "u", 0), 0);
    struct cistern_lease copy = r1;
    assert_ok(cistern_shared_release(&r1, &f.error), f.error);
    assert_ok(cistern_shared_release(&r1, &f.error), f.error);
    assert_ok(cistern_shared_release(&copy, &f.error), f.error); /* a lease ends once */
    assert_int_equal(t.destroyed, 0);
    assert_ok(cistern_shared_release(&r2, &f.error), f.error);
    assert_int_equal(t.destroyed, 1);
    assert_int_equal(free_bytes(&f), 100);
    assert_ok(lease(&f, &t, "t", 10, NULL, &r1), f.error);
    assert_int_equal(r1.bytes, 10);
    assert_int_equal(t.created, 2);
    t.destroy_status = CISTERN_IO;
    assert_status(cistern_shared_release(&r1, &f.error), CISTERN_IO);
    assert_string_equal(f.error.message, "boom");
    assert_int_equal(free_bytes(&f), 100); /* even though its end failed */
    fixture_close(&f);
}

/* Flink keeps 10 bytes for ever here: managed and external leases of one type share a resource, and
 * the last closer's hook is what runs. Ours are two resources. */
static void managed_and_external_are_apart(void **state)
{
    (void)state;
    struct pool_fixture f;
    struct factory managed = {0};
    struct factory external = {0};
    struct cistern_lease a = {0};
    struct cistern_lease b = {0};
    open_100(&f);
    assert_ok(lease(&f, &managed, "t", 10, NULL, &a), f.error);
    external.slot = f.slot;
    struct cistern_shared_options options = {.type = "t",
        .bytes = 1337,
        .is_external = 1,
        .create = make,
        .destroy = unmake,
        .arg = &external};
    assert_ok(cistern_shared_lease(f.slot, &options, &b, &f.error), f.error);
    assert_ptr_not_equal(a.resource, b.resource);
    assert_int_equal(b.bytes, 1337);
    assert_int_equal(free_bytes(&f), 90); /* an external one reserves nothing */
    assert_ok(cistern_shared_release(&a, &f.error), f.error);
    assert_int_equal(free_bytes(&f), 100);
    assert_int_equal(external.destroyed, 0);
    assert_status(cistern_slot_close(f.slot, &f.error), CISTERN_BUSY);
    assert_ok(cistern_shared_release(&b, &f.error), f.error);
    assert_int_equal(external.destroyed, 1);
    fixture_close(&f);
}

static void the_same_holder_twice_is_one_lease(void **state)
{
    (void)state;
    struct pool_fixture f;
    struct factory t = {0};
    int one;
    int two;
    struct cistern_lease first = {0};
    struct cistern_lease again = {0};
    struct cistern_lease other = {0};
    open_100(&f);
    assert_ok(lease(&f, &t, "t", 20, &one, &first), f.error);
    assert_ok(lease(&f, &t, "t", 30, &one, &again), f.error);
    assert_int_equal(first.id, again.id);
    assert_ok(lease(&f, &t, "t", 40, &two, &other), f.error);
    assert_int_equal(cistern_shared_lease_count(f.slot, "t", 0), 2);
    assert_ok(cistern_shared_release(&again, &f.error), f.error);
    assert_ok(cistern_shared_release(&first, &f.error), f.error); /* has ended */
    assert_int_equal(cistern_shared_lease_count(f.slot, "t", 0), 1);
    assert_int_equal(t.destroyed, 0);
    assert_ok(cistern_shared_release(&other, &f.error), f.error);
    assert_int_equal(t.destroyed, 1);
    fixture_close(&f);
}

static void types_and_slots_are_apart(void **state)
{
    (void)state;
    struct pool_fixture f;
    struct factory t = {0};
    struct factory u = {0};
    struct factory p = {0};
    struct cistern_lease leases[3] = {{0}};
    open_100(&f);
    assert_ok(lease(&f, &t, "t", 20, NULL, &leases[0]), f.error);
    assert_ok(lease(&f, &u, "u", 20, NULL, &leases[1]), f.error);
    struct cistern_slot *process = cistern_pool_process_slot(f.pool);
    p.slot = process;
    struct cistern_shared_options options = {
        .type = "t", .bytes = 4096, .create = make, .destroy = unmake, .arg = &p};
    assert_ok(cistern_shared_lease(process, &options, &leases[2], &f.error), f.error);
    assert_int_equal(t.created + u.created + p.created, 3);
    assert_int_equal(cistern_slot_used_bytes(process), 4096);
    assert_int_equal(free_bytes(&f), 60);
    for (uint32_t i = 0; i < 3; i++) {
        assert_ok(cistern_shared_release(&leases[i], &f.error), f.error);
    }
    assert_int_equal(t.destroyed + u.destroyed + p.destroyed, 3);
    assert_int_equal(cistern_slot_used_bytes(process), 0);
    fixture_close(&f);
}

static void a_failing_create_is_undone(void **state)
{
    (void)state;
    struct pool_fixture f;
    struct factory t = {.create_status = CISTERN_IO};
    struct cistern_lease lost = {0};
    open_100(&f);
    assert_status(lease(&f, &t, "t", 60, NULL, &lost), CISTERN_IO);
    assert_string_equal(f.error.message, "boom");
    assert_int_equal(t.used_in_create, 60);
    assert_int_equal(free_bytes(&f), 100);
    assert_int_equal(lost.id, 0);
    assert_int_equal(t.destroyed, 0);
    t.create_status = CISTERN_OK;
    assert_ok(lease(&f, &t, "t", 100, NULL, &lost), f.error);
    assert_ok(cistern_shared_release(&lost, &f.error), f.error);
    fixture_close(&f);
}

static void create_may_lease_other_types_not_its_own(void **state)
{
    (void)state;
    struct pool_fixture f;
    struct factory t = {.inner = "inner"};
    struct cistern_lease outer = {0};
    open_100(&f);
    assert_ok(lease(&f, &t, "t", 20, NULL, &outer), f.error);
    assert_int_equal(t.inner_status, CISTERN_OK);
    assert_int_equal(free_bytes(&f), 79);
    assert_ok(cistern_shared_release(&t.inner_lease, &f.error), f.error);
    assert_ok(cistern_shared_release(&outer, &f.error), f.error);
    t.inner = "t";
    assert_ok(lease(&f, &t, "t", 20, NULL, &outer), f.error);
    assert_int_equal(t.inner_status, CISTERN_BUSY);
    assert_ok(cistern_shared_release(&outer, &f.error), f.error);
    fixture_close(&f);
}

static void bad_options_are_named(void **state)
{
    (void)state;
    struct pool_fixture f;
    struct factory t = {0};
    struct cistern_lease none = {0};
    open_100(&f);
    assert_status(lease(&f, &t, NULL, 1, NULL, &none), CISTERN_INVALID);
    assert_status(lease(&f, &t, "", 1, NULL, &none), CISTERN_INVALID);
    assert_status(
        lease(&f, &t, "a type of thirty-two characters.", 1, NULL, &none), CISTERN_INVALID);
    assert_ok(lease(&f, &t, "a type of thirty-one characters", 1, NULL, &none), f.error);
    assert_ok(cistern_shared_release(&none, &f.error), f.error);
    assert_status(lease(&f, &t, "t", 0, NULL, &none), CISTERN_INVALID);
    assert_non_null(strstr(f.error.message, "consumer-weights"));
    struct cistern_shared_options options = {.type = "t", .bytes = 1};
    assert_status(cistern_shared_lease(f.slot, &options, &none, &f.error), CISTERN_INVALID);
    options.create = make;
    options.is_external = 2;
    assert_status(cistern_shared_lease(f.slot, &options, &none, &f.error), CISTERN_INVALID);
    assert_int_equal(t.created, 1);
    fixture_close(&f);
}

static void each_failed_allocation_leaves_nothing(void **state)
{
    (void)state;
    struct pool_fixture f;
    struct factory t = {0};
    open_100(&f);
    uint64_t before = cistern_allocation_count();
    for (uint64_t nth = 1;; nth++) {
        assert_true(nth < 20);
        struct cistern_lease got = {0};
        cistern_allocation_fail_at(nth);
        uint32_t status = lease(&f, &t, "t", 60, NULL, &got);
        int fired = cistern_allocation_failed();
        cistern_allocation_fail_at(0);
        if (status == CISTERN_OK) {
            assert_ok(cistern_shared_release(&got, &f.error), f.error);
        } else {
            assert_int_equal(status, CISTERN_NO_MEMORY);
        }
        assert_int_equal(cistern_allocation_count(), before);
        assert_int_equal(free_bytes(&f), 100);
        if (!fired) {
            assert_true(nth > 3);
            break;
        }
    }
    fixture_close(&f);
}

/* ---- threads ---- */

struct lessee {
    struct pool_fixture *f;
    struct factory *factory;
    uint32_t rounds;
    int64_t deadline_ns;
    uint32_t status;
    uint32_t wrong;
};

static void *lessee_main(void *arg)
{
    struct lessee *lessee = arg;
    struct cistern_shared_options options = {.type = "t",
        .bytes = 80,
        .create = make,
        .destroy = unmake,
        .arg = lessee->factory,
        .deadline_ns = lessee->deadline_ns};
    for (uint32_t i = 0; i < lessee->rounds; i++) {
        struct cistern_lease got = {0};
        lessee->status = cistern_shared_lease(lessee->f->slot, &options, &got, NULL);
        if (lessee->status != CISTERN_OK) {
            continue;
        }
        lessee->wrong += got.resource != lessee->factory || got.bytes != 80 ||
                         cistern_slot_used_bytes(lessee->f->slot) != 80;
        lessee->wrong += cistern_shared_release(&got, NULL) != CISTERN_OK;
    }
    return NULL;
}

static void threads_share_one_at_a_time(void **state)
{
    (void)state;
    struct pool_fixture f;
    struct factory t = {0};
    open_100(&f);
    t.slot = f.slot;
    struct lessee lessees[4];
    pthread_t threads[4];
    for (uint32_t i = 0; i < 4; i++) {
        lessees[i] =
            (struct lessee){.f = &f, .factory = &t, .rounds = 300, .deadline_ns = FOR_EVER};
        assert_int_equal(pthread_create(&threads[i], NULL, lessee_main, &lessees[i]), 0);
    }
    for (uint32_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(lessees[i].status, CISTERN_OK);
        assert_int_equal(lessees[i].wrong, 0);
    }
    assert_int_equal(t.created, t.destroyed);
    assert_true(t.created >= 1);
    assert_int_equal(atomic_load(&t.overlaps), 0);
    assert_int_equal(free_bytes(&f), 100);
    fixture_close(&f);
}

/* While one thread creates, another is refused at once, or at its deadline, or gets the result. */
static void who_comes_meanwhile_waits_as_asked(void **state)
{
    (void)state;
    struct pool_fixture f;
    struct factory t = {.pause_ns = 200000000};
    open_100(&f);
    t.slot = f.slot;
    struct lessee maker = {.f = &f, .factory = &t, .rounds = 1};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, lessee_main, &maker), 0);
    while (atomic_load(&t.inside) == 0) {
        cistern_sleep_ns(100000);
    }
    struct cistern_lease none = {0};
    struct cistern_shared_options options = {
        .type = "t", .bytes = 80, .create = make, .destroy = unmake, .arg = &t};
    assert_status(cistern_shared_lease(f.slot, &options, &none, &f.error), CISTERN_BUSY);
    options.deadline_ns = cistern_now_ns() + 1000000;
    assert_status(cistern_shared_lease(f.slot, &options, &none, &f.error), CISTERN_TIMEOUT);
    options.deadline_ns = FOR_EVER;
    assert_ok(cistern_shared_lease(f.slot, &options, &none, &f.error), f.error);
    pthread_join(thread, NULL);
    assert_int_equal(maker.wrong, 0);
    assert_ok(cistern_shared_release(&none, &f.error), f.error);
    assert_int_equal(t.created, t.destroyed);
    fixture_close(&f);
}

struct releaser {
    _Atomic uint32_t is_held; /* 1: the lease is the thread's to release */
    _Atomic uint32_t stop;
    struct cistern_lease lease;
};

static void *release_what_comes(void *arg)
{
    struct releaser *releaser = arg;
    while (!atomic_load(&releaser->stop)) {
        if (!atomic_load(&releaser->is_held)) {
            sched_yield();
            continue;
        }
        (void)!cistern_shared_release(&releaser->lease, NULL);
        atomic_store(&releaser->is_held, 0);
    }
    return NULL;
}

/* A slot that could be closed has no resource left, however recently the last lease ended: who
 * opens it next finds the type free. */
static void a_slot_that_closes_has_no_resource(void **state)
{
    (void)state;
    struct pool_fixture f;
    struct releaser releaser = {0};
    struct factory factory = {0};
    struct cistern_slot_options options = {
        .limit_bytes = 8 * FIXTURE_MIB, .debt_max_bytes = FIXTURE_MIB};
    struct cistern_shared_options shared = {
        .type = "cache", .bytes = 1000, .create = make, .destroy = unmake, .arg = &factory};
    pthread_t thread;
    uint64_t busy = 0;
    fixture_open(&f, 64 * FIXTURE_MIB, 8 * FIXTURE_MIB, FIXTURE_MIB);
    assert_int_equal(pthread_create(&thread, NULL, release_what_comes, &releaser), 0);
    for (uint64_t i = test_rounds(10000); i > 0; i--) {
        struct cistern_slot *slot;
        struct cistern_lease second = {0};
        assert_ok(cistern_slot_open(f.pool, &options, &slot, &f.error), f.error);
        factory.slot = slot;
        assert_ok(cistern_shared_lease(slot, &shared, &releaser.lease, &f.error), f.error);
        atomic_store(&releaser.is_held, 1);
        while (cistern_slot_close(slot, NULL) != CISTERN_OK) {
        }
        assert_ok(cistern_slot_open(f.pool, &options, &slot, &f.error), f.error);
        busy += cistern_shared_lease(slot, &shared, &second, NULL) != CISTERN_OK;
        while (atomic_load(&releaser.is_held)) {
            sched_yield();
        }
        assert_ok(cistern_shared_release(&second, &f.error), f.error);
        assert_ok(cistern_slot_close(slot, &f.error), f.error);
    }
    atomic_store(&releaser.stop, 1);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(busy, 0);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vector_transcript),
        cmocka_unit_test(managed_and_external_are_apart),
        cmocka_unit_test(the_same_holder_twice_is_one_lease),
        cmocka_unit_test(types_and_slots_are_apart),
        cmocka_unit_test(a_failing_create_is_undone),
        cmocka_unit_test(create_may_lease_other_types_not_its_own),
        cmocka_unit_test(bad_options_are_named),
        cmocka_unit_test(each_failed_allocation_leaves_nothing),
        cmocka_unit_test(threads_share_one_at_a_time),
        cmocka_unit_test(who_comes_meanwhile_waits_as_asked),
        cmocka_unit_test(a_slot_that_closes_has_no_resource),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
