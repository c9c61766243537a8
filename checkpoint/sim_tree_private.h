/*
 * sim_tree_private.h -- the inodes and entries of the simulated disk.
 *
 * Every inode and directory keeps what is there now and what a power cut would find, plus the
 * unsynced steps between the two.
 * Threads: one at a time.
 */
#ifndef CISTERN_CHECKPOINT_SIM_TREE_H
#define CISTERN_CHECKPOINT_SIM_TREE_H

#include "cistern/base.h"

#define SIM_NAME_BYTES_MAX 255u

struct sim_bytes {
    uint8_t *data;
    uint64_t bytes;
    uint64_t capacity;
};
struct sim_write { /* an unsynced write, oldest first */
    struct sim_write *next;
    uint64_t offset;
    uint64_t bytes;
    uint8_t data[];
};
struct sim_inode {
    struct sim_inode *next_all; /* every inode of the disk */
    struct sim_inode *previous_all;
    uint64_t number;
    uint64_t references; /* entries, durable entries, entry steps, open files */
    uint64_t link_count; /* entries now */
    uint32_t is_directory;
    struct sim_bytes now;
    struct sim_bytes durable;
    struct sim_write *writes_head;
    struct sim_write *writes_tail;
    struct sim_entry *entries;         /* directory: now */
    struct sim_entry *entries_durable; /* directory: after a cut */
    struct sim_step *steps_head;       /* unsynced changes of entries, oldest first */
    struct sim_step *steps_tail;
};
struct sim_entry {
    struct sim_entry *next;
    struct sim_inode *inode;
    char name[SIM_NAME_BYTES_MAX + 1];
};
struct sim_step {
    struct sim_step *next;
    struct sim_inode *inode; /* NULL = the name was removed */
    char name[SIM_NAME_BYTES_MAX + 1];
};
struct sim_tree {
    struct sim_inode *root;
    struct sim_inode *all;
    uint64_t next_number;
    uint64_t file_bytes;
    uint64_t file_bytes_max;
    uint32_t tracking; /* 0: everything counts as durable */
};

/* All return 0 or -errno. */
int64_t sim_tree_init(struct sim_tree *tree, uint32_t tracking);
void sim_tree_deinit(struct sim_tree *tree);
int64_t sim_tree_find(struct sim_tree *tree, const char *path, struct sim_inode **ret_inode);
/* The directory a path lies in, and the last component. */
int64_t sim_tree_parent(struct sim_tree *tree, const char *path, struct sim_inode **ret_directory,
    const char **ret_name);
struct sim_entry *sim_entry_find(struct sim_entry *entries, const char *name);
int64_t sim_inode_create(
    struct sim_tree *tree, uint32_t is_directory, struct sim_inode **ret_inode);
void sim_inode_release(struct sim_tree *tree, struct sim_inode *inode); /* drops one reference */
int64_t sim_entry_add(
    struct sim_tree *tree, struct sim_inode *directory, const char *name, struct sim_inode *inode);
int64_t sim_entry_remove(struct sim_tree *tree, struct sim_inode *directory, const char *name);
int64_t sim_inode_write(struct sim_tree *tree, struct sim_inode *inode, uint64_t offset,
    const void *data, uint64_t bytes);
int64_t sim_inode_truncate(struct sim_tree *tree, struct sim_inode *inode);
int64_t sim_inode_sync(struct sim_tree *tree, struct sim_inode *inode);
/* Applies a power cut; random() decides each unsynced step: 0 dropped, 1 kept, 2 torn (writes
 * only). */
void sim_tree_cut(struct sim_tree *tree, uint64_t (*random)(void *arg), void *arg);

#endif
