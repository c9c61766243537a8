/*
 * store_lock.c -- LOCK: keeps two writers of one host apart with a sentence instead of a fencing.
 *
 * The lock is an open-file-description lock: the kernel releases it at kill -9, and a forked child
 * shares it. It works on the file system itself, not through the io: the simulated disk has no
 * processes to keep apart.
 */
#include "store_internal_private.h"

#include "cistern/error.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOCK_TEXT_BYTES_MAX 400u

static void boot_id_read(char boot[64])
{
    snprintf(boot, 64, "unknown");
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t bytes = read(fd, boot, 63);
        close(fd);
        boot[bytes > 0 ? bytes : 0] = '\0';
        boot[strcspn(boot, "\n")] = '\0';
    }
}

/* Which set of pids a pid belongs to, "pid:[4026531836]": one root may be mounted in several
 * containers of a host. */
static void pid_namespace_read(char pid_namespace[64])
{
    ssize_t bytes = readlink("/proc/self/ns/pid", pid_namespace, 63);
    pid_namespace[bytes > 0 ? bytes : 0] = '\0';
}

static void host_read(char host[65])
{
    snprintf(host, 65, "unknown");
    (void)gethostname(host, 64);
    host[64] = '\0';
}

static void lock_text(char text[LOCK_TEXT_BYTES_MAX], uint64_t epoch)
{
    char host[65];
    char boot[64];
    char pid_namespace[64];
    char since[32];
    host_read(host);
    boot_id_read(boot);
    pid_namespace_read(pid_namespace);
    time_t now = time(NULL);
    struct tm utc;
    strftime(since, sizeof since, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    snprintf(text, LOCK_TEXT_BYTES_MAX,
        "host=%s\nboot_id=%s\npid_namespace=%s\npid=%ld\nepoch=%" PRIu64 "\nsince=%s\n", host, boot,
        pid_namespace, (long)getpid(), epoch, since);
}

static int text_field(const char *text, const char *key, char *value, size_t value_bytes)
{
    size_t key_bytes = strlen(key);
    for (const char *line = text; line != NULL && *line != '\0';
         line = strchr(line, '\n'), line += line != NULL) {
        if (strncmp(line, key, key_bytes) == 0 && line[key_bytes] == '=') {
            size_t width = strcspn(line + key_bytes + 1, "\n");
            snprintf(value, value_bytes, "%.*s", (int)width, line + key_bytes + 1);
            return 1;
        }
    }
    value[0] = '\0';
    return 0;
}

/* 'T' = stopped by a signal; 0 = no such process. */
static char process_state(uint32_t pid)
{
    char path[64];
    char text[512];
    snprintf(path, sizeof path, "/proc/%u/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    ssize_t bytes = read(fd, text, sizeof text - 1);
    close(fd);
    text[bytes > 0 ? bytes : 0] = '\0';
    const char *end = strrchr(text, ')'); /* the name before it may hold anything */
    return end != NULL && end[1] == ' ' ? end[2] : 0;
}

/* Can the pid in this text be looked up here: our host since its last boot, our set of pids? */
static int pid_is_ours(const char *text)
{
    char theirs[65];
    char ours[65];
    host_read(ours);
    text_field(text, "host", theirs, sizeof theirs);
    if (strcmp(theirs, ours) != 0) {
        return 0;
    }
    boot_id_read(ours);
    text_field(text, "boot_id", theirs, sizeof theirs);
    if (strcmp(theirs, ours) != 0) {
        return 0;
    }
    pid_namespace_read(ours);
    text_field(text, "pid_namespace", theirs, sizeof theirs);
    return strcmp(theirs, ours) == 0;
}

static void holder_read(int fd, struct store_lock_holder *holder)
{
    char text[LOCK_TEXT_BYTES_MAX + 1];
    char host[65];
    char pid[24];
    char epoch[24];
    char since[40];
    ssize_t bytes = pread(fd, text, LOCK_TEXT_BYTES_MAX, 0);
    text[bytes > 0 ? bytes : 0] = '\0';
    text_field(text, "host", host, sizeof host);
    text_field(text, "pid", pid, sizeof pid);
    text_field(text, "epoch", epoch, sizeof epoch);
    text_field(text, "since", since, sizeof since);
    holder->pid = (uint32_t)strtoul(pid, NULL, 10);
    holder->epoch = strtoull(epoch, NULL, 10);
    snprintf(holder->text, sizeof holder->text, "host %s pid %s since %s", host, pid, since);
    if (!pid_is_ours(text)) {
        holder->state = STORE_HOLDER_ELSEWHERE;
        return;
    }
    char state = process_state(holder->pid);
    holder->state = state == 0     ? STORE_HOLDER_NONE
                    : state == 'T' ? STORE_HOLDER_STOPPED
                                   : STORE_HOLDER_ALIVE;
}

static int lock_try(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_SETLK, &lock);
}

static uint32_t text_write(int fd, const char *path, uint64_t epoch, struct cistern_error *error)
{
    char text[LOCK_TEXT_BYTES_MAX];
    lock_text(text, epoch);
    ssize_t wanted = (ssize_t)strlen(text);
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)wanted, 0) != wanted) {
        return cistern_fail_errno(error, errno != 0 ? errno : EIO, path, "LOCK cannot be written");
    }
    return CISTERN_OK;
}

/* Is the file we locked still the one that is named LOCK? A takeover may have replaced it in
 * between. */
static int still_named(int fd, const char *path)
{
    struct stat locked;
    struct stat named;
    return fstat(fd, &locked) == 0 && stat(path, &named) == 0 && locked.st_ino == named.st_ino &&
           locked.st_dev == named.st_dev;
}

uint32_t store_lock(
    struct cistern_store *store, struct store_lock_holder *ret_holder, struct cistern_error *error)
{
    memset(ret_holder, 0, sizeof *ret_holder);
    if (store->in_memory || cistern_io_engine_of(store->io) == CISTERN_IO_SIMULATED) {
        return CISTERN_OK;
    }
    char path[STORE_PATH_BYTES_MAX];
    uint32_t status = store_absolute_path(store, "LOCK", path, error);
    if (status != CISTERN_OK) {
        return status;
    }
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) {
        return cistern_fail_errno(error, errno, path, "LOCK cannot be opened");
    }
    if (lock_try(fd) != 0) {
        int refused = errno;
        holder_read(fd, ret_holder);
        close(fd);
        if (refused != EAGAIN && refused != EACCES) {
            return cistern_fail_errno(error, refused, path, "LOCK cannot be locked");
        }
        return cistern_fail(
            error, CISTERN_BUSY, path, "another writer holds this folder: %s", ret_holder->text);
    }
    if (!still_named(fd, path)) {
        close(fd);
        return cistern_fail(
            error, CISTERN_BUSY, path, "another writer is taking this folder over at this moment");
    }
    status = text_write(fd, path, 0, error);
    if (status != CISTERN_OK) {
        close(fd);
        return status;
    }
    store->lock_fd = fd;
    return CISTERN_OK;
}

uint32_t store_lock_take_over(struct cistern_store *store, struct cistern_error *error)
{
    char path[STORE_PATH_BYTES_MAX];
    char fresh[STORE_PATH_BYTES_MAX + 32];
    uint32_t status = store_absolute_path(store, "LOCK", path, error);
    if (status != CISTERN_OK) {
        return status;
    }
    snprintf(fresh, sizeof fresh, "%s.%ld", path, (long)getpid());
    int fd = open(fresh, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        return cistern_fail_errno(error, errno, fresh, "a new LOCK cannot be made");
    }
    status = lock_try(fd) == 0
                 ? text_write(fd, path, 0, error)
                 : cistern_fail_errno(error, errno, fresh, "the new LOCK cannot be locked");
    if (status == CISTERN_OK && rename(fresh, path) != 0) {
        status =
            cistern_fail_errno(error, errno, path, "the new LOCK cannot take the old one's place");
    }
    if (status != CISTERN_OK) {
        (void)unlink(fresh);
        close(fd);
        return status;
    }
    store->lock_fd = fd;
    return CISTERN_OK;
}

uint32_t store_lock_describe(
    struct cistern_store *store, uint64_t epoch, struct cistern_error *error)
{
    return store->lock_fd < 0 ? CISTERN_OK : text_write(store->lock_fd, "LOCK", epoch, error);
}

void store_unlock(struct cistern_store *store)
{
    if (store->lock_fd >= 0) {
        close(store->lock_fd);
        store->lock_fd = -1;
    }
}
