/* conf_test.c -- Flink's configuration files: what each format makes of a text, where it says an
 * error is, and a fuzz loop over both. */
#include "conf.h"
#include "test.h"

#include "cistern/alloc.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct warned {
    char last[512];
    uint32_t count;
};

static void remember(void *arg, const char *text)
{
    struct warned *warned = arg;
    snprintf(warned->last, sizeof warned->last, "%s", text);
    warned->count++;
}

static const char *value_of(const struct conf *conf, const char *key)
{
    for (uint32_t i = conf->count; i > 0; i--) {
        if (strcmp(conf->settings[i - 1].key, key) == 0) {
            return conf->settings[i - 1].value;
        }
    }
    return "(none)";
}

static void test_the_older_file_has_its_own_rules(void **state)
{
    (void)state;
    struct warned warned = {.count = 0};
    struct conf conf = {.warn = remember, .warn_arg = &warned};
    struct cistern_error error;
    static const char text[] = "# a comment\n"
                               "\n"
                               "  taskmanager.memory.process.size :  1728m  # behind it\r\n"
                               "env.java.opts: -Dx=a: b\n"
                               "twice: 1\n"
                               "no-space:2\n"
                               "empty: \n"
                               ": 3\n"
                               "tab:\t4\n"
                               "twice: 2";
    assert_ok(conf_read_flat(&conf, "f", text, sizeof text - 1, &error), error);
    assert_int_equal(conf.count, 4);
    assert_string_equal(value_of(&conf, "taskmanager.memory.process.size"), "1728m");
    assert_string_equal(value_of(&conf, "env.java.opts"), "-Dx=a: b");
    assert_string_equal(value_of(&conf, "twice"), "2");
    assert_int_equal(conf.origins[0].line, 3);
    assert_int_equal(conf.origins[3].line, 10);
    assert_int_equal(warned.count, 4);
    assert_string_equal(
        warned.last, "f:9: skipped, as Flink does: no \": \" between key and value");
    conf_deinit(&conf);
    assert_status(conf_read_flat(&conf, "f", "a: 1\nb: \0x\n", 11, &error), CISTERN_INVALID);
    assert_string_equal(error.message, "f:2: a NUL byte: this is no text");
    conf_deinit(&conf);
}

static void test_yaml_nested_and_flat_are_one(void **state)
{
    (void)state;
    static const char nested[] = "# Flink's own layout\n"
                                 "taskmanager:\n"
                                 "  memory:\n"
                                 "    process:\n"
                                 "      size: 1728m\n"
                                 "    managed: {fraction: 0.4, 'consumer-weights': \"A:1,B:2\"}\n"
                                 "  numberOfTaskSlots: 2\n"
                                 "env.java.opts:\n"
                                 "  all: >-\n"
                                 "    --one\n"
                                 "    --two # no comment here\n"
                                 "list: [a, \"b c\"]\n"
                                 "nothing:\n"
                                 "tilde: ~\n"
                                 "quoted: 'null'\n";
    struct warned warned = {.count = 0};
    struct conf conf = {.warn = remember, .warn_arg = &warned};
    struct cistern_error error;
    assert_ok(conf_read_yaml(&conf, "y", nested, sizeof nested - 1, &error), error);
    assert_string_equal(value_of(&conf, "taskmanager.memory.process.size"), "1728m");
    assert_string_equal(value_of(&conf, "taskmanager.memory.managed.fraction"), "0.4");
    assert_string_equal(value_of(&conf, "taskmanager.memory.managed.consumer-weights"), "A:1,B:2");
    assert_string_equal(value_of(&conf, "taskmanager.numberOfTaskSlots"), "2");
    assert_string_equal(value_of(&conf, "env.java.opts.all"), "--one --two # no comment here");
    assert_string_equal(value_of(&conf, "list"), "a;b c");
    assert_string_equal(value_of(&conf, "quoted"), "null");
    assert_string_equal(value_of(&conf, "nothing"), "(none)");
    assert_int_equal(conf.origins[0].line, 5);
    assert_int_equal(warned.count, 2);
    assert_string_equal(warned.last, "y:14: tilde has no value and is skipped");
    conf_deinit(&conf);
    static const char flat[] = "taskmanager.memory.process.size: 1728m\n"
                               "base: &b {x: 1}\n"
                               "more: *b\n";
    assert_ok(conf_read_yaml(&conf, "y", flat, sizeof flat - 1, &error), error);
    assert_string_equal(value_of(&conf, "taskmanager.memory.process.size"), "1728m");
    assert_string_equal(value_of(&conf, "more.x"), "1");
    conf_deinit(&conf);
    static const char *const empty[] = {"", "\n\n", "# only this\n", "---\n", "~\n"};
    for (uint32_t i = 0; i < sizeof empty / sizeof empty[0]; i++) {
        assert_ok(conf_read_yaml(&conf, "y", empty[i], strlen(empty[i]), &error), error);
        assert_int_equal(conf.count, 0);
        conf_deinit(&conf);
    }
}

static void test_yaml_errors_name_the_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"a: 1\nb: [1\nc: 2\n", "y:3: not YAML: "},
        {"a: 1\n\tb: 2\n", "y:2: not YAML: "},
        {"a: 1\nb: 2\na: 3\n", "y:3: found duplicate key a, which line 1 has already"},
        {"a:\n  b: 1\n  b: 2\n", "y:3: found duplicate key b, which line 2 has already"},
        {"just words\n", "y:1: not a list of KEY: VALUE"},
        {"- a\n- b\n", "y:1: not a list of KEY: VALUE"},
        {"a: 1\n---\nb: 2\n", "y:3: a second document"},
        {"a: 1\n? [x]\n: 2\n", "y:2: a key that is no plain text"},
        {"a:\n - {b: 1}\n", "y:2: a list holds something that is no plain value"},
        {"a: \"x\\0y\"\n", "y:1: a NUL byte in a value"},
        {"a: \xFF\n", "y: byte 3: "},
        {"a: &a\n  b: *a\n", "y:1: nested deeper than 32 levels"},
    };
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct conf conf = {0};
        struct cistern_error error;
        uint32_t status = conf_read_yaml(&conf, "y", rows[i].text, strlen(rows[i].text), &error);
        conf_deinit(&conf);
        if (status != CISTERN_INVALID ||
            strncmp(error.message, rows[i].message, strlen(rows[i].message)) != 0) {
            fail_msg("row %u: status %u, \"%s\"", i, status, status != 0 ? error.message : "");
        }
    }
}

/* Ten aliases of ten aliases ...: few bytes that are many settings. */
static void test_aliases_cannot_explode(void **state)
{
    (void)state;
    char text[4096] = "a0: &a0 {x: 1, y: 2, z: 3}\n";
    for (uint32_t i = 1; i < 12; i++) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used,
            "a%u: &a%u {p: *a%u, q: *a%u, r: *a%u, s: *a%u}\n", i, i, i - 1, i - 1, i - 1, i - 1);
    }
    struct conf conf = {0};
    struct cistern_error error;
    assert_status(conf_read_yaml(&conf, "y", text, strlen(text), &error), CISTERN_INVALID);
    assert_true(conf.count <= CONF_ENTRIES_MAX);
    conf_deinit(&conf);
}

static void test_defines(void **state)
{
    (void)state;
    struct conf conf = {0};
    struct cistern_error error;
    assert_ok(conf_define(&conf, "a.b=c=d", &error), error);
    assert_ok(conf_define(&conf, "empty=", &error), error);
    assert_string_equal(value_of(&conf, "a.b"), "c=d");
    assert_string_equal(value_of(&conf, "empty"), "");
    assert_null(conf.origins[0].file);
    assert_status(conf_define(&conf, "a.b", &error), CISTERN_INVALID);
    assert_string_equal(error.message, "\"a.b\" is not KEY=VALUE");
    assert_status(conf_define(&conf, "=x", &error), CISTERN_INVALID);
    conf_deinit(&conf);
}

/* ---- files */

static void file_write(const char *directory, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0 && fclose(file) == 0);
}

static void file_remove(const char *directory, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    assert_int_equal(unlink(path), 0);
}

static void test_a_directory_is_searched_as_flink_does(void **state)
{
    (void)state;
    char directory[] = "/tmp/cistern-conf-XXXXXX", path[256];
    assert_non_null(mkdtemp(directory));
    struct conf conf = {0};
    struct cistern_error error;
    assert_status(conf_load(&conf, directory, &error), CISTERN_NOT_FOUND);
    conf_deinit(&conf);
    file_write(directory, "config.yaml", "a:\n  b: yaml\n");
    assert_ok(conf_load(&conf, directory, &error), error);
    assert_string_equal(value_of(&conf, "a.b"), "yaml");
    conf_deinit(&conf);
    file_write(directory, "flink-conf.yaml", "a.b: older # and this wins\n");
    assert_ok(conf_load(&conf, directory, &error), error);
    assert_string_equal(value_of(&conf, "a.b"), "older");
    snprintf(path, sizeof path, "%s/flink-conf.yaml", directory);
    assert_string_equal(conf.file, path);
    conf_deinit(&conf);
    snprintf(path, sizeof path, "%s/config.yaml", directory);
    assert_ok(conf_load(&conf, path, &error), error);
    assert_string_equal(value_of(&conf, "a.b"), "yaml");
    conf_deinit(&conf);
    file_write(directory, "config.yaml", "a:\n  b: [\n");
    assert_status(conf_load(&conf, path, &error), CISTERN_INVALID);
    assert_string_equal(error.object, path);
    conf_deinit(&conf);
    file_remove(directory, "config.yaml");
    assert_status(conf_load(&conf, path, &error), CISTERN_NOT_FOUND);
    conf_deinit(&conf);
    assert_status(conf_load(&conf, "/dev/zero", &error), CISTERN_INVALID);
    assert_string_equal(error.message, "more than 4 MiB is no configuration");
    conf_deinit(&conf);
    file_remove(directory, "flink-conf.yaml");
    assert_int_equal(rmdir(directory), 0);
}

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    char directory[] = "/tmp/cistern-conf-XXXXXX";
    assert_non_null(mkdtemp(directory));
    file_write(directory, "config.yaml", "a:\n  b: 1\n  c: [x, y]\n");
    uint64_t held = cistern_allocation_count();
    uint64_t nth = 0;
    for (int clean = 0; !clean;) {
        struct conf conf = {0};
        struct cistern_error error;
        cistern_allocation_fail_at(++nth);
        uint32_t status = conf_load(&conf, directory, &error);
        if (status == CISTERN_OK) {
            status = conf_define(&conf, "d=2", &error);
        }
        clean = !cistern_allocation_failed();
        cistern_allocation_fail_at(0);
        assert_int_equal(status, clean ? CISTERN_OK : CISTERN_NO_MEMORY);
        conf_deinit(&conf);
        assert_int_equal(cistern_allocation_count(), held);
    }
    assert_true(nth > 8);
    file_remove(directory, "config.yaml");
    assert_int_equal(rmdir(directory), 0);
}

/* ---- any bytes: a list or an error, no leak, no read outside (sanitizer builds) */

static const char seed_text[] = "taskmanager:\n"
                                "  memory: &m\n"
                                "    process.size: 1728m # c\n"
                                "    managed: {fraction: 0.4, size: ~}\n"
                                "other: [a, 'b', \"c\\x41\"]\n"
                                "again: *m\n"
                                "text: |\n"
                                "  lines\n"
                                "? key\n"
                                ": value\n";

static void both_read(const char *text, uint64_t bytes, uint32_t *ret_good)
{
    /* a copy of the exact length, so that one byte too far is seen */
    char *exact = malloc(bytes > 0 ? bytes : 1);
    assert_non_null(exact);
    memcpy(exact, text, bytes);
    struct cistern_error error;
    for (uint32_t i = 0; i < 2; i++) {
        struct conf conf = {0};
        uint32_t status = i == 0 ? conf_read_flat(&conf, "f", exact, bytes, &error)
                                 : conf_read_yaml(&conf, "y", exact, bytes, &error);
        assert_true(status == CISTERN_OK || status == CISTERN_INVALID);
        if (status == CISTERN_OK) {
            struct cistern_process_spec spec;
            (void)!cistern_process_spec_derive(conf.settings, conf.count, &spec, NULL, NULL);
            *ret_good += i;
        }
        conf_deinit(&conf);
    }
    free(exact);
}

static void test_any_bytes_are_a_list_or_an_error(void **state)
{
    (void)state;
    uint64_t seed = test_seed("tools_conf_test", 7);
    uint64_t held = cistern_allocation_count();
    static const char marks[] = "\n\t :#-?*&![]{}|>'\",%@`~\\0a.\xC3\x00\xFE";
    uint32_t good = 0;
    uint64_t rounds = test_rounds(20000);
    for (uint64_t round = 0; round < rounds; round++) {
        char text[512];
        uint64_t bytes = sizeof seed_text - 1;
        memcpy(text, seed_text, bytes);
        if (round % 4 == 0) { /* noise */
            bytes = test_random(&seed) % 200;
            for (uint64_t i = 0; i < bytes; i++) {
                text[i] = marks[test_random(&seed) % (sizeof marks - 1)];
            }
        }
        uint32_t edits = (uint32_t)(test_random(&seed) % 4);
        for (uint32_t i = 0; i < edits && bytes > 2; i++) {
            uint64_t at = test_random(&seed) % bytes, length = test_random(&seed) % (bytes - at);
            switch (test_random(&seed) % 4) {
            case 0:
                text[at] = marks[test_random(&seed) % (sizeof marks - 1)];
                break;
            case 1:
                text[at] = (char)test_random(&seed);
                break;
            case 2: /* cut */
                memmove(text + at, text + at + length, bytes - at - length);
                bytes -= length;
                break;
            default: /* repeat */
                length = length < sizeof text - bytes ? length : sizeof text - bytes;
                memmove(text + at + length, text + at, bytes - at);
                bytes += length;
            }
        }
        both_read(text, bytes, &good);
    }
    assert_int_equal(cistern_allocation_count(), held);
    assert_true(good > 500); /* not everything stops at the first byte */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_older_file_has_its_own_rules),
        cmocka_unit_test(test_yaml_nested_and_flat_are_one),
        cmocka_unit_test(test_yaml_errors_name_the_line),
        cmocka_unit_test(test_aliases_cannot_explode),
        cmocka_unit_test(test_defines),
        cmocka_unit_test(test_a_directory_is_searched_as_flink_does),
        cmocka_unit_test(test_every_allocation_may_fail),
        cmocka_unit_test(test_any_bytes_are_a_list_or_an_error),
    };
    return cmocka_run_group_tests_name("conf", tests, NULL, NULL);
}
