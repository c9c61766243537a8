/* sim_disk.c -- operations on the simulated disk, their disorder and their failures; see
 * sim_private.h. */
#include "sim_private.h"
#include "sim_tree_private.h"

#include "cistern/alloc.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define OPEN_FILES_MAX 256u
#define PENDING_MAX 1024u
#define WALL_MS_START 1795000000000

struct sim_disk {
    struct sim_tree tree;
    struct sim_inode *files[OPEN_FILES_MAX]; /* by descriptor; NULL = free */
    struct cistern_io_operation *pending[PENDING_MAX];
    uint32_t pending_count;
    uint32_t reliable;
    uint64_t random;
    int64_t wall_ms;
    uint64_t executed;
    uint64_t fail_countdown; /* 0 = never */
    int32_t fail_errno;
    uint32_t lost_opcode;
    int32_t lost_errno;      /* 0 = no reply is lost */
    uint64_t halt_countdown; /* 0 = never; 1 = the next operation is the first that does not run */
    uint32_t halted;
};

static struct sim_disk *disk_create(uint64_t seed, uint32_t reliable)
{
    struct sim_disk *disk = cistern_allocate_zeroed(1, sizeof *disk);
    if (disk == NULL) {
        return NULL;
    }
    disk->random = seed * 0x9E3779B97F4A7C15u + 1;
    disk->wall_ms = WALL_MS_START;
    disk->reliable = reliable;
    if (sim_tree_init(&disk->tree, !reliable) < 0) {
        cistern_release(disk);
        return NULL;
    }
    return disk;
}

struct sim_disk *sim_disk_create(uint64_t seed)
{
    return disk_create(seed, 0);
}

struct sim_disk *sim_disk_create_reliable(void)
{
    return disk_create(1, 1);
}

void sim_disk_destroy(struct sim_disk *disk)
{
    if (disk == NULL) {
        return;
    }
    assert(disk->pending_count == 0);
    for (uint32_t fd = 0; fd < OPEN_FILES_MAX; fd++) {
        if (disk->files[fd] != NULL) {
            sim_inode_release(&disk->tree, disk->files[fd]);
        }
    }
    sim_tree_deinit(&disk->tree);
    cistern_release(disk);
}

/* splitmix64: every bit of the seed matters, and a seed of 0 works. */
uint64_t sim_disk_random(struct sim_disk *disk)
{
    uint64_t z = disk->random += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static uint64_t random_of_disk(void *arg)
{
    return sim_disk_random(arg);
}

int64_t sim_disk_wall_ms(struct sim_disk *disk)
{
    return ++disk->wall_ms;
}

/* ---- operations ---- */

static struct sim_inode *file_of(struct sim_disk *disk, int32_t fd)
{
    return fd >= 0 && (uint32_t)fd < OPEN_FILES_MAX ? disk->files[fd] : NULL;
}

static int64_t file_create(
    struct sim_disk *disk, const char *path, uint32_t is_directory, struct sim_inode **ret_inode)
{
    struct sim_inode *directory;
    struct sim_inode *inode;
    const char *name;
    int64_t result = sim_tree_parent(&disk->tree, path, &directory, &name);
    if (result == 0) {
        result = sim_inode_create(&disk->tree, is_directory, &inode);
    }
    if (result < 0) {
        return result;
    }
    result = sim_entry_add(&disk->tree, directory, name, inode);
    sim_inode_release(&disk->tree, inode); /* the entry holds it now, or nobody does */
    if (result == 0) {
        *ret_inode = inode;
    }
    return result;
}

static int64_t run_open(struct sim_disk *disk, const struct cistern_io_operation *operation)
{
    uint32_t fd = 0;
    while (fd < OPEN_FILES_MAX && disk->files[fd] != NULL) {
        fd++;
    }
    if (fd == OPEN_FILES_MAX) {
        return -EMFILE;
    }
    struct sim_inode *inode;
    int64_t result = sim_tree_find(&disk->tree, operation->path, &inode);
    if (result == 0 && (operation->flags & O_CREAT) && (operation->flags & O_EXCL)) {
        return -EEXIST;
    }
    if (result == -ENOENT && (operation->flags & O_CREAT)) {
        result = file_create(disk, operation->path, 0, &inode);
    }
    if (result < 0) {
        return result;
    }
    if ((operation->flags & O_DIRECTORY) && !inode->is_directory) {
        return -ENOTDIR;
    }
    if (operation->flags & O_TRUNC) {
        sim_inode_truncate(&disk->tree, inode);
    }
    inode->references++;
    disk->files[fd] = inode;
    return (int64_t)fd;
}

static int64_t run_read(struct sim_disk *disk, const struct cistern_io_operation *operation)
{
    const struct sim_inode *inode = file_of(disk, operation->fd);
    if (inode == NULL || inode->is_directory) {
        return inode == NULL ? -EBADF : -EISDIR;
    }
    uint64_t left = operation->offset < inode->now.bytes ? inode->now.bytes - operation->offset : 0;
    uint64_t bytes = left < operation->bytes ? left : operation->bytes;
    if (bytes > 0) {
        memcpy(operation->data, inode->now.data + operation->offset, bytes);
    }
    return (int64_t)bytes;
}

static int64_t run_unlink(struct sim_disk *disk, const char *path, uint32_t want_directory)
{
    struct sim_inode *directory;
    struct sim_inode *inode;
    const char *name;
    int64_t result = sim_tree_find(&disk->tree, path, &inode);
    if (result < 0) {
        return result;
    }
    if (inode->is_directory != want_directory) {
        return want_directory ? -ENOTDIR : -EISDIR;
    }
    if (want_directory && inode->entries != NULL) {
        return -ENOTEMPTY;
    }
    result = sim_tree_parent(&disk->tree, path, &directory, &name);
    return result < 0 ? result : sim_entry_remove(&disk->tree, directory, name);
}

/* May a rename put `inode` in the place of `old`? 0 or -errno, as rename(2) answers. */
static int64_t replace_check(const struct sim_inode *inode, const struct sim_inode *old)
{
    if (inode->is_directory != old->is_directory) {
        return old->is_directory ? -EISDIR : -ENOTDIR;
    }
    return old->entries != NULL ? -ENOTEMPTY : 0;
}

static int is_below(const char *path, const char *directory)
{
    size_t bytes = strlen(directory);
    return strncmp(path, directory, bytes) == 0 && path[bytes] == '/';
}

static int64_t run_link(struct sim_disk *disk, const struct cistern_io_operation *operation)
{
    struct sim_inode *inode;
    struct sim_inode *directory;
    const char *name;
    int replaces = operation->opcode == CISTERN_IO_RENAME;
    int64_t result = sim_tree_find(&disk->tree, operation->path, &inode);
    if (result == 0) {
        result = sim_tree_parent(&disk->tree, operation->path2, &directory, &name);
    }
    if (result < 0) {
        return result;
    }
    const struct sim_entry *old = sim_entry_find(directory->entries, name);
    if (!replaces && (old != NULL || inode->is_directory)) {
        return old != NULL ? -EEXIST : -EPERM;
    }
    if (replaces && inode->is_directory && is_below(operation->path2, operation->path)) {
        return -EINVAL;
    }
    if (replaces && old != NULL) {
        if (old->inode == inode) {
            return 0; /* two names of one file: rename(2) does nothing */
        }
        result = replace_check(inode, old->inode);
        if (result < 0) {
            return result;
        }
    }
    result = sim_entry_add(&disk->tree, directory, name, inode);
    if (result == 0 && replaces) {
        result = sim_tree_parent(&disk->tree, operation->path, &directory, &name);
        result = result < 0 ? result : sim_entry_remove(&disk->tree, directory, name);
    }
    return result;
}

static int64_t run_mkdir(struct sim_disk *disk, const char *path)
{
    struct sim_inode *inode;
    int64_t result = sim_tree_find(&disk->tree, path, &inode);
    if (result != -ENOENT) {
        return result == 0 ? -EEXIST : result;
    }
    return file_create(disk, path, 1, &inode);
}

static int64_t run_stat(struct sim_disk *disk, struct cistern_io_operation *operation)
{
    struct sim_inode *inode;
    int64_t result = sim_tree_find(&disk->tree, operation->path, &inode);
    if (result == 0) {
        operation->result_stat = (struct cistern_io_stat){.bytes = inode->now.bytes,
            .link_count = inode->link_count,
            .inode = inode->number,
            .device = 1,
            .mtime_ns = 0,
            .is_directory = inode->is_directory};
    }
    return result;
}

static int64_t run_list(struct sim_disk *disk, const struct cistern_io_operation *operation)
{
    struct sim_inode *inode;
    int64_t result = sim_tree_find(&disk->tree, operation->path, &inode);
    if (result < 0 || !inode->is_directory) {
        return result < 0 ? result : -ENOTDIR;
    }
    for (const struct sim_entry *entry = inode->entries; entry != NULL; entry = entry->next) {
        operation->entry(operation->entry_arg, entry->name, entry->inode->is_directory);
    }
    return 0;
}

static int64_t run_close(struct sim_disk *disk, int32_t fd)
{
    struct sim_inode *inode = file_of(disk, fd);
    if (inode == NULL) {
        return -EBADF;
    }
    disk->files[fd] = NULL;
    sim_inode_release(&disk->tree, inode);
    return 0;
}

static int64_t operation_run(struct sim_disk *disk, struct cistern_io_operation *operation)
{
    struct sim_inode *inode = file_of(disk, operation->fd);
    switch (operation->opcode) {
    case CISTERN_IO_OPEN:
        return run_open(disk, operation);
    case CISTERN_IO_CLOSE:
        return run_close(disk, operation->fd);
    case CISTERN_IO_READ:
        return run_read(disk, operation);
    case CISTERN_IO_WRITE:
        return inode == NULL ? -EBADF
                             : sim_inode_write(&disk->tree, inode, operation->offset,
                                   operation->data, operation->bytes);
    case CISTERN_IO_FSYNC:
        return inode == NULL ? -EBADF : sim_inode_sync(&disk->tree, inode);
    case CISTERN_IO_ALLOCATE:
        return inode == NULL ? -EBADF : 0;
    case CISTERN_IO_LINK:
    case CISTERN_IO_RENAME:
        return run_link(disk, operation);
    case CISTERN_IO_UNLINK:
        return run_unlink(disk, operation->path, 0);
    case CISTERN_IO_RMDIR:
        return run_unlink(disk, operation->path, 1);
    case CISTERN_IO_MKDIR:
        return run_mkdir(disk, operation->path);
    case CISTERN_IO_STAT:
        return run_stat(disk, operation);
    case CISTERN_IO_LIST:
        return run_list(disk, operation);
    default:
        return -EINVAL;
    }
}

/* Decides whether this operation runs at all; 0 = yes. */
static int64_t fate(struct sim_disk *disk, const struct cistern_io_operation *operation)
{
    disk->executed++;
    if (disk->halt_countdown > 0 && --disk->halt_countdown == 0) {
        disk->halted = 1;
    }
    if (operation->opcode == CISTERN_IO_CLOSE) {
        return 0;
    }
    if (disk->halted) {
        return -EIO;
    }
    if (disk->fail_countdown > 0 && --disk->fail_countdown == 0) {
        return -(int64_t)disk->fail_errno;
    }
    return 0;
}

void sim_disk_submit(struct sim_disk *disk, struct cistern_io_operation *operation)
{
    assert(disk->pending_count < PENDING_MAX);
    disk->pending[disk->pending_count++] = operation;
}

uint32_t sim_disk_pending(const struct sim_disk *disk)
{
    return disk->pending_count;
}

struct cistern_io_operation *sim_disk_complete_one(struct sim_disk *disk)
{
    if (disk->pending_count == 0) {
        return NULL;
    }
    uint32_t chosen = disk->reliable ? 0 : (uint32_t)(sim_disk_random(disk) % disk->pending_count);
    struct cistern_io_operation *operation = disk->pending[chosen];
    disk->pending_count--;
    memmove(&disk->pending[chosen], &disk->pending[chosen + 1],
        (disk->pending_count - chosen) * sizeof disk->pending[0]);
    int64_t refused = fate(disk, operation);
    operation->result = refused != 0 ? refused : operation_run(disk, operation);
    if (disk->lost_errno != 0 && operation->opcode == disk->lost_opcode) {
        operation->result = -(int64_t)disk->lost_errno;
        disk->lost_errno = 0;
    }
    return operation;
}

/* ---- what tests turn ---- */

uint64_t sim_disk_operation_count(const struct sim_disk *disk)
{
    return disk->executed;
}

void sim_disk_fail_at(struct sim_disk *disk, uint64_t nth, int32_t os_errno)
{
    disk->fail_countdown = nth;
    disk->fail_errno = os_errno;
}

void sim_disk_lose_reply(struct sim_disk *disk, uint32_t opcode, int32_t os_errno)
{
    disk->lost_opcode = opcode;
    disk->lost_errno = os_errno;
}

void sim_disk_halt_at(struct sim_disk *disk, uint64_t nth)
{
    disk->halt_countdown = nth;
}

void sim_disk_space(struct sim_disk *disk, uint64_t bytes_max)
{
    disk->tree.file_bytes_max = bytes_max;
}

uint64_t sim_disk_bytes(const struct sim_disk *disk)
{
    return disk->tree.file_bytes;
}

void sim_disk_power_cut(struct sim_disk *disk, uint64_t seed)
{
    assert(disk->pending_count == 0 && !disk->reliable);
    for (uint32_t fd = 0; fd < OPEN_FILES_MAX; fd++) {
        if (disk->files[fd] != NULL) {
            sim_inode_release(&disk->tree, disk->files[fd]);
            disk->files[fd] = NULL;
        }
    }
    disk->random ^= seed;
    sim_tree_cut(&disk->tree, random_of_disk, disk);
    disk->halted = 0;
    disk->halt_countdown = 0;
    disk->fail_countdown = 0;
    disk->lost_errno = 0;
}

uint32_t sim_disk_flip(struct sim_disk *disk, const char *path, uint64_t offset, uint32_t bit)
{
    struct sim_inode *inode;
    if (sim_tree_find(&disk->tree, path, &inode) < 0 || offset >= inode->now.bytes) {
        return 0;
    }
    inode->now.data[offset] ^= (uint8_t)(1u << (bit & 7));
    return 1;
}
