/* output_test.c -- a file appears whole or not at all; a device is written in place. */
#include "test.h"

#include "cistern/alloc.h"
#include "output.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct place {
    char directory[64];
    char target[128];
};

static struct place place_make(void)
{
    struct place place;
    snprintf(place.directory, sizeof place.directory, "/tmp/cistern-output-XXXXXX");
    assert_non_null(mkdtemp(place.directory));
    snprintf(place.target, sizeof place.target, "%s/out", place.directory);
    return place;
}

static unsigned names_in(const char *directory)
{
    DIR *open_directory = opendir(directory);
    unsigned count = 0;
    while (readdir(open_directory) != NULL) {
        count++;
    }
    closedir(open_directory);
    return count - 2;
}

static void write_words(struct output *output, unsigned count, struct cistern_error *error)
{
    for (unsigned i = 0; i < count; i++) {
        char word[16];
        uint64_t bytes = (uint64_t)snprintf(word, sizeof word, "w%06u", i);
        assert_ok(output_line(output, (struct cistern_span){word, bytes}, i, error), *error);
    }
}

static void appears_whole_at_commit(void **state)
{
    (void)state;
    struct place place = place_make();
    struct output output;
    struct cistern_error error;
    assert_ok(output_init(&output, place.target, &error), error);
    assert_int_equal(names_in(place.directory), 0);
    assert_ok(output_open(&output, &error), error);
    write_words(&output, 20000, &error);
    assert_ok(output_sync(&output, &error), error);
    assert_int_not_equal(access(place.target, F_OK), 0);
    assert_ok(output_commit(&output, &error), error);
    output_deinit(&output);
    FILE *file = fopen(place.target, "r");
    assert_non_null(file);
    unsigned word, count, lines = 0;
    while (fscanf(file, "w%u\t%u\n", &word, &count) == 2) {
        assert_int_equal(word, lines);
        assert_int_equal(count, lines);
        lines++;
    }
    assert_int_equal(fgetc(file), EOF);
    fclose(file);
    assert_int_equal(lines, 20000);
    assert_int_equal(names_in(place.directory), 1);
    unlink(place.target);
    rmdir(place.directory);
}

static void given_up_leaves_the_old_one(void **state)
{
    (void)state;
    struct place place = place_make();
    struct output output;
    struct cistern_error error;
    FILE *old = fopen(place.target, "w");
    fputs("old\n", old);
    fclose(old);
    assert_ok(output_init(&output, place.target, &error), error);
    assert_ok(output_open(&output, &error), error);
    write_words(&output, 10, &error);
    assert_ok(output_sync(&output, &error), error);
    output_deinit(&output);
    char text[8] = "";
    old = fopen(place.target, "r");
    assert_non_null(fgets(text, sizeof text, old));
    fclose(old);
    assert_string_equal(text, "old\n");
    assert_int_equal(names_in(place.directory), 1);
    unlink(place.target);
    rmdir(place.directory);
}

static void devices_are_not_replaced(void **state)
{
    (void)state;
    struct output output;
    struct cistern_error error;
    assert_ok(output_init(&output, "/dev/null", &error), error);
    assert_ok(output_open(&output, &error), error);
    write_words(&output, 10, &error);
    assert_ok(output_sync(&output, &error), error);
    assert_ok(output_commit(&output, &error), error);
    output_deinit(&output);
    struct stat stat_of;
    assert_int_equal(stat("/dev/null", &stat_of), 0);
    assert_true(S_ISCHR(stat_of.st_mode));
}

static void bad_targets_are_named(void **state)
{
    (void)state;
    struct output output;
    struct cistern_error error;
    assert_status(output_init(&output, "/nonexistent/out", &error), CISTERN_NOT_FOUND);
    assert_string_equal(error.object, "/nonexistent");
    output_deinit(&output);
    assert_status(output_init(&output, "/tmp", &error), CISTERN_INVALID);
    output_deinit(&output);
    assert_int_equal(cistern_allocation_count(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appears_whole_at_commit),
        cmocka_unit_test(given_up_leaves_the_old_one),
        cmocka_unit_test(devices_are_not_replaced),
        cmocka_unit_test(bad_targets_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
