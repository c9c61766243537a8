/* sim_tree.c -- see sim_tree_private.h. */
#include "sim_tree_private.h"

#include "cistern/alloc.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- bytes ---- */

static int64_t bytes_resize(struct sim_bytes *bytes, uint64_t wanted)
{
    if (wanted > bytes->capacity) {
        uint64_t capacity = wanted + wanted / 2 + 64;
        uint8_t *moved = cistern_reallocate(bytes->data, capacity);
        if (moved == NULL) {
            return -ENOMEM;
        }
        bytes->data = moved;
        bytes->capacity = capacity;
    }
    if (wanted > bytes->bytes) {
        memset(bytes->data + bytes->bytes, 0, wanted - bytes->bytes);
    }
    bytes->bytes = wanted;
    return 0;
}

static int64_t bytes_write(
    struct sim_bytes *bytes, uint64_t offset, const void *data, uint64_t count)
{
    if (offset + count > bytes->bytes) {
        int64_t result = bytes_resize(bytes, offset + count);
        if (result < 0) {
            return result;
        }
    }
    if (count > 0) {
        memcpy(bytes->data + offset, data, count);
    }
    return 0;
}

static int64_t bytes_copy(struct sim_bytes *to, const struct sim_bytes *from)
{
    to->bytes = 0;
    int64_t result = bytes_resize(to, from->bytes);
    if (result == 0 && from->bytes > 0) {
        memcpy(to->data, from->data, from->bytes);
    }
    return result;
}

/* ---- inodes ---- */

static void writes_forget(struct sim_inode *inode)
{
    while (inode->writes_head != NULL) {
        struct sim_write *write = inode->writes_head;
        inode->writes_head = write->next;
        cistern_release(write);
    }
    inode->writes_tail = NULL;
}

int64_t sim_inode_create(struct sim_tree *tree, uint32_t is_directory, struct sim_inode **ret_inode)
{
    struct sim_inode *inode = cistern_allocate_zeroed(1, sizeof *inode);
    if (inode == NULL) {
        return -ENOMEM;
    }
    inode->number = tree->next_number++;
    inode->is_directory = is_directory;
    inode->references = 1; /* the creator's */
    inode->next_all = tree->all;
    if (tree->all != NULL) {
        tree->all->previous_all = inode;
    }
    tree->all = inode;
    *ret_inode = inode;
    return 0;
}

static void entries_free(struct sim_tree *tree, struct sim_entry **entries)
{
    while (*entries != NULL) {
        struct sim_entry *entry = *entries;
        *entries = entry->next;
        struct sim_inode *inode = entry->inode;
        cistern_release(entry);
        sim_inode_release(tree, inode);
    }
}

static void steps_forget(struct sim_tree *tree, struct sim_inode *directory)
{
    while (directory->steps_head != NULL) {
        struct sim_step *step = directory->steps_head;
        directory->steps_head = step->next;
        struct sim_inode *inode = step->inode;
        cistern_release(step);
        if (inode != NULL) {
            sim_inode_release(tree, inode);
        }
    }
    directory->steps_tail = NULL;
}

void sim_inode_release(struct sim_tree *tree, struct sim_inode *inode)
{
    assert(inode->references > 0);
    if (--inode->references > 0) {
        return;
    }
    steps_forget(tree, inode);
    entries_free(tree, &inode->entries);
    entries_free(tree, &inode->entries_durable);
    writes_forget(inode);
    tree->file_bytes -= inode->now.bytes;
    cistern_release(inode->now.data);
    cistern_release(inode->durable.data);
    if (inode->previous_all != NULL) {
        inode->previous_all->next_all = inode->next_all;
    } else {
        tree->all = inode->next_all;
    }
    if (inode->next_all != NULL) {
        inode->next_all->previous_all = inode->previous_all;
    }
    cistern_release(inode);
}

int64_t sim_inode_write(struct sim_tree *tree, struct sim_inode *inode, uint64_t offset,
    const void *data, uint64_t bytes)
{
    uint64_t end = offset + bytes;
    uint64_t grown = end > inode->now.bytes ? end - inode->now.bytes : 0;
    if (tree->file_bytes + grown > tree->file_bytes_max) {
        return -ENOSPC;
    }
    struct sim_write *write = NULL;
    if (tree->tracking) {
        write = cistern_allocate(sizeof *write + bytes);
        if (write == NULL) {
            return -ENOMEM;
        }
        *write = (struct sim_write){.offset = offset, .bytes = bytes};
        memcpy(write->data, data, bytes);
    }
    int64_t result = bytes_write(&inode->now, offset, data, bytes);
    if (result < 0) {
        cistern_release(write);
        return result;
    }
    tree->file_bytes += grown;
    if (write != NULL) {
        if (inode->writes_head == NULL) {
            inode->writes_head = write;
        } else {
            inode->writes_tail->next = write;
        }
        inode->writes_tail = write;
    }
    return (int64_t)bytes;
}

int64_t sim_inode_truncate(struct sim_tree *tree, struct sim_inode *inode)
{
    tree->file_bytes -= inode->now.bytes;
    inode->now.bytes = 0;
    writes_forget(inode);
    return 0;
}

static int64_t entries_copy(
    struct sim_entry *from, struct sim_entry **ret_copy, struct sim_tree *tree)
{
    *ret_copy = NULL;
    for (; from != NULL; from = from->next) {
        struct sim_entry *copy = cistern_allocate(sizeof *copy);
        if (copy == NULL) {
            entries_free(tree, ret_copy);
            return -ENOMEM;
        }
        *copy = *from;
        copy->inode->references++;
        copy->next = *ret_copy;
        *ret_copy = copy;
    }
    return 0;
}

int64_t sim_inode_sync(struct sim_tree *tree, struct sim_inode *inode)
{
    if (!tree->tracking) {
        return 0;
    }
    if (!inode->is_directory) {
        int64_t result = bytes_copy(&inode->durable, &inode->now);
        if (result == 0) {
            writes_forget(inode);
        }
        return result;
    }
    struct sim_entry *copy;
    int64_t result = entries_copy(inode->entries, &copy, tree);
    if (result == 0) {
        struct sim_entry *old = inode->entries_durable;
        inode->entries_durable = copy;
        entries_free(tree, &old);
        steps_forget(tree, inode);
    }
    return result;
}

/* ---- entries ---- */

struct sim_entry *sim_entry_find(struct sim_entry *entries, const char *name)
{
    while (entries != NULL && strcmp(entries->name, name) != 0) {
        entries = entries->next;
    }
    return entries;
}

static void entry_unlink(struct sim_tree *tree, struct sim_entry **entries, const char *name)
{
    for (struct sim_entry **at = entries; *at != NULL; at = &(*at)->next) {
        if (strcmp((*at)->name, name) == 0) {
            struct sim_entry *entry = *at;
            *at = entry->next;
            struct sim_inode *inode = entry->inode;
            cistern_release(entry);
            sim_inode_release(tree, inode);
            return;
        }
    }
}

static int64_t entry_link(
    struct sim_tree *tree, struct sim_entry **entries, const char *name, struct sim_inode *inode)
{
    struct sim_entry *entry = cistern_allocate_zeroed(1, sizeof *entry);
    if (entry == NULL) {
        return -ENOMEM;
    }
    entry_unlink(tree, entries, name);
    snprintf(entry->name, sizeof entry->name, "%s", name);
    entry->inode = inode;
    inode->references++;
    entry->next = *entries;
    *entries = entry;
    return 0;
}

/* Not yet in a directory, and without its reference to the inode: step_attach() adds both. */
static struct sim_step *step_create(const char *name)
{
    struct sim_step *step = cistern_allocate_zeroed(1, sizeof *step);
    if (step != NULL) {
        snprintf(step->name, sizeof step->name, "%s", name);
    }
    return step;
}

static void step_attach(struct sim_inode *directory, struct sim_step *step, struct sim_inode *inode)
{
    step->inode = inode;
    if (inode != NULL) {
        inode->references++;
    }
    if (directory->steps_head == NULL) {
        directory->steps_head = step;
    } else {
        directory->steps_tail->next = step;
    }
    directory->steps_tail = step;
}

int64_t sim_entry_add(
    struct sim_tree *tree, struct sim_inode *directory, const char *name, struct sim_inode *inode)
{
    struct sim_step *step = tree->tracking ? step_create(name) : NULL;
    if (tree->tracking && step == NULL) {
        return -ENOMEM;
    }
    const struct sim_entry *old = sim_entry_find(directory->entries, name);
    struct sim_inode *replaced = old != NULL ? old->inode : NULL;
    if (replaced != NULL) {
        replaced->references++; /* outlives its entry until it has been counted */
    }
    int64_t result = entry_link(tree, &directory->entries, name, inode);
    if (result == 0) {
        inode->link_count++;
        if (step != NULL) {
            step_attach(directory, step, inode);
        }
    } else {
        cistern_release(step);
    }
    if (replaced != NULL) {
        replaced->link_count -= result == 0;
        sim_inode_release(tree, replaced);
    }
    return result;
}

int64_t sim_entry_remove(struct sim_tree *tree, struct sim_inode *directory, const char *name)
{
    struct sim_entry *entry = sim_entry_find(directory->entries, name);
    if (entry == NULL) {
        return -ENOENT;
    }
    if (tree->tracking) {
        struct sim_step *step = step_create(name);
        if (step == NULL) {
            return -ENOMEM;
        }
        step_attach(directory, step, NULL);
    }
    entry->inode->link_count--;
    entry_unlink(tree, &directory->entries, name);
    return 0;
}

/* ---- paths ---- */

int64_t sim_tree_parent(struct sim_tree *tree, const char *path, struct sim_inode **ret_directory,
    const char **ret_name)
{
    struct sim_inode *at = tree->root;
    for (;;) {
        path += strspn(path, "/");
        size_t width = strcspn(path, "/");
        if (width > SIM_NAME_BYTES_MAX) {
            return -ENAMETOOLONG;
        }
        if (path[width + strspn(path + width, "/")] == '\0') {
            *ret_directory = at;
            *ret_name = path;
            return 0;
        }
        char name[SIM_NAME_BYTES_MAX + 1];
        memcpy(name, path, width);
        name[width] = '\0';
        struct sim_entry *entry = sim_entry_find(at->entries, name);
        if (entry == NULL) {
            return -ENOENT;
        }
        if (!entry->inode->is_directory) {
            return -ENOTDIR;
        }
        at = entry->inode;
        path += width;
    }
}

int64_t sim_tree_find(struct sim_tree *tree, const char *path, struct sim_inode **ret_inode)
{
    struct sim_inode *directory;
    const char *name;
    int64_t result = sim_tree_parent(tree, path, &directory, &name);
    if (result < 0) {
        return result;
    }
    if (*name == '\0') {
        *ret_inode = directory;
        return 0;
    }
    struct sim_entry *entry = sim_entry_find(directory->entries, name);
    if (entry == NULL) {
        return -ENOENT;
    }
    *ret_inode = entry->inode;
    return 0;
}

/* ---- the whole ---- */

int64_t sim_tree_init(struct sim_tree *tree, uint32_t tracking)
{
    *tree = (struct sim_tree){.next_number = 1, .file_bytes_max = UINT64_MAX, .tracking = tracking};
    return sim_inode_create(tree, 1, &tree->root);
}

void sim_tree_deinit(struct sim_tree *tree)
{
    if (tree->root != NULL) {
        sim_inode_release(tree, tree->root);
    }
    assert(tree->all == NULL);
}

static void file_cut(
    struct sim_tree *tree, struct sim_inode *inode, uint64_t (*random)(void *arg), void *arg)
{
    tree->file_bytes -= inode->now.bytes;
    for (struct sim_write *write = inode->writes_head; write != NULL; write = write->next) {
        uint64_t fate = random(arg) % 3;
        uint64_t kept = fate == 0 ? 0 : fate == 1 ? write->bytes : random(arg) % (write->bytes + 1);
        int64_t result = bytes_write(&inode->durable, write->offset, write->data, kept);
        assert(result == 0);
        (void)result;
    }
    writes_forget(inode);
    int64_t result = bytes_copy(&inode->now, &inode->durable);
    assert(result == 0);
    (void)result;
    tree->file_bytes += inode->now.bytes;
}

static void directory_cut(
    struct sim_tree *tree, struct sim_inode *directory, uint64_t (*random)(void *arg), void *arg)
{
    for (struct sim_step *step = directory->steps_head; step != NULL; step = step->next) {
        if (random(arg) % 2 == 0) {
            continue;
        }
        if (step->inode == NULL) {
            entry_unlink(tree, &directory->entries_durable, step->name);
        } else {
            int64_t result = entry_link(tree, &directory->entries_durable, step->name, step->inode);
            assert(result == 0);
            (void)result;
        }
    }
    struct sim_entry *after;
    int64_t result = entries_copy(directory->entries_durable, &after, tree);
    assert(result == 0);
    (void)result;
    entries_free(tree, &directory->entries);
    directory->entries = after;
    steps_forget(tree, directory);
}

void sim_tree_cut(struct sim_tree *tree, uint64_t (*random)(void *arg), void *arg)
{
    for (struct sim_inode *inode = tree->all; inode != NULL; inode = inode->next_all) {
        inode->references++; /* nothing is freed while we walk */
    }
    for (struct sim_inode *inode = tree->all; inode != NULL; inode = inode->next_all) {
        if (inode->is_directory) {
            directory_cut(tree, inode, random, arg);
        } else {
            file_cut(tree, inode, random, arg);
        }
    }
    for (struct sim_inode *inode = tree->all; inode != NULL; inode = inode->next_all) {
        inode->link_count = 0;
    }
    for (struct sim_inode *inode = tree->all; inode != NULL; inode = inode->next_all) {
        for (struct sim_entry *entry = inode->entries; entry != NULL; entry = entry->next) {
            entry->inode->link_count++;
        }
    }
    struct sim_inode *inode = tree->all;
    while (inode != NULL) {
        /* holds its own reference of this walk: it outlives the release */
        struct sim_inode *next = inode->next_all;
        sim_inode_release(tree, inode);
        inode = next;
    }
}
