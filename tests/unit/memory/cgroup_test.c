/* cgroup_test.c -- the limit a process runs under, read from trees of files as kernels and
 * containers show them; pressure stall information. */
#include "support/tree.h"

#include "cistern/cgroup.h"

#define GIB (UINT64_C(1) << 30)
#define V2_MOUNT "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
#define OTHER_MOUNTS                                                                               \
    "22 27 0:21 / /proc rw,relatime - proc proc rw\n"                                              \
    "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"

static struct cistern_cgroup read_ok(const struct tree *tree)
{
    struct cistern_error error;
    struct cistern_cgroup cgroup;
    memset(&cgroup, 0xAA, sizeof cgroup);
    assert_ok(cistern_cgroup_read(tree->root, &cgroup, &error), error);
    return cgroup;
}

static void assert_limit_file(
    const struct tree *tree, const struct cistern_cgroup *cgroup, const char *path)
{
    char whole[600];
    snprintf(whole, sizeof whole, "%s%s", tree->root, path);
    assert_string_equal(cgroup->limit_file, whole);
}

static void no_control_groups(void **state)
{
    (void)state;
    struct tree tree;
    tree_open(&tree);
    struct cistern_cgroup cgroup = read_ok(&tree);
    assert_int_equal(cgroup.version, 0);
    assert_true(cgroup.limit_bytes == UINT64_MAX && cgroup.kill_bytes == UINT64_MAX);
    assert_string_equal(cgroup.limit_file, "");
    tree_write(&tree, "/proc/self/cgroup", "0::/a\n"); /* but it is mounted nowhere */
    tree_write(&tree, "/proc/self/mountinfo", OTHER_MOUNTS);
    assert_int_equal(read_ok(&tree).version, 0);
    tree_close(&tree);
}

static void v2_takes_the_lowest_of_all_levels(void **state)
{
    (void)state;
    struct tree tree;
    tree_open(&tree);
    tree_write(&tree, "/proc/self/cgroup", "0::/kube/pod/worker\n");
    tree_write(&tree, "/proc/self/mountinfo", OTHER_MOUNTS V2_MOUNT);
    tree_write(&tree, "/sys/fs/cgroup/kube/pod/worker/memory.max", "max\n");
    tree_write(&tree, "/sys/fs/cgroup/kube/pod/worker/memory.current", "123456789\n");
    struct cistern_cgroup cgroup = read_ok(&tree);
    assert_int_equal(cgroup.version, 2);
    assert_true(cgroup.limit_bytes == UINT64_MAX);
    assert_int_equal(cgroup.current_bytes, 123456789);
    tree_write(&tree, "/sys/fs/cgroup/kube/pod/worker/memory.max", "8589934592\n");
    tree_write(&tree, "/sys/fs/cgroup/kube/pod/memory.max", "4294967296\n");
    tree_write(&tree, "/sys/fs/cgroup/kube/pod/memory.stat",
        "anon 1000\nfile 5000\nshmem 24\nanon_thp 7\n");
    tree_write(&tree, "/sys/fs/cgroup/kube/memory.max", "6442450944\n");
    cgroup = read_ok(&tree);
    assert_int_equal(cgroup.limit_bytes, 4 * GIB);
    assert_int_equal(cgroup.kill_bytes, 4 * GIB);
    assert_int_equal(cgroup.is_throttle, 0);
    assert_int_equal(cgroup.pinned_bytes, 1024);
    assert_limit_file(&tree, &cgroup, "/sys/fs/cgroup/kube/pod/memory.max");
    tree_write(&tree, "/sys/fs/cgroup/kube/memory.high", "3221225472\n");
    cgroup = read_ok(&tree);
    assert_int_equal(cgroup.limit_bytes, 3 * GIB);
    assert_int_equal(cgroup.kill_bytes, 4 * GIB);
    assert_int_equal(cgroup.is_throttle, 1);
    assert_int_equal(cgroup.pinned_bytes, 0); /* of that level: not known */
    assert_limit_file(&tree, &cgroup, "/sys/fs/cgroup/kube/memory.high");
    /* others in a group above leave less than the lowest limit does */
    tree_write(&tree, "/sys/fs/cgroup/kube/memory.stat", "anon 200\nshmem 0\n");
    assert_int_equal(read_ok(&tree).pinned_bytes, 200);
    tree_write(&tree, "/sys/fs/cgroup/kube/pod/memory.stat", "anon 3221225472\nshmem 0\n");
    assert_int_equal(read_ok(&tree).pinned_bytes, 2 * GIB); /* 1 of 4 GiB is left, so 1 of 3 */
    tree_write(&tree, "/sys/fs/cgroup/kube/memory.stat", "anon 3221225472\nshmem 5\n");
    assert_int_equal(read_ok(&tree).pinned_bytes, 3 * GIB + 5);
    tree_write(&tree, "/sys/fs/cgroup/kube/pod/memory.max", "3221225472\n"); /* equal limits */
    tree_write(&tree, "/sys/fs/cgroup/kube/pod/memory.stat", "anon 1000\nshmem 24\n");
    assert_int_equal(read_ok(&tree).pinned_bytes, 3 * GIB + 5);
    tree_write(&tree, "/sys/fs/cgroup/memory.max", "0\n"); /* the mount itself counts too */
    assert_int_equal(read_ok(&tree).limit_bytes, 0);
    tree_close(&tree);
}

static void v2_in_a_container(void **state)
{
    (void)state;
    static const char *const groups[] = {
        "0::/\n",                           /* a namespace of its own */
        "0::/../../other\n",                /* seen from another's namespace */
        "0::/system.slice/docker-1.scope\n" /* the host's name, not mounted here */
    };
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        struct tree tree;
        tree_open(&tree);
        tree_write(&tree, "/proc/self/cgroup", groups[i]);
        tree_write(&tree, "/proc/self/mountinfo", V2_MOUNT);
        tree_write(&tree, "/sys/fs/cgroup/memory.max", "2147483648\n");
        assert_int_equal(read_ok(&tree).limit_bytes, 2 * GIB);
        tree_close(&tree);
    }
}

static void a_mount_is_where_mountinfo_says(void **state)
{
    (void)state;
    struct tree tree;
    tree_open(&tree);
    tree_write(&tree, "/proc/self/cgroup", "0::/in/worker\n");
    tree_write(&tree, "/proc/self/mountinfo",
        "31 23 0:26 /elsewhere /not/this rw - cgroup2 cgroup2 rw\n"
        "32 23 0:26 /in /my\\040groups rw master:1 propagate_from:2 - cgroup2 cgroup2 rw\n");
    tree_write(&tree, "/my groups/worker/memory.max", "1073741824\n");
    tree_write(&tree, "/not/this/memory.max", "1\n");
    struct cistern_cgroup cgroup = read_ok(&tree);
    assert_int_equal(cgroup.limit_bytes, GIB);
    assert_limit_file(&tree, &cgroup, "/my groups/worker/memory.max");
    tree_close(&tree);
}

#define V1_UNLIMITED "9223372036854771712\n"
#define V1_MOUNTS                                                                                  \
    OTHER_MOUNTS "34 31 0:31 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"                        \
                 "35 31 0:32 / /cg/memory rw - cgroup cgroup rw,memory\n"                          \
                 "41 31 0:38 / /cg/unified rw - cgroup2 cgroup2 rw\n"

static void v1_goes_up_while_hierarchical(void **state)
{
    (void)state;
    struct tree tree;
    tree_open(&tree);
    tree_write(&tree, "/proc/self/cgroup", "9:cpuacct,cpu:/\n4:memory:/a/b\n0::/x\n");
    tree_write(&tree, "/proc/self/mountinfo", V1_MOUNTS);
    tree_write(&tree, "/cg/memory/a/b/memory.limit_in_bytes", V1_UNLIMITED);
    tree_write(&tree, "/cg/memory/a/b/memory.usage_in_bytes", "4096\n");
    tree_write(&tree, "/cg/unified/x/memory.max", "1\n"); /* v1 has the controller */
    struct cistern_cgroup cgroup = read_ok(&tree);
    assert_int_equal(cgroup.version, 1);
    assert_true(cgroup.limit_bytes == UINT64_MAX);
    assert_int_equal(cgroup.current_bytes, 4096);
    tree_write(&tree, "/cg/memory/a/memory.limit_in_bytes", "1073741824\n");
    tree_write(&tree, "/cg/memory/a/memory.use_hierarchy", "1\n");
    tree_write(&tree, "/cg/memory/a/memory.stat",
        "rss 1\ntotal_rss 5000\ntotal_shmem 120\nhierarchical_memory_limit 1073741824\n");
    cgroup = read_ok(&tree);
    assert_int_equal(cgroup.limit_bytes, GIB);
    assert_int_equal(cgroup.pinned_bytes, 5120);
    assert_limit_file(&tree, &cgroup, "/cg/memory/a/memory.limit_in_bytes");
    tree_write(&tree, "/cg/memory/a/memory.use_hierarchy", "0\n");
    assert_true(read_ok(&tree).limit_bytes == UINT64_MAX);
    /* a limit above what is mounted shows in memory.stat only */
    tree_write(&tree, "/cg/memory/a/b/memory.stat", "hierarchical_memory_limit 536870912\n");
    assert_int_equal(read_ok(&tree).limit_bytes, GIB / 2);
    tree_close(&tree);
}

static void v1_in_a_container(void **state)
{
    (void)state;
    static const char *const mounts[] = {
        "35 31 0:32 /docker/1 /cg/memory ro - cgroup cgroup rw,memory\n", /* its own part */
        "35 31 0:32 /docker/2 /cg/memory ro - cgroup cgroup rw,memory\n", /* outside of it */
        "35 31 0:32 / /cg/memory ro - cgroup cgroup rw,memory\n" /* the host's name */};
    for (size_t i = 0; i < sizeof mounts / sizeof mounts[0]; i++) {
        struct tree tree;
        tree_open(&tree);
        tree_write(&tree, "/proc/self/cgroup", "4:memory:/docker/1\n");
        tree_write(&tree, "/proc/self/mountinfo", mounts[i]);
        tree_write(&tree, "/cg/memory/memory.limit_in_bytes", "1073741824\n");
        struct cistern_cgroup cgroup = read_ok(&tree);
        assert_int_equal(cgroup.version, 1);
        assert_int_equal(cgroup.limit_bytes, GIB);
        tree_close(&tree);
    }
}

static void what_is_no_limit_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "12x\n", "", "-1\n", "maximum\n", "1 2\n", "99999999999999999999999\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct cistern_error error;
        struct cistern_cgroup cgroup = {.version = 77};
        struct tree tree;
        tree_open(&tree);
        tree_write(&tree, "/proc/self/cgroup", "0::/\n");
        tree_write(&tree, "/proc/self/mountinfo", V2_MOUNT);
        tree_write(&tree, "/sys/fs/cgroup/memory.max", texts[i]);
        assert_status(cistern_cgroup_read(tree.root, &cgroup, &error), CISTERN_CORRUPT);
        assert_non_null(strstr(error.object, "/sys/fs/cgroup/memory.max"));
        assert_int_equal(cgroup.version, 77);
        tree_close(&tree);
    }
}

/* Lines of any length and shape are passed over. */
static void odd_lines_are_passed_over(void **state)
{
    (void)state;
    static char text[40000];
    struct tree tree;
    tree_open(&tree);
    memset(text, 'x', 20000);
    strcpy(text + 20000, "\nnonsense\n::\n:\n0:\n4:memory\n0::/w\n");
    tree_write(&tree, "/proc/self/cgroup", text);
    strcpy(text + 20000, " - cgroup2\n - cgroup2 x y\n1 2 3 4\n\\\n" V2_MOUNT);
    tree_write(&tree, "/proc/self/mountinfo", text);
    tree_write(&tree, "/sys/fs/cgroup/w/memory.max", "4096\n");
    assert_int_equal(read_ok(&tree).limit_bytes, 4096);
    tree_close(&tree);
}

static void this_machine_can_be_read(void **state)
{
    (void)state;
    struct cistern_error error;
    struct cistern_cgroup cgroup;
    struct cistern_pressure pressure;
    assert_ok(cistern_cgroup_read(NULL, &cgroup, &error), error);
    assert_true(cgroup.version <= 2 && cgroup.limit_bytes <= cgroup.kill_bytes);
    assert_true((cgroup.limit_bytes == UINT64_MAX) == (cgroup.limit_file[0] == '\0'));
    assert_ok(cistern_pressure_read(NULL, &pressure, &error), error);
    assert_true(pressure.source <= CISTERN_PRESSURE_CGROUP);
    assert_true(pressure.full.total_us <= pressure.some.total_us);
}

/* ---- pressure ---- */

#define PRESSURE                                                                                   \
    "some avg10=12.34 avg60=1.05 avg300=100.00 total=18446744073709551615\n"                       \
    "full avg10=0.00 avg60=0.50 avg300=99.99 total=42\n"

static void pressure_of_the_group_or_the_machine(void **state)
{
    (void)state;
    struct cistern_error error;
    struct cistern_pressure pressure = {.source = 77};
    struct tree tree;
    tree_open(&tree);
    assert_ok(cistern_pressure_read(tree.root, &pressure, &error), error);
    assert_int_equal(pressure.source, CISTERN_PRESSURE_NONE);
    tree_write(&tree, "/proc/pressure/memory", PRESSURE);
    assert_ok(cistern_pressure_read(tree.root, &pressure, &error), error);
    assert_int_equal(pressure.source, CISTERN_PRESSURE_SYSTEM);
    assert_int_equal(pressure.some.average_10s, 1234);
    assert_int_equal(pressure.some.average_60s, 105);
    assert_int_equal(pressure.some.average_300s, 10000);
    assert_true(pressure.some.total_us == UINT64_MAX);
    assert_int_equal(pressure.full.average_60s, 50);
    assert_int_equal(pressure.full.average_300s, 9999);
    assert_int_equal(pressure.full.total_us, 42);
    tree_write(&tree, "/proc/self/cgroup", "0::/w\n");
    tree_write(&tree, "/proc/self/mountinfo", V2_MOUNT);
    tree_write(&tree, "/sys/fs/cgroup/w/memory.pressure",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=3\n");
    assert_ok(cistern_pressure_read(tree.root, &pressure, &error), error);
    assert_int_equal(pressure.source, CISTERN_PRESSURE_CGROUP);
    assert_int_equal(pressure.some.total_us, 7);
    tree_close(&tree);
}

static void pressure_of_another_form_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"some avg10=1.00\n",
        "some avg10=0.00 avg60=0.00 "
        "avg300=0.00 total=7\n",
        "some avg10=101.00 avg60=0.00 avg300=0.00 total=7\nfull avg10=0.00 avg60=0.00 "
        "avg300=0.00 total=7\n",
        "nothing\n"};
    struct tree tree;
    tree_open(&tree);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct cistern_error error;
        struct cistern_pressure pressure = {.source = 77};
        tree_write(&tree, "/proc/pressure/memory", texts[i]);
        assert_status(cistern_pressure_read(tree.root, &pressure, &error), CISTERN_CORRUPT);
        assert_int_equal(pressure.source, 77);
    }
    tree_close(&tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_control_groups),
        cmocka_unit_test(v2_takes_the_lowest_of_all_levels),
        cmocka_unit_test(v2_in_a_container),
        cmocka_unit_test(a_mount_is_where_mountinfo_says),
        cmocka_unit_test(v1_goes_up_while_hierarchical),
        cmocka_unit_test(v1_in_a_container),
        cmocka_unit_test(what_is_no_limit_is_refused),
        cmocka_unit_test(odd_lines_are_passed_over),
        cmocka_unit_test(this_machine_can_be_read),
        cmocka_unit_test(pressure_of_the_group_or_the_machine),
        cmocka_unit_test(pressure_of_another_form_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
