/*
 * guest.h -- cistern as a guest: two slots of 64 MiB, one store each, in a process that is not ours
 * and does not run on jemalloc. Built as a shared library that hosts load: a C program with many
 * threads, Python, a JVM.
 *
 * Threads: one at a time. Each call returns NULL or the sentence of what went wrong.
 */
#ifndef CISTERN_TESTS_GUEST_H
#define CISTERN_TESTS_GUEST_H

#include <stdint.h>

const char *guest_open(const char *directory); /* an empty directory for RocksDB's files */
/* Writes three times what the slots hold and reads it back; the heap store is emptied in
 * between. */
const char *guest_load(uint32_t seed);
/* What the load left is still there: for after a fork, a garbage collection, a subprocess. */
const char *guest_check(uint32_t seed);
/* Capacity of RocksDB's block cache now: the host's own memory must not move it. */
uint64_t guest_cache_bytes(void);
/* "allocator=own accounting=guest" */
const char *guest_modes(void);
/* Bytes that the account says are held, and the budget. */
uint64_t guest_charged_bytes(void);
uint64_t guest_budget_bytes(void);
const char *guest_close(void);

#endif
