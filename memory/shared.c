/*
 * shared.c -- see shared.h. An entry is in the slot's list from before create() until after
 * destroy(), so that a second comer finds it and waits instead of making another.
 *
 * Locks: pool.lock for the list and the words of an entry; never held across a callback, a charge
 *        or an allocation.
 */
#include "cistern/shared.h"
#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/error.h"
#include "cistern/size.h"
#include "pool_private.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define WAIT_STEP_NS INT64_C(100000)
#define LEASE_COUNT_MAX 65536 /* of one resource: a caller that never releases is stopped here */
#define CHARGE_ROUNDS_MAX 8

struct lease_note {
    uint64_t id;
    const void *holder; /* NULL: nobody else can name it */
    struct lease_note *next;
};

struct shared_entry {
    char type[POOL_NAME_BYTES];
    uint32_t is_external;
    uint32_t is_ready; /* leases are given; else one thread is in create() or destroy() */
    uint32_t lease_count;
    pthread_t maker; /* while not ready: who is in the callback */
    uint64_t bytes;
    void *resource;
    struct cistern_component *component;
    uint32_t (*destroy)(void *arg, void *resource, struct cistern_error *error);
    void *arg;
    struct lease_note *leases;
    struct shared_entry *next;
};

static uint32_t options_check(
    const struct cistern_shared_options *options, struct cistern_error *error)
{
    if (options->type == NULL || options->type[0] == '\0' ||
        strlen(options->type) >= POOL_NAME_BYTES) {
        return cistern_fail(error, CISTERN_INVALID, "type",
            "a shared resource's type has 1 to %d characters, not \"%.64s\"", POOL_NAME_BYTES - 1,
            options->type == NULL ? "" : options->type);
    }
    if (options->create == NULL) {
        return cistern_fail(error, CISTERN_INVALID, options->type,
            "shared resource %s: there is no create()", options->type);
    }
    if (options->is_external > 1) {
        return cistern_fail(error, CISTERN_INVALID, options->type,
            "shared resource %s: is_external is 0 or 1, not %u", options->type,
            options->is_external);
    }
    if (options->bytes == 0 && !options->is_external) {
        return cistern_fail(error, CISTERN_INVALID, options->type,
            "shared resource %s asks for 0 bytes of managed memory: give its kind of consumer a "
            "positive weight (taskmanager.memory.managed.consumer-weights)",
            options->type);
    }
    return CISTERN_OK;
}

/* ---- the list; Caller holds pool.lock ---- */

static struct shared_entry *entry_find(
    const struct cistern_slot *slot, const char *type, uint32_t is_external)
{
    struct shared_entry *entry = slot->shared;
    while (entry != NULL && (entry->is_external != is_external || strcmp(entry->type, type) != 0)) {
        entry = entry->next;
    }
    return entry;
}

static void entry_unlink(struct cistern_slot *slot, const struct shared_entry *entry)
{
    struct shared_entry **link = &slot->shared;
    while (*link != entry) {
        assert(*link != NULL);
        link = &(*link)->next;
    }
    *link = entry->next;
}

static uint64_t lease_add(struct cistern_slot *slot, struct shared_entry *entry,
    struct lease_note **note, const void *holder)
{
    struct lease_note *lease = *note;
    *note = NULL;
    *lease =
        (struct lease_note){.id = ++slot->lease_sequence, .holder = holder, .next = entry->leases};
    entry->leases = lease;
    entry->lease_count++;
    return lease->id;
}

static uint64_t lease_of_holder(const struct shared_entry *entry, const void *holder)
{
    const struct lease_note *lease = holder == NULL ? NULL : entry->leases;
    while (lease != NULL && lease->holder != holder) {
        lease = lease->next;
    }
    return lease == NULL ? 0 : lease->id;
}

/* The link to the lease of that id, and its entry; NULL = it has ended. */
static struct lease_note **lease_find(
    struct cistern_slot *slot, uint64_t id, struct shared_entry **ret_entry)
{
    for (struct shared_entry *entry = slot->shared; entry != NULL; entry = entry->next) {
        for (struct lease_note **link = &entry->leases; *link != NULL; link = &(*link)->next) {
            if ((*link)->id == id) {
                *ret_entry = entry;
                return link;
            }
        }
    }
    return NULL;
}

/* ---- a resource comes ---- */

static uint32_t bytes_charge(
    struct cistern_component *component, uint64_t bytes, struct cistern_error *error)
{
    uint32_t status = cistern_component_charge(component, bytes);
    for (uint32_t round = 0; status == CISTERN_LIMIT && round < CHARGE_ROUNDS_MAX; round++) {
        uint32_t made = cistern_component_reserve(component, bytes, 0, error);
        if (made != CISTERN_OK) {
            return made;
        }
        status = cistern_component_charge(component, bytes);
    }
    if (status != CISTERN_OK) {
        char size[16];
        return cistern_fail(error, status, component->name,
            "%s: no room for the shared resource %s of %s: others took what was made free %d "
            "times; raise --managed (budget_bytes)",
            component->slot->name, component->name, cistern_size_format(size, bytes),
            CHARGE_ROUNDS_MAX);
    }
    return CISTERN_OK;
}

/* Component and charge, or nothing. */
static uint32_t entry_reserve(
    struct cistern_slot *slot, struct shared_entry *entry, struct cistern_error *error)
{
    const struct cistern_component_options options = {
        .name = entry->type, .reclaim_class = CISTERN_RECLAIM_NEVER};
    uint32_t status = cistern_component_open(slot, &options, &entry->component, error);
    if (status != CISTERN_OK || entry->is_external) {
        return status;
    }
    status = bytes_charge(entry->component, entry->bytes, error);
    if (status != CISTERN_OK) {
        cistern_component_close(entry->component);
        entry->component = NULL;
    }
    return status;
}

/* The bytes go back, then the type is free, and the component goes last: it is what keeps the slot
 * open under us. */
static void entry_end(struct cistern_slot *slot, struct shared_entry *entry)
{
    struct cistern_component *component = entry->component;
    if (component != NULL && !entry->is_external) {
        cistern_component_uncharge(component, entry->bytes);
    }
    pthread_mutex_lock(&slot->pool->lock);
    entry_unlink(slot, entry);
    pthread_mutex_unlock(&slot->pool->lock);
    cistern_component_close(component);
    cistern_release(entry);
}

static struct shared_entry *entry_allocate(const struct cistern_shared_options *options)
{
    struct shared_entry *entry = cistern_allocate_zeroed(1, sizeof *entry);
    if (entry != NULL) {
        memcpy(entry->type, options->type, strlen(options->type) + 1);
        entry->is_external = options->is_external;
        entry->bytes = options->bytes;
        entry->destroy = options->destroy;
        entry->arg = options->arg;
        entry->maker = pthread_self();
    }
    return entry;
}

static void lease_fill(struct cistern_slot *slot, const struct shared_entry *entry, uint64_t id,
    struct cistern_lease *ret_lease)
{
    *ret_lease = (struct cistern_lease){
        .resource = entry->resource, .bytes = entry->bytes, .slot = slot, .id = id};
}

/* The entry is in the list, not ready, and this thread's. */
static uint32_t entry_make(struct cistern_slot *slot, struct shared_entry *entry,
    const struct cistern_shared_options *options, struct lease_note **note,
    struct cistern_lease *ret_lease, struct cistern_error *error)
{
    uint32_t status = entry_reserve(slot, entry, error);
    if (status == CISTERN_OK) {
        status = options->create(options->arg, entry->bytes, &entry->resource, error);
    }
    if (status != CISTERN_OK) {
        entry_end(slot, entry);
        return status;
    }
    pthread_mutex_lock(&slot->pool->lock);
    entry->is_ready = 1;
    lease_fill(slot, entry, lease_add(slot, entry, note, options->holder), ret_lease);
    pthread_mutex_unlock(&slot->pool->lock);
    return CISTERN_OK;
}

/* ---- leases ---- */

enum found { FOUND_LEASED, FOUND_MINE, FOUND_NOT_READY, FOUND_OWN_CREATE, FOUND_FULL };

/* Takes a lease of what is ready, or puts `fresh` into the list when there is nothing. */
static enum found lease_try(struct cistern_slot *slot, const struct cistern_shared_options *options,
    struct shared_entry *fresh, struct lease_note **note, struct cistern_lease *ret_lease)
{
    enum found found = FOUND_LEASED;
    pthread_mutex_lock(&slot->pool->lock);
    assert(slot->is_open || slot->index == 0);
    struct shared_entry *entry = entry_find(slot, options->type, options->is_external);
    if (entry == NULL) {
        fresh->next = slot->shared;
        slot->shared = fresh;
        found = FOUND_MINE;
    } else if (!entry->is_ready) {
        found = pthread_equal(entry->maker, pthread_self()) ? FOUND_OWN_CREATE : FOUND_NOT_READY;
    } else {
        uint64_t id = lease_of_holder(entry, options->holder);
        if (id == 0 && entry->lease_count == LEASE_COUNT_MAX) {
            found = FOUND_FULL;
        } else {
            id = id != 0 ? id : lease_add(slot, entry, note, options->holder);
            lease_fill(slot, entry, id, ret_lease);
        }
    }
    pthread_mutex_unlock(&slot->pool->lock);
    return found;
}

static uint32_t lease_refuse(const struct cistern_slot *slot,
    const struct cistern_shared_options *options, enum found found, struct cistern_error *error)
{
    if (found == FOUND_FULL) {
        return cistern_fail(error, CISTERN_LIMIT, options->type,
            "%s: the shared resource %s has %d leases already", slot->name, options->type,
            LEASE_COUNT_MAX);
    }
    if (found == FOUND_OWN_CREATE) {
        return cistern_fail(error, CISTERN_BUSY, options->type,
            "%s: the shared resource %s was asked for from inside its own callback", slot->name,
            options->type);
    }
    return cistern_fail(error, options->deadline_ns == 0 ? CISTERN_BUSY : CISTERN_TIMEOUT,
        options->type, "%s: another thread is making or ending the shared resource %s%s",
        slot->name, options->type, options->deadline_ns == 0 ? "" : ", at the deadline still");
}

static uint32_t lease_take(struct cistern_slot *slot, const struct cistern_shared_options *options,
    struct shared_entry *fresh, struct lease_note **note, struct cistern_lease *ret_lease,
    struct cistern_error *error)
{
    for (;;) {
        enum found found = lease_try(slot, options, fresh, note, ret_lease);
        if (found == FOUND_MINE) {
            return entry_make(slot, fresh, options, note, ret_lease, error);
        }
        if (found == FOUND_LEASED) {
            cistern_release(fresh);
            return CISTERN_OK;
        }
        if (found != FOUND_NOT_READY || options->deadline_ns == 0 ||
            cistern_now_ns() >= options->deadline_ns) {
            cistern_release(fresh);
            return lease_refuse(slot, options, found, error);
        }
        cistern_sleep_ns(WAIT_STEP_NS);
    }
}

uint32_t cistern_shared_lease_sized(struct cistern_slot *slot,
    const struct cistern_shared_options *given, uint64_t options_bytes,
    struct cistern_lease *ret_lease, struct cistern_error *error)
{
    assert(slot != NULL && ret_lease != NULL);
    struct cistern_shared_options options;
    uint32_t status = cistern_options_read(
        &options, sizeof options, given, options_bytes, "cistern_shared_options", error);
    if (status == CISTERN_OK) {
        status = options_check(&options, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    /* Both before the list is looked at: nothing is allocated under a lock, and a resource that was
     * made must find its lease. */
    struct shared_entry *fresh = entry_allocate(&options);
    struct lease_note *note = cistern_allocate(sizeof *note);
    if (fresh == NULL || note == NULL) {
        cistern_release(fresh);
        cistern_release(note);
        return cistern_fail(error, CISTERN_NO_MEMORY, options.type,
            "no memory for the shared resource's control structure");
    }
    status = lease_take(slot, &options, fresh, &note, ret_lease, error);
    cistern_release(note); /* NULL when it is in the list */
    return status;
}

/* Takes the lease out; *ret_entry is set when it was the last one, which is then this thread's. */
static struct lease_note *lease_remove(
    struct cistern_slot *slot, uint64_t id, struct shared_entry **ret_entry)
{
    struct shared_entry *entry = NULL;
    struct lease_note *note = NULL;
    pthread_mutex_lock(&slot->pool->lock);
    struct lease_note **link = lease_find(slot, id, &entry);
    if (link != NULL) {
        note = *link;
        *link = note->next;
        entry->lease_count--;
        if (entry->lease_count == 0) {
            entry->is_ready = 0;
            entry->maker = pthread_self();
            *ret_entry = entry;
        }
    }
    pthread_mutex_unlock(&slot->pool->lock);
    return note;
}

uint32_t cistern_shared_release(struct cistern_lease *lease, struct cistern_error *error)
{
    assert(lease != NULL);
    struct cistern_slot *slot = lease->slot;
    struct shared_entry *last = NULL;
    uint32_t status = CISTERN_OK;
    if (lease->id == 0) {
        return CISTERN_OK;
    }
    cistern_release(lease_remove(slot, lease->id, &last));
    *lease = (struct cistern_lease){0};
    if (last == NULL) {
        return CISTERN_OK;
    }
    if (last->destroy != NULL) {
        status = last->destroy(last->arg, last->resource, error);
    }
    entry_end(slot, last);
    return status;
}

uint32_t cistern_shared_lease_count(
    struct cistern_slot *slot, const char *type, uint32_t is_external)
{
    assert(slot != NULL && type != NULL);
    pthread_mutex_lock(&slot->pool->lock);
    const struct shared_entry *entry = entry_find(slot, type, is_external);
    uint32_t count = entry == NULL ? 0 : entry->lease_count;
    pthread_mutex_unlock(&slot->pool->lock);
    return count;
}
