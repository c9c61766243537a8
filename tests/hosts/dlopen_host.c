/*
 * dlopen_host.c -- a program with fifty threads that loads cistern late, twice over.
 *
 *   dlopen_host LIBRARY
 *
 * Nothing of cistern is linked in. Checks: it loads; a forked child neither doubles memory nor
 * hurts; after close the bytes are back and no thread of ours is left; a second life works.
 */
#include <dlfcn.h>
#include <ftw.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREAD_COUNT 50
#define MIB (UINT64_C(1) << 20)
#define KEPT_BYTES_MAX (8 * MIB) /* glibc's arenas and RocksDB's process-wide rest after a close */

static const char *(*open_guest)(const char *);
static const char *(*load_guest)(uint32_t);
static const char *(*check_guest)(uint32_t);
static const char *(*modes_guest)(void);
static const char *(*close_guest)(void);
static uint64_t (*budget_guest)(void);

static void *idle(void *arg)
{
    pthread_barrier_wait(arg);
    pause();
    return NULL;
}

static void die(const char *what, const char *text)
{
    fprintf(stderr, "dlopen_host: %s: %s\n", what, text);
    exit(1);
}

static void expect_fine(const char *what, const char *text)
{
    if (text != NULL) {
        die(what, text);
    }
}

/* POSIX says that a function's address may travel through an object pointer. */
static void symbol_find(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);
    if (symbol == NULL) {
        die(name, dlerror());
    }
    memcpy(function, &symbol, sizeof symbol);
}

static uint64_t anonymous_bytes(void)
{
    char line[256];
    uint64_t total = 0;
    FILE *file = fopen("/proc/self/status", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        unsigned long long kib;
        if (sscanf(line, "RssAnon: %llu kB", &kib) == 1 ||
            sscanf(line, "RssShmem: %llu kB", &kib) == 1) {
            total += kib << 10;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return total;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info;
    (void)kind;
    (void)walk;
    return remove(path);
}

/* Threads whose name begins with "cistern". */
static int count_thread(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info;
    (void)kind;
    const char *name = path + walk->base;
    char text[32] = "";
    FILE *file = strcmp(name, "comm") == 0 ? fopen(path, "re") : NULL;
    if (file == NULL) {
        return 0;
    }
    int is_ours = fgets(text, sizeof text, file) != NULL && strncmp(text, "cistern", 7) == 0;
    fclose(file);
    return is_ours ? 2 : 0;
}

/* A child of a threaded host: the stores' ranges are not in it. */
static void fork_once(uint64_t budget)
{
    pid_t child = fork();
    if (child == 0) {
        _exit(anonymous_bytes() > budget ? 1 : 0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (status != 0) {
        die("fork", "the child holds the stores' memory, or died");
    }
}

static void live_once(uint32_t life, uint64_t before)
{
    char directory[] = "/tmp/cistern-host-XXXXXX";
    if (mkdtemp(directory) == NULL) {
        die("mkdtemp", directory);
    }
    expect_fine("open", open_guest(directory));
    if (strcmp(modes_guest(), "allocator=own accounting=guest") != 0) {
        die("modes", modes_guest());
    }
    expect_fine("load", load_guest(life));
    fork_once(budget_guest());
    expect_fine("check", check_guest(life));
    uint64_t held = anonymous_bytes() - before;
    printf("life %u: anonymous growth %.1f MiB of %.1f MiB\n", life, (double)held / (double)MIB,
        (double)budget_guest() / (double)MIB);
    /* guest accounting models RocksDB's malloc: its bound is stated with a factor, not exact */
    if (held > budget_guest() + budget_guest() / 8) {
        die("memory", "more than the budget and an eighth");
    }
    expect_fine("close", close_guest());
    (void)nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

int main(int argc, char **argv)
{
    pthread_barrier_t started;
    pthread_barrier_init(&started, NULL, THREAD_COUNT + 1);
    for (uint32_t i = 0; i < THREAD_COUNT; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, idle, &started) != 0) {
            die("pthread_create", "refused");
        }
    }
    pthread_barrier_wait(&started);
    void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (library == NULL) {
        die("dlopen", argc == 2 ? dlerror() : "usage: dlopen_host LIBRARY");
    }
    symbol_find(library, "guest_open", &open_guest);
    symbol_find(library, "guest_load", &load_guest);
    symbol_find(library, "guest_check", &check_guest);
    symbol_find(library, "guest_modes", &modes_guest);
    symbol_find(library, "guest_close", &close_guest);
    symbol_find(library, "guest_budget_bytes", &budget_guest);
    uint64_t before = anonymous_bytes();
    for (uint32_t life = 1; life <= 2; life++) {
        live_once(life, before);
    }
    uint64_t after = anonymous_bytes();
    printf(
        "after close: %.1f MiB more than before\n", ((double)after - (double)before) / (double)MIB);
    if (after > before + KEPT_BYTES_MAX) {
        die("close", "bytes did not come back");
    }
    if (nftw("/proc/self/task", count_thread, 16, FTW_PHYS) != 0) {
        die("close", "a thread of cistern is left");
    }
    return 0;
}
