/*
 * quota_test.c -- all interleavings of charges and grants, by a scheduler of our own.
 *
 * Each actor runs on a stack of its own and hands control back before every access of shared
 * memory. A schedule is the list of who goes next; the search walks every schedule of a scenario,
 * depth first, by replaying it from the start with the last choice that has an alternative changed.
 * What it finds is complete for sequentially consistent memory, which the quota asks for.
 */
static void scheduler_step(void);
#define QUOTA_STEP() scheduler_step()
#include "quota_private.h"

#include "test.h"

#include <string.h>
#include <ucontext.h>

#define ACTOR_COUNT_MAX 3
#define STACK_BYTES (64u << 10)
#define CHOICE_COUNT_MAX 128
#define SCHEDULE_COUNT_MAX 4000000u

struct actor {
    ucontext_t context;
    void (*run)(void);
    int is_done;
};

static struct {
    ucontext_t context;
    struct actor actors[ACTOR_COUNT_MAX];
    uint32_t actor_count;
    struct actor *current; /* NULL: not inside an actor */
    uint8_t choices[CHOICE_COUNT_MAX];
    uint8_t alternatives[CHOICE_COUNT_MAX]; /* how many actors could have gone at that point */
    uint32_t choice_count;
} scheduler;
static char stacks[ACTOR_COUNT_MAX][STACK_BYTES] __attribute__((aligned(16)));

static void scheduler_step(void)
{
    if (scheduler.current != NULL) {
        swapcontext(&scheduler.current->context, &scheduler.context);
    }
}

static void actor_main(void)
{
    scheduler.current->run();
    scheduler.current->is_done = 1;
}

/* The n-th actor that is not done. */
static struct actor *runnable(uint32_t n)
{
    for (uint32_t i = 0; i < scheduler.actor_count; i++) {
        if (!scheduler.actors[i].is_done && n-- == 0) {
            return &scheduler.actors[i];
        }
    }
    return NULL;
}

static uint32_t runnable_count(void)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < scheduler.actor_count; i++) {
        count += !scheduler.actors[i].is_done;
    }
    return count;
}

/* One schedule: the first `prefix` choices as they stand, 0 from there on. */
static void schedule_run(void (*const *runs)(void), uint32_t count, uint32_t prefix)
{
    scheduler.actor_count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct actor *actor = &scheduler.actors[i];
        memset(actor, 0, sizeof *actor);
        getcontext(&actor->context);
        actor->context.uc_stack.ss_sp = stacks[i];
        actor->context.uc_stack.ss_size = STACK_BYTES;
        actor->context.uc_link = &scheduler.context;
        actor->run = runs[i];
        makecontext(&actor->context, actor_main, 0);
    }
    uint32_t step = 0;
    for (uint32_t left = count; left > 0; left = runnable_count(), step++) {
        assert_true(step < CHOICE_COUNT_MAX);
        if (step >= prefix) {
            scheduler.choices[step] = 0;
        }
        scheduler.alternatives[step] = (uint8_t)left;
        scheduler.current = runnable(scheduler.choices[step]);
        swapcontext(&scheduler.context, &scheduler.current->context);
    }
    scheduler.current = NULL;
    scheduler.choice_count = step;
}

/* Walks every schedule: reset() before and check() after each. Returns how many there are. */
static uint32_t schedules_walk(
    void (*const *runs)(void), uint32_t count, void (*reset)(void), void (*check)(void))
{
    uint32_t walked = 0;
    uint32_t prefix = 0;
    for (;;) {
        reset();
        schedule_run(runs, count, prefix);
        check();
        assert_true(++walked < SCHEDULE_COUNT_MAX);
        uint32_t at = scheduler.choice_count;
        while (at > 0 && scheduler.choices[at - 1] + 1 == scheduler.alternatives[at - 1]) {
            at--;
        }
        if (at == 0) {
            return walked;
        }
        scheduler.choices[at - 1]++;
        prefix = at;
    }
}

/* ---------------------------------------------------------------- two slots, one budget */

#define LIMIT UINT64_C(100)
#define PIECE UINT64_C(40)

static struct quota slots[2];
static uint64_t held[ACTOR_COUNT_MAX]; /* what each actor was granted */
static int is_granted;                 /* the grant of this schedule took place */

static void slots_reset(void)
{
    memset(slots, 0, sizeof slots);
    memset(held, 0, sizeof held);
    is_granted = 0;
    for (uint32_t i = 0; i < 2; i++) {
        atomic_store(&slots[i].limit, LIMIT);
    }
}

static void check_slots(uint64_t used_first, uint64_t used_second)
{
    assert_int_equal(atomic_load(&slots[0].used), used_first);
    assert_int_equal(atomic_load(&slots[1].used), used_second);
    uint64_t total = 0;
    for (uint32_t i = 0; i < 2; i++) {
        uint64_t bound = atomic_load(&slots[i].limit) + atomic_load(&slots[i].loan);
        assert_true(atomic_load(&slots[i].used) <= bound);
        total += bound;
    }
    assert_int_equal(total, 2 * LIMIT);
}

static void charge_60_of_first(void)
{
    held[0] = quota_charge(&slots[0], 60, 0) != 0 ? 60 : 0;
}

static void charge_60_of_first_again(void)
{
    held[1] = quota_charge(&slots[0], 60, 0) != 0 ? 60 : 0;
}

static void check_one_of_two(void)
{
    check_slots(60, 0);
    assert_int_equal(held[0] + held[1], 60);
}

static void two_charges_for_one_place(void **state)
{
    (void)state;
    void (*const runs[])(void) = {charge_60_of_first, charge_60_of_first_again};
    uint32_t walked = schedules_walk(runs, 2, slots_reset, check_one_of_two);
    print_message("%u schedules\n", walked);
    assert_true(walked > 10);
}

/* Slot 0 lends PIECE to slot 1, as loan.c does it: lower, look, and only then raise. */
static void lend(void)
{
    if (quota_lower(&slots[0], &slots[0].limit, PIECE) == 0) {
        quota_raise(&slots[1].loan, PIECE);
        is_granted = 1;
    } else {
        quota_raise(&slots[0].limit, PIECE);
    }
}

static void charge_140_of_second_with_loan(void)
{
    held[1] = quota_charge(&slots[1], 140, 1) != 0 ? 140 : 0;
}

static void check_lending(void)
{
    check_slots(held[0], held[1]);
    assert_true(held[1] == 0 || is_granted);
    assert_true(held[0] == 60 || is_granted); /* refused only by the loan, never by a transient */
}

static void a_loan_against_charges(void **state)
{
    (void)state;
    void (*const runs[])(void) = {charge_60_of_first, charge_140_of_second_with_loan, lend};
    uint32_t walked = schedules_walk(runs, 3, slots_reset, check_lending);
    print_message("%u schedules\n", walked);
    assert_true(walked > 1000);
}

/* A forced and a voluntary charge: the voluntary one never passes the limit on top of the other. */
static void force_60_of_first(void)
{
    (void)quota_force(&slots[0], 60);
    quota_uncharge(&slots[0], 60);
}

static void check_forced(void)
{
    check_slots(held[0], 0);
}

static void a_forced_charge_against_a_voluntary_one(void **state)
{
    (void)state;
    void (*const runs[])(void) = {charge_60_of_first, force_60_of_first};
    uint32_t walked = schedules_walk(runs, 2, slots_reset, check_forced);
    assert_true(walked > 10);
}

/* Slot 1 holds 120 of which 20 are borrowed cache; slot 0 takes its 40 back while slot 1 charges
 * 20 with and gives 30 back. The cache of slot 1 may be refused while the recall looks. */
static void recall_reset(void)
{
    slots_reset();
    atomic_store(&slots[0].limit, LIMIT - PIECE);
    atomic_store(&slots[1].loan, PIECE);
    atomic_store(&slots[1].used, 120);
}

static void recall(void)
{
    uint64_t over = quota_lower(&slots[1], &slots[1].loan, PIECE);
    if (over == 0) {
        quota_raise(&slots[0].limit, PIECE);
        is_granted = 1;
    } else {
        quota_raise(&slots[1].loan, PIECE);
    }
}

static void uncharge_30_charge_20(void)
{
    quota_uncharge(&slots[1], 30);
    held[1] = quota_charge(&slots[1], 20, 1) != 0 ? 20 : 0;
}

static void check_recall(void)
{
    check_slots(held[0], 90 + held[1]);
    assert_true(held[0] == 0 || is_granted); /* 90 fit only with the piece back */
}

static void charge_90_of_first(void)
{
    held[0] = quota_charge(&slots[0], 90, 0) != 0 ? 90 : 0;
}

static void a_recall_against_charges(void **state)
{
    (void)state;
    void (*const runs[])(void) = {charge_90_of_first, uncharge_30_charge_20, recall};
    uint32_t walked = schedules_walk(runs, 3, recall_reset, check_recall);
    print_message("%u schedules\n", walked);
    assert_true(walked > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_charges_for_one_place),
        cmocka_unit_test(a_forced_charge_against_a_voluntary_one),
        cmocka_unit_test(a_loan_against_charges),
        cmocka_unit_test(a_recall_against_charges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
