/* managed_test.c -- a budget taken from the limit that a tree of files shows. */
#include "support/tree.h"

#include "managed.h"

#define MIB (UINT64_C(1) << 20)

/* A process that holds 3 MiB, maps 20 MiB of files, in a group with a limit. */
static void tree_open_limited(struct tree *tree, const char *limit)
{
    tree_open(tree);
    tree_write(tree, "/proc/self/cgroup", "0::/w\n");
    tree_write(
        tree, "/proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    tree_write(tree, "/proc/self/status",
        "Name:\tx\nVmRSS:\t  99999 kB\nRssAnon:\t    2048 kB\nRssFile:\t 5000 kB\nRssShmem:\t    "
        "1024 kB\n");
    tree_write(tree, "/proc/self/maps",
        "10000000-11000000 r-xp 00000000 fe:00 1234 /usr/bin/cistern\n"
        "20000000-20400000 r--p 00000000 fe:00 1235 /usr/lib/a library.so (deleted)\n"
        "30000000-40000000 rw-p 00000000 00:00 0\n"
        "7ffd00000000-7ffd00100000 rw-p 00000000 00:00 0 [stack]\n");
    tree_write(tree, "/proc/meminfo", "MemTotal:       16777216 kB\nMemFree:  1 kB\n");
    tree_write(tree, "/sys/fs/cgroup/w/memory.max", limit);
}

static struct managed_room room_ok(const struct tree *tree, uint32_t slots)
{
    struct cistern_error error;
    struct managed_room room;
    assert_ok(managed_room_read(tree->root, slots, &room, &error), error);
    return room;
}

static void the_formula(void **state)
{
    (void)state;
    static const struct {
        const char *limit;
        uint64_t budget_mib;
    } rows[] = {
        /* 3 MiB held, 20 mapped, 2 to start, 1 for its slot: 26 are gone */
        {"67108864\n", 64 - 26 - 16},            /* 64 MiB */
        {"312475648\n", 298 - 26 - 16},          /* 298: the last where 16 MiB are a 16th */
        {"1073741824\n", (1024 - 26) * 16 / 17}, /* 1 GiB */
        {"44040192\n", 0},                       /* 42 MiB */
        {"1048576\n", 0},
        {"1099511627776\n", (16384 - 26) * 16 / 17} /* 1 TiB on a machine of 16 GiB */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tree tree;
        tree_open_limited(&tree, rows[i].limit);
        struct managed_room room = room_ok(&tree, 1);
        assert_int_equal(room.is_limited, 1);
        assert_int_equal(room.held_bytes, 26 * MIB);
        assert_int_equal(room.others_bytes, 0);
        assert_int_equal(room.budget_bytes, rows[i].budget_mib * MIB);
        uint64_t kept = room.budget_bytes / 16 > 16 * MIB ? room.budget_bytes / 16 : 16 * MIB;
        assert_true(room.budget_bytes == 0 ||
                    room.budget_bytes + kept + room.held_bytes <= room.limit_bytes);
        tree_close(&tree);
    }
}

static void others_and_slots_take_their_part(void **state)
{
    (void)state;
    struct tree tree;
    tree_open_limited(&tree, "268435456\n");
    tree_write(&tree, "/sys/fs/cgroup/w/memory.stat", "anon 55574528\nfile 99999999\nshmem 0\n");
    struct managed_room room = room_ok(&tree, 4);
    assert_int_equal(room.others_bytes, 50 * MIB);
    assert_int_equal(room.held_bytes, 29 * MIB);
    assert_int_equal(room.budget_bytes, (256 - 29 - 50 - 16) * MIB);
    tree_close(&tree);
}

static void auto_becomes_a_size(void **state)
{
    (void)state;
    struct cistern_error error;
    struct tree tree;
    struct run_settings settings = {.slots = 1, .managed_bytes = OPTION_SIZE_WORD};
    tree_open_limited(&tree, "268435456\n");
    assert_ok(managed_resolve(tree.root, &settings, &error), error);
    assert_int_equal(settings.managed_bytes, (256 - 26 - 16) * MIB);
    settings.managed_bytes = 1024 * MIB; /* does not fit: a warning, and what was asked for */
    assert_ok(managed_resolve(tree.root, &settings, &error), error);
    assert_int_equal(settings.managed_bytes, 1024 * MIB);
    tree_close(&tree);
}

static void auto_needs_a_limit_with_room(void **state)
{
    (void)state;
    static const struct {
        const char *limit;
        const char *says;
        uint32_t status;
    } rows[] = {{"max\n", "no control group limits", CISTERN_INVALID},
        {"50331648\n", "less than the least budget", CISTERN_INVALID},
        {"x\n", "is no limit", CISTERN_CORRUPT}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct cistern_error error;
        struct tree tree;
        struct run_settings settings = {.slots = 1, .managed_bytes = OPTION_SIZE_WORD};
        tree_open_limited(&tree, rows[i].limit);
        assert_status(managed_resolve(tree.root, &settings, &error), rows[i].status);
        assert_non_null(strstr(error.message, rows[i].says));
        assert_true(settings.managed_bytes == OPTION_SIZE_WORD);
        settings.managed_bytes = 64 * MIB; /* a size is taken all the same */
        assert_ok(managed_resolve(tree.root, &settings, &error), error);
        tree_close(&tree);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_formula),
        cmocka_unit_test(others_and_slots_take_their_part),
        cmocka_unit_test(auto_becomes_a_size),
        cmocka_unit_test(auto_needs_a_limit_with_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
