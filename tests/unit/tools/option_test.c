/* option_test.c -- the option table: parsing, suggestions, Flink's keys. */
#include "test.h"

#include "cistern/alloc.h"
#include "flink_keys.h"
#include "option.h"
#include "suggest.h"

#include <string.h>

static const struct option_table table = {run_options, RUN_OPTION_COUNT, 0, 2, "FILE"};

struct parse {
    struct run_settings settings;
    struct cistern_error error;
    uint32_t help;
    uint32_t status;
};

static void parse(struct parse *parse, const char *const *words)
{
    char *argv[16];
    int argc = 0;
    for (; words[argc] != NULL; argc++) {
        argv[argc] = (char *)(uintptr_t)words[argc];
    }
    memset(parse, 0, sizeof *parse);
    parse->status =
        option_parse(&table, argc, argv, &parse->settings.base, &parse->help, &parse->error);
}

static void forget(struct parse *parse)
{
    conf_deinit(&parse->settings.conf);
    option_settings_deinit(&table, &parse->settings.base);
}

#define PARSE(name, ...)                                                                           \
    struct parse name;                                                                             \
    parse(&name, (const char *const[]){__VA_ARGS__, NULL})

static void distance_counts_edits(void **state)
{
    (void)state;
    assert_int_equal(suggest_distance("", ""), 0);
    assert_int_equal(suggest_distance("abc", ""), 3);
    assert_int_equal(suggest_distance("abc", "abc"), 0);
    assert_int_equal(suggest_distance("chekpoint", "checkpoint"), 1);
    assert_int_equal(suggest_distance("managde", "managed"), 1);
    assert_int_equal(suggest_distance("kitten", "sitting"), 3);
    char longer[80];
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(suggest_distance("a", longer), UINT32_MAX);
}

static void nearest_is_near(void **state)
{
    (void)state;
    struct suggest suggest = suggest_begin("slot");
    suggest_offer(&suggest, "output");
    assert_null(suggest.best);
    suggest_offer(&suggest, "slots");
    suggest_offer(&suggest, "rate");
    assert_string_equal(suggest.best, "slots");
    suggest = suggest_begin("xyz");
    suggest_offer(&suggest, "io"); /* as many edits as letters: not near */
    assert_null(suggest.best);
}

static void values_are_stored(void **state)
{
    (void)state;
    PARSE(p, "--input", "a", "--input=b", "--managed", "64m", "--slots=2", "--checkpoint-interval",
        "250ms", "--takeover", "-D", "x=1", "-Dy=2", "rest");
    assert_ok(p.status, p.error);
    assert_int_equal(p.settings.inputs.count, 2);
    assert_string_equal(p.settings.inputs.items[1], "b");
    assert_int_equal(p.settings.managed_bytes, 64 << 20);
    assert_int_equal(p.settings.slots, 2);
    assert_int_equal(p.settings.checkpoint_interval_ns, 250000000);
    assert_int_equal(p.settings.takeover, 1);
    assert_int_equal(p.settings.defines.count, 2);
    assert_int_equal(p.settings.base.arguments.count, 1);
    assert_true(run_given(&p.settings, RUN_SLOTS));
    assert_false(run_given(&p.settings, RUN_RATE));
    forget(&p);
}

static void refused(const char *const *words, const char *message)
{
    struct parse p;
    parse(&p, words);
    if (p.status != CISTERN_INVALID || strstr(p.error.message, message) == NULL) {
        print_error("expected \"%s\", got %s \"%s\"\n", message, cistern_status_name(p.status),
            p.error.message);
        fail();
    }
    forget(&p);
}

static void mistakes_are_named(void **state)
{
    (void)state;
    refused((const char *const[]){"--chekpoint-every", "3", NULL},
        "unknown option --chekpoint-every; did you mean --checkpoint-every?");
    refused((const char *const[]){"--zzzzzzzzzz", NULL}, "unknown option --zzzzzzzzzz");
    refused((const char *const[]){"--slots", NULL}, "--slots needs a value: N");
    refused((const char *const[]){"--slots", "two", NULL}, "does not start with a number");
    refused((const char *const[]){"--managed", "64q", NULL}, "unknown unit");
    refused((const char *const[]){"--backend", "hep", NULL}, "did you mean heap?");
    refused((const char *const[]){"--takeover=yes", NULL}, "takes no value");
    refused((const char *const[]){"--output=", NULL}, "--output is empty");
    refused((const char *const[]){"-x", NULL}, "unknown option -x");
    refused((const char *const[]){"a", "b", "c", NULL}, "unexpected argument \"c\"");
}

static void dashes_end_options(void **state)
{
    (void)state;
    PARSE(p, "--", "--slots");
    assert_ok(p.status, p.error);
    assert_string_equal(p.settings.base.arguments.items[0], "--slots");
    forget(&p);
    PARSE(q, "--help", "--nonsense");
    assert_ok(q.status, q.error);
    assert_int_equal(q.help, 1);
    forget(&q);
}

static void flink_keys_are_aliases(void **state)
{
    (void)state;
    PARSE(p, "-Dtaskmanager.memory.managed.size=64m", "-Dtaskmanager.numberOfTaskSlots=3",
        "--slots=2", "-Dstate.backend.type=hashmap", "-Dexecution.checkpointing.interval=5 s",
        "-Dstate.checkpoints.dir=/x");
    assert_ok(p.status, p.error);
    assert_ok(flink_keys_apply(&p.settings, &p.error), p.error);
    assert_int_equal(p.settings.managed_bytes, 64 << 20);
    assert_int_equal(p.settings.slots, 2); /* the option wins */
    assert_string_equal(p.settings.backend, "heap");
    assert_int_equal(p.settings.checkpoint_interval_ns, 5000000000);
    assert_string_equal(p.settings.checkpoint_dir, "/x");
    forget(&p);
}

static void flink_key_refused(const char *define, const char *message)
{
    PARSE(p, "-D", define);
    assert_ok(p.status, p.error);
    assert_status(flink_keys_apply(&p.settings, &p.error), CISTERN_INVALID);
    if (strstr(p.error.message, message) == NULL) {
        print_error("expected \"%s\", got \"%s\"\n", message, p.error.message);
        fail();
    }
    forget(&p);
}

static void flink_mistakes_are_named(void **state)
{
    (void)state;
    flink_key_refused(
        "taskmanager.memory.manged.size=1m", "did you mean taskmanager.memory.managed.size?");
    flink_key_refused("parallelism.default=1", "unknown key parallelism.default");
    flink_key_refused("state.backend.type=forst", "not one of hashmap, rocksdb");
    flink_key_refused("state.backend.type", "is not KEY=VALUE");
    flink_key_refused("taskmanager.numberOfTaskSlots=x", "does not start with a number");
}

static void nothing_is_kept_when_memory_fails(void **state)
{
    (void)state;
    uint64_t held = cistern_allocation_count();
    for (uint64_t nth = 1;; nth++) {
        cistern_allocation_fail_at(nth);
        PARSE(p, "--input", "a", "-D", "b=c", "word");
        int failed = cistern_allocation_failed();
        cistern_allocation_fail_at(0);
        assert_int_equal(p.status, failed ? CISTERN_NO_MEMORY : CISTERN_OK);
        forget(&p);
        assert_int_equal(cistern_allocation_count(), held);
        if (!failed) {
            assert_true(nth > 3);
            return;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distance_counts_edits),
        cmocka_unit_test(nearest_is_near),
        cmocka_unit_test(values_are_stored),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(dashes_end_options),
        cmocka_unit_test(flink_keys_are_aliases),
        cmocka_unit_test(flink_mistakes_are_named),
        cmocka_unit_test(nothing_is_kept_when_memory_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
