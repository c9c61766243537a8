/*
 * held_soak.c -- the bound with everything held at once: RocksDB in two slots of one budget of
 * 256 MiB, 50 kB values in two states each, sixty cursors open in each slot, a snapshot in flight
 * all the time, reads and writes going on.
 *
 *   held_soak [SECONDS]
 *
 * Exit 1: resident growth above budget + 2 MiB, an operation that failed or took longer than a
 * second, a wrong value. Under a cgroup that would kill it, where one may be made.
 */
#include "jail.h"

#include "cistern/backend.h"
#include "cistern/clock.h"
#include "cistern/pool.h"
#include "cistern/rocks.h"
#include "cistern/snapshot.h"

#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define BUDGET_BYTES (256 * MIB)
#define TOLERANCE_BYTES (2 * MIB)
#define SLOT_COUNT 2
#define STATE_COUNT 2
#define CURSOR_COUNT 60
#define KEY_COUNT 3000 /* of each state: 150 MB */
#define VALUE_BYTES 50000
#define SECOND_NS INT64_C(1000000000)
#define PART_EACH_NS (SECOND_NS / 10) /* a slow store takes a file of the snapshot each so often */

const char *malloc_conf; /* read by jemalloc before main */
const char *malloc_conf =
    "narenas:4,muzzy_decay_ms:0,oversize_threshold:0,retain:false,dirty_decay_ms:100";

struct owner {
    struct cistern_slot *slot;
    const char *directory;
    uint32_t index;
    int64_t end_ns;
    uint64_t random;
    struct cistern_backend *backend;
    struct cistern_state *states[STATE_COUNT];
    struct cistern_cursor *cursors[CURSOR_COUNT];
    struct cistern_snapshot *snapshot;
    uint64_t checkpoint_id;
    int64_t next_part_ns;
    uint64_t operation_count;
    int64_t longest_ns;
    uint64_t snapshot_count;
    uint8_t *value;
    struct cistern_error error;
    char failure[640]; /* empty: none */
};

static int fail(struct owner *owner, const char *what)
{
    if (owner->failure[0] == '\0') {
        snprintf(owner->failure, sizeof owner->failure, "slot %u: %s: %s %s (%s)", owner->index + 1,
            what, cistern_status_name(owner->error.status), owner->error.message,
            owner->error.object);
    }
    return 0;
}

static uint64_t next_random(struct owner *owner)
{
    owner->random = owner->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return owner->random >> 33;
}

static struct cistern_address address_of(uint32_t *key)
{
    struct cistern_span span = {key, sizeof *key};
    return (struct cistern_address){.key = span, .key_group = cistern_key_group_bytes(span, 128)};
}

static int put(struct owner *owner, struct cistern_state *state, uint32_t key)
{
    struct cistern_address address = address_of(&key);
    uint64_t word = next_random(owner);
    for (uint32_t i = 0; i < VALUE_BYTES; i += 8) { /* not to be compressed */
        word = word * UINT64_C(6364136223846793005) + 1;
        memcpy(owner->value + i, &word, 8);
    }
    memcpy(owner->value, &key, sizeof key);
    return cistern_value_put(state, &address, (struct cistern_span){owner->value, VALUE_BYTES},
               &owner->error) == CISTERN_OK ||
           fail(owner, "put");
}

static int check(struct owner *owner, uint32_t key, struct cistern_span value)
{
    return (value.bytes == VALUE_BYTES && memcmp(value.data, &key, sizeof key) == 0) ||
           fail(owner, "a wrong value came back");
}

static int get(struct owner *owner, struct cistern_state *state, uint32_t key)
{
    struct cistern_address address = address_of(&key);
    struct cistern_span value;
    return cistern_value_get(state, &address, &value, &owner->error) == CISTERN_OK
               ? check(owner, key, value)
               : fail(owner, "get");
}

/* A cursor at its end makes place for a new one: as many stay open. */
static int cursor_step(struct owner *owner, uint32_t at)
{
    struct cistern_entry entries[4];
    uint32_t count;
    if (cistern_cursor_next(owner->cursors[at], entries, 4, &count, &owner->error) != CISTERN_OK) {
        return fail(owner, "cursor next");
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t key;
        memcpy(&key, entries[i].address.key.data, sizeof key);
        if (!check(owner, key, entries[i].value)) {
            return 0;
        }
    }
    if (count > 0) {
        return 1;
    }
    cistern_cursor_close(owner->cursors[at]);
    owner->cursors[at] = NULL;
    return cistern_entries_open(
               owner->states[at % STATE_COUNT], &owner->cursors[at], &owner->error) == CISTERN_OK ||
           fail(owner, "cursor open");
}

/* Another one begins when the last is taken; its files go one by one, slowly. */
static int snapshot_step(struct owner *owner)
{
    int64_t now = cistern_now_ns();
    if (now < owner->next_part_ns) {
        return 1;
    }
    owner->next_part_ns = now + PART_EACH_NS;
    if (owner->snapshot == NULL) {
        struct cistern_snapshot_request request = {
            .checkpoint_id = ++owner->checkpoint_id, .kind = CISTERN_SNAPSHOT_FULL};
        owner->snapshot_count++;
        return cistern_snapshot_begin(owner->backend, &request, &owner->snapshot, &owner->error) ==
                   CISTERN_OK ||
               fail(owner, "snapshot begin");
    }
    struct cistern_part part;
    uint32_t status = cistern_snapshot_next(owner->snapshot, &part, &owner->error);
    if (status == CISTERN_NOT_FOUND) {
        cistern_snapshot_release(owner->snapshot);
        owner->snapshot = NULL;
        cistern_backend_notify(owner->backend, owner->checkpoint_id, CISTERN_DISCARDED);
    }
    return status == CISTERN_OK || status == CISTERN_BUSY || status == CISTERN_NOT_FOUND ||
           fail(owner, "snapshot next");
}

static int operate(struct owner *owner)
{
    uint64_t choice = next_random(owner);
    struct cistern_state *state = owner->states[choice % STATE_COUNT];
    uint32_t key = (uint32_t)(next_random(owner) % KEY_COUNT);
    switch (choice / 16 % 16) {
    case 0:
        return cursor_step(owner, (uint32_t)(choice / 256 % CURSOR_COUNT));
    case 1:
        return snapshot_step(owner);
    case 2:
    case 3:
    case 4:
    case 5:
    case 6:
        return put(owner, state, key);
    default:
        return get(owner, state, key);
    }
}

static int owner_open(struct owner *owner)
{
    struct cistern_rocks_options options = {
        .backend = {.max_parallelism = 128, .range = {0, 127}}, .directory = owner->directory};
    if (cistern_rocks_open(owner->slot, &options, &owner->backend, &owner->error) != CISTERN_OK) {
        return fail(owner, "open");
    }
    for (uint32_t i = 0; i < STATE_COUNT; i++) {
        char name[16];
        snprintf(name, sizeof name, "state-%u", i);
        struct cistern_state_descriptor descriptor = {
            .name = name, .kind = CISTERN_VALUE, .key_bytes = 4};
        if (cistern_state_register(owner->backend, &descriptor, &owner->states[i], &owner->error) !=
            CISTERN_OK) {
            return fail(owner, "register");
        }
        for (uint32_t key = 0; key < KEY_COUNT; key++) {
            if (!put(owner, owner->states[i], key)) {
                return 0;
            }
        }
    }
    for (uint32_t i = 0; i < CURSOR_COUNT; i++) {
        if (cistern_entries_open(
                owner->states[i % STATE_COUNT], &owner->cursors[i], &owner->error) != CISTERN_OK) {
            return fail(owner, "cursor open");
        }
    }
    return 1;
}

static void owner_close(struct owner *owner)
{
    for (uint32_t i = 0; i < CURSOR_COUNT; i++) {
        if (owner->cursors[i] != NULL) {
            cistern_cursor_close(owner->cursors[i]);
        }
    }
    if (owner->snapshot != NULL) {
        cistern_snapshot_release(owner->snapshot);
    }
    if (owner->backend != NULL &&
        cistern_backend_close(owner->backend, &owner->error) != CISTERN_OK) {
        fail(owner, "close");
    }
}

static void *owner_main(void *arg)
{
    struct owner *owner = arg;
    int is_fine = owner_open(owner);
    while (is_fine && cistern_now_ns() < owner->end_ns) {
        int64_t begin_ns = cistern_now_ns();
        is_fine = operate(owner);
        int64_t took_ns = cistern_now_ns() - begin_ns;
        owner->longest_ns = took_ns > owner->longest_ns ? took_ns : owner->longest_ns;
        owner->operation_count++;
    }
    owner_close(owner);
    return NULL;
}

static int report(struct cistern_pool *pool, const struct owner *owners)
{
    struct cistern_pool_usage usage;
    cistern_pool_usage(pool, &usage);
    uint64_t growth = usage.rss_peak_bytes - usage.rss_baseline_bytes;
    int is_fine = growth <= BUDGET_BYTES + TOLERANCE_BYTES;
    printf("growth %.1f MiB of %.1f MiB (anonymous %.1f), %llu overruns\n",
        (double)growth / (double)MIB, (double)BUDGET_BYTES / (double)MIB,
        (double)(usage.anon_peak_bytes - usage.anon_baseline_bytes) / (double)MIB,
        (unsigned long long)usage.overrun_count);
    for (uint32_t i = 0; i < SLOT_COUNT; i++) {
        printf("slot %u: %llu operations, the longest %.1f ms, %llu snapshots%s%s\n", i + 1,
            (unsigned long long)owners[i].operation_count, (double)owners[i].longest_ns / 1e6,
            (unsigned long long)owners[i].snapshot_count, owners[i].failure[0] != '\0' ? ": " : "",
            owners[i].failure);
        is_fine &= owners[i].failure[0] == '\0' && owners[i].longest_ns < SECOND_NS;
    }
    return is_fine;
}

static int run(const char *root, int64_t seconds)
{
    static struct owner owners[SLOT_COUNT];
    static char directories[SLOT_COUNT][64];
    pthread_t threads[SLOT_COUNT];
    struct cistern_pool *pool;
    struct cistern_error error;
    struct cistern_pool_options options = {.budget_bytes = BUDGET_BYTES,
        .slot_count_max = SLOT_COUNT,
        .accounting = CISTERN_ACCOUNTING_OWNED};
    for (uint32_t i = 0; i < SLOT_COUNT; i++) { /* before the baseline: not state */
        owners[i].value = calloc(1, VALUE_BYTES + 8);
        if (owners[i].value == NULL) {
            return 0;
        }
        memset(owners[i].value, 1, VALUE_BYTES);
    }
    if (cistern_pool_create(&options, &pool, &error) != CISTERN_OK) {
        fprintf(stderr, "held_soak: %s\n", error.message);
        return 0;
    }
    for (uint32_t i = 0; i < SLOT_COUNT; i++) {
        snprintf(directories[i], sizeof directories[i], "%s/%u", root, i);
        owners[i].directory = directories[i];
        owners[i].index = i;
        owners[i].random = i + 1;
        owners[i].end_ns = cistern_now_ns() + seconds * SECOND_NS;
        if (cistern_slot_open(pool, NULL, &owners[i].slot, &error) != CISTERN_OK ||
            pthread_create(&threads[i], NULL, owner_main, &owners[i]) != 0) {
            fprintf(stderr, "held_soak: a slot does not open\n");
            exit(1);
        }
    }
    for (uint32_t i = 0; i < SLOT_COUNT; i++) {
        pthread_join(threads[i], NULL);
        free(owners[i].value);
    }
    int is_fine = report(pool, owners);
    for (uint32_t i = 0; i < SLOT_COUNT; i++) {
        is_fine &= cistern_slot_close(owners[i].slot, &error) == CISTERN_OK;
    }
    return cistern_pool_destroy(pool, &error) == CISTERN_OK && is_fine;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info;
    (void)kind;
    (void)walk;
    return remove(path);
}

int main(int argc, char **argv)
{
    int64_t seconds = argc > 1 ? strtoll(argv[1], NULL, 10) : 60;
    char root[] = "/tmp/cistern-held-XXXXXX";
    if (seconds <= 0 || mkdtemp(root) == NULL) {
        fprintf(stderr, "usage: held_soak [SECONDS]\n");
        return 2;
    }
    const char *jail = jail_make();
    printf("cgroup: %s\n", jail[0] != '\0' ? jail : "none may be made here");
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        (void)prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (!jail_enter(BUDGET_BYTES)) {
            perror("cgroup");
            return 1;
        }
        return !run(root, seconds);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) {
        printf("ended by signal %d\n", WTERMSIG(status));
    }
    (void)nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    jail_remove();
    return status != 0;
}
